//! One line of the webhook's standard output: a decision record, another line, or a record that cannot be read.

use serde::Deserialize;
use serde_json::Value;
use writgate_core::record::{DecisionRecord, RECORD_VERSION};

/// The prefix of `version` in every version of a record. A line without it is not parsed.
const MARK: &str = "writgate.dev/decision/";

/// The kind of a line.
#[derive(Debug)]
pub(super) enum RecordLine {
    Record(Box<DecisionRecord>),
    /// The line claims to be a record; why it cannot be read as one.
    Unreadable(String),
    /// A log line, a link of a chain, or a line of another program.
    Other,
}

/// Reads one line of JSON.
pub(super) fn read(json: &[u8]) -> RecordLine {
    if memchr::memmem::find(json, MARK.as_bytes()).is_none() {
        return RecordLine::Other;
    }
    match serde_json::from_slice::<DecisionRecord>(json) {
        Ok(record) if record.version == RECORD_VERSION => RecordLine::Record(Box::new(record)),
        read => unreadable(json, read.err()),
    }
}

/// Why a line is not a record, unless it does not claim to be one: log lines may mention records.
fn unreadable(json: &[u8], error: Option<serde_json::Error>) -> RecordLine {
    #[derive(Deserialize)]
    struct Versioned {
        version: Option<Value>,
    }
    let version = match serde_json::from_slice::<Versioned>(json) {
        Ok(Versioned { version }) => version,
        Err(error) => return RecordLine::Unreadable(format!("the line is not complete JSON: {error}")),
    };
    let version = version.as_ref().and_then(Value::as_str).filter(|version| version.starts_with(MARK));
    match (version, error) {
        (None, _) => RecordLine::Other,
        (Some(RECORD_VERSION), Some(error)) => RecordLine::Unreadable(error.to_string()),
        (Some(version), _) => {
            RecordLine::Unreadable(format!("the record has version {version:?}, expected {RECORD_VERSION}"))
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;

    /// A denial, as the webhook writes it.
    pub(in crate::command::audit) fn denial() -> Value {
        json!({
            "version": "writgate.dev/decision/v1", "id": "01934e2a-7c00-7000-8000-000000000001",
            "time": "2026-11-22T11:00:00Z", "requestUid": "r-1", "dryRun": false, "cluster": "prod-eu-1",
            "environment": "production", "project": "payments",
            "initiator": {"username": "alice", "uid": "", "groups": ["dev"]}, "requestedBy": null,
            "operation": "CREATE", "action": "deploy",
            "object": {"apiVersion": "apps/v1", "kind": "Deployment", "namespace": "payments", "name": "orders", "uid": null},
            "specHash": null, "previousSpecHash": null, "approvalRequired": true, "requiredCapabilities": ["deploy"],
            "approvals": [], "decision": "denied", "enforcement": "enforce", "reasons": ["ApprovalRequired"],
            "postureVersion": "p"
        })
    }

    fn read(value: &Value) -> RecordLine {
        super::read(value.to_string().as_bytes())
    }

    #[test]
    fn reads_a_record_and_ignores_other_lines() {
        assert!(matches!(read(&denial()), RecordLine::Record(_)));
        assert!(matches!(read(&json!({"level": "INFO", "message": "ready"})), RecordLine::Other));
        assert!(matches!(read(&json!({"message": "writgate.dev/decision/v1"})), RecordLine::Other));
        assert!(matches!(super::read(b"plain"), RecordLine::Other));
    }

    #[test]
    fn a_seal_does_not_hide_a_record() {
        let mut sealed = denial();
        sealed["chain"] = json!({"writer": denial()["id"], "sequence": 1, "previous": format!("sha256:{:064}", 0)});
        sealed["signature"] = json!({"keyid": "k", "sig": "s"});
        assert!(matches!(read(&sealed), RecordLine::Record(_)));
    }

    #[test]
    fn reports_a_record_that_cannot_be_read() {
        let mut newer = denial();
        newer["version"] = json!("writgate.dev/decision/v2");
        let mut wrong = denial();
        wrong["decision"] = json!("perhaps");
        let whole = denial().to_string();
        let torn = &whole[..whole.len() - 3];
        let twice = whole.replacen('{', r#"{"environment":"staging","#, 1);
        for line in [newer.to_string(), wrong.to_string(), torn.to_owned(), twice] {
            assert!(matches!(super::read(line.as_bytes()), RecordLine::Unreadable(_)), "{line}");
        }
    }
}
