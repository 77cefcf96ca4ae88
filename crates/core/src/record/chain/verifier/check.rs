//! One line by itself: whether a known key signed it, and what it says. Nothing here depends on other lines.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use super::{ChainFinding, ChainPosition, VerifiedLine, VerifiedRecord};
use crate::{
    approval::key::{KeyId, PublicKey},
    encoding::canonical::canonical,
    encoding::dsse::pre_authentication,
    encoding::{
        signed::{Fields, Node},
        strict::by_field_name,
    },
    record::{
        chain::{CHAIN_VERSION, Head, Link, RECORD_PAYLOAD_TYPE, RecordDigest, SEAL_PAYLOAD_TYPE, SIGNED_PART},
        decision::RECORD_VERSION,
        line::{ClaimedLine, UnverifiedClaims, record_in},
    },
};

/// A line that was checked by itself, without regard to other lines.
#[derive(Debug)]
pub struct CheckedLine(pub(super) LineCheck);

#[derive(Debug)]
pub(super) enum LineCheck {
    NotARecord,
    Found(ChainFinding),
    /// The signature is a known key's. Whether the key may sign this chain, and whether the position is free, is not
    /// checked yet.
    Signed(Box<SignedLine>),
    /// The same, of a seal.
    Seal(Box<SignedSeal>),
    /// A record that only a seal can verify.
    Unsigned(Box<UnsignedLine>),
}

#[derive(Debug)]
pub(super) struct SignedLine {
    pub(super) place: LinkFields,
    pub(super) content: VerifiedLine,
    pub(super) digest: RecordDigest,
    pub(super) keyid: KeyId,
    pub(super) claims: UnverifiedClaims,
}

#[derive(Debug)]
pub(super) struct SignedSeal {
    pub(super) head: Head,
    pub(super) keyid: KeyId,
    pub(super) claims: UnverifiedClaims,
}

/// A record without a signature of its own. Nothing in it is verified.
#[derive(Debug)]
pub(super) struct UnsignedLine {
    pub(super) link: Link,
    /// What the line is if a seal covers it.
    pub(super) content: VerifiedLine,
    pub(super) digest: RecordDigest,
    /// `None`: the content has them, in the same spelling.
    pub(super) claims: Option<UnverifiedClaims>,
    /// The length of the line in bytes.
    pub(super) size: usize,
}

impl UnsignedLine {
    pub(super) fn claims(&self) -> UnverifiedClaims {
        match (&self.claims, &self.content) {
            (Some(claims), _) => claims.clone(),
            (None, VerifiedLine::Record(record)) => UnverifiedClaims::of(&record.record),
            (None, _) => UnverifiedClaims::default(),
        }
    }
}

/// The fields that place a signed line in its chain.
#[derive(Debug, Deserialize)]
pub(super) struct LinkFields {
    pub(super) id: Uuid,
    #[serde(deserialize_with = "by_field_name")]
    pub(super) chain: Link,
    #[serde(default)]
    pub(super) time: Option<Timestamp>,
    #[serde(default)]
    pub(super) heads: Vec<Head>,
}

/// The fields of a seal.
#[derive(Debug, Deserialize)]
struct SealFields {
    #[serde(deserialize_with = "by_field_name")]
    chain: Head,
    #[expect(dead_code, reason = "a seal without a time is not a seal")]
    time: Timestamp,
}

