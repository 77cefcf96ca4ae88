//! The links of one chain that were seen, as segments without a gap, and the digests of the latest links.
//!
//! A segment stores only its two ends, so a complete chain of a million links costs as much memory as one link. The
//! signatures of links are verified before they come here. Here, the digests of neighbours must match.

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::record::chain::RecordDigest;

/// The maximum number of segments of one chain. If there are more, the lowest gap is reported and closed.
const MAX_SEGMENTS: usize = 1024;
/// The number of latest links whose digests are kept, for comparison with copies.
const MAX_RECENT: usize = 4096;

/// Consecutive links that were not seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gap {
    /// The first missing link.
    pub(super) from: u64,
    /// The last missing link.
    pub(super) to: u64,
    /// The id of the link before the gap, if it was seen.
    pub(super) after: Option<Uuid>,
    /// The id of the link after the gap, if it was seen.
    pub(super) before: Option<Uuid>,
}

/// One end of a segment.
#[derive(Clone, Copy, Debug)]
struct SegmentEnd {
    sequence: u64,
    id: Uuid,
    /// The lower end has the digest of the link before it. The upper end has its own digest.
    digest: Option<RecordDigest>,
}

/// Consecutive links that were seen.
#[derive(Clone, Copy, Debug)]
struct Segment {
    first: SegmentEnd,
    last: SegmentEnd,
    /// Whether each link's digest is the one that the next link has for it.
    is_whole: bool,
}

/// The outcome of adding a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Insertion {
    /// The link is new and matches its neighbours.
    New,
    /// The link was seen before.
    Again,
    /// Another link has this sequence, or a neighbour expects another digest.
    Forked,
}

/// The links of one chain that were seen.
#[derive(Debug, Default)]
pub(super) struct Segments {
    by_first: BTreeMap<u64, Segment>,
    recent: BTreeMap<u64, (Uuid, RecordDigest)>,
    pub(super) links: u64,
    pub(super) copies: u64,
    pub(super) uncompared: u64,
    /// Links that came after a later link.
    pub(super) late: u64,
}

impl Segments {
    /// Adds a link whose signature is verified.
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
        if self.last().is_some_and(|(last, _)| last > sequence) {
            self.late = self.late.saturating_add(1);
        }
        let below = self.below(sequence).filter(|below| below.last.sequence.checked_add(1) == Some(sequence));
        let above = sequence.checked_add(1).and_then(|next| self.by_first.remove(&next));
        let fits = below.is_none_or(|below| below.last.digest == previous)
            && above.is_none_or(|above| above.first.digest == Some(digest));
        let joined = Segment {
            first: below.map_or(SegmentEnd { sequence, id, digest: previous }, |below| below.first),
            last: above.map_or(SegmentEnd { sequence, id, digest: Some(digest) }, |above| above.last),
            is_whole: fits && [below, above].iter().flatten().all(|segment| segment.is_whole),
        };
        self.by_first.insert(joined.first.sequence, joined);
        self.links = self.links.saturating_add(1);
        self.recent.insert(sequence, (id, digest));
        if self.recent.len() > MAX_RECENT {
            self.recent.pop_first();
        }
        if fits { Insertion::New } else { Insertion::Forked }
    }

    /// Closes the lowest gap if there are too many segments, and returns it. Its links then count as missing.
    pub(super) fn close_lowest_gap(&mut self) -> Option<Gap> {
        if self.by_first.len() <= MAX_SEGMENTS {
            return None;
        }
        let (_, low) = self.by_first.pop_first()?;
        let (_, high) = self.by_first.pop_first()?;
        self.by_first.insert(low.first.sequence, Segment { first: low.first, last: high.last, is_whole: false });
        Some(gap_between(Some(low), high))
    }

    /// Whether the link with this sequence was seen.
    pub(super) fn holds(&self, sequence: u64) -> bool {
        self.below(sequence).is_some_and(|below| below.last.sequence >= sequence)
    }

    /// The id and digest of a link. `None`: it was not seen, or is not among the latest links.
    pub(super) fn digest(&self, sequence: u64) -> Option<(Uuid, RecordDigest)> {
        self.recent.get(&sequence).copied()
    }

    /// The first link of the segment of a link, and the digest of the link before it. `None`: the digests in the segment do
    /// not lead there.
    pub(super) fn below_whole(&self, sequence: u64) -> Option<(u64, Option<RecordDigest>)> {
        let segment = self.below(sequence).filter(|segment| segment.is_whole)?;
        Some((segment.first.sequence, segment.first.digest))
    }

    /// The sequence and id of the first link that was seen.
    pub(super) fn first(&self) -> Option<(u64, Uuid)> {
        self.by_first.first_key_value().map(|(_, segment)| (segment.first.sequence, segment.first.id))
    }

    /// The sequence and id of the last link that was seen.
    pub(super) fn last(&self) -> Option<(u64, Uuid)> {
        self.by_first.last_key_value().map(|(_, segment)| (segment.last.sequence, segment.last.id))
    }

    /// The gaps between the start of the chain and the last link that was seen, or `head` if that is later.
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

    /// The last segment that begins at or before `sequence`.
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

/// The gap between a segment, or the start of the chain, and the next segment.
fn gap_between(below: Option<Segment>, above: Segment) -> Gap {
    Gap {
        from: below.map_or(0, |below| below.last.sequence.saturating_add(1)),
        to: above.first.sequence.saturating_sub(1),
        after: below.map(|below| below.last.id),
        before: Some(above.first.id),
    }
}
