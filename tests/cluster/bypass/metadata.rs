//! Attempts with the metadata by which controllers recognise their Pods: labels, owner references and finalizers.

use serde_json::{Value, json};

use crate::bypass::case::{PATIENCE, TenantNamespace, as_kind, text};
use writgate_testing::harness::{Test, tests};
use writgate_testing::{Installation, wait_until};

pub(crate) fn tests() -> Vec<Test<Installation>> {
    tests![guards_the_metadata_of_a_replays_pod, guards_the_owner_and_revision_of_pods]
}

/// The policy that protects what controllers recognise their Pods by.
const POLICY: &str = "pods.writgate.dev";

/// The Job controller does not count a Pod that has lost this metadata, and starts another one.
fn guards_the_metadata_of_a_replays_pod(installation: &Installation) {
    let ns = TenantNamespace::new(installation, "job-pod");
    ns.runs(&ns.replay_job("replay"));
    let pod = pod_of(&ns);
    let patch = |attempt: &str, metadata: Value| {
        ns.row(95, attempt).patch(&pod, "merge", &json!({"metadata": metadata})).guarded_by_policy(POLICY);
    };
    patch(
        "both `controller-uid` labels removed from a replay's Pod",
        json!({"labels": {"controller-uid": null, "batch.kubernetes.io/controller-uid": null}}),
    );
    patch(
        "a replay's Pod given to another Job by label",
        json!({"labels": {"batch.kubernetes.io/controller-uid": "b2a1f9d0-0000-4000-8000-000000000000"}}),
    );
    patch("a label added to a replay's Pod", json!({"labels": {"team": "payments"}}));
    patch("the finalizer `batch.kubernetes.io/job-tracking` removed from a replay's Pod", json!({"finalizers": null}));
    patch("the owner reference removed from a replay's Pod", json!({"ownerReferences": null}));
    ns.row(95, "an annotation added to a replay's Pod").kubectl(&["annotate", &pod, "team=payments"]).unchanged();
    let jobs = ns.list("pods");
    assert_eq!(jobs.len(), 1, "the Job has started one Pod: {jobs:?}");
}

fn guards_the_owner_and_revision_of_pods(installation: &Installation) {
    let ns = TenantNamespace::new(installation, "set-pod");
    let more = json!({"serviceName": "orders", "replicas": 1});
    ns.runs(&as_kind(&ns.deployment("orders"), "apps/v1", "StatefulSet", more));
    let pod = pod_of(&ns);
    let patch = |attempt: &str, metadata: Value| {
        ns.row(96, attempt).patch(&pod, "merge", &json!({"metadata": metadata})).guarded_by_policy(POLICY);
    };
    patch(
        "the `controller-revision-hash` of a StatefulSet's Pod changed, so that it looks updated",
        json!({"labels": {"controller-revision-hash": "orders-1"}}),
    );
    patch("the owner reference removed from a StatefulSet's Pod", json!({"ownerReferences": null}));
    ns.row(96, "a label added to a StatefulSet's Pod").kubectl(&["label", &pod, "team=payments"]).unchanged();
}

/// The only Pod of the namespace, as `pod/NAME`.
fn pod_of(ns: &TenantNamespace<'_>) -> String {
    let pod = wait_until("there is a Pod", PATIENCE, || ns.list("pods").pop());
    format!("pod/{}", text(&pod["metadata"]["name"]))
}
