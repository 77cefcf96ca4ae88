//! The request's JSON as it was read: one value after the other in one piece of memory, what a list or a map holds right
//! behind it. Only read and walked here; what the values mean is `value`'s.

use std::{borrow::Cow, fmt, rc::Rc};

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use super::fuel::{Fault, Fuel};
use crate::encoding::borrowed::BorrowedText;

/// One value, or the head of what follows it.
#[derive(Clone, Debug)]
pub(super) enum Json<'v> {
    Null,
    Bool(bool),
    Int(i64),
    Double(f64),
    Text(Text<'v>),
    /// So many values, which take so many places.
    List(usize, usize),
    /// So many keys, each a text before its value, which take so many places together.
    Map(usize, usize),
}

/// A text of the request, of the rule, or a computed one.
#[derive(Clone, Debug)]
pub(super) enum Text<'v> {
    Borrowed(&'v str),
    Shared(Rc<str>),
}

impl Text<'_> {
    pub(super) fn as_str(&self) -> &str {
        match self {
            Self::Borrowed(text) => text,
            Self::Shared(text) => text,
        }
    }
}

/// Reads a text, and pays for each value, so that a great many small ones do not fill the memory.
pub(super) fn read<'v>(json: &'v str, fuel: &Fuel) -> Result<Vec<Json<'v>>, Fault> {
    let mut values = Vec::with_capacity(json.len() / 24);
    let read = Read { fuel, values: &mut values }.deserialize(&mut serde_json::Deserializer::from_str(json));
    match read {
        Ok(()) => Ok(values),
        // Of an error inside serde only the text survives.
        Err(_) if fuel.is_spent() => Err(Fault::TooCostly),
        Err(error) => Err(Fault::Error(error.to_string())),
    }
}

/// A value takes some 30 bytes, so the fuel is also a limit of a few megabytes.
const STEPS_PER_VALUE: usize = 4;
/// Up to here the keys of a map are compared one by one.
const FEW: usize = 16;

struct Read<'f, 'v> {
    fuel: &'f Fuel,
    values: &'f mut Vec<Json<'v>>,
}

impl<'v> Read<'_, 'v> {
    fn next(&mut self) -> Read<'_, 'v> {
        Read { fuel: self.fuel, values: self.values }
    }

    /// Puts the head before what was read since `at`.
    fn close(&mut self, at: usize, head: impl FnOnce(usize) -> Json<'v>) {
        let width = self.values.len().saturating_sub(at + 1);
        if let Some(place) = self.values.get_mut(at) {
            *place = head(width);
        }
    }

    /// The keys since `at`.
    fn keys(&self, at: usize) -> impl Iterator<Item = &str> {
        let mut rest = self.values.get(at + 1..).unwrap_or_default();
        std::iter::from_fn(move || {
            let (Json::Text(key), value) = rest.split_first()? else { return None };
            rest = value.get(width(value.first()?)..)?;
            Some(key.as_str())
        })
    }

    fn twice(&self, at: usize, count: usize) -> Option<&str> {
        if count <= FEW {
            return self
                .keys(at)
                .enumerate()
                .find_map(|(index, key)| self.keys(at).take(index).find(|earlier| *earlier == key));
        }
        let mut keys: Vec<_> = self.keys(at).collect();
        keys.sort_unstable();
        keys.windows(2).find_map(|pair| match pair {
            [one, other] if one == other => Some(*one),
            _ => None,
        })
    }
}

/// How many places a value takes, with what it holds.
pub(super) fn width(value: &Json<'_>) -> usize {
    match value {
        Json::List(_, width) | Json::Map(_, width) => 1 + width,
        _ => 1,
    }
}

impl<'v> DeserializeSeed<'v> for Read<'_, 'v> {
    type Value = ();

    fn deserialize<D: Deserializer<'v>>(self, deserializer: D) -> Result<(), D::Error> {
        self.fuel.spend(STEPS_PER_VALUE).map_err(D::Error::custom)?;
        deserializer.deserialize_any(self)
    }
}

impl<'v> Visitor<'v> for Read<'_, 'v> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.values.push(Json::Null);
        Ok(())
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        self.values.push(Json::Bool(value));
        Ok(())
    }

    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        self.values.push(Json::Int(value));
        Ok(())
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<(), E> {
        let value = i64::try_from(value).map_err(|_| E::custom(format_args!("{value} is beyond 64 bits")))?;
        self.visit_i64(value)
    }

    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        self.values.push(Json::Double(value));
        Ok(())
    }

    fn visit_borrowed_str<E>(self, text: &'v str) -> Result<(), E> {
        self.values.push(Json::Text(Text::Borrowed(text)));
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.values.push(Json::Text(Text::Shared(text.into())));
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'v>>(mut self, mut seq: A) -> Result<(), A::Error> {
        let (at, mut count) = (self.values.len(), 0);
        self.values.push(Json::Null);
        while seq.next_element_seed(self.next())?.is_some() {
            count += 1;
        }
        self.close(at, |width| Json::List(count, width));
        Ok(())
    }

    fn visit_map<A: MapAccess<'v>>(mut self, mut map: A) -> Result<(), A::Error> {
        let (at, mut count) = (self.values.len(), 0);
        self.values.push(Json::Null);
        while let Some(BorrowedText(key)) = map.next_key()? {
            self.values.push(Json::Text(match key {
                Cow::Borrowed(key) => Text::Borrowed(key),
                Cow::Owned(key) => Text::Shared(key.into()),
            }));
            map.next_value_seed(self.next())?;
            count += 1;
        }
        if let Some(key) = self.twice(at, count) {
            return Err(A::Error::custom(format_args!("a key is there twice: {key:?}")));
        }
        self.close(at, |width| Json::Map(count, width));
        Ok(())
    }
}
