//! Posture documents: near misses of a valid one, and defaults.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::*;
use crate::{
    approval::action::Action,
    approval::capability::Capability,
    posture::{ApprovalRule, Durability, Enforcement, ImageRule, PodRule, SeparationOfDuties, WorkloadRule},
};

#[test]
fn a_valid_posture_has_the_written_values() {
    let set = valid();
    assert_eq!(set.problems(), []);
    let posture = set.environment("production").unwrap();
    assert_eq!(posture.environment, "production");
    assert_eq!(posture.cluster.as_deref(), Some("prod-eu-1"));
    assert_eq!(posture.namespaces.as_ref().unwrap()["payments"], "payments");
    let execute = posture.rule(Action::ReplayExecute);
    assert_eq!(execute.approval, ApprovalRule::Required);
    assert_eq!(execute.quorum.iter().map(|q| q.group.as_deref()).collect::<Vec<_>>(), [Some("sre"), Some("security")]);
    assert_eq!(execute.max_lifetime, SignedDuration::from_hours(2));
    assert_eq!(execute.enforcement, Enforcement::Warn);
    assert_eq!(posture.rule(Action::Deploy).enforcement, Enforcement::Enforce);
    assert_eq!(posture.rule(Action::ReplayDryRun).approval, ApprovalRule::None);
    assert!(posture.replay.images.matches("ghcr.io/acme/replay:2.0.1"));
    let (bob, key) = posture.key(&BOB.parse().unwrap()).unwrap();
    assert_eq!(bob.name, "bob@acme.example");
    assert!(bob.is("Bob@ACME.example") && bob.is("OIDC:bob@acme.example") && !bob.is("bobby"));
    assert_eq!(key.not_after.unwrap().to_string(), "2027-01-01T00:00:00Z");
    assert_eq!(posture.keys().count(), 2);
    let withdrawn = &posture.revocations.approvals["01935a00-0000-7000-8000-000000000001"];
    assert!(!withdrawn.in_force("2026-11-22T10:29:59Z".parse().unwrap()));
    assert!(withdrawn.in_force("2026-11-22T10:30:00Z".parse().unwrap()));
    assert!(posture.revocations.keys[&BOB.parse().unwrap()].in_force(Timestamp::UNIX_EPOCH));
}

#[test]
fn an_absent_field_has_its_default() {
    let set = set_of(&["{apiVersion: writgate.dev/v1, kind: Posture, environment: production}"]);
    let posture = set.environment("production").unwrap();
    let deploy = posture.rule(Action::Deploy);
    assert_eq!(deploy.approval, ApprovalRule::Required);
    assert_eq!(deploy.capabilities, [Capability::parse("deploy").unwrap()]);
    assert_eq!((deploy.quorum.len(), deploy.quorum[0].count, &deploy.quorum[0].group), (1, 1, &None));
    assert_eq!(deploy.max_lifetime, SignedDuration::from_hours(24));
    assert_eq!(deploy.enforcement, Enforcement::Enforce);
    assert_eq!(posture.rule(Action::ReplayExecute).capabilities, [Capability::parse("replay.execute").unwrap()]);
    assert_eq!(posture.rule(Action::ReplayExecute).approval, ApprovalRule::Required);
    assert_eq!(posture.rule(Action::ReplayDryRun).approval, ApprovalRule::None);
    assert_eq!(posture.separation_of_duties, SeparationOfDuties::Claimed);
    assert_eq!((posture.workloads, posture.pods), (WorkloadRule::Approve, PodRule::Deny));
    assert!(posture.replay.images.is_empty() && posture.replay.dry_run.is_none());
    assert!(posture.images == ImageRule::Any && posture.builds.is_none() && posture.config_bundle.is_none());
    assert!(!posture.pipeline_version_required);
    assert!(posture.namespaces.is_none() && posture.cluster.is_none());
}

#[test]
fn durability_is_best_effort_by_default() {
    for (audit, durability) in [
        (json!({}), Durability::BestEffort),
        (json!({"durability": "best-effort"}), Durability::BestEffort),
        (json!({"durability": "required"}), Durability::Required),
    ] {
        let set = changed("Posture", "/audit", audit);
        assert_eq!(set.environment("production").expect("a posture").durability, durability);
    }
    assert_posture_problem("/audit", json!({"durability": "maybe"}), "audit.durability", "unknown variant `maybe`");
}

#[test]
fn an_empty_list_and_a_default_are_accepted() {
    for (pointer, new) in [("/capabilityRules", json!([])), ("/actions/deploy/singleUse", json!(false))] {
        assert!(changed("Posture", pointer, new).environment("production").is_ok(), "{pointer}");
    }
}

