//! Rollbacks: what was admitted before may run again after its approval has expired.
//!
//! The evidence is the history of confirmed admissions that the webhook keeps, never anything that a tenant can write.
//! So it serves `kubectl rollout undo`, `helm rollback`, a Git revert and a paused rollout alike, whatever is attached
//! to the object. Only a deploy can be rolled back to: a replay that ran is over.
//!
//! Time is all that a rollback forgives. The earlier approvals are checked again under the posture of today: a capability
//! rule, a quorum or a revocation that was added since applies, and a reviewer who may no longer approve does not count.
//! Nothing is asked of the initiator, because a rollback is what the rule permits to whoever may change the object.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::{
    approval::{action::Action, key::KeyId, spec_hash::SpecHash},
    decide::{approvals::SufficientApprovals, candidate::CheckContext, eligibility::EligibilityTerms, wake_up},
    posture::{Enforcement, Reviewer, RollbackRule, SeparationOfDuties, UngovernedRule, describe_quorum, is_met},
    record::{
        decision::{ApprovalRecord, DecisionRecord},
        denial::Denial,
        history::{History, HistoryNote, PastAdmission},
    },
    request::record::object_record,
    vocabulary::BOUND_ANNOTATIONS,
};

/// The rule by which a request that its approvals do not permit, because of `denials`, may be a rollback.
pub(crate) fn rule(context: &CheckContext<'_>, denials: &[Denial]) -> Option<RollbackRule> {
    let rule = if context.workload.wakes_up { wake_up::EVER } else { context.namespace.posture.rollback? };
    // What was revoked stays revoked, even if another approval of the same spec was not.
    let revoked = denials.iter().any(|denial| matches!(denial, Denial::Revoked { .. }));
    (context.action == Action::Deploy && !revoked).then_some(rule)
}

/// The earlier admission that the request may rest on, or why the approvals of then are not enough today. `None`: there
/// is none.
pub(crate) fn evidence(
    context: &CheckContext<'_>,
    rule: RollbackRule,
    history: &History,
) -> Option<Result<PastAdmission, Vec<Denial>>> {
    let claims = claims(context);
    let query = RollbackQuery {
        spec_hash: context.workload.hash,
        claims: &claims,
        cluster: context.namespace.posture.cluster.as_deref(),
        environment: context.namespace.environment,
        project: context.namespace.project,
        now: context.now,
    };
    let past = query.find(history, &rule)?;
    let failures = failures(context, past);
    if failures.is_empty() {
        return Some(Ok(past.clone()));
    }
    let not_permitted = |why| Denial::RollbackNotPermitted { admitted: past.time, why: Box::new(why) };
    Some(Err(failures.into_iter().map(not_permitted).collect()))
}

/// Why the approvals of an earlier admission are not enough today, apart from the time.
fn failures(context: &CheckContext<'_>, past: &PastAdmission) -> Vec<Denial> {
    let mut denials = Vec::new();
    let required = &context.requirements.capabilities;
    for approval in &past.approvals {
        denials.extend(revocations(context, approval));
        denials.extend(context.missing_capabilities(required, &approval.capabilities));
    }
    denials.extend(people_failures(context, past));
    denials.dedup();
    denials
}

/// The revocations of an approval, and of the keys that signed it, that are in force.
fn revocations(context: &CheckContext<'_>, approval: &ApprovalRecord) -> Vec<Denial> {
    let revoked = &context.namespace.posture.revocations;
    let of_approval = revoked.approvals.get(&approval.id).map(|found| (format!("approval {}", approval.id), found));
    let of_key = |id: &String| {
        let found = revoked.keys.get(&id.parse::<KeyId>().ok()?)?;
        Some((format!("key {id}"), found))
    };
    let found = of_approval.into_iter().chain(approval.key_ids.iter().filter_map(of_key));
    found
        .filter(|(_, revocation)| revocation.in_force(context.now))
        .map(|(what, revocation)| Denial::Revoked { what, why: revocation.why.clone() })
        .collect()
}

/// Whether the people who counted then are enough today.
fn people_failures(context: &CheckContext<'_>, past: &PastAdmission) -> Vec<Denial> {
    let posture = context.namespace.posture;
    let requested_by = past.requested_by.as_deref().unwrap_or_default();
    let terms = EligibilityTerms {
        posture,
        project: context.namespace.project,
        required: &context.requirements.capabilities,
        requested_by,
        // The initiator of then was checked then.
        initiator: requested_by,
        now: context.now,
    };
    let (mut eligible, mut set_aside): (Vec<&Reviewer>, _) = (Vec::new(), Vec::new());
    for reviewer in posture.reviewers.iter().filter(|reviewer| past.counted.contains(&reviewer.name)) {
        match terms.person_failures(reviewer) {
            failures if failures.is_empty() => eligible.push(reviewer),
            failures => set_aside.extend(failures),
        }
    }
    if eligible.is_empty() && !set_aside.is_empty() {
        return context.with_reasons(set_aside);
    }
    let signed = || eligible.iter().map(|reviewer| reviewer.name.clone()).collect();
    let quorum = context.requirements.quorum;
    if !is_met(quorum, &eligible) {
        let required = format!("the posture requires {}", describe_quorum(quorum));
        return vec![Denial::QuorumNotMet { required, signed: signed() }];
    }
    let is_known = past.requester_proven || eligible.len() >= 2 || context.is_initiator(requested_by);
    if posture.separation_of_duties == SeparationOfDuties::Proven && !is_known {
        let required = "the requester was not proven (separationOfDuties: proven)".to_owned();
        return vec![Denial::QuorumNotMet { required, signed: signed() }];
    }
    Vec::new()
}

/// The note of an admission by a valid approval; `None` if no rollback can rest on it. There is none under `warn` and
/// `audit`, under which everything is admitted.
pub(crate) fn note(
    context: &CheckContext<'_>,
    record: &DecisionRecord,
    approvals: &SufficientApprovals,
) -> Option<HistoryNote> {
    let posture = context.namespace.posture;
    if posture.rollback.is_none() && posture.ungoverned == UngovernedRule::Allow {
        return None;
    }
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
        requested_by: Some(approvals.requested_by.clone()),
        approvals: approvals.records.clone(),
        counted: approvals.counted.clone(),
        requester_proven: approvals.requester_proven,
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
    pub(crate) now: Timestamp,
}

impl RollbackQuery<'_> {
    /// The newest admission of the same in `history`, as far as `rule` reaches.
    pub(crate) fn find<'h>(&self, history: &'h History, rule: &RollbackRule) -> Option<&'h PastAdmission> {
        let mut revisions = BTreeSet::new();
        history
            .admissions()
            .iter()
            .take_while(|past| {
                revisions.insert(past.spec_hash);
                revisions.len() <= rule.revisions
            })
            .find(|past| self.is_reached_by(past, rule))
    }

    fn is_reached_by(&self, past: &PastAdmission, rule: &RollbackRule) -> bool {
        self.spec_hash == past.spec_hash
            && *self.claims == past.claims
            && (self.cluster, self.environment, self.project)
                == (past.cluster.as_deref(), &*past.environment, &*past.project)
            && self.now.duration_since(past.time) < rule.within
    }
}
