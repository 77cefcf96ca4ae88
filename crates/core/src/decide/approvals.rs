//! All approvals of one object together, attached and detached: rows 2 to 13 of the table.
//!
//! `candidate` checks each approval alone. Here is whether enough people signed, what an admission by approvals rests
//! on, and which approval a denial is about.

use std::borrow::Cow;

use jiff::Timestamp;

use crate::{
    approval::{
        detached::{self, DetachedApproval, DetachedQuery},
        envelope::MAX_ENVELOPE,
        statement::Approval,
    },
    decide::{
        candidate::{Candidate, CheckContext, SignedApproval},
        single_use::{Holders, UseState, WantedUse},
    },
    posture::{Reviewer, SeparationOfDuties, SignatureBudget, describe_quorum, is_met},
    record::{decision::ApprovalRecord, denial::Denial, reasons::Reason},
    vocabulary::{APPROVAL_REF, is_approval},
};

/// The most approvals that are considered for one object, and so the most bytes that are ever decoded for one.
pub const MAX_ENVELOPES: usize = 8;
const _: () = assert!(MAX_ENVELOPES * MAX_ENVELOPE <= 262_144, "all annotations of an object hold 256 KiB at most");

/// The approvals that a decision considers, each checked once.
pub(crate) struct Candidates<'a> {
    /// In the order of the bytes of the annotations' names.
    attached: Vec<Candidate<'a>>,
    /// Set if more approvals are attached than are considered. Then none is.
    excess: Option<Denial>,
    /// The best first, after those that are attached.
    detached: Vec<(DetachedApproval, Candidate<'a>)>,
    /// How many detached approvals are considered.
    vacancies: usize,
    budget: SignatureBudget,
}

/// What an admission by approvals rests on: approvals that agree with each other, by enough people.
pub(crate) struct SufficientApprovals {
    pub(crate) requested_by: String,
    pub(crate) records: Vec<ApprovalRecord>,
    pub(crate) break_glass: bool,
    /// The reviewers whose signatures count.
    pub(crate) counted: Vec<String>,
    /// Whether more than the approvals' own claim shows who the requester is.
    pub(crate) requester_proven: bool,
    /// The use of each; empty if the action's approvals are not single-use.
    pub(crate) uses: Vec<WantedUse>,
}

/// The approval that a denial is about.
pub(crate) struct Closest {
    pub(crate) requested_by: Option<String>,
    pub(crate) approvals: Vec<ApprovalRecord>,
    pub(crate) denials: Vec<Denial>,
}

impl<'a> Candidates<'a> {
    pub(crate) fn new() -> Self {
        Self {
            attached: Vec::new(),
            excess: None,
            detached: Vec::new(),
            vacancies: MAX_ENVELOPES,
            budget: SignatureBudget::new(),
        }
    }

    /// Considers the approvals in the annotations of the object.
    pub(crate) fn check_attached(&mut self, context: &CheckContext<'a>) {
        let attached = attached(context);
        self.vacancies = MAX_ENVELOPES.saturating_sub(attached.len());
        if attached.len() > MAX_ENVELOPES {
            self.excess = Some(Denial::TooManyApprovals { found: attached.len(), most: MAX_ENVELOPES });
        } else {
            let check = |(name, text)| Candidate::check(context, name, text, &mut self.budget);
            self.attached = attached.into_iter().map(check).collect();
        }
    }

    /// Considers these detached approvals in place of those that were found before. An approval that was found before
    /// keeps the result of its check.
    pub(crate) fn check_detached(&mut self, context: &CheckContext<'a>, found: &[DetachedApproval]) {
        let mut before = std::mem::take(&mut self.detached);
        for approval in detached::choose(found, &query(context), context.now, self.vacancies) {
            let known = before.iter().position(|(known, _)| known == approval);
            let checked = if let Some(index) = known {
                before.swap_remove(index)
            } else {
                let source = format!("ConfigMap {}", approval.name);
                let candidate = Candidate::check(context, &source, &approval.text, &mut self.budget);
                (approval.clone(), candidate)
            };
            self.detached.push(checked);
        }
    }

