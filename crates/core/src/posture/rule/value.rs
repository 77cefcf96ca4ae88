//! The values that an expression computes with, and how they are found in one another and compared.
//!
//! What comes out of the request stays where it was read, and copying any value is cheap. What operators do with values
//! is `operators`'.

use std::{cmp::Ordering, rc::Rc, slice};

use super::{
    fuel::{Fault, Fuel},
    json::{Json, Text, width},
};
use crate::kube::quantity::Quantity;

/// A value of CEL, as Kubernetes' CEL sees JSON: a number without a fraction is an int.
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

/// A list, as it was read or made.
#[derive(Clone, Debug)]
pub(super) enum List<'v> {
    Read(usize, &'v [Json<'v>]),
    Made(Rc<Vec<Value<'v>>>),
}

/// A map of texts, as it was read or made; each key is there once.
#[derive(Clone, Debug)]
pub(super) enum Map<'v> {
    Read(usize, &'v [Json<'v>]),
    Made(Rc<Vec<(Text<'v>, Value<'v>)>>),
}

impl<'v> List<'v> {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Read(len, _) => *len,
            Self::Made(items) => items.len(),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Value<'v>> {
        let (mut read, made): (&[_], &[_]) = match self {
            Self::Read(_, places) => (places, &[]),
            Self::Made(items) => (&[], items),
        };
        std::iter::from_fn(move || next(&mut read)).chain(made.iter().cloned())
    }
}

impl<'v> Map<'v> {
    /// Of entries whose keys are known to differ.
    pub(super) fn of(entries: Vec<(Text<'v>, Value<'v>)>) -> Self {
        Self::Made(Rc::new(entries))
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Read(len, _) => *len,
            Self::Made(entries) => entries.len(),
        }
    }

    pub(super) fn iter(&self) -> Entries<'_, 'v> {
        match self {
            Self::Read(_, places) => Entries::Read(places),
            Self::Made(entries) => Entries::Made(entries.iter()),
        }
    }

    /// The value under a key. The keys that are passed by are paid for.
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
pub(super) enum Entries<'m, 'v> {
    Read(&'v [Json<'v>]),
    Made(slice::Iter<'m, (Text<'v>, Value<'v>)>),
}

impl<'v> Iterator for Entries<'_, 'v> {
    type Item = (Text<'v>, Value<'v>);

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Read(places) => match next(places)? {
                Value::Text(key) => Some((key, next(places)?)),
                _ => None,
            },
            Self::Made(entries) => entries.next().cloned(),
        }
    }
}

/// Takes the first value off what was read.
fn next<'v>(places: &mut &'v [Json<'v>]) -> Option<Value<'v>> {
    let first = places.first()?;
    let (whole, rest) = places.split_at_checked(width(first))?;
    *places = rest;
    let inner = whole.get(1..).unwrap_or_default();
    Some(match first {
        Json::Null => Value::Null,
        Json::Bool(value) => Value::Bool(*value),
        Json::Int(value) => Value::Int(*value),
        Json::Double(value) => Value::Double(*value),
        Json::Text(text) => Value::Text(text.clone()),
        Json::List(len, _) => Value::List(List::Read(*len, inner)),
        Json::Map(len, _) => Value::Map(Map::Read(*len, inner)),
    })
}

impl<'v> Value<'v> {
    /// What was read.
    pub(super) fn read(mut places: &'v [Json<'v>]) -> Self {
        next(&mut places).unwrap_or(Self::Null)
    }

    pub(super) fn text(text: &'v str) -> Self {
        Self::Text(Text::Borrowed(text))
    }

    pub(super) fn list(items: Vec<Self>) -> Self {
        Self::List(List::Made(Rc::new(items)))
    }

    /// A map whose keys are known to differ.
    pub(super) fn map(entries: Vec<(&'v str, Self)>) -> Self {
        let entries = entries.into_iter().map(|(key, value)| (Text::Borrowed(key), value)).collect();
        Self::Map(Map::of(entries))
    }

    pub(super) fn some(value: Self) -> Self {
        Self::Optional(Some(Rc::new(value)))
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
