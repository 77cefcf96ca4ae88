//! An approval for an emergency: terms of its own, everything else as ever.

use serde_json::json;
use writgate_core::record::{Basis, Outcome};

use crate::case::{Case, Person};

/// Admitted in an emergency, by carol alone, who may not approve a deploy of this kind.
fn emergency() -> Case {
    Case::deployment().with(|c| {
        c.posture["actions"]["deploy"] = json!({"capabilities": ["deploy.careful"], "quorum": [{"count": 2}]});
        c.posture["breakGlass"] = json!({"maxLifetime": "1h"});
        c.reviewers["reviewers"][1]["capabilities"] = json!(["break-glass"]);
        c.approval.break_glass = true;
        c.approval.capabilities = vec!["break-glass".to_owned()];
        c.approval.not_before = "2026-11-22T10:30:00Z".parse().expect("a time");
        c.approval.expires_at = "2026-11-22T11:30:00Z".parse().expect("a time");
        c.signers = vec![Person::Carol];
    })
}

#[test]
fn break_glass_has_its_own_terms_and_warns() {
    let decision = emergency().decide();
    assert_eq!(decision.record.decision, Outcome::Admitted, "{}", decision.message());
    assert_eq!(decision.record.basis, Some(Basis::BreakGlass));
    assert_eq!(decision.record.required_capabilities, ["break-glass"]);
    assert!(decision.warning().is_some_and(|warning| warning.contains("break-glass")));
}

#[test]
fn everything_else_stays() {
    emergency().with(|c| c.posture["breakGlass"] = serde_json::Value::Null).expect("PostureInvalid");
    emergency()
        .with(|c| drop(c.posture.as_object_mut().expect("an object").remove("breakGlass")))
        .expect("WrongAction InsufficientCapabilities");
    emergency().with(|c| c.approval.break_glass = false).expect("InsufficientCapabilities");
    emergency()
        .with(|c| c.approval.expires_at = "2026-11-22T11:30:01Z".parse().expect("a time"))
        .expect("LifetimeTooLong");
    emergency().with(|c| c.approval.capabilities = vec!["deploy.careful".into()]).expect("InsufficientCapabilities");
    emergency()
        .with(|c| c.reviewers["reviewers"][1]["capabilities"] = json!(["deploy.*"]))
        .expect("InsufficientCapabilities");
    emergency().with(|c| c.posture["breakGlass"]["quorum"] = json!([{"count": 2}])).expect("QuorumNotMet");
    emergency().with(|c| c.request["userInfo"]["username"] = "carol".into()).expect("SelfApproval");
    emergency().with(|c| c.spec()["template"]["spec"]["nodeName"] = "n1".into()).expect("SpecHashMismatch");
    emergency().with(|c| c.approval.environment = "staging".into()).expect("WrongEnvironment");
    emergency().with(|c| c.approval.subjects[0].name = "apps/v1/Deployment/payments/x".into()).expect("WrongResource");
    emergency().with(|c| c.now = "2026-11-22T11:30:00Z".into()).expect("Expired");
    emergency()
        .with(|c| c.revocations["approvals"] = json!([{"id": "01935a00-0000-7000-8000-000000000001"}]))
        .expect("Revoked");
}

#[test]
fn an_emergency_and_an_ordinary_approval_do_not_add_up() {
    let case = emergency().with(|c| c.posture["breakGlass"]["quorum"] = json!([{"count": 2}]));
    let ordinary = case.clone().with(|c| {
        c.signers = vec![Person::Bob];
        c.approval.break_glass = false;
    });
    case.with(|c| c.attach(".bob", &ordinary.envelope().to_json())).expect("QuorumNotMet");
}

#[test]
fn an_emergency_is_not_rolled_back_to() {
    let case = emergency().with(|c| c.posture["rollback"] = json!({"within": "720h", "revisions": 2}));
    let decision = case.decide();
    assert!(decision.allowed());
    assert_eq!(decision.note, None);
}
