//! What a decision costs, lookup by lookup.

use std::collections::BTreeMap;

use ed25519_dalek::{Signer as _, SigningKey, pkcs8::EncodePublicKey as _, pkcs8::spki::der::pem::LineEnding};
use serde_json::{Value, json};

use super::*;
use crate::{
    approval::{DetachedApproval, Envelope, PublicKey, spec_hash},
    decide::driver::Pending,
    kube::{ConfigMapContent, WorkloadKind, bundle_name, content_digest},
    posture::{Document, PostureSet},
    record::{History, Outcome},
    request::{ExemptControllers, Request},
    work::{Work, done_by},
};

const BOB: [u8; 32] = [1; 32];

/// 2026-11-22T11:00:00Z, an hour after the approvals begin and an hour before they end.
const NOW: &str = "2026-11-22T11:00:00Z";

fn bundle() -> (String, ConfigMapContent) {
    let content = ConfigMapContent {
        labels: BTreeMap::from([
            ("writgate.dev/kind".to_owned(), "config-bundle".to_owned()),
            ("writgate.dev/environment".to_owned(), "production".to_owned()),
        ]),
        immutable: true,
        data: BTreeMap::from([("settings".to_owned(), "a".to_owned())]),
        binary_data: BTreeMap::new(),
    };
    (bundle_name("orders", &content), content)
}

/// The specs of an update: of what would run, and of what runs.
fn specs() -> (Value, Value) {
    let spec = |image: &str| {
        json!({"selector": {"matchLabels": {"app": "orders"}}, "template": {
            "metadata": {"labels": {"app": "orders"}},
            "spec": {"containers": [{"name": "orders", "image": image, "envFrom": [{"configMapRef": {"name": bundle().0}}]}]}}})
    };
    (spec("ghcr.io/acme/orders:2"), spec("ghcr.io/acme/orders:1"))
}

/// An approval of the new spec that bob signed, for `environment`.
fn approval(number: u32, environment: &str) -> String {
    approval_of(&specs().0, number, environment)
}

/// An approval of `spec` that bob signed.
fn approval_of(spec: &Value, number: u32, environment: &str) -> String {
    let hash = spec_hash(WorkloadKind::Deployment, &spec.to_string()).unwrap();
    let hash = hash.to_string();
    let payload = json!({"_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "apps/v1/Deployment/payments/orders", "digest": {"sha256": hash.strip_prefix("sha256:")}}],
        "predicateType": "https://writgate.dev/approval/v1",
        "predicate": {"id": format!("01935a00-0000-7000-8000-{number:012}"), "projection": "v1", "action": "deploy",
            "environment": environment, "project": "payments", "capabilities": ["deploy", "deploy.orders"],
            "configBundle": content_digest(&bundle().1), "requestedBy": "alice@acme.example",
            "notBefore": "2026-11-22T10:00:00Z", "expiresAt": "2026-11-22T12:00:00Z"}});
    let mut envelope = Envelope::new(payload.to_string().into_bytes());
    let key = SigningKey::from_bytes(&BOB);
    let id = PublicKey::from_pem(&key.verifying_key().to_public_key_pem(LineEnding::LF).unwrap()).unwrap().id();
    envelope.add_signature(id, key.sign(&envelope.signed_bytes()).to_bytes());
    envelope.to_json()
}

fn detached(name: &str, text: &str) -> DetachedApproval {
    DetachedApproval { name: name.to_owned(), text: text.to_owned() }
}

/// A posture that asks every question there is about a workload.
fn postures() -> PostureSet {
    let key = SigningKey::from_bytes(&BOB).verifying_key().to_public_key_pem(LineEnding::LF).unwrap();
    let documents = [
        json!({"apiVersion": "writgate.dev/v1", "kind": "Posture", "environment": "production",
            "actions": {"deploy": {"singleUse": true}}, "reviewerSets": ["people"], "configBundle": "required",
            "rollback": {"within": "720h", "revisions": 3},
            "capabilityRules": [{"name": "orders", "when": "object.metadata.name == 'orders'", "require": ["deploy.orders"]}]}),
        json!({"apiVersion": "writgate.dev/v1", "kind": "Reviewers", "name": "people", "reviewers": [
            {"name": "bob@acme.example", "capabilities": ["deploy", "deploy.*"], "keys": [{"publicKey": key}]}]}),
    ];
    let document = |document: &Value| Document { source: "test".into(), name: None, text: document.to_string() };
    let postures = PostureSet::assemble(documents.iter().map(document).collect());
    assert_eq!(postures.problems(), []);
    postures
}

fn review(attached: &str) -> String {
    let (new, old) = specs();
    let object = |spec: &Value, annotations: Value| {
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": spec,
            "metadata": {"name": "orders", "namespace": "payments", "annotations": annotations}})
    };
    let digest = content_digest(&bundle().1);
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
        "uid": "u", "operation": "UPDATE", "userInfo": {"username": "alice"}, "namespace": "payments", "name": "orders",
        "kind": {"group": "apps", "version": "v1", "kind": "Deployment"},
        "resource": {"group": "apps", "version": "v1", "resource": "deployments"},
        "object": object(&new, json!({"writgate.dev/approval": attached, "writgate.dev/config-bundle": digest})),
        "oldObject": object(&old, json!({}))}})
    .to_string()
}

