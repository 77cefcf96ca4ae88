//! Attempts to let a controller adopt what nobody approved for it. Attempts with Pods are in `metadata`.

use serde_json::{Value, json};

use crate::bypass::case::{EVIL, PATIENCE, TenantNamespace, text};
use writgate_testing::harness::{Test, tests};
use writgate_testing::{Installation, wait_until};

pub(crate) fn tests() -> Vec<Test<Installation>> {
    tests![
        denies_a_selector_that_adopts_an_orphan,
        denies_handing_a_stray_set_to_a_deployment,
        denies_relabelling_a_job
    ]
}

/// A paused Deployment with a selector that matches an orphaned `ReplicaSet` would scale it up.
fn denies_a_selector_that_adopts_an_orphan(installation: &Installation) {
    let rollback = |posture: &mut Value| posture["rollback"] = json!({"within": "720h", "revisions": 3});
    let ns = TenantNamespace::with(installation, "selector", rollback);
    let mut harmless = ns.deployment("harmless");
    harmless["spec"]["selector"]["matchLabels"] = json!({"app": "harmless"});
    harmless["spec"]["template"]["metadata"]["labels"] = json!({"app": "harmless"});
    ns.runs(&harmless);
    ns.runs(&ns.deployment("orders"));
    ns.arrange(&["delete", "deployment/harmless"]);
    ns.arrange(&["delete", "deployment/orders", "--cascade=orphan"]);
    let orphan =
        || ns.list("replicasets").into_iter().find(|set| set["spec"]["selector"]["matchLabels"]["app"] == "orders");
    wait_until("the ReplicaSet has no owner", PATIENCE, || {
        orphan()?["metadata"]["ownerReferences"].is_null().then_some(())
    });
    ns.arrange(&[
        "scale",
        &format!("replicaset/{}", text(&orphan().expect("it is there")["metadata"]["name"])),
        "--replicas=0",
    ]);
    let mut adopting = harmless.clone();
    adopting["spec"]["selector"] = json!({"matchExpressions": [{"key": "tier", "operator": "DoesNotExist"}]});
    adopting["spec"]["paused"] = json!(true);
    adopting["spec"]["replicas"] = json!(3);
    ns.row(101, "a paused Deployment whose selector matches an orphaned ReplicaSet, where `rollback` admits its spec")
        .create(&adopting)
        .denied("ApprovalRequired");
    adopting["metadata"]["annotations"] = ns.approved(&harmless)["metadata"]["annotations"].clone();
    ns.row(
        101,
        "a paused Deployment whose selector matches an orphaned ReplicaSet, with the approval of another selector",
    )
    .create(&adopting)
    .denied("SpecHashMismatch");
}

/// What was made before the namespace was governed has no approval.
fn denies_handing_a_stray_set_to_a_deployment(installation: &Installation) {
    let ns = TenantNamespace::new(installation, "stray");
    ns.runs(&ns.deployment("orders"));
    let labels = json!({"stray": "yes"});
    let stray = json!({"apiVersion": "apps/v1", "kind": "ReplicaSet",
        "metadata": {"name": "stray", "namespace": ns.namespace, "labels": labels},
        "spec": {"replicas": 0, "selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels},
            "spec": {"containers": [{"name": "c", "image": EVIL}]}}}});
    // The webhook does not decide what this controller writes, as if the namespace were not governed yet.
    let controller = "--as=system:serviceaccount:kube-system:deployment-controller";
    let ran = installation.plane.admin.kubectl_in(&["create", controller, "-f", "-"], &stray.to_string());
    assert!(ran.ok(), "{ran}");
    let patch = |attempt: &str, metadata: Value| {
        ns.row(102, attempt)
            .patch("replicaset/stray", "merge", &json!({"metadata": metadata}))
            .denied("ApprovalRequired");
    };
    patch("a stray ReplicaSet given the labels that a Deployment selects", json!({"labels": {"app": "orders"}}));
    let owner = ns.live("deployment/orders").expect("it is there");
    let owner = json!([{"apiVersion": "apps/v1", "kind": "Deployment", "name": "orders", "controller": true,
        "uid": owner["metadata"]["uid"]}]);
    patch("a stray ReplicaSet given a Deployment as its owner", json!({"ownerReferences": owner}));
}

/// The policy `pods.writgate.dev` guards the Pods of a Job, and an approval the Job itself.
fn denies_relabelling_a_job(installation: &Installation) {
    let ns = TenantNamespace::new(installation, "relabelled");
    ns.runs(&ns.replay_job("replay"));
    let metadata = json!({"labels": {"team": "orders"}, "annotations": {"writgate.dev/approval": null}});
    ns.row(103, "a label added to a Job that runs")
        .patch("job/replay", "merge", &json!({"metadata": metadata}))
        .denied("ApprovalRequired");
}
