//! The rejection's statement: a reviewer's signed refusal of a posted request.
//!
//! It is an in-toto Statement v1 in the same envelope as an approval, with another `predicateType`, so neither can be read
//! as the other. A rejection changes no decision: it is a message to the requester. Parsing it says nothing about who
//! signed it.

use jiff::Timestamp;
use serde_json::json;

use crate::approval::{
    envelope::Envelope,
    key::KeyId,
    posted_request::RequestDigest,
    projection::PROJECTION,
    statement::{self, Subject, time},
};

/// `predicateType` of a rejection.
pub const REJECTION_PREDICATE_TYPE: &str = "https://writgate.dev/rejection/v1";

/// What a reviewer refuses, and why: the content of the statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The workloads of the request, with the spec hashes that the reviewer's command computed.
    pub subjects: Vec<Subject>,
    /// The digest of the request.
    pub request: RequestDigest,
    /// The reason, for the requester.
    pub reason: String,
    /// The reviewer's name. A claim: only the key that verifies the signature says who signed.
    pub rejected_by: String,
    /// The time of the rejection, by the reviewer's clock.
    pub rejected_at: Timestamp,
}

impl Rejection {
    /// Parses a payload.
    ///
    /// # Errors
    ///
    /// A field is missing, unknown, duplicated, `null` or malformed, or a limit is exceeded. The text names the field,
    /// what was found and what was expected.
    pub fn parse(payload: &[u8]) -> Result<Self, String> {
        let (subjects, mut fields) = statement::parse(payload, REJECTION_PREDICATE_TYPE)?;
        fields.constant("projection", PROJECTION)?;
        let request = fields.name("request")?;
        let rejection = Self {
            subjects,
            request: RequestDigest::parse(&request).ok_or_else(|| {
                format!(
                    "{} is {request:?}, expected sha256: and 64 lower-case hexadecimal digits",
                    fields.path("request")
                )
            })?,
            reason: fields.name("reason")?,
            rejected_by: fields.name("rejectedBy")?,
            rejected_at: time(&mut fields, "rejectedAt")?,
        };
        fields.finish()?;
        Ok(rejection)
    }

    /// Reads the text of a stored rejection: an envelope with exactly one signature, which has a key id. Nothing is verified.
    /// With one signature for each rejection, nobody can make the readers of a few rejections check many signatures.
    ///
    /// # Errors
    ///
    /// What was found and what was expected.
    pub fn read(text: &str) -> Result<(Envelope, Self), String> {
        let envelope = Envelope::parse(text)?;
        let rejection = Self::parse(envelope.payload())?;
        let keyids: Vec<&str> = envelope.keyids().collect();
        match keyids[..] {
            [keyid] if keyid.parse::<KeyId>().is_ok() => Ok((envelope, rejection)),
            [_] => Err("its signature has no key id".to_owned()),
            _ => Err(format!("it has {} signatures, expected one", keyids.len())),
        }
    }

    /// The payload to sign.
    #[must_use]
    pub fn to_payload(&self) -> Vec<u8> {
        let predicate = json!({
            "projection": PROJECTION,
            "request": self.request.to_string(),
            "reason": self.reason,
            "rejectedBy": self.rejected_by,
            "rejectedAt": self.rejected_at.to_string(),
        });
        statement::to_payload(&self.subjects, REJECTION_PREDICATE_TYPE, &predicate)
    }
}

#[cfg(test)]
mod tests {
    use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
    use serde_json::Value;

    use super::*;
    use crate::approval::{
        envelope::PAYLOAD_TYPE,
        statement::{Approval, STATEMENT_TYPE},
    };