/// Decides the update with `attached`, calling `answer` for each lookup; returns what it cost.
fn decide_counting(attached: &str, mut answer: impl FnMut(Pending<'_>) -> Step<'_>) -> (Decision, Vec<Work>) {
    let (postures, body) = (postures(), review(attached));
    let request = Request::parse(body.as_bytes()).unwrap();
    let posture = postures.environment("production");
    let governance = Governance::Governed { environment: "production", project: Some("payments"), posture };
    let facts = Facts {
        decision_id: Uuid::nil(),
        exempt: &ExemptControllers::default(),
        clock_leeway: jiff::SignedDuration::ZERO,
    };
    done_by(|| {
        let mut step = start(&request, &governance, &facts, NOW.parse().unwrap());
        loop {
            step = match step {
                Step::Done(decision) => break *decision,
                Step::Ask(pending) => answer(pending),
            }
        }
    })
}

fn times(done: &[Work], work: Work) -> usize {
    done.iter().filter(|one| **one == work).count()
}

#[test]
fn a_denial_after_every_lookup_computes_nothing_twice() {
    let (attached, first, second) =
        (approval(1, "staging"), detached("a", &approval(2, "testing")), detached("b", &approval(3, "testing")));
    let mut asked = Vec::new();
    let (decision, done) = decide_counting(&attached, |pending| match pending {
        Pending::CachedApprovals(question) => {
            asked.push("cached");
            question.answer(vec![first.clone()])
        }
        Pending::LiveApprovals(question) => {
            asked.push("live");
            question.answer(Ok(vec![second.clone(), first.clone()]))
        }
        Pending::History(question) => {
            asked.push("history");
            question.answer(Ok(History::default()))
        }
        other => panic!("{other:?}"),
    });
    assert_eq!(decision.record.reasons, ["WrongEnvironment"]);
    assert_eq!(asked, ["cached", "live", "history"]);
    assert_eq!(times(&done, Work::SpecHash), 2, "of the new spec and of the old one");
    assert_eq!(times(&done, Work::PodSpec), 1);
    assert_eq!(times(&done, Work::CapabilityRules), 1);
    assert_eq!(times(&done, Work::SignatureCheck), 3, "one for each approval");
    assert_eq!(times(&done, Work::Explanation), 0, "the specs do not differ");
}

#[test]
fn only_the_reported_denial_is_explained() {
    let attached = approval_of(&specs().1, 1, "production");
    let found = |approvals: &[DetachedApproval]| {
        decide_counting(&attached, |pending| match pending {
            Pending::CachedApprovals(question) => question.answer(approvals.to_vec()),
            Pending::LiveApprovals(question) => question.answer(Ok(approvals.to_vec())),
            Pending::History(question) => question.answer(Ok(History::default())),
            other => panic!("{other:?}"),
        })
    };
    let (decision, done) = found(&[]);
    assert_eq!(decision.record.reasons, ["SpecHashMismatch"]);
    let text = decision.message();
    assert!(text.contains("the first difference is at spec.template.spec.containers[0].image"), "{text}");
    assert_eq!(times(&done, Work::Explanation), 1);
    // Another approval comes closer, so nobody reads where the first one differs.
    let (decision, done) = found(&[detached("a", &approval(2, "staging"))]);
    assert_eq!(decision.record.reasons, ["WrongEnvironment"]);
    assert_eq!(times(&done, Work::SignatureCheck), 2);
    assert_eq!(times(&done, Work::Explanation), 0);
}

#[test]
fn an_admission_after_every_lookup_computes_nothing_twice() {
    let (name, content) = bundle();
    let mut asked = Vec::new();
    let (decision, done) = decide_counting(&approval(1, "production"), |pending| match pending {
        Pending::ConfigMaps(question) => {
            asked.push("configmaps");
            question.answer(BTreeMap::from([(name.clone(), Ok(Some(content.clone())))]))
        }
        Pending::Use(question) => {
            asked.push("use");
            let holder = UseRecord::new(question.asked().clone(), NOW.parse().unwrap());
            question.answer(Ok(Some(holder)))
        }
        other => panic!("{other:?}"),
    });
    assert_eq!(decision.record.decision, Outcome::Admitted, "{}", decision.message());
    assert_eq!(asked, ["configmaps", "use"]);
    assert_eq!(times(&done, Work::SpecHash), 2);
    assert_eq!(times(&done, Work::PodSpec), 1);
    assert_eq!(times(&done, Work::CapabilityRules), 1);
    assert_eq!(times(&done, Work::SignatureCheck), 1);
}

#[test]
fn a_config_map_that_the_answer_lacks_denies() {
    let (decision, _) = decide_counting(&approval(1, "production"), |pending| match pending {
        Pending::ConfigMaps(question) => question.answer(BTreeMap::new()),
        other => panic!("{other:?}"),
    });
    assert_eq!(decision.record.reasons, ["LookupFailed"]);
}
