//! The effect of decoding JSON into the API server's Go types and encoding it again, before any default.
//!
//! The tag of a field says whether null and empty values are dropped. Quantities and times get their canonical
//! spelling. A value of the wrong type is an error, as it is in the API server. Fields that the tables do not contain
//! stay unchanged.

use jiff::{Timestamp, tz::TimeZone};
use serde_json::{Number, Value};

use super::{DefaultError, DefaultProblem, JsonObject, UnknownField};
use crate::kube::quantity::Quantity;

/// The Go type of a field, as far as its JSON form depends on it.
#[derive(Clone, Copy, Debug)]
pub(super) enum FieldKind {
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
    List(&'static FieldKind),
    /// A map from strings to one kind.
    Map(&'static FieldKind),
    /// A struct.
    Object(&'static [Field]),
}

/// A field of a struct.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field {
    name: &'static str,
    kind: FieldKind,
    rule: Rule,
    /// The minor version of the first release that keeps the field by default; 0 if every supported release does.
    since: u32,
}

/// When the encoder writes a field. This depends on Go's `omitempty`, and on whether the type is a pointer.
#[derive(Clone, Copy, Debug)]
enum Rule {
    Always,
    NonZero,
    Pointer,
    Nullable,
    Gated,
}

/// A field that is always written, even if the manifest does not have it. `omitempty` has no effect on a struct.
pub(super) const fn always(name: &'static str, kind: FieldKind) -> Field {
    Field { name, kind, rule: Rule::Always, since: 0 }
}

/// A plain value with `omitempty`: omitted if it is empty, zero or false.
pub(super) const fn non_zero(name: &'static str, kind: FieldKind) -> Field {
    Field { name, kind, rule: Rule::NonZero, since: 0 }
}

/// A pointer with `omitempty`: omitted only if it is null. False and zero stay and have a meaning.
pub(super) const fn pointer(name: &'static str, kind: FieldKind) -> Field {
    Field { name, kind, rule: Rule::Pointer, since: 0 }
}

/// A pointer without `omitempty`: null if it is absent.
pub(super) const fn nullable(name: &'static str, kind: FieldKind) -> Field {
    Field { name, kind, rule: Rule::Nullable, since: 0 }
}

/// A field whose feature gate is off by default: the API server decodes it and then drops it.
pub(super) const fn gated(_gate: &'static str, field: Field) -> Field {
    Field { rule: Rule::Gated, ..field }
}

/// A field that the API server of each release before v1.`minor` drops by default.
pub(super) const fn since(minor: u32, field: Field) -> Field {
    Field { since: minor, ..field }
}

/// Converts an object to the form in which the API server would encode it. Fails if a value has the wrong type.
pub(super) fn conform(object: &mut JsonObject, fields: &[Field]) -> Result<(), DefaultError> {
    // A struct has up to 40 fields, of which a manifest has few.
    let mut failure = None;
    object.retain(|name, member| {
        let Some(field) = fields.iter().find(|field| field.name == name) else { return true };
        match field.written(member.take()) {
            Ok(Some(value)) => *member = value,
            Ok(None) => return false,
            Err(error) => failure = failure.take().or(Some(error.under(name))),
        }
        true
    });
    if let Some(error) = failure {
        return Err(error);
    }
    for field in fields.iter().filter(|field| matches!(field.rule, Rule::Always | Rule::Nullable)) {
        if !object.contains_key(field.name)
            && let Some(value) = field.written(Value::Null)?
        {
            object.insert(field.name.to_owned(), value);
        }
    }
    Ok(())
}

impl Field {
    /// What the encoder writes for the value of the field, which is null if there is none. `None`: the field is omitted.
    fn written(&self, value: Value) -> Result<Option<Value>, DefaultError> {
        let found = if value.is_null() { None } else { Some(conformed(self.kind, value)?) };
        Ok(match self.rule {
            Rule::Always => Some(found.map_or_else(|| zero(self.kind), Ok)?),
            Rule::NonZero => found.filter(|value| !is_zero(value)),
            Rule::Pointer => found,
            Rule::Nullable => Some(found.unwrap_or(Value::Null)),
            Rule::Gated => None,
        })
    }
}

/// Adds the members of `object` that the tables do not contain. Values of a wrong type are [`conform`]'s.
pub(super) fn add_unknown(object: &JsonObject, fields: &[Field], path: &str, unknown: &mut Vec<UnknownField>) {
    for (name, value) in object {
        let path = format!("{path}.{name}");
        match fields.iter().find(|field| field.name == name) {
            Some(field) => add_unknown_in(field.kind, value, &path, unknown),
            None => unknown.push(UnknownField { path, known: fields.iter().map(|field| field.name).collect() }),
        }
    }
}

fn add_unknown_in(kind: FieldKind, value: &Value, path: &str, unknown: &mut Vec<UnknownField>) {
    match (kind, value) {
        (FieldKind::Object(fields), Value::Object(object)) => add_unknown(object, fields, path, unknown),
        (FieldKind::List(item), Value::Array(items)) => {
            for (index, value) in items.iter().enumerate() {
                add_unknown_in(*item, value, &format!("{path}[{index}]"), unknown);
            }
        }
        (FieldKind::Map(item), Value::Object(entries)) => {
            for (name, value) in entries {
                add_unknown_in(*item, value, &format!("{path}.{name}"), unknown);
            }
        }
        _ => {}
    }
}

/// Adds the path of every field, with the names of fields only.
#[cfg(test)]
pub(super) fn add_paths(fields: &[Field], path: &[&'static str], paths: &mut Vec<Vec<&'static str>>) {
    for Field { name, kind, .. } in fields {
        let path = [path, &[*name]].concat();
        match kind {
            FieldKind::Object(fields) | FieldKind::List(FieldKind::Object(fields)) => add_paths(fields, &path, paths),
            _ => {}
        }
        paths.push(path);
    }
}

/// Removes the members of `object` that the API server of Kubernetes v1.`minor` drops, and adds their paths.
pub(super) fn remove_dropped(
    object: &mut JsonObject,
    fields: &[Field],
    minor: u32,
    path: &str,
    dropped: &mut Vec<String>,
) {
    object.retain(|name, value| {
        let path = format!("{path}.{name}");
        match fields.iter().find(|field| field.name == name) {
            Some(field) if field.since <= minor => {
                remove_dropped_in(field.kind, value, minor, &path, dropped);
                return true;
            }
            Some(_) if value.is_null() => {}
            _ => dropped.push(path),
        }
        false
    });
}

fn remove_dropped_in(kind: FieldKind, value: &mut Value, minor: u32, path: &str, dropped: &mut Vec<String>) {
    match (kind, value) {
        (FieldKind::Object(fields), Value::Object(object)) => remove_dropped(object, fields, minor, path, dropped),
        (FieldKind::List(item), Value::Array(items)) => {
            for (index, value) in items.iter_mut().enumerate() {
                remove_dropped_in(*item, value, minor, &format!("{path}[{index}]"), dropped);
            }
        }
        (FieldKind::Map(item), Value::Object(entries)) => {
            for (name, value) in entries.iter_mut() {
                remove_dropped_in(*item, value, minor, &format!("{path}.{name}"), dropped);
            }
        }
        _ => {}
    }
}

fn conformed(kind: FieldKind, value: Value) -> Result<Value, DefaultError> {
    match (kind, value) {
        (FieldKind::Any, value)
        | (FieldKind::Text | FieldKind::IntOrString, value @ Value::String(_))
        | (FieldKind::Bool, value @ Value::Bool(_)) => Ok(value),
        // The YAML reader keeps these letters as texts, because it does not know the type of a field.
        (FieldKind::Bool, Value::String(letter)) if matches!(&*letter, "y" | "Y") => Ok(Value::Bool(true)),
        (FieldKind::Bool, Value::String(letter)) if matches!(&*letter, "n" | "N") => Ok(Value::Bool(false)),
        (FieldKind::Int32 | FieldKind::IntOrString, Value::Number(number)) => {
            integer(&number).filter(|integer| i32::try_from(*integer).is_ok()).map_or_else(
                || Err(DefaultProblem::Integer { bits: 32, found: number.to_string() }.into()),
                |i| Ok(i.into()),
            )
        }
        (FieldKind::Int64, Value::Number(number)) => integer(&number).map_or_else(
            || Err(DefaultProblem::Integer { bits: 64, found: number.to_string() }.into()),
            |i| Ok(i.into()),
        ),
        (FieldKind::Quantity, value) => Ok(quantity(&value)?.to_string().into()),
        (FieldKind::Time, Value::String(text)) => time(&text),
        (FieldKind::List(item), Value::Array(items)) => items
            .into_iter()
            .enumerate()
            .map(|(index, value)| element(*item, value).map_err(|error| error.at(index)))
            .collect::<Result<Vec<_>, _>>()
            .map(Value::Array),
        (FieldKind::Map(item), Value::Object(entries)) => map(entries, |value| element(*item, value)),
        (FieldKind::Resources, Value::Object(entries)) => map(entries, |value| {
            let mut quantity = quantity(&value)?;
            quantity.round_up_to_milli();
            Ok(quantity.to_string().into())
        }),
        (FieldKind::Object(fields), Value::Object(mut object)) => {
            conform(&mut object, fields)?;
            Ok(Value::Object(object))
        }
        (kind, value) => Err(DefaultProblem::Type { expected: kind.name(), found: type_of(&value) }.into()),
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

/// Converts an item of a list or a map. There, null is the zero value.
fn element(kind: FieldKind, value: Value) -> Result<Value, DefaultError> {
    if value.is_null() { zero(kind) } else { conformed(kind, value) }
}

/// The encoded zero value of a type.
fn zero(kind: FieldKind) -> Result<Value, DefaultError> {
    Ok(match kind {
        FieldKind::Text => "".into(),
        FieldKind::Bool => false.into(),
        FieldKind::Int32 | FieldKind::Int64 | FieldKind::IntOrString => 0.into(),
        FieldKind::Quantity => "0".into(),
        FieldKind::Time | FieldKind::Any | FieldKind::Resources | FieldKind::List(_) | FieldKind::Map(_) => Value::Null,
        FieldKind::Object(fields) => {
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

/// An integer, also if YAML read it as a float: kubectl sends `1.0` as `1`.
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
        other => return Err(DefaultProblem::Type { expected: "a quantity", found: type_of(other) }.into()),
    };
    Quantity::parse(text).map_err(|error| DefaultProblem::Quantity { error, found: text.to_owned() }.into())
}

/// A number in the spelling of Go's JSON encoder, which is the text that the API server parses.
fn number_text(number: &Number) -> String {
    let float = match number.as_f64() {
        Some(float) if number.is_f64() => float,
        _ => return number.to_string(),
    };
    if float == 0.0 || (1e-6..1e21).contains(&float.abs()) {
        return float.to_string();
    }
    let text = format!("{float:e}");
    if float.abs() >= 1e21 { text.replace('e', "e+") } else { text }
}

/// A time as Go writes it: in whole seconds, although Go stores nanoseconds. The zero time becomes null.
fn time(text: &str) -> Result<Value, DefaultError> {
    let timestamp: Timestamp = text.parse().map_err(|_| DefaultProblem::Time { found: text.to_owned() })?;
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

impl FieldKind {
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
