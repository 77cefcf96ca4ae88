//! Verification of sealed records: which are forged, altered, missing, forked, unsigned or not yet sealed.
//!
//! Lines come one at a time, in any order, with any copies: from one log, from the logs of several replicas, or from
//! Events. A line with a signature of its own is stored only after the signature was verified. A record without one
//! [waits](waiting) for a seal, in bounded memory. A seal that was verified covers the lines that its digest leads to.
//! Of a chain, only [`segments`] without a gap are stored, not lines.

mod check;
mod report;
mod segments;
mod waiting;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use uuid::Uuid;

use super::{Checkpoint, Head, Link, RecordDigest, SEAL_VERSION};
use crate::{
    approval::key::{KeyId, PublicKey},
    record::line::{ClaimedLine, LogLine},
};
pub use check::CheckedLine;
use check::{LineCheck, SignedLine, SignedSeal, UnsignedLine, check_unsigned, content, seal_signed_by, signed_by};
pub use report::{
    ChainFinding, ChainPosition, ChainReport, ChainSummary, Fork, LineOutcome, Settled, Settlement, VerifiedLine,
    VerifiedRecord,
};
use segments::{Gap, Insertion, Segments};
use waiting::{Waiting, WaitingLine};

/// The maximum number of sealed digests of one chain whose lines were not seen. If there are more, the lowest is dropped.
const MAX_AWAITED: usize = 4096;

/// Verifies lines and collects the findings.
#[derive(Debug, Default)]
pub struct ChainVerifier {
    keys: BTreeMap<KeyId, PublicKey>,
    /// The keys that may sign any chain.
    for_all: BTreeSet<KeyId>,
    chains: BTreeMap<Uuid, ChainState>,
    waiting: Waiting,
    settled: Vec<Settled>,
    report: ChainReport,
}

