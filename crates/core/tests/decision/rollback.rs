//! Rollback: an admitted spec is admitted again after its approval expired.

use serde_json::json;
use writgate_core::record::{Basis, Decision};

use crate::case::{Case, Ledger};

/// Sets a time after the approval expired and long before the window ends.
const LATER: &str = "2026-11-23T11:00:00Z";

fn governed() -> Case {
    Case::deployment().with(|c| c.posture["rollback"] = json!({"within": "720h", "revisions": 2}))
}

fn later(c: &mut Case) {
    c.now = LATER.into();
}

fn decide(case: &Case, ledger: &Ledger) -> Decision {
    let decision = case.decide_knowing(&case.body(), ledger);
    if let Some(note) = &decision.note {
        ledger.history.borrow_mut().note(note.admission.clone());
    }
    decision
}

fn codes(case: &Case, ledger: &Ledger) -> Vec<String> {
    decide(case, ledger).record.reasons
}

/// A ledger that saw `case` admitted.
fn after(case: &Case) -> Ledger {
    let ledger = Ledger::default();
    let decision = decide(case, &ledger);
    assert!(decision.allowed(), "{}", decision.message());
    assert!(decision.note.is_some());
    ledger
}

/// Another spec of the same object, with an approval of its own.
fn revision(case: Case, image: &str, now: &str) -> Case {
    let case = case.with(|c| c.spec()["template"]["spec"]["containers"][0]["image"] = image.into());
    case.with(|c| c.now = now.into()).reapproved()
}

#[test]
fn an_admitted_spec_is_admitted_again() {
    let ledger = after(&governed());
    let decision = decide(&governed().with(later), &ledger);
    assert!(decision.allowed(), "{}", decision.message());
    assert_eq!(decision.record.basis, Some(Basis::Rollback));
    assert_eq!(decision.record.approvals[0].reviewers, ["bob@acme.example"]);
    assert_eq!(decision.record.requested_by.as_deref(), Some("alice@acme.example"));
    assert_eq!(decision.note, None, "a rollback does not prolong its own window");
}

#[test]
fn a_rollback_requires_no_attached_approval() {
    let ledger = after(&governed());
    assert!(codes(&governed().with(later).with(|c| c.signers.clear()), &ledger).is_empty());
}

#[test]
fn denies_a_rollback_without_a_rollback_rule() {
    let ledger = after(&governed());
    assert_eq!(codes(&Case::deployment().with(later), &ledger), ["Expired"]);
}

#[test]
fn denies_a_rollback_to_a_spec_that_was_never_admitted() {
    assert_eq!(codes(&governed().with(later), &Ledger::default()), ["Expired"]);
    let ledger = after(&governed());
    let other = revision(governed(), "ghcr.io/acme/orders:2", LATER);
    assert_eq!(codes(&other, &ledger), ["Expired"]);
}

#[test]
fn the_window_is_half_open() {
    let ledger = after(&governed());
    let at = |now: &str| governed().with(|c| c.now = now.into());
    assert!(codes(&at("2026-12-22T10:59:59Z"), &ledger).is_empty());
    assert_eq!(codes(&at("2026-12-22T11:00:00Z"), &ledger), ["Expired"]);
}

#[test]
fn only_the_latest_revisions_count() {
    let ledger = after(&governed());
    for (image, now) in
        [("ghcr.io/acme/orders:2", "2026-11-22T11:10:00Z"), ("ghcr.io/acme/orders:3", "2026-11-22T11:20:00Z")]
    {
        assert!(codes(&revision(governed(), image, now), &ledger).is_empty());
    }
    let old = |image| revision(governed(), image, LATER);
    assert!(codes(&old("ghcr.io/acme/orders:3"), &ledger).is_empty());
    assert!(codes(&old("ghcr.io/acme/orders:2"), &ledger).is_empty());
    assert_eq!(codes(&governed().with(later), &ledger), ["Expired"]);
}

#[test]
fn denies_a_rollback_after_a_revocation() {
    let ledger = after(&governed());
    let key = governed().envelope().keyids().next().expect("signed").to_owned();
    let hash = governed().approval.subjects[0].hash.to_string();
    for list in [
        json!({"approvals": [{"id": "01935a00-0000-7000-8000-000000000001"}]}),
        json!({"keys": [{"id": key}]}),
        json!({"specs": [{"hash": hash}]}),
    ] {
        let mut revoked = governed().with(later);
        for (name, entries) in list.as_object().expect("an object") {
            revoked.revocations[name] = entries.clone();
        }
        assert!(codes(&revoked, &ledger).contains(&"Revoked".to_owned()), "{list}");
        // The revocation also holds if another approval, or none, is attached.
        let reasons = codes(&revoked.with(|c| c.signers.clear()), &ledger);
        assert!(!reasons.is_empty(), "{list}");
    }
}

#[test]
fn denies_a_rollback_with_another_project_cluster_or_claim() {
    let ledger = after(&governed());
    let changes: [fn(&mut Case); 3] = [
        |c| c.project = Some("ledger"),
        |c| c.posture["cluster"] = "prod-us-1".into(),
        |c| c.annotate("writgate.dev/pipeline-version", "orders@1"),
    ];
    for change in changes {
        assert!(!codes(&governed().with(later).with(change), &ledger).is_empty());
    }
}

#[test]
fn an_admission_without_enforcement_or_approval_leaves_no_history() {
    for posture in [
        json!({"enforcement": "warn"}),
        json!({"enforcement": "audit"}),
        json!({"actions": {"deploy": {"approval": "none"}}}),
    ] {
        let mut case = governed();
        for (name, value) in posture.as_object().expect("an object") {
            case.posture[name] = value.clone();
        }
        assert_eq!(decide(&case, &Ledger::default()).note, None, "{posture}");
    }
}

#[test]
fn a_dry_run_leaves_no_history() {
    let asked = governed().with(|c| c.request["dryRun"] = true.into());
    assert_eq!(decide(&asked, &Ledger::default()).note, None);
}

#[test]
fn denies_a_rollback_to_a_replay() {
    let rollback = |c: &mut Case| c.posture["rollback"] = json!({"within": "720h", "revisions": 2});
    let ledger = Ledger::default();
    let decision = decide(&Case::replay().with(rollback), &ledger);
    assert!(decision.allowed());
    assert_eq!(decision.note, None);
    assert_eq!(codes(&Case::replay().with(rollback).with(later), &ledger), ["Expired"]);
}

#[test]
fn denies_if_the_ledger_cannot_be_reached() {
    let ledger = Ledger { fault: Some("no route to host".to_owned()), ..Ledger::default() };
    assert_eq!(codes(&governed().with(later), &ledger), ["Expired", "LookupFailed"]);
}

#[test]
fn an_approved_admission_looks_up_no_history() {
    let ledger = Ledger { fault: Some("not to be asked".to_owned()), ..Ledger::default() };
    assert!(codes(&governed(), &ledger).is_empty());
}
