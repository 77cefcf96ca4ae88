//! The stages of a decision about a workload, in the order in which they ask.
//!
//! 1. *Approvals*: those that are attached, then detached ones as they are cached, then as they are now, until they are
//!    enough.
//! 2. *ConfigMaps* that the workload refers to.
//! 3. *Uses* of single-use approvals. A used approval is set aside, which leads back to stage 1.
//! 4. *History*, if the approvals are not enough: an earlier admission on which the request may rest. Stage 2 follows.
//!
//! Each stage is a method that returns the step of the next one. A stage asks only if the answer can still change the
//! decision, so no use is reserved and no ConfigMap is read for a request that is denied anyway. Whatever was checked
//! before stays checked.

use std::collections::VecDeque;

use crate::{
    approval::detached::DetachedApproval,
    decide::{
        approvals::{Candidates, Closest, SufficientApprovals, query},
        candidate::CheckContext,
        driver::{Pending, Step},
        provenance::ObjectDenials,
        requirements::WorkloadAction,
        rollback,
        single_use::{Holders, Use, UseState},
        verdict::{DecisionDraft, Verdict},
    },
    posture::RollbackRule,
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

/// How far the search for detached approvals has come.
enum Search {
    NotBegun,
    Cached,
    Live,
    /// The live list failed.
    Failed(Denial),
}

/// Decides a workload's change.
pub(crate) fn decide_workload(draft: DecisionDraft, action: WorkloadAction<'_>) -> Step<'_> {
    let WorkloadAction { context, object, approval_required } = action;
    let mut undecided = Undecided {
        draft,
        context,
        object,
        candidates: Candidates::new(),
        search: Search::NotBegun,
        holders: Holders::default(),
    };
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
        match self.candidates.sufficient(&self.context) {
            Some(approvals) => self.read_config_maps(|undecided| undecided.reserve_uses(approvals)),
            None => self.search_detached(),
        }
    }

    /// Looks for detached approvals: first in the cache, then, unless the object is denied anyway, in the cluster.
    fn search_detached(mut self) -> Step<'a> {
        let query = query(&self.context);
        match self.search {
            Search::NotBegun => Step::ask(Pending::CachedApprovals, query, |found| self.consider_cached(&found)),
            Search::Cached if !self.object_is_denied() => {
                Step::ask(Pending::LiveApprovals, query, |found| self.consider_live(found))
            }
            Search::Cached | Search::Live | Search::Failed(_) => {
                let denials = self.report_closest();
                self.look_into_history(denials)
            }
        }
    }

    fn consider_cached(mut self, found: &[DetachedApproval]) -> Step<'a> {
        self.search = Search::Cached;
        self.candidates.check_detached(&self.context, found);
        self.consider_approvals()
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

    /// Reads and checks the ConfigMaps that the workload refers to, unless the object is denied anyway; `then` goes on.
    fn read_config_maps(mut self, then: impl FnOnce(Self) -> Step<'a> + Send + 'a) -> Step<'a> {
        match self.object.missing.take() {
            Some(bundle) if !self.object_is_denied() => {
                Step::ask(Pending::ConfigMaps, bundle.names.clone(), move |read| {
                    self.object.denials = bundle.failures(&read);
                    then(self)
                })
            }
            _ => then(self),
        }
    }

    /// Reserves the uses of the approvals. This comes last, since a use that is reserved is used.
    fn reserve_uses(self, approvals: SufficientApprovals) -> Step<'a> {
        if self.object_is_denied() {
            return self.conclude(&approvals, Vec::new());
        }
        let (mut unanswered, mut denials) = (VecDeque::new(), Vec::new());
        for wanted in &approvals.uses {
            match wanted.state(&self.holders) {
                UseState::Free => {}
                UseState::Taken(_) => return self.consider_approvals(),
                UseState::Unanswered(wanted) if unanswered.contains(wanted) => {}
                UseState::Unanswered(wanted) => unanswered.push_back(wanted.clone()),
                UseState::Unknown(why) => denials.push(wanted.unknown(why)),
            }
        }
        if unanswered.is_empty() { self.conclude(&approvals, denials) } else { self.reserve(unanswered, approvals) }
    }

    /// Reserves these uses one after the other.
    fn reserve(mut self, mut unanswered: VecDeque<Use>, approvals: SufficientApprovals) -> Step<'a> {
        let Some(wanted) = unanswered.pop_front() else { return self.reserve_uses(approvals) };
        Step::ask(Pending::Use, wanted.clone(), move |holder| {
            self.holders.insert(&wanted, holder);
            self.reserve(unanswered, approvals)
        })
    }

    /// Decides by approvals that are enough. `failed` says which of their uses could not be looked up.
    fn conclude(mut self, approvals: &SufficientApprovals, failed: Vec<Denial>) -> Step<'a> {
        let record = &mut self.draft.record;
        record.requested_by = Some(approvals.requested_by.clone());
        record.approvals.clone_from(&approvals.records);
        if approvals.break_glass
            && let Some(requirements) = &self.context.break_glass
        {
            record.required_capabilities = requirements.capability_names();
        }
        if !failed.is_empty() {
            return self.look_into_history(failed);
        }
        if approvals.break_glass {
            return self.finish(Verdict::admitted(Basis::BreakGlass));
        }
        let note = rollback::note(&self.context, &self.draft.record, approvals);
        self.finish(Verdict { note, ..Verdict::admitted(Basis::Approval) })
    }

    /// Looks for an earlier admission on which the request may rest. Without one, it is denied for `denials`.
    fn look_into_history(self, denials: Vec<Denial>) -> Step<'a> {
        let rule = if self.object_is_denied() { None } else { rollback::rule(&self.context, &denials) };
        let Some(rule) = rule else { return self.finish(Verdict::denied(denials)) };
        let object = object_record(self.context.request);
        Step::ask(Pending::History, object, move |history| self.rest_on(rule, history, denials))
    }

    fn rest_on(self, rule: RollbackRule, history: Result<History, String>, mut denials: Vec<Denial>) -> Step<'a> {
        match history.map(|history| rollback::evidence(&self.context, rule, &history)) {
            Ok(Some(Ok(past))) => self.read_config_maps(|undecided| undecided.roll_back(past)),
            Ok(Some(Err(failures))) => {
                denials.extend(failures);
                self.finish(Verdict::denied(denials))
            }
            Ok(None) => self.finish(Verdict::denied(denials)),
            Err(why) => {
                denials.push(Denial::LookupFailed { what: "what was admitted before".to_owned(), why });
                self.finish(Verdict::denied(denials))
            }
        }
    }

    /// Decides by an earlier admission, after the ConfigMaps were checked.
    fn roll_back(mut self, past: PastAdmission) -> Step<'a> {
        if self.object_is_denied() {
            let denials = self.report_closest();
            return self.finish(Verdict::denied(denials));
        }
        self.draft.record.requested_by = past.requested_by;
        self.draft.record.approvals = past.approvals;
        self.finish(Verdict::admitted(Basis::Rollback))
    }

    /// Records the approval that comes closest, and returns why the approvals are not enough.
    fn report_closest(&mut self) -> Vec<Denial> {
        // Too few people are reported only if no other check fails.
        let counts_people = !self.object_is_denied();
        let Closest { requested_by, approvals, mut denials } = self.candidates.closest(&self.context, counts_people);
        self.draft.record.requested_by = requested_by;
        self.draft.record.approvals = approvals;
        if let Search::Failed(denial) = &self.search {
            denials.push(denial.clone());
        }
        denials
    }

    /// Whether the object is denied whatever was approved. Then nothing more is looked up.
    fn object_is_denied(&self) -> bool {
        !self.object.denials.is_empty()
    }

    fn finish(self, mut verdict: Verdict) -> Step<'a> {
        verdict.denials.extend(self.object.denials);
        if self.context.workload.wakes_up {
            if verdict.denials.is_empty() {
                return self.draft.not_an_action();
            }
            let wrapped = |denial| Denial::WakeUpNotApproved { why: Box::new(denial) };
            verdict.denials = verdict.denials.into_iter().map(wrapped).collect();
        }
        self.draft.decided(verdict)
    }
}
