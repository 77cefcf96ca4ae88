//! Sealed records: each record is a link in its writer's chain, and a seal signs the chain up to there.
//!
//! A writer is one run of one webhook process. Its chain begins with a start link, which names the heads of the other
//! chains. Each further link contains the digest of the link before it. So a removed link leaves a gap, and a changed
//! link does not match its successor. A [`Seal`] signs the digest of the last link, and so everything before it.
//!
//! A line of a chain is written in its canonical form (RFC 8785), once: the fields of its type are in canonical order,
//! and serde writes strings and integers as RFC 8785 requires. So the digest of a line is the SHA-256 of its bytes.
//!
//! Signatures cover DSSE's encoding. Records, seals and approvals have different payload types, so a signature of one is
//! never valid for another.
//!
//! Keys and storage are not here. [`verifier`] reads sealed records back.

mod verifier;

pub use verifier::{
    ChainFinding, ChainPosition, ChainReport, ChainSummary, ChainVerifier, CheckedLine, Fork, LineOutcome, Settled,
    Settlement, VerifiedLine, VerifiedRecord,
};

use std::{fmt, io::Write as _, str::FromStr};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::{
    approval::key::{KeyId, PublicKey},
    encoding::canonical::Scope,
    encoding::dsse::pre_authentication,
    encoding::hex,
    record::decision::DecisionRecord,
};

/// The `version` of a start link and of a checkpoint.
pub const CHAIN_VERSION: &str = "writgate.dev/chain/v1";
/// The `version` of a seal.
pub const SEAL_VERSION: &str = "writgate.dev/seal/v1";
/// The DSSE payload type of start links, and of records that have a signature of their own.
pub const RECORD_PAYLOAD_TYPE: &str = "application/vnd.writgate.decision.v1+json";
/// The DSSE payload type of seals. It differs from that of records, so no record can be mistaken for a seal.
pub const SEAL_PAYLOAD_TYPE: &str = "application/vnd.writgate.seal.v1+json";

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

/// The fields of a line that place it in a chain, in canonical order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// The digest of the link before. `null` only in the start link.
    pub previous: Option<RecordDigest>,
    /// Counts from 0, the start link, without a gap.
    pub sequence: u64,
    /// The writer: a `UUIDv7` of one run of one webhook process.
    pub writer: Uuid,
}

/// A signature as a line contains it, with its fields in canonical order. It is not trusted until a [`ChainVerifier`]
/// has verified it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordSignature {
    /// The [`KeyId`] of the writer's key, as a hint for choosing the key.
    pub keyid: String,
    /// The Ed25519 signature of the line without this field, in standard padded base64.
    pub sig: String,
}

/// The last link of a chain at some time. The fields are in canonical order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The digest of the last link.
    pub digest: RecordDigest,
    /// The sequence of the last link.
    pub sequence: u64,
    /// The writer of the chain.
    pub writer: Uuid,
}

/// The first link of a chain: a line of its own, which is not a decision. The fields are in canonical order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartLink {
    /// Sequence 0, without a previous digest.
    pub chain: Link,
    /// The heads of the other chains, from their checkpoints at the start of the process.
    pub heads: Vec<Head>,
    /// The id of the line, a `UUIDv7`.
    pub id: Uuid,
    /// The writer's signature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<RecordSignature>,
    /// When the chain began.
    pub time: Timestamp,
    /// [`CHAIN_VERSION`]
    pub version: String,
}

/// A line of a chain that has a signature of its own: a decision record or a start link. Its fields serialise in
/// canonical order.
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

/// The canonical form of a line whose fields are in canonical order.
fn canonical_line(line: &impl Serialize) -> Vec<u8> {
    // Strings, integers and booleans always serialise, into memory.
    serde_json::to_vec(line).unwrap_or_default()
}

/// A record as a line, except for its link: everything that can be written before it is the record's turn.
#[derive(Clone, Debug)]
pub struct UnplacedRecord {
    /// The line before the member `chain`.
    before: Vec<u8>,
    /// The line after the member `chain`.
    after: Vec<u8>,
}

