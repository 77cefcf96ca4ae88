//! Reviewers' keys, and approvals signed with them.
//!
//! The statement is plain JSON and not a type of core, so that a test can sign statements that core would not write.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _, EncodePublicKey as _};
use ed25519_dalek::{Signer as _, SigningKey};
use jiff::{SignedDuration, Timestamp, Unit};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";

/// A reviewer's key.
pub struct Key(SigningKey);

impl Key {
    /// Generates a key.
    pub fn new() -> Self {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).expect("the system has randomness");
        Self(SigningKey::from_bytes(&seed))
    }

    /// Reads a key from PKCS#8 PEM without a passphrase.
    pub fn from_pem(pem: &str) -> Self {
        Self(SigningKey::from_pkcs8_pem(pem).expect("a private key in PEM"))
    }

    /// SPKI PEM, for the posture.
    pub fn public_pem(&self) -> String {
        self.0.verifying_key().to_public_key_pem(LineEnding::LF).expect("a key has an encoding")
    }

    /// PKCS#8 PEM without a passphrase, for the command line.
    pub fn private_pem(&self) -> String {
        self.0.to_pkcs8_pem(LineEnding::LF).expect("a key has an encoding").to_string()
    }

    /// The key id: SHA-256 of the SPKI DER, in hexadecimal.
    pub fn id(&self) -> String {
        let der = self.0.verifying_key().to_public_key_der().expect("a key has an encoding");
        hex(&Sha256::digest(der.as_bytes()))
    }

    fn sign(&self, payload: &str) -> Value {
        let message = format!("DSSEv1 {} {PAYLOAD_TYPE} {} {payload}", PAYLOAD_TYPE.len(), payload.len());
        json!({"keyid": self.id(), "sig": STANDARD.encode(self.0.sign(message.as_bytes()).to_bytes())})
    }
}

/// The DSSE envelope of `statement`, in the form of the annotation.
pub fn envelope(statement: &Value, keys: &[&Key]) -> String {
    let payload = statement.to_string();
    let signatures: Vec<Value> = keys.iter().map(|key| key.sign(&payload)).collect();
    json!({"payloadType": PAYLOAD_TYPE, "payload": STANDARD.encode(&payload), "signatures": signatures}).to_string()
}

/// The time `seconds` from now in the form of approvals: whole seconds, with a `Z`.
pub fn seconds_from_now(seconds: i64) -> String {
    let time = Timestamp::now() + SignedDuration::from_secs(seconds);
    let whole = time.round(Unit::Second).expect("whole seconds divide a day");
    whole.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("writing to a String succeeds");
        hex
    })
}
