//! How far a receiver has been notified, which the next holder of the Lease reads.
//!
//! The queue of a receiver is not stored. What is stored is the time until which everything was delivered, and the ids of what
//! was delivered since. The next holder finds the rest again, because Events, requests, approvals and rejections stay in the
//! cluster for a while.

use std::collections::{BTreeMap, HashMap};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::notify::notification::Notification;

/// Times come from the API server with whole seconds, and what happens at the same time may be seen in any order.
const OVERLAP: SignedDuration = SignedDuration::from_secs(60);
/// Ids that are stored, at most. With more in one minute, the next holder repeats some.
const MAX_STORED: usize = 512;
/// Ids that are kept in memory, at most.
const MAX_DONE: usize = 4096;

/// What is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StoredProgress {
    /// Everything before this time was delivered or counted as dropped.
    until: Timestamp,
    /// Ids of what was settled, as long as it may be found again.
    settled: BTreeMap<String, Timestamp>,
}

/// The progress of one receiver.
#[derive(Debug)]
pub(super) struct Progress {
    /// What is older was settled by an earlier holder.
    from: Timestamp,
    latest: Timestamp,
    /// When each happened, and until when it may be found again.
    pending: HashMap<String, [Timestamp; 2]>,
    settled: BTreeMap<String, Timestamp>,
}

impl Progress {
    /// The progress of a receiver of which nothing is stored begins at `now`.
    pub(super) fn new(stored: Option<StoredProgress>, now: Timestamp) -> Self {
        let StoredProgress { until, settled } =
            stored.unwrap_or(StoredProgress { until: now, settled: BTreeMap::new() });
        // A time in the future would suppress every notification.
        let until = until.min(now);
        let from = until.checked_sub(OVERLAP).unwrap_or(until);
        Self { from, latest: until, pending: HashMap::new(), settled }
    }

    /// The time before which the receiver requires nothing.
    pub(super) fn from(&self) -> Timestamp {
        self.from
    }

    /// Whether the notification is new. It is pending then.
    pub(super) fn begin(&mut self, notification: &Notification) -> bool {
        let Notification { id, time, known_until, .. } = notification;
        self.add(id, *time, *known_until)
    }

    fn add(&mut self, id: &str, time: Timestamp, known_until: Timestamp) -> bool {
        if time < self.from || self.pending.contains_key(id) || self.settled.contains_key(id) {
            return false;
        }
        self.latest = self.latest.max(time);
        self.pending.insert(id.to_owned(), [time, known_until]);
        true
    }

    /// Notes that the notification `id` was delivered or dropped.
    pub(super) fn settle(&mut self, id: &str) {
        let Some([_, known_until]) = self.pending.remove(id) else { return };
        self.settled.insert(id.to_owned(), known_until);
        if self.settled.len() > MAX_DONE {
            self.settled = newest(&self.settled, MAX_DONE / 2);
        }
    }

    /// What is to be stored. Before `looked_at_until`, nothing more will be found.
    pub(super) fn stored(&self, looked_at_until: Timestamp) -> StoredProgress {
        let until = self.pending.values().map(|[time, _]| *time).min().unwrap_or(self.latest).min(looked_at_until);
        let from = until.checked_sub(OVERLAP).unwrap_or(until);
        let mut settled = newest(&self.settled, MAX_STORED);
        settled.retain(|_, time| *time >= from);
        StoredProgress { until, settled }
    }
}

fn newest(settled: &BTreeMap<String, Timestamp>, most: usize) -> BTreeMap<String, Timestamp> {
    let mut sorted: Vec<(&String, &Timestamp)> = settled.iter().collect();
    sorted.sort_by_key(|(_, time)| std::cmp::Reverse(**time));
    sorted.into_iter().take(most).map(|(id, time)| (id.clone(), *time)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_763_805_600 + second).expect("a time")
    }

    fn stored(progress: &Progress) -> StoredProgress {
        progress.stored(Timestamp::MAX)
    }

    fn begin(progress: &mut Progress, id: &str, time: Timestamp) -> bool {
        progress.add(id, time, time)
    }

    fn again(progress: &Progress, now: i64) -> Progress {
        let json = serde_json::to_string(&stored(progress)).expect("JSON");
        Progress::new(Some(serde_json::from_str(&json).expect("progress")), at(now))
    }

    #[test]
    fn a_first_holder_sends_nothing_old() {
        let mut progress = Progress::new(None, at(1000));
        assert!(!begin(&mut progress, "old", at(939)));
        assert!(begin(&mut progress, "new", at(1000)));
    }

    #[test]
    fn the_next_holder_repeats_nothing_that_was_delivered_and_loses_nothing_that_was_not() {
        let mut progress = Progress::new(None, at(0));
        for (id, time) in [("a", 1), ("b", 2), ("c", 300), ("d", 301)] {
            assert!(begin(&mut progress, id, at(time)));
            assert!(!begin(&mut progress, id, at(time)), "{id} is pending");
        }
        for id in ["a", "c"] {
            progress.settle(id);
            assert!(!begin(&mut progress, id, at(301)), "{id} is settled");
        }
        let mut next = again(&progress, 400);
        let repeated = [("a", 1), ("b", 2), ("c", 300), ("d", 301)].map(|(id, time)| begin(&mut next, id, at(time)));
        assert_eq!(repeated, [false, true, false, true]);
    }

    #[test]
    fn what_nobody_has_looked_at_is_found_by_the_next_holder() {
        let mut progress = Progress::new(None, at(0));
        assert!(begin(&mut progress, "posted", at(1000)));
        progress.settle("posted");
        let mut next = Progress::new(Some(progress.stored(at(500))), at(1001));
        assert!(begin(&mut next, "event", at(500)));
        assert!(!begin(&mut next, "posted", at(1000)));
    }

    #[test]
    fn what_can_be_found_again_for_long_is_known_for_long() {
        let mut progress = Progress::new(None, at(0));
        assert!(progress.add("expires-soon", at(1), at(3600)));
        progress.settle("expires-soon");
        assert!(begin(&mut progress, "later", at(1000)));
        progress.settle("later");
        let mut next = again(&progress, 1001);
        assert!(!next.add("expires-soon", at(1001), at(3600)));
        assert!(begin(&mut next, "much-later", at(4000)));
        next.settle("much-later");
        assert!(!stored(&next).settled.contains_key("expires-soon"), "it has expired");
    }

    #[test]
    fn what_is_stored_is_bounded() {
        let mut progress = Progress::new(None, at(0));
        for number in 0..10_000 {
            let id = number.to_string();
            assert!(begin(&mut progress, &id, at(number)));
            progress.settle(&id);
        }
        assert!(progress.settled.len() <= MAX_DONE);
        assert_eq!(stored(&progress).settled.len(), 61, "those of the last minute");
        begin(&mut progress, "stuck", at(0));
        assert_eq!(stored(&progress).settled.len(), MAX_STORED);
        assert_eq!(stored(&progress).until, at(0));
    }

    #[test]
    fn a_stored_time_in_the_future_suppresses_nothing() {
        let stored = StoredProgress { until: at(100_000), settled: BTreeMap::new() };
        assert!(begin(&mut Progress::new(Some(stored), at(0)), "new", at(1)));
    }
}
