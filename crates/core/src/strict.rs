//! JSON that is signed or decides about signatures: no key twice, no field unknown, no null for an absent claim.
//!
//! Reading is by hand over a tree, because serde's derived readers take an array for a struct and `Value` takes the
//! last of two equal keys.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value};

/// The longest string in an approval, in bytes.
pub(crate) const MAX_STRING: usize = 512;

/// Reads a JSON document, refusing a key that is there twice at any depth.
pub(crate) fn parse(text: &[u8]) -> Result<Value, String> {
    serde_json::from_slice::<NoDuplicates>(text)
        .map(|value| value.0)
        .map_err(|error| format!("not strict JSON: {error}"))
}

struct NoDuplicates(Value);

impl<'de> Deserialize<'de> for NoDuplicates {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor).map(Self)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut seq: S) -> Result<Value, S::Error> {
        let mut items = Vec::new();
        while let Some(NoDuplicates(item)) = seq.next_element()? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Value, M::Error> {
        let mut members = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            let NoDuplicates(value) = map.next_value()?;
            if members.contains_key(&key) {
                return Err(M::Error::custom(format_args!("the key {key:?} is there twice")));
            }
            members.insert(key, value);
        }
        Ok(Value::Object(members))
    }
}

/// The members of one object, taken one by one; what is left at the end is unknown.
pub(crate) struct Fields {
    path: String,
    members: Map<String, Value>,
}

impl Fields {
    /// The members of `value`, which stands at `path` of the document (empty: the document itself).
    pub(crate) fn of(value: Value, path: &str) -> Result<Self, String> {
        match value {
            Value::Object(members) => Ok(Self { path: path.to_owned(), members }),
            other => Err(format!("{} is {}, expected an object", named(path), kind_of(&other))),
        }
    }

    /// The path of a member, for messages and for members' own fields.
    pub(crate) fn path(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// A member that may be absent, but is not null.
    pub(crate) fn optional(&mut self, name: &str) -> Result<Option<Value>, String> {
        match self.members.remove(name) {
            Some(Value::Null) => Err(format!("{} is null; leave it out instead", self.path(name))),
            other => Ok(other),
        }
    }

    /// A member that must be there.
    pub(crate) fn required(&mut self, name: &str) -> Result<Value, String> {
        self.optional(name)?.ok_or_else(|| format!("{} is missing", self.path(name)))
    }

    /// A string of at most 512 bytes, if there.
    pub(crate) fn optional_text(&mut self, name: &str) -> Result<Option<String>, String> {
        let value = self.optional(name)?;
        value.map(|value| short_text(value, &self.path(name))).transpose()
    }

    /// A name: not empty, at most 512 bytes, no space at either end.
    pub(crate) fn optional_name(&mut self, name: &str) -> Result<Option<String>, String> {
        let value = self.optional(name)?;
        value.map(|value| self::name(value, &self.path(name))).transpose()
    }

    /// A name that must be there.
    pub(crate) fn name(&mut self, name: &str) -> Result<String, String> {
        self.optional_name(name)?.ok_or_else(|| format!("{} is missing", self.path(name)))
    }

    /// A string that must be exactly `expected`.
    pub(crate) fn constant(&mut self, name: &str, expected: &str) -> Result<(), String> {
        let found = self.required(name)?;
        if found == expected { Ok(()) } else { Err(format!("{} is {found}, expected {expected:?}", self.path(name))) }
    }

    /// An array of at least one and at most `most` items.
    pub(crate) fn items(&mut self, name: &str, most: usize) -> Result<Vec<Value>, String> {
        match self.required(name)? {
            Value::Array(items) if (1..=most).contains(&items.len()) => Ok(items),
            Value::Array(items) => Err(format!("{} has {} items, expected 1 to {most}", self.path(name), items.len())),
            other => Err(format!("{} is {}, expected an array", self.path(name), kind_of(&other))),
        }
    }

    /// Refuses what was not taken.
    pub(crate) fn finish(self) -> Result<(), String> {
        match self.members.keys().next() {
            None => Ok(()),
            Some(unknown) => Err(format!("{} is not a field that this version knows", self.path(unknown))),
        }
    }
}

/// A string of at most 512 bytes.
pub(crate) fn short_text(value: Value, path: &str) -> Result<String, String> {
    match value {
        Value::String(text) if text.len() <= MAX_STRING => Ok(text),
        Value::String(text) => Err(format!("{path} has {} bytes, expected at most {MAX_STRING}", text.len())),
        other => Err(format!("{path} is {}, expected a string", kind_of(&other))),
    }
}

/// A string that is not empty, has at most 512 bytes and neither begins nor ends with space.
pub(crate) fn name(value: Value, path: &str) -> Result<String, String> {
    let text = short_text(value, path)?;
    if text.is_empty() {
        return Err(format!("{path} is empty"));
    }
    if text.trim() != text {
        return Err(format!("{path} is {text:?}: it begins or ends with space"));
    }
    Ok(text)
}

fn named(path: &str) -> &str {
    if path.is_empty() { "the document" } else { path }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}
