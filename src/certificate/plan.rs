//! What to do next about the CA, the bundle and the leaf, as a function of what was just read. No input or output.
//!
//! A new CA enters the bundle first. Leaves are made from it only after every entry has shown it for so long that each API server
//! has it. It leaves the bundle only after the last leaf that it signed has ended. Every replica follows this plan by itself, and
//! a write that another replica overtakes is planned again.

use std::time::Duration;

use jiff::Timestamp;

#[cfg(test)]
mod tests;

/// How far back certificates are dated, because clocks differ.
pub const BACKDATED: Duration = Duration::from_hours(1);

/// How long certificates are valid, and how long a change of the bundle takes.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// How long a CA is valid. It is renewed when a third of that is left.
    pub authority: Duration,
    /// How long a leaf is valid. It is renewed when a third of that is left.
    pub leaf: Duration,
    /// How long the bundle must have shown a CA until every API server certainly uses it.
    pub settle: Duration,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            authority: Duration::from_hours(365 * 24),
            leaf: Duration::from_hours(7 * 24),
            settle: Duration::from_mins(5),
        }
    }
}

/// The SHA-256 digest of a certificate's DER.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CertificateId(pub [u8; 32]);

/// A CA certificate, without its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its digest.
    pub id: CertificateId,
    /// When it begins to be valid.
    pub not_before: Timestamp,
    /// When it has expired.
    pub not_after: Timestamp,
}

impl Known {
    /// Whether a leaf can be made from it.
    #[must_use]
    pub fn is_valid(&self, now: Timestamp) -> bool {
        self.not_before <= now && now < self.not_after
    }
}

/// The CAs in the Secret.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// The CA that signs leaves.
    pub current: Option<Known>,
    /// The CA that will sign them, once every API server accepts it.
    pub next: Option<Known>,
    /// The CA that signed them before, and when its last leaf has certainly ended.
    pub previous: Option<(Known, Timestamp)>,
}

/// The leaf that a replica serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// The CA that signed it.
    pub issuer: CertificateId,
    /// When it has expired.
    pub not_after: Timestamp,
}

/// What a replica has just read, and what it serves.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The time by the API server's clock.
    pub now: Timestamp,
    /// Whether the clocks of the API server and of this node agree. Otherwise no CA is made or removed.
    pub is_clock_sure: bool,
    /// The CAs in the Secret. `None`: the Secret cannot be read, or not parsed.
    pub stored: Option<&'a Stored>,
    /// The bundles of the entries of the webhook configuration. Empty if there is none.
    pub entries: &'a [Vec<Known>],
    /// The CAs that every entry has shown at each reading since at least [`Terms::settle`].
    pub settled: &'a [CertificateId],
    /// The leaf that this replica serves.
    pub held: Option<Held>,
}

/// A change of the Secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretStep {
    /// Make a CA, and use it at once, because there is none that can be used.
    Create,
    /// Make the next CA.
    Prepare,
    /// Make the next CA the current one, and the current one the previous one until the given time.
    Promote {
        /// When the last leaf of the current CA has ended. `None`: it has no valid leaf.
        keep_until: Option<Timestamp>,
    },
    /// Forget the previous CA.
    Retire,
}

/// What to do. The parts do not depend on each other, so that a failed one does not keep the others back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// A change of the Secret.
    pub secret: Option<SecretStep>,
    /// The new content of entries, by their index.
    pub bundles: Vec<(usize, Vec<CertificateId>)>,
    /// Whether to make a new leaf from the current CA.
    pub issue: bool,
}

/// Plans the next steps.
#[must_use]
pub fn plan(terms: &Terms, view: &View<'_>) -> Plan {
    let Some(stored) = view.stored else { return Plan::default() };
    let bundles = view.entries.iter().enumerate();
    Plan {
        secret: if view.is_clock_sure { secret_step(terms, stored, view) } else { None },
        bundles: bundles.filter_map(|(index, entry)| Some((index, wanted(entry, stored, view)?))).collect(),
        issue: stored.current.is_some_and(|current| current.is_valid(view.now) && must_issue(terms, &current, view)),
    }
}

fn secret_step(terms: &Terms, stored: &Stored, view: &View<'_>) -> Option<SecretStep> {
    let now = view.now;
    let next = stored.next.filter(|next| next.is_valid(now));
    let Some(current) = stored.current.filter(|current| current.is_valid(now)) else {
        return Some(if next.is_some() { SecretStep::Promote { keep_until: None } } else { SecretStep::Create });
    };
    if let Some((previous, until)) = stored.previous {
        let is_shown = view.entries.iter().flatten().any(|shown| shown.id == previous.id);
        return (until <= now && !is_shown).then_some(SecretStep::Retire);
    }
    match next {
        Some(next) if view.settled.contains(&next.id) => {
            // A replica may make a leaf from the current CA while this is written.
            let keep_until =
                now.checked_add(terms.leaf + terms.settle).unwrap_or(Timestamp::MAX).min(current.not_after);
            Some(SecretStep::Promote { keep_until: Some(keep_until) })
        }
        Some(_) => None,
        None => is_old(current.not_after, terms.authority, now).then_some(SecretStep::Prepare),
    }
}

/// Whether at most a third of `lifetime` is left.
fn is_old(not_after: Timestamp, lifetime: Duration, now: Timestamp) -> bool {
    not_after.checked_sub(lifetime / 3).is_ok_and(|renewal| renewal <= now)
}

/// The CAs that an entry should show, if they differ from those it shows. Certificates that are not in the Secret stay until
/// they expire: they may be of a replica that has read a newer Secret, or of another certificate mode during a change.
fn wanted(entry: &[Known], stored: &Stored, view: &View<'_>) -> Option<Vec<CertificateId>> {
    let now = view.now;
    let ended = stored.previous.filter(|(_, until)| *until <= now).map(|(previous, _)| previous);
    let previous = stored.previous.map(|(previous, _)| previous).filter(|previous| Some(*previous) != ended);
    let ours = [stored.current, stored.next, previous].into_iter().flatten().filter(|ca| now < ca.not_after);
    let mut wanted: Vec<_> = ours.map(|ca| ca.id).collect();
    let is_missing = wanted.iter().any(|id| !entry.iter().any(|shown| shown.id == *id));
    let is_ended = |shown: &Known| {
        view.is_clock_sure && (shown.not_after <= now || ended.is_some_and(|ended| ended.id == shown.id))
    };
    if !is_missing && !entry.iter().any(is_ended) {
        return None;
    }
    for shown in entry.iter().filter(|shown| !is_ended(shown)) {
        if !wanted.contains(&shown.id) {
            wanted.push(shown.id);
        }
    }
    // An entry cannot lose its last certificate: the API server would then accept any public CA.
    (!wanted.is_empty()).then_some(wanted)
}

fn must_issue(terms: &Terms, current: &Known, view: &View<'_>) -> bool {
    let Some(held) = view.held.filter(|held| view.now < held.not_after) else { return true };
    if held.issuer == current.id {
        return is_old(held.not_after, terms.leaf, view.now) && held.not_after < current.not_after;
    }
    let is_accepted = view.entries.iter().all(|entry| entry.iter().any(|shown| shown.id == held.issuer));
    !is_accepted || view.settled.contains(&current.id)
}