impl UnplacedRecord {
    /// The line of `record`, whose own link and signature are left out.
    #[must_use]
    pub fn of(record: &DecisionRecord) -> Self {
        let mut before = if record.chain.is_none() && record.signature.is_none() {
            canonical_line(record)
        } else {
            canonical_line(&DecisionRecord { chain: None, signature: None, ..record.clone() })
        };
        // `change` follows `chain`. A quote in a string is escaped, so this is the member and never a part of a value.
        let at = memchr::memmem::find(&before, b",\"change\":").unwrap_or(before.len());
        let after = before.split_off(at);
        Self { before, after }
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
    pub fn start(&mut self, id: Uuid, time: Timestamp, heads: Vec<Head>) -> UnsealedLine<StartLink> {
        let chain = Link { writer: self.writer, sequence: 0, previous: None };
        self.head = None;
        self.link(StartLink { version: CHAIN_VERSION.to_owned(), id, time, heads, chain, signature: None })
    }

    /// Adds `line` to the chain, to be signed by itself. The next line refers to it even if it is never written, so that
    /// a lost line is missed.
    pub fn link<T: Sealable>(&mut self, mut line: T) -> UnsealedLine<T> {
        let place = self.next();
        line.set_link(place);
        let canonical = canonical_line(&line);
        let head = self.move_to(place, &canonical);
        UnsealedLine { line, canonical, head }
    }

    /// Adds `record` to the chain and its line, without a line break, to `out`. A later [`Seal`] signs it. The next line
    /// refers to it even if it is never written, so that a lost line is missed.
    pub fn place(&mut self, record: &UnplacedRecord, out: &mut Vec<u8>) -> Link {
        let link = self.next();
        let start = out.len();
        out.extend_from_slice(&record.before);
        out.extend_from_slice(b",\"chain\":");
        // Writing to memory does not fail.
        let _ = match link.previous {
            Some(previous) => write!(out, "{{\"previous\":\"{previous}\""),
            None => write!(out, "{{\"previous\":null"),
        };
        let _ = write!(out, ",\"sequence\":{},\"writer\":\"{}\"}}", link.sequence, link.writer);
        out.extend_from_slice(&record.after);
        self.move_to(link, out.get(start..).unwrap_or_default());
        link
    }

    fn next(&self) -> Link {
        Link {
            writer: self.writer,
            sequence: self.head.map_or(0, |head| head.sequence.saturating_add(1)),
            previous: self.head.map(|head| head.digest),
        }
    }

    fn move_to(&mut self, link: Link, canonical: &[u8]) -> Head {
        let head = Head { writer: self.writer, sequence: link.sequence, digest: RecordDigest::of(canonical) };
        self.head = Some(head);
        head
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

/// A line that has its position in the chain and is to be signed by itself.
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

    /// The line with its signature. `sign` must return the signature of its argument by the key `keyid`.
    #[must_use]
    pub fn seal(mut self, keyid: KeyId, sign: impl FnOnce(&[u8]) -> [u8; 64]) -> T {
        self.line.set_signature(signature(RECORD_PAYLOAD_TYPE, &self.canonical, keyid, sign));
        self.line
    }
}

impl DecisionRecord {
    /// Signs the record by itself, for the places where it is kept without its chain. `sign` must return the signature of
    /// its argument by the key `keyid`, which must be the key of the chain.
    pub fn sign(&mut self, keyid: KeyId, sign: impl FnOnce(&[u8]) -> [u8; 64]) {
        self.signature = None;
        self.signature = Some(signature(RECORD_PAYLOAD_TYPE, &canonical_line(self), keyid, sign));
    }
}

/// A line that signs a chain up to `chain`, the link that was the last one. It takes no position itself. The fields are
/// in canonical order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seal {
    /// The last link that the seal covers.
    pub chain: Head,
    /// The writer's signature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<RecordSignature>,
    /// When the seal was written.
    pub time: Timestamp,
    /// [`SEAL_VERSION`]
    pub version: String,
}

impl Seal {
    /// The seal of the chain up to `head`. `sign` must return the signature of its argument by the key `keyid`.
    #[must_use]
    pub fn of(head: Head, time: Timestamp, keyid: KeyId, sign: impl FnOnce(&[u8]) -> [u8; 64]) -> Self {
        let mut seal = Self { chain: head, signature: None, time, version: SEAL_VERSION.to_owned() };
        seal.signature = Some(signature(SEAL_PAYLOAD_TYPE, &canonical_line(&seal), keyid, sign));
        seal
    }
}

fn signature(
    payload_type: &str,
    canonical: &[u8],
    keyid: KeyId,
    sign: impl FnOnce(&[u8]) -> [u8; 64],
) -> RecordSignature {
    let sig = sign(&pre_authentication(payload_type, canonical));
    RecordSignature { keyid: keyid.to_string(), sig: BASE64.encode(sig) }
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
