//! Reading sealed records back: what is forged, altered, missing, forked or not signed at all.
//!
//! Lines are given one at a time, in any order and as often as they turn up: a log's, several replicas', an Event's
//! copy. Nothing of a line is believed, and nothing kept, before its signature was checked, so what strangers write
//! costs no memory. What is kept of a chain are its segments without a gap ([`segment`]), not its lines. Called by the
//! command line and by tests.

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
    encoding::strict::{self, Fields},
    record::decision::RECORD_VERSION,
};
use segments::{Gap, Insertion, Segments};

/// Findings that a report names; all are counted.
const MAX_FINDINGS: usize = 10_000;

/// What a line says of itself, which is nobody's word.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct UnverifiedClaims {
    /// `id`, cut to 80 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// `chain.writer`, cut likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub writer: Option<String>,
    /// `chain.sequence`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// `signature.keyid`, cut likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keyid: Option<String>,
}

/// A link whose signature was verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ChainPosition {
    /// Whose chain.
    pub writer: Uuid,
    /// Where in it.
    pub sequence: u64,
    /// The decision's id, or the start link's.
    pub id: Uuid,
}

/// Something that speaks against a log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "finding", rename_all = "kebab-case", rename_all_fields = "camelCase")]
#[non_exhaustive]
pub enum ChainFinding {
    /// Signed, by no key that is known to write this chain.
    Forged {
        /// What it says of itself.
        claims: UnverifiedClaims,
    },
    /// Signed with the name of a known key, whose signature does not fit what is there.
    Altered {
        /// What it says of itself, which may be what was altered.
        claims: UnverifiedClaims,
    },
    /// A record without a place in a chain or without a signature.
    Unsigned {
        /// What it says of itself.
        claims: UnverifiedClaims,
    },
    /// A text that names a record's format and cannot be read as JSON: cut off, or altered.
    Unreadable,
    /// Links that are not there, though others name or follow them.
    Missing {
        /// Whose.
        writer: Uuid,
        /// The first of them.
        from: u64,
        /// The last of them.
        to: u64,
        /// Id of the link before them, where it is there.
        #[serde(skip_serializing_if = "Option::is_none")]
        after: Option<Uuid>,
        /// Id of the link behind them, where it is there.
        #[serde(skip_serializing_if = "Option::is_none")]
        before: Option<Uuid>,
    },
    /// Two histories under one key: this link is not the one that another link, a checkpoint or a copy of it says.
    Forked {
        /// The link at which they part.
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

/// What a line turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LineOutcome {
    /// None of ours: a log line, or anything else.
    NotARecord,
    /// A link, verified and new.
    Verified(ChainPosition),
    /// The same link again.
    Again(ChainPosition),
    /// Something that speaks against the log; it will be in the report too.
    Found(ChainFinding),
}

/// What a line is, apart from every other.
#[derive(Debug)]
pub struct CheckedLine(LineCheck);

#[derive(Debug)]
enum LineCheck {
    NotARecord,
    Found(ChainFinding),
    /// A known key's signature fits; whether it is that writer's, and the place free, is still to be seen.
    Signed {
        line: Box<VerifiedLine>,
        digest: RecordDigest,
        keyid: KeyId,
        claims: UnverifiedClaims,
    },
}

/// What is known of one chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ChainSummary {
    /// Whose.
    pub writer: Uuid,
    /// The key that its checkpoint names; absent without one.
    pub keyid: Option<KeyId>,
    /// Time of its start link; absent where that was not seen.
    pub started: Option<Timestamp>,
    /// Different links that were seen, the start link among them.
    pub links: u64,
    /// How often a link was seen again.
    pub copies: u64,
    /// Of these, how many came too late to be compared with the first; their signatures are good.
    pub uncompared: u64,
    /// The first link that was seen.
    pub from: Option<ChainPosition>,
    /// The last one.
    pub to: Option<ChainPosition>,
    /// The last link that a checkpoint or another chain's start names.
    pub head: Option<Head>,
}

/// What all the lines came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ChainReport {
    /// By writer, which is by the time at which it began.
    pub chains: Vec<ChainSummary>,
    /// In the order in which they were found, those of missing links last.
    pub findings: Vec<ChainFinding>,
    /// How many findings there are of each kind ([`ChainFinding::as_str`]), also of those that are not named above.
    pub counts: BTreeMap<&'static str, u64>,
}

