//! Near misses: documents that are valid, one thing changed, and what is said about it.

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{
    approval::action::Action, approval::capability::Capability, posture::ApprovalRule, posture::Durability,
    posture::Enforcement, posture::ImageRule, posture::PodRule, posture::SeparationOfDuties, posture::WorkloadRule,
};

const POSTURE: &str = r#"
apiVersion: writgate.dev/v1
kind: Posture
environment: production
cluster: prod-eu-1
namespaces: {payments: payments}
enforcement: enforce
actions:
  deploy: {approval: required, capabilities: [deploy], quorum: [{count: 1}], maxLifetime: 24h}
  replay-execute:
    approval: required
    capabilities: [replay.execute]
    quorum: [{group: sre, count: 1}, {group: security, count: 1}]
    maxLifetime: 2h
    enforcement: warn
  replay-dry-run: {approval: none}
reviewerSets: [prod-reviewers]
revocationLists: [prod-revocations]
separationOfDuties: claimed
replay:
  images: ["ghcr.io/acme/replay*"]
  sourceEnvironments: [production]
  dryRun: {serviceAccounts: [replay-readonly], env: {REPLAY_MODE: dry-run}, args: [["--incident", "*"]]}
workloads: approve
pods: deny
"#;

const REVIEWERS: &str = r#"
apiVersion: writgate.dev/v1
kind: Reviewers
name: prod-reviewers
reviewers:
  - name: bob@acme.example
    groups: [sre]
    projects: [payments]
    capabilities: ["deploy.*", deploy, replay.execute]
    identities: ["bob", "oidc:bob@acme.example"]
    keys:
      - publicKey: |
          -----BEGIN PUBLIC KEY-----
          MCowBQYDK2VwAyEA7MG1hyfz8SsxlIgansud4LKM57IHIw2Okw/hvOdeJWw=
          -----END PUBLIC KEY-----
        notBefore: 2026-01-01T00:00:00Z
        notAfter: 2027-01-01T00:00:00Z
  - name: carol@acme.example
    groups: [security]
    capabilities: [deploy]
    keys:
      - publicKey: |
          -----BEGIN PUBLIC KEY-----
          MCowBQYDK2VwAyEAJrHHKEm5PKU2ZMqCQGQ8UUxHHKCkpCTiTPLMyAo5kz4=
          -----END PUBLIC KEY-----
"#;

const REVOCATIONS: &str = r#"
apiVersion: writgate.dev/v1
kind: Revocations
name: prod-revocations
approvals: [{id: 01935a00-0000-7000-8000-000000000001, at: 2026-11-22T10:30:00Z, why: withdrawn}]
keys: [{id: 84f522c40a2df55aa12ecba9233cec2e5175f62b40afd195879c36f95a80d32b, why: laptop lost}]
specs: [{hash: "sha256:84f522c40a2df55aa12ecba9233cec2e5175f62b40afd195879c36f95a80d32b"}]
"#;

const BOB: &str = "84f522c40a2df55aa12ecba9233cec2e5175f62b40afd195879c36f95a80d32b";

fn document(source: &str, text: &str) -> Document {
    Document { source: source.to_owned(), name: None, text: text.to_owned() }
}

fn set_of(texts: &[&str]) -> PostureSet {
    PostureSet::assemble(
        texts.iter().enumerate().map(|(index, text)| document(&format!("{index}.yaml"), text)).collect(),
    )
}

fn valid() -> PostureSet {
    set_of(&[POSTURE, REVIEWERS, REVOCATIONS])
}

fn value(text: &str) -> Value {
    crate::encoding::yaml::read_yaml(text).unwrap().remove(0)
}

/// The documents with one change in the value of one of them.
#[expect(clippy::needless_pass_by_value, reason = "json!(…) reads better than &json!(…)")]
fn changed(which: &str, pointer: &str, new: Value) -> PostureSet {
    let texts = [POSTURE, REVIEWERS, REVOCATIONS].map(|text| {
        let mut document = value(text);
        if document["kind"] == which {
            set(&mut document, pointer, new.clone());
        }
        document.to_string()
    });
    set_of(&texts.each_ref().map(String::as_str))
}

