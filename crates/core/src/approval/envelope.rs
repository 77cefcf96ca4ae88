//! The DSSE envelope: bytes that anyone could have written, and who signed them.
//!
//! Nothing of the payload is read here. Format and signed bytes are those of DSSE v1
//! (github.com/secure-systems-lab/dsse, envelope.md and protocol.md); what the payload says is `approval`'s.
//! Called by `candidate` to verify, by the command line to write.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde_json::{Value, json};

use crate::{
    approval::key::KeyId,
    encoding::strict::{self, Fields},
    posture::{Posture, Reviewer, ReviewerKey},
};

/// The payload type of an in-toto statement.
pub const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
/// The largest envelope, in bytes of JSON text.
pub const MAX_ENVELOPE: usize = 32 * 1024;
/// The most signatures in one envelope.
pub const MAX_SIGNATURES: usize = 16;

/// A payload with signatures that nobody has checked yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    payload: Vec<u8>,
    signatures: Vec<Signature>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Signature {
    /// A hint for choosing the key, never evidence.
    keyid: String,
    bytes: Vec<u8>,
}

impl Envelope {
    /// An envelope that nobody has signed yet.
    #[must_use]
    pub fn new(payload: Vec<u8>) -> Self {
        Self { payload, signatures: Vec::new() }
    }

    /// Reads the JSON text of an envelope. Sizes are checked before anything is decoded; fields that DSSE does not
    /// know are skipped, as its specification asks.
    ///
    /// The error says what was found and what was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > MAX_ENVELOPE {
            return Err(format!("the envelope has {} bytes, expected at most {MAX_ENVELOPE}", text.len()));
        }
        let mut fields = Fields::of(strict::parse(text.as_bytes())?, "")?;
        fields.constant("payloadType", PAYLOAD_TYPE)?;
        let payload = decoded(fields.required("payload")?, "payload")?;
        let signatures = fields
            .items("signatures", MAX_SIGNATURES)?
            .into_iter()
            .enumerate()
            .map(|(index, value)| Signature::parse(value, &format!("signatures[{index}]")))
            .collect::<Result<_, _>>()?;
        Ok(Self { payload, signatures })
    }

    /// The bytes that were signed as a statement. Nobody's word until [`Envelope::verify`] names a signer.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// The same, without the rest.
    pub(crate) fn into_payload(self) -> Vec<u8> {
        self.payload
    }

    /// What a signer signs: DSSE's pre-authentication encoding of type and payload.
    #[must_use]
    pub fn signed_bytes(&self) -> Vec<u8> {
        pre_authentication(PAYLOAD_TYPE, &self.payload)
    }

    /// The ids that the signatures carry, as they are written there.
    pub fn keyids(&self) -> impl Iterator<Item = &str> {
        self.signatures.iter().map(|signature| &*signature.keyid)
    }

    /// Adds a signature over [`Envelope::signed_bytes`].
    pub fn add_signature(&mut self, keyid: KeyId, signature: [u8; 64]) {
        self.signatures.push(Signature { keyid: keyid.to_string(), bytes: signature.to_vec() });
    }

    /// The JSON text, compact, as it goes into an annotation.
    #[must_use]
    pub fn to_json(&self) -> String {
        let signatures: Vec<Value> = self
            .signatures
            .iter()
            .map(|signature| json!({"keyid": signature.keyid, "sig": BASE64.encode(&signature.bytes)}))
            .collect();
        json!({"payloadType": PAYLOAD_TYPE, "payload": BASE64.encode(&self.payload), "signatures": signatures})
            .to_string()
    }

    /// Checks every signature against the keys of the environment and returns those that are good, in the order of
    /// the envelope, each key once.
    pub(crate) fn verify<'p>(&self, posture: &'p Posture, budget: &mut Budget) -> Result<Vec<Signer<'p>>, Unverified> {
        let message = self.signed_bytes();
        let mut signers: Vec<Signer<'p>> = Vec::new();
        let mut known_key_failed = false;
        for signature in &self.signatures {
            match signature.signer(&message, posture, budget)? {
                Checked::Good(signer) => {
                    if signers.iter().all(|other| other.key.id != signer.key.id) {
                        signers.push(signer);
                    }
                }
                Checked::BadByKnownKey => known_key_failed = true,
                Checked::ByUnknownKey => {}
            }
        }
        match (signers.is_empty(), known_key_failed) {
            (false, _) => Ok(signers),
            (true, true) => Err(Unverified::InvalidSignature),
            (true, false) => Err(Unverified::UnknownKey),
        }
    }
}

/// DSSE's pre-authentication encoding: a signature over one payload type is none over another.
pub(crate) fn pre_authentication(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut bytes = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    bytes.extend_from_slice(payload);
    bytes
}

/// Why no signature of an envelope counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unverified {
    UnknownKey,
    InvalidSignature,
    BudgetSpent,
}

/// A reviewer's key whose signature over the envelope was verified.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Signer<'p> {
    pub(crate) reviewer: &'p Reviewer,
    pub(crate) key: &'p ReviewerKey,
}

/// How many signature checks one request may still cost.
#[derive(Debug)]
pub(crate) struct Budget(usize);

impl Budget {
    /// The most signature checks in one request.
    pub(crate) const CHECKS: usize = 32;

