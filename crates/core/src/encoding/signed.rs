//! Signed JSON: strict JSON in which an unknown field is refused, and `null` for an absent one.
//!
//! It is read from a tree by hand. serde's derived readers accept an array for a struct, so they would accept two texts for
//! one meaning.

use std::{
    borrow::Cow,
    collections::{BTreeMap, btree_map},
    fmt,
};

use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, SeqAccess, Visitor},
};
use serde_json::Value;

use crate::{
    encoding::strict::{BorrowedKey, ValueVisitor, appears_twice},
    text::{on_one_line, quoted},
};

/// The longest string in an approval, in bytes.
const MAX_STRING: usize = 512;

/// Reads a document of strict JSON.
pub(crate) fn parse(text: &[u8]) -> Result<Node<'_>, String> {
    serde_json::from_slice(text).map_err(|error| on_one_line(&format!("not strict JSON: {error}")))
}

/// A value of strict JSON. Its texts borrow from the document, because most of them are compared and few are kept.
#[derive(Debug)]
pub(crate) enum Node<'t> {
    /// Null, a boolean or a number.
    Scalar(Value),
    Text(Cow<'t, str>),
    List(Vec<Self>),
    Object(BTreeMap<Cow<'t, str>, Self>),
}

impl Node<'_> {
    fn kind(&self) -> &'static str {
        match self {
            Self::Scalar(Value::Bool(_)) => "a boolean",
            Self::Scalar(Value::Number(_)) => "a number",
            Self::Scalar(_) => "null",
            Self::Text(_) => "a string",
            Self::List(_) => "an array",
            Self::Object(_) => "an object",
        }
    }

    fn to_value(&self) -> Value {
        match self {
            Self::Scalar(value) => value.clone(),
            Self::Text(text) => Value::from(&**text),
            Self::List(items) => items.iter().map(Self::to_value).collect(),
            Self::Object(members) => members.iter().map(|(key, value)| (&**key, value.to_value())).collect(),
        }
    }
}

impl<'t> From<&'t Value> for Node<'t> {
    fn from(value: &'t Value) -> Self {
        match value {
            Value::String(text) => Self::Text(Cow::Borrowed(text)),
            Value::Array(items) => Self::List(items.iter().map(Self::from).collect()),
            Value::Object(members) => {
                Self::Object(members.iter().map(|(key, value)| (Cow::Borrowed(&**key), Self::from(value))).collect())
            }
            scalar => Self::Scalar(scalar.clone()),
        }
    }
}

impl<'de> Deserialize<'de> for Node<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        ValueVisitor.expecting(f)
    }

    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        ValueVisitor.visit_unit().map(Node::Scalar)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Self::Value, E> {
        ValueVisitor.visit_bool(value).map(Node::Scalar)
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Self::Value, E> {
        ValueVisitor.visit_i64(value).map(Node::Scalar)
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Self::Value, E> {
        ValueVisitor.visit_u64(value).map(Node::Scalar)
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Self::Value, E> {
        ValueVisitor.visit_f64(value).map(Node::Scalar)
    }

    fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Node::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Node::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut members = BTreeMap::new();
        while let Some(BorrowedKey(key)) = entries.next_key()? {
            match members.entry(key) {
                btree_map::Entry::Occupied(first) => return Err(appears_twice(first.key())),
                btree_map::Entry::Vacant(vacant) => {
                    vacant.insert(entries.next_value()?);
                }
            }
        }
        Ok(Node::Object(members))
    }
}

/// The members of one object. A reader takes the members that it knows; [`Fields::finish`] refuses the rest.
pub(crate) struct Fields<'t> {
    path: String,
    members: BTreeMap<Cow<'t, str>, Node<'t>>,
}

impl<'t> Fields<'t> {
    /// The members of `value`. `path` is the position of `value` in the document, for messages; it is empty for the
    /// document itself. Fails if `value` is not an object.
    pub(crate) fn new(value: Node<'t>, path: &str) -> Result<Self, String> {
        match value {
            Node::Object(members) => Ok(Self { path: path.to_owned(), members }),
            other => Err(format!("{} is {}, expected an object", named(path), other.kind())),
        }
    }