fn set(document: &mut Value, pointer: &str, new: Value) {
    let (parent, field) = pointer.rsplit_once('/').unwrap();
    match document.pointer_mut(parent).unwrap() {
        Value::Object(fields) => drop(fields.insert(field.to_owned(), new)),
        Value::Array(items) => items[field.parse::<usize>().unwrap()] = new,
        other => panic!("{parent} is {other}"),
    }
}

/// The path and message of everything that makes production invalid.
fn faults(set: &PostureSet) -> Vec<(String, String)> {
    match set.environment("production") {
        Err(PostureError::Invalid { problems }) => {
            problems.iter().map(|problem| (problem.path.clone(), problem.message.clone())).collect()
        }
        other => panic!("expected production to be invalid: {other:?}"),
    }
}

#[track_caller]
fn assert_fault(set: &PostureSet, path: &str, message: &str) {
    let faults = faults(set);
    assert!(
        faults.iter().any(|(at, what)| at == path && what.contains(message)),
        "expected {path}: …{message}…; found {faults:#?}"
    );
}

#[track_caller]
fn assert_posture_fault(pointer: &str, new: Value, path: &str, message: &str) {
    assert_fault(&changed("Posture", pointer, new), path, message);
}

/// A fault of a document that the posture names is told with the posture.
#[track_caller]
fn assert_set_fault(which: &str, pointer: &str, new: Value, path: &str, message: &str) {
    let set = changed(which, pointer, new);
    let field = if which == "Reviewers" { "reviewerSets[0]" } else { "revocationLists[0]" };
    assert_fault(&set, field, "is invalid");
    let problems = set.problems();
    assert!(
        problems.iter().any(|problem| problem.path == path && problem.message.contains(message)),
        "expected {path}: …{message}…; found {problems:#?}"
    );
}