/// What is known about one chain so far.
#[derive(Debug, Default)]
struct ChainState {
    /// The only key that may sign the chain, if a checkpoint names it.
    keyid: Option<KeyId>,
    started: Option<Timestamp>,
    /// The digest of the start link.
    start: Option<RecordDigest>,
    head: Option<Head>,
    /// The latest head that a seal names.
    sealed: Option<Head>,
    /// Digests from heads, by sequence, whose links were not seen yet.
    named: BTreeMap<u64, RecordDigest>,
    /// Digests that a seal covers, by sequence, whose lines were not seen yet.
    awaited: BTreeMap<u64, RecordDigest>,
    not_yet_sealed: u64,
    segments: Segments,
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
        let checked = self.check(LogLine::read(line.as_bytes()));
        self.take(checked)
    }

    /// Adds a line that [`ChainVerifier::check`] has checked.
    pub fn take(&mut self, checked: CheckedLine) -> LineOutcome {
        let outcome = match checked.0 {
            LineCheck::NotARecord => LineOutcome::NotARecord,
            LineCheck::Found(finding) => LineOutcome::Found(finding),
            LineCheck::Signed(line) => self.insert(*line),
            LineCheck::Seal(seal) => self.cover(*seal),
            LineCheck::Unsigned(line) => self.insert_unsigned(*line),
        };
        match &outcome {
            LineOutcome::Found(finding) => self.report.find(finding.clone()),
            LineOutcome::Verified(line) => self.count(line),
            _ => {}
        }
        outcome
    }

    /// What became of lines that waited, since the last call.
    pub fn settled(&mut self) -> Vec<Settled> {
        std::mem::take(&mut self.settled)
    }

    /// Settles the lines that still wait, after the last line was added.
    pub fn close(&mut self) {
        for (writer, lines) in self.waiting.take_all() {
            let tail = self.chains.get(&writer).map_or_else(BTreeSet::new, |state| state.tail(&lines));
            for line in lines {
                if tail.contains(&line.number) {
                    if let Some(state) = self.chains.get_mut(&writer) {
                        state.not_yet_sealed = state.not_yet_sealed.saturating_add(1);
                    }
                    self.settle(&line, Settlement::NotYetSealed);
                } else {
                    self.give_up(&line);
                }
            }
        }
    }

    /// The result for all lines that were added.
    #[must_use]
    pub fn finish(mut self) -> ChainReport {
        self.close();
        for (writer, state) in &self.chains {
            for gap in state.segments.gaps(state.reach()) {
                self.report.find(missing(*writer, gap));
            }
        }
        self.report.chains = self.chains.iter().map(|(writer, state)| state.summary(*writer)).collect();
        self.report
    }

    /// Checks one line by itself. This takes most of the time and changes nothing, so several threads can check lines
    /// at once.
    #[must_use]
    pub fn check(&self, line: LogLine<'_>) -> CheckedLine {
        CheckedLine(match line {
            LogLine::NotARecord => LineCheck::NotARecord,
            LogLine::Unreadable(_) => LineCheck::Found(ChainFinding::Unreadable),
            LogLine::Claimed(line) => self.check_claimed(line),
        })
    }

    fn check_claimed(&self, line: ClaimedLine<'_>) -> LineCheck {
        if line.may_be_sealed() {
            return check_unsigned(line);
        }
        let claims = line.claims();
        if !line.is_signed() {
            let is_known = line.has_known_version();
            return if is_known { LineCheck::Found(ChainFinding::Unsigned { claims }) } else { LineCheck::NotARecord };
        }
        let named = claims.keyid.as_deref().and_then(|keyid| keyid.parse().ok());
        let Some(key) = named.and_then(|keyid: KeyId| self.keys.get(&keyid)) else {
            return LineCheck::Found(ChainFinding::Forged { claims });
        };
        let keyid = key.id();
        if line.version() == Some(SEAL_VERSION) {
            return match seal_signed_by(&line, key) {
                Some(head) => LineCheck::Seal(Box::new(SignedSeal { head, keyid, claims })),
                None => LineCheck::Found(ChainFinding::Altered { claims }),
            };
        }
        let Some((place, signed)) = signed_by(&line, key) else {
            return LineCheck::Found(ChainFinding::Altered { claims });
        };
        let digest = RecordDigest::of(&signed);
        let content = content(&line, &place, &signed);
        LineCheck::Signed(Box::new(SignedLine { place, content, digest, keyid, claims }))
    }

    /// Whether a key may sign the chain of `writer`.
    fn may_sign(&self, keyid: KeyId, writer: Uuid) -> bool {
        let own = self.chains.get(&writer).and_then(|state| state.keyid);
        own.map_or_else(|| self.for_all.contains(&keyid), |own| own == keyid)
    }

    /// Adds a line with a signature of its own to its chain.
    fn insert(&mut self, line: SignedLine) -> LineOutcome {
        let SignedLine { place, content, digest, keyid, claims } = line;
        let Link { writer, sequence, previous } = place.chain;
        if !self.may_sign(keyid, writer) {
            return LineOutcome::Found(ChainFinding::Forged { claims });
        }
        let awaited = self.chains.entry(writer).or_default().awaited.remove(&sequence);
        let added = self.add_link(content, previous, digest);
        if sequence == 0
            && let LineOutcome::Verified(_) = &added
            && let Some(state) = self.chains.get_mut(&writer)
        {
            (state.started, state.start) = (place.time, Some(digest));
        }
        for head in place.heads {
            self.name(head);
        }
        for waiting in self.waiting.take(writer, sequence) {
            if waiting.line.digest == digest {
                self.add_waiting(waiting);
            } else {
                self.alter(&waiting);
            }
        }
        match awaited {
            Some(sealed) if sealed == digest => self.follow(writer, sequence, previous),
            Some(_) => {
                if let LineOutcome::Verified(line) | LineOutcome::Again(line) = added {
                    return LineOutcome::Found(ChainFinding::Forked { position: line.position().into() });
                }
            }
            None => {}
        }
        added
    }

    /// Adds a record without a signature: it is verified if a seal covers it that was seen before, and waits otherwise.
    fn insert_unsigned(&mut self, line: UnsignedLine) -> LineOutcome {
        let Link { writer, sequence, previous } = line.link;
        if let Some(state) = self.chains.get_mut(&writer) {
            let known = state.segments.digest(sequence).map(|(_, digest)| digest);
            match state.awaited.get(&sequence).copied().or(known) {
                Some(digest) if digest != line.digest => {
                    return LineOutcome::Found(ChainFinding::Altered { claims: line.claims() });
                }
                Some(_) => {
                    let is_awaited = state.awaited.remove(&sequence).is_some();
                    let added = self.add_link(line.content, previous, line.digest);
                    if is_awaited {
                        self.follow(writer, sequence, previous);
                    }
                    return added;
                }
                None => {}
            }
        }
        let (number, dropped) = self.waiting.add(line);
        for line in dropped {
            self.give_up(&line);
        }
        LineOutcome::Waiting(number)
    }

    /// Adds a seal to its chain: the lines that it covers are verified.
    fn cover(&mut self, seal: SignedSeal) -> LineOutcome {
        let SignedSeal { head, keyid, claims } = seal;
        if !self.may_sign(keyid, head.writer) {
            return LineOutcome::Found(ChainFinding::Forged { claims });
        }
        let state = self.chains.entry(head.writer).or_default();
        let linked = state.segments.digest(head.sequence).map(|(_, digest)| digest);
        let others = [linked, state.awaited.get(&head.sequence).copied(), state.named.get(&head.sequence).copied()];
        if others.into_iter().flatten().any(|other| other != head.digest) {
            let position = Fork { writer: head.writer, sequence: head.sequence, id: None };
            return LineOutcome::Found(ChainFinding::Forked { position });
        }
        if state.sealed.is_none_or(|sealed| sealed.sequence < head.sequence) {
            state.sealed = Some(head);
        }
        self.trust(head);
        LineOutcome::Seal(head)
    }

    /// Verifies the link before a link that is sealed, and so on.
    fn follow(&mut self, writer: Uuid, sequence: u64, previous: Option<RecordDigest>) {
        if let (Some(sequence), Some(digest)) = (sequence.checked_sub(1), previous) {
            self.trust(Head { digest, sequence, writer });
        }
    }

    /// Verifies the lines that lead from a sealed digest to the beginning of the chain, as far as they were seen. The rest is
    /// awaited.
    fn trust(&mut self, mut head: Head) {
        let writer = head.writer;
        let mut sealed = Vec::new();
        loop {
            let mut found = None;
            for waiting in self.waiting.take(writer, head.sequence) {
                if waiting.line.digest == head.digest {
                    found = Some((head.sequence, waiting.line.link.previous));
                    sealed.push(waiting);
                } else {
                    self.alter(&waiting);
                }
            }
            let state = self.chains.entry(writer).or_default();
            let (first, previous) = match found {
                Some(found) => found,
                // A link that was seen before: what leads to it from below is one segment.
                None if state.segments.holds(head.sequence) => {
                    let is_same = state.segments.digest(head.sequence).is_some_and(|(_, digest)| digest == head.digest);
                    match state.segments.below_whole(head.sequence) {
                        Some(found) if is_same => found,
                        _ => break,
                    }
                }
                None => {
                    state.awaited.entry(head.sequence).or_insert(head.digest);
                    if state.awaited.len() > MAX_AWAITED {
                        state.awaited.pop_first();
                    }
                    break;
                }
            };
            match (first.checked_sub(1), previous) {
                (Some(sequence), Some(digest)) => head = Head { digest, sequence, writer },
                _ => break,
            }
        }
        // In the order of the chain.
        for waiting in sealed.into_iter().rev() {
            self.add_waiting(waiting);
        }
    }

    /// Adds a verified line to its chain.
    fn add_link(&mut self, content: VerifiedLine, previous: Option<RecordDigest>, digest: RecordDigest) -> LineOutcome {
        let position = content.position();
        let ChainPosition { writer, sequence, id } = position;
        let state = self.chains.entry(writer).or_default();
        let is_named = state.named.remove(&sequence).is_none_or(|named| named == digest);
        let added = state.segments.add(sequence, id, previous, digest);
        if let Some(gap) = state.segments.close_lowest_gap() {
            self.report.find(missing(writer, gap));
        }
        match added {
            Insertion::Forked => LineOutcome::Found(ChainFinding::Forked { position: position.into() }),
            _ if !is_named => LineOutcome::Found(ChainFinding::Forked { position: position.into() }),
            Insertion::New => LineOutcome::Verified(content),
            Insertion::Again => LineOutcome::Again(content),
        }
    }

    /// Adds a line that waited to its chain, since it is verified now.
    fn add_waiting(&mut self, waiting: WaitingLine) {
        let WaitingLine { number, copies, line } = waiting;
        let (writer, previous) = (line.link.writer, line.link.previous);
        let settlement = match self.add_link(line.content, previous, line.digest) {
            LineOutcome::Verified(content) => {
                self.count(&content);
                Settlement::Verified(content)
            }
            LineOutcome::Again(content) => Settlement::Again(content),
            LineOutcome::Found(finding) => {
                self.report.find(finding.clone());
                Settlement::Found(finding)
            }
            LineOutcome::NotARecord | LineOutcome::Seal(_) | LineOutcome::Waiting(_) => return,
        };
        if let Some(state) = self.chains.get_mut(&writer) {
            state.segments.copies = state.segments.copies.saturating_add(copies);
        }
        self.settled.push(Settled { number, copies, settlement });
    }

    /// Another line than `waiting` was signed or sealed at its position.
    fn alter(&mut self, waiting: &WaitingLine) {
        self.find(waiting, ChainFinding::Altered { claims: waiting.line.claims() });
    }

    /// No seal covers `waiting`.
    fn give_up(&mut self, waiting: &WaitingLine) {
        self.find(waiting, ChainFinding::Unsigned { claims: waiting.line.claims() });
    }

    fn find(&mut self, waiting: &WaitingLine, finding: ChainFinding) {
        self.report.find(finding.clone());
        self.settle(waiting, Settlement::Found(finding));
    }

    fn settle(&mut self, waiting: &WaitingLine, settlement: Settlement) {
        self.settled.push(Settled { number: waiting.number, copies: waiting.copies, settlement });
    }

    fn count(&mut self, line: &VerifiedLine) {
        if matches!(line, VerifiedLine::Other { .. }) {
            self.report.others = self.report.others.saturating_add(1);
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
                let position = Fork { writer: head.writer, sequence: head.sequence, id: Some(id) };
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
    /// The greatest sequence that a head or a seal names.
    fn reach(&self) -> Option<u64> {
        let (named, sealed) = (self.head.map(|head| head.sequence), self.sealed.map(|head| head.sequence));
        named.max(sealed)
    }

    /// Of the lines that wait, the numbers of those that follow the last line that is known, each after the other: the
    /// writer may not have sealed them yet. Two lines at one position cannot both be the writer's.
    fn tail(&self, waiting: &[WaitingLine]) -> BTreeSet<u64> {
        let mut tail = BTreeSet::new();
        let known = [self.sealed, self.head].into_iter().flatten().map(|head| (head.sequence, head.digest));
        let Some((last, mut digest)) = known.chain(self.start.map(|start| (0, start))).max_by_key(|(last, _)| *last)
        else {
            return tail;
        };
        if self.segments.last().is_some_and(|(link, _)| link > last) {
            return tail;
        }
        let mut by_sequence: BTreeMap<u64, Vec<&WaitingLine>> = BTreeMap::new();
        for line in waiting {
            by_sequence.entry(line.line.link.sequence).or_default().push(line);
        }
        for next in (last.saturating_add(1)..).map_while(|sequence| by_sequence.get(&sequence)) {
            let [line] = &next[..] else { break };
            if line.line.link.previous != Some(digest) {
                break;
            }
            tail.insert(line.number);
            digest = line.line.digest;
        }
        tail
    }

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
            sealed: self.sealed.map(|head| head.sequence),
            not_yet_sealed: self.not_yet_sealed,
        }
    }
}

fn missing(writer: Uuid, gap: Gap) -> ChainFinding {
    let Gap { from, to, after, before } = gap;
    ChainFinding::Missing { writer, from, to, after, before }
}
