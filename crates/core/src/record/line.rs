//! One line of a log, read once and strictly: a record, another line of a chain, a line that looks like one of them and
//! cannot be read, or none of these.
//!
//! Everything that shows or verifies records reads them here. So no spelling of a line makes it a record for one reader
//! and an ordinary line for another.

use std::borrow::Cow;

use memchr::{memchr, memmem};
use serde::{Deserialize as _, Serialize};
use serde_json::Value;

use crate::{
    encoding::{
        spelling::unescape,
        strict::{self, ByFieldName},
    },
    record::{
        chain::CHAIN_VERSION,
        decision::{DecisionRecord, RECORD_VERSION},
    },
};

/// How the `version` of a record begins, in every version of the format.
const RECORD_FORMAT: &str = "writgate.dev/decision/";
/// How the `version` of a start link begins.
const CHAIN_FORMAT: &str = "writgate.dev/chain/";
/// How often escapes are undone. Strict JSON takes once; a broken line may be in a string of another line.
const MAX_LEVELS: usize = 3;

/// A line of a log. Nothing in it is verified.
#[derive(Clone, Debug, PartialEq)]
pub enum LogLine<'t> {
    /// An ordinary log line, or something else.
    NotARecord,
    /// The line looks like a record and is not strict JSON; why.
    Unreadable(String),
    /// The line says that it is a record, a start link or another line of a chain.
    Claimed(ClaimedLine<'t>),
}

/// What a line says about itself. None of it is verified.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct UnverifiedClaims {
    /// `id`, at most 80 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// `chain.writer`, at most 80 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub writer: Option<String>,
    /// `chain.sequence`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// `signature.keyid`, at most 80 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keyid: Option<String>,
}

/// A strict JSON object whose `version` is one of a record or a start link, or that has a link and a signature.
#[derive(Clone, Debug, PartialEq)]
pub struct ClaimedLine<'t> {
    text: &'t str,
    id: Option<Value>,
    version: Option<Value>,
    chain: Option<Value>,
    signature: Option<Value>,
}

impl<'t> LogLine<'t> {
    /// Reads a line, the text of one JSON value.
    #[must_use]
    pub fn read(text: &'t [u8]) -> Self {
        if !looks_like_a_record(text) {
            return Self::NotARecord;
        }
        let members = str::from_utf8(text).map_err(|error| error.to_string()).and_then(|text| {
            let members = strict::members(text, ["id", "version", "chain", "signature"])?;
            Ok(members.map(|[id, version, chain, signature]| ClaimedLine { text, id, version, chain, signature }))
        });
        match members {
            Ok(Some(line)) if line.names_a_format() || line.is_sealed() => Self::Claimed(line),
            Ok(_) => Self::NotARecord,
            Err(why) => Self::Unreadable(why),
        }
    }
}

impl<'t> ClaimedLine<'t> {
    /// The decision record that the line claims to be. `None`: the line is a start link.
    ///
    /// # Errors
    ///
    /// The line is not a record of this version. The text says why.
    pub fn record(&self) -> Result<Option<DecisionRecord>, String> {
        match self.version() {
            Some(CHAIN_VERSION) => Ok(None),
            // Integers may be spelled as fractions, which only the reader of values takes.
            Some(RECORD_VERSION) => record_in(self.text.as_bytes()).or_else(|_| self.record_of_value()).map(Some),
            _ => Err(self.other_version()),
        }
    }

    fn record_of_value(&self) -> Result<DecisionRecord, String> {
        let value = strict::parse(self.text.as_bytes())?;
        let ByFieldName(record) = ByFieldName::deserialize(value).map_err(|error| error.to_string())?;
        Ok(record)
    }

    /// The text of the line.
    pub(crate) fn text(&self) -> &'t str {
        self.text
    }

    pub(crate) fn version(&self) -> Option<&str> {
        self.version.as_ref().and_then(Value::as_str)
    }

    /// Whether `version` is one that this version of the format defines.
    pub(crate) fn has_known_version(&self) -> bool {
        matches!(self.version(), Some(RECORD_VERSION | CHAIN_VERSION))
    }

    /// Why the line is not a record of this version.
    pub(crate) fn other_version(&self) -> String {
        let found = self.version().map_or_else(|| "no version".to_owned(), |version| format!("version {version:?}"));
        format!("the record has {found}, expected {RECORD_VERSION}")
    }

    /// Whether the line has a link and a signature.
    pub(crate) fn is_sealed(&self) -> bool {
        let has = |member: &Option<Value>| member.as_ref().is_some_and(|value| !value.is_null());
        has(&self.chain) && has(&self.signature)
    }

    pub(crate) fn signature(&self) -> Option<&Value> {
        self.signature.as_ref()
    }

    /// What the line says about itself.
    #[must_use]
    pub fn claims(&self) -> UnverifiedClaims {
        let short = |text: &str| text.chars().take(80).collect();
        let text = |value: Option<&Value>| value.and_then(Value::as_str).map(short);
        let of = |object: &'_ Option<Value>, name: &str| object.as_ref().and_then(|object| object.get(name).cloned());
        UnverifiedClaims {
            id: text(self.id.as_ref()),
            writer: text(of(&self.chain, "writer").as_ref()),
            sequence: of(&self.chain, "sequence").as_ref().and_then(Value::as_u64),
            keyid: text(of(&self.signature, "keyid").as_ref()),
        }
    }

    fn names_a_format(&self) -> bool {
        self.version().is_some_and(|version| version.starts_with(RECORD_FORMAT) || version.starts_with(CHAIN_FORMAT))
    }
}

