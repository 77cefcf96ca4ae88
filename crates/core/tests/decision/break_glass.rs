//! Break-glass approvals: they have terms of their own, and every other check is the same.

use serde_json::json;
use writgate_core::record::{Basis, Outcome};

use crate::decision::case::{Case, Person};

/// A deploy that only a break-glass approval by carol admits.
pub(super) fn break_glass() -> Case {
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
    let decision = break_glass().decide();
    assert_eq!(decision.record.decision, Outcome::Admitted, "{}", decision.message());
    assert_eq!(decision.record.basis, Some(Basis::BreakGlass));
    assert_eq!(decision.record.required_capabilities, ["break-glass"]);
    assert!(decision.warning().is_some_and(|warning| warning.contains("break-glass")));
}

#[test]
fn break_glass_changes_no_other_check() {
    break_glass().with(|c| c.posture["breakGlass"] = serde_json::Value::Null).expect("PostureInvalid");
    break_glass()
        .with(|c| drop(c.posture.as_object_mut().expect("an object").remove("breakGlass")))
        .expect("WrongAction InsufficientCapabilities");
    break_glass().with(|c| c.approval.break_glass = false).expect("InsufficientCapabilities");
    break_glass()
        .with(|c| c.approval.expires_at = "2026-11-22T11:30:01Z".parse().expect("a time"))
        .expect("LifetimeTooLong");
    break_glass().with(|c| c.approval.capabilities = vec!["deploy.careful".into()]).expect("InsufficientCapabilities");
    break_glass()
        .with(|c| c.reviewers["reviewers"][1]["capabilities"] = json!(["deploy.*"]))
        .expect("InsufficientCapabilities");
    break_glass().with(|c| c.posture["breakGlass"]["quorum"] = json!([{"count": 2}])).expect("QuorumNotMet");
    break_glass().with(|c| c.request["userInfo"]["username"] = "carol".into()).expect("SelfApproval");
    break_glass().with(|c| c.spec()["template"]["spec"]["nodeName"] = "n1".into()).expect("SpecHashMismatch");
    break_glass().with(|c| c.approval.environment = "staging".into()).expect("WrongEnvironment");
    break_glass()
        .with(|c| c.approval.subjects[0].name = "apps/v1/Deployment/payments/x".into())
        .expect("WrongResource");
    break_glass().with(|c| c.now = "2026-11-22T11:30:00Z".into()).expect("Expired");
    break_glass()
        .with(|c| c.revocations["approvals"] = json!([{"id": "01935a00-0000-7000-8000-000000000001"}]))
        .expect("Revoked");
}

#[test]
fn break_glass_and_ordinary_approvals_form_no_quorum() {
    let case = break_glass().with(|c| c.posture["breakGlass"]["quorum"] = json!([{"count": 2}]));
    let ordinary = case.clone().with(|c| {
        c.signers = vec![Person::Bob];
        c.approval.break_glass = false;
    });
    case.with(|c| c.attach(".bob", &ordinary.envelope().to_json())).expect("QuorumNotMet");
}

#[test]
fn a_break_glass_admission_leaves_no_history() {
    let case = break_glass().with(|c| c.posture["rollback"] = json!({"within": "720h", "revisions": 2}));
    let decision = case.decide();
    assert!(decision.allowed());
    assert_eq!(decision.note, None);
}
