//! All envelopes of one object together, attached to it or beside it: rows 2 to 13 of the table, and row 16 for those
//! that may be used once.
//!
//! Each is judged alone by `candidate`; here is whether enough people signed, which envelope's failures are told, and
//! what an admission spends. Called by `decide` alone.

use std::borrow::Cow;

use crate::{
    approval::detached::{self, DetachedApproval, DetachedQuery},
    approval::statement::Approval,
    decide::candidate::{self, Candidate, Context, MAX_ENVELOPES, Signed},
    decide::facts::{Known, Want},
    decide::single_use::{Answer, Phase, Use, UseRecord, answer, entry},
    kube::workload::WorkloadKind,
    posture::{Reviewer, SeparationOfDuties, SignatureBudget, describe_quorum, is_met},
    record::decision::DecisionRecord,
    record::denial::Denial,
    request::change::{is_held, is_released},
    request::record::object_record,
    vocabulary::APPROVAL_REF,
};

/// Rows 2 to 13: the envelopes by which a workload is approved, or why it is not.
///
/// `blameless` is whether nothing speaks against the object itself: only then are people what is lacking.
pub(crate) fn judge<'r>(
    context: &Context<'r>,
    blameless: bool,
    known: &Known,
    record: &mut DecisionRecord,
) -> Result<Vec<Signed<'r>>, Vec<Denial>> {
    let attached = candidate::attached(context.workload);
    let beside = beside(context, known, MAX_ENVELOPES.saturating_sub(attached.len()));
    let attached: Vec<(Cow<'_, str>, &str)> =
        attached.into_iter().map(|(name, text)| (Cow::Borrowed(name), text)).chain(beside).collect();
    let Some((first, _)) = attached.first() else {
        let environment = context.environment.to_owned();
        let because = context.rules.iter().map(|rule| rule.reason().to_owned()).collect();
        let named = named(context).map(str::to_owned);
        return Err(vec![Denial::ApprovalRequired { action: context.action, environment, because, named }]);
    };
    if attached.len() > MAX_ENVELOPES {
        return Err(vec![Denial::MalformedApproval {
            annotation: first.clone().into_owned(),
            why: format!("found {} attached approvals, expected at most {MAX_ENVELOPES}", attached.len()),
            signed: false,
        }]);
    }
    let mut budget = SignatureBudget::new();
    let mut candidates: Vec<Candidate<'r>> =
        attached.iter().map(|(name, text)| Candidate::judge(context, name, text, &mut budget)).collect();
    if context.posture.rule(context.action).single_use {
        set_aside_used(context, &mut candidates, known);
    }
    if let Some(group) = quorate(context, &candidates) {
        let is_given = |candidate: &Candidate<'_>| {
            let signed = candidate.signed.as_ref().filter(|_| candidate.denials.is_empty());
            signed.is_some_and(|signed| signed.approval.agrees_with(&group))
        };
        let given: Vec<Signed<'r>> =
            candidates.into_iter().filter(is_given).filter_map(|candidate| candidate.signed).collect();
        record.requested_by = Some(group.requested_by);
        record.approvals = given.iter().map(Signed::record).collect();
        return Ok(given);
    }
    if blameless {
        for index in 0..candidates.len() {
            let lacking = lacking_people(context, &candidates, index);
            if let Some(candidate) = candidates.get_mut(index) {
                candidate.denials.extend(lacking);
            }
        }
    }
    // Of equals the first annotation wins, since the order of names is kept.
    let closest = candidates.into_iter().reduce(|best, other| {
        let closer = |one: &Candidate<'_>| (one.closeness(), usize::MAX - one.failures());
        if closer(&other) > closer(&best) { other } else { best }
    });
    let Some(closest) = closest else { return Err(Vec::new()) };
    record.requested_by = closest.signed.as_ref().map(|signed| signed.approval.requested_by.clone());
    record.approvals = closest.signed.iter().map(Signed::record).collect();
    Err(closest.denials)
}

