//! Parsed JSON: a flat sequence of values, in which the contents of a list or a map follow its head.
//!
//! One allocation holds a whole object. What the values mean in CEL is in `value`.

use std::{borrow::Cow, fmt, rc::Rc};

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use super::fuel::{Fault, Fuel};
use crate::encoding::borrowed::BorrowedText;

/// A value, or the head of a list or map.
#[derive(Clone, Debug)]
pub(super) enum Json<'v> {
    Null,
    Bool(bool),
    Int(i64),
    Double(f64),
    Text(Text<'v>),
    /// The number of items, and the number of values that they take.
    List(usize, usize),
    /// The number of keys, and the number of values that keys and members take. Each key is a text before its value.
    Map(usize, usize),
}

/// A text of the request or the rule, or a computed one.
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

/// Parses a JSON text. Each value takes steps, so that many small values cannot fill the memory.
pub(super) fn parse<'v>(json: &'v str, fuel: &Fuel) -> Result<Vec<Json<'v>>, Fault> {
    let mut values = Vec::with_capacity(json.len() / 24);
    let reader = JsonReader { fuel, values: &mut values };
    match reader.deserialize(&mut serde_json::Deserializer::from_str(json)) {
        Ok(()) => Ok(values),
        // An error that passes through serde keeps its text only.
        Err(_) if fuel.is_spent() => Err(Fault::TooCostly),
        Err(error) => Err(Fault::Error(error.to_string())),
    }
}

/// A value takes about 30 bytes, so the fuel also limits the memory to a few megabytes.
const STEPS_PER_VALUE: usize = 4;
/// The keys of a map up to this size are compared with each other. Those of a larger map are sorted.
const SMALL_MAP: usize = 16;

struct JsonReader<'f, 'v> {
    fuel: &'f Fuel,
    values: &'f mut Vec<Json<'v>>,
}

impl<'v> JsonReader<'_, 'v> {
    fn next(&mut self) -> JsonReader<'_, 'v> {
        JsonReader { fuel: self.fuel, values: self.values }
    }

    /// Sets the head at `at`, for the values that were parsed after it.
    fn close(&mut self, at: usize, head: impl FnOnce(usize) -> Json<'v>) {
        let width = self.values.len().saturating_sub(at + 1);
        if let Some(value) = self.values.get_mut(at) {
            *value = head(width);
        }
    }

    /// The keys of the map whose head is at `at`.
    fn keys(&self, at: usize) -> impl Iterator<Item = &str> {
        let mut rest = self.values.get(at + 1..).unwrap_or_default();
        std::iter::from_fn(move || {
            let (Json::Text(key), value) = rest.split_first()? else { return None };
            rest = value.get(width(value.first()?)..)?;
            Some(key.as_str())
        })
    }

    fn duplicate_key(&self, at: usize, count: usize) -> Option<&str> {
        if count <= SMALL_MAP {
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

/// How many values of the sequence a value takes, including its contents.
pub(super) fn width(value: &Json<'_>) -> usize {
    match value {
        Json::List(_, width) | Json::Map(_, width) => 1 + width,
        _ => 1,
    }
}

impl<'v> DeserializeSeed<'v> for JsonReader<'_, 'v> {
    type Value = ();

    fn deserialize<D: Deserializer<'v>>(self, deserializer: D) -> Result<(), D::Error> {
        self.fuel.spend(STEPS_PER_VALUE).map_err(D::Error::custom)?;
        deserializer.deserialize_any(self)
    }
}

impl<'v> Visitor<'v> for JsonReader<'_, 'v> {
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
        let value = i64::try_from(value).map_err(|_| E::custom(format_args!("{value} exceeds 64 bits")))?;
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
        if let Some(key) = self.duplicate_key(at, count) {
            return Err(A::Error::custom(format_args!("key {key:?} appears twice")));
        }
        self.close(at, |width| Json::Map(count, width));
        Ok(())
    }
}
