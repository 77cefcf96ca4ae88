//! The stages of a decision about a workload, in the order in which they ask.
//!
//! ```text
//! approvals ──enough──────────────────────────▶ ConfigMaps ─▶ uses ──free──▶ admitted
//!  ▲     └─not enough─▶ cached ─▶ live ─▶ history ─▶ ConfigMaps ─▶ admitted    │
//!  └────────────────────────┴───────┘        └──no evidence──▶ denied          │
//!  └───────────────────────────────────────────────────────────────taken───────┘
//! ```
//!
//! Each stage is one method that returns the next one's step. A stage asks only if the answer can still change the
//! decision, so no use is reserved and no ConfigMap is read for a request that is denied anyway. New detached approvals
//! and used approvals lead back to the approvals, whose checks are kept.

use std::collections::VecDeque;

use crate::{
    approval::detached::DetachedApproval,
    decide::{
        approvals::{self, Candidates, Grant},
        candidate::CheckContext,
        driver::{Pending, Question, Step},
        provenance::ObjectDenials,
        requirements::WorkloadAction,
        rollback,
        single_use::{Holders, Use, UseState},
        verdict::{DecisionDraft, Verdict},
    },
    record::{
        decision::Basis,
        denial::Denial,
        history::{History, PastAdmission},
    },
    request::record::object_record,
};

/// A workload's decision that is not finished.
struct Undecided<'a> {
    draft: DecisionDraft,
    context: CheckContext<'a>,
    object: ObjectDenials,
    candidates: Candidates<'a>,
    search: Search,
    holders: Holders,
}

/// Where detached approvals were searched for.
enum Search {
    Nowhere,
    InCache,
    Live,
    /// Live, without success.
    Failed(Denial),
}

