//! Verification of sealed records: which are forged, altered, missing, forked or unsigned.
//!
//! Lines come one at a time, in any order, with any copies: from one log, from the logs of several replicas, or from
//! Events. Nothing is stored of a line until its signature is verified, so lines that strangers write cost no memory.
//! Of a chain, only [`segments`] without a gap are stored, not lines.

mod segments;

use std::collections::{BTreeMap, BTreeSet};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::{CHAIN_VERSION, Checkpoint, Head, Link, RECORD_PAYLOAD_TYPE, RecordDigest, SIGNED_PART};
use crate::{
    approval::key::{KeyId, PublicKey},
    encoding::canonical::canonical,
    encoding::dsse::pre_authentication,
    encoding::strict::{Fields, by_field_name},
    record::decision::{DecisionRecord, RECORD_VERSION},
    record::line::{ClaimedLine, LogLine, UnverifiedClaims, record_in},
};
use segments::{Gap, Insertion, Segments};

/// The maximum number of findings that a report contains. Further findings are only counted.
const MAX_FINDINGS: usize = 10_000;

/// The position of a line in its chain. The line's signature is verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ChainPosition {
    /// The writer of the chain.
    pub writer: Uuid,
    /// The line's sequence in the chain.
    pub sequence: u64,
    /// The id of the decision or the start link.
    pub id: Uuid,
}

/// Something that is wrong with a log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "finding", rename_all = "kebab-case", rename_all_fields = "camelCase")]
#[non_exhaustive]
pub enum ChainFinding {
    /// The line is signed with a key that is not known to write this chain.
    Forged {
        /// What the line says about itself.
        claims: UnverifiedClaims,
    },
    /// The line names a known key, but the signature is not that key's signature of this line.
    Altered {
        /// What the line says about itself. It may be what was altered.
        claims: UnverifiedClaims,
    },
    /// The line is a record without a link or without a signature.
    Unsigned {
        /// What the line says about itself.
        claims: UnverifiedClaims,
    },
    /// The line looks like a record and is not strict JSON: it was cut off or altered.
    Unreadable,
    /// Links were not seen, although other links or a head prove that they existed.
    Missing {
        /// The writer of the chain.
        writer: Uuid,
        /// The first missing link.
        from: u64,
        /// The last missing link.
        to: u64,
        /// The id of the link before them, if it was seen.
        #[serde(skip_serializing_if = "Option::is_none")]
        after: Option<Uuid>,
        /// The id of the link after them, if it was seen.
        #[serde(skip_serializing_if = "Option::is_none")]
        before: Option<Uuid>,
    },
    /// One key signed two histories: this link differs from the one that another link, a checkpoint or a copy has here.
    Forked {
        /// The position of the link.
        #[serde(rename = "place")]
        position: ChainPosition,
    },
}

impl ChainFinding {
    /// `forged`, `altered`, `unsigned`, `unreadable`, `missing` or `forked`.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Forged { .. } => "forged",
            Self::Altered { .. } => "altered",
            Self::Unsigned { .. } => "unsigned",
            Self::Unreadable => "unreadable",
            Self::Missing { .. } => "missing",
            Self::Forked { .. } => "forked",
        }
    }
}

/// A decision record that is in a chain, as it was signed, without its own signature. Only a [`ChainVerifier`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedRecord {
    record: DecisionRecord,
    position: ChainPosition,
}

impl VerifiedRecord {
    /// The record.
    #[must_use]
    pub fn record(&self) -> &DecisionRecord {
        &self.record
    }

    /// The record, without the proof that it was verified.
    #[must_use]
    pub fn into_record(self) -> DecisionRecord {
        self.record
    }

    /// Its position in the chain.
    #[must_use]
    pub fn position(&self) -> ChainPosition {
        self.position
    }
}

/// A verified link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VerifiedLine {
    /// The start of a chain, which is not a decision.
    Start(ChainPosition),
    /// A decision.
    Record(Box<VerifiedRecord>),
    /// A line that is not a record of this version.
    Other {
        /// Its position in the chain.
        position: ChainPosition,
        /// Why it is not a record.
        why: String,
    },
}

