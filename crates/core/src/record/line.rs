//! One line of a log, read once and strictly: a record, another line of a chain, a line that looks like one of them and
//! cannot be read, or none of these.
//!
//! Everything that shows or verifies records reads them here. So no spelling of a line makes it a record for one reader
//! and an ordinary line for another.

use std::{
    borrow::Cow,
    io::{self, Write},
};

use memchr::{memchr, memmem};
use serde::{Deserialize as _, Serialize};
use serde_json::Value;

use crate::{
    encoding::{
        spelling::unescape,
        strict::{self, ByFieldName},
    },
    record::{
        chain::{CHAIN_VERSION, SEAL_VERSION},
        decision::{DecisionRecord, RECORD_VERSION},
    },
};

/// How the `version` of a record begins, in every version of the format.
const RECORD_FORMAT: &str = "writgate.dev/decision/";
/// How the `version` of a start link begins.
const CHAIN_FORMAT: &str = "writgate.dev/chain/";
/// How the `version` of a seal begins.
const SEAL_FORMAT: &str = "writgate.dev/seal/";
/// How the line of a record in a chain begins and ends as the webhook writes it.
const WRITTEN: (&[u8], &[u8]) = (b"{\"action\":", b",\"version\":\"writgate.dev/decision/v1\"}");
/// The largest sequence that a double holds exactly.
const MAX_SEQUENCE: u64 = 1 << 53;
/// How often escapes are undone. Strict JSON takes once; a broken line may be in a string of another line.
const MAX_LEVELS: usize = 3;

/// A line of a log. Nothing in it is verified.
#[derive(Clone, Debug, PartialEq)]
pub enum LogLine<'t> {
    /// An ordinary log line, or something else.
    NotARecord,
    /// The line looks like a record and is not strict JSON; why.
    Unreadable(String),
    /// The line says that it is a record, a start link, a seal or another line of a chain.
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

/// A strict JSON object whose `version` is one of a record, a start link or a seal, or that has a link and a signature.
#[derive(Clone, Debug, PartialEq)]
pub struct ClaimedLine<'t> {
    text: &'t str,
    members: Members,
}

/// The members of a line that say what the line is.
#[derive(Clone, Debug, PartialEq)]
enum Members {
    /// As they are in the text.
    Read { id: Option<Value>, version: Option<Value>, chain: Option<Value>, signature: Option<Value> },
    /// Those of a record with a link and without a signature, whose text is byte for byte what the webhook writes.
    Written(Box<DecisionRecord>),
}

impl<'t> LogLine<'t> {
    /// Reads a line, the text of one JSON value.
    #[must_use]
    pub fn read(text: &'t [u8]) -> Self {
        if !looks_like_a_record(text) {
            return Self::NotARecord;
        }
        if let Some((text, record)) = as_written(text) {
            return Self::Claimed(ClaimedLine { text, members: Members::Written(Box::new(record)) });
        }
        let members = str::from_utf8(text).map_err(|error| error.to_string()).and_then(|text| {
            let members = strict::members(text, ["id", "version", "chain", "signature"])?;
            Ok(members.map(|[id, version, chain, signature]| ClaimedLine {
                text,
                members: Members::Read { id, version, chain, signature },
            }))
        });
        match members {
            Ok(Some(line)) if line.names_a_format() || line.is_signed() => Self::Claimed(line),
            Ok(_) => Self::NotARecord,
            Err(why) => Self::Unreadable(why),
        }
    }
}

/// The record in a line that is byte for byte what the webhook writes.
///
/// Written again, the record gives the same bytes. The webhook writes strict JSON in its canonical form, so the line is
/// that too, and neither has to be checked a second time. Every other line is read member by member.
fn as_written(text: &[u8]) -> Option<(&str, DecisionRecord)> {
    if !(text.starts_with(WRITTEN.0) && text.ends_with(WRITTEN.1)) {
        return None;
    }
    let text = str::from_utf8(text).ok()?;
    let record: DecisionRecord = serde_json::from_str(text).ok()?;
    let has_link = record.chain.is_some_and(|link| link.sequence <= MAX_SEQUENCE);
    (has_link && record.signature.is_none() && is_written_as(&record, text.as_bytes())).then_some((text, record))
}

/// Whether serde writes exactly `text` for `record`.
fn is_written_as(record: &DecisionRecord, text: &[u8]) -> bool {
    /// What is left of the expected text.
    struct Rest<'t>(&'t [u8]);

    impl Write for Rest<'_> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 = self.0.strip_prefix(bytes).ok_or(io::ErrorKind::InvalidData)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    let mut rest = Rest(text);
    serde_json::to_writer(&mut rest, record).is_ok() && rest.0.is_empty()
}