#[test]
fn a_valid_posture_says_what_was_written() {
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
fn what_is_absent_has_the_contracts_default() {
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
fn an_admission_owes_nothing_to_its_record_unless_the_posture_says_so() {
    for (audit, durability) in [
        (json!({}), Durability::BestEffort),
        (json!({"durability": "best-effort"}), Durability::BestEffort),
        (json!({"durability": "required"}), Durability::Required),
    ] {
        let set = changed("Posture", "/audit", audit);
        assert_eq!(set.environment("production").expect("a posture").durability, durability);
    }
    assert_posture_fault("/audit", json!({"durability": "maybe"}), "audit.durability", "unknown variant `maybe`");
}

#[test]
fn an_empty_list_and_a_default_are_accepted() {
    for (pointer, new) in [("/capabilityRules", json!([])), ("/actions/deploy/singleUse", json!(false))] {
        assert!(changed("Posture", pointer, new).environment("production").is_ok(), "{pointer}");
    }
}

#[test]
fn every_field_of_the_contract_is_enforced() {
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
fn a_capability_rule_that_means_nothing_is_told_with_its_place() {
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
        ("when", json!("pod.x == y"), "when", "line 1, column 10: y is not known; there are object"),
        ("when", json!("size(containers)"), "when", "this is never a bool"),
        ("when", json!("x".repeat(2049)), "when", "has 2049 bytes, more than 2048"),
        ("when", json!(true), "when", "invalid type: boolean"),
        ("name", json!("first"), "name", "\"first\" is another rule's name already"),
        ("name", json!(""), "name", "is empty"),
        ("name", json!("a "), "name", "begins or ends with space"),
        ("require", json!([]), "require", "is empty; a rule requires at least one capability"),
        ("require", json!(["deploy.*"]), "require[0]", "`deploy.*` is not a capability"),
        ("message", json!("x".repeat(513)), "message", "has 513 bytes, more than 512"),
        ("message", json!("a\u{1b}[2J"), "message", "has a control character"),
    ] {
        assert_posture_fault(
            "/capabilityRules",
            changed_rule(field, new),
            &format!("capabilityRules[1].{path}"),
            message,
        );
    }
    let unknown = changed_rule("wen", json!("true"));
    assert_posture_fault("/capabilityRules", unknown, "capabilityRules[1].wen", "unknown field `wen`");
    let many: Vec<Value> =
        (0..65).map(|n| json!({"name": format!("r{n}"), "when": "true", "require": ["a"]})).collect();
    assert_posture_fault("/capabilityRules", many.into(), "capabilityRules", "has 65 rules, more than 64");
}

#[test]
fn an_unknown_field_is_refused_wherever_it_is() {
    assert_posture_fault("/enforcment", json!("audit"), "enforcment", "unknown field `enforcment`");
    for (pointer, path) in [
        ("/actions/deploy/quorums", "actions.deploy.quorums"),
        ("/actions/rollback", "actions.rollback"),
        ("/actions/deploy/quorum/0/groups", "actions.deploy.quorum[0].groups"),
        ("/replay/image", "replay.image"),
        ("/replay/dryRun/command", "replay.dryRun.command"),
    ] {
        assert_posture_fault(pointer, json!(1), path, "unknown field");
    }
    assert_set_fault("Reviewers", "/reviewers/0/key", json!(1), "reviewers[0].key", "unknown field");
    assert_set_fault(
        "Reviewers",
        "/reviewers/0/keys/0/notafter",
        json!("x"),
        "reviewers[0].keys[0].notafter",
        "unknown field",
    );
    assert_set_fault("Revocations", "/spec", json!([]), "spec", "unknown field");
}

#[test]
fn a_value_of_another_type_or_word_is_refused() {
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
        assert_posture_fault(pointer, new, path, "");
    }
}

#[test]
fn off_is_a_word_although_yaml_says_false() {
    for off in ["off", "'off'", "\"off\""] {
        let posture = POSTURE.replace("separationOfDuties: claimed", &format!("separationOfDuties: {off}"));
        let set = set_of(&[&posture, REVIEWERS, REVOCATIONS]);
        assert_eq!(set.environment("production").unwrap().separation_of_duties, SeparationOfDuties::Off);
    }
    assert_posture_fault("/enforcement", json!(false), "enforcement", "put the word in quotes");
}

#[test]
fn null_is_not_absent() {
    for (pointer, path) in [
        ("/cluster", "cluster"),
        ("/actions/deploy", "actions.deploy"),
        ("/reviewerSets", "reviewerSets"),
        ("/actions/deploy/quorum/0/group", "actions.deploy.quorum[0].group"),
    ] {
        assert_posture_fault(pointer, Value::Null, path, "is null");
    }
    assert_set_fault("Reviewers", "/reviewers/0/projects", Value::Null, "reviewers[0].projects", "is null");
}

#[test]
fn actions_need_something() {
    assert_posture_fault("/actions/deploy/capabilities", json!([]), "actions.deploy.capabilities", "is empty");
    assert_posture_fault("/actions/deploy/quorum", json!([]), "actions.deploy.quorum", "is empty");
    assert_posture_fault("/actions/deploy/quorum/0/count", json!(0), "actions.deploy.quorum[0].count", "is 0");
    assert_posture_fault("/actions/deploy/quorum/0/count", json!(33), "actions.deploy.quorum", "at most 32");
    assert_posture_fault(
        "/actions/deploy/quorum/0/count",
        json!(u64::from(u32::MAX)),
        "actions.deploy.quorum",
        "at most 32",
    );
    assert_posture_fault("/actions/deploy/quorum/0/group", json!(" sre"), "actions.deploy.quorum[0].group", "space");
    assert_posture_fault(
        "/actions/deploy/capabilities/0",
        json!("deploy.*"),
        "actions.deploy.capabilities[0]",
        "not a capability",
    );
    for text in ["0s", "-1h", "1w", "", "soon"] {
        assert_posture_fault(
            "/actions/deploy/maxLifetime",
            json!(text),
            "actions.deploy.maxLifetime",
            "not a duration",
        );
    }
}

#[test]
fn names_are_names() {
    for name in ["", " prod", "prod ", "pr\nod", "prod/eu", "-prod"] {
        let mut document = value(POSTURE);
        document["environment"] = json!(name);
        let set = set_of(&[&document.to_string(), REVIEWERS, REVOCATIONS]);
        assert!(matches!(set.environment(name), Err(PostureError::Invalid { .. })), "{name:?}");
    }
    assert_posture_fault("/cluster", json!("prod-eu-1 "), "cluster", "space");
    assert_posture_fault("/cluster", json!("x".repeat(513)), "cluster", "513 bytes, more than 512");
    assert_posture_fault("/namespaces/payments", json!(""), "namespaces.payments", "label");
    assert_posture_fault("/replay/images/0", json!("ghcr.io/acme/["), "replay.images[0]", "not an image pattern");
    assert_posture_fault("/replay/images/0", json!(""), "replay.images[0]", "is empty");
    assert_set_fault("Reviewers", "/reviewers/0/name", json!("bob "), "reviewers[0].name", "space");
    assert_set_fault("Reviewers", "/reviewers/0/identities/0", json!(""), "reviewers[0].identities[0]", "is empty");
}

#[test]
fn what_is_named_and_missing_makes_the_posture_invalid() {
    assert_fault(&set_of(&[POSTURE, REVOCATIONS]), "reviewerSets[0]", "\"prod-reviewers\" is not there");
    assert_fault(&set_of(&[POSTURE, REVIEWERS]), "revocationLists[0]", "\"prod-revocations\" is not there");
    assert_posture_fault("/reviewerSets", json!(["prod-reviewers", "prod-reviewers"]), "reviewerSets[1]", "twice");
}

#[test]
fn reviewers_have_keys_that_can_be_trusted() {
    let key = |der: &[u8]| {
        use base64::{Engine as _, engine::general_purpose::STANDARD};
        json!(format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(der)))
    };
    let ed25519 = |point: [u8; 32]| {
        let prefix = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
        key(&[prefix.as_slice(), &point].concat())
    };
    let mut identity = [0; 32];
    identity[0] = 1;
    let mut beyond_the_field = [0xff; 32]; // y = 2^255 - 19 + 1, which is 1 again
    beyond_the_field[0] = 0xee;
    beyond_the_field[31] = 0x7f;
    let x25519 =
        [&[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x6e, 0x03, 0x21, 0x00], [7; 32].as_slice()].concat();
    let bob = value(REVIEWERS)["reviewers"][0]["keys"][0]["publicKey"].as_str().unwrap().to_owned();
    for (new, message) in [
        (ed25519(identity), "weak"),
        (ed25519([0; 32]), "weak"),
        (ed25519(beyond_the_field), ""),
        (key(&x25519), "X25519"),
        (key(&[0x30, 0x00]), "SubjectPublicKeyInfo"),
        (json!(bob.replace("PUBLIC", "PRIVATE")), "PRIVATE KEY"),
        (json!(format!("{bob}{bob}")), "more than one"),
        (json!("MCowBQYDK2VwAyEA7MG1hyfz8SsxlIgansud4LKM57IHIw2Okw/hvOdeJWw="), "not a PEM block"),
        (json!(bob.replace("7MG1", "7M")), ""),
    ] {
        assert_set_fault("Reviewers", "/reviewers/0/keys/0/publicKey", new, "reviewers[0].keys[0].publicKey", message);
    }
    assert_set_fault("Reviewers", "/reviewers/0/keys", json!([]), "reviewers[0].keys", "is empty");
    assert_set_fault("Reviewers", "/reviewers/0/capabilities", json!([]), "reviewers[0].capabilities", "is empty");
    assert_set_fault(
        "Reviewers",
        "/reviewers/0/capabilities/0",
        json!("*"),
        "reviewers[0].capabilities[0]",
        "not a capability",
    );
    let at = "reviewers[0].keys[0].notAfter";
    assert_set_fault("Reviewers", "/reviewers/0/keys/0/notAfter", json!("2026-01-01T00:00:00Z"), at, "is not after");
    assert_set_fault("Reviewers", "/reviewers/0/keys/0/notAfter", json!("2027-01-01"), at, "not a time");
}