/// Decides a workload's change.
pub(crate) fn decide_workload(draft: DecisionDraft, action: WorkloadAction<'_>) -> Step<'_> {
    let WorkloadAction { context, object, approval_required } = action;
    let candidates = Candidates::new();
    let (search, holders) = (Search::Nowhere, Holders::default());
    let mut undecided = Undecided { draft, context, object, candidates, search, holders };
    if !approval_required {
        return undecided.read_config_maps(|undecided| undecided.finish(Verdict::admitted(Basis::NotRequired)));
    }
    undecided.candidates.check_attached(&undecided.context);
    undecided.consider_approvals()
}

impl<'a> Undecided<'a> {
    /// Whether the approvals that were found so far are enough.
    fn consider_approvals(mut self) -> Step<'a> {
        self.candidates.set_aside_used(&self.holders, self.context.now);
        match self.candidates.grant(&self.context) {
            Some(grant) => self.read_config_maps(move |undecided| undecided.reserve_uses(grant)),
            None => self.search_detached(),
        }
    }

    /// Detached approvals: first those that are cached, then, unless the object is denied anyway, those that are there
    /// now.
    fn search_detached(mut self) -> Step<'a> {
        let query = approvals::query(&self.context);
        match self.search {
            Search::Nowhere => Step::Ask(Pending::CachedApprovals(Question::new(query, move |found: Vec<_>| {
                self.search = Search::InCache;
                self.candidates.check_detached(&self.context, &found);
                self.consider_approvals()
            }))),
            Search::InCache if self.object.denials.is_empty() => {
                Step::Ask(Pending::LiveApprovals(Question::new(query, move |found| self.consider_live(found))))
            }
            Search::InCache | Search::Live | Search::Failed(_) => {
                let denials = self.closest_denials();
                self.look_into_history(denials)
            }
        }
    }

    fn consider_live(mut self, found: Result<Vec<DetachedApproval>, String>) -> Step<'a> {
        match found {
            Ok(found) => {
                self.search = Search::Live;
                self.candidates.check_detached(&self.context, &found);
            }
            Err(why) => {
                let what = "whether there is a detached approval".to_owned();
                self.search = Search::Failed(Denial::LookupFailed { what, why });
            }
        }
        self.consider_approvals()
    }

    /// ConfigMaps: `then` goes on after those that the workload refers to were read and checked. Nothing is read for an
    /// object that is denied anyway.
    fn read_config_maps(mut self, then: impl FnOnce(Self) -> Step<'a> + Send + 'a) -> Step<'a> {
        match self.object.missing.take() {
            Some(bundle) if self.object.denials.is_empty() => {
                Step::Ask(Pending::ConfigMaps(Question::new(bundle.names.clone(), move |read| {
                    self.object.denials = bundle.failures(&read);
                    then(self)
                })))
            }
            _ => then(self),
        }
    }

    /// Uses: the last stage before an admission by approvals, since a use that is reserved is used.
    fn reserve_uses(self, grant: Grant) -> Step<'a> {
        let (mut unanswered, mut denials) = (VecDeque::new(), Vec::new());
        let is_denied = !self.object.denials.is_empty();
        for wanted in grant.uses.iter().filter(|_| !is_denied) {
            match wanted.state(&self.holders) {
                UseState::Free => {}
                UseState::Taken(_) => return self.consider_approvals(),
                UseState::Unanswered(wanted) if unanswered.contains(wanted) => {}
                UseState::Unanswered(wanted) => unanswered.push_back(wanted.clone()),
                UseState::Unknown(why) => denials.push(wanted.unknown(why)),
            }
        }
        if unanswered.is_empty() { self.conclude(grant, denials) } else { self.reserve(unanswered, grant) }
    }

    /// Reserves these uses one after the other.
    fn reserve(mut self, mut unanswered: VecDeque<Use>, grant: Grant) -> Step<'a> {
        let Some(wanted) = unanswered.pop_front() else { return self.reserve_uses(grant) };
        Step::Ask(Pending::Use(Question::new(wanted.clone(), move |holder| {
            self.holders.insert(&wanted, holder);
            self.reserve(unanswered, grant)
        })))
    }

    /// The approvals are enough. `denials` say which uses could not be looked up.
    fn conclude(mut self, grant: Grant, denials: Vec<Denial>) -> Step<'a> {
        let record = &mut self.draft.record;
        record.requested_by = Some(grant.requested_by);
        record.approvals = grant.approvals;
        if grant.break_glass
            && let Some(requirements) = &self.context.break_glass
        {
            record.required_capabilities = requirements.capability_names();
        }
        if !denials.is_empty() {
            return self.look_into_history(denials);
        }
        if grant.break_glass {
            return self.finish(Verdict::admitted(Basis::BreakGlass));
        }
        let note = rollback::note(&self.context, &self.draft.record);
        self.finish(Verdict { note, ..Verdict::admitted(Basis::Approval) })
    }

    /// Rows 2 to 16: why the approvals that were found are not enough.
    fn closest_denials(&mut self) -> Vec<Denial> {
        // That people are lacking is reported only if nothing else is.
        let counts_people = self.object.denials.is_empty();
        let closest = self.candidates.closest(&self.context, counts_people);
        self.draft.record.requested_by = closest.requested_by;
        self.draft.record.approvals = closest.approvals;
        let mut denials = closest.denials;
        if let Search::Failed(denial) = &self.search {
            denials.push(denial.clone());
        }
        denials
    }

    /// History: a request that its approvals do not permit, because of `denials`, may be a rollback.
    fn look_into_history(self, mut denials: Vec<Denial>) -> Step<'a> {
        let is_denied = !self.object.denials.is_empty();
        let Some(rule) = rollback::rule(&self.context, &denials).filter(|_| !is_denied) else {
            return self.finish(Verdict::denied(denials));
        };
        let object = object_record(self.context.request);
        Step::Ask(Pending::History(Question::new(object, move |history: Result<History, String>| match history {
            Ok(history) => match rollback::evidence(&self.context, rule, &history) {
                Some(past) => self.read_config_maps(move |undecided| undecided.roll_back(past)),
                None => self.finish(Verdict::denied(denials)),
            },
            Err(why) => {
                denials.push(Denial::LookupFailed { what: "what was admitted before".to_owned(), why });
                self.finish(Verdict::denied(denials))
            }
        })))
    }

    /// The request may rest on `past`, unless its ConfigMaps deny it.
    fn roll_back(mut self, past: PastAdmission) -> Step<'a> {
        if !self.object.denials.is_empty() {
            let denials = self.closest_denials();
            return self.finish(Verdict::denied(denials));
        }
        self.draft.record.requested_by = past.requested_by;
        self.draft.record.approvals = past.approvals;
        self.finish(Verdict::admitted(Basis::Rollback))
    }

    fn finish(self, mut verdict: Verdict) -> Step<'a> {
        verdict.denials.extend(self.object.denials);
        self.draft.decided(verdict)
    }
}
