//! What was seen of one chain: segments of links without a gap, and the digests of the latest.
//!
//! A segment remembers its two ends, whatever it holds; so a chain of a million links that are all there costs what one
//! link costs. Signatures were checked before; here digests must fit.

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::record::chain::RecordDigest;

/// Segments of one chain; with more, the lowest gap is taken for good.
const MAX_STRETCHES: usize = 1024;
/// Latest links with which a copy is compared.
const MAX_RECENT: usize = 4096;

/// Links that are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gap {
    /// The first of them.
    pub(super) from: u64,
    /// The last of them.
    pub(super) to: u64,
    /// Id of the link before.
    pub(super) after: Option<Uuid>,
    /// Id of the link behind.
    pub(super) before: Option<Uuid>,
}

/// One end of a segment.
#[derive(Clone, Copy, Debug)]
struct SegmentEnd {
    sequence: u64,
    id: Uuid,
    /// Of the lower end the digest of the link before it, of the upper end its own.
    digest: Option<RecordDigest>,
}

/// Links without a gap between them.
#[derive(Clone, Copy, Debug)]
struct Segment {
    first: SegmentEnd,
    last: SegmentEnd,
}

/// What became of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Insertion {
    /// It is new and fits.
    New,
    /// It was there before.
    Again,
    /// Another one is there, or its neighbour says another.
    Forked,
}

/// What was seen of one chain.
#[derive(Debug, Default)]
pub(super) struct Segments {
    by_first: BTreeMap<u64, Segment>,
    recent: BTreeMap<u64, (Uuid, RecordDigest)>,
    pub(super) links: u64,
    pub(super) copies: u64,
    pub(super) uncompared: u64,
}

impl Segments {
    /// Adds a link whose signature is good.
    pub(super) fn add(
        &mut self,
        sequence: u64,
        id: Uuid,
        previous: Option<RecordDigest>,
        digest: RecordDigest,
    ) -> Insertion {
        if self.holds(sequence) {
            return self.again(sequence, digest);
        }
        let below = self.below(sequence).filter(|below| below.last.sequence.checked_add(1) == Some(sequence));
        let above = sequence.checked_add(1).and_then(|next| self.by_first.remove(&next));
        let fits = below.is_none_or(|below| below.last.digest == previous)
            && above.is_none_or(|above| above.first.digest == Some(digest));
        let joined = Segment {
            first: below.map_or(SegmentEnd { sequence, id, digest: previous }, |below| below.first),
            last: above.map_or(SegmentEnd { sequence, id, digest: Some(digest) }, |above| above.last),
        };
        self.by_first.insert(joined.first.sequence, joined);
        self.links = self.links.saturating_add(1);
        self.recent.insert(sequence, (id, digest));
        if self.recent.len() > MAX_RECENT {
            self.recent.pop_first();
        }
        if fits { Insertion::New } else { Insertion::Forked }
    }

    /// Closes the lowest gap where there are too many to wait for what belongs in them.
    pub(super) fn close_lowest_gap(&mut self) -> Option<Gap> {
        if self.by_first.len() <= MAX_STRETCHES {
            return None;
        }
        let (_, low) = self.by_first.pop_first()?;
        let (_, high) = self.by_first.pop_first()?;
        self.by_first.insert(low.first.sequence, Segment { first: low.first, last: high.last });
        Some(gap_between(Some(low), high))
    }

    /// Whether a link of that sequence was seen.
    pub(super) fn holds(&self, sequence: u64) -> bool {
        self.below(sequence).is_some_and(|below| below.last.sequence >= sequence)
    }

    /// Id and digest of a link, where they are still known.
    pub(super) fn digest(&self, sequence: u64) -> Option<(Uuid, RecordDigest)> {
        self.recent.get(&sequence).copied()
    }

    /// Sequence and id of the first link that was seen.
    pub(super) fn first(&self) -> Option<(u64, Uuid)> {
        self.by_first.first_key_value().map(|(_, segment)| (segment.first.sequence, segment.first.id))
    }

    /// Sequence and id of the last link that was seen.
    pub(super) fn last(&self) -> Option<(u64, Uuid)> {
        self.by_first.last_key_value().map(|(_, segment)| (segment.last.sequence, segment.last.id))
    }

    /// What is missing from the chain's first link to the last that was seen, or to `head` where that is further.
    pub(super) fn gaps(&self, head: Option<u64>) -> Vec<Gap> {
        let mut gaps = Vec::new();
        let mut below: Option<Segment> = None;
        for segment in self.by_first.values() {
            if below.is_some() || segment.first.sequence > 0 {
                gaps.push(gap_between(below, *segment));
            }
            below = Some(*segment);
        }
        let next = below.map_or(Some(0), |below| below.last.sequence.checked_add(1));
        if let (Some(from), Some(to)) = (next, head)
            && from <= to
        {
            gaps.push(Gap { from, to, after: below.map(|below| below.last.id), before: None });
        }
        gaps
    }

    /// The segment that begins at `sequence` or before.
    fn below(&self, sequence: u64) -> Option<Segment> {
        self.by_first.range(..=sequence).next_back().map(|(_, segment)| *segment)
    }

    fn again(&mut self, sequence: u64, digest: RecordDigest) -> Insertion {
        match self.recent.get(&sequence) {
            Some((_, known)) if *known != digest => return Insertion::Forked,
            Some(_) => {}
            None => self.uncompared = self.uncompared.saturating_add(1),
        }
        self.copies = self.copies.saturating_add(1);
        Insertion::Again
    }
}

/// What is missing between a segment, or the chain's beginning, and the next segment.
fn gap_between(below: Option<Segment>, above: Segment) -> Gap {
    Gap {
        from: below.map_or(0, |below| below.last.sequence.saturating_add(1)),
        to: above.first.sequence.saturating_sub(1),
        after: below.map(|below| below.last.id),
        before: Some(above.first.id),
    }
}