#[test]
fn a_posture_with_every_field_is_valid() {
    let whole = r#"
        apiVersion: writgate.dev/v1
        kind: Posture
        environment: production
        cluster: prod-eu-1
        namespaces: {payments: payments}
        enforcement: enforce
        actions:
          deploy: {approval: required, capabilities: [deploy], quorum: [{count: 1}], maxLifetime: 24h}
          replay-execute: {approval: required, capabilities: [replay.execute], maxLifetime: 2h, singleUse: true}
          replay-dry-run: {approval: none}
        capabilityRules: [{name: privileged, when: "true", require: [deploy.privileged], message: "runs privileged"}]
        reviewerSets: [prod-reviewers]
        revocationLists: [prod-revocations]
        pipelineSets: [prod-pipelines]
        separationOfDuties: claimed
        pipelineVersion: required
        configBundle: required
        replay:
          images: ["ghcr.io/acme/replay*"]
          sourceEnvironments: [production]
          dryRun: {serviceAccounts: [replay-readonly], env: {REPLAY_MODE: dry-run}, args: [["--incident", "*"]]}
        images: digest
        workloads: approve
        pods: deny
        rollback: {within: 720h, revisions: 3}
        connect: audit
        breakGlass: {maxLifetime: 1h, capabilities: [break-glass], quorum: [{count: 1}]}
        audit: {durability: required}
    "#;
    let pipelines = "{apiVersion: writgate.dev/v1, kind: Pipelines, name: prod-pipelines, pipelines: {}}";
    let set = set_of(&[whole, REVIEWERS, REVOCATIONS, pipelines]);
    assert!(set.environment("production").is_ok(), "{:?}", set.environment("production"));
}

#[test]
fn refuses_an_unknown_field_at_any_depth() {
    assert_posture_problem("/enforcment", json!("audit"), "enforcment", "unknown field `enforcment`");
    for (pointer, path) in [
        ("/actions/deploy/quorums", "actions.deploy.quorums"),
        ("/actions/rollback", "actions.rollback"),
        ("/actions/deploy/quorum/0/groups", "actions.deploy.quorum[0].groups"),
        ("/replay/image", "replay.image"),
        ("/replay/dryRun/command", "replay.dryRun.command"),
    ] {
        assert_posture_problem(pointer, json!(1), path, "unknown field");
    }
    assert_set_problem("Reviewers", "/reviewers/0/key", json!(1), "reviewers[0].key", "unknown field");
    assert_set_problem(
        "Reviewers",
        "/reviewers/0/keys/0/notafter",
        json!("x"),
        "reviewers[0].keys[0].notafter",
        "unknown field",
    );
    assert_set_problem("Revocations", "/spec", json!([]), "spec", "unknown field");
}

#[test]
fn refuses_a_value_of_another_type_or_an_unknown_word() {
    for (pointer, new, path) in [
        ("/enforcement", json!("off"), "enforcement"),
        ("/enforcement", json!("Enforce"), "enforcement"),
        ("/actions/deploy/quorum/0/count", json!(-1), "actions.deploy.quorum[0].count"),
        ("/actions/deploy/quorum/0/count", json!(1.5), "actions.deploy.quorum[0].count"),
        ("/actions/deploy/quorum/0/count", json!("1"), "actions.deploy.quorum[0].count"),
        ("/actions/deploy/approval", json!(true), "actions.deploy.approval"),
        ("/separationOfDuties", json!(true), "separationOfDuties"),
        ("/reviewerSets", json!("prod-reviewers"), "reviewerSets"),
        ("/apiVersion", json!("writgate.dev/v2"), "apiVersion"),
        ("/replay/dryRun/env/REPLAY_MODE", json!(true), "replay.dryRun.env.REPLAY_MODE"),
    ] {
        assert_posture_problem(pointer, new, path, "");
    }
}

#[test]
fn off_without_quotes_is_accepted_for_separation_of_duties() {
    for off in ["off", "'off'", "\"off\""] {
        let posture = POSTURE.replace("separationOfDuties: claimed", &format!("separationOfDuties: {off}"));
        let set = set_of(&[&posture, REVIEWERS, REVOCATIONS]);
        assert_eq!(set.environment("production").unwrap().separation_of_duties, SeparationOfDuties::Off);
    }
    assert_posture_problem("/enforcement", json!(false), "enforcement", "put the word in quotes");
}

#[test]
fn refuses_null_in_place_of_an_absent_field() {
    for (pointer, path) in [
        ("/cluster", "cluster"),
        ("/actions/deploy", "actions.deploy"),
        ("/reviewerSets", "reviewerSets"),
        ("/actions/deploy/quorum/0/group", "actions.deploy.quorum[0].group"),
    ] {
        assert_posture_problem(pointer, Value::Null, path, "is null");
    }
    assert_set_problem("Reviewers", "/reviewers/0/projects", Value::Null, "reviewers[0].projects", "is null");
}