#[test]
fn nothing_stands_for_two_reviewers() {
    let bob = value(REVIEWERS)["reviewers"][0].clone();
    let at = "reviewerSets";
    let with = |pointer: &str, new: Value| changed("Reviewers", pointer, new);
    assert_fault(&with("/reviewers/1/name", json!("BOB@acme.example")), at, "two reviewers");
    assert_fault(&with("/reviewers/1/identities", json!(["BOB"])), at, "two reviewers");
    assert_fault(&with("/reviewers/1/identities", json!(["bob@ACME.example"])), at, "two reviewers");
    assert_fault(&with("/reviewers/1/name", json!("oidc:Bob@acme.example")), at, "two reviewers");
    assert_fault(&with("/reviewers/1/keys/0", bob["keys"][0].clone()), at, BOB);
    assert_fault(&with("/reviewers/0/keys", json!([bob["keys"][0], bob["keys"][0]])), at, BOB);
    assert!(
        with("/reviewers/0/identities", json!(["bob", "BOB", "bob@acme.example"])).environment("production").is_ok()
    );
}

#[test]
fn nothing_stands_for_two_reviewers_of_two_sets() {
    let mut other = value(REVIEWERS);
    other["name"] = json!("more");
    let mut posture = value(POSTURE);
    posture["reviewerSets"] = json!(["prod-reviewers", "more"]);
    let set = set_of(&[&posture.to_string(), REVIEWERS, REVOCATIONS, &other.to_string()]);
    assert_fault(&set, "reviewerSets", "1.yaml reviewers[0]");
    assert_fault(&set, "reviewerSets", "3.yaml reviewers[0]");
    // A set that no posture names disturbs none.
    assert!(set_of(&[POSTURE, REVIEWERS, REVOCATIONS, &other.to_string()]).environment("production").is_ok());
}

