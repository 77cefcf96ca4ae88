//! Single-use approvals, and which requests are the same use.

use serde_json::json;

use crate::decision::case::{Case, Ledger};

fn codes(case: &Case, ledger: &Ledger) -> Vec<String> {
    case.decide_knowing(&case.body(), ledger).record.reasons
}

/// Makes the Job another one with the same prefix.
fn another(c: &mut Case) {
    c.request["name"] = "replay-orders-zzzzz".into();
    c.object()["metadata"]["name"] = "replay-orders-zzzzz".into();
    c.object()["metadata"]["uid"] = "another".into();
}

#[test]
fn a_replay_approval_is_single_use_by_default() {
    let ledger = Ledger::default();
    assert!(codes(&Case::replay(), &ledger).is_empty());
    assert_eq!(codes(&Case::replay().with(another), &ledger), ["AlreadyUsed"]);
}

#[test]
fn a_posture_may_permit_further_uses() {
    let ledger = Ledger::default();
    let lenient = Case::replay().with(|c| c.posture["actions"]["replay-execute"]["singleUse"] = false.into());
    assert!(codes(&lenient, &ledger).is_empty());
    assert!(codes(&lenient.with(another), &ledger).is_empty());
    assert!(ledger.uses.borrow().is_empty(), "an approval that is not single-use has no use");
}

#[test]
fn a_deploy_approval_is_single_use_only_if_the_posture_says_so() {
    let ledger = Ledger::default();
    assert!(codes(&Case::deployment(), &ledger).is_empty());
    assert!(ledger.uses.borrow().is_empty());
    let once = Case::deployment().with(|c| c.posture["actions"]["deploy"] = json!({"singleUse": true}));
    assert!(codes(&once, &ledger).is_empty());
    assert_eq!(codes(&once.with(|c| c.object()["metadata"]["uid"] = "recreated".into()), &ledger), ["AlreadyUsed"]);
}

#[test]
fn the_same_object_may_use_its_approval_again() {
    let ledger = Ledger::default();
    assert!(codes(&Case::replay(), &ledger).is_empty());
    assert!(codes(&Case::replay().with(|c| c.request["uid"] = "another review".into()), &ledger).is_empty());
}

#[test]
fn the_same_name_with_another_uid_is_another_object() {
    let ledger = Ledger::default();
    assert!(codes(&Case::replay(), &ledger).is_empty());
    let recreated = Case::replay().with(|c| c.object()["metadata"]["uid"] = "recreated".into());
    assert_eq!(codes(&recreated, &ledger), ["AlreadyUsed"]);
}

#[test]
fn a_dry_run_gets_the_real_decision_and_uses_no_approval() {
    let ledger = Ledger::default();
    let asking = |c: &mut Case| c.request["dryRun"] = true.into();
    assert!(codes(&Case::replay().with(asking), &ledger).is_empty());
    assert!(ledger.uses.borrow().is_empty());
    assert!(codes(&Case::replay(), &ledger).is_empty());
    assert_eq!(codes(&Case::replay().with(another).with(asking), &ledger), ["AlreadyUsed"]);
}

#[test]
fn a_denied_request_uses_no_approval() {
    let ledger = Ledger::default();
    let expired = Case::replay().with(|c| c.now = "2026-11-22T12:00:00Z".into());
    assert_eq!(codes(&expired, &ledger), ["Expired"]);
    assert!(ledger.uses.borrow().is_empty());
}

#[test]
fn denies_if_the_ledger_cannot_be_reached() {
    let ledger = Ledger { fault: Some("no route to host".to_owned()), ..Ledger::default() };
    assert_eq!(codes(&Case::replay(), &ledger), ["LookupFailed"]);
}

#[test]
fn several_approvals_are_used_together() {
    let ledger = Ledger::default();
    let two = || {
        let case = Case::replay();
        let bobs = case.clone().with(|c| c.signers = vec![crate::decision::case::Person::Bob]);
        let carols = case.with(|c| {
            c.signers = vec![crate::decision::case::Person::Carol];
            c.approval.id = "01935a00-0000-7000-8000-000000000002".to_owned();
        });
        bobs.with(|c| c.attach(".carol", &carols.envelope().to_json()))
    };
    assert!(codes(&two(), &ledger).is_empty());
    assert_eq!(ledger.uses.borrow().len(), 2);
    assert_eq!(codes(&two().with(another), &ledger), ["AlreadyUsed"]);
}

fn suspended(c: &mut Case) {
    c.spec()["suspend"] = true.into();
}

/// The release of a suspended Job; `generation` is the object's after the change.
fn released(generation: i64) -> Case {
    let mut case = Case::replay().with(suspended).updated();
    case.spec()["suspend"] = false.into();
    case.approval.subjects[0].name = "batch/v1/Job/payments/replay-orders-ml45t".into();
    case.object()["metadata"]["generation"] = generation.into();
    case
}

fn created_suspended() -> Case {
    let mut case = Case::replay().with(suspended);
    case.approval.subjects[0].name = "batch/v1/Job/payments/replay-orders-ml45t".into();
    case
}

#[test]
fn a_suspended_job_is_released_once() {
    let ledger = Ledger::default();
    assert!(codes(&created_suspended(), &ledger).is_empty());
    assert!(codes(&released(2), &ledger).is_empty());
    assert!(codes(&released(2), &ledger).is_empty(), "one request may come as two reviews");
    assert_eq!(codes(&released(4), &ledger), ["AlreadyUsed"]);
}

#[test]
fn denies_releasing_a_job_that_has_run() {
    let ledger = Ledger::default();
    let mut running = created_suspended();
    running.spec()["suspend"] = false.into();
    assert!(codes(&running, &ledger).is_empty());
    assert_eq!(codes(&released(3), &ledger), ["AlreadyUsed"]);
}

#[test]
fn a_dry_run_of_a_release_uses_no_approval() {
    let ledger = Ledger::default();
    assert!(codes(&created_suspended(), &ledger).is_empty());
    assert!(codes(&released(2).with(|c| c.request["dryRun"] = true.into()), &ledger).is_empty());
    assert!(codes(&released(4), &ledger).is_empty());
}