    /// The path of a member, for messages and for the [`Fields`] of the member.
    pub(crate) fn path(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// Takes a member that may be absent. Fails if it is `null`.
    pub(crate) fn optional(&mut self, name: &str) -> Result<Option<Node<'t>>, String> {
        match self.members.remove(name) {
            Some(Node::Scalar(Value::Null)) => Err(format!("{} is null; leave it out instead", self.path(name))),
            other => Ok(other),
        }
    }

    /// Takes a member. Fails if it is absent or `null`.
    pub(crate) fn required(&mut self, name: &str) -> Result<Node<'t>, String> {
        self.optional(name)?.ok_or_else(|| format!("{} is missing", self.path(name)))
    }

    /// Takes a boolean that is false if it is absent.
    pub(crate) fn optional_flag(&mut self, name: &str) -> Result<bool, String> {
        match self.optional(name)? {
            None => Ok(false),
            Some(Node::Scalar(Value::Bool(flag))) => Ok(flag),
            Some(other) => Err(format!("{} is {}, expected true or false", self.path(name), other.to_value())),
        }
    }

    /// Takes a string of at most 512 bytes that may be absent.
    pub(crate) fn optional_text(&mut self, name: &str) -> Result<Option<String>, String> {
        let value = self.optional(name)?;
        value.map(short_text).transpose().map_err(|why| format!("{} {why}", self.path(name)))
    }

    /// Takes a name that may be absent. A name is not empty, has at most 512 bytes, and has no space at either end.
    pub(crate) fn optional_name(&mut self, name: &str) -> Result<Option<String>, String> {
        let value = self.optional(name)?;
        value.map(self::name).transpose().map_err(|why| format!("{} {why}", self.path(name)))
    }

    /// Takes a name, as [`Fields::optional_name`] does. Fails if it is absent.
    pub(crate) fn name(&mut self, name: &str) -> Result<String, String> {
        self.optional_name(name)?.ok_or_else(|| format!("{} is missing", self.path(name)))
    }

    /// Takes a string. Fails if it is not exactly `expected`.
    pub(crate) fn constant(&mut self, name: &str, expected: &str) -> Result<(), String> {
        let found = match self.required(name)? {
            Node::Text(text) if text == expected => return Ok(()),
            Node::Text(text) => format!("\"{}\"", quoted(&text)),
            other => other.kind().to_owned(),
        };
        Err(format!("{} is {found}, expected {expected:?}", self.path(name)))
    }

    /// Takes an array of at least one and at most `most` items.
    pub(crate) fn items(&mut self, name: &str, most: usize) -> Result<Vec<Node<'t>>, String> {
        match self.required(name)? {
            Node::List(items) if (1..=most).contains(&items.len()) => Ok(items),
            Node::List(items) => Err(format!("{} has {} items, expected 1 to {most}", self.path(name), items.len())),
            other => Err(format!("{} is {}, expected an array", self.path(name), other.kind())),
        }
    }

    /// Fails if a member was not taken: this version does not know it.
    pub(crate) fn finish(self) -> Result<(), String> {
        match self.members.keys().next() {
            None => Ok(()),
            Some(unknown) => Err(format!("{} is not a field that this version knows", self.path(&quoted(unknown)))),
        }
    }
}

/// A string of at most 512 bytes. The error continues a sentence that begins with the value's path.
fn short_text(value: Node<'_>) -> Result<String, String> {
    match value {
        Node::Text(text) if text.len() <= MAX_STRING => Ok(text.into_owned()),
        Node::Text(text) => Err(format!("has {} bytes, expected at most {MAX_STRING}", text.len())),
        other => Err(format!("is {}, expected a string", other.kind())),
    }
}

/// A string that is not empty, has at most 512 bytes, and neither begins nor ends with space. The error continues a
/// sentence that begins with the value's path.
pub(crate) fn name(value: Node<'_>) -> Result<String, String> {
    let text = short_text(value)?;
    if text.is_empty() {
        return Err("is empty".to_owned());
    }
    if text.trim() != text {
        return Err(format!("is {text:?}: it begins or ends with space"));
    }
    Ok(text)
}

fn named(path: &str) -> &str {
    if path.is_empty() { "the document" } else { path }
}
