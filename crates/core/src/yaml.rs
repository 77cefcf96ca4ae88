//! The one door from YAML or JSON text to values, read as kubectl reads it.
//!
//! YAML 1.1 scalars (`0644` is 420, `yes` is true), merge keys, several documents. What kubectl would silently make
//! something else of is refused: duplicate keys, numbers that a double does not hold exactly. Anchors are expanded
//! within a budget. Called by the reader of postures, and by the command line for manifests.

use std::fmt;

use serde_json::Value;
use serde_saphyr::{MessageFormatter as _, NonFiniteFloatPolicy, UserMessageFormatter};

use crate::strict::Strict;

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
    let mut documents = read_documents(text, false)?;
    // Only a letter that could be read as a boolean is worth a second reading.
    if text.split(|char: char| !char.is_ascii_alphanumeric()).any(is_boolean_letter)
        && let Ok(literal) = read_documents(text, true)
    {
        documents.iter_mut().zip(&literal).for_each(|(document, literal)| keep_letters(document, literal));
    }
    Ok(documents)
}

/// YAML 1.1 calls `y` and `n` booleans too, and readers disagree: kubectl does, `PyYAML` and Ruby never did.
fn is_boolean_letter(word: &str) -> bool {
    matches!(word, "y" | "Y" | "n" | "N")
}

/// Keeps such a letter as it is written. A field that holds text needs the letter (kubectl's boolean is refused there
/// by the API server, while others' letter is admitted); where a boolean belongs, the manifest's reader makes it one.
fn keep_letters(value: &mut Value, literal: &Value) {
    match (value, literal) {
        (value @ Value::Bool(_), Value::String(letter)) if is_boolean_letter(letter) => *value = literal.clone(),
        (Value::Array(items), Value::Array(literal)) => {
            items.iter_mut().zip(literal).for_each(|(item, literal)| keep_letters(item, literal));
        }
        (Value::Object(members), Value::Object(literal)) => {
            for (key, member) in members {
                if let Some(literal) = literal.get(key) {
                    keep_letters(member, literal);
                }
            }
        }
        _ => {}
    }
}

/// Nodes of all documents together, and events that aliases may add. A full posture has some thousands.
const MAX_NODES: usize = 250_000;

fn read_documents(text: &str, strict_booleans: bool) -> Result<Vec<Value>, YamlError> {
    let options = serde_saphyr::options! {
        legacy_octal_numbers: true,
        strict_booleans: strict_booleans,
        reject_unsupported_tags: true,
        non_finite_float_policy: NonFiniteFloatPolicy::Reject,
        with_snippet: false,
        budget: serde_saphyr::budget! { max_nodes: MAX_NODES, max_events: 2 * MAX_NODES },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: MAX_NODES },
    };
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_lone_letter_stays_one_and_words_are_booleans() {
        let read = read_yaml("a: [y, N, yes, off, 'n']\nb: {c: Y, d: true}\n").expect("YAML");
        assert_eq!(read, [json!({"a": ["y", "N", true, false, "n"], "b": {"c": "Y", "d": true}})]);
    }
}
