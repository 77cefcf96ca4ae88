//! From the result of the checks to the decision.

use jiff::Timestamp;
use uuid::Uuid;

use crate::{
    decide::driver::Step,
    record::{
        decision::{Basis, Decision, DecisionRecord, Outcome},
        denial::Denial,
        enforcement::{Durability, Enforcement},
        history::HistoryNote,
    },
    request::{admission_review::Request, record::opening_record},
    text::on_one_line,
};

/// The result of the checks of one request.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    /// Every check that failed.
    pub(crate) denials: Vec<Denial>,
    /// What an admission rests on; ignored if a check failed.
    pub(crate) basis: Option<Basis>,
    /// The admission that later rollbacks may rest on; ignored if a check failed.
    pub(crate) note: Option<HistoryNote>,
    /// What the user should know although no check failed.
    pub(crate) remarks: Vec<String>,
}

impl Verdict {
    pub(crate) fn denied(denials: Vec<Denial>) -> Self {
        Self { denials, ..Self::default() }
    }

    pub(crate) fn admitted(basis: Basis) -> Self {
        Self { basis: Some(basis), ..Self::default() }
    }
}

/// A decision without its verdict.
pub(crate) struct DecisionDraft {
    pub(crate) record: DecisionRecord,
    pub(crate) durability: Durability,
    generation: i64,
}

impl DecisionDraft {
    pub(crate) fn new(request: &Request<'_>, id: Uuid, now: Timestamp) -> Self {
        Self {
            record: opening_record(request, id, now),
            durability: Durability::BestEffort,
            generation: request.object.as_ref().map_or(0, |object| object.metadata.generation),
        }
    }

    /// The decision, if the request is an action: `verdict`.
    pub(crate) fn decided<'a>(self, verdict: Verdict) -> Step<'a> {
        let decision = decision(self.record, verdict, self.generation);
        Step::Done(Box::new(Decision { durability: self.durability, ..decision }))
    }

    /// The decision, if the request is not an action.
    pub(crate) fn not_an_action<'a>(self) -> Step<'a> {
        let record = DecisionRecord { decision: Outcome::NotAnAction, ..self.record };
        Step::Done(Box::new(Decision {
            record,
            denials: Vec::new(),
            generation: 0,
            note: None,
            remarks: Vec::new(),
            durability: self.durability,
        }))
    }
}

/// The decision of a request whose rules are not known.
pub(crate) fn decision(mut record: DecisionRecord, verdict: Verdict, generation: i64) -> Decision {
    let Verdict { mut denials, basis, note, remarks } = verdict;
    let is_clean = denials.is_empty();
    record.basis = if is_clean { basis } else { None };
    denials.sort_by_key(Denial::reason);
    let softened = record.enforcement.is_some_and(|enforcement| enforcement != Enforcement::Enforce);
    // No enforcement softens row 1: there is no posture to soften it, or no approval could help.
    let admitted = denials.iter().all(|denial| softened && denial.row() > 1);
    record.decision = if admitted { Outcome::Admitted } else { Outcome::Denied };
    record.reasons = denials.iter().map(|denial| denial.code().to_owned()).collect();
    record.reasons.dedup();
    let note = if is_clean { note } else { None };
    Decision { record, denials, generation, note, remarks, durability: Durability::BestEffort }
}

impl Decision {
    /// The decision of the same request after the record of its admission could not be kept, for the reason `why`.
    ///
    /// It is another decision, with an `id` and a time of its own, because the record of the first one is already
    /// written.
    #[must_use]
    pub fn not_recorded(self, id: Uuid, time: Timestamp, why: &str) -> Self {
        let Self { record, mut denials, generation, remarks, .. } = self;
        denials.push(Denial::NotRecorded { why: on_one_line(why) });
        let record = DecisionRecord { id, time, chain: None, signature: None, ..record };
        decision(record, Verdict { denials, remarks, ..Verdict::default() }, generation)
    }
}
