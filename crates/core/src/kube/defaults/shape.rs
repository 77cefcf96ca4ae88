//! What decoding JSON into the server's Go types and encoding it again does to a value, before any default.
//!
//! Nulls and empty values vanish or stay as the field's tag says, quantities and times get their canonical spelling,
//! and a value of the wrong type is an error, as it is in the server. What the tables do not know is left alone.

use jiff::{Timestamp, tz::TimeZone};
use serde_json::{Number, Value};

use super::{DefaultError, JsonObject, Problem};
use crate::kube::quantity::Quantity;

/// The Go type of a field, as far as its JSON form depends on it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// A string.
    Text,
    /// A boolean.
    Bool,
    /// An integer of 32 bits.
    Int32,
    /// An integer of 64 bits.
    Int64,
    /// A port or a percentage: a string, or an integer of 32 bits.
    IntOrString,
    /// A quantity, from a string or a number.
    Quantity,
    /// Quantities by resource name, each rounded up to thousandths.
    Resources,
    /// A time, written in UTC and whole seconds.
    Time,
    /// Any JSON, passed through.
    Any,
    /// A list of one kind.
    List(&'static Kind),
    /// A map from strings to one kind.
    Map(&'static Kind),
    /// A struct.
    Object(&'static [Field]),
}

/// A field by its JSON name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field {
    name: &'static str,
    kind: Kind,
    rule: Rule,
}

/// When a field is written, given Go's `omitempty` and whether the type is a pointer.
#[derive(Clone, Copy, Debug)]
enum Rule {
    Always,
    NonZero,
    Pointer,
    Nullable,
    Gated,
}

/// Written even when it is empty, also when the manifest has no such field. A struct's own `omitempty` does nothing.
pub(super) const fn always(name: &'static str, kind: Kind) -> Field {
    Field { name, kind, rule: Rule::Always }
}

/// `omitempty` on a plain value: absent while empty, zero or false.
pub(super) const fn non_zero(name: &'static str, kind: Kind) -> Field {
    Field { name, kind, rule: Rule::NonZero }
}

/// `omitempty` on a pointer: only null is dropped, so a false or a zero stays and means something.
pub(super) const fn pointer(name: &'static str, kind: Kind) -> Field {
    Field { name, kind, rule: Rule::Pointer }
}

/// A pointer without `omitempty`: null when there is nothing.
pub(super) const fn nullable(name: &'static str, kind: Kind) -> Field {
    Field { name, kind, rule: Rule::Nullable }
}

/// Behind a feature gate that is off by default: the server decodes the field and then drops it.
pub(super) const fn gated(_gate: &'static str, field: Field) -> Field {
    Field { name: field.name, kind: field.kind, rule: Rule::Gated }
}

/// Brings an object to the shape that its type has on the wire.
pub(super) fn conform(object: &mut JsonObject, fields: &[Field]) -> Result<(), DefaultError> {
    for Field { name, kind, rule } in fields {
        let found = match object.remove(*name) {
            None | Some(Value::Null) => None,
            Some(value) => Some(conformed(*kind, value).map_err(|error| error.under(name))?),
        };
        let written = match rule {
            Rule::Always => Some(found.map_or_else(|| zero(*kind), Ok)?),
            Rule::NonZero => found.filter(|value| !is_zero(value)),
            Rule::Pointer => found,
            Rule::Nullable => Some(found.unwrap_or(Value::Null)),
            Rule::Gated => None,
        };
        if let Some(value) = written {
            object.insert((*name).to_owned(), value);
        }
    }
    Ok(())
}

fn conformed(kind: Kind, value: Value) -> Result<Value, DefaultError> {
    match (kind, value) {
        (Kind::Any, value)
        | (Kind::Text | Kind::IntOrString, value @ Value::String(_))
        | (Kind::Bool, value @ Value::Bool(_)) => Ok(value),
        // YAML's letters for booleans, which the reader leaves for whoever knows what the field is.
        (Kind::Bool, Value::String(letter)) if matches!(&*letter, "y" | "Y") => Ok(Value::Bool(true)),
        (Kind::Bool, Value::String(letter)) if matches!(&*letter, "n" | "N") => Ok(Value::Bool(false)),
        (Kind::Int32 | Kind::IntOrString, Value::Number(number)) => integer(&number)
            .filter(|integer| i32::try_from(*integer).is_ok())
            .map_or_else(|| Err(Problem::Integer { bits: 32, found: number.to_string() }.into()), |i| Ok(i.into())),
        (Kind::Int64, Value::Number(number)) => integer(&number)
            .map_or_else(|| Err(Problem::Integer { bits: 64, found: number.to_string() }.into()), |i| Ok(i.into())),
        (Kind::Quantity, value) => Ok(quantity(&value)?.to_string().into()),
        (Kind::Time, Value::String(text)) => time(&text),
        (Kind::List(item), Value::Array(items)) => items
            .into_iter()
            .enumerate()
            .map(|(index, value)| element(*item, value).map_err(|error| error.at(index)))
            .collect::<Result<Vec<_>, _>>()
            .map(Value::Array),
        (Kind::Map(item), Value::Object(entries)) => map(entries, |value| element(*item, value)),
        (Kind::Resources, Value::Object(entries)) => map(entries, |value| {
            let mut quantity = quantity(&value)?;
            quantity.round_up_to_milli();
            Ok(quantity.to_string().into())
        }),
        (Kind::Object(fields), Value::Object(mut object)) => {
            conform(&mut object, fields)?;
            Ok(Value::Object(object))
        }
        (kind, value) => Err(Problem::Type { expected: kind.name(), found: type_of(&value) }.into()),
    }
}

fn map(
    entries: JsonObject,
    mut convert: impl FnMut(Value) -> Result<Value, DefaultError>,
) -> Result<Value, DefaultError> {
    entries
        .into_iter()
        .map(|(key, value)| match convert(value) {
            Ok(value) => Ok((key, value)),
            Err(error) => Err(error.under(&key)),
        })
        .collect::<Result<JsonObject, _>>()
        .map(Value::Object)
}

/// An item of a list or a map, where null is the zero value rather than nothing.
fn element(kind: Kind, value: Value) -> Result<Value, DefaultError> {
    if value.is_null() { zero(kind) } else { conformed(kind, value) }
}

/// How Go writes a type's zero value.
fn zero(kind: Kind) -> Result<Value, DefaultError> {
    Ok(match kind {
        Kind::Text => "".into(),
        Kind::Bool => false.into(),
        Kind::Int32 | Kind::Int64 | Kind::IntOrString => 0.into(),
        Kind::Quantity => "0".into(),
        Kind::Time | Kind::Any | Kind::Resources | Kind::List(_) | Kind::Map(_) => Value::Null,
        Kind::Object(fields) => {
            let mut object = JsonObject::new();
            conform(&mut object, fields)?;
            Value::Object(object)
        }
    })
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) => false,
        Value::Number(number) => number.as_i64() == Some(0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(object) => object.is_empty(),
    }
}

