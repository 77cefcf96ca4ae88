//! Which denials, requests and reports are one entry.

use super::*;

const HASH: &str = "sha256:4f0c1a3e9d8b7a6c5e4d3c2b1a0f9e8d7c6b5a4f3e2d1c0b9a8f7e6d5c4b3a2f";

/// An Event `minute` minutes after eleven.
fn event(minute: i8, decision: &str, reasons: &[&str]) -> ReportedEvent {
    let time = format!("2026-11-22T11:{minute:02}:00Z");
    let record = json!({
        "version": "writgate.dev/decision/v1", "id": uuid::Uuid::nil(), "time": time, "dryRun": false,
        "environment": "production", "project": "payments", "action": "deploy", "specHash": HASH,
        "initiator": {"username": if minute == 0 { "alice" } else { "system:serviceaccount:gitops:applier" },
                      "uid": "", "groups": []},
        "object": {"apiVersion": "apps/v1", "kind": "Deployment", "namespace": "payments", "name": "orders"},
        "requiredCapabilities": ["deploy"], "approvals": [], "decision": decision, "reasons": reasons
    });
    ReportedEvent {
        name: "Event".into(),
        record: Ok(serde_json::from_value(record).unwrap()),
        json: String::new(),
        not_persisted: false,
        times: 2,
        last: time.parse().unwrap(),
    }
}

#[test]
fn denials_of_one_spec_are_one_entry() {
    let events = vec![event(0, "denied", &["ApprovalRequired"]), event(5, "denied", &["Expired", "QuorumNotMet"])];
    let wanted = pending_of(events);
    assert_eq!(wanted.len(), 1);
    assert_eq!((wanted[0].times, wanted[0].by.len()), (4, 2));
    assert_eq!(wanted[0].reasons, ["Expired", "QuorumNotMet"], "what it lacks now");
    assert_eq!(wanted[0].since.to_string(), "2026-11-22T11:00:00Z");
    assert!(text(&wanted[0]).contains("service account gitops/applier"));
}

#[test]
fn a_spec_that_was_admitted_since_is_not_pending() {
    let denied = || event(0, "denied", &["ApprovalRequired"]);
    assert_eq!(pending_of(vec![denied(), event(5, "admitted", &[])]).len(), 0);
    assert_eq!(pending_of(vec![event(5, "denied", &["Expired"]), event(3, "admitted", &[])]).len(), 1);
    let unseen = ReportedEvent { not_persisted: true, ..event(5, "admitted", &[]) };
    assert_eq!(pending_of(vec![denied(), unseen]).len(), 1, "admitted, and then stopped by something else");
}

#[test]
fn a_denial_that_no_approval_cures_is_not_pending() {
    assert_eq!(pending_of(vec![event(0, "denied", &["PostureInvalid"])]).len(), 0);
    assert_eq!(pending_of(vec![event(0, "denied", &["ImageNotPinned"])]).len(), 0);
    assert_eq!(pending_of(vec![event(0, "denied", &["ApprovalRequired", "ImageNotPinned"])]).len(), 1);
}

#[test]
fn a_report_of_a_known_denial_adds_only_its_source() {
    let report = |hash: &str| ReportedDenial {
        kind: "Deployment".into(),
        namespace: "payments".into(),
        name: "orders".into(),
        spec_hash: hash.parse().unwrap(),
        action: None,
        environment: None,
        report: DenialReport {
            kind: "Application",
            namespace: "argocd".into(),
            name: "orders".into(),
            since: Timestamp::UNIX_EPOCH,
            reasons: vec!["Revoked".into()],
        },
    };
    let denied = pending_of(vec![event(0, "denied", &["Expired"])]);
    let mut wanted = denied.clone();
    add_reported(&mut wanted, vec![report(HASH)], &input::WorkloadKindFlags::default());
    assert_eq!(reported_by(&wanted[0]), "Application argocd/orders since 1970-01-01T00:00:00Z: Revoked");
    wanted[0].reported_by.clear();
    assert_eq!(wanted, denied);
    add_reported(&mut wanted, vec![report(&HASH.replace('4', "5"))], &input::WorkloadKindFlags::default());
    assert_eq!(wanted.len(), 2, "another spec");
}
