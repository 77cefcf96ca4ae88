//! What was admitted before, and may run again though its approval has expired.

use serde_json::json;
use writgate_core::record::{Basis, Decision};

use crate::case::{Case, Ledger};

/// After the approval expired, and long before the window closes.
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
fn what_was_admitted_before_may_run_again() {
    let ledger = after(&governed());
    let decision = decide(&governed().with(later), &ledger);
    assert!(decision.allowed(), "{}", decision.message());
    assert_eq!(decision.record.basis, Some(Basis::Rollback));
    assert_eq!(decision.record.approvals[0].reviewers, ["bob@acme.example"]);
    assert_eq!(decision.record.requested_by.as_deref(), Some("alice@acme.example"));
    assert_eq!(decision.note, None, "a rollback does not prolong its own window");
}

#[test]
fn no_approval_needs_to_be_attached_for_it() {
    let ledger = after(&governed());
    assert!(codes(&governed().with(later).with(|c| c.signers.clear()), &ledger).is_empty());
}

#[test]
fn a_posture_without_a_window_has_none() {
    let ledger = after(&governed());
    assert_eq!(codes(&Case::deployment().with(later), &ledger), ["Expired"]);
}

#[test]
fn a_spec_that_was_never_admitted_is_not_rolled_back_to() {
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
fn only_the_last_revisions_count() {
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
fn what_was_revoked_is_not_rolled_back_to() {
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
        // Nor where another, or no, approval is attached.
        let reasons = codes(&revoked.with(|c| c.signers.clear()), &ledger);
        assert!(!reasons.is_empty(), "{list}");
    }
}

#[test]
fn another_place_or_another_claim_is_another_admission() {
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
fn what_was_admitted_under_warn_or_without_an_approval_is_no_evidence() {
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
fn a_dry_run_is_no_evidence() {
    let asked = governed().with(|c| c.request["dryRun"] = true.into());
    assert_eq!(decide(&asked, &Ledger::default()).note, None);
}

#[test]
fn a_replay_is_never_rolled_back_to() {
    let rollback = |c: &mut Case| c.posture["rollback"] = json!({"within": "720h", "revisions": 2});
    let ledger = Ledger::default();
    let decision = decide(&Case::replay().with(rollback), &ledger);
    assert!(decision.allowed());
    assert_eq!(decision.note, None);
    assert_eq!(codes(&Case::replay().with(rollback).with(later), &ledger), ["Expired"]);
}

#[test]
fn a_ledger_that_cannot_be_reached_denies() {
    let ledger = Ledger { fault: Some("no route to host".to_owned()), ..Ledger::default() };
    assert_eq!(codes(&governed().with(later), &ledger), ["Expired", "LookupFailed"]);
}

#[test]
fn an_ordinary_admission_asks_for_no_history() {
    let ledger = Ledger { fault: Some("not to be asked".to_owned()), ..Ledger::default() };
    assert!(codes(&governed(), &ledger).is_empty());
}