/// The approvals beside the object that may be about it, at most `most`, under the names by which denials call them.
fn beside<'k>(context: &Context<'_>, known: &'k Known, most: usize) -> Vec<(Cow<'static, str>, &'k str)> {
    let live = known.live_approvals().and_then(|live| live.as_deref().ok());
    let found: &[DetachedApproval] = live.or(known.kept_approvals()).unwrap_or_default();
    let chosen = detached::choose(found, &query(context), context.now, most);
    chosen.into_iter().map(|found| (Cow::Owned(format!("ConfigMap {}", found.name)), &*found.text)).collect()
}

/// The ConfigMap in which the object says that its approval is.
fn named<'r>(context: &Context<'r>) -> Option<&'r str> {
    context.workload.object.metadata.annotations.get(APPROVAL_REF)
}

/// Which approvals beside the object are about it: the one that it names, else all for its spec.
fn query(context: &Context<'_>) -> DetachedQuery {
    match named(context) {
        Some(name) => DetachedQuery::Name(name.to_owned()),
        None => DetachedQuery::Hash(context.workload.hash),
    }
}

/// What is still to be looked for beside an object whose approvals so far are not enough: first what is kept, then, if
/// nothing else speaks against it, what is there now.
pub(crate) fn look_beside(context: &Context<'_>, blameless: bool, known: &Known) -> Result<Option<Want>, Denial> {
    if known.kept_approvals().is_none() {
        return Ok(Some(Want::KeptApprovals(query(context))));
    }
    match known.live_approvals() {
        None if blameless => Ok(Some(Want::LiveApprovals(query(context)))),
        Some(Err(why)) => {
            Err(Denial::LookupFailed { what: "whether there is a detached approval".to_owned(), why: why.clone() })
        }
        _ => Ok(None),
    }
}

/// Row 16, of envelopes that are known to be spent: the old one that still lies there must not spoil a new one, which
/// would be spent with it.
fn set_aside_used(context: &Context<'_>, candidates: &mut [Candidate<'_>], known: &Known) {
    for candidate in candidates.iter_mut().filter(|candidate| candidate.denials.is_empty()) {
        let used = candidate.signed.as_ref().and_then(|signed| match use_of(context, signed, known) {
            Answer::Taken(held) => Some(already_used(context, signed, &held)),
            Answer::Free | Answer::Ask(_) | Answer::Unknown(_) => None,
        });
        candidate.denials.extend(used);
    }
}

/// Row 16: the uses of `given` that must be had, and what speaks against them.
pub(crate) fn spend(context: &Context<'_>, given: &[Signed<'_>], known: &Known) -> (Vec<Denial>, Vec<Want>) {
    let (mut denials, mut wants) = (Vec::new(), Vec::new());
    for signed in given {
        let id = &signed.approval.id;
        match use_of(context, signed, known) {
            Answer::Free => {}
            Answer::Taken(held) => denials.push(already_used(context, signed, &held)),
            Answer::Ask(wanted) => {
                denials.push(unknown_use(id, "it was not looked up"));
                wants.push(Want::Use(*wanted));
            }
            Answer::Unknown(why) => denials.push(unknown_use(id, &why)),
        }
    }
    (denials, wants)
}

fn already_used(context: &Context<'_>, signed: &Signed<'_>, held: &UseRecord) -> Denial {
    let object = &held.used.object;
    Denial::AlreadyUsed {
        approval: signed.approval.id.clone(),
        by: format!("{} {}/{}", object.kind, object.namespace, object.name),
        at: held.time,
        free_at: held.free_at.filter(|at| *at > context.now),
    }
}

fn unknown_use(approval: &str, why: &str) -> Denial {
    Denial::LookupFailed { what: format!("whether approval {approval} was used"), why: why.to_owned() }
}