impl VerifiedLine {
    /// The position in the chain.
    #[must_use]
    pub fn position(&self) -> ChainPosition {
        match self {
            Self::Start(position) | Self::Other { position, .. } => *position,
            Self::Record(record) => record.position,
        }
    }
}

/// The outcome of adding a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LineOutcome {
    /// The line is neither a record nor a link: an ordinary log line, a record of an unknown version without a seal, or
    /// something else.
    NotARecord,
    /// The line is a verified link that was not seen before.
    Verified(VerifiedLine),
    /// The line is a verified link that was seen before.
    Again(VerifiedLine),
    /// The line is a finding. The report has it as well.
    Found(ChainFinding),
}

/// A line that was checked by itself, without regard to other lines.
#[derive(Debug)]
pub struct CheckedLine(LineCheck);

#[derive(Debug)]
enum LineCheck {
    NotARecord,
    Found(ChainFinding),
    /// The signature is a known key's. Whether the key may sign this chain, and whether the position is free, is not
    /// checked yet.
    Signed(Box<SignedLine>),
}

#[derive(Debug)]
struct SignedLine {
    place: LinkFields,
    content: VerifiedLine,
    digest: RecordDigest,
    keyid: KeyId,
    claims: UnverifiedClaims,
}

/// The result of the verification of one chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ChainSummary {
    /// The writer of the chain.
    pub writer: Uuid,
    /// The key that the chain's checkpoint names. Absent without a checkpoint.
    pub keyid: Option<KeyId>,
    /// The time of the start link. Absent if the start link was not seen.
    pub started: Option<Timestamp>,
    /// The number of different links that were seen, including the start link.
    pub links: u64,
    /// The number of copies: lines whose link had been seen before.
    pub copies: u64,
    /// The number of copies that could not be compared with the first line, because it was too long ago. Their
    /// signatures are valid.
    pub uncompared: u64,
    /// The number of links that came after a later link of the chain.
    pub late: u64,
    /// The first link that was seen.
    pub from: Option<ChainPosition>,
    /// The last link that was seen.
    pub to: Option<ChainPosition>,
    /// The latest head that a checkpoint or the start link of another chain names.
    pub head: Option<Head>,
}

/// The result of the verification of all lines.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ChainReport {
    /// The chains, sorted by writer. Since writers are `UUIDv7`s, this is the order in which they started.
    pub chains: Vec<ChainSummary>,
    /// The findings in the order of the lines, at most 10,000. Missing links that are known only at the end come last.
    pub findings: Vec<ChainFinding>,
    /// The number of findings of each kind ([`ChainFinding::as_str`]), including those that `findings` has no room for.
    pub counts: BTreeMap<&'static str, u64>,
    /// The number of links that are neither a start link nor a record of this version, so that nothing shows them.
    pub others: u64,
}

impl ChainReport {
    /// Whether there are links, each of them is a start link or a record, and there are no findings.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.counts.is_empty() && self.others == 0 && self.links() > 0
    }

    /// The number of different links that were seen.
    #[must_use]
    pub fn links(&self) -> u64 {
        self.chains.iter().map(|chain| chain.links).sum()
    }

    fn find(&mut self, finding: ChainFinding) {
        let count = self.counts.entry(finding.as_str()).or_default();
        *count = count.saturating_add(1);
        if self.findings.len() < MAX_FINDINGS {
            self.findings.push(finding);
        }
    }
}

/// Verifies lines and collects the findings.
#[derive(Debug, Default)]
pub struct ChainVerifier {
    keys: BTreeMap<KeyId, PublicKey>,
    /// The keys that may sign any chain.
    for_all: BTreeSet<KeyId>,
    chains: BTreeMap<Uuid, ChainState>,
    report: ChainReport,
}

