//! `audit: {durability: required}`: an admission requires a stored record.

use serde_json::json;
use uuid::Uuid;
use writgate_core::record::{Decision, Link, Outcome, RecordSignature};

use crate::decision::case::Case;

/// An approved deploy under a posture that requires a stored record.
fn durable() -> Case {
    Case::deployment().with(|c| c.posture["audit"] = json!({"durability": "required"}))
}

fn not_recorded(decision: Decision) -> Decision {
    let time = decision.record.time;
    decision.not_recorded(Uuid::max(), time, "the ledger\nis full")
}

#[test]
fn only_the_record_of_an_admission_must_be_stored() {
    assert!(durable().decide().must_be_kept());
    assert!(!Case::deployment().decide().must_be_kept(), "best effort");
    assert!(!durable().with(|c| c.request["dryRun"] = true.into()).decide().must_be_kept(), "a dry run");
    assert!(!durable().with(|c| c.signers.clear()).decide().must_be_kept(), "a denial");
    let delete = durable().with(|c| c.request["operation"] = "DELETE".into());
    assert!(!delete.decide().must_be_kept(), "not an action");
}

#[test]
fn an_admission_without_a_stored_record_is_denied_by_a_second_decision() {
    let first = durable().decide();
    let second = not_recorded(first.clone());
    assert_eq!(second.record.decision, Outcome::Denied);
    assert_eq!(second.record.reasons, ["NotRecorded"]);
    assert_eq!((second.record.basis, &second.note), (None, &None), "the denial leaves no history");
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
fn the_second_decision_keeps_the_remarks_of_the_first() {
    let mut first = durable().decide();
    first.remarks = vec!["key k1 stays revoked".to_owned()];
    assert_eq!(not_recorded(first.clone()).remarks, first.remarks);
}

/// The record of the first decision is already in the chain, so the second one is another line.
#[test]
fn the_second_decision_has_a_time_of_its_own_and_no_place_in_the_chain_yet() {
    let mut first = durable().decide();
    first.record.chain = Some(Link { writer: Uuid::nil(), sequence: 1, previous: None });
    first.record.signature = Some(RecordSignature { keyid: "key".into(), sig: "signature".into() });
    let time = "2026-11-22T11:00:05Z".parse().expect("a time");
    let second = first.not_recorded(Uuid::max(), time, "the ledger is full").record;
    assert_eq!((second.time, second.chain, second.signature), (time, None, None));
    assert_eq!(second.reasons, ["NotRecorded"]);
}

#[test]
fn without_enforcement_an_admission_without_a_stored_record_warns() {
    let decision = not_recorded(durable().with(|c| c.posture["enforcement"] = "warn".into()).decide());
    assert_eq!(decision.record.decision, Outcome::Admitted);
    assert_eq!(decision.record.reasons, ["NotRecorded"]);
    assert!(decision.warning().expect("a warning").contains("NotRecorded"));
}