impl ChainReport {
    /// Whether nothing speaks against the log.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.counts.is_empty()
    }

    fn find(&mut self, finding: ChainFinding) {
        let count = self.counts.entry(finding.as_str()).or_default();
        *count = count.saturating_add(1);
        if self.findings.len() < MAX_FINDINGS {
            self.findings.push(finding);
        }
    }
}

/// Reads lines, remembers what they come to.
#[derive(Debug, Default)]
pub struct ChainVerifier {
    keys: BTreeMap<KeyId, PublicKey>,
    /// Those of the keys that may sign any chain.
    for_all: BTreeSet<KeyId>,
    chains: BTreeMap<Uuid, ChainState>,
    report: ChainReport,
}

/// What is known of one writer.
#[derive(Debug, Default)]
struct ChainState {
    /// The one key that may sign, where a checkpoint says.
    keyid: Option<KeyId>,
    started: Option<Timestamp>,
    head: Option<Head>,
    /// Heads that a line was not compared with yet, by sequence.
    named: BTreeMap<u64, RecordDigest>,
    segments: Segments,
}

/// A line whose signature was verified.
#[derive(Debug, Deserialize)]
struct VerifiedLine {
    id: Uuid,
    chain: Link,
    #[serde(default)]
    time: Option<Timestamp>,
    #[serde(default)]
    heads: Vec<Head>,
}

impl ChainVerifier {
    /// Believes `keys`, whichever chain they sign: those of webhooks, never of reviewers.
    #[must_use]
    pub fn new(keys: impl IntoIterator<Item = PublicKey>) -> Self {
        let keys: BTreeMap<_, _> = keys.into_iter().map(|key| (key.id(), key)).collect();
        Self { for_all: keys.keys().copied().collect(), keys, ..Self::default() }
    }

    /// Believes a checkpoint from where no stranger writes: its key, for this writer alone, and how far its chain came.
    #[must_use]
    pub fn with_checkpoint(mut self, checkpoint: &Checkpoint, key: PublicKey) -> Self {
        self.keys.insert(key.id(), key);
        self.chains.entry(checkpoint.writer).or_default().keyid = Some(checkpoint.keyid);
        self.name(checkpoint.head());
        self
    }

    /// Takes one line: the text of one JSON value.
    pub fn add(&mut self, line: &str) -> LineOutcome {
        let checked = self.check(line);
        self.take(checked)
    }

    /// Takes a line that was checked.
    pub fn take(&mut self, checked: CheckedLine) -> LineOutcome {
        let outcome = match checked.0 {
            LineCheck::NotARecord => LineOutcome::NotARecord,
            LineCheck::Found(finding) => LineOutcome::Found(finding),
            LineCheck::Signed { line, digest, keyid, claims } => self.insert(*line, digest, keyid, claims),
        };
        if let LineOutcome::Found(finding) = &outcome {
            self.report.find(finding.clone());
        }
        outcome
    }

    /// What all the lines came to.
    #[must_use]
    pub fn finish(mut self) -> ChainReport {
        for (writer, known) in &self.chains {
            for gap in known.segments.gaps(known.head.map(|head| head.sequence)) {
                self.report.find(missing(*writer, gap));
            }
        }
        self.report.chains = self.chains.iter().map(|(writer, known)| known.summary(*writer)).collect();
        self.report
    }

    /// What a line is by itself, which takes most of the time and changes nothing: several threads may check.
    #[must_use]
    pub fn check(&self, line: &str) -> CheckedLine {
        CheckedLine(self.check_line(line))
    }

    fn check_line(&self, line: &str) -> LineCheck {
        let Ok(value) = strict::parse(line.as_bytes()) else {
            let names_ours = [RECORD_VERSION, CHAIN_VERSION].iter().any(|version| line.contains(version));
            return if names_ours { LineCheck::Found(ChainFinding::Unreadable) } else { LineCheck::NotARecord };
        };
        let Value::Object(fields) = &value else { return LineCheck::NotARecord };
        let has = |name| fields.get(name).is_some_and(|value| !value.is_null());
        let is_ours =
            fields.get("version").is_some_and(|version| version == RECORD_VERSION || version == CHAIN_VERSION);
        let is_sealed = has("chain") && has("signature");
        if !is_ours && !is_sealed {
            return LineCheck::NotARecord;
        }
        let claims = UnverifiedClaims::of(&value);
        if !is_sealed {
            return LineCheck::Found(ChainFinding::Unsigned { claims });
        }
        let named = claims.keyid.as_deref().and_then(|keyid| keyid.parse().ok());
        let Some(key) = named.and_then(|keyid: KeyId| self.keys.get(&keyid)) else {
            return LineCheck::Found(ChainFinding::Forged { claims });
        };
        let keyid = key.id();
        let Some((line, digest)) = verified(line, value, key) else {
            return LineCheck::Found(ChainFinding::Altered { claims });
        };
        LineCheck::Signed { line: Box::new(line), digest, keyid, claims }
    }

