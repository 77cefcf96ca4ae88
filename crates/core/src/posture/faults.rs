//! Reading a document strictly, and keeping everything that is wrong in it.
//!
//! Faults are collected, not thrown: whoever repairs a posture at night wants all of them at once. What a kind of
//! document may say is the business of the files beside this one.

use std::fmt::{self, Display};

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::by_name::ByName;
use crate::{encoding::time::parse_time, posture::set::PostureProblem};

/// The longest text in any document, in bytes.
const MAX_TEXT: usize = 512;
/// The longest value of a Kubernetes label, and so the longest environment and project.
const MAX_LABEL: usize = 63;
/// Deeper than any document of ours.
const MAX_DEPTH: usize = 16;
/// The most that is told of one document; a large one may have a fault in each of its lines.
const MAX_FAULTS: usize = 100;
const LAST_FAULT: usize = MAX_FAULTS - 1;

/// What is wrong in one document.
pub(super) struct Faults<'a> {
    source: &'a str,
    found: Vec<PostureProblem>,
}

impl<'a> Faults<'a> {
    pub(super) fn of(source: &'a str) -> Self {
        Self { source, found: Vec::new() }
    }

    pub(super) fn add(&mut self, path: impl Display, message: impl Display) {
        self.push(PostureProblem::new(self.source, path, message));
    }

    /// Adds a fault of what is merely not there yet.
    pub(super) fn add_incomplete(&mut self, path: impl Display, message: impl Display) {
        let problem = PostureProblem::new(self.source, path, message);
        self.push(PostureProblem { is_incomplete: true, ..problem });
    }

    fn push(&mut self, problem: PostureProblem) {
        self.found.push(match self.found.len() {
            MAX_FAULTS.. => return,
            LAST_FAULT => PostureProblem::new(
                self.source,
                "",
                format_args!("more is wrong; the first {LAST_FAULT} faults are told"),
            ),
            _ => problem,
        });
    }

    /// Keeps the fault, and gives the value where there is none.
    pub(super) fn keep<T, E: Display>(&mut self, path: impl Display, result: Result<T, E>) -> Option<T> {
        result.map_err(|error| self.add(path, error)).ok()
    }

    pub(super) fn time(&mut self, path: impl Display, text: Option<&str>) -> Option<Timestamp> {
        self.keep(path, parse_time(text?))
    }

    /// Names neither begin nor end with space, since two of them would look alike.
    pub(super) fn name(&mut self, path: impl Display, name: &str) {
        if name.is_empty() {
            self.add(path, "is empty; expected a name");
        } else if name.trim() != name {
            self.add(path, format_args!("{name:?} begins or ends with space"));
        } else if name.contains(char::is_control) {
            self.add(path, format_args!("{name:?} has a control character"));
        }
    }

    pub(super) fn names(&mut self, path: &str, names: &[String]) {
        for (index, name) in names.iter().enumerate() {
            self.name(format_args!("{path}[{index}]"), name);
        }
    }

    /// What is compared with a label must be able to be one.
    pub(super) fn label(&mut self, path: impl Display, value: &str) {
        let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        let outer = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
        let bytes = value.as_bytes();
        if !(outer(bytes.first()) && outer(bytes.last()) && bytes.iter().all(|&b| inner(b)) && bytes.len() <= MAX_LABEL)
        {
            self.add(path, format_args!("{value:?} cannot be the value of a namespace's label"));
        }
    }

    pub(super) fn found(self) -> Vec<PostureProblem> {
        self.found
    }

    pub(super) fn into_result<T>(self, value: Option<T>) -> Result<T, Vec<PostureProblem>> {
        value.filter(|_| self.found.is_empty()).ok_or(self.found)
    }
}

/// Reads a document strictly: no unknown field, no null, no text beyond the limit.
pub(super) fn read<T: DeserializeOwned>(value: &Value, faults: &mut Faults<'_>) -> Option<T> {
    check_values(value, Place::Document, 0, faults);
    if !faults.found.is_empty() {
        return None;
    }
    match serde_path_to_error::deserialize(ByName(value)) {
        Ok(document) => Some(document),
        Err(error) => {
            let path = error.path().to_string();
            let mut message = error.into_inner().to_string();
            if message.contains("invalid type: boolean") {
                message.push_str(" (in YAML yes, no, on and off are booleans; put the word in quotes)");
            }
            faults.add(if path == "." { "" } else { &path }, message);
            None
        }
    }
}

/// Where a value is; spelled out only for a message about it.
#[derive(Clone, Copy)]
enum Place<'p> {
    Document,
    Field(&'p Place<'p>, &'p str),
    Item(&'p Place<'p>, usize),
}

impl Place<'_> {
    /// Where a capability rule has its condition, whose own limit is told when it is compiled.
    fn is_condition(self) -> bool {
        matches!(self, Self::Field(Self::Item(Self::Field(Self::Document, "capabilityRules"), _), "when"))
    }
}

impl Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Document => Ok(()),
            Self::Field(Place::Document, field) => f.write_str(field),
            Self::Field(of, field) => write!(f, "{of}.{field}"),
            Self::Item(of, index) => write!(f, "{of}[{index}]"),
        }
    }
}

fn check_values(value: &Value, place: Place<'_>, depth: usize, faults: &mut Faults<'_>) {
    match value {
        Value::Array(_) | Value::Object(_) if depth == MAX_DEPTH => {
            faults.add(place, format_args!("is nested deeper than {MAX_DEPTH} levels"));
        }
        Value::Null => faults.add(place, "is null, which is not an absent field; give it a value or remove it"),
        Value::String(text) if text.len() > MAX_TEXT && !place.is_condition() => {
            faults.add(place, format_args!("has {} bytes, more than {MAX_TEXT}", text.len()));
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                check_values(item, Place::Item(&place, index), depth + 1, faults);
            }
        }
        Value::Object(fields) => {
            for (field, value) in fields {
                if field.len() > MAX_TEXT {
                    faults.add(place, format_args!("has a field of {} bytes, more than {MAX_TEXT}", field.len()));
                } else {
                    check_values(value, Place::Field(&place, field), depth + 1, faults);
                }
            }
        }
        _ => {}
    }
}