#[test]
fn refuses_an_action_rule_without_content() {
    assert_posture_problem("/actions/deploy/capabilities", json!([]), "actions.deploy.capabilities", "is empty");
    assert_posture_problem("/actions/deploy/quorum", json!([]), "actions.deploy.quorum", "is empty");
    assert_posture_problem("/actions/deploy/quorum/0/count", json!(0), "actions.deploy.quorum[0].count", "is 0");
    assert_posture_problem("/actions/deploy/quorum/0/count", json!(33), "actions.deploy.quorum", "at most 32");
    assert_posture_problem(
        "/actions/deploy/quorum/0/count",
        json!(u64::from(u32::MAX)),
        "actions.deploy.quorum",
        "at most 32",
    );
    assert_posture_problem("/actions/deploy/quorum/0/group", json!(" sre"), "actions.deploy.quorum[0].group", "space");
    assert_posture_problem(
        "/actions/deploy/capabilities/0",
        json!("deploy.*"),
        "actions.deploy.capabilities[0]",
        "not a capability",
    );
    for text in ["0s", "-1h", "1w", "", "soon"] {
        assert_posture_problem(
            "/actions/deploy/maxLifetime",
            json!(text),
            "actions.deploy.maxLifetime",
            "not a duration",
        );
    }
}

#[test]
fn refuses_an_invalid_name() {
    for name in ["", " prod", "prod ", "pr\nod", "prod/eu", "-prod"] {
        let mut document = value(POSTURE);
        document["environment"] = json!(name);
        let set = set_of(&[&document.to_string(), REVIEWERS, REVOCATIONS]);
        assert!(matches!(set.environment(name), Err(PostureError::Invalid { .. })), "{name:?}");
    }
    assert_posture_problem("/cluster", json!("prod-eu-1 "), "cluster", "space");
    assert_posture_problem("/cluster", json!("x".repeat(513)), "cluster", "513 bytes; expected at most 512");
    assert_posture_problem("/namespaces/payments", json!(""), "namespaces.payments", "label");
    assert_posture_problem("/replay/images/0", json!("ghcr.io/acme/["), "replay.images[0]", "not an image pattern");
    assert_posture_problem("/replay/images/0", json!(""), "replay.images[0]", "is empty");
    assert_set_problem("Reviewers", "/reviewers/0/name", json!("bob "), "reviewers[0].name", "space");
    assert_set_problem("Reviewers", "/reviewers/0/identities/0", json!(""), "reviewers[0].identities[0]", "is empty");
}

#[test]
fn an_invalid_capability_rule_is_reported_with_its_path() {
    let valid = || json!({"name": "large", "when": "true", "require": ["deploy.large"], "message": "is large"});
    let changed_rule = |field: &str, new: Value| {
        let mut rule = valid();
        rule[field] = new;
        json!([{"name": "first", "when": "request.dryRun", "require": ["deploy.x"]}, rule])
    };
    let long = format!("'{}' != ''", "x".repeat(1000));
    assert!(
        changed("Posture", "/capabilityRules", changed_rule("when", long.into())).environment("production").is_ok()
    );
    for (field, new, path, message) in [
        ("when", json!("object.spec.\n  replicas >"), "when", "line 2, column 13: "),
        ("when", json!("pod.x == y"), "when", "line 1, column 10: y is unknown; expected one of object"),
        ("when", json!("size(containers)"), "when", "this expression is never a bool"),
        ("when", json!("x".repeat(2049)), "when", "has 2049 bytes; expected at most 2048"),
        ("when", json!(true), "when", "invalid type: boolean"),
        ("name", json!("first"), "name", "\"first\" is also the name of an earlier rule"),
        ("name", json!(""), "name", "is empty"),
        ("name", json!("a "), "name", "begins or ends with space"),
        ("require", json!([]), "require", "is empty; expected at least one capability"),
        ("require", json!(["deploy.*"]), "require[0]", "`deploy.*` is not a capability"),
        ("message", json!("x".repeat(513)), "message", "has 513 bytes; expected at most 512"),
        ("message", json!("a\u{1b}[2J"), "message", "contains a control character"),
    ] {
        assert_posture_problem(
            "/capabilityRules",
            changed_rule(field, new),
            &format!("capabilityRules[1].{path}"),
            message,
        );
    }
    let unknown = changed_rule("wen", json!("true"));
    assert_posture_problem("/capabilityRules", unknown, "capabilityRules[1].wen", "unknown field `wen`");
    let many: Vec<Value> =
        (0..65).map(|n| json!({"name": format!("r{n}"), "when": "true", "require": ["a"]})).collect();
    assert_posture_problem("/capabilityRules", many.into(), "capabilityRules", "has 65 rules; expected at most 64");
}
