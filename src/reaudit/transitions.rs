//! What was known about each workload after the last complete round, and what has changed since.

use std::collections::HashMap;

use uuid::Uuid;
use writgate_cluster::live::Standing;

use crate::reaudit::walk::Found;

/// Workloads whose standing is remembered, at most: some 5 MB. What is not remembered has no transition.
const MAX_KNOWN: usize = 100_000;

/// A workload whose standing has changed.
#[derive(Debug)]
pub(super) struct Transition {
    pub(super) found: Found,
    /// `None`: the workload is new.
    pub(super) before: Option<Standing>,
}

/// The standing of each workload, by uid.
#[derive(Debug, Default)]
pub(super) struct Known {
    standings: HashMap<Uuid, Standing>,
    /// Whether a round was complete since this replica holds the Lease.
    has_round: bool,
}

/// What the round in progress has found.
#[derive(Debug, Default)]
pub(super) struct Next(HashMap<Uuid, Standing>);

impl Known {
    pub(super) fn begin(&self) -> Next {
        Next(HashMap::with_capacity(self.standings.len()))
    }

    /// Notes what was found, and returns it if it is a transition. The first round of a holder has none: it does not know whether
    /// the last holder has reported it. A new workload is one if it is alarming, since it was not admitted by a decision.
    pub(super) fn compare(&self, next: &mut Next, found: Found) -> Option<Transition> {
        let uid = found.object.uid.as_deref().and_then(|uid| Uuid::try_parse(uid).ok())?;
        if next.0.len() >= MAX_KNOWN {
            return None;
        }
        next.0.insert(uid, found.standing);
        let before = self.standings.get(&uid).copied();
        let is_transition = match before {
            Some(before) => before != found.standing,
            None => self.has_round && self.standings.len() < MAX_KNOWN && found.standing.is_alarming(),
        };
        is_transition.then_some(Transition { found, before })
    }

    /// Replaces what was known with the result of a complete round.
    pub(super) fn end(&mut self, next: Next) {
        *self = Self { standings: next.0, has_round: true };
    }
}

#[cfg(test)]
mod tests {
    use writgate_core::record::ObjectRecord;

    use super::*;

    fn found(uid: u8, standing: Standing) -> Found {
        let object = ObjectRecord {
            api_version: "apps/v1".to_owned(),
            kind: "Deployment".to_owned(),
            namespace: "payments".to_owned(),
            name: "orders".to_owned(),
            uid: Some(Uuid::from_bytes([uid; 16]).to_string()),
        };
        Found { object, environment: "production".into(), standing, why: String::new(), approval: None }
    }

    /// Each round, and the transitions that it shows.
    fn rounds(rounds: &[&[(u8, Standing)]]) -> Vec<Vec<(Option<Standing>, Standing)>> {
        let mut known = Known::default();
        let round = |workloads: &&[(u8, Standing)]| {
            let mut next = known.begin();
            let found = workloads.iter().map(|(uid, standing)| found(*uid, *standing));
            let changed = found.filter_map(|found| known.compare(&mut next, found));
            let changed = changed.map(|change| (change.before, change.found.standing)).collect();
            known.end(next);
            changed
        };
        rounds.iter().map(round).collect()
    }

    #[test]
    fn a_transition_is_reported_once() {
        use Standing::{Approved, Expired, Revoked};
        let shown = rounds(&[&[(1, Approved)], &[(1, Approved)], &[(1, Expired)], &[(1, Expired)], &[(1, Revoked)]]);
        assert_eq!(shown, [vec![], vec![], vec![(Some(Approved), Expired)], vec![], vec![(Some(Expired), Revoked)]]);
    }

    #[test]
    fn the_first_round_of_a_holder_shows_no_transition_and_later_ones_show_new_workloads_that_are_alarming() {
        use Standing::{Approved, Drifted, Revoked, Unapproved};
        let shown = rounds(&[&[(1, Revoked), (2, Drifted)], &[(1, Revoked), (3, Unapproved), (4, Approved)]]);
        assert_eq!(shown, [vec![], vec![(None, Unapproved)]]);
    }

    #[test]
    fn a_workload_that_is_created_again_has_no_past() {
        use Standing::{Approved, Revoked};
        let shown = rounds(&[&[(1, Approved)], &[], &[(1, Approved)], &[(2, Revoked)]]);
        assert_eq!(shown, [vec![], vec![], vec![], vec![(None, Revoked)]]);
    }
}
