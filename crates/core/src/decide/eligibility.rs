//! Whether a reviewer's signature counts: rows 10 to 13 of the table, for one person and one key.
//!
//! Whether enough people signed is decided in `approvals`.

use jiff::Timestamp;

use crate::{
    approval::capability::Capability,
    posture::{Posture, Reviewer, ReviewerKey, SeparationOfDuties},
    record::denial::Denial,
};

/// What a signature is checked against.
#[derive(Clone, Copy, Debug)]
pub struct EligibilityTerms<'a> {
    /// The posture of the environment.
    pub posture: &'a Posture,
    /// The project of the namespace.
    pub project: &'a str,
    /// The capabilities that the grants of each reviewer must cover.
    pub required: &'a [Capability],
    /// The person who requests the approval, as the approval says.
    pub requested_by: &'a str,
    /// The API user who applies the change.
    pub initiator: &'a str,
    /// The time of the decision.
    pub now: Timestamp,
}

impl EligibilityTerms<'_> {
    /// Why this reviewer's signature with this key does not count; empty if it counts.
    #[must_use]
    pub fn failures(&self, reviewer: &Reviewer, key: &ReviewerKey) -> Vec<Denial> {
        let mut denials = Vec::new();
        let what = || format!("the key of {}", reviewer.name);
        if let Some(from) = key.not_before
            && self.now < from
        {
            denials.push(Denial::NotYetValid { what: what(), from, now: self.now });
        }
        if let Some(at) = key.not_after
            && self.now >= at
        {
            denials.push(Denial::Expired { what: what(), at });
        }
        if let Some(revocation) = self.posture.revocations.keys.get(&key.id)
            && revocation.in_force(self.now)
        {
            denials.push(Denial::Revoked { what: what(), why: revocation.why.clone() });
        }
        denials.extend(self.person_failures(reviewer));
        denials
    }

    /// Why this reviewer's signature does not count, whatever the key; empty if it counts with a valid key.
    pub(crate) fn person_failures(&self, reviewer: &Reviewer) -> Vec<Denial> {
        self.grant_failure(reviewer).into_iter().chain(self.duty_failure(reviewer)).collect()
    }

    /// A reviewer of other projects may grant nothing in this one.
    fn grant_failure(&self, reviewer: &Reviewer) -> Option<Denial> {
        let insufficient = |missing, project: Option<&str>| {
            let (reviewer, project) = (Some(reviewer.name.clone()), project.map(str::to_owned));
            Some(Denial::InsufficientCapabilities { reviewer, project, missing, because: Vec::new() })
        };
        let here = reviewer.projects.as_ref().is_none_or(|projects| projects.iter().any(|one| one == self.project));
        if !here {
            return insufficient(self.required.to_vec(), Some(self.project));
        }
        let is_missing = |required: &&Capability| !reviewer.capabilities.iter().any(|grant| grant.covers(required));
        let missing: Vec<Capability> = self.required.iter().filter(is_missing).cloned().collect();
        if missing.is_empty() { None } else { insufficient(missing, None) }
    }

    fn duty_failure(&self, reviewer: &Reviewer) -> Option<Denial> {
        if self.posture.separation_of_duties == SeparationOfDuties::Off {
            return None;
        }
        let role = if reviewer.is(self.requested_by) {
            "the requester"
        } else if reviewer.is(self.initiator) {
            "the initiator of this request"
        } else {
            return None;
        };
        Some(Denial::SelfApproval { reviewer: reviewer.name.clone(), role })
    }
}
