//! The DSSE envelope of an approval: a payload and its signatures, none of which is verified.
//!
//! The format is DSSE v1 (github.com/secure-systems-lab/dsse, envelope.md and protocol.md). Signatures are verified
//! against a posture's keys in `posture::signers`. The payload is parsed in `statement`.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde_json::{Value, json};

use crate::{
    approval::key::{KeyId, PublicKey},
    encoding::{
        dsse::pre_authentication,
        signed::{self, Fields, Node},
    },
};

/// The payload type of an in-toto statement.
pub const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
/// The largest envelope, in bytes of JSON text.
pub const MAX_ENVELOPE: usize = 32 * 1024;
/// The maximum number of signatures in one envelope.
pub const MAX_SIGNATURES: usize = 16;

/// A payload with signatures, none of which is verified. Anyone could have written it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    payload: Vec<u8>,
    signatures: Vec<EnvelopeSignature>,
}

/// A signature that is not verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EnvelopeSignature {
    /// A hint for choosing the key. It is not evidence of who signed.
    pub(crate) keyid: String,
    /// The signature, of any length, because other algorithms have other lengths.
    pub(crate) bytes: Vec<u8>,
}

impl Envelope {
    /// An envelope without signatures.
    #[must_use]
    pub fn new(payload: Vec<u8>) -> Self {
        Self { payload, signatures: Vec::new() }
    }

    /// Parses the JSON text of an envelope. Checks sizes before it decodes anything. Ignores fields that DSSE does not
    /// define, as its specification requires.
    ///
    /// # Errors
    ///
    /// A limit is exceeded, a key is duplicated, the payload type is another one, or base64 is not canonical. The text
    /// says what was found and what was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > MAX_ENVELOPE {
            return Err(format!("the envelope has {} bytes, expected at most {MAX_ENVELOPE}", text.len()));
        }
        let mut fields = Fields::new(signed::parse(text.as_bytes())?, "")?;
        fields.constant("payloadType", PAYLOAD_TYPE)?;
        let payload = decoded(fields.required("payload")?, "payload")?;
        let signatures = fields
            .items("signatures", MAX_SIGNATURES)?
            .into_iter()
            .enumerate()
            .map(|(index, value)| EnvelopeSignature::parse(value, &format!("signatures[{index}]")))
            .collect::<Result<_, _>>()?;
        Ok(Self { payload, signatures })
    }

    /// The bytes of the statement. Do not trust them before a signature is verified.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// Takes the bytes of the statement out of the envelope.
    pub(crate) fn into_payload(self) -> Vec<u8> {
        self.payload
    }

    /// The bytes that a signer signs: DSSE's pre-authentication encoding of the payload type and the payload.
    #[must_use]
    pub fn signed_bytes(&self) -> Vec<u8> {
        pre_authentication(PAYLOAD_TYPE, &self.payload)
    }

    /// The key ids that the signatures claim, in the order of the envelope.
    pub fn keyids(&self) -> impl Iterator<Item = &str> {
        self.signatures.iter().map(|signature| &*signature.keyid)
    }

    /// Adds a signature of [`Envelope::signed_bytes`]. The caller vouches for it.
    pub fn add_signature(&mut self, keyid: KeyId, signature: [u8; 64]) {
        self.signatures.push(EnvelopeSignature { keyid: keyid.to_string(), bytes: signature.to_vec() });
    }

    /// This envelope with the further signatures of another envelope around the same payload, as far as the limit permits.
    /// Nothing is verified.
    #[must_use]
    pub fn with_signatures_of(&self, other: &Self) -> Self {
        let mut all = self.clone();
        if self.payload == other.payload {
            let new = other.signatures.iter().filter(|signature| !self.signatures.contains(signature));
            all.signatures.extend(new.take(MAX_SIGNATURES.saturating_sub(self.signatures.len())).cloned());
        }
        all
    }

    /// Whether a signature of the envelope verifies with `key`, whatever key id it claims.
    #[must_use]
    pub fn is_signed_by(&self, key: &PublicKey) -> bool {
        let message = self.signed_bytes();
        let verifies = |bytes: &[u8]| bytes.try_into().is_ok_and(|bytes| key.verify_strict(&message, bytes));
        self.signatures.iter().any(|signature| verifies(&signature.bytes))
    }

    /// Removes the signatures that claim `keyid`. Returns whether there were any.
    pub fn remove_signatures(&mut self, keyid: KeyId) -> bool {
        let (keyid, before) = (keyid.to_string(), self.signatures.len());
        self.signatures.retain(|signature| signature.keyid != keyid);
        self.signatures.len() < before
    }

    /// The compact JSON text that an annotation contains.
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

    /// The signatures, in the order of the envelope.
    pub(crate) fn signatures(&self) -> &[EnvelopeSignature] {
        &self.signatures
    }
}

