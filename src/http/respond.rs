//! Renders a decision as an `AdmissionReview` response (admission.k8s.io/v1).
//!
//! The types are Writgate's own: kube's `deny()` sets only the message, and the API server turns that into a 400 without a
//! reason.

use std::borrow::Cow;

use serde::Serialize;
use writgate_core::{
    approval::Action,
    record::{Basis, Decision, Denial},
    text::{bounded, escape, escape_bounded},
};

use crate::canary;

/// The length at which a warning is continued in the next one.
const MAX_WARNING: usize = 120;
/// The length at which a warning without a space is cut. The API server cuts at the same length.
const MAX_UNBROKEN: usize = 256;
/// The longest audit annotation. All of them are in one line of the API server's audit log.
const MAX_ANNOTATION: usize = 1024;
/// The longest message.
const MAX_MESSAGE: usize = 4096;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ReviewResponse<'a> {
    api_version: &'static str,
    kind: &'static str,
    response: Response<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Response<'a> {
    uid: &'a str,
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status>,
    #[serde(skip_serializing_if = "Option::is_none")]
    audit_annotations: Option<AuditAnnotations<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

#[derive(Serialize)]
struct Status {
    code: u16,
    reason: &'static str,
    message: String,
    details: Details,
}

#[derive(Serialize)]
struct Details {
    causes: Vec<Cause>,
}

#[derive(Serialize)]
struct Cause {
    reason: &'static str,
    message: String,
}

/// The decision's annotations in the API server's audit log. The API server prefixes each key with the webhook's name.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct AuditAnnotations<'a> {
    decision: &'static str,
    decision_id: String,
    /// The audit log of the level `Metadata` lacks the body of a DELETE, where the API server reads it.
    dry_run: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    action: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    reasons: Cow<'a, str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    environment: Cow<'a, str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    project: Cow<'a, str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    approvals: Cow<'a, str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    reviewers: Cow<'a, str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    required_capabilities: Cow<'a, str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    approval_required: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    requested_by: Cow<'a, str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    initiated_by: Cow<'a, str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    basis: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    spec_hash: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    posture_version: &'a str,
}

/// The response to the AdmissionReview `uid`, as JSON.
pub(crate) fn response(uid: &str, decision: &Decision) -> Vec<u8> {
    render(uid, decision, Some(audit_annotations(decision)), None)
}

/// The response to a dry run of the canary, with the proof that this installation denied it. It has no annotations, because
/// `kubectl writgate audit` shows a decision for each one in the API server's audit log.
pub(crate) fn response_to_canary(uid: &str, decision: &Decision, proof: Option<String>) -> Vec<u8> {
    render(uid, decision, None, proof)
}

fn render(uid: &str, decision: &Decision, annotations: Option<AuditAnnotations<'_>>, proof: Option<String>) -> Vec<u8> {
    let allowed = decision.allowed();
    let response = Response {
        uid,
        allowed,
        status: (!allowed).then(|| status(decision, proof)),
        audit_annotations: annotations,
        warnings: decision.warning().map(|text| warnings(&text)).unwrap_or_default(),
    };
    let review = ReviewResponse { api_version: "admission.k8s.io/v1", kind: "AdmissionReview", response };
    serde_json::to_vec(&review).expect("strings and numbers always serialise")
}

fn status(decision: &Decision, proof: Option<String>) -> Status {
    let cause = |denial: &Denial| Cause {
        reason: denial.code(),
        message: escape_bounded(&denial.to_string(), MAX_MESSAGE).into_owned(),
    };
    let proof = proof.map(|message| Cause { reason: canary::CAUSE, message });
    Status {
        code: 403,
        reason: "Forbidden",
        message: escape_bounded(&decision.message(), MAX_MESSAGE).into_owned(),
        details: Details { causes: decision.denials.iter().map(cause).chain(proof).collect() },
    }
}

/// Splits `text` into warnings, which a client prints on separate lines. Long lines are broken at spaces.
fn warnings(text: &str) -> Vec<String> {
    let mut warnings = Vec::new();
    for line in escape(text).lines() {
        let mut warning = String::new();
        for word in line.split_inclusive(' ') {
            if !warning.is_empty() && warning.len() + word.trim_end().len() > MAX_WARNING {
                warnings.push(std::mem::take(&mut warning));
            }
            warning.push_str(word);
        }
        warnings.push(warning);
    }
    warnings.iter().map(|warning| bounded(warning.trim_end(), MAX_UNBROKEN)).collect()
}

fn bound_list(list: String) -> Cow<'static, str> {
    let escaped = match escape_bounded(&list, MAX_ANNOTATION) {
        Cow::Borrowed(_) => None,
        Cow::Owned(escaped) => Some(escaped),
    };
    Cow::Owned(escaped.unwrap_or(list))
}

fn audit_annotations(decision: &Decision) -> AuditAnnotations<'_> {
    let record = &decision.record;
    let bound = |text| escape_bounded(text, MAX_ANNOTATION);
    let reviewers = record.approvals.iter().flat_map(|approval| &approval.reviewers);
    let mut reviewers: Vec<_> = reviewers.map(String::as_str).collect();
    reviewers.sort_unstable();
    reviewers.dedup();
    let approvals: Vec<_> = record.approvals.iter().map(|approval| approval.id.as_str()).collect();
    AuditAnnotations {
        decision: record.decision.as_str(),
        decision_id: record.id.to_string(),
        dry_run: if record.dry_run { "true" } else { "false" },
        action: record.action.map(Action::as_str).unwrap_or_default(),
        reasons: bound_list(record.reasons.join(",")),
        environment: bound(record.environment.as_deref().unwrap_or_default()),
        project: bound(record.project.as_deref().unwrap_or_default()),
        approvals: bound_list(approvals.join(",")),
        reviewers: bound_list(reviewers.join(",")),
        required_capabilities: bound_list(record.required_capabilities.join(",")),
        approval_required: record.approval_required.map_or("", |required| if required { "true" } else { "false" }),
        requested_by: bound(record.requested_by.as_deref().unwrap_or_default()),
        initiated_by: bound_list(record.claimed_initiators()),
        basis: record.basis.map(Basis::as_str).unwrap_or_default(),
        spec_hash: record.spec_hash.map(|hash| hash.to_string()).unwrap_or_default(),
        posture_version: record.posture_version.as_deref().unwrap_or_default(),
    }
}