/// What is known about one chain so far.
#[derive(Debug, Default)]
struct ChainState {
    /// The only key that may sign the chain, if a checkpoint names it.
    keyid: Option<KeyId>,
    started: Option<Timestamp>,
    head: Option<Head>,
    /// Digests from heads, by sequence, whose links were not seen yet.
    named: BTreeMap<u64, RecordDigest>,
    segments: Segments,
}

/// The fields that place a signed line in its chain.
#[derive(Debug, Deserialize)]
struct LinkFields {
    id: Uuid,
    #[serde(deserialize_with = "by_field_name")]
    chain: Link,
    #[serde(default)]
    time: Option<Timestamp>,
    #[serde(default)]
    heads: Vec<Head>,
}

impl ChainVerifier {
    /// Trusts `keys` to sign any chain. They must be keys of webhooks, never of reviewers.
    #[must_use]
    pub fn new(keys: impl IntoIterator<Item = PublicKey>) -> Self {
        let keys: BTreeMap<_, _> = keys.into_iter().map(|key| (key.id(), key)).collect();
        Self { for_all: keys.keys().copied().collect(), keys, ..Self::default() }
    }

    /// Trusts `checkpoint`: its `key` may sign the chain of its writer and no other, and the chain reached its head.
    /// The caller must have read the checkpoint from a place where no stranger can write.
    #[must_use]
    pub fn with_checkpoint(mut self, checkpoint: &Checkpoint, key: PublicKey) -> Self {
        self.keys.insert(key.id(), key);
        self.chains.entry(checkpoint.writer).or_default().keyid = Some(checkpoint.keyid);
        self.name(checkpoint.head());
        self
    }

    /// Checks one line, the text of one JSON value, and adds it.
    pub fn add(&mut self, line: &str) -> LineOutcome {
        let checked = self.check(&LogLine::read(line.as_bytes()));
        self.take(checked)
    }

    /// Adds a line that [`ChainVerifier::check`] has checked.
    pub fn take(&mut self, checked: CheckedLine) -> LineOutcome {
        let outcome = match checked.0 {
            LineCheck::NotARecord => LineOutcome::NotARecord,
            LineCheck::Found(finding) => LineOutcome::Found(finding),
            LineCheck::Signed(line) => self.insert(*line),
        };
        match &outcome {
            LineOutcome::Found(finding) => self.report.find(finding.clone()),
            LineOutcome::Verified(VerifiedLine::Other { .. }) => {
                self.report.others = self.report.others.saturating_add(1);
            }
            _ => {}
        }
        outcome
    }

    /// The result for all lines that were added.
    #[must_use]
    pub fn finish(mut self) -> ChainReport {
        for (writer, state) in &self.chains {
            for gap in state.segments.gaps(state.head.map(|head| head.sequence)) {
                self.report.find(missing(*writer, gap));
            }
        }
        self.report.chains = self.chains.iter().map(|(writer, state)| state.summary(*writer)).collect();
        self.report
    }

    /// Checks one line by itself. This takes most of the time and changes nothing, so several threads can check lines
    /// at once.
    #[must_use]
    pub fn check(&self, line: &LogLine<'_>) -> CheckedLine {
        CheckedLine(match line {
            LogLine::NotARecord => LineCheck::NotARecord,
            LogLine::Unreadable(_) => LineCheck::Found(ChainFinding::Unreadable),
            LogLine::Claimed(line) => self.check_claimed(line),
        })
    }

    fn check_claimed(&self, line: &ClaimedLine<'_>) -> LineCheck {
        let claims = line.claims();
        if !line.is_sealed() {
            let is_known = line.has_known_version();
            return if is_known { LineCheck::Found(ChainFinding::Unsigned { claims }) } else { LineCheck::NotARecord };
        }
        let named = claims.keyid.as_deref().and_then(|keyid| keyid.parse().ok());
        let Some(key) = named.and_then(|keyid: KeyId| self.keys.get(&keyid)) else {
            return LineCheck::Found(ChainFinding::Forged { claims });
        };
        let Some((place, signed)) = signed_by(line, key) else {
            return LineCheck::Found(ChainFinding::Altered { claims });
        };
        let digest = RecordDigest::of(&signed);
        let content = content(line, &place, &signed);
        LineCheck::Signed(Box::new(SignedLine { place, content, digest, keyid: key.id(), claims }))
    }