    /// Row 16, for approvals that are known to be used. An old approval that is still there must not spoil a new one,
    /// which would be used together with it.
    pub(crate) fn set_aside_used(&mut self, holders: &Holders, now: Timestamp) {
        let detached = self.detached.iter_mut().map(|(_, candidate)| candidate);
        for candidate in self.attached.iter_mut().chain(detached) {
            if let Some(wanted) = candidate.passing().and_then(|signed| signed.wanted_use.as_ref())
                && let UseState::Taken(held) = wanted.state(holders)
            {
                let denial = wanted.already_used(held, now);
                candidate.denials.push(denial);
            }
        }
    }

    /// The first approvals that agree with each other and are by enough people.
    pub(crate) fn sufficient(&self, context: &CheckContext<'_>) -> Option<SufficientApprovals> {
        let passing = self.passing();
        let mut groups = passing.iter().map(|signed| agreeing(&passing, &signed.approval));
        let group = &groups.find(|group| is_enough(context, group))?;
        let first = &group.first()?.approval;
        Some(SufficientApprovals {
            requested_by: first.requested_by.clone(),
            break_glass: first.break_glass,
            counted: people(group).iter().map(|reviewer| reviewer.name.clone()).collect(),
            requester_proven: requester_is_known(context, group),
            records: group.iter().map(|signed| signed.record()).collect(),
            uses: group.iter().filter_map(|signed| signed.wanted_use.clone()).collect(),
        })
    }

    /// The approval whose first failure comes latest in the table, then the one with the fewest failures, then the
    /// first. `counts_people` is whether too few people are a failure.
    pub(crate) fn closest(&self, context: &CheckContext<'_>, counts_people: bool) -> Closest {
        let passing = self.passing();
        let failing = self.all().map(|candidate| match candidate.passing() {
            Some(signed) if counts_people => (candidate, Cow::Owned(vec![too_few_people(context, &passing, signed)])),
            _ => (candidate, Cow::Borrowed(&*candidate.denials)),
        });
        let closest = failing.reduce(|best, other| {
            let rank = |denials: &[Denial]| (closeness(denials), usize::MAX - kinds_of_failure(denials));
            if rank(&other.1) > rank(&best.1) { other } else { best }
        });
        match closest {
            None => Closest { requested_by: None, approvals: Vec::new(), denials: vec![self.none(context)] },
            Some((candidate, denials)) => Closest {
                requested_by: candidate.signed.as_ref().map(|signed| signed.approval.requested_by.clone()),
                approvals: candidate.signed.iter().map(SignedApproval::record).collect(),
                denials: denials.into_owned().into_iter().map(|denial| context.explained(denial)).collect(),
            },
        }
    }

    /// Row 2, and row 3 for too many approvals.
    fn none(&self, context: &CheckContext<'_>) -> Denial {
        self.excess.clone().unwrap_or_else(|| Denial::ApprovalRequired {
            action: context.action,
            environment: context.namespace.environment.to_owned(),
            because: context.rules.iter().map(|rule| rule.reason().to_owned()).collect(),
            named: named(context).map(str::to_owned),
        })
    }

    fn all(&self) -> impl Iterator<Item = &Candidate<'a>> {
        self.attached.iter().chain(self.detached.iter().map(|(_, candidate)| candidate))
    }

    fn passing(&self) -> Vec<&SignedApproval<'a>> {
        self.all().filter_map(Candidate::passing).collect()
    }
}

/// The annotations that hold approvals, in the order of the bytes of their names.
fn attached<'a>(context: &CheckContext<'a>) -> Vec<(&'a str, &'a str)> {
    context.workload.object.metadata.annotations.iter().filter(|(name, _)| is_approval(name)).collect()
}