/// The record that a strict JSON text is.
pub(crate) fn record_in(json: &[u8]) -> Result<DecisionRecord, String> {
    let ByFieldName(record) =
        serde_json::from_slice::<ByFieldName<DecisionRecord>>(json).map_err(|error| error.to_string())?;
    Ok(record)
}

/// Whether `text` contains the beginning of a version, or the keys of a link and a signature.
fn names_a_format(text: &[u8]) -> bool {
    let has = |part: &str| memmem::find(text, part.as_bytes()).is_some();
    has(RECORD_FORMAT) || has(CHAIN_FORMAT) || (has("\"signature\"") && has("\"chain\""))
}

/// Whether the text may be a record in any spelling, or was one before it was cut off or altered. Most lines of a log
/// have no backslash, and are searched once.
fn looks_like_a_record(text: &[u8]) -> bool {
    let mut text = Cow::Borrowed(text);
    for _ in 0..MAX_LEVELS {
        if names_a_format(&text) {
            return true;
        }
        if memchr(b'\\', &text).is_none() {
            return false;
        }
        text = Cow::Owned(unescape(&text));
    }
    names_a_format(&text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::chain::Link;

    fn kind(line: &str) -> &'static str {
        match LogLine::read(line.as_bytes()) {
            LogLine::NotARecord => "not a record",
            LogLine::Unreadable(_) => "unreadable",
            LogLine::Claimed(line) if line.is_sealed() => "sealed",
            LogLine::Claimed(_) => "unsealed",
        }
    }

    #[test]
    fn a_record_is_a_record_in_every_spelling() {
        for line in [
            r#"{"version":"writgate.dev/decision/v1"}"#,
            r#"{"version":"writgate.dev\/decision\/v1"}"#,
            r#"{"version":"writgate.dev/decision/\u00761"}"#,
            r#"{"\u0076ersion":"\u0077ritgate.dev\u002fdecision/v1"}"#,
            " { \"id\" : 1 ,\t\"version\" : \"writgate.dev/decision/v9\" } ",
            r#"{"version":"writgate.dev/chain/v1"}"#,
            r#"{"version":"writgate.dev/decision/v1","chain":{},"signature":null}"#,
        ] {
            assert_eq!(kind(line), "unsealed", "{line}");
        }
        for line in [
            r#"{"version":"writgate.dev/decision/v1","chain":{},"signature":{}}"#,
            r#"{"ch\u0061in":{},"signature":{}}"#,
            r#"{"version":1,"chain":0,"signature":0}"#,
        ] {
            assert_eq!(kind(line), "sealed", "{line}");
        }
    }

    #[test]
    fn what_looks_like_a_record_and_is_not_strict_json_is_unreadable() {
        for line in [
            r#"{"version":"writgate.dev/decision/v1","x":1,"x":1}"#,
            r#"{"version":"writgate.dev/decision/v1","version":"x"}"#,
            r#"{"version":"writgate.dev/decision/\u00761","x":1e999}"#,
            r#"{"version":"writgate.dev\/decision\/v1","x":"\ud800"}"#,
            r#"{"version":"writgate.dev/decision/v1","x":9007199254740993}"#,
            r#"{"version":"writgate.dev/decision/v1""#,
            r"{'version':'writgate.dev/decision/v1'}",
            r#"{"chain":{},"signature":{"#,
            r#"{"log":"{\"version\":\"writgate.dev\\/decision\\/v1"#,
            "{\"version\":\"writgate.dev/decision/v1\"} {\"version\":\"writgate.dev/decision/v1\"}",
        ] {
            assert_eq!(kind(line), "unreadable", "{line}");
        }
        assert!(matches!(
            LogLine::read(b"{\"version\":\"writgate.dev/decision/v1\",\"x\":\"\xff\"}"),
            LogLine::Unreadable(_)
        ));
    }

    #[test]
    fn other_lines_are_not_records() {
        for line in [
            "plain",
            r#"{"message":"writgate.dev/decision/v1"}"#,
            r#"["writgate.dev/decision/v1"]"#,
            r#"{"version":"writgate.dev\\/decision\\/v1"}"#,
            r#"{"nested":{"version":"writgate.dev/decision/v1"}}"#,
            r#"{"chain":{},"signature":null}"#,
            r#"{"message":"a \"quote\"","ratio":1e999}"#,
        ] {
            assert_eq!(kind(line), "not a record", "{line}");
        }
    }

    fn sealed() -> DecisionRecord {
        let mut record = DecisionRecord::empty(uuid::Uuid::nil(), jiff::Timestamp::UNIX_EPOCH);
        record.chain = Some(Link { writer: uuid::Uuid::nil(), sequence: 1, previous: None });
        record
    }

    #[test]
    fn a_record_of_another_form_cannot_be_read() {
        let record = |line: &str| match LogLine::read(line.as_bytes()) {
            LogLine::Claimed(line) => line.record().map(drop),
            other => panic!("{line}: {other:?}"),
        };
        assert_eq!(
            record(r#"{"version":"writgate.dev/decision/v9"}"#),
            Err("the record has version \"writgate.dev/decision/v9\", expected writgate.dev/decision/v1".to_owned())
        );
        assert!(record(r#"{"version":"writgate.dev/decision/v1"}"#).is_err_and(|why| why.contains("missing field")));
        assert_eq!(record(r#"{"version":"writgate.dev/chain/v1"}"#), Ok(()));
        let sealed = serde_json::to_string(&sealed()).unwrap();
        assert_eq!(record(&sealed), Ok(()));
        assert_eq!(record(&sealed.replace(r#""sequence":1"#, r#""sequence":1e0"#)), Ok(()));
        assert!(record(&sealed.replace(r#""sequence":1"#, r#""sequence":1.5"#)).is_err());
    }
}
