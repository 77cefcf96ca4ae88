//! The only reader of YAML text, for postures and manifests. It reads YAML and JSON as kubectl does.
//!
//! It reads YAML 1.1 scalars (`0644` is 420, `yes` is true), merge keys and several documents. It refuses what kubectl
//! would silently change: duplicate keys, and numbers that a double does not hold exactly. It expands anchors within a
//! budget.

use std::fmt;

use serde_json::Value;
use serde_saphyr::{MessageFormatter as _, NonFiniteFloatPolicy, UserMessageFormatter};

use crate::encoding::strict::Strict;

/// The text is neither YAML nor JSON that can be read exactly.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct YamlError {
    /// Line and column, counted from 1, if they are known.
    pub at: Option<(u64, u64)>,
    /// What is wrong.
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

/// Reads every document of a YAML or JSON text. Empty documents are skipped.
///
/// There are three differences from kubectl v1.37. Each can only make a hash differ or a text be refused: a lone `y` or
/// `n` is a text, a number with unusual underscores (`1__0`) is a text, and a key may not be a fraction.
///
/// # Errors
///
/// The text is not YAML, has a duplicate key or an inexact number, or exceeds the budget of nodes.
pub fn read_yaml(text: &str) -> Result<Vec<Value>, YamlError> {
    // As kubectl does: JSON's escapes differ from YAML's (only in JSON is a surrogate pair one character). A text that
    // is not JSON, such as `{a: b}`, is read as YAML below, and the YAML reader's error is the one to show.
    if text.trim_start().starts_with('{')
        && let Ok(documents) = read_json(text)
    {
        return Ok(documents);
    }
    let mut documents = read_documents(text, false)?;
    // The second reading, in which only true and false are booleans, is required only if such a word occurs.
    if text.split(|char: char| !char.is_ascii_alphanumeric()).any(stays_text)
        && let Ok(literal) = read_documents(text, true)
    {
        documents.iter_mut().zip(&literal).for_each(|(document, literal)| keep_words(document, literal));
    }
    Ok(documents)
}

/// Whether the YAML reader reads `word` as a boolean although it must stay a text.
///
/// In YAML 1.1, `y` and `n` are booleans too. Readers disagree: kubectl follows YAML 1.1, `PyYAML` and Ruby never did.
/// No reader accepts a longer word in mixed case (`yEs`).
fn stays_text(word: &str) -> bool {
    if matches!(word, "y" | "Y" | "n" | "N") {
        return true;
    }
    let (Some(first), Some(rest)) = (word.get(..1), word.get(1..)) else { return false };
    let usual =
        rest == rest.to_ascii_lowercase() || (first == first.to_ascii_uppercase() && rest == rest.to_ascii_uppercase());
    !usual && ["yes", "no", "on", "off", "true", "false"].iter().any(|boolean| boolean.eq_ignore_ascii_case(word))
}

/// Restores each such word to the text that was written. A field of type string requires the text: the API server
/// refuses kubectl's boolean there, and accepts other clients' text. For a field of type boolean, the reader of
/// manifests converts the text.
fn keep_words(value: &mut Value, literal: &Value) {
    match (value, literal) {
        (value @ Value::Bool(_), Value::String(word)) if stays_text(word) => *value = literal.clone(),
        (Value::Array(items), Value::Array(literal)) => {
            items.iter_mut().zip(literal).for_each(|(item, literal)| keep_words(item, literal));
        }
        (Value::Object(members), Value::Object(literal)) => {
            for (key, member) in members {
                if let Some(literal) = literal.get(key) {
                    keep_words(member, literal);
                }
            }
        }
        _ => {}
    }
}

