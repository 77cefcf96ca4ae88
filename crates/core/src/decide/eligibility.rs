//! Whether a reviewer's signature would count: rows 10 to 13 of the table, of one person and one key.
//!
//! Who did sign is `candidate`'s question, who else could is the command line's; both are answered here. Whether enough
//! people signed is `approvals`'.

use jiff::Timestamp;

use crate::{
    approval::capability::Capability,
    posture::{Posture, Reviewer, ReviewerKey, SeparationOfDuties},
    record::denial::Denial,
};

/// What a signature must be good for.
#[derive(Clone, Copy, Debug)]
pub struct Eligibility<'a> {
    /// The environment's rules.
    pub posture: &'a Posture,
    /// The namespace's project.
    pub project: &'a str,
    /// What each reviewer's grants must cover.
    pub needed: &'a [Capability],
    /// The person who asked, as the approval says.
    pub requested_by: &'a str,
    /// The API user who applies it.
    pub initiator: &'a str,
    /// The moment to judge at.
    pub now: Timestamp,
}

impl Eligibility<'_> {
    /// Why this reviewer's signature with this key does not count; empty where it does.
    #[must_use]
    pub fn failures(&self, reviewer: &Reviewer, key: &ReviewerKey) -> Vec<Denial> {
        let mut denials = Vec::new();
        let what = || format!("the key of {}", reviewer.name);
        if let Some(from) = key.not_before.filter(|from| self.now < *from) {
            denials.push(Denial::NotYetValid { what: what(), from });
        }
        if let Some(at) = key.not_after.filter(|at| self.now >= *at) {
            denials.push(Denial::Expired { what: what(), at });
        }
        let revocation = self.posture.revocations.keys.get(&key.id);
        if let Some(revocation) = revocation.filter(|revocation| revocation.in_force(self.now)) {
            denials.push(Denial::Revoked { what: what(), why: revocation.why.clone() });
        }
        denials.extend(self.grant_failure(reviewer));
        denials.extend(self.duty_failure(reviewer));
        denials
    }

    /// Whether this reviewer's signature would count, with one of their keys.
    #[must_use]
    pub fn holds(&self, reviewer: &Reviewer) -> bool {
        reviewer.keys.iter().any(|key| self.failures(reviewer, key).is_empty())
    }

    /// A reviewer of other projects grants nothing here.
    fn grant_failure(&self, reviewer: &Reviewer) -> Option<Denial> {
        let insufficient = |missing, project: Option<&str>| {
            let (reviewer, project) = (Some(reviewer.name.clone()), project.map(str::to_owned));
            Some(Denial::InsufficientCapabilities { reviewer, project, missing, because: Vec::new() })
        };
        let here = reviewer.projects.as_ref().is_none_or(|projects| projects.iter().any(|one| one == self.project));
        if !here {
            return insufficient(self.needed.to_vec(), Some(self.project));
        }
        let granted = |needed: &Capability| reviewer.capabilities.iter().any(|grant| grant.covers(needed));
        let missing: Vec<Capability> = self.needed.iter().filter(|needed| !granted(needed)).cloned().collect();
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