#[test]
fn a_revocation_that_can_revoke_nothing_is_refused() {
    for id in [
        "",
        "x",
        "01935a00-0000-4000-8000-000000000001",
        "01935A00-0000-7000-8000-000000000001",
        "01935a0000007000800000000000000f",
    ] {
        assert_set_fault("Revocations", "/approvals/0/id", json!(id), "approvals[0].id", "UUIDv7");
    }
    assert_set_fault("Revocations", "/keys/0/id", json!(BOB.to_uppercase()), "keys[0].id", "64 lower-case hex");
    assert_set_fault("Revocations", "/specs/0/hash", json!(BOB), "specs[0].hash", "not a spec hash");
    assert_set_fault("Revocations", "/specs/0/at", json!("now"), "specs[0].at", "not a time");
}

#[test]
fn of_two_revocations_the_earlier_counts() {
    let id = "01935a00-0000-7000-8000-000000000001";
    let revoked = |entries: Value| {
        let set = changed("Revocations", "/approvals", entries);
        set.environment("production").unwrap().revocations.approvals[id].clone()
    };
    let early = json!({"id": id, "at": "2026-11-22T09:00:00Z"});
    let late = json!({"id": id, "at": "2026-11-22T10:00:00Z"});
    let always = json!({"id": id});
    let nine = "2026-11-22T09:00:00Z".parse().ok();
    assert_eq!(revoked(json!([early, late])).at, nine);
    assert_eq!(revoked(json!([late, early])).at, nine);
    assert_eq!(revoked(json!([late, always])).at, None);
    assert_eq!(revoked(json!([always, early])).at, None);
}

#[test]
fn two_postures_of_one_environment_are_none() {
    let set = set_of(&[POSTURE, REVIEWERS, REVOCATIONS, POSTURE]);
    assert_fault(&set, "environment", "\"production\" has 2 postures, expected one: 0.yaml, 3.yaml");
    let broken = POSTURE.replace("pods: deny", "pods: [");
    assert_fault(&set_of(&[POSTURE, REVIEWERS, REVOCATIONS, &broken]), "environment", "has 2 postures");
}

