//! What was admitted before may run again, though its approval has expired.
//!
//! The evidence is the history that the webhook keeps of confirmed admissions, never what a tenant can write: so it
//! serves `kubectl rollout undo`, `helm rollback`, a Git revert and a paused rollout alike, whatever is attached now.
//! Only a deploy: a replay that ran is over. Called by `decide` when no approval carries the request.

use std::collections::BTreeMap;

use crate::{
    approval::action::Action,
    decide::candidate::Context,
    decide::evidence::RollbackQuery,
    decide::facts::{Known, Want},
    posture::Enforcement,
    record::decision::{Basis, DecisionRecord, Verdict},
    record::denial::Denial,
    record::history::{HistoryNote, PastAdmission},
    request::record::object_record,
    vocabulary::BOUND_ANNOTATIONS,
};

/// The verdict on a request that was `denied` by its approvals, once earlier admissions are looked at.
pub(crate) fn judge(context: &Context<'_>, mut denied: Verdict, known: &Known, record: &mut DecisionRecord) -> Verdict {
    let Some(rule) = context.posture.rollback.filter(|_| context.action == Action::Deploy) else { return denied };
    // What was withdrawn stays withdrawn, also where an earlier approval of the same was not.
    if denied.denials.iter().any(|denial| matches!(denial, Denial::Revoked { .. })) {
        return denied;
    }
    let history = match known.history() {
        None => {
            denied.wants.push(Want::History(object_record(context.request)));
            return denied;
        }
        Some(Err(why)) => {
            let what = "what was admitted before".to_owned();
            denied.denials.push(Denial::LookupFailed { what, why: why.clone() });
            return denied;
        }
        Some(Ok(history)) => history,
    };
    let claims = claims(context);
    let query = RollbackQuery {
        spec_hash: context.workload.hash,
        claims: &claims,
        cluster: context.posture.cluster.as_deref(),
        environment: context.environment,
        project: context.project,
        revocations: &context.posture.revocations,
        now: context.now,
    };
    let Some(past) = query.find(history, &rule) else { return denied };
    record.requested_by.clone_from(&past.requested_by);
    record.approvals.clone_from(&past.approvals);
    Verdict::admitted(Basis::Rollback)
}

/// What is to be remembered of an admission by a valid approval; nothing where nobody will ask. Never under `warn` or
/// `audit`, under which anything would be admitted.
pub(crate) fn note(context: &Context<'_>, record: &DecisionRecord) -> Option<HistoryNote> {
    context.posture.rollback?;
    let enforced = context.posture.rule(context.action).enforcement == Enforcement::Enforce;
    if !enforced || context.action != Action::Deploy || context.request.dry_run {
        return None;
    }
    let admission = PastAdmission {
        time: context.now,
        decision: record.id,
        spec_hash: context.workload.hash,
        claims: claims(context),
        cluster: context.posture.cluster.clone(),
        environment: context.environment.to_owned(),
        project: context.project.to_owned(),
        requested_by: record.requested_by.clone(),
        approvals: record.approvals.clone(),
    };
    Some(HistoryNote { object: object_record(context.request), admission })
}

fn claims(context: &Context<'_>) -> BTreeMap<String, String> {
    let annotations = &context.workload.object.metadata.annotations;
    let claim = |name: &&str| annotations.get(name).map(|value| ((*name).to_owned(), value.to_owned()));
    BOUND_ANNOTATIONS.iter().filter_map(claim).collect()
}