impl<'t> ClaimedLine<'t> {
    /// The decision record that the line claims to be. `None`: the line is a start link or a seal.
    ///
    /// # Errors
    ///
    /// The line is not a record of this version. The text says why.
    pub fn record(self) -> Result<Option<DecisionRecord>, String> {
        if let Members::Written(record) = self.members {
            return Ok(Some(*record));
        }
        match self.version() {
            Some(CHAIN_VERSION | SEAL_VERSION) => Ok(None),
            // Integers may be spelled as fractions, which only the reader of values takes.
            Some(RECORD_VERSION) => record_in(self.text.as_bytes()).or_else(|_| self.record_of_value()).map(Some),
            _ => Err(self.other_version()),
        }
    }

    /// The record, if the line is byte for byte what the webhook writes, and so in its canonical form.
    #[expect(
        clippy::result_large_err,
        reason = "the line is only moved back, and a box would be allocated for each old record"
    )]
    pub(crate) fn into_written(self) -> Result<Box<DecisionRecord>, Self> {
        match self.members {
            Members::Written(record) => Ok(record),
            members @ Members::Read { .. } => Err(Self { members, ..self }),
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
        match &self.members {
            Members::Read { version, .. } => version.as_ref().and_then(Value::as_str),
            Members::Written(_) => Some(RECORD_VERSION),
        }
    }

    /// Whether `version` is one that this version of the format defines.
    pub(crate) fn has_known_version(&self) -> bool {
        matches!(self.version(), Some(RECORD_VERSION | CHAIN_VERSION | SEAL_VERSION))
    }

    /// Why the line is not a record of this version.
    pub(crate) fn other_version(&self) -> String {
        let found = self.version().map_or_else(|| "no version".to_owned(), |version| format!("version {version:?}"));
        format!("the record has {found}, expected {RECORD_VERSION}")
    }

    /// Whether the line has a link and a signature.
    pub(crate) fn is_signed(&self) -> bool {
        let has = |member: &Option<Value>| member.as_ref().is_some_and(|value| !value.is_null());
        matches!(&self.members, Members::Read { chain, signature, .. } if has(chain) && has(signature))
    }

    /// Whether the line is a record with a link and without the member `signature`, which a seal may cover.
    pub(crate) fn may_be_sealed(&self) -> bool {
        match &self.members {
            Members::Read { chain, signature: None, .. } => {
                self.version() == Some(RECORD_VERSION) && chain.as_ref().is_some_and(|chain| !chain.is_null())
            }
            Members::Read { .. } => false,
            Members::Written(_) => true,
        }
    }

    pub(crate) fn signature(&self) -> Option<&Value> {
        match &self.members {
            Members::Read { signature, .. } => signature.as_ref(),
            Members::Written(_) => None,
        }
    }

    /// What the line says about itself.
    #[must_use]
    pub fn claims(&self) -> UnverifiedClaims {
        let (id, chain, signature) = match &self.members {
            Members::Read { id, chain, signature, .. } => (id, chain, signature),
            Members::Written(record) => return UnverifiedClaims::of(record),
        };
        let short = |text: &str| text.chars().take(80).collect();
        let text = |value: Option<&Value>| value.and_then(Value::as_str).map(short);
        let of = |object: &'_ Option<Value>, name: &str| object.as_ref().and_then(|object| object.get(name).cloned());
        UnverifiedClaims {
            id: text(id.as_ref()),
            writer: text(of(chain, "writer").as_ref()),
            sequence: of(chain, "sequence").as_ref().and_then(Value::as_u64),
            keyid: text(of(signature, "keyid").as_ref()),
        }
    }

    fn names_a_format(&self) -> bool {
        let formats = [RECORD_FORMAT, CHAIN_FORMAT, SEAL_FORMAT];
        self.version().is_some_and(|version| formats.iter().any(|format| version.starts_with(format)))
    }
}

impl UnverifiedClaims {
    /// What a record without a signature says about itself.
    pub(crate) fn of(record: &DecisionRecord) -> Self {
        Self {
            id: Some(record.id.to_string()),
            writer: record.chain.map(|link| link.writer.to_string()),
            sequence: record.chain.map(|link| link.sequence),
            keyid: None,
        }
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
    has(RECORD_FORMAT) || has(CHAIN_FORMAT) || has(SEAL_FORMAT) || (has("\"signature\"") && has("\"chain\""))
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
            LogLine::Claimed(line) if line.is_signed() => "signed",
            LogLine::Claimed(_) => "unsigned",
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
            r#"{"version":"writgate.dev/seal/v1"}"#,
            r#"{"version":"writgate.dev\/se\u0061l/v1"}"#,
            r#"{"version":"writgate.dev/decision/v1","chain":{},"signature":null}"#,
        ] {
            assert_eq!(kind(line), "unsigned", "{line}");
        }
        for line in [
            r#"{"version":"writgate.dev/decision/v1","chain":{},"signature":{}}"#,
            r#"{"ch\u0061in":{},"signature":{}}"#,
            r#"{"version":1,"chain":0,"signature":0}"#,
        ] {
            assert_eq!(kind(line), "signed", "{line}");
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