#[test]
fn two_sets_of_one_name_are_none() {
    assert_fault(&set_of(&[POSTURE, REVIEWERS, REVOCATIONS, REVIEWERS]), "reviewerSets[0]", "1.yaml");
    let broken = REVIEWERS.replace("carol@acme.example", "[");
    assert_fault(&set_of(&[POSTURE, REVIEWERS, REVOCATIONS, &broken]), "reviewerSets[0]", "is invalid");
}

#[test]
fn a_broken_document_denies_its_own_environment_alone() {
    let staging = POSTURE.replace("environment: production", "environment: staging");
    for broken in [
        POSTURE.replace("pods: deny", "pods: ["),
        POSTURE.replace("pods: deny", "pods: maybe"),
        POSTURE.replace("pods: deny", "pods: deny\npods: deny"),
        POSTURE.replace("kind: Posture", "kind: Postrue"),
        POSTURE.replace("kind: Posture", ""),
        POSTURE.replace("writgate.dev/v1", "writgate.dev/v2"),
    ] {
        let set = set_of(&[&broken, REVIEWERS, REVOCATIONS, &staging]);
        assert!(matches!(set.environment("production"), Err(PostureError::Invalid { .. })), "{broken}");
        assert!(set.environment("staging").is_ok());
        assert!(
            matches!(set.environment("qa"), Err(PostureError::Missing { known }) if *known == ["production", "staging"])
        );
    }
}

#[test]
fn what_may_be_any_posture_is_told_where_there_is_none() {
    for broken in
        ["{", "just a text", "[1, 2]", "kind: Posture", "kind: Posture\nenvironment: 5", "environment: [", "a: b"]
    {
        let set = set_of(&[POSTURE, REVIEWERS, REVOCATIONS, broken]);
        assert!(set.environment("production").is_ok(), "{broken}");
        match set.environment("qa") {
            Err(PostureError::Invalid { problems }) => assert_eq!(problems[0].source, "3.yaml", "{broken}"),
            other => panic!("{broken}: {other:?}"),
        }
    }
}

#[test]
fn other_documents_are_reported_and_break_nothing() {
    for other in [
        "{apiVersion: writgate.dev/v1, kind: Pipelines, name: p, pipelines: {a: {}, a: {}}}",
        "{apiVersion: apps/v1, kind: Deployment, metadata: {name: a}}",
        "apiVersion: apps/v1\nkind: Deployment\nspec: [",
        "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {a: b}}",
        "{apiVersion: v1, kind: Namespace}",
    ] {
        let set = set_of(&[POSTURE, REVIEWERS, REVOCATIONS, other]);
        assert!(set.environment("production").is_ok(), "{other}");
        assert!(matches!(set.environment("qa"), Err(PostureError::Missing { .. })), "{other}");
        assert_eq!(set.problems().len(), 1, "{other}");
    }
    for nothing in ["", "# a comment\n", "---\n---\n", "{apiVersion: v1, kind: List, items: []}"] {
        assert_eq!(set_of(&[POSTURE, REVIEWERS, REVOCATIONS, nothing]).problems(), [], "{nothing}");
    }
}

#[test]
fn config_maps_are_found_by_namespace_and_name() {
    let config_map = |namespace: &str, value: &str| {
        format!(
            "{{apiVersion: v1, kind: ConfigMap, metadata: {{name: a, labels: {{writgate.dev/kind: config-bundle}}, \
             {namespace}}}, data: {{k: {value}}}}}"
        )
    };
    let (anywhere, payments) = (config_map("", "one"), config_map("namespace: payments", "two"));
    let set = set_of(&[POSTURE, REVIEWERS, REVOCATIONS, &anywhere, &payments]);
    assert_eq!(set.problems(), []);
    let value = |set: &PostureSet, namespace: &str| set.config_map(namespace, "a").unwrap().unwrap().data["k"].clone();
    assert_eq!((value(&set, "payments"), value(&set, "ledger")), ("two".to_owned(), "one".to_owned()));
    assert!(set.config_map("payments", "b").is_none());
    let twice = set_of(&[&payments, &payments]);
    assert!(twice.config_map("payments", "a").unwrap().is_err());
    assert!(set_of(&[&config_map("", "[1]")]).config_map("payments", "a").unwrap().is_err());
}

