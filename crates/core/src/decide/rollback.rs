//! Rollbacks: what was admitted before may run again after its approval has expired.
//!
//! The evidence is the history of confirmed admissions that the webhook keeps, never anything that a tenant can write.
//! So it serves `kubectl rollout undo`, `helm rollback`, a Git revert and a paused rollout alike, whatever is attached
//! to the object. Only a deploy can be rolled back to: a replay that ran is over.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::{
    approval::{action::Action, key::KeyId, spec_hash::SpecHash},
    decide::candidate::CheckContext,
    posture::{Enforcement, Revocations, RollbackRule},
    record::{
        decision::DecisionRecord,
        denial::Denial,
        history::{History, HistoryNote, PastAdmission},
    },
    request::record::object_record,
    vocabulary::BOUND_ANNOTATIONS,
};

/// The rule by which a request that its approvals do not permit, because of `denials`, may be a rollback.
pub(crate) fn rule(context: &CheckContext<'_>, denials: &[Denial]) -> Option<RollbackRule> {
    let rule = context.namespace.posture.rollback?;
    // What was revoked stays revoked, even if another approval of the same spec was not.
    let revoked = denials.iter().any(|denial| matches!(denial, Denial::Revoked { .. }));
    (context.action == Action::Deploy && !revoked).then_some(rule)
}

/// The earlier admission that the request may rest on.
pub(crate) fn evidence(context: &CheckContext<'_>, rule: RollbackRule, history: &History) -> Option<PastAdmission> {
    let claims = claims(context);
    let posture = context.namespace.posture;
    let query = RollbackQuery {
        spec_hash: context.workload.hash,
        claims: &claims,
        cluster: posture.cluster.as_deref(),
        environment: context.namespace.environment,
        project: context.namespace.project,
        revocations: &posture.revocations,
        now: context.now,
    };
    query.find(history, &rule).cloned()
}

/// The note of an admission by a valid approval; `None` if no rollback can rest on it. There is none under `warn` and
/// `audit`, under which everything is admitted.
pub(crate) fn note(context: &CheckContext<'_>, record: &DecisionRecord) -> Option<HistoryNote> {
    let posture = context.namespace.posture;
    posture.rollback?;
    let enforced = posture.rule(context.action).enforcement == Enforcement::Enforce;
    if !enforced || context.action != Action::Deploy || context.request.dry_run {
        return None;
    }
    let admission = PastAdmission {
        time: context.now,
        decision: record.id,
        spec_hash: context.workload.hash,
        claims: claims(context),
        cluster: posture.cluster.clone(),
        environment: context.namespace.environment.to_owned(),
        project: context.namespace.project.to_owned(),
        requested_by: record.requested_by.clone(),
        approvals: record.approvals.clone(),
    };
    Some(HistoryNote { object: object_record(context.request), admission })
}

fn claims(context: &CheckContext<'_>) -> BTreeMap<String, String> {
    let annotations = &context.workload.object.metadata.annotations;
    let claim = |name: &&str| annotations.get(name).map(|value| ((*name).to_owned(), value.to_owned()));
    BOUND_ANNOTATIONS.iter().filter_map(claim).collect()
}

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