    /// Adds a signed line to its chain.
    fn insert(&mut self, line: SignedLine) -> LineOutcome {
        let SignedLine { place, content, digest, keyid, claims } = line;
        let Link { writer, sequence, previous } = place.chain;
        let own = self.chains.get(&writer).and_then(|state| state.keyid);
        if own.map_or_else(|| !self.for_all.contains(&keyid), |own| own != keyid) {
            return LineOutcome::Found(ChainFinding::Forged { claims });
        }
        let state = self.chains.entry(writer).or_default();
        let position = content.position();
        let is_named = state.named.remove(&sequence).is_none_or(|named| named == digest);
        let added = state.segments.add(sequence, position.id, previous, digest);
        if let Some(gap) = state.segments.close_lowest_gap() {
            self.report.find(missing(writer, gap));
        }
        if sequence == 0 && added == Insertion::New {
            state.started = place.time;
        }
        for head in place.heads {
            self.name(head);
        }
        match added {
            Insertion::Forked => LineOutcome::Found(ChainFinding::Forked { position }),
            _ if !is_named => LineOutcome::Found(ChainFinding::Forked { position }),
            Insertion::New => LineOutcome::Verified(content),
            Insertion::Again => LineOutcome::Again(content),
        }
    }

    /// Notes a head from a trusted source.
    fn name(&mut self, head: Head) {
        let state = self.chains.entry(head.writer).or_default();
        if state.head.is_none_or(|other| other.sequence < head.sequence) {
            state.head = Some(head);
        }
        match state.segments.digest(head.sequence) {
            Some((id, digest)) if digest != head.digest => {
                let position = ChainPosition { writer: head.writer, sequence: head.sequence, id };
                self.report.find(ChainFinding::Forked { position });
            }
            None if !state.segments.holds(head.sequence) => {
                state.named.insert(head.sequence, head.digest);
            }
            _ => {}
        }
    }
}

impl ChainState {
    fn summary(&self, writer: Uuid) -> ChainSummary {
        let position = |(sequence, id)| ChainPosition { writer, sequence, id };
        ChainSummary {
            writer,
            keyid: self.keyid,
            started: self.started,
            links: self.segments.links,
            copies: self.segments.copies,
            uncompared: self.segments.uncompared,
            late: self.segments.late,
            from: self.segments.first().map(position),
            to: self.segments.last().map(position),
            head: self.head,
        }
    }
}

fn missing(writer: Uuid, gap: Gap) -> ChainFinding {
    let Gap { from, to, after, before } = gap;
    ChainFinding::Missing { writer, from, to, after, before }
}

/// The line's place in its chain and the bytes that are signed, if `key` signed exactly this text.
fn signed_by(line: &ClaimedLine<'_>, key: &PublicKey) -> Option<(LinkFields, Vec<u8>)> {
    let signature = signature(line.signature()?.clone()).ok()?;
    let signed = canonical(line.text(), SIGNED_PART).ok()?;
    if !key.verify_strict(&pre_authentication(RECORD_PAYLOAD_TYPE, &signed), &signature) {
        return None;
    }
    let place: LinkFields = serde_json::from_slice(&signed).ok()?;
    // The start link, and no other, has no previous digest.
    (place.chain.previous.is_none() == (place.chain.sequence == 0)).then_some((place, signed))
}

/// What a line is, from the bytes that are signed.
fn content(line: &ClaimedLine<'_>, place: &LinkFields, signed: &[u8]) -> VerifiedLine {
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
fn signature(value: Value) -> Result<[u8; 64], String> {
    let mut fields = Fields::new(value, "signature")?;
    fields.name("keyid")?;
    let sig = fields.name("sig")?;
    fields.finish()?;
    let bytes = BASE64.decode(sig).map_err(|error| error.to_string())?;
    <[u8; 64]>::try_from(bytes).map_err(|_| "signature.sig has another length than 64 bytes".to_owned())
}
