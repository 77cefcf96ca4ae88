//! The values that an expression computes with. What comes out of the request is borrowed from its text, and copying
//! any value is cheap.
//!
//! JSON's values, as Kubernetes' CEL sees them: a number without a fraction is an int. What operators do with values
//! is `operators`'; here is how values are read, found and compared.

use std::{borrow::Cow, cmp::Ordering, fmt, rc::Rc};

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use super::fuel::{Fault, Fuel};
use crate::quantity::Quantity;

/// A value of CEL.
#[derive(Clone, Debug)]
pub(super) enum Value<'v> {
    Null,
    Bool(bool),
    Int(i64),
    Double(f64),
    Text(Text<'v>),
    List(Rc<Vec<Value<'v>>>),
    Map(Rc<Map<'v>>),
    Quantity(Rc<Quantity>),
    Optional(Option<Rc<Value<'v>>>),
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

    fn equals(&self, other: &Self, fuel: &Fuel) -> Result<bool, Fault> {
        let (one, other) = (self.as_str(), other.as_str());
        fuel.spend_bytes(one.len().min(other.len()))?;
        Ok(one == other)
    }
}

impl<'v> From<Cow<'v, str>> for Text<'v> {
    fn from(text: Cow<'v, str>) -> Self {
        match text {
            Cow::Borrowed(text) => Self::Borrowed(text),
            Cow::Owned(text) => Self::Shared(text.into()),
        }
    }
}

/// A map of texts, in the order of its keys, each once.
#[derive(Debug, Default)]
pub(super) struct Map<'v>(Vec<(Text<'v>, Value<'v>)>);

impl<'v> Map<'v> {
    /// Puts entries in order; the error is a key that is there twice.
    pub(super) fn of(mut entries: Vec<(Text<'v>, Value<'v>)>) -> Result<Self, String> {
        entries.sort_unstable_by(|(one, _), (other, _)| one.as_str().cmp(other.as_str()));
        let twice = entries.windows(2).find_map(|pair| match pair {
            [(one, _), (other, _)] if one.as_str() == other.as_str() => Some(one),
            _ => None,
        });
        match twice {
            Some(key) => Err(format!("the key {:?} is there twice", key.as_str())),
            None => Ok(Self(entries)),
        }
    }

    pub(super) fn get(&self, key: &str) -> Option<&Value<'v>> {
        let found = self.0.binary_search_by(|(known, _)| known.as_str().cmp(key)).ok()?;
        self.0.get(found).map(|(_, value)| value)
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &Text<'v>> {
        self.0.iter().map(|(key, _)| key)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

impl<'v> Value<'v> {
    pub(super) fn text(text: &'v str) -> Self {
        Self::Text(Text::Borrowed(text))
    }

    pub(super) fn list(items: Vec<Self>) -> Self {
        Self::List(Rc::new(items))
    }

    /// A map whose keys are known to differ.
    pub(super) fn map(mut entries: Vec<(&'v str, Self)>) -> Self {
        entries.sort_unstable_by_key(|(key, _)| *key);
        Self::Map(Rc::new(Map(entries.into_iter().map(|(key, value)| (Text::Borrowed(key), value)).collect())))
    }

    pub(super) fn some(value: Self) -> Self {
        Self::Optional(Some(Rc::new(value)))
    }

    /// Reads JSON. A step is paid for each value, so that a text of a great many small ones does not fill the memory.
    pub(super) fn parse(json: &'v str, fuel: &Fuel) -> Result<Self, Fault> {
        let mut reader = serde_json::Deserializer::from_str(json);
        let value = Read { fuel }.deserialize(&mut reader);
        // Of an error inside serde only the text survives.
        value.map_err(|error| if fuel.is_spent() { Fault::TooCostly } else { Fault::Error(error.to_string()) })
    }

    /// The member of a map, without which there is none.
    pub(super) fn member(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Map(map) => map.get(key),
            _ => None,
        }
    }

    /// What the value is, for messages.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a bool",
            Self::Int(_) => "an int",
            Self::Double(_) => "a double",
            Self::Text(_) => "a string",
            Self::List(_) => "a list",
            Self::Map(_) => "a map",
            Self::Quantity(_) => "a quantity",
            Self::Optional(_) => "an optional value",
        }
    }

    /// CEL's `==`: values of different types differ, but for numbers.
    pub(super) fn equals(&self, other: &Self, fuel: &Fuel) -> Result<bool, Fault> {
        fuel.spend(1)?;
        Ok(match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Bool(one), Self::Bool(other)) => one == other,
            (Self::Text(one), Self::Text(other)) => one.equals(other, fuel)?,
            (Self::List(one), Self::List(other)) => {
                one.len() == other.len() && all(one.iter().zip(&**other), |(one, other)| one.equals(other, fuel))?
            }
            (Self::Map(one), Self::Map(other)) => {
                one.len() == other.len()
                    && all(one.0.iter().zip(&other.0), |((key, one), (other_key, other))| {
                        Ok(key.equals(other_key, fuel)? && one.equals(other, fuel)?)
                    })?
            }
            (Self::Quantity(one), Self::Quantity(other)) => one.compare(other) == Ordering::Equal,
            (Self::Optional(one), Self::Optional(other)) => match (one, other) {
                (Some(one), Some(other)) => one.equals(other, fuel)?,
                (one, other) => one.is_none() && other.is_none(),
            },
            (one, other) => one.compare_numbers(other) == Some(Ordering::Equal),
        })
    }

    /// The order of two numbers; nothing where one is not a number, be it NaN or a value of another type.
    pub(super) fn compare_numbers(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Int(one), Self::Int(other)) => Some(one.cmp(other)),
            (Self::Double(one), Self::Double(other)) => one.partial_cmp(other),
            (Self::Int(one), Self::Double(other)) => as_double(*one).partial_cmp(other),
            (Self::Double(one), Self::Int(other)) => one.partial_cmp(&as_double(*other)),
            _ => None,
        }
    }
}

