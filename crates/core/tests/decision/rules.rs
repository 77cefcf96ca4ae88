//! Capability rules: what a matching rule requires, and where the rule is reported.

use serde_json::json;
use writgate_core::record::Outcome;

use crate::decision::case::{Case, Person};

/// A Deployment on the host's network, under a rule that requires `deploy.host` for that.
fn on_the_host() -> Case {
    Case::deployment()
        .with(|c| {
            c.posture["capabilityRules"] = json!([{"name": "host",
                "when": "has(object.spec.template.spec.hostNetwork) && object.spec.template.spec.hostNetwork",
                "require": ["deploy.host"], "message": "uses the node's network"}]);
            c.spec()["template"]["spec"]["hostNetwork"] = true.into();
            c.approval.capabilities = vec!["deploy".into(), "deploy.host".into()];
        })
        .reapproved()
}

#[test]
fn a_matching_rule_requires_its_capability_and_says_why() {
    let decision = on_the_host().decide();
    assert_eq!(decision.record.decision, Outcome::Admitted, "{}", decision.message());
    assert_eq!(decision.record.required_capabilities, ["deploy", "deploy.host"]);
    assert_eq!(decision.record.capability_rules[0].message.as_deref(), Some("uses the node's network"));

    let lacking = on_the_host().with(|c| c.approval.capabilities = vec!["deploy".into()]);
    lacking.expect("InsufficientCapabilities");
    let message = lacking.decide().message();
    assert!(message.contains("does not name deploy.host (required because: uses the node's network)"), "{message}");
    assert!(message.lines().count() <= 6, "{message}");
}

#[test]
fn denies_a_reviewer_who_may_not_grant_the_capability_of_a_rule() {
    on_the_host()
        .with(|c| c.reviewers["reviewers"][0]["capabilities"] = json!(["deploy"]))
        .expect("InsufficientCapabilities");
}

#[test]
fn a_denial_without_an_approval_names_the_rule() {
    let bare = on_the_host().with(|c| c.signers.clear());
    bare.expect("ApprovalRequired");
    assert!(bare.decide().message().contains("contains one for this spec (required because: uses the node's network)"));
}

#[test]
fn a_rule_that_does_not_match_requires_nothing() {
    let plain = on_the_host()
        .with(|c| drop(c.spec()["template"]["spec"].as_object_mut().expect("an object").remove("hostNetwork")));
    let decision = plain.reapproved().with(|c| c.approval.capabilities = vec!["deploy".into()]).decide();
    assert_eq!(decision.record.decision, Outcome::Admitted, "{}", decision.message());
    assert!(decision.record.capability_rules.is_empty());
}

#[test]
fn denies_when_a_rule_fails() {
    on_the_host()
        .with(|c| c.posture["capabilityRules"][0]["when"] = "object.spec.template.spec.hostPID".into())
        .expect("PostureInvalid");
}

#[test]
fn a_matching_rule_requires_an_approval_for_a_free_action() {
    let free = on_the_host().with(|c| c.posture["actions"]["deploy"] = json!({"approval": "none"}));
    free.expect("admitted");
    free.with(|c| c.signers.clear()).expect("ApprovalRequired");
}

#[test]
fn break_glass_requires_the_capability_of_a_rule() {
    let emergency = on_the_host().with(|c| {
        c.posture["breakGlass"] = json!({"maxLifetime": "2h", "capabilities": ["deploy.now"]});
        c.approval.break_glass = true;
        c.approval.capabilities = vec!["deploy.now".into(), "deploy.host".into()];
    });
    emergency.expect("admitted");
    emergency.with(|c| c.approval.capabilities = vec!["deploy.now".into()]).expect("InsufficientCapabilities");
}

#[test]
fn a_dry_run_that_matches_a_rule_is_an_execute_replay() {
    let rule = json!([{"name": "all", "when": "true", "require": ["replay.execute"]}]);
    let matching = Case::dry_run().with(|c| c.posture["capabilityRules"] = rule);
    assert_eq!(matching.decide().record.action.map(writgate_core::approval::Action::as_str), Some("replay-execute"));
    matching.expect("ApprovalRequired");
}

#[test]
fn denies_a_pod_that_matches_a_rule() {
    let pod = |when: &str| {
        let mut case = Case::deployment().with(|c| {
            c.posture["pods"] = "allow".into();
            c.posture["capabilityRules"] = json!([{"name": "p", "when": when, "require": ["deploy.pod"]}]);
            c.signers = vec![Person::Bob];
        });
        case.request["kind"] = json!({"group": "", "version": "v1", "kind": "Pod"});
        case.request["resource"] = json!({"group": "", "version": "v1", "resource": "pods"});
        case.request["object"]["apiVersion"] = "v1".into();
        case.request["object"]["kind"] = "Pod".into();
        case.request["object"]["spec"] = json!({"containers": [{"name": "c", "image": "i"}]});
        case
    };
    pod("false").expect("admitted");
    pod("true").expect("WorkloadNotAllowed");
}
