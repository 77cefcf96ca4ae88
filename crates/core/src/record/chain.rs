//! Sealed records: each record is a signed link in its writer's chain.
//!
//! A writer is one run of one webhook process. Its chain begins with a start link, which names the heads of the other
//! chains. Each further link contains the digest of the link before it. So a removed link leaves a gap, and a changed
//! link does not match its signature or its successor.
//!
//! The signature covers DSSE's encoding of the record's RFC 8785 form, under a payload type of its own. So a reviewer's
//! signature is never valid for a record, and a writer's signature is never valid for an approval.
//!
//! Keys and storage are not here. [`verifier`] reads sealed records back.

mod verifier;

pub use verifier::{
    ChainFinding, ChainPosition, ChainReport, ChainSummary, ChainVerifier, CheckedLine, LineOutcome, VerifiedLine,
    VerifiedRecord,
};

use std::{fmt, str::FromStr};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::{
    approval::key::{KeyId, PublicKey},
    encoding::canonical::{CanonicalError, Scope, canonical},
    encoding::dsse::pre_authentication,
    encoding::hex,
    record::decision::DecisionRecord,
};

/// The `version` of a start link and of a checkpoint.
pub const CHAIN_VERSION: &str = "writgate.dev/chain/v1";
/// The DSSE payload type of records and start links.
pub const RECORD_PAYLOAD_TYPE: &str = "application/vnd.writgate.decision.v1+json";

/// The SHA-256 digest of the RFC 8785 form of a line without its `signature`. Its text is `sha256:` and 64 lower-case
/// hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordDigest([u8; 32]);

impl RecordDigest {
    fn of(canonical: &[u8]) -> Self {
        Self(Sha256::digest(canonical).into())
    }
}

impl fmt::Display for RecordDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", hex::encode(&self.0))
    }
}

impl fmt::Debug for RecordDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for RecordDigest {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digest = text.strip_prefix("sha256:").and_then(hex::decode);
        digest.map(Self).ok_or("not a digest: expected sha256: and 64 lower-case hexadecimal digits")
    }
}

impl Serialize for RecordDigest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RecordDigest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// The fields of a line that place it in a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// The writer: a `UUIDv7` of one run of one webhook process.
    pub writer: Uuid,
    /// Counts from 0, the start link, without a gap.
    pub sequence: u64,
    /// The digest of the link before. `null` only in the start link.
    pub previous: Option<RecordDigest>,
}

/// A signature as a line contains it. It is not trusted until a [`ChainVerifier`] has verified it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordSignature {
    /// The [`KeyId`] of the writer's key, as a hint for choosing the key.
    pub keyid: String,
    /// The Ed25519 signature of [`UnsealedLine::signed_bytes`], in standard padded base64.
    pub sig: String,
}

/// The last link of a chain at some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The writer of the chain.
    pub writer: Uuid,
    /// The sequence of the last link.
    pub sequence: u64,
    /// The digest of the last link.
    pub digest: RecordDigest,
}

/// The first link of a chain: a line of its own, which is not a decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartLink {
    /// [`CHAIN_VERSION`]
    pub version: String,
    /// The id of the line, a `UUIDv7`.
    pub id: Uuid,
    /// When the chain began.
    pub time: Timestamp,
    /// The heads of the other chains, from their checkpoints at the start of the process.
    pub heads: Vec<Head>,
    /// Sequence 0, without a previous digest.
    pub chain: Link,
    /// The writer's signature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<RecordSignature>,
}

/// A line of a chain: a decision record or a start link.
pub trait Sealable: Serialize {
    /// Sets the line's link and removes its signature, which does not cover the new link.
    fn set_link(&mut self, link: Link);
    /// Sets the line's signature.
    fn set_signature(&mut self, signature: RecordSignature);
}

impl Sealable for DecisionRecord {
    fn set_link(&mut self, link: Link) {
        (self.chain, self.signature) = (Some(link), None);
    }

    fn set_signature(&mut self, signature: RecordSignature) {
        self.signature = Some(signature);
    }
}

impl Sealable for StartLink {
    fn set_link(&mut self, link: Link) {
        (self.chain, self.signature) = (link, None);
    }

    fn set_signature(&mut self, signature: RecordSignature) {
        self.signature = Some(signature);
    }
}

/// A writer's own chain, to which it adds lines.
#[derive(Clone, Debug)]
pub struct Chain {
    writer: Uuid,
    head: Option<Head>,
}

impl Chain {
    /// The chain of `writer`, without links.
    #[must_use]
    pub fn new(writer: Uuid) -> Self {
        Self { writer, head: None }
    }

    /// The last link. `None`: the chain has no links.
    #[must_use]
    pub fn head(&self) -> Option<Head> {
        self.head
    }