impl EnvelopeSignature {
    fn parse(value: Node<'_>, path: &str) -> Result<Self, String> {
        let mut fields = Fields::new(value, path)?;
        let keyid = fields.optional_text("keyid")?.unwrap_or_default();
        let sig = fields.path("sig");
        let bytes = decoded(fields.required("sig")?, &sig)?;
        Ok(Self { keyid, bytes })
    }
}

/// Decodes standard, padded base64 in its canonical spelling (RFC 4648 sections 3.5 and 4). Anything else is an error,
/// so that an envelope has one spelling.
fn decoded(value: Node<'_>, path: &str) -> Result<Vec<u8>, String> {
    let Node::Text(text) = value else { return Err(format!("{path} is not a string")) };
    BASE64.decode(&*text).map_err(|error| format!("{path} is not standard padded base64: {error}"))
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::{Signer as _, SigningKey};

    use super::*;
    use crate::approval::key::SPKI_PREFIX;

    /// A change and its description.
    type Change = (&'static str, fn(&mut Value));

    fn envelope() -> Value {
        json!({"payloadType": PAYLOAD_TYPE, "payload": "aGVsbG8=", "signatures": [{"keyid": "k", "sig": "AA=="}]})
    }

    #[test]
    fn signed_bytes_have_the_form_that_dsse_specifies() {
        // DSSE protocol.md, PAE("http://example.com/HelloWorld", "hello world"), with Writgate's payload type.
        assert_eq!(
            Envelope::new(b"hello world".to_vec()).signed_bytes(),
            b"DSSEv1 28 application/vnd.in-toto+json 11 hello world"
        );
    }

    #[test]
    fn ignores_fields_that_dsse_does_not_define() {
        let mut value = envelope();
        value["bundle"] = json!({"x": null});
        value["signatures"][0]["cert"] = "x".into();
        assert!(Envelope::parse(&value.to_string()).is_ok());
    }

    #[test]
    fn refuses_an_envelope_with_one_thing_wrong() {
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
    fn parses_what_it_writes() {
        let mut envelope = Envelope::new(b"{}".to_vec());
        envelope.add_signature("0".repeat(64).parse().expect("a key id"), [7; 64]);
        assert_eq!(Envelope::parse(&envelope.to_json()), Ok(envelope));
    }

    #[test]
    fn a_signature_verifies_whatever_key_id_it_claims() {
        let [signing, other] = [[7; 32], [8; 32]].map(|seed| SigningKey::from_bytes(&seed));
        let public = |key: &SigningKey| {
            let der = [SPKI_PREFIX.as_slice(), key.verifying_key().as_bytes()].concat();
            PublicKey::from_spki_der(&der).expect("a public key")
        };
        let mut envelope = Envelope::new(b"{}".to_vec());
        assert!(!envelope.is_signed_by(&public(&signing)), "no signature");
        envelope.add_signature(public(&signing).id(), [7; 64]);
        assert!(!envelope.is_signed_by(&public(&signing)), "only the key id is right");
        envelope.add_signature(public(&other).id(), signing.sign(&envelope.signed_bytes()).to_bytes());
        assert!(envelope.is_signed_by(&public(&signing)), "the second signature verifies");
        assert!(!envelope.is_signed_by(&public(&other)), "only the key id is right");
    }

    #[test]
    fn joins_the_signatures_of_one_payload_up_to_the_limit() {
        let key = |digit: &str| digit.repeat(64).parse::<KeyId>().expect("a key id");
        let with = |payload: &[u8], digits: &[&str]| {
            let mut envelope = Envelope::new(payload.to_vec());
            for digit in digits {
                envelope.add_signature(key(digit), [7; 64]);
            }
            envelope
        };
        let joined = with(b"{}", &["1", "2"]).with_signatures_of(&with(b"{}", &["2", "3"]));
        assert_eq!(joined, with(b"{}", &["1", "2", "3"]));
        let other = with(b"{}", &["1"]).with_signatures_of(&with(b"[]", &["2"]));
        assert_eq!(other, with(b"{}", &["1"]), "another payload");
        let many = with(b"{}", &["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "a", "b", "c", "d", "e", "f"]);
        assert_eq!(with(b"{}", &["1"]).with_signatures_of(&many).keyids().count(), MAX_SIGNATURES);
    }

    #[test]
    fn removes_the_signatures_that_claim_a_key_id() {
        let [one, two, three] = ["1", "2", "3"].map(|digit| digit.repeat(64).parse::<KeyId>().expect("a key id"));
        let mut envelope = Envelope::new(b"{}".to_vec());
        for keyid in [one, two, one] {
            envelope.add_signature(keyid, [7; 64]);
        }
        assert!(!envelope.remove_signatures(three));
        assert!(envelope.remove_signatures(one));
        assert_eq!(envelope.keyids().collect::<Vec<_>>(), [two.to_string()]);
    }
}
