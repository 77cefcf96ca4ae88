//! The problems of a document: collected, never thrown, because whoever repairs a posture wants to see all of them.
//!
//! This file has the checks that all kinds of document share. The rules of each kind are in the file of that kind.

use std::fmt::{self, Display};

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{encoding::strict::ByFieldName, encoding::time::parse_time, text::on_one_line};

/// One problem of a document, and where it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PostureProblem {
    /// The document: [`Document::source`](super::Document::source), and its number if the text holds several.
    pub source: String,
    /// Line and column in the text of the document, counted from 1; `None` if they are unknown.
    pub at: Option<(u64, u64)>,
    /// The path of the field: `actions.deploy.quorum[0].count`. Empty for the whole document.
    pub path: String,
    /// What was found, what was expected and what to do next.
    pub message: String,
    /// Whether the document becomes valid as soon as the documents that it names exist.
    pub is_incomplete: bool,
}

impl PostureProblem {
    pub(crate) fn new(source: impl Into<String>, path: impl Display, message: impl Display) -> Self {
        // Path and message may quote the document.
        let (path, message) = (on_one_line(&path.to_string()), on_one_line(&message.to_string()));
        Self { source: source.into(), path, at: None, message, is_incomplete: false }
    }
}

impl Display for PostureProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source, at, path, message, is_incomplete: _ } = self;
        write!(f, "{source}: ")?;
        if let Some((line, column)) = at {
            write!(f, "line {line}, column {column}: ")?;
        }
        if !path.is_empty() {
            write!(f, "{path}: ")?;
        }
        f.write_str(message)
    }
}

/// The longest text in a document, in bytes.
const MAX_TEXT: usize = 512;
/// The longest value of a Kubernetes label, in bytes, and so the longest environment and project.
const MAX_LABEL: usize = 63;
/// No valid document is nested deeper than this.
const MAX_DEPTH: usize = 16;
/// The most problems that are reported for one document. A large document may have one in each line.
const MAX_PROBLEMS: usize = 100;
const LAST_PROBLEM: usize = MAX_PROBLEMS - 1;

/// The problems of one document.
pub(super) struct Problems<'a> {
    source: &'a str,
    found: Vec<PostureProblem>,
}

impl<'a> Problems<'a> {
    pub(super) fn new(source: &'a str) -> Self {
        Self { source, found: Vec::new() }
    }

    pub(super) fn add(&mut self, path: impl Display, message: impl Display) {
        self.push(PostureProblem::new(self.source, path, message));
    }

    /// Adds a problem that disappears as soon as a named document exists.
    pub(super) fn add_incomplete(&mut self, path: impl Display, message: impl Display) {
        let problem = PostureProblem::new(self.source, path, message);
        self.push(PostureProblem { is_incomplete: true, ..problem });
    }

    fn push(&mut self, problem: PostureProblem) {
        self.found.push(match self.found.len() {
            MAX_PROBLEMS.. => return,
            LAST_PROBLEM => PostureProblem::new(
                self.source,
                "",
                format_args!("has more problems; only the first {LAST_PROBLEM} are reported"),
            ),
            _ => problem,
        });
    }

    /// The value of `result`; an error becomes a problem.
    pub(super) fn keep<T, E: Display>(&mut self, path: impl Display, result: Result<T, E>) -> Option<T> {
        result.map_err(|error| self.add(path, error)).ok()
    }

    pub(super) fn time(&mut self, path: impl Display, text: Option<&str>) -> Option<Timestamp> {
        self.keep(path, parse_time(text?))
    }

    /// Checks a name. Two names that differ only in space around them would look alike.
    pub(super) fn name(&mut self, path: impl Display, name: &str) {
        if name.is_empty() {
            self.add(path, "is empty; expected a name");
        } else if name.trim() != name {
            self.add(path, format_args!("{name:?} begins or ends with space; remove the space"));
        } else if name.contains(char::is_control) {
            self.add(path, format_args!("{name:?} contains a control character; remove it"));
        }
    }