    pub(crate) fn new() -> Self {
        Self(Self::CHECKS)
    }

    fn spend(&mut self) -> Result<(), Unverified> {
        self.0 = self.0.checked_sub(1).ok_or(Unverified::BudgetSpent)?;
        Ok(())
    }
}

enum Checked<'p> {
    Good(Signer<'p>),
    BadByKnownKey,
    ByUnknownKey,
}

impl Signature {
    fn parse(value: Value, path: &str) -> Result<Self, String> {
        let mut fields = Fields::of(value, path)?;
        let keyid = fields.optional_text("keyid")?.unwrap_or_default();
        let sig = fields.path("sig");
        let bytes = decoded(fields.required("sig")?, &sig)?;
        Ok(Self { keyid, bytes })
    }

    /// A known key id means that key alone; other tools compute theirs otherwise or leave it out, so any other is
    /// tried against all keys while the budget lasts.
    fn signer<'p>(&self, message: &[u8], posture: &'p Posture, budget: &mut Budget) -> Result<Checked<'p>, Unverified> {
        let named = self.keyid.parse().ok().and_then(|id: KeyId| posture.key(&id));
        // Another length is another algorithm, and cannot be one of ours.
        let Ok(bytes) = <&[u8; 64]>::try_from(&*self.bytes) else {
            return Ok(if named.is_some() { Checked::BadByKnownKey } else { Checked::ByUnknownKey });
        };
        if let Some((reviewer, key)) = named {
            budget.spend()?;
            let good = key.key.verify_strict(message, bytes);
            return Ok(if good { Checked::Good(Signer { reviewer, key }) } else { Checked::BadByKnownKey });
        }
        for (reviewer, key) in posture.keys() {
            budget.spend()?;
            if key.key.verify_strict(message, bytes) {
                return Ok(Checked::Good(Signer { reviewer, key }));
            }
        }
        Ok(Checked::ByUnknownKey)
    }
}

/// Standard base64, padded, with the one canonical spelling (RFC 4648 sections 3.5 and 4).
fn decoded(value: Value, path: &str) -> Result<Vec<u8>, String> {
    let Value::String(text) = value else { return Err(format!("{path} is not a string")) };
    BASE64.decode(text).map_err(|error| format!("{path} is not standard padded base64: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is changed, in words and in deed.
    type Change = (&'static str, fn(&mut Value));

    fn envelope() -> Value {
        json!({"payloadType": PAYLOAD_TYPE, "payload": "aGVsbG8=", "signatures": [{"keyid": "k", "sig": "AA=="}]})
    }

    #[test]
    fn signed_bytes_are_those_of_the_specification() {
        // DSSE protocol.md: PAE("http://example.com/HelloWorld", "hello world") has this form; ours fixes the type.
        assert_eq!(
            Envelope::new(b"hello world".to_vec()).signed_bytes(),
            b"DSSEv1 28 application/vnd.in-toto+json 11 hello world"
        );
    }

    #[test]
    fn fields_that_dsse_does_not_know_are_skipped() {
        let mut value = envelope();
        value["bundle"] = json!({"x": null});
        value["signatures"][0]["cert"] = "x".into();
        assert!(Envelope::parse(&value.to_string()).is_ok());
    }

    #[test]
    fn one_thing_wrong_refuses_the_envelope() {
        let changes: [Change; 13] = [
            ("type", |v| v["payloadType"] = "application/vnd.in-toto+JSON".into()),
            ("no type", |v| v["payloadType"] = Value::Null),
            ("url-safe", |v| v["payload"] = "aGVsb_8=".into()),
            ("no padding", |v| v["payload"] = "aGVsbG8".into()),
            ("trailing bits", |v| v["payload"] = "aGVsbG9=".into()),
            ("white space", |v| v["payload"] = "aGVs\nbG8=".into()),
            ("payload number", |v| v["payload"] = 1.into()),
            ("no signatures", |v| v["signatures"] = json!([])),
            ("17 signatures", |v| v["signatures"] = vec![json!({"sig": "AA=="}); 17].into()),
            ("null keyid", |v| v["signatures"][0]["keyid"] = Value::Null),
            ("long keyid", |v| v["signatures"][0]["keyid"] = "k".repeat(513).into()),
            ("no sig", |v| v["signatures"][0] = json!({"keyid": "k"})),
            ("array", |v| v["signatures"][0] = json!(["k", "AA=="])),
        ];
        for (what, change) in changes {
            let mut value = envelope();
            change(&mut value);
            assert!(Envelope::parse(&value.to_string()).is_err(), "{what}");
        }
        let twice = envelope().to_string().replacen('{', "{\"payload\":\"\",", 1);
        assert!(Envelope::parse(&twice).is_err_and(|why| why.contains("twice")));
        let long = format!("{}{}", envelope(), " ".repeat(MAX_ENVELOPE));
        assert!(Envelope::parse(&long).is_err_and(|why| why.contains("bytes")));
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        let mut envelope = Envelope::new(b"{}".to_vec());
        envelope.add_signature("0".repeat(64).parse().expect("a key id"), [7; 64]);
        assert_eq!(Envelope::parse(&envelope.to_json()), Ok(envelope));
    }
}
