//! Which earlier admission permits the same spec to run again.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::{
    approval::{key::KeyId, spec_hash::SpecHash},
    posture::{Revocations, RollbackRule},
    record::history::{History, PastAdmission},
};

/// A spec that would run again, and where.
pub(crate) struct RollbackQuery<'a> {
    pub(crate) spec_hash: SpecHash,
    pub(crate) claims: &'a BTreeMap<String, String>,
    pub(crate) cluster: Option<&'a str>,
    pub(crate) environment: &'a str,
    pub(crate) project: &'a str,
    pub(crate) revocations: &'a Revocations,
    pub(crate) now: Timestamp,
}

impl RollbackQuery<'_> {
    /// The newest admission in `history` that permits this rollback under `rule`.
    pub(crate) fn find<'h>(&self, history: &'h History, rule: &RollbackRule) -> Option<&'h PastAdmission> {
        let mut revisions = BTreeSet::new();
        history
            .admissions()
            .iter()
            .take_while(|past| {
                revisions.insert(past.spec_hash);
                revisions.len() <= rule.revisions
            })
            .find(|past| self.is_permitted_by(past, rule))
    }

    fn is_permitted_by(&self, past: &PastAdmission, rule: &RollbackRule) -> bool {
        self.spec_hash == past.spec_hash
            && *self.claims == past.claims
            && (self.cluster, self.environment, self.project)
                == (past.cluster.as_deref(), &*past.environment, &*past.project)
            && self.now.duration_since(past.time) < rule.within
            && !self.is_revoked(past)
    }

    /// Whether one of the admission's approvals, or a key that signed one, has been revoked since.
    fn is_revoked(&self, past: &PastAdmission) -> bool {
        past.approvals.iter().any(|approval| {
            let key = |id: &String| id.parse::<KeyId>().ok().and_then(|id| self.revocations.keys.get(&id));
            let keys = approval.key_ids.iter().filter_map(key);
            let revocations = self.revocations.approvals.get(&approval.id).into_iter().chain(keys);
            revocations.into_iter().any(|revocation| revocation.in_force(self.now))
        })
    }
}
