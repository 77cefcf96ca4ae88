//! Further kinds: custom resources that the configuration declares workloads.

use serde_json::{Value, json};
use writgate_core::kube::{WorkloadKind, WorkloadKinds};

use crate::decision::case::Case;

fn kind() -> WorkloadKind {
    "example.com/v1/Rollout=rollouts:spec.workload.template".parse().expect("a kind")
}

/// A rollout that bob approved.
fn rollout() -> Case {
    let pod = json!({"spec": {"containers": [{"name": "orders", "image": "ghcr.io/acme/orders:1.4.2"}]}});
    let kind = kind();
    Case::of(kind, "orders", &json!({"replicas": 1, "workload": {"template": pod}}))
        .with(|c| c.kinds = WorkloadKinds::from_iter([kind]))
}

fn image(case: &mut Case) -> &mut Value {
    &mut case.spec()["workload"]["template"]["spec"]["containers"][0]["image"]
}

#[test]
fn a_further_kind_is_checked_like_a_workload() {
    rollout().expect("admitted");
    rollout().with(|c| c.signers.clear()).expect("ApprovalRequired");
    rollout().with(|c| *image(c) = "evil".into()).expect("SpecHashMismatch");
    rollout().with(|c| c.posture["workloads"] = "deny".into()).expect("WorkloadNotAllowed");
    let other = "example.com/v1/Rollout/payments/other";
    rollout().with(|c| c.approval.subjects[0].name = other.into()).expect("WrongResource");
    rollout().with(|c| c.kinds = WorkloadKinds::default()).expect("UnsupportedKind");
}

/// Only the operator of a custom resource knows what its fields mean, so the hash covers all of them.
#[test]
fn the_hash_covers_the_whole_spec_of_a_further_kind() {
    rollout().with(|c| c.spec()["replicas"] = 2.into()).expect("SpecHashMismatch");
    rollout().with(|c| c.spec()["paused"] = true.into()).expect("SpecHashMismatch");
    let restarted = json!({"annotations": {"kubectl.kubernetes.io/restartedAt": "2026-11-22T10:00:00Z"}});
    rollout().with(|c| c.spec()["workload"]["template"]["metadata"] = restarted).expect("SpecHashMismatch");
}

#[test]
fn a_change_outside_the_spec_is_not_an_action() {
    let bare = || rollout().with(|c| c.signers.clear());
    bare().updated().expect("not-an-action");
    bare().updated().with(|c| c.object()["metadata"]["labels"]["team"] = "a".into()).expect("not-an-action");
    bare().updated().with(|c| c.request["subResource"] = "status".into()).expect("not-an-action");
    bare().with(|c| c.request["operation"] = "DELETE".into()).expect("not-an-action");
    rollout().updated().with(|c| *image(c) = "evil".into()).expect("SpecHashMismatch");
}

#[test]
fn denies_a_replay_image() {
    rollout().with(|c| *image(c) = "ghcr.io/acme/replay:1".into()).expect("WorkloadNotAllowed");
}

/// As a Rollout with `workloadRef`, whose Pod is in a Deployment.
#[test]
fn without_a_pod_template_the_whole_spec_is_approved() {
    let of = |workload: Value| {
        Case::of(kind(), "orders", &json!({"replicas": 1, "workloadRef": {"name": "orders"}, "workload": workload}))
            .with(|c| c.kinds = WorkloadKinds::from_iter([kind()]))
    };
    for absent in [
        json!({}),
        Value::Null,
        json!({"template": null}),
        json!({"template": {}}),
        json!({"template": {"spec": null}}),
    ] {
        of(absent.clone()).expect("admitted");
        of(absent.clone()).with(|c| c.signers.clear()).expect("ApprovalRequired");
        of(absent.clone()).with(|c| c.spec()["workloadRef"]["name"] = "other".into()).expect("SpecHashMismatch");
        of(absent.clone()).with(|c| c.posture["workloads"] = "deny".into()).expect("WorkloadNotAllowed");
        // It refers to no ConfigMap, so it is no bundle.
        of(absent).with(|c| c.posture["configBundle"] = "required".into()).expect("ConfigBundleMismatch");
    }
    let moved = |c: &mut Case| {
        let template = c.spec()["workload"].take();
        c.spec()["elsewhere"] = template;
    };
    rollout().with(moved).expect("SpecHashMismatch");
    for odd in [
        json!([]),
        json!("x"),
        json!({"template": 1}),
        json!({"template": {"spec": []}}),
        json!({"template": {"spec": {"containers": {}}}}),
    ] {
        of(odd).expect("MalformedReview");
    }
    let none = json!({"replicas": 1});
    Case::of(WorkloadKind::Deployment, "orders", &none).expect("MalformedReview");
}

#[test]
fn another_resource_of_a_further_kind_is_malformed() {
    rollout().with(|c| c.request["resource"]["resource"] = "rolloutses".into()).expect("MalformedReview");
}