/// Reads a record without a signature of its own.
pub(super) fn check_unsigned(claimed: ClaimedLine<'_>) -> LineCheck {
    let text = claimed.text();
    let line = match claimed.into_written() {
        Ok(record) => {
            let (Some(link), id) = (record.chain, record.id) else { return LineCheck::NotARecord };
            if link.previous.is_none() || link.sequence == 0 {
                return LineCheck::Found(ChainFinding::Unsigned { claims: UnverifiedClaims::of(&record) });
            }
            let position = ChainPosition { writer: link.writer, sequence: link.sequence, id };
            let content = VerifiedLine::Record(Box::new(VerifiedRecord { record: *record, position }));
            // The text is its own canonical form.
            let digest = RecordDigest::of(text.as_bytes());
            UnsignedLine { link, content, digest, claims: None, size: text.len() }
        }
        Err(claimed) => {
            let claims = claimed.claims();
            let canonical = canonical(text, SIGNED_PART).ok();
            let Some((place, canonical)) = canonical.and_then(|canonical| Some((place_in(&canonical)?, canonical)))
            else {
                return LineCheck::Found(ChainFinding::Unsigned { claims });
            };
            if place.chain.sequence == 0 {
                return LineCheck::Found(ChainFinding::Unsigned { claims });
            }
            let (content, digest) = (content(&claimed, &place, &canonical), RecordDigest::of(&canonical));
            UnsignedLine { link: place.chain, content, digest, claims: Some(claims), size: text.len() }
        }
    };
    LineCheck::Unsigned(Box::new(line))
}

/// The bytes that are signed, if `key` signed exactly this text under `payload_type`.
fn text_signed_by(line: &ClaimedLine<'_>, key: &PublicKey, payload_type: &str) -> Option<Vec<u8>> {
    let signature = signature(line.signature()?).ok()?;
    let signed = canonical(line.text(), SIGNED_PART).ok()?;
    key.verify_strict(&pre_authentication(payload_type, &signed), &signature).then_some(signed)
}

/// The line's place in its chain and the bytes that are signed, if `key` signed exactly this text.
pub(super) fn signed_by(line: &ClaimedLine<'_>, key: &PublicKey) -> Option<(LinkFields, Vec<u8>)> {
    let signed = text_signed_by(line, key, RECORD_PAYLOAD_TYPE)?;
    Some((place_in(&signed)?, signed))
}

/// The head that a seal covers, if `key` signed exactly this text.
pub(super) fn seal_signed_by(line: &ClaimedLine<'_>, key: &PublicKey) -> Option<Head> {
    let signed = text_signed_by(line, key, SEAL_PAYLOAD_TYPE)?;
    let SealFields { chain, time: _ } = serde_json::from_slice(&signed).ok()?;
    Some(chain)
}

/// The place in the chain of a line in its canonical form, without its signature.
fn place_in(text: &[u8]) -> Option<LinkFields> {
    let place: LinkFields = serde_json::from_slice(text).ok()?;
    // The start link, and no other, has no previous digest.
    (place.chain.previous.is_none() == (place.chain.sequence == 0)).then_some(place)
}

/// What a line is, from the bytes that are signed.
pub(super) fn content(line: &ClaimedLine<'_>, place: &LinkFields, signed: &[u8]) -> VerifiedLine {
    let Link { writer, sequence, .. } = place.chain;
    let position = ChainPosition { writer, sequence, id: place.id };
    match line.version() {
        Some(RECORD_VERSION) => match record_in(signed) {
            Ok(record) => VerifiedLine::Record(Box::new(VerifiedRecord { record, position })),
            Err(why) => VerifiedLine::Other { position, why },
        },
        Some(CHAIN_VERSION) if sequence == 0 => VerifiedLine::Start(position),
        Some(CHAIN_VERSION) => VerifiedLine::Other { position, why: "a start link has sequence 0".to_owned() },
        _ => VerifiedLine::Other { position, why: line.other_version() },
    }
}

/// The bytes of a signature. No signature covers this object, so it must not contain anything else.
fn signature(value: &Value) -> Result<[u8; 64], String> {
    let mut fields = Fields::new(Node::from(value), "signature")?;
    fields.name("keyid")?;
    let sig = fields.name("sig")?;
    fields.finish()?;
    let bytes = BASE64.decode(sig).map_err(|error| error.to_string())?;
    <[u8; 64]>::try_from(bytes).map_err(|_| "signature.sig has another length than 64 bytes".to_owned())
}