    /// A change and its description.
    type Change = (&'static str, fn(&mut Value));

    fn payload() -> Value {
        json!({
            "_type": STATEMENT_TYPE,
            "subject": [{"name": "apps/v1/Deployment/payments/orders", "digest": {"sha256": "0".repeat(64)}}],
            "predicateType": REJECTION_PREDICATE_TYPE,
            "predicate": {
                "projection": "v1", "request": format!("sha256:{}", "1".repeat(64)),
                "reason": "the image is not ours", "rejectedBy": "bob@acme.example",
                "rejectedAt": "2026-11-22T10:00:00Z"
            }
        })
    }

    fn parse(value: &Value) -> Result<Rejection, String> {
        Rejection::parse(value.to_string().as_bytes())
    }

    #[test]
    fn parses_what_it_writes() {
        let rejection = parse(&payload()).expect("a rejection");
        assert_eq!(serde_json::from_slice::<Value>(&rejection.to_payload()).expect("JSON"), payload());
    }

    #[test]
    fn a_stored_rejection_has_one_signature_with_a_key_id() {
        let read = |keyids: &[&str]| {
            let signatures: Vec<Value> =
                keyids.iter().map(|keyid| json!({"keyid": keyid, "sig": BASE64.encode([7; 64])})).collect();
            let envelope = json!({"payloadType": PAYLOAD_TYPE, "payload": BASE64.encode(payload().to_string()),
                "signatures": signatures});
            Rejection::read(&envelope.to_string()).map(|(_, rejection)| rejection)
        };
        let [one, two] = ["1", "2"].map(|digit| digit.repeat(64));
        assert_eq!(read(&[&one]), parse(&payload()));
        assert_eq!(read(&[&one, &two]), Err("it has 2 signatures, expected one".to_owned()));
        assert_eq!(read(&["ci"]), Err("its signature has no key id".to_owned()));
    }

    #[test]
    fn refuses_a_rejection_with_one_thing_wrong() {
        let changes: [Change; 11] = [
            ("predicate type", |v| v["predicateType"] = "https://writgate.dev/rejection/v2".into()),
            ("no subject", |v| v["subject"] = json!([])),
            ("65 subjects", |v| v["subject"] = vec![v["subject"][0].clone(); 65].into()),
            ("projection", |v| v["predicate"]["projection"] = "v2".into()),
            ("short digest", |v| v["predicate"]["request"] = "sha256:11".into()),
            ("digest without its algorithm", |v| v["predicate"]["request"] = "1".repeat(64).into()),
            ("empty reason", |v| v["predicate"]["reason"] = "".into()),
            ("long reason", |v| v["predicate"]["reason"] = "r".repeat(513).into()),
            ("null person", |v| v["predicate"]["rejectedBy"] = Value::Null),
            ("time with an offset", |v| v["predicate"]["rejectedAt"] = "2026-11-22T10:00:00+00:00".into()),
            ("unknown member", |v| v["predicate"]["approved"] = true.into()),
        ];
        for (what, change) in changes {
            let mut value = payload();
            change(&mut value);
            assert!(parse(&value).is_err(), "{what}");
        }
    }

    #[test]
    fn a_rejection_is_not_an_approval_and_an_approval_is_not_a_rejection() {
        let approval = json!({
            "_type": STATEMENT_TYPE,
            "subject": payload()["subject"],
            "predicateType": "https://writgate.dev/approval/v1",
            "predicate": {
                "id": "01935a00-0000-7000-8000-000000000001", "projection": "v1", "action": "deploy",
                "environment": "production", "project": "payments", "capabilities": ["deploy"],
                "requestedBy": "alice@acme.example",
                "notBefore": "2026-11-22T10:00:00Z", "expiresAt": "2026-11-22T12:00:00Z"
            }
        });
        let rejection = payload();
        let read = |value: &Value| {
            let bytes = value.to_string().into_bytes();
            (Approval::parse(&bytes).is_ok(), Rejection::parse(&bytes).is_ok())
        };
        assert_eq!((read(&approval), read(&rejection)), ((true, false), (false, true)));
        // Neither the type alone nor the predicate alone makes one the other.
        for (mut value, other) in [(approval.clone(), &rejection), (rejection.clone(), &approval)] {
            value["predicateType"] = other["predicateType"].clone();
            assert_eq!(read(&value), (false, false), "{value}");
        }
    }
}
