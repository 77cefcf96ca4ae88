//! Approvals for the measured cases, which are signed when a run starts.

use base64::{Engine, engine::general_purpose::STANDARD};
use ed25519_dalek::{Signer, SigningKey, VerifyingKey, pkcs8::EncodePublicKey};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::floor::{hex, pre_authentication_encoding};

const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";

/// A fixed key, so that every run signs the same.
pub(crate) fn key(number: u32) -> SigningKey {
    SigningKey::from_bytes(&Sha256::digest(format!("writgate bench key {number}")).into())
}

/// The public key in the posture's form.
pub(crate) fn public_pem(key: &VerifyingKey) -> anyhow::Result<String> {
    Ok(key.to_public_key_pem(ed25519_dalek::pkcs8::spki::der::pem::LineEnding::LF)?)
}

/// The content of an approval. `Claims::of` is admitted, and a case changes one field.
#[derive(Clone)]
pub(crate) struct Claims {
    /// The approved spec's hash, in hex.
    pub(crate) spec_hash: String,
    pub(crate) environment: &'static str,
    pub(crate) capability: &'static str,
    /// How long ago it became valid; it is valid for an hour.
    pub(crate) age: SignedDuration,
}

impl Claims {
    pub(crate) fn of(spec_hash: String) -> Self {
        Self { spec_hash, environment: "production", capability: "deploy", age: SignedDuration::from_mins(1) }
    }

    /// The DSSE envelope, signed by `key`.
    pub(crate) fn signed_by(&self, key: &SigningKey) -> anyhow::Result<String> {
        let payload = self.payload()?;
        Ok(envelope(key, &payload, &payload))
    }

    /// The envelope with a signature over another payload.
    pub(crate) fn forged(&self, key: &SigningKey) -> anyhow::Result<String> {
        Ok(envelope(key, &self.payload()?, b"another payload"))
    }

    fn payload(&self) -> anyhow::Result<Vec<u8>> {
        let not_before = (Timestamp::now() - self.age).round(jiff::Unit::Second)?;
        Ok(serde_json::to_vec(&json!({
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{"name": "apps/v1/Deployment/payments/orders", "digest": {"sha256": self.spec_hash}}],
            "predicateType": "https://writgate.dev/approval/v1",
            "predicate": {
                "id": Uuid::now_v7(), "projection": "v1", "action": "deploy",
                "cluster": "prod-eu-1", "environment": self.environment, "project": "payments",
                "capabilities": [self.capability],
                "requestedBy": "alice@acme.example", "reason": "CHG-1234",
                "notBefore": not_before, "expiresAt": not_before + SignedDuration::from_hours(1),
            },
        }))?)
    }
}

fn envelope(key: &SigningKey, payload: &[u8], signed: &[u8]) -> String {
    let signature = key.sign(&pre_authentication_encoding(PAYLOAD_TYPE, signed));
    json!({
        "payloadType": PAYLOAD_TYPE,
        "payload": STANDARD.encode(payload),
        "signatures": [{"keyid": key_id(&key.verifying_key()), "sig": STANDARD.encode(signature.to_bytes())}],
    })
    .to_string()
}

/// SHA-256 of the SPKI DER: the fixed prefix of an Ed25519 key, and the key.
fn key_id(key: &VerifyingKey) -> String {
    let der = [b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00", &key.as_bytes()[..]].concat();
    hex(&Sha256::digest(der))
}