/// A whole number, also one that YAML read as a float: kubectl sends `1.0` as `1`.
fn integer(number: &Number) -> Option<i64> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    number.as_i64().or_else(|| {
        let float = number.as_f64().filter(|float| float.fract() == 0.0 && float.abs() < EXACT)?;
        format!("{float:.0}").parse().ok()
    })
}

fn quantity(value: &Value) -> Result<Quantity, DefaultError> {
    let text = match value {
        Value::Null => "0",
        Value::String(text) => text,
        Value::Number(number) => &number_text(number),
        other => return Err(Problem::Type { expected: "a quantity", found: type_of(other) }.into()),
    };
    Quantity::parse(text).map_err(|error| Problem::Quantity { error, found: text.to_owned() }.into())
}

/// A number as Go's JSON encoder writes it, since that text is what the server parses.
fn number_text(number: &Number) -> String {
    let Some(float) = number.as_f64().filter(|_| number.is_f64()) else {
        return number.to_string();
    };
    if float == 0.0 || (1e-6..1e21).contains(&float.abs()) {
        return float.to_string();
    }
    let text = format!("{float:e}");
    if float.abs() >= 1e21 { text.replace('e', "e+") } else { text }
}

/// Go keeps an instant to the nanosecond and writes it to the second; the zero time is written as null.
fn time(text: &str) -> Result<Value, DefaultError> {
    let timestamp: Timestamp = text.parse().map_err(|_| Problem::Time { found: text.to_owned() })?;
    let written = timestamp.to_zoned(TimeZone::UTC).strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    Ok(if written == "0001-01-01T00:00:00Z" { Value::Null } else { written.into() })
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Text => "a string",
            Self::Bool => "a boolean",
            Self::Int32 | Self::Int64 => "an integer",
            Self::IntOrString => "an integer or a string",
            Self::Quantity => "a quantity",
            Self::Time => "a time",
            Self::Any => "anything",
            Self::List(_) => "a list",
            Self::Map(_) | Self::Resources | Self::Object(_) => "an object",
        }
    }
}
