//! The values of expressions: lookup in lists and maps, and comparison. The operators are in `operators`.
//!
//! Values of the request borrow from the parsed JSON, so every value is cheap to copy.

use std::{cmp::Ordering, rc::Rc, slice};

use super::{
    fuel::{Fault, Fuel},
    json::{Json, Text, width},
};
use crate::kube::quantity::Quantity;

/// A value of CEL. As in Kubernetes, a JSON number without a fraction is an int.
#[derive(Clone, Debug)]
pub(super) enum Value<'v> {
    Null,
    Bool(bool),
    Int(i64),
    Double(f64),
    Text(Text<'v>),
    List(List<'v>),
    Map(Map<'v>),
    Quantity(Rc<Quantity>),
    Optional(Option<Rc<Value<'v>>>),
}

/// A list: parsed from JSON, or computed.
#[derive(Clone, Debug)]
pub(super) enum List<'v> {
    Parsed(usize, &'v [Json<'v>]),
    Computed(Rc<Vec<Value<'v>>>),
}

/// A map with string keys: parsed from JSON, or computed. No key appears twice.
#[derive(Clone, Debug)]
pub(super) enum Map<'v> {
    Parsed(usize, &'v [Json<'v>]),
    Computed(Rc<Vec<(Text<'v>, Value<'v>)>>),
}

impl<'v> List<'v> {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Parsed(len, _) => *len,
            Self::Computed(items) => items.len(),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Value<'v>> {
        let (mut parsed, computed): (&[_], &[_]) = match self {
            Self::Parsed(_, values) => (values, &[]),
            Self::Computed(items) => (&[], items),
        };
        std::iter::from_fn(move || next(&mut parsed)).chain(computed.iter().cloned())
    }
}

impl<'v> Map<'v> {
    /// A map of entries with distinct keys.
    pub(super) fn computed(entries: Vec<(Text<'v>, Value<'v>)>) -> Self {
        Self::Computed(Rc::new(entries))
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Parsed(len, _) => *len,
            Self::Computed(entries) => entries.len(),
        }
    }

    pub(super) fn iter(&self) -> MapEntries<'_, 'v> {
        match self {
            Self::Parsed(_, values) => MapEntries::Parsed(values),
            Self::Computed(entries) => MapEntries::Computed(entries.iter()),
        }
    }

    /// The value of a key. Comparing the other keys takes steps too.
    pub(super) fn get(&self, key: &str, fuel: &Fuel) -> Result<Option<Value<'v>>, Fault> {
        for (passed, (known, value)) in self.iter().enumerate() {
            let known = known.as_str();
            if known.len() == key.len() {
                fuel.spend_bytes(key.len())?;
                if known == key {
                    fuel.spend(passed / 8)?;
                    return Ok(Some(value));
                }
            }
        }
        fuel.spend(self.len() / 8)?;
        Ok(None)
    }
}

/// The entries of a map, in their order.
pub(super) enum MapEntries<'m, 'v> {
    Parsed(&'v [Json<'v>]),
    Computed(slice::Iter<'m, (Text<'v>, Value<'v>)>),
}

impl<'v> Iterator for MapEntries<'_, 'v> {
    type Item = (Text<'v>, Value<'v>);

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Parsed(values) => match next(values)? {
                Value::Text(key) => Some((key, next(values)?)),
                _ => None,
            },
            Self::Computed(entries) => entries.next().cloned(),
        }
    }
}

/// Takes the first value off a sequence of parsed values.
fn next<'v>(values: &mut &'v [Json<'v>]) -> Option<Value<'v>> {
    let first = values.first()?;
    let (whole, rest) = values.split_at_checked(width(first))?;
    *values = rest;
    let inner = whole.get(1..).unwrap_or_default();
    Some(match first {
        Json::Null => Value::Null,
        Json::Bool(value) => Value::Bool(*value),
        Json::Int(value) => Value::Int(*value),
        Json::Double(value) => Value::Double(*value),
        Json::Text(text) => Value::Text(text.clone()),
        Json::List(len, _) => Value::List(List::Parsed(*len, inner)),
        Json::Map(len, _) => Value::Map(Map::Parsed(*len, inner)),
    })
}

impl<'v> Value<'v> {
    /// The value that was parsed by [`json::parse`](super::json::parse).
    pub(super) fn parsed(mut values: &'v [Json<'v>]) -> Self {
        next(&mut values).unwrap_or(Self::Null)
    }

    pub(super) fn text(text: &'v str) -> Self {
        Self::Text(Text::Borrowed(text))
    }

    pub(super) fn list(items: Vec<Self>) -> Self {
        Self::List(List::Computed(Rc::new(items)))
    }

    /// A map of entries with distinct keys.
    pub(super) fn map(entries: Vec<(&'v str, Self)>) -> Self {
        let entries = entries.into_iter().map(|(key, value)| (Text::Borrowed(key), value)).collect();
        Self::Map(Map::computed(entries))
    }

    pub(super) fn some(value: Self) -> Self {
        Self::Optional(Some(Rc::new(value)))
    }

    /// The type of the value, for messages.
    pub(super) fn type_name(&self) -> &'static str {
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

    /// CEL's `==`. Values of different types are unequal, except numbers.
    pub(super) fn equals(&self, other: &Self, fuel: &Fuel) -> Result<bool, Fault> {
        fuel.spend(1)?;
        Ok(match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Bool(one), Self::Bool(other)) => one == other,
            (Self::Text(one), Self::Text(other)) => {
                let (one, other) = (one.as_str(), other.as_str());
                fuel.spend_bytes(one.len().min(other.len()))?;
                one == other
            }
            (Self::List(one), Self::List(other)) => {
                one.len() == other.len() && all(one.iter().zip(other.iter()), |(one, other)| one.equals(&other, fuel))?
            }
            (Self::Map(one), Self::Map(other)) => {
                one.len() == other.len()
                    && all(one.iter(), |(key, value)| match other.get(key.as_str(), fuel)? {
                        Some(other) => value.equals(&other, fuel),
                        None => Ok(false),
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

    /// The order of two numbers; `None` if one is NaN or not a number.
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

/// Whether `holds` is true for all items. Stops at the first that is false.
fn all<T>(items: impl Iterator<Item = T>, mut holds: impl FnMut(T) -> Result<bool, Fault>) -> Result<bool, Fault> {
    for item in items {
        if !holds(item)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Like cel-go, before it compares an int with a double.
#[expect(clippy::cast_precision_loss, reason = "CEL defines the comparison of ints beyond 2^53 with doubles like this")]
fn as_double(int: i64) -> f64 {
    int as f64
}