/// The ConfigMap that the object names as the place of its approval.
fn named<'a>(context: &CheckContext<'a>) -> Option<&'a str> {
    context.workload.object.metadata.annotations.get(APPROVAL_REF)
}

/// Which detached approvals may be about the object: the one that it names, or all for its spec.
pub(crate) fn query(context: &CheckContext<'_>) -> DetachedQuery {
    match named(context) {
        Some(name) => DetachedQuery::Name(name.to_owned()),
        None => DetachedQuery::Hash(context.workload.hash),
    }
}

/// How far an approval came in the table: the row of its first failure. Within row 5, one whose payload was read came
/// further than one whose signature failed.
fn closeness(denials: &[Denial]) -> (u8, bool) {
    let first = denials.iter().map(Denial::reason).min();
    first.map_or((u8::MAX, false), |reason| (reason.row(), reason == Reason::MalformedPayload))
}

fn kinds_of_failure(denials: &[Denial]) -> usize {
    let mut codes: Vec<_> = denials.iter().map(Denial::code).collect();
    codes.sort_unstable();
    codes.dedup();
    codes.len()
}

/// The approvals among `passing` that say the same as `approval`.
fn agreeing<'c, 'a>(passing: &[&'c SignedApproval<'a>], approval: &Approval) -> Vec<&'c SignedApproval<'a>> {
    let agrees = |signed: &&&SignedApproval<'_>| {
        std::ptr::eq(&raw const signed.approval, approval) || signed.approval.agrees_with(approval)
    };
    passing.iter().filter(agrees).copied().collect()
}

/// Row 13, for a group of approvals that agree with each other.
fn is_enough(context: &CheckContext<'_>, group: &[&SignedApproval<'_>]) -> bool {
    let people = people(group);
    group.first().is_some_and(|signed| is_met(context.requirements_of(&signed.approval).quorum, &people))
        && requester_is_proven(context, group, &people)
}

/// The distinct reviewers whose signatures count in a group of approvals.
fn people<'a>(group: &[&SignedApproval<'a>]) -> Vec<&'a Reviewer> {
    let mut people: Vec<&'a Reviewer> = Vec::new();
    for reviewer in group.iter().flat_map(|signed| &signed.eligible) {
        if people.iter().all(|other| other.name != reviewer.name) {
            people.push(reviewer);
        }
    }
    people
}

/// Why an approval that passes every other check is not enough.
fn too_few_people(context: &CheckContext<'_>, passing: &[&SignedApproval<'_>], signed: &SignedApproval<'_>) -> Denial {
    let people = people(&agreeing(passing, &signed.approval));
    let quorum = context.requirements_of(&signed.approval).quorum;
    let required = if is_met(quorum, &people) {
        "the requester is not proven (separationOfDuties: proven): the requester must send the request or sign as well, \
         or two reviewers must sign"
            .to_owned()
    } else {
        format!("the posture requires {}", describe_quorum(quorum))
    };
    Denial::QuorumNotMet { required, signed: people.iter().map(|reviewer| reviewer.name.clone()).collect() }
}

/// Whether more than the approval's own claim shows that the requester is not the reviewer, if the posture requires it.
fn requester_is_proven(context: &CheckContext<'_>, group: &[&SignedApproval<'_>], people: &[&Reviewer]) -> bool {
    let is_proven = context.namespace.posture.separation_of_duties == SeparationOfDuties::Proven;
    !is_proven || people.len() >= 2 || requester_is_known(context, group)
}

/// Whether the requester sent the request or signed an approval.
fn requester_is_known(context: &CheckContext<'_>, group: &[&SignedApproval<'_>]) -> bool {
    group.iter().any(|signed| {
        let requester = &signed.approval.requested_by;
        context.is_initiator(requester) || signed.signers.iter().any(|signer| signer.reviewer.is(requester))
    })
}