/// The maximum number of nodes in all documents, and of events that aliases may add. A large posture has a few
/// thousand.
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
    use std::fmt::Write as _;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn one(text: &str) -> Value {
        let mut documents = read_yaml(text).unwrap_or_else(|error| panic!("{text:?}: {error}"));
        assert_eq!(documents.len(), 1, "{text:?}");
        documents.remove(0)
    }

    fn refused(text: &str) -> YamlError {
        match read_yaml(text) {
            Ok(documents) => panic!("{text:?} was read as {documents:?}"),
            Err(error) => error,
        }
    }

    /// The expected values are those of `sigs.k8s.io/yaml` v1.6.0, which kubectl uses.
    #[test]
    fn reads_scalars_as_kubectl_does() {
        for (text, expected) in [
            ("0644", json!(420)),
            ("-0644", json!(-420)),
            ("0o644", json!(420)),
            ("08", json!(8)),
            ("0x1F", json!(31)),
            ("0b101", json!(5)),
            ("1_000", json!(1000)),
            ("+12", json!(12)),
            ("1.0", json!(1)),
            ("1e3", json!(1000)),
            ("-0.0", json!(0)),
            (".5", json!(0.5)),
            ("1e-3", json!(0.001)),
            ("9007199254740992", json!(9_007_199_254_740_992_i64)),
            ("yes", json!(true)),
            ("on", json!(true)),
            ("No", json!(false)),
            ("OFF", json!(false)),
            ("yEs", json!("yEs")),
            ("tRUE", json!("tRUE")),
            ("oN", json!("oN")),
            ("True", json!(true)),
            ("~", json!(null)),
            ("null", json!(null)),
            ("", json!(null)),
            ("'yes'", json!("yes")),
            ("\"0644\"", json!("0644")),
            ("nUll", json!("nUll")),
            ("2026-11-22", json!("2026-11-22")),
            ("2026-11-22T10:00:00Z", json!("2026-11-22T10:00:00Z")),
            ("12:30", json!("12:30")),
            ("1.2.3", json!("1.2.3")),
            ("5Gi", json!("5Gi")),
            ("b#c", json!("b#c")),
            ("!!str 5", json!("5")),
            ("|\n  x\n  y", json!("x\ny\n")),
            (">-\n  x\n  y", json!("x y")),
            ("[yes, {no: 'on'}]", json!([true, {"false": "on"}])),
        ] {
            assert_eq!(one(&format!("a: {text}\n")), json!({ "a": expected }), "{text}");
        }
    }

    #[test]
    fn a_lone_letter_is_a_text_and_a_word_is_a_boolean() {
        let read = read_yaml("a: [y, N, yes, off, 'n']\nb: {c: Y, d: true}\n").expect("YAML");
        assert_eq!(read, [json!({"a": ["y", "N", true, false, "n"], "b": {"c": "Y", "d": true}})]);
    }

    #[test]
    fn converts_keys_to_texts_as_kubectl_does() {
        assert_eq!(one("y: 1"), json!({"true": 1}));
        assert_eq!(one("0644: 1"), json!({"420": 1}));
        assert_eq!(one("'y': 1"), json!({"y": 1}));
        refused("1.5: x");
        refused("~: x");
        refused("? [a]\n: x");
    }

    #[test]
    fn refuses_a_duplicate_key() {
        for text in ["a: 1\na: 2", "{a: 1, 'a': 2}", "x: {y: 1, true: 2}", r#"{"a":1,"a":2}"#, "- a: 1\n  a: 1"] {
            refused(text);
        }
        assert_eq!(refused("a: 1\nb: 2\na: 3\n").at, Some((3, 1)));
    }

    #[test]
    fn refuses_a_number_that_a_double_does_not_hold() {
        for number in [
            "9007199254740993",
            "-9007199254740993",
            "18446744073709551616",
            "1e16",
            "1e400",
            "-1e400",
            ".inf",
            "-.INF",
            ".nan",
            "0x7fffffffffffffff",
        ] {
            assert_eq!(refused(&format!("a: {number}\n")).at, Some((1, 4)), "{number}");
        }
        refused(r#"{"a": 9007199254740993}"#);
        refused(r#"{"a": 1e400}"#);
    }

    #[test]
    fn merges_merge_keys_and_follows_anchors() {
        assert_eq!(one("x: &x {c: 1}\na: {<<: *x, d: 2}\n")["a"], json!({"c": 1, "d": 2}));
        assert_eq!(one("x: &x {c: 1}\na: {c: 2, <<: *x}\n")["a"], json!({"c": 2}));
        refused("a: *x");
        refused("a: &a [*a]");
    }

    #[test]
    fn reads_several_documents_and_skips_empty_ones() {
        let documents = read_yaml("# nothing\n---\na: 1\n---\n# comment\n---\n\n---\nb: 2\n...\n").unwrap();
        assert_eq!(documents, [json!({"a": 1}), json!({"b": 2})]);
        assert!(read_yaml("").unwrap().is_empty());
        assert!(read_yaml("# comment\n").unwrap().is_empty());
    }

    #[test]
    fn reads_json_with_the_escapes_of_json() {
        assert_eq!(one(r#"{"a": "\ud83d\ude00\/", "yes": "no"}"#), json!({"a": "😀/", "yes": "no"}));
        assert_eq!(read_yaml("{\"a\":1}\n{\"b\":2}").unwrap(), [json!({"a": 1}), json!({"b": 2})]);
        assert_eq!(one("{a: b}"), json!({"a": "b"}));
    }

    #[test]
    fn an_error_says_where_it_is() {
        assert_eq!(refused("a: 1\nb: [1,\n").at.map(|(line, _)| line > 1), Some(true));
        assert_eq!(refused("a: b: c").to_string(), "line 1, column 5: mapping values are not allowed in this context");
        assert!(refused("a: !custom x").message.contains("!custom"));
    }

    #[test]
    fn refuses_documents_that_expand_or_nest_without_bound() {
        let mut laughs = "a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n".to_owned();
        for level in 1..12 {
            let aliases = vec![format!("*a{}", level - 1); 9].join(", ");
            writeln!(laughs, "a{level}: &a{level} [{aliases}]").unwrap();
        }
        refused(&laughs);
        refused(&"[".repeat(100_000));
        refused(&"{\"a\":".repeat(100_000));
        refused(&"- ".repeat(100_000));
        refused(&format!("a: [{}]", "1,".repeat(300_000)));
    }

    proptest! {
        #[test]
        fn never_panics_for_any_text(text in "\\PC{0,200}", structured in "[a-z:{}\\[\\],&*<\\-'\"# \n\t|>!?%0-9.]{0,120}") {
            let _ = read_yaml(&text);
            let _ = read_yaml(&structured);
        }

        #[test]
        fn reads_the_values_that_json_writes(number in -(1_i64 << 53)..=(1_i64 << 53), text in ".{0,40}", key in ".{0,20}") {
            let value = json!({key: [number, text, {"deep": [null, true]}]});
            prop_assert_eq!(read_yaml(&value.to_string()).unwrap(), [value]);
        }
    }
}
