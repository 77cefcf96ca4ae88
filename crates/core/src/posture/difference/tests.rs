//! Each field of a full posture changed alone: the change is reported, with the right effect in both directions.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{ChangeEffect::*, *};
use crate::posture::{Document, document_schemas};

const BOB: &str = "84f522c40a2df55aa12ecba9233cec2e5175f62b40afd195879c36f95a80d32b";
const CAROL: &str = "8256d31bb08ddc6c5bc996da8de1b0f8ab2c50de48bf76e4c5d56eb70d8bff44";
const BOBS_KEY: &str = "MCowBQYDK2VwAyEA7MG1hyfz8SsxlIgansud4LKM57IHIw2Okw/hvOdeJWw=";
const CAROLS_KEY: &str = "MCowBQYDK2VwAyEAJrHHKEm5PKU2ZMqCQGQ8UUxHHKCkpCTiTPLMyAo5kz4=";
const APPROVAL: &str = "01935a00-0000-7000-8000-000000000001";
const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const OTHER: &str = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";

fn pem(key: &str) -> String {
    format!("-----BEGIN PUBLIC KEY-----\n{key}\n-----END PUBLIC KEY-----\n")
}

/// A posture with every field, and the documents that it names.
fn documents() -> [Value; 6] {
    let action = |capability: &str| {
        json!({"approval": "required", "capabilities": [capability], "quorum": [{"group": "sre", "count": 2}],
            "maxLifetime": "24h", "singleUse": false, "enforcement": "warn"})
    };
    let mut deploy = action("deploy");
    deploy.as_object_mut().expect("an object").remove("enforcement");
    let posture = json!({
        "apiVersion": "writgate.dev/v1", "kind": "Posture", "environment": "production", "cluster": "prod-eu-1",
        "namespaces": {"payments": "payments"}, "enforcement": "enforce",
        "actions": {"deploy": deploy, "replay-execute": action("replay.execute"),
            "replay-dry-run": action("replay.dry-run")},
        "capabilityRules": [{"name": "privileged", "when": "request.dryRun", "require": ["deploy.privileged"],
            "message": "runs privileged"}],
        "reviewerSets": ["reviewers"], "revocationLists": ["revocations"], "pipelineSets": ["pipelines"],
        "separationOfDuties": "claimed", "pipelineVersion": "required", "configBundle": "required",
        "secrets": ["orders-db"],
        "replay": {"images": ["ghcr.io/acme/replay*"], "sourceEnvironments": ["production"],
            "dryRun": {"serviceAccounts": ["replay"], "env": {"MODE": "dry"}, "args": [["--incident", "*"]]}},
        "images": "digest", "workloads": "approve", "pods": "deny", "ungoverned": "deny", "rollback": {"within": "720h", "revisions": 3},
        "connect": "audit",
        "breakGlass": {"maxLifetime": "1h", "capabilities": ["break-glass"], "quorum": [{"group": "sre", "count": 2}]},
        "audit": {"durability": "required"},
    });
    let reviewer = |name: &str, key: &str| {
        json!({"name": name, "groups": ["sre"], "projects": ["payments"], "capabilities": ["deploy"],
            "identities": [format!("oidc:{name}")], "keys": [{"publicKey": pem(key),
                "notBefore": "2026-01-01T00:00:00Z", "notAfter": "2027-01-01T00:00:00Z"}]})
    };
    let revoked = |field: &str, id: &str| json!([{field: id, "at": "2026-11-22T10:00:00Z", "why": "lost"}]);
    let named = |kind: &str, name: &str, field: &str, value: Value| json!({"apiVersion": "writgate.dev/v1", "kind": kind, "name": name, field: value});
    let mut revocations = named("Revocations", "revocations", "approvals", revoked("id", APPROVAL));
    revocations["keys"] = revoked("id", CAROL);
    revocations["specs"] = revoked("hash", DIGEST);
    let build = json!({"specHash": DIGEST, "images": [format!("acme/orders@{DIGEST}")]});
    [
        posture,
        named("Reviewers", "reviewers", "reviewers", json!([reviewer("bob", BOBS_KEY)])),
        revocations,
        named("Pipelines", "pipelines", "pipelines", json!({"orders": {"1.4.2": build}})),
        named("Reviewers", "more-reviewers", "reviewers", json!([reviewer("carol", CAROLS_KEY)])),
        named("Pipelines", "more-pipelines", "pipelines", json!({"ledger": {"1": build}})),
    ]
}