fn use_of(context: &Context<'_>, signed: &Signed<'_>, known: &Known) -> Answer {
    let workload = context.workload;
    let Some(subject) = context.covering(&signed.approval) else {
        return Answer::Unknown("it does not cover this object".to_owned());
    };
    let is_job = workload.kind == WorkloadKind::Job;
    let wanted = Use {
        entry: entry(&signed.payload, subject, Phase::Spec),
        approval: signed.approval.id.clone(),
        expires_at: signed.approval.expires_at,
        object: object_record(context.request),
        spec_hash: workload.hash,
        generation: workload.object.metadata.generation,
        starts: !(is_job && is_held(workload.spec)),
    };
    let released = is_job && workload.previous.is_some_and(|previous| is_released(workload.spec, previous.spec));
    let start = entry(&signed.payload, subject, Phase::Start);
    answer(known, &wanted, &start, released, context.request.dry_run)
}

/// The envelopes that pass everything and say the same as `approval`.
fn agreeing<'c, 'r>(candidates: &'c [Candidate<'r>], approval: &Approval) -> Vec<&'c Signed<'r>> {
    candidates
        .iter()
        .filter(|candidate| candidate.denials.is_empty())
        .filter_map(|candidate| candidate.signed.as_ref())
        .filter(|signed| signed.approval.agrees_with(approval))
        .collect()
}

/// The first approval that enough people agree on.
fn quorate(context: &Context<'_>, candidates: &[Candidate<'_>]) -> Option<Approval> {
    let passing = candidates.iter().filter(|candidate| candidate.denials.is_empty());
    passing
        .filter_map(|candidate| candidate.signed.as_ref())
        .find(|signed| {
            let group = agreeing(candidates, &signed.approval);
            let people = people(&group);
            is_met(context.terms_of(&signed.approval).quorum, &people) && requester_is_proven(context, &group, &people)
        })
        .map(|signed| signed.approval.clone())
}

/// The distinct reviewers who count in a group of envelopes.
fn people<'r>(group: &[&Signed<'r>]) -> Vec<&'r Reviewer> {
    let mut people: Vec<&'r Reviewer> = Vec::new();
    for reviewer in group.iter().flat_map(|signed| &signed.counting) {
        if people.iter().all(|other| other.name != reviewer.name) {
            people.push(reviewer);
        }
    }
    people
}

/// Why an envelope that passes everything else is not enough, if that is so.
fn lacking_people(context: &Context<'_>, candidates: &[Candidate<'_>], index: usize) -> Option<Denial> {
    let candidate = candidates.get(index).filter(|candidate| candidate.denials.is_empty())?;
    let signed = candidate.signed.as_ref()?;
    let group = candidates
        .iter()
        .filter_map(|other| other.signed.as_ref().filter(|_| only_lacks_people(other)))
        .filter(|other| other.approval.agrees_with(&signed.approval))
        .collect::<Vec<_>>();
    let people = people(&group);
    let quorum = context.terms_of(&signed.approval).quorum;
    let required = if is_met(quorum, &people) {
        "the requester is not proven (separationOfDuties: proven): the requester must send the request or sign as well, \
         or two reviewers must sign"
            .to_owned()
    } else {
        format!("the posture requires {}", describe_quorum(quorum))
    };
    let signed = people.iter().map(|reviewer| reviewer.name.clone()).collect();
    Some(Denial::QuorumNotMet { required, signed })
}

/// Whether nothing speaks against an envelope but that too few signed it.
fn only_lacks_people(candidate: &Candidate<'_>) -> bool {
    candidate.denials.iter().all(|denial| matches!(denial, Denial::QuorumNotMet { .. }))
}

/// Whether more than the approval's own word says that its requester is not its reviewer.
fn requester_is_proven(context: &Context<'_>, group: &[&Signed<'_>], people: &[&Reviewer]) -> bool {
    if context.posture.separation_of_duties != SeparationOfDuties::Proven || people.len() >= 2 {
        return true;
    }
    group.iter().any(|signed| {
        let requester = &signed.approval.requested_by;
        let initiator = &context.request.user.username;
        // Who may edit a namespace may act as its service accounts: such a name is a person's only where it is listed.
        let is_initiator = (requester.eq_ignore_ascii_case(initiator) && !initiator.starts_with("system:"))
            || context.posture.reviewers.iter().any(|known| known.is(requester) && known.is(initiator));
        is_initiator || signed.signers.iter().any(|signer| signer.reviewer.is(requester))
    })
}
