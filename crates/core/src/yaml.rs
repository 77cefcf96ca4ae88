//! The one door from YAML or JSON text to values, read as kubectl reads it.
//!
//! YAML 1.1 scalars (`0644` is 420, `yes` is true), merge keys, several documents. What kubectl would silently make
//! something else of is refused: duplicate keys, numbers that a double does not hold exactly. Anchors are expanded
//! within a budget. Called by the reader of postures, and by the command line for manifests.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Number, Value};
use serde_saphyr::{MessageFormatter as _, NonFiniteFloatPolicy, Options, UserMessageFormatter};

/// From here on several integers share one double, and the canonical form would make them one.
const MAX_EXACT: i64 = 1 << 53;

/// Why a text cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct YamlError {
    /// Line and column, counted from 1, where they are known.
    pub at: Option<(u64, u64)>,
    /// What was found there.
    pub message: String,
}

impl fmt::Display for YamlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.at {
            Some((line, column)) => write!(f, "line {line}, column {column}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

/// Reads every document of a YAML or JSON text; empty ones are skipped.
pub fn read_yaml(text: &str) -> Result<Vec<Value>, YamlError> {
    // As kubectl does: JSON's escapes mean other things in YAML (a surrogate pair is one character in JSON alone).
    // What is no JSON after all, as `{a: b}`, is read as YAML, whose complaint is then the one to show.
    if text.trim_start().starts_with('{')
        && let Ok(documents) = read_json(text)
    {
        return Ok(documents);
    }
    let options = serde_saphyr::options! {
        legacy_octal_numbers: true,
        reject_unsupported_tags: true,
        non_finite_float_policy: NonFiniteFloatPolicy::Reject,
        with_snippet: false,
        budget: serde_saphyr::budget! { max_nodes: MAX_NODES, max_events: 2 * MAX_NODES },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: MAX_NODES },
    };
    read_documents(text, options)
}

/// Nodes of all documents together, and events that aliases may add. A full posture has some thousands.
const MAX_NODES: usize = 250_000;

fn read_documents(text: &str, options: Options) -> Result<Vec<Value>, YamlError> {
    let documents: Vec<Strict> =
        serde_saphyr::from_multiple_with_options(text, options).map_err(|error| YamlError {
            at: error.location().map(|at| (at.line(), at.column())).filter(|&(line, _)| line > 0),
            message: UserMessageFormatter.format_message(&error).into_owned(),
        })?;
    Ok(documents.into_iter().map(|Strict(value)| value).collect())
}

fn read_json(text: &str) -> Result<Vec<Value>, serde_json::Error> {
    serde_json::Deserializer::from_str(text).into_iter::<Strict>().map(|document| document.map(|Strict(v)| v)).collect()
}

/// A value in which no key is there twice and every number is what was written.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor).map(Self)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value that JSON knows")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Value, E> {
        if value.unsigned_abs() > MAX_EXACT.unsigned_abs() { Err(inexact(value)) } else { Ok(value.into()) }
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
        i64::try_from(value).map_err(|_| inexact(value)).and_then(|value| self.visit_i64(value))
    }

    fn visit_i128<E: de::Error>(self, value: i128) -> Result<Value, E> {
        i64::try_from(value).map_err(|_| inexact(value)).and_then(|value| self.visit_i64(value))
    }

    fn visit_u128<E: de::Error>(self, value: u128) -> Result<Value, E> {
        i64::try_from(value).map_err(|_| inexact(value)).and_then(|value| self.visit_i64(value))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        number(value).map(Value::Number).ok_or_else(|| inexact(value))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E: de::Error>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Strict(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(Key(key)) = entries.next_key()? {
            if map.contains_key(&key) {
                return Err(de::Error::custom(format_args!("the key `{key}` is there twice")));
            }
            let Strict(value) = entries.next_value()?;
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}

/// A mapping's key. JSON knows strings alone, so that kubectl writes `y: …` as `"true": …` and `1: …` as `"1": …`.
struct Key(String);

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Strict::deserialize(deserializer)?.0 {
            Value::String(key) => Ok(Self(key)),
            Value::Bool(key) => Ok(Self(key.to_string())),
            Value::Number(key) => Ok(Self(key.to_string())),
            _ => Err(de::Error::custom("a key is a text; found null, a list or a mapping")),
        }
    }
}

/// An integer where the value is one, as Go writes `1.0` and `1e3`; none where a double stands for several numbers.
fn number(value: f64) -> Option<Number> {
    #[expect(clippy::cast_precision_loss, reason = "2^53 is exact")]
    let limit = MAX_EXACT as f64;
    if value.abs() > limit || value.is_nan() {
        return None;
    }
    if value.fract() == 0.0 {
        #[expect(clippy::cast_possible_truncation, reason = "integral and within 2^53")]
        return Some(Number::from(value as i64));
    }
    Number::from_f64(value)
}

fn inexact<E: de::Error>(number: impl fmt::Display) -> E {
    E::custom(format_args!("the number {number} is not exact: a double does not hold it (integers go to 2^53)"))
}