fn assemble(documents: &[Value]) -> PostureSet {
    let document = |value: &Value| Document { source: value["kind"].to_string(), name: None, text: value.to_string() };
    let set = PostureSet::assemble(documents.iter().map(document).collect());
    assert!(set.environment("production").is_ok(), "{:?}", set.problems());
    set
}

/// A change of the first document of a kind, and the changes of the posture that follow from it.
struct Row {
    kind: &'static str,
    /// The fields that change, and their new values. Null removes a field.
    edits: Vec<(&'static str, Value)>,
    expected: Vec<(String, ChangeEffect)>,
}

fn row(kind: &'static str, pointer: &'static str, new: Value, what: &str, effect: ChangeEffect) -> Row {
    Row { kind, edits: vec![(pointer, new)], expected: vec![(what.to_owned(), effect)] }
}

fn posture(pointer: &'static str, new: Value, what: &str, effect: ChangeEffect) -> Row {
    row("Posture", pointer, new, what, effect)
}

fn rows_of_posture() -> Vec<Row> {
    let mut rows = vec![
        posture("/audit/durability", json!("best-effort"), "audit.durability", Looser),
        posture("/cluster", json!("prod-eu-2"), "cluster", Differs),
        posture("/namespaces/payments", json!("ledger"), "namespace payments", Differs),
        posture("/namespaces/ledger", json!("ledger"), "namespace ledger", Looser),
        posture("/namespaces", Value::Null, "namespaces", Looser),
        // The other actions have an enforcement of their own.
        posture("/enforcement", json!("audit"), "actions.deploy.enforcement", Looser),
        posture("/capabilityRules/0/when", json!("true"), "capability rule privileged", Differs),
        posture(
            "/capabilityRules/0/require",
            json!(["a", "deploy.privileged"]),
            "capability rule privileged",
            Stricter,
        ),
        posture("/capabilityRules/0/message", json!("x"), "capability rule privileged message", Differs),
        posture("/separationOfDuties", json!("off"), "separationOfDuties", Looser),
        posture("/separationOfDuties", json!("proven"), "separationOfDuties", Stricter),
        posture("/pipelineVersion", Value::Null, "pipelineVersion", Looser),
        posture("/pipelineSets", json!(["pipelines", "more-pipelines"]), "build ledger@1", Looser),
        posture("/secrets", json!(["orders-db", "root"]), "secret root", Looser),
        posture("/replay/images", json!(["ghcr.io/acme/replay*", "b"]), "replay.images b", Stricter),
        posture("/replay/sourceEnvironments", Value::Null, "replay.sourceEnvironments", Looser),
        posture("/replay/sourceEnvironments", json!([]), "replay.sourceEnvironments production", Stricter),
        posture("/replay/dryRun", Value::Null, "replay.dryRun", Stricter),
        posture("/replay/dryRun/serviceAccounts", json!([]), "replay.dryRun.serviceAccounts replay", Stricter),
        posture("/replay/dryRun/env/MODE", json!("wet"), "replay.dryRun.env MODE", Differs),
        posture("/replay/dryRun/args", json!([]), r#"replay.dryRun.args ["--incident","*"]"#, Stricter),
        posture("/images", json!("any"), "images", Looser),
        posture("/workloads", json!("allow"), "workloads", Looser),
        posture("/workloads", json!("deny"), "workloads", Stricter),
        posture("/pods", json!("allow"), "pods", Looser),
        posture("/ungoverned", json!("allow"), "ungoverned", Looser),
        posture("/rollback", Value::Null, "rollback", Stricter),
        posture("/rollback/within", json!("721h"), "rollback.within", Looser),
        posture("/rollback/revisions", json!(2), "rollback.revisions", Stricter),
        posture("/connect", json!("allow"), "connect", Looser),
        posture("/connect", json!("deny"), "connect", Stricter),
        posture("/breakGlass", Value::Null, "breakGlass", Stricter),
        posture("/breakGlass/maxLifetime", json!("30m"), "breakGlass.maxLifetime", Stricter),
        posture("/breakGlass/capabilities", json!(["a", "break-glass"]), "breakGlass.capabilities a", Stricter),
        posture("/breakGlass/quorum/0/count", json!(1), "breakGlass.quorum", Looser),
        posture("/breakGlass/quorum/0/group", Value::Null, "breakGlass.quorum", Looser),
    ];
    rows.push(Row {
        kind: "Posture",
        edits: vec![("/configBundle", Value::Null), ("/secrets", Value::Null)],
        expected: vec![("configBundle".to_owned(), Looser)],
    });
    let gone = |list: &[String], effect| list.iter().map(|what| (what.clone(), effect)).collect();
    let rules = ["capability rule other".to_owned(), "capability rule privileged".to_owned()];
    rows.push(Row {
        kind: "Posture",
        edits: vec![("/capabilityRules/0/name", json!("other"))],
        expected: vec![(rules[0].clone(), Stricter), (rules[1].clone(), Looser)],
    });
    let revoked =
        [format!("revoked approval {APPROVAL}"), format!("revoked key {CAROL}"), format!("revoked spec {DIGEST}")];
    rows.push(Row { kind: "Posture", edits: vec![("/revocationLists", json!([]))], expected: gone(&revoked, Looser) });
    let added = ["reviewer carol".to_owned(), format!("reviewer carol key {CAROL}")];
    rows.push(Row {
        kind: "Posture",
        edits: vec![("/reviewerSets", json!(["reviewers", "more-reviewers"]))],
        expected: gone(&added, Looser),
    });
    rows
}

fn rows_of_actions() -> Vec<Row> {
    let mut rows = Vec::new();
    for action in ["deploy", "replay-execute", "replay-dry-run"] {
        let mut add = |field: &str, new: Value, effect: ChangeEffect| {
            let pointer: &'static str = format!("/actions/{action}/{field}").leak();
            let name = field.split('/').next().unwrap_or(field);
            let item = if name == "capabilities" { " x" } else { "" };
            rows.push(posture(pointer, new, &format!("actions.{action}.{name}{item}"), effect));
        };
        let own = if action == "deploy" { "deploy".to_owned() } else { action.replacen('-', ".", 1) };
        add("approval", json!("none"), Looser);
        add("capabilities", json!([own, "x"]), Stricter);
        add("quorum/0/count", json!(3), Stricter);
        add("quorum/0/group", json!("security"), Differs);
        add("maxLifetime", json!("25h"), Looser);
        add("singleUse", json!(true), Stricter);
        add("enforcement", json!("audit"), Looser);
    }
    rows
}

fn rows_of_named_documents() -> Vec<Row> {
    let reviewers =
        |pointer, new, what: &str, effect| row("Reviewers", pointer, new, &format!("reviewer bob {what}"), effect);
    let key = format!("key {BOB}");
    let revocations = |pointer, new, what: String, effect| row("Revocations", pointer, new, &what, effect);
    let approval = || format!("revoked approval {APPROVAL}");
    let pipelines = |pointer, new, effect| row("Pipelines", pointer, new, "build orders@1.4.2", effect);
    let mut rows = vec![
        reviewers("/reviewers/0/groups", json!(["sre", "security"]), "in group security", Looser),
        reviewers("/reviewers/0/projects", Value::Null, "projects", Looser),
        reviewers("/reviewers/0/projects", json!(["payments", "ledger"]), "in project ledger", Looser),
        reviewers("/reviewers/0/capabilities", json!(["deploy", "deploy.*"]), "may grant deploy.*", Looser),
        reviewers("/reviewers/0/identities", json!(["oidc:bob", "b"]), "identity b", Stricter),
        reviewers("/reviewers/0/keys/0/notBefore", json!("2025-01-01T00:00:00Z"), &key, Looser),
        reviewers("/reviewers/0/keys/0/notBefore", json!("2026-02-01T00:00:00Z"), &key, Stricter),
        reviewers("/reviewers/0/keys/0/notBefore", Value::Null, &key, Looser),
        reviewers("/reviewers/0/keys/0/notAfter", json!("2026-12-01T00:00:00Z"), &key, Stricter),
        reviewers("/reviewers/0/keys/0/notAfter", Value::Null, &key, Looser),
        revocations("/approvals/0/at", json!("2026-11-22T09:00:00Z"), approval(), Stricter),
        revocations("/approvals/0/at", Value::Null, approval(), Stricter),
        revocations("/approvals/0/why", json!("x"), approval(), Differs),
        revocations("/keys/0/at", json!("2026-11-22T11:00:00Z"), format!("revoked key {CAROL}"), Looser),
        revocations("/keys/0/why", Value::Null, format!("revoked key {CAROL}"), Differs),
        revocations("/specs/0/at", Value::Null, format!("revoked spec {DIGEST}"), Stricter),
        revocations("/specs/0/why", json!("x"), format!("revoked spec {DIGEST}"), Differs),
        pipelines("/pipelines/orders/1.4.2/specHash", Value::Null, Looser),
        pipelines("/pipelines/orders/1.4.2/specHash", json!(OTHER), Differs),
        pipelines(
            "/pipelines/orders/1.4.2/images",
            json!([format!("acme/orders@{DIGEST}"), format!("acme/orders@{OTHER}")]),
            Looser,
        ),
    ];
    let mut two = |kind, pointer, new, removed: (String, ChangeEffect), added: (String, ChangeEffect)| {
        rows.push(Row { kind, edits: vec![(pointer, new)], expected: vec![removed, added] });
    };
    let other = "01935a00-0000-7000-8000-000000000002";
    two(
        "Revocations",
        "/approvals/0/id",
        json!(other),
        (approval(), Looser),
        (format!("revoked approval {other}"), Stricter),
    );
    let (bob, carol) = (format!("revoked key {BOB}"), format!("revoked key {CAROL}"));
    two("Revocations", "/keys/0/id", json!(BOB), (carol, Looser), (bob, Stricter));
    let (old, new) = (format!("revoked spec {DIGEST}"), format!("revoked spec {OTHER}"));
    two("Revocations", "/specs/0/hash", json!(OTHER), (old, Looser), (new, Stricter));
    let (old, new) = (format!("reviewer bob key {BOB}"), format!("reviewer bob key {CAROL}"));
    two("Reviewers", "/reviewers/0/keys/0/publicKey", json!(pem(CAROLS_KEY)), (old, Stricter), (new, Looser));
    rows.push(Row {
        kind: "Reviewers",
        edits: vec![("/reviewers/0/name", json!("dave"))],
        expected: vec![
            ("reviewer bob".to_owned(), Stricter),
            ("reviewer dave".to_owned(), Looser),
            (format!("reviewer dave key {BOB}"), Looser),
        ],
    });
    rows.push(row("Reviewers", "/reviewers/0/name", json!("Bob"), "reviewer Bob name", Differs));
    rows
}

fn rows() -> Vec<Row> {
    [rows_of_posture(), rows_of_actions(), rows_of_named_documents()].into_iter().flatten().collect()
}

fn set(document: &mut Value, pointer: &str, new: &Value) {
    let (parent, field) = pointer.rsplit_once('/').expect("a pointer");
    let fields = document.pointer_mut(parent).and_then(Value::as_object_mut).expect(pointer);
    match new {
        Value::Null => drop(fields.remove(field)),
        new => drop(fields.insert(field.to_owned(), new.clone())),
    }
}

#[test]
fn each_field_that_changes_alone_is_reported_with_its_effect() {
    let full = assemble(&documents());
    for Row { kind, edits, expected } in rows() {
        let mut changed = documents();
        let document = changed.iter_mut().find(|document| document["kind"] == kind).expect(kind);
        for (pointer, new) in &edits {
            set(document, pointer, new);
        }
        let changed = assemble(&changed);
        let sorted = |changes: Vec<PostureChange>| {
            let mut found: Vec<_> = changes.into_iter().map(|change| (change.what, change.effect)).collect();
            found.sort_by(|(one, _), (other, _)| one.cmp(other));
            found
        };
        let mut expected_sorted = expected.clone();
        expected_sorted.sort_by(|(one, _), (other, _)| one.cmp(other));
        assert_eq!(sorted(changed.changes_since(&full)), expected_sorted, "{kind} {edits:?}");
        if let [(what, effect)] = &*expected {
            let expected = what.strip_prefix("reviewer Bob").map_or(what.clone(), |rest| format!("reviewer bob{rest}"));
            let back = sorted(full.changes_since(&changed));
            assert_eq!(back, [(expected, effect.reverse())], "back from {kind} {edits:?}");
        }
    }
    assert_eq!(full.changes_since(&full), []);
}

/// The paths of all fields that have no fields of their own. `*` is any key of a map, `[]` any item of a list.
fn leaves(root: &Value, schema: &Value, path: &str, found: &mut BTreeSet<String>) {
    let schema = match schema.get("$ref").and_then(Value::as_str) {
        Some(reference) => root.pointer(reference.trim_start_matches('#')).expect(reference),
        None => schema,
    };
    if let Some(fields) = schema.get("properties").and_then(Value::as_object) {
        fields.iter().for_each(|(name, schema)| leaves(root, schema, &format!("{path}/{name}"), found));
    } else if let Some(value) = schema.get("additionalProperties").filter(|schema| schema.is_object()) {
        leaves(root, value, &format!("{path}/*"), found);
    } else if let Some(item) = schema.get("items") {
        leaves(root, item, &format!("{path}/[]"), found);
    } else {
        found.insert(path.trim_end_matches("/[]").to_owned());
    }
}

#[test]
fn the_table_changes_every_field_of_every_document() {
    let rows = rows();
    for (kind, schema) in document_schemas() {
        let mut fields = BTreeSet::new();
        leaves(&schema, &schema, "", &mut fields);
        let is_changed = |field: &String| {
            rows.iter().filter(|row| row.kind.eq_ignore_ascii_case(kind)).flat_map(|row| &row.edits).any(
                |(pointer, _)| {
                    let (field, pointer): (Vec<_>, Vec<_>) = (field.split('/').collect(), pointer.split('/').collect());
                    field.len() == pointer.len()
                        && field.iter().zip(&pointer).all(|(one, other)| match *one {
                            "*" => true,
                            "[]" => *other == "0",
                            one => one == *other,
                        })
                },
            )
        };
        // The environment is what both postures share; the others say what the document is.
        let fixed = ["/apiVersion", "/kind", "/name", "/environment"];
        let missing: Vec<_> =
            fields.iter().filter(|field| !fixed.contains(&field.as_str()) && !is_changed(field)).collect();
        assert!(missing.is_empty(), "{kind}: add rows for {missing:?}");
    }
}

#[test]
fn each_field_of_a_posture_document_changes_the_explanation() {
    let explain = |set: &PostureSet| {
        let mut explanation = set.environment("production").expect("a posture").explain();
        explanation.scope.retain(|(label, _)| *label != "version");
        explanation
    };
    let full = explain(&assemble(&documents()));
    for Row { edits, .. } in rows().into_iter().filter(|row| row.kind == "Posture") {
        let mut changed = documents();
        for (pointer, new) in &edits {
            set(&mut changed[0], pointer, new);
        }
        assert_ne!(explain(&assemble(&changed)), full, "{edits:?}");
    }
}

#[test]
fn an_environment_that_gains_or_loses_its_posture_is_one_change() {
    let (none, full) = (PostureSet::assemble(Vec::new()), assemble(&documents()));
    let mut broken = documents();
    set(&mut broken[0], "/pods", &json!("maybe"));
    let text = |value: &Value| Document { source: String::new(), name: None, text: value.to_string() };
    let broken = PostureSet::assemble(broken.iter().map(text).collect());
    for (before, after, effect) in [(&none, &full, Looser), (&full, &none, Stricter), (&full, &broken, Stricter)] {
        let changes = after.changes_since(before);
        assert_eq!(
            changes.iter().map(|change| (&*change.what, change.effect)).collect::<Vec<_>>(),
            [("posture", effect)]
        );
    }
    let changes = broken.changes_since(&none);
    assert_eq!(changes[0].after.as_deref(), Some("invalid, every action is denied"));
    assert_eq!(changes[0].effect, Differs);
}

#[test]
fn a_rule_that_has_no_effect_in_both_postures_is_not_compared() {
    let free = |lifetime: &str| {
        let mut documents = documents();
        set(&mut documents[0], "/actions/deploy", &json!({"approval": "none", "maxLifetime": lifetime}));
        assemble(&documents)
    };
    assert_eq!(free("1h").changes_since(&free("2h")), []);
}
