//! Assembling: valid documents, one thing changed, and the problem that is reported. One file for each topic.

mod config_maps;
mod document;
mod reassemble;
mod reviewers;
mod revocations;
mod set;

use serde_json::Value;

use super::*;

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

/// The valid documents, with one value of one document changed.
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

/// The paths and messages of the problems that make production invalid.
fn problems(set: &PostureSet) -> Vec<(String, String)> {
    match set.environment("production") {
        Err(PostureError::Invalid { problems }) => {
            problems.iter().map(|problem| (problem.path.clone(), problem.message.clone())).collect()
        }
        other => panic!("expected production to be invalid: {other:?}"),
    }
}

#[track_caller]
fn assert_problem(set: &PostureSet, path: &str, message: &str) {
    let problems = problems(set);
    assert!(
        problems.iter().any(|(at, what)| at == path && what.contains(message)),
        "expected {path}: …{message}…; found {problems:#?}"
    );
}

#[track_caller]
fn assert_posture_problem(pointer: &str, new: Value, path: &str, message: &str) {
    assert_problem(&changed("Posture", pointer, new), path, message);
}

/// Asserts a problem of a named document, and that the posture reports it too.
#[track_caller]
fn assert_set_problem(which: &str, pointer: &str, new: Value, path: &str, message: &str) {
    let set = changed(which, pointer, new);
    let field = if which == "Reviewers" { "reviewerSets[0]" } else { "revocationLists[0]" };
    assert_problem(&set, field, "is invalid");
    let problems = set.problems();
    assert!(
        problems.iter().any(|problem| problem.path == path && problem.message.contains(message)),
        "expected {path}: …{message}…; found {problems:#?}"
    );
}
