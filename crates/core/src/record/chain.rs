//! Sealed records: each decision is a link of its writer's chain, and signed.
//!
//! A writer is one life of one webhook process. Its chain begins with a start link, which names the heads of the other
//! chains, and each link names the digest of the one before; so what is removed leaves a hole and what is changed does
//! not fit. What is signed is DSSE's encoding of the record's RFC 8785 form under a payload type of its own: no
//! signature of a reviewer is one of a record, nor the other way round. Keys and places to keep things are the callers':
//! the webhook seals, and whoever reads a log asks [`verifier`].

mod verifier;

pub use verifier::{
    ChainFinding, ChainPosition, ChainReport, ChainSummary, ChainVerifier, CheckedLine, LineOutcome, UnverifiedClaims,
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
/// The DSSE payload type under which records and start links are signed.
pub const RECORD_PAYLOAD_TYPE: &str = "application/vnd.writgate.decision.v1+json";

/// SHA-256 over the RFC 8785 form of a link without its `signature`. Written `sha256:<64 lower hex>`.
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

/// Where in which chain a line stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// The writer: a `UUIDv7` of its process' life.
    pub writer: Uuid,
    /// From 0, the start link, without a gap.
    pub sequence: u64,
    /// Digest of the link before; `null` in the start link alone.
    pub previous: Option<RecordDigest>,
}

/// A signature as it is written; nobody's word until a [`ChainVerifier`] has checked it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordSignature {
    /// The [`KeyId`] of the writer's key, a hint for choosing it.
    pub keyid: String,
    /// Ed25519 over [`UnsealedLine::signed_bytes`], in standard padded base64.
    pub sig: String,
}

/// The last link of a chain that somebody has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Whose chain.
    pub writer: Uuid,
    /// Of its last link.
    pub sequence: u64,
    /// Of its last link.
    pub digest: RecordDigest,
}

/// The first link of a chain: a line of its own, no decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartLink {
    /// [`CHAIN_VERSION`]
    pub version: String,
    /// `UUIDv7` of the line.
    pub id: Uuid,
    /// When the chain began.
    pub time: Timestamp,
    /// The heads of the other chains, as their checkpoints said when the process began.
    pub heads: Vec<Head>,
    /// Sequence 0, without a link before.
    pub chain: Link,
    /// The writer's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<RecordSignature>,
}

/// What stands in the chain: decisions and its own first line.
pub trait Sealable: Serialize {
    /// Puts the line in its place; what was signed before is signed no more.
    fn set_link(&mut self, link: Link);
    /// Adds the signature.
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

/// The end of a writer's own chain, to which it adds.
#[derive(Clone, Debug)]
pub struct Chain {
    writer: Uuid,
    head: Option<Head>,
}

impl Chain {
    /// The chain of `writer`, in which nothing stands yet.
    #[must_use]
    pub fn new(writer: Uuid) -> Self {
        Self { writer, head: None }
    }

    /// Its last link, once there is one.
    #[must_use]
    pub fn head(&self) -> Option<Head> {
        self.head
    }

    /// The first line, which names the `heads` of the other chains.
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

    /// Adds `line` to the chain, which goes on from it whether it is written or not: a line that is lost is missed.
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

/// A line that has its place in the chain and is not signed yet.
#[derive(Clone, Debug)]
pub struct UnsealedLine<T> {
    line: T,
    canonical: Vec<u8>,
    head: Head,
}

impl<T: Sealable> UnsealedLine<T> {
    /// The chain's head as this line left it.
    #[must_use]
    pub fn head(&self) -> Head {
        self.head
    }

    /// What the writer signs.
    #[must_use]
    pub fn signed_bytes(&self) -> Vec<u8> {
        pre_authentication(RECORD_PAYLOAD_TYPE, &self.canonical)
    }

    /// The sealed line; `sign` makes the signature over the bytes that it is given, with the key of that id.
    #[must_use]
    pub fn seal(mut self, keyid: KeyId, sign: impl FnOnce(&[u8]) -> [u8; 64]) -> T {
        let sig = BASE64.encode(sign(&self.signed_bytes()));
        self.line.set_signature(RecordSignature { keyid: keyid.to_string(), sig });
        self.line
    }
}

/// What the system namespace keeps of a chain, where no tenant writes: its key, and how far it had come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Checkpoint {
    /// [`CHAIN_VERSION`]
    pub version: String,
    /// Whose chain.
    pub writer: Uuid,
    /// The key that signs it, `PUBLIC KEY` PEM.
    pub public_key: String,
    /// That key's id.
    pub keyid: KeyId,
    /// When the writer's process began.
    pub started: Timestamp,
    /// The last link at that time.
    pub head: CheckpointHead,
}

/// How far a chain had come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointHead {
    /// Of the last link.
    pub sequence: u64,
    /// Of the last link.
    pub digest: RecordDigest,
    /// When that was noted.
    pub time: Timestamp,
}

impl Checkpoint {
    /// Reads `chain.json` of a checkpoint and checks that its key is the one that it names. The error says what is wrong.
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

    /// The chain's head.
    #[must_use]
    pub fn head(&self) -> Head {
        Head { writer: self.writer, sequence: self.head.sequence, digest: self.head.digest }
    }
}
