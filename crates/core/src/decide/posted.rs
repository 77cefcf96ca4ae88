//! What is known of a posted request: which signatures on its approval count, and who has rejected it.
//!
//! A decision about a workload reads none of this. The command line shows it, and the webhook notifies people of it. The
//! request, its approval and its rejections are ConfigMaps that anybody may have written, so everything is verified here.

use jiff::Timestamp;
use serde::Serialize;

use crate::{
    approval::{
        capability::Capability,
        envelope::Envelope,
        posted_request::RequestDigest,
        rejection::Rejection,
        statement::{Approval, Subject},
    },
    decide::eligibility::EligibilityTerms,
    posture::{Posture, Reviewer, SignatureBudget, VerifiedSigner, missing},
    record::{decision::Decision, denial::Denial},
};

/// A rejection that a reviewer's key verifies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VerifiedRejection {
    /// The owner of the key, by the posture.
    pub by: String,
    /// The reason that the reviewer signed.
    pub reason: String,
    /// The time of the rejection, by the reviewer's clock.
    pub at: Timestamp,
}

/// The signatures on an approval of which nothing but signatures may be missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignatureProgress {
    /// The reviewers whose signature counts, in the order of the envelope.
    pub signed: Vec<String>,
    /// How many further reviewers must sign. 0: the webhook would admit the workloads.
    pub missing: usize,
}

impl SignatureProgress {
    /// The progress of the approval in `envelope`. `decisions` are those about all workloads of the request, in a namespace
    /// of `project`, with this approval alone. `None`: a check fails that further signatures do not change, or no signature
    /// counts.
    #[must_use]
    pub fn of(
        posture: &Posture,
        project: &str,
        envelope: &Envelope,
        decisions: &[Decision],
        now: Timestamp,
    ) -> Option<Self> {
        let mut denials = decisions.iter().flat_map(|decision| &decision.denials);
        if !denials.all(|denial| matches!(denial, Denial::QuorumNotMet { .. })) {
            return None;
        }
        let approval = Approval::parse(envelope.payload()).ok()?;
        let required = required(posture, &approval, decisions);
        let requested_by = &approval.requested_by;
        let terms =
            EligibilityTerms { posture, project, required: &required, requested_by, initiator: requested_by, now };
        let signed = eligible_signers(envelope, &terms);
        if signed.is_empty() {
            return None;
        }
        let is_enough = decisions.iter().all(|decision| decision.denials.is_empty());
        // With `separationOfDuties: proven`, the quorum may be met while the requester is not proven.
        let missing = if is_enough { 0 } else { missing(posture.quorum_of(&approval), &signed).max(1) };
        Some(Self { signed: signed.into_iter().map(|reviewer| reviewer.name.clone()).collect(), missing })
    }
}

/// The capabilities that the grants of each reviewer must cover.
fn required(posture: &Posture, approval: &Approval, decisions: &[Decision]) -> Vec<Capability> {
    let records = || decisions.iter().map(|decision| &decision.record);
    let mut required = match &posture.break_glass {
        Some(rule) if approval.break_glass => rule.capabilities.clone(),
        _ => records().flat_map(|record| &record.required_capabilities).filter_map(|name| name.parse().ok()).collect(),
    };
    let of_rules = records().flat_map(|record| &record.capability_rules).flat_map(|rule| &rule.require);
    required.extend(of_rules.filter_map(|name| name.parse().ok()));
    required
}

/// The reviewers whose signature on `envelope` verifies and counts by `terms`, each once. As in a decision, nobody if the
/// envelope costs more signature checks than one request may.
fn eligible_signers<'p>(envelope: &Envelope, terms: &EligibilityTerms<'p>) -> Vec<&'p Reviewer> {
    let posture: &'p Posture = terms.posture;
    let mut signers: Vec<&Reviewer> = Vec::new();
    let verified = posture.verify(envelope, &mut SignatureBudget::new()).unwrap_or_default();
    for VerifiedSigner { reviewer, key } in verified {
        if signers.iter().all(|other| other.name != reviewer.name) && terms.failures(reviewer, key).is_empty() {
            signers.push(reviewer);
        }
    }
    signers
}

impl VerifiedRejection {
    /// Verifies what [`Rejection::read`] has read. `None` unless a reviewer who may sign in `project` signed it, and it rejects
    /// `request` with each of its `subjects` as they were computed.
    ///
    /// A rejection requires no capability, and the requester may reject too: nothing is admitted by it.
    #[must_use]
    pub fn of<'s>(
        (envelope, rejection): &(Envelope, Rejection),
        posture: &Posture,
        project: &str,
        request: &RequestDigest,
        mut subjects: impl Iterator<Item = &'s Subject>,
        now: Timestamp,
    ) -> Option<Self> {
        let terms = EligibilityTerms { posture, project, required: &[], requested_by: "", initiator: "", now };
        let by = eligible_signers(envelope, &terms).first()?.name.clone();
        let is_about_all = subjects.all(|subject| rejection.subjects.contains(subject));
        (rejection.request == *request && is_about_all).then_some(Self {
            by,
            reason: rejection.reason.clone(),
            at: rejection.rejected_at,
        })
    }
}
