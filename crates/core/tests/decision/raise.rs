//! A Deployment's controller that raises a `ReplicaSet` from zero.

use serde_json::{Value, json};
use writgate_core::WorkloadKind;

use crate::case::{Case, Ledger};

fn template(image: &str, labels: &Value) -> Value {
    json!({"metadata": {"labels": labels}, "spec": {"containers": [{"name": "orders", "image": image}]}})
}

/// The controller raises a revision from zero.
fn raised() -> Case {
    let template = template("orders:1", &json!({"app": "orders", "pod-template-hash": "589cfc5c8"}));
    Case::of(WorkloadKind::ReplicaSet, "orders-589cfc5c8", &json!({"replicas": 0, "template": template})).updated().with(|c| {
        c.signers.clear();
        c.request["userInfo"]["username"] = "system:serviceaccount:kube-system:deployment-controller".into();
        c.spec()["replicas"] = 3.into();
        c.object()["metadata"]["ownerReferences"] =
            json!([{"apiVersion": "apps/v1", "kind": "Deployment", "name": "orders", "uid": "1", "controller": true}]);
    })
}

/// Its Deployment is there and says this, paused or not.
fn says(image: &str) -> Ledger {
    let template = template(image, &json!({"app": "orders"}));
    let ledger = Ledger::default();
    ledger.deployment.replace(Some(json!({"replicas": 3, "paused": true, "template": template}).to_string()));
    ledger
}

#[track_caller]
fn expect(case: &Case, ledger: &Ledger, expected: &str) {
    let decision = case.decide_knowing(&case.body(), ledger);
    let found = match decision.record.reasons.join(" ") {
        reasons if reasons.is_empty() => decision.record.decision.as_str().to_owned(),
        reasons => reasons,
    };
    assert_eq!(found, expected, "{}", decision.message());
}

#[test]
fn what_the_deployment_says_may_run() {
    expect(&raised(), &says("orders:1"), "not-an-action");
}

#[test]
fn denies_what_the_deployment_does_not_say() {
    expect(&raised(), &says("orders:2"), "WorkloadNotAllowed");
    expect(&raised(), &Ledger::default(), "WorkloadNotAllowed");
    let softened = raised().with(|c| c.posture["enforcement"] = "audit".into());
    expect(&softened, &says("orders:2"), "WorkloadNotAllowed");
}

#[test]
fn denies_when_the_deployment_cannot_be_read() {
    let ledger = Ledger { fault: Some("it is down".to_owned()), ..says("orders:1") };
    expect(&raised(), &ledger, "LookupFailed");
}

#[test]
fn nothing_is_read_for_what_runs_already_or_is_lowered() {
    let fault = || Ledger { fault: Some("it is down".to_owned()), ..Ledger::default() };
    let from = |replicas: i64| raised().with(|c| c.request["oldObject"]["spec"]["replicas"] = replicas.into());
    expect(&from(1), &fault(), "not-an-action");
    expect(&from(5), &fault(), "not-an-action");
    expect(&from(0).with(|c| c.spec()["replicas"] = 0.into()), &fault(), "not-an-action");
}

#[test]
fn a_replica_set_of_another_owner_is_its_controllers() {
    let of = |owners: Value| raised().with(|c| c.object()["metadata"]["ownerReferences"] = owners);
    let owner = |kind: &str, controller: bool| json!([{"apiVersion": "apps/v1", "kind": kind, "name": "orders", "uid": "1", "controller": controller}]);
    expect(&of(owner("Rollout", true)), &Ledger::default(), "not-an-action");
    expect(&of(owner("Deployment", false)), &Ledger::default(), "not-an-action");
    expect(&of(owner("Deployment", true)), &Ledger::default(), "WorkloadNotAllowed");
    expect(&of(json!([{"kind": 1}])), &Ledger::default(), "MalformedReview");
}
