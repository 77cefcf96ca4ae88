//! The vectors of approval-v1.

use serde_json::{Value, json};
use writgate_core::{
    approval::{Approval, Envelope, PublicKey},
    record::Denial,
};

use crate::spec::{case::Case, decision::decided};

/// The AdmissionReview of the creation of a Deployment with this approval.
fn review(envelope: &str) -> Value {
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
        "uid": "r-1", "operation": "CREATE", "namespace": "payments", "name": "orders",
        "kind": {"group": "apps", "version": "v1", "kind": "Deployment"},
        "resource": {"group": "apps", "version": "v1", "resource": "deployments"},
        "userInfo": {"username": "admin"},
        "object": {"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "orders", "annotations": {"writgate.dev/approval": envelope}},
            "spec": {"template": {"spec": {"containers": [{"name": "c", "image": "app:1"}]}}}}}})
}

/// A posture with one reviewer for each key.
fn documents(keys: &[Value]) -> Vec<Value> {
    let reviewer = |(index, key): (usize, &Value)| json!({"name": format!("reviewer {index}"), "capabilities": ["deploy"], "keys": [{"publicKey": key}]});
    let reviewers: Vec<_> = keys.iter().enumerate().map(reviewer).collect();
    vec![
        json!({"apiVersion": "writgate.dev/v1", "kind": "Posture", "environment": "production",
            "reviewerSets": ["reviewers"]}),
        json!({"apiVersion": "writgate.dev/v1", "kind": "Reviewers", "name": "reviewers", "reviewers": reviewers}),
    ]
}

/// The outcome of the envelope, in the form of a case's `expect`.
fn outcome(case: &Case) -> Value {
    let labels = json!({"writgate.dev/environment": "production", "writgate.dev/project": "payments"});
    let now = "2026-11-22T11:00:00Z".parse().expect("a time");
    let envelope = case.text("envelope");
    let decision = decided(&review(envelope), &labels, &documents(case.list("keys")), &Value::Null, now);
    match decision.denials.first() {
        Some(Denial::MalformedApproval { signed, .. }) => {
            json!({"reason": "MalformedApproval", "stage": if *signed { "statement" } else { "envelope" }})
        }
        Some(denial @ (Denial::UnknownKey { .. } | Denial::InvalidSignature { .. })) => {
            json!({"reason": denial.code()})
        }
        _ => {
            let [verified] = &*decision.record.approvals else { panic!("{}: {:?}", case.name, decision.record) };
            json!({"keyids": verified.key_ids, "approval": approval(envelope)})
        }
    }
}

/// Subjects and predicate after parsing and writing them.
fn approval(envelope: &str) -> Value {
    let envelope = Envelope::parse(envelope).expect("an envelope");
    let approval = Approval::parse(envelope.payload()).expect("an approval");
    let subjects = approval.subjects.iter().map(|subject| json!({"name": subject.name, "specHash": subject.hash}));
    let subjects: Value = subjects.collect();
    let written: Value = serde_json::from_slice(&approval.to_payload()).expect("JSON");
    json!({"subjects": subjects, "predicate": written["predicate"]})
}

#[test]
fn every_vector_of_approval_v1() {
    for case in Case::all("approval-v1", 145) {
        if case.name.starts_with("key-") {
            let key = PublicKey::from_pem(case.text("publicKey"));
            let found = key.map_or(json!({"refused": true}), |key| json!({"keyid": key.id()}));
            assert_eq!(found, *case.expect(), "{}", case.name);
        } else {
            assert_eq!(outcome(&case), *case.expect(), "{}", case.name);
        }
    }
}
