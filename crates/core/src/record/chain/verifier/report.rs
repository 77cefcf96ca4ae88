//! What a verification says: the outcome of each line, and the report on all of them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;
use uuid::Uuid;

use crate::{
    approval::key::KeyId,
    record::{chain::Head, decision::DecisionRecord, line::UnverifiedClaims},
};

/// The maximum number of findings that a report contains. Further findings are only counted.
const MAX_FINDINGS: usize = 10_000;
/// The position of a line in its chain. The line is verified.
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
    /// The line names a known key, but the signature is not that key's signature of this line. Or the line has no signature
    /// of its own, and the line that was sealed at its position is another one.
    Altered {
        /// What the line says about itself. It may be what was altered.
        claims: UnverifiedClaims,
    },
    /// The line is a record without a link, or without a signature and a seal that covers it.
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
    /// One key signed two histories: this link or seal differs from what another link, a seal, a checkpoint or a copy has
    /// here.
    Forked {
        /// The position of the link, or the one that the seal names.
        #[serde(rename = "place")]
        position: Fork,
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

/// A position at which one key signed two histories.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Fork {
    /// The writer of the chain.
    pub writer: Uuid,
    /// The position in the chain.
    pub sequence: u64,
    /// The id of the link. A seal has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<Uuid>,
}

impl From<ChainPosition> for Fork {
    fn from(position: ChainPosition) -> Self {
        let ChainPosition { writer, sequence, id } = position;
        Self { writer, sequence, id: Some(id) }
    }
}

/// A decision record that is in a chain, as it was signed or sealed, without its own signature. Only a
/// [`ChainVerifier`](super::ChainVerifier) makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedRecord {
    pub(super) record: DecisionRecord,
    pub(super) position: ChainPosition,
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
    /// The line is a verified seal. It may have [settled](super::ChainVerifier::settled) lines that waited.
    Seal(Head),
    /// Nothing covers the line yet. [`ChainVerifier::settled`](super::ChainVerifier::settled) says under this number what
    /// became of it. A copy of a line that waits has the same number.
    Waiting(u64),
    /// The line is a finding. The report has it as well.
    Found(ChainFinding),
}

/// What became of a line that waited for its seal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    /// The number in [`LineOutcome::Waiting`].
    pub number: u64,
    /// How many copies of the line waited with it.
    pub copies: u64,
    /// The outcome.
    pub settlement: Settlement,
}

/// The outcome for a line that waited for its seal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// A seal covers the line, and its link was not seen before.
    Verified(VerifiedLine),
    /// The line is a verified link that was seen before.
    Again(VerifiedLine),
    /// The line is a finding. The report has it as well.
    Found(ChainFinding),
    /// The line follows the last seal of its chain, and nothing shows that it should be sealed: its writer may have been
    /// killed, or may still be running. It is not verified, and it is no finding.
    NotYetSealed,
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
    /// The sequence that the latest seal covers. Absent without a seal.
    pub sealed: Option<u64>,
    /// The number of records after the latest seal that are not yet sealed. They are not verified, and they are no links.
    pub not_yet_sealed: u64,
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

    pub(super) fn find(&mut self, finding: ChainFinding) {
        let count = self.counts.entry(finding.as_str()).or_default();
        *count = count.saturating_add(1);
        if self.findings.len() < MAX_FINDINGS {
            self.findings.push(finding);
        }
    }
}