/// Whether `holds` for each; it is not asked any further once it does not.
fn all<T>(items: impl Iterator<Item = T>, mut holds: impl FnMut(T) -> Result<bool, Fault>) -> Result<bool, Fault> {
    for item in items {
        if !holds(item)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// As cel-go does before it compares an int with a double.
#[expect(clippy::cast_precision_loss, reason = "what CEL says of numbers beyond 2^53")]
fn as_double(int: i64) -> f64 {
    int as f64
}

/// Reads one JSON value and everything in it.
#[derive(Clone, Copy)]
struct Read<'f> {
    fuel: &'f Fuel,
}

/// A node takes some 30 bytes, so the fuel is also a limit of a few megabytes.
const STEPS_PER_NODE: usize = 4;

impl<'de> DeserializeSeed<'de> for Read<'_> {
    type Value = Value<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value<'de>, D::Error> {
        self.fuel.spend(STEPS_PER_NODE).map_err(D::Error::custom)?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Read<'_> {
    type Value = Value<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value<'de>, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value<'de>, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value<'de>, E> {
        Ok(Value::Int(value))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Value<'de>, E> {
        i64::try_from(value).map(Value::Int).map_err(|_| E::custom(format_args!("{value} is beyond 64 bits")))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value<'de>, E> {
        Ok(Value::Double(value))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Value<'de>, E> {
        Ok(Value::text(text))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value<'de>, E> {
        Ok(Value::Text(Text::Shared(text.into())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value<'de>, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(self)? {
            items.push(item);
        }
        Ok(Value::list(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value<'de>, A::Error> {
        let mut entries = Vec::new();
        while let Some(crate::review::Text(key)) = map.next_key()? {
            entries.push((Text::from(key), map.next_value_seed(self)?));
        }
        Ok(Value::Map(Rc::new(Map::of(entries).map_err(A::Error::custom)?)))
    }
}