#[test]
fn namespaces_give_their_labels() {
    let labelled =
        "{apiVersion: v1, kind: Namespace, metadata: {name: payments, labels: {writgate.dev/environment: production}}}";
    let set = set_of(&[labelled, "{apiVersion: v1, kind: Namespace, metadata: {name: bare}}"]);
    assert_eq!(set.namespaces()["payments"]["writgate.dev/environment"], "production");
    assert!(set.namespaces()["bare"].is_empty());
    assert_eq!(set_of(&[labelled, labelled]).problems().len(), 1);
    let number = set_of(&[&labelled.replace("production", "5")]);
    assert_eq!((number.problems().len(), number.namespaces().len()), (1, 0));
}

fn config_map(name: &str, kind: &str, text: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"namespace": "writgate-system", "name": name, "labels": {"writgate.dev/kind": kind}},
        "data": {format!("{kind}.yaml"): text},
    })
}

fn config_maps() -> [Value; 3] {
    [
        config_map("posture-production", "posture", POSTURE),
        config_map("prod-reviewers", "reviewers", &REVIEWERS.replace("name: prod-reviewers\n", "")),
        config_map("prod-revocations", "revocations", REVOCATIONS),
    ]
}

fn set_of_values(values: &[Value]) -> PostureSet {
    let texts: Vec<String> = values.iter().map(Value::to_string).collect();
    set_of(&texts.iter().map(String::as_str).collect::<Vec<_>>())
}

#[test]
fn config_maps_hold_the_same_posture_as_bare_files_in_any_order() {
    let bare = valid().environment("production").unwrap().version.clone();
    assert!(bare.starts_with("sha256:") && bare.len() == 71);
    let set = set_of_values(&config_maps());
    assert_eq!(set.problems(), []);
    assert_eq!(set.environment("production").unwrap().version, bare);
    let all = format!("{REVOCATIONS}---{POSTURE}---\n# nothing\n---{REVIEWERS}");
    assert_eq!(set_of(&[&all]).environment("production").unwrap().version, bare);
    let list = json!({"apiVersion": "v1", "kind": "List", "items": config_maps()});
    assert_eq!(set_of_values(&[list]).environment("production").unwrap().version, bare);
    // As a store hands them over: each key's text with the name of its ConfigMap.
    let named = |name: &str, text: &str| Document { name: Some(name.to_owned()), ..document(name, text) };
    let nameless = REVIEWERS.replace("name: prod-reviewers\n", "");
    let set = PostureSet::assemble(vec![
        named("posture-production", POSTURE),
        named("prod-revocations", REVOCATIONS),
        named("prod-reviewers", &nameless),
    ]);
    assert_eq!(set.environment("production").unwrap().version, bare);
}

#[test]
fn every_change_of_what_counts_is_another_version() {
    let version = |set: &PostureSet| set.environment("production").unwrap().version.clone();
    let mut versions = vec![
        version(&valid()),
        version(&changed("Posture", "/pods", json!("allow"))),
        version(&changed("Reviewers", "/reviewers/0/groups", json!([]))),
        version(&changed("Revocations", "/specs", json!([]))),
    ];
    versions.sort();
    versions.dedup();
    assert_eq!(versions.len(), 4);
}