    /// Begins the chain with its start link, which names the `heads` of the other chains.
    ///
    /// # Errors
    ///
    /// The line has no canonical form.
    pub fn start(
        &mut self,
        id: Uuid,
        time: Timestamp,
        heads: Vec<Head>,
    ) -> Result<UnsealedLine<StartLink>, CanonicalError> {
        let chain = Link { writer: self.writer, sequence: 0, previous: None };
        self.head = None;
        self.link(StartLink { version: CHAIN_VERSION.to_owned(), id, time, heads, chain, signature: None })
    }

    /// Adds `line` to the chain. The next line refers to it even if it is never written, so that a lost line is missed.
    ///
    /// # Errors
    ///
    /// The line has no canonical form.
    pub fn link<T: Sealable>(&mut self, mut line: T) -> Result<UnsealedLine<T>, CanonicalError> {
        let sequence = self.head.map_or(0, |head| head.sequence.saturating_add(1));
        line.set_link(Link { writer: self.writer, sequence, previous: self.head.map(|head| head.digest) });
        let text = serde_json::to_string(&line).unwrap_or_default();
        let canonical = canonical(&text, SIGNED_PART)?;
        let head = Head { writer: self.writer, sequence, digest: RecordDigest::of(&canonical) };
        self.head = Some(head);
        Ok(UnsealedLine { line, canonical, head })
    }
}

/// The part of a line that its signature covers: the whole line, without the line's own `signature`.
#[derive(Clone, Copy)]
pub(crate) struct SignedPart {
    is_top: bool,
}

/// The scope of a whole line.
pub(crate) const SIGNED_PART: SignedPart = SignedPart { is_top: true };

impl Scope for SignedPart {
    fn of_member(self, _key: &str) -> Self {
        Self { is_top: false }
    }

    fn of_item(self) -> Self {
        Self { is_top: false }
    }

    fn leaves_out(self, key: &str, _value: &[u8]) -> bool {
        self.is_top && key == "signature"
    }
}

/// A line that has its position in the chain and is not signed yet.
#[derive(Clone, Debug)]
pub struct UnsealedLine<T> {
    line: T,
    canonical: Vec<u8>,
    head: Head,
}

impl<T: Sealable> UnsealedLine<T> {
    /// The head of the chain after this line.
    #[must_use]
    pub fn head(&self) -> Head {
        self.head
    }

    /// The bytes that the writer signs.
    #[must_use]
    pub fn signed_bytes(&self) -> Vec<u8> {
        pre_authentication(RECORD_PAYLOAD_TYPE, &self.canonical)
    }

    /// The sealed line. `sign` must return the signature of its argument by the key `keyid`.
    #[must_use]
    pub fn seal(mut self, keyid: KeyId, sign: impl FnOnce(&[u8]) -> [u8; 64]) -> T {
        let sig = BASE64.encode(sign(&self.signed_bytes()));
        self.line.set_signature(RecordSignature { keyid: keyid.to_string(), sig });
        self.line
    }
}

/// The key and the latest head of a chain, from a ConfigMap in the system namespace, where tenants cannot write.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Checkpoint {
    /// [`CHAIN_VERSION`]
    pub version: String,
    /// The writer of the chain.
    pub writer: Uuid,
    /// The key that signs the chain, as `PUBLIC KEY` PEM.
    pub public_key: String,
    /// The id of the key.
    pub keyid: KeyId,
    /// When the writer's process started.
    pub started: Timestamp,
    /// The last link when the checkpoint was written.
    pub head: CheckpointHead,
}

/// The head of a chain in a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointHead {
    /// The sequence of the last link.
    pub sequence: u64,
    /// The digest of the last link.
    pub digest: RecordDigest,
    /// When the checkpoint was written.
    pub time: Timestamp,
}

impl Checkpoint {
    /// Parses the `chain.json` of a checkpoint, and its key.
    ///
    /// # Errors
    ///
    /// It is not a checkpoint of this version, or `keyid` is not the id of `publicKey`. The text says what is wrong.
    pub fn parse(text: &str) -> Result<(Self, PublicKey), String> {
        let checkpoint: Self = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if checkpoint.version != CHAIN_VERSION {
            return Err(format!("the version is {:?}, expected {CHAIN_VERSION:?}", checkpoint.version));
        }
        let key = PublicKey::from_pem(&checkpoint.public_key).map_err(|error| format!("publicKey: {error}"))?;
        if key.id() != checkpoint.keyid {
            return Err(format!("publicKey has the id {}, but keyid is {}", key.id(), checkpoint.keyid));
        }
        Ok((checkpoint, key))
    }

    /// The head of the chain when the checkpoint was written.
    #[must_use]
    pub fn head(&self) -> Head {
        Head { writer: self.writer, sequence: self.head.sequence, digest: self.head.digest }
    }
}
