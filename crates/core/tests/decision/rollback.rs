//! Rollback: an admitted spec is admitted again after its approval expired.

use serde_json::{Value, json};
use writgate_core::record::{Basis, Decision};

use crate::decision::case::{Case, Ledger, Person};

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
fn what_was_revoked_stays_revoked_though_another_approval_of_the_spec_was_not() {
    let ledger = after(&governed().with(|c| c.approval.id = "01935a00-0000-7000-8000-000000000002".into()));
    let mut rollback = governed().with(later);
    assert!(codes(&rollback, &ledger).is_empty(), "the earlier approval permits it");
    rollback.revocations["approvals"] = json!([{"id": "01935a00-0000-7000-8000-000000000001"}]);
    assert_eq!(codes(&rollback, &ledger), ["Expired", "Revoked"]);
}

/// A later rollback, of which one thing is different.
fn rolled_back(change: impl FnOnce(&mut Case)) -> Vec<String> {
    codes(&governed().with(later).with(change), &after(&governed()))
}

fn rule(c: &mut Case, when: &str) {
    c.posture["capabilityRules"] = json!([{"name": "privileged", "when": when, "require": ["deploy.privileged"]}]);
}

#[test]
fn a_capability_rule_that_was_added_since_applies() {
    assert_eq!(rolled_back(|c| rule(c, "true")), ["Expired", "InsufficientCapabilities"]);
    assert!(rolled_back(|c| rule(c, "false")).is_empty());
    // An approval that names the capability, by a reviewer who may grant it, meets the rule.
    let named = || governed().with(|c| c.approval.capabilities.push("deploy.privileged".to_owned()));
    let ledger = after(&named());
    let decision = decide(&named().with(later).with(|c| rule(c, "true")), &ledger);
    assert_eq!(decision.record.basis, Some(Basis::Rollback), "{}", decision.message());
    assert_eq!(decision.record.required_capabilities, ["deploy", "deploy.privileged"]);
    assert_eq!(decision.record.approvals[0].capabilities, ["deploy", "deploy.privileged"]);
    let ungranted = |c: &mut Case| {
        rule(c, "true");
        c.reviewers["reviewers"][0]["capabilities"] = json!(["deploy"]);
    };
    assert_eq!(codes(&named().with(later).with(ungranted), &ledger), ["Expired", "InsufficientCapabilities"]);
}

#[test]
fn a_denied_rollback_says_why_the_earlier_approval_is_not_enough() {
    let case = governed().with(later).with(|c| rule(c, "true")).with(|c| c.signers.clear());
    let message = decide(&case, &after(&governed())).message();
    assert!(
        message.contains(
            "this spec was admitted at 2026-11-22T11:00:00Z, but the approvals of then permit no rollback today: the \
             approval does not name deploy.privileged"
        ),
        "{message}"
    );
}

#[test]
fn a_quorum_that_was_added_since_applies() {
    let two = |c: &mut Case| c.posture["actions"]["deploy"] = json!({"quorum": [{"count": 2}]});
    assert_eq!(rolled_back(two), ["Expired", "QuorumNotMet"]);
    assert_eq!(
        rolled_back(|c| c.posture["actions"]["deploy"] = json!({"quorum": [{"group": "security", "count": 1}]})),
        ["Expired", "QuorumNotMet"]
    );
    assert!(
        rolled_back(|c| c.posture["actions"]["deploy"] = json!({"quorum": [{"group": "sre", "count": 1}]})).is_empty()
    );
    let both = || governed().with(|c| c.signers = vec![Person::Bob, Person::Carol]);
    assert!(codes(&both().with(later).with(two), &after(&both())).is_empty());
    // Dave may not approve in this project, so his signature did not count then.
    let dave = || governed().with(|c| c.signers = vec![Person::Bob, Person::Dave]);
    let welcome = |c: &mut Case| {
        two(c);
        c.reviewers["reviewers"][2].as_object_mut().expect("a map").remove("projects");
    };
    assert_eq!(codes(&dave().with(later).with(welcome), &after(&dave())), ["Expired", "QuorumNotMet"]);
}

#[test]
fn a_reviewer_who_may_no_longer_approve_does_not_count() {
    let bob = |change: fn(&mut Value)| move |c: &mut Case| change(&mut c.reviewers["reviewers"][0]);
    assert_eq!(rolled_back(bob(|bob| bob["projects"] = json!(["ledger"]))), ["Expired", "InsufficientCapabilities"]);
    assert_eq!(rolled_back(bob(|bob| bob["identities"] = json!(["alice@acme.example"]))), ["Expired", "SelfApproval"]);
    let gone = |c: &mut Case| drop(c.reviewers["reviewers"].as_array_mut().expect("a list").remove(0));
    assert_eq!(rolled_back(gone), ["UnknownKey", "QuorumNotMet"]);
    // Time is forgiven, and so is a key that was replaced.
    assert!(rolled_back(bob(|bob| bob["keys"][0]["notAfter"] = "2026-11-22T12:00:00Z".into())).is_empty());
    let replaced =
        |c: &mut Case| c.reviewers["reviewers"][0]["keys"][0]["publicKey"] = Person::Mallory.public_pem().into();
    assert!(rolled_back(replaced).is_empty());
    assert!(rolled_back(|c| c.posture["actions"]["deploy"] = json!({"maxLifetime": "1h"})).is_empty());
}

#[test]
fn a_requester_who_was_proven_then_is_proven_whoever_rolls_back() {
    let proven = |c: &mut Case| c.posture["separationOfDuties"] = "proven".into();
    let by_alice = |c: &mut Case| c.request["userInfo"]["username"] = "alice@acme.example".into();
    let by_another = |c: &mut Case| c.request["userInfo"]["username"] = "erin".into();
    let shown = after(&governed().with(by_alice));
    let claimed = after(&governed().with(by_another));
    let rollback = || governed().with(later).with(proven);
    assert!(codes(&rollback().with(by_another), &shown).is_empty());
    assert!(codes(&rollback().with(by_alice), &claimed).is_empty());
    assert_eq!(codes(&rollback().with(by_another), &claimed), ["Expired", "QuorumNotMet"]);
    assert!(codes(&governed().with(later).with(by_another), &claimed).is_empty(), "only where it must be proven");
}

#[test]
fn the_user_who_rolls_back_may_be_the_reviewer() {
    let by_bob = |c: &mut Case| c.request["userInfo"]["username"] = "bob".into();
    assert!(rolled_back(by_bob).is_empty());
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