#[test]
fn a_config_maps_fault_names_it_and_its_key() {
    let mut maps = config_maps();
    maps[0]["data"]["posture.yaml"] = json!(POSTURE.replace("pods: deny", "pods: maybe"));
    match set_of_values(&maps).environment("production") {
        Err(PostureError::Invalid { problems }) => {
            assert_eq!(problems[0].source, "configmap writgate-system/posture-production key posture.yaml");
            assert_eq!(problems[0].path, "pods");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn label_key_and_kind_must_agree() {
    let disagreement = |change: &dyn Fn(&mut Value)| {
        let mut maps = config_maps();
        change(&mut maps[0]);
        assert!(
            matches!(set_of_values(&maps).environment("production"), Err(PostureError::Invalid { .. })),
            "{}",
            maps[0]
        );
    };
    disagreement(&|map| map["metadata"]["labels"]["writgate.dev/kind"] = json!("reviewers"));
    disagreement(&|map| map["metadata"]["labels"]["writgate.dev/kind"] = json!("Posture"));
    disagreement(&|map| map["metadata"]["labels"] = json!({}));
    disagreement(&|map| map["data"]["notes"] = json!("x"));
    disagreement(&|map| map["data"]["reviewers.yaml"] = json!(REVIEWERS));
    disagreement(&|map| map["binaryData"] = json!({"x": "eA=="}));
    disagreement(&|map| map["data"] = json!({"postures.yaml": POSTURE}));
    disagreement(&|map| map["data"]["posture.yaml"] = json!(format!("{POSTURE}---{POSTURE}")));
    disagreement(&|map| map["data"]["posture.yaml"] = json!(POSTURE.replace("kind: Posture", "kind: Reviewers")));
    let broken_reviewers = |change: &dyn Fn(&mut Value)| {
        let mut maps = config_maps();
        change(&mut maps[1]);
        assert_fault(&set_of_values(&maps), "reviewerSets[0]", "is invalid");
    };
    broken_reviewers(&|map| map["metadata"]["labels"]["writgate.dev/kind"] = json!("revocations"));
    broken_reviewers(&|map| map["data"]["reviewers.yaml"] = json!(""));
    broken_reviewers(&|map| map["data"]["reviewers.yaml"] = json!(REVIEWERS.replace("prod-reviewers", "others")));
    broken_reviewers(&|map| map["data"]["reviewers.yaml"] = json!("reviewers: ["));
}

#[test]
fn a_set_without_a_name_is_told_to_who_misses_it() {
    let nameless = REVIEWERS.replace("name: prod-reviewers\n", "");
    assert_fault(
        &set_of(&[POSTURE, &nameless, REVOCATIONS]),
        "reviewerSets[0]",
        "it may be this: 1.yaml: name: is not there",
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn whatever_the_text_assembling_does_not_panic(text in "\\PC{0,200}", structured in "[a-z:{}\\[\\],&*<\\-'\"# \n|>!?0-9.]{0,120}") {
        let _ = set_of(&[&text]);
        let _ = set_of(&[&structured]);
    }

    #[test]
    fn a_damaged_document_never_panics_nor_governs_another_environment(which in 0..3_usize, at in 0..4000_usize, new in any::<char>(), cut in any::<bool>()) {
        let mut texts = [POSTURE.to_owned(), REVIEWERS.to_owned(), REVOCATIONS.to_owned()];
        let mut damaged: Vec<char> = texts[which].chars().collect();
        let at = at % damaged.len();
        if cut { damaged.truncate(at) } else { damaged[at] = new }
        texts[which] = damaged.into_iter().collect();
        // What it says may change, or be unreadable; that it is read at all without a panic is what counts here.
        let set = set_of(&texts.each_ref().map(String::as_str));
        let _ = set.environment("production");
        prop_assert!(set.environment("elsewhere").is_err());
    }
}

#[test]
fn approvals_among_the_documents_lie_in_their_namespace_and_are_no_problem() {
    let approval = |name: &str, namespace: &str, label: &str| {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"approval.json": name},
            "metadata": {"name": name, "namespace": namespace, "labels": {"writgate.dev/kind": label}}})
        .to_string()
    };
    let texts =
        [approval("a", "payments", "approval"), approval("b", "ledger", "approval"), approval("c", "", "approval")];
    let set = set_of(&[&texts[0], &texts[1], &texts[2]]);
    assert_eq!(set.problems(), []);
    let names = |namespace| set.detached_approvals(namespace).map(|found| found.name).collect::<Vec<_>>();
    assert_eq!(names("payments"), ["c", "a"]);
    assert_eq!(names("elsewhere"), ["c"]);
    let other = set_of(&[&approval("a", "payments", "other")]);
    assert_eq!(other.detached_approvals("payments").count(), 0);
}