    /// Adds a line whose signature is `keyid`'s to its chain.
    fn insert(
        &mut self,
        line: VerifiedLine,
        digest: RecordDigest,
        keyid: KeyId,
        claims: UnverifiedClaims,
    ) -> LineOutcome {
        let Link { writer, sequence, previous } = line.chain;
        let own = self.chains.get(&writer).and_then(|known| known.keyid);
        if own.map_or_else(|| !self.for_all.contains(&keyid), |own| own != keyid) {
            return LineOutcome::Found(ChainFinding::Forged { claims });
        }
        let known = self.chains.entry(writer).or_default();
        let position = ChainPosition { writer, sequence, id: line.id };
        let is_named = known.named.remove(&sequence).is_none_or(|named| named == digest);
        let added = known.segments.add(sequence, line.id, previous, digest);
        if let Some(gap) = known.segments.close_lowest_gap() {
            self.report.find(missing(writer, gap));
        }
        if sequence == 0 && added == Insertion::New {
            known.started = line.time;
        }
        for head in line.heads {
            self.name(head);
        }
        match added {
            Insertion::Forked => LineOutcome::Found(ChainFinding::Forked { position }),
            _ if !is_named => LineOutcome::Found(ChainFinding::Forked { position }),
            Insertion::New => LineOutcome::Verified(position),
            Insertion::Again => LineOutcome::Again(position),
        }
    }

    /// Notes that somebody who is believed has seen `head`.
    fn name(&mut self, head: Head) {
        let known = self.chains.entry(head.writer).or_default();
        if known.head.is_none_or(|other| other.sequence < head.sequence) {
            known.head = Some(head);
        }
        match known.segments.digest(head.sequence) {
            Some((id, digest)) if digest != head.digest => {
                let position = ChainPosition { writer: head.writer, sequence: head.sequence, id };
                self.report.find(ChainFinding::Forked { position });
            }
            None if !known.segments.holds(head.sequence) => {
                known.named.insert(head.sequence, head.digest);
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
            from: self.segments.first().map(position),
            to: self.segments.last().map(position),
            head: self.head,
        }
    }
}

impl UnverifiedClaims {
    fn of(value: &Value) -> Self {
        let text = |pointer| value.pointer(pointer).and_then(Value::as_str);
        let text = |pointer| text(pointer).map(|text| text.chars().take(80).collect());
        Self {
            id: text("/id"),
            writer: text("/chain/writer"),
            sequence: value.pointer("/chain/sequence").and_then(Value::as_u64),
            keyid: text("/signature/keyid"),
        }
    }
}

fn missing(writer: Uuid, gap: Gap) -> ChainFinding {
    let Gap { from, to, after, before } = gap;
    ChainFinding::Missing { writer, from, to, after, before }
}

/// The line and its digest, if `key` signed exactly this.
fn verified(text: &str, mut value: Value, key: &PublicKey) -> Option<(VerifiedLine, RecordDigest)> {
    let signature = signature(value.get_mut("signature")?.take()).ok()?;
    let canonical = canonical(text, SIGNED_PART).ok()?;
    if !key.verify_strict(&pre_authentication(RECORD_PAYLOAD_TYPE, &canonical), &signature) {
        return None;
    }
    let line: VerifiedLine = serde_json::from_value(value).ok()?;
    // A writer signs nothing else; what has no link before is the first.
    (line.chain.previous.is_none() == (line.chain.sequence == 0)).then(|| (line, RecordDigest::of(&canonical)))
}

/// The bytes of a signature. It is not signed itself, so nothing else may stand in it.
fn signature(value: Value) -> Result<[u8; 64], String> {
    let mut fields = Fields::new(value, "signature")?;
    fields.name("keyid")?;
    let sig = fields.name("sig")?;
    fields.finish()?;
    let bytes = BASE64.decode(sig).map_err(|error| error.to_string())?;
    <[u8; 64]>::try_from(bytes).map_err(|_| "signature.sig has another length than 64 bytes".to_owned())
}
