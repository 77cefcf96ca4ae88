//! `audit: {durability: required}`: no record, no admission.

use serde_json::json;
use uuid::Uuid;
use writgate_core::record::{Decision, Outcome};

use crate::case::Case;

/// An approved deploy under a posture that asks for its record first.
fn durable() -> Case {
    Case::deployment().with(|c| c.posture["audit"] = json!({"durability": "required"}))
}

fn not_recorded(decision: Decision) -> Decision {
    let time = decision.record.time;
    decision.not_recorded(Uuid::max(), time, "the ledger\nis full")
}

#[test]
fn what_is_admitted_must_be_kept_and_nothing_else() {
    assert!(durable().decide().must_be_kept());
    assert!(!Case::deployment().decide().must_be_kept(), "best effort");
    assert!(!durable().with(|c| c.request["dryRun"] = true.into()).decide().must_be_kept(), "a dry run");
    assert!(!durable().with(|c| c.signers.clear()).decide().must_be_kept(), "a denial");
    let delete = durable().with(|c| c.request["operation"] = "DELETE".into());
    assert!(!delete.decide().must_be_kept(), "no action");
}

#[test]
fn what_was_not_kept_is_denied_by_a_decision_of_its_own() {
    let first = durable().decide();
    let second = not_recorded(first.clone());
    assert_eq!(second.record.decision, Outcome::Denied);
    assert_eq!(second.record.reasons, ["NotRecorded"]);
    assert_eq!((second.record.basis, &second.note), (None, &None), "nothing to roll back to");
    assert_ne!(second.record.id, first.record.id);
    assert_eq!(second.record.request_uid, first.record.request_uid);
    assert_eq!(second.record.approvals, first.record.approvals);
    assert!(!second.must_be_kept());
    let message = second.message();
    assert!(
        message.contains("NotRecorded: the posture admits nothing before") && message.contains("ledger\\nis full"),
        "{message}"
    );
}

#[test]
fn what_is_not_enforced_is_admitted_without_its_record_and_says_so() {
    let decision = not_recorded(durable().with(|c| c.posture["enforcement"] = "warn".into()).decide());
    assert_eq!(decision.record.decision, Outcome::Admitted);
    assert_eq!(decision.record.reasons, ["NotRecorded"]);
    assert!(decision.warning().expect("a warning").contains("NotRecorded"));
}