    pub(super) fn names(&mut self, path: &str, names: &[String]) {
        for (index, name) in names.iter().enumerate() {
            self.name(format_args!("{path}[{index}]"), name);
        }
    }

    /// Checks a text that is compared with a label's value.
    pub(super) fn label(&mut self, path: impl Display, value: &str) {
        let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        let outer = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
        let bytes = value.as_bytes();
        if !(outer(bytes.first()) && outer(bytes.last()) && bytes.iter().all(|&b| inner(b)) && bytes.len() <= MAX_LABEL)
        {
            self.add(
                path,
                format_args!(
                    "{value:?} is not a valid label value; expected 1 to {MAX_LABEL} letters, digits, '-', '_' and '.', \
                     beginning and ending with a letter or digit"
                ),
            );
        }
    }

    pub(super) fn into_vec(self) -> Vec<PostureProblem> {
        self.found
    }

    /// The value, if there are no problems.
    pub(super) fn into_result<T>(self, value: Option<T>) -> Result<T, Vec<PostureProblem>> {
        match value {
            Some(value) if self.found.is_empty() => Ok(value),
            _ => Err(self.found),
        }
    }
}

/// Reads a document strictly: without unknown fields, nulls and texts that are too long.
pub(super) fn read<T: DeserializeOwned>(value: &Value, problems: &mut Problems<'_>) -> Option<T> {
    check_values(value, FieldPath::Document, 0, problems);
    if !problems.found.is_empty() {
        return None;
    }
    match serde_path_to_error::deserialize(value) {
        Ok(ByFieldName(document)) => Some(document),
        Err(error) => {
            let path = error.path().to_string();
            let mut message = error.into_inner().to_string();
            if message.contains("invalid type: boolean") {
                message.push_str(" (in YAML yes, no, on and off are booleans; put the word in quotes)");
            }
            problems.add(if path == "." { "" } else { &path }, message);
            None
        }
    }
}

/// The path of a field. It is formatted only for a problem.
#[derive(Clone, Copy)]
enum FieldPath<'p> {
    Document,
    Field(&'p FieldPath<'p>, &'p str),
    Item(&'p FieldPath<'p>, usize),
}

impl FieldPath<'_> {
    /// Whether this is the condition of a capability rule, which has its own limit when it is compiled.
    fn is_condition(self) -> bool {
        matches!(self, Self::Field(Self::Item(Self::Field(Self::Document, "capabilityRules"), _), "when"))
    }
}

impl Display for FieldPath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Document => Ok(()),
            Self::Field(FieldPath::Document, field) => f.write_str(field),
            Self::Field(parent, field) => write!(f, "{parent}.{field}"),
            Self::Item(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

fn check_values(value: &Value, path: FieldPath<'_>, depth: usize, problems: &mut Problems<'_>) {
    match value {
        Value::Array(_) | Value::Object(_) if depth == MAX_DEPTH => {
            problems.add(path, format_args!("is nested deeper than {MAX_DEPTH} levels"));
        }
        Value::Null => problems.add(path, "is null; set a value or remove the field"),
        Value::String(text) if text.len() > MAX_TEXT && !path.is_condition() => {
            problems.add(path, format_args!("has {} bytes; expected at most {MAX_TEXT}", text.len()));
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                check_values(item, FieldPath::Item(&path, index), depth + 1, problems);
            }
        }
        Value::Object(fields) => {
            for (field, value) in fields {
                if field.len() > MAX_TEXT {
                    let message = format_args!(
                        "contains a field whose name has {} bytes; expected at most {MAX_TEXT}",
                        field.len()
                    );
                    problems.add(path, message);
                } else {
                    check_values(value, FieldPath::Field(&path, field), depth + 1, problems);
                }
            }
        }
        _ => {}
    }
}
