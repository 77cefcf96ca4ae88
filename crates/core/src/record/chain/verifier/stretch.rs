//! What was seen of one chain: stretches of links without a hole, and the digests of the latest.
//!
//! A stretch remembers its two ends, whatever it holds; so a chain of a million links that are all there costs what one
//! link costs. Signatures were checked before; here digests must fit.

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::record::chain::RecordDigest;

/// Stretches of one chain; with more, the lowest hole is taken for good.
const MAX_STRETCHES: usize = 1024;
/// Latest links with which a copy is compared.
const MAX_RECENT: usize = 4096;

/// Links that are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hole {
    /// The first of them.
    pub(super) from: u64,
    /// The last of them.
    pub(super) to: u64,
    /// Id of the link before.
    pub(super) after: Option<Uuid>,
    /// Id of the link behind.
    pub(super) before: Option<Uuid>,
}

/// One end of a stretch.
#[derive(Clone, Copy, Debug)]
struct End {
    sequence: u64,
    id: Uuid,
    /// Of the lower end the digest of the link before it, of the upper end its own.
    digest: Option<RecordDigest>,
}

/// Links without a hole between them.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    first: End,
    last: End,
}

/// What became of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Added {
    /// It is new and fits.
    New,
    /// It was there before.
    Again,
    /// Another one is there, or its neighbour says another.
    Forked,
}

/// What was seen of one chain.
#[derive(Debug, Default)]
pub(super) struct Stretches {
    by_first: BTreeMap<u64, Stretch>,
    recent: BTreeMap<u64, (Uuid, RecordDigest)>,
    pub(super) links: u64,
    pub(super) copies: u64,
    pub(super) uncompared: u64,
}

impl Stretches {
    /// Adds a link whose signature is good.
    pub(super) fn add(
        &mut self,
        sequence: u64,
        id: Uuid,
        previous: Option<RecordDigest>,
        digest: RecordDigest,
    ) -> Added {
        if self.holds(sequence) {
            return self.again(sequence, digest);
        }
        let below = self.below(sequence).filter(|below| below.last.sequence.checked_add(1) == Some(sequence));
        let above = sequence.checked_add(1).and_then(|next| self.by_first.remove(&next));
        let fits = below.is_none_or(|below| below.last.digest == previous)
            && above.is_none_or(|above| above.first.digest == Some(digest));
        let joined = Stretch {
            first: below.map_or(End { sequence, id, digest: previous }, |below| below.first),
            last: above.map_or(End { sequence, id, digest: Some(digest) }, |above| above.last),
        };
        self.by_first.insert(joined.first.sequence, joined);
        self.links = self.links.saturating_add(1);
        self.recent.insert(sequence, (id, digest));
        if self.recent.len() > MAX_RECENT {
            self.recent.pop_first();
        }
        if fits { Added::New } else { Added::Forked }
    }

    /// Closes the lowest hole where there are too many to wait for what belongs in them.
    pub(super) fn condemn(&mut self) -> Option<Hole> {
        if self.by_first.len() <= MAX_STRETCHES {
            return None;
        }
        let (_, low) = self.by_first.pop_first()?;
        let (_, high) = self.by_first.pop_first()?;
        self.by_first.insert(low.first.sequence, Stretch { first: low.first, last: high.last });
        Some(hole_between(Some(low), high))
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
        self.by_first.first_key_value().map(|(_, stretch)| (stretch.first.sequence, stretch.first.id))
    }

    /// Sequence and id of the last link that was seen.
    pub(super) fn last(&self) -> Option<(u64, Uuid)> {
        self.by_first.last_key_value().map(|(_, stretch)| (stretch.last.sequence, stretch.last.id))
    }

    /// What is missing from the chain's first link to the last that was seen, or to `head` where that is further.
    pub(super) fn holes(&self, head: Option<u64>) -> Vec<Hole> {
        let mut holes = Vec::new();
        let mut below: Option<Stretch> = None;
        for stretch in self.by_first.values() {
            if below.is_some() || stretch.first.sequence > 0 {
                holes.push(hole_between(below, *stretch));
            }
            below = Some(*stretch);
        }
        let next = below.map_or(Some(0), |below| below.last.sequence.checked_add(1));
        if let (Some(from), Some(to)) = (next, head)
            && from <= to
        {
            holes.push(Hole { from, to, after: below.map(|below| below.last.id), before: None });
        }
        holes
    }

    /// The stretch that begins at `sequence` or before.
    fn below(&self, sequence: u64) -> Option<Stretch> {
        self.by_first.range(..=sequence).next_back().map(|(_, stretch)| *stretch)
    }

    fn again(&mut self, sequence: u64, digest: RecordDigest) -> Added {
        match self.recent.get(&sequence) {
            Some((_, known)) if *known != digest => return Added::Forked,
            Some(_) => {}
            None => self.uncompared = self.uncompared.saturating_add(1),
        }
        self.copies = self.copies.saturating_add(1);
        Added::Again
    }
}

/// What is missing between a stretch, or the chain's beginning, and the next stretch.
fn hole_between(below: Option<Stretch>, above: Stretch) -> Hole {
    Hole {
        from: below.map_or(0, |below| below.last.sequence.saturating_add(1)),
        to: above.first.sequence.saturating_sub(1),
        after: below.map(|below| below.last.id),
        before: Some(above.first.id),
    }
}
