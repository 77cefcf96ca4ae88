//! Attempts with everything other than a Deployment that runs code: other kinds, the objects of controllers, and Pods.

use std::time::Duration;

use serde_json::{Value, json};

use crate::bypass::case::{EVIL, GOOD, PATIENCE, TenantNamespace, as_kind, row as note, text};
use writgate_testing::harness::{Test, tests};
use writgate_testing::{APPROVAL, Installation, wait_until};

pub(crate) fn tests() -> Vec<Test<Installation>> {
    tests![
        denies_changes_of_replica_sets,
        denies_adoption,
        denies_scaling_orphans,
        denies_pods,
        denies_changes_of_running_pods,
        denies_other_kinds,
        denies_changes_of_other_kinds,
        denies_unapproved_cron_jobs,
        denies_forged_revisions,
        denies_pods_of_unlisted_controllers,
        denies_connections_into_pods,
    ]
}

fn denies_changes_of_replica_sets(installation: &Installation) {
    let ns = TenantNamespace::new(installation, "sets");
    ns.runs(&ns.deployment("orders"));
    let set = ns.replica_set(GOOD);
    let target = format!("replicaset/{set}");
    let live = ns.live(&target).expect("it is there");
    let mut copy = as_kind(&ns.deployment("copy"), "apps/v1", "ReplicaSet", json!({"replicas": 1}));
    copy["spec"]["template"]["spec"]["containers"][0]["image"] = json!(EVIL);
    copy["metadata"]["labels"] = live["metadata"]["labels"].clone();
    ns.row(20, "a ReplicaSet").create(&copy).denied("ApprovalRequired");
    copy["metadata"]["ownerReferences"] = live["metadata"]["ownerReferences"].clone();
    ns.row(20, "a ReplicaSet with the labels and owner of an approved Deployment's ReplicaSet")
        .create(&copy)
        .denied("ApprovalRequired");
    copy["metadata"]["annotations"] = json!({APPROVAL: live["metadata"]["annotations"][APPROVAL]});
    ns.row(20, "a ReplicaSet with the labels, owner and approval of an approved Deployment")
        .create(&copy)
        .denied("SpecHashMismatch");
    ns.row(21, "another image in a Deployment's ReplicaSet")
        .kubectl(&["set", "image", &target, &format!("orders={EVIL}")])
        .denied("SpecHashMismatch");
    let scale = |attempt: &str, replicas: &str| ns.row(21, attempt).kubectl(&["scale", &target, replicas]);
    scale("a Deployment's ReplicaSet scaled up through `/scale`", "--replicas=3").denied("WorkloadNotAllowed");
    ns.row(21, "a Deployment's ReplicaSet scaled up in its spec")
        .patch(&target, "merge", &json!({"spec": {"replicas": 3}}))
        .denied("SpecHashMismatch");
    scale("a Deployment's ReplicaSet scaled down, which the Deployment reverts", "--replicas=0").unchanged();
}

/// A controller adopts an object with matching labels and no controller, and then scales it.
fn denies_adoption(installation: &Installation) {
    let ns = TenantNamespace::new(installation, "adoption");
    ns.runs(&ns.deployment("orders"));
    let set = ns.replica_set(GOOD);
    let target = format!("replicaset/{set}");
    let patch = |attempt, patch: Value| ns.row(20, attempt).patch(&target, "merge", &patch);
    patch("a ReplicaSet's owner removed", json!({"metadata": {"ownerReferences": null}})).denied("SpecHashMismatch");
    patch("a ReplicaSet's label removed that its selector uses", json!({"metadata": {"labels": {"app": "other"}}}))
        .denied("SpecHashMismatch");
    patch("a ReplicaSet's other label added", json!({"metadata": {"labels": {"team": "orders"}}}))
        .denied("SpecHashMismatch");
    patch("an annotation added to a ReplicaSet", json!({"metadata": {"annotations": {"note": "a"}}})).unchanged();
    let pod = text(&ns.list("pods")[0]["metadata"]["name"]);
    ns.row(22, "a Pod removed from its ReplicaSet by its label: it continues to run, and another replaces it")
        .patch(&format!("pod/{pod}"), "merge", &json!({"metadata": {"labels": {"app": "released"}}}))
        .unchanged();
}

/// A Deployment deleted with `--cascade=orphan` leaves its `ReplicaSet`s without an owner.
fn denies_scaling_orphans(installation: &Installation) {
    let ns = TenantNamespace::new(installation, "orphans");
    let mut orders = ns.deployment("orders");
    orders["spec"]["strategy"] = json!({"type": "Recreate"});
    ns.runs(&orders);
    orders["spec"]["template"]["spec"]["containers"][0]["image"] = json!("ghcr.io/acme/orders:1.5.0");
    ns.runs(&orders);
    let old = format!("replicaset/{}", ns.replica_set(GOOD));
    ns.row(84, "a Deployment deleted without its ReplicaSets")
        .kubectl(&["delete", "deployment/orders", "--cascade=orphan"])
        .unchanged();
    wait_until("the ReplicaSet has no owner", PATIENCE, || {
        ns.live(&old)?["metadata"]["ownerReferences"].is_null().then_some(())
    });
    ns.row(84, "an orphaned ReplicaSet scaled up from zero through `/scale`")
        .kubectl(&["scale", &old, "--replicas=1"])
        .denied("WorkloadNotAllowed");
    ns.row(84, "an orphaned ReplicaSet scaled up from zero in its spec")
        .patch(&old, "merge", &json!({"spec": {"replicas": 1}}))
        .denied("SpecHashMismatch");
    ns.row(84, "an orphaned ReplicaSet given to another Deployment by owner reference")
        .patch(
            &old,
            "merge",
            &json!({"metadata": {"ownerReferences": [{"apiVersion": "apps/v1", "kind": "Deployment",
            "name": "other", "uid": "0b0c1d6a-0000-4000-8000-000000000000", "controller": true}]}}),
        )
        .denied("SpecHashMismatch");
}

fn denies_pods(installation: &Installation) {
    let ns = TenantNamespace::new(installation, "pods");
    ns.runs(&ns.deployment("orders"));
    let target = format!("replicaset/{}", ns.replica_set(GOOD));
    let set = ns.live(&target).expect("it is there");
    let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "bare"},
        "spec": {"containers": [{"name": "c", "image": EVIL}]}});
    ns.row(22, "`kubectl run`").kubectl(&["run", "bare", &format!("--image={EVIL}")]).denied("WorkloadNotAllowed");
    ns.row(22, "a bare Pod").create(&pod).denied("WorkloadNotAllowed");
    pod["metadata"]["labels"] = set["spec"]["template"]["metadata"]["labels"].clone();
    pod["metadata"]["ownerReferences"] = json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "controller": true,
        "name": set["metadata"]["name"], "uid": set["metadata"]["uid"]}]);
    ns.row(22, "a Pod with the labels and owner of a ReplicaSet's Pod").create(&pod).denied("WorkloadNotAllowed");
    let mut exact = ns.list("pods")[0].clone();
    exact["metadata"]["name"] = json!("exact");
    exact["spec"]["containers"][0]["image"] = json!(EVIL);
    ns.row(22, "a copy of a running Pod under another name").create(&exact).denied("WorkloadNotAllowed");
}

fn denies_changes_of_running_pods(installation: &Installation) {
    let ns = TenantNamespace::new(installation, "running");
    ns.runs(&ns.deployment("orders"));
    let name = text(&ns.list("pods")[0]["metadata"]["name"]);
    let pod = format!("pod/{name}");
    ns.row(23, "`kubectl set image` of a running Pod")
        .kubectl(&["set", "image", &pod, &format!("orders={EVIL}")])
        .denied("WorkloadNotAllowed");
    ns.row(23, "tolerations of a running Pod extended")
        .patch(&pod, "json", &json!([{"op": "add", "path": "/spec/tolerations/-", "value": {"operator": "Exists"}}]))
        .denied("WorkloadNotAllowed");
    let image = format!("--image={EVIL}");
    let debug = ["debug", &name, &image, "--attach=false", "--profile=general"];
    ns.row(24, "`kubectl debug`: an ephemeral container").kubectl(&debug).refused("Forbidden");
    ns.row(24, "an ephemeral container, by a user who may add one")
        .by(&installation.plane.admin)
        .kubectl(&debug)
        .denied("WorkloadNotAllowed");
    ns.row(24, "`kubectl debug --copy-to`: a copy of the Pod")
        .kubectl(&["debug", &name, &image, "--attach=false", "--copy-to=copy", "--profile=general"])
        .denied("WorkloadNotAllowed");
    let bigger = json!({"spec": {"containers": [{"name": "orders", "image": EVIL,
        "resources": {"requests": {"cpu": "600m"}}}]}});
    let args = ["patch", &pod, "--subresource=resize", "-p", &bigger.to_string()];
    ns.row(24, "PATCH of `pods/resize` with another image").kubectl(&args).refused("Forbidden");
}

fn denies_other_kinds(installation: &Installation) {
    let ns = TenantNamespace::new(installation, "kinds");
    let evil = ns.deployment("other");
    for (kind, object) in [
        ("StatefulSet", as_kind(&evil, "apps/v1", "StatefulSet", json!({"serviceName": "x"}))),
        ("DaemonSet", as_kind(&evil, "apps/v1", "DaemonSet", json!({}))),
        (
            "ReplicationController",
            as_kind(&evil, "v1", "ReplicationController", json!({"selector": {"app": "orders"}})),
        ),
        ("Job", job("other")),
        ("CronJob", cron_job("other")),
    ] {
        ns.row(26, format!("a {kind}")).create(&object).denied("ApprovalRequired");
        let approved = writgate_testing::attach(&object, &ns.signed_but(&evil, |_| {}));
        let row = ns.row(26, format!("a {kind} with the approval of a Deployment of the same template"));
        row.create(&approved).denied("SpecHashMismatch");
    }
    let template = json!({"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "other"},
        "template": evil["spec"]["template"]});
    ns.row(29, "a PodTemplate").create(&template).refused("Forbidden");
    ns.row(29, "a PodTemplate, by a user who may write one: nothing runs it")
        .by(&installation.plane.admin)
        .create(&template)
        .unchanged();
}

fn denies_changes_of_other_kinds(installation: &Installation) {
    let ns = TenantNamespace::new(installation, "other");
    let orders = ns.deployment("orders");
    ns.runs(&as_kind(&orders, "apps/v1", "StatefulSet", json!({"serviceName": "x"})));
    ns.runs(&as_kind(&orders, "apps/v1", "DaemonSet", json!({})));
    let mut controller = as_kind(&orders, "v1", "ReplicationController", json!({"selector": {"app": "third"}}));
    controller["spec"]["template"]["metadata"]["labels"]["app"] = json!("third");
    ns.runs(&controller);
    let set_image = format!("orders={EVIL}");
    for target in ["statefulset/orders", "daemonset/orders", "replicationcontroller/orders"] {
        ns.row(26, format!("another image in an approved `{target}`"))
            .kubectl(&["set", "image", target, &set_image])
            .denied("SpecHashMismatch");
    }
    let patch = |attempt, target: &str, patch: Value| ns.row(82, attempt).patch(target, "merge", &patch);
    patch(
        "a StatefulSet's `partition`, which decides which revision runs",
        "statefulset/orders",
        json!({"spec": {"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 1}}}}),
    )
    .denied("SpecHashMismatch");
    patch(
        "a StatefulSet's `updateStrategy: OnDelete`",
        "statefulset/orders",
        json!({"spec": {"updateStrategy": {"type": "OnDelete", "rollingUpdate": null}}}),
    )
    .denied("SpecHashMismatch");
    patch(
        "a DaemonSet's `updateStrategy: OnDelete`",
        "daemonset/orders",
        json!({"spec": {"updateStrategy": {"type": "OnDelete", "rollingUpdate": null}}}),
    )
    .unchanged();
    let raise = ns.row(26, "an approved ReplicationController scaled up through `/scale`");
    raise.kubectl(&["scale", "replicationcontroller/orders", "--replicas=3"]).denied("WorkloadNotAllowed");
    ns.row(26, "an approved ReplicationController's selector changed to other Pods")
        .patch(
            "replicationcontroller/orders",
            "merge",
            &json!({"spec": {"selector": {"app": "third", "x": "y"},
            "template": {"metadata": {"labels": {"x": "y"}}}}}),
        )
        .denied("SpecHashMismatch");
}

fn denies_unapproved_cron_jobs(installation: &Installation) {
    let ns = TenantNamespace::new(installation, "cron");
    let mut replay = cron_job("replay");
    replay["spec"]["jobTemplate"]["metadata"]["labels"] = json!({"writgate.dev/replay": "execute"});
    ns.row(27, "a CronJob whose Jobs have the replay label").create(&replay).denied("WorkloadNotAllowed");
    let mut replay = cron_job("replay");
    replay["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["image"] =
        json!("ghcr.io/acme/replay:2");
    ns.row(27, "a CronJob that runs a replay image").create(&replay).denied("WorkloadNotAllowed");

    ns.runs(&cron_job("nightly"));
    ns.row(28, "`kubectl create job --from` an approved CronJob")
        .kubectl(&["create", "job", "now", "--from=cronjob/nightly"])
        .denied("ApprovalRequired");
    let patch = |attempt, spec: Value| ns.row(27, attempt).patch("cronjob/nightly", "merge", &json!({"spec": spec}));
    patch("an approved CronJob's schedule", json!({"schedule": "* * * * *"})).denied("SpecHashMismatch");
    patch("an approved CronJob's concurrency policy", json!({"concurrencyPolicy": "Replace"}))
        .denied("SpecHashMismatch");
    patch(
        "the command of an approved CronJob's Jobs",
        json!({"jobTemplate": {"spec": {"template": {"spec": {"containers": [
        {"name": "c", "image": "ghcr.io/acme/nightly:1", "command": ["evil"]}]}}}}}),
    )
    .denied("SpecHashMismatch");
    patch("an approved CronJob suspended", json!({"suspend": true})).unchanged();
    let made_by = json!([{"apiVersion": "batch/v1", "kind": "CronJob", "name": "nightly", "controller": true,
        "uid": ns.live("cronjob/nightly").expect("it is there")["metadata"]["uid"]}]);
    let mut child = job("nightly-29000000");
    child["metadata"]["ownerReferences"] = made_by;
    ns.row(27, "a Job that claims to belong to a CronJob").create(&child).denied("ApprovalRequired");
}

fn denies_forged_revisions(installation: &Installation) {
    let ns = TenantNamespace::new(installation, "revisions");
    let orders = ns.deployment("orders");
    ns.runs(&as_kind(&orders, "apps/v1", "StatefulSet", json!({"serviceName": "x"})));
    let revision = ns.list("controllerrevisions").remove(0);
    let target = format!("controllerrevision/{}", text(&revision["metadata"]["name"]));
    let mut forged = json!({"apiVersion": "apps/v1", "kind": "ControllerRevision", "revision": 9,
        "metadata": {"name": "forged", "labels": revision["metadata"]["labels"],
            "ownerReferences": revision["metadata"]["ownerReferences"]}, "data": revision["data"]});
    forged["data"]["spec"]["template"]["spec"]["containers"][0]["image"] = json!(EVIL);
    let data = json!({"data": {"spec": {"template": {"spec": {"hostNetwork": true}}}}});
    ns.row(81, "a forged ControllerRevision").create(&forged).refused("Forbidden");
    ns.row(81, "a ControllerRevision's data changed").patch(&target, "merge", &data).refused("Forbidden");
    let writes =
        |attempt: &str| ns.row(81, format!("{attempt}, by a user who may write them")).by(&installation.operator);
    writes("a forged ControllerRevision").create(&forged).denied("WorkloadNotAllowed");
    writes("a ControllerRevision's data changed").patch(&target, "merge", &data).refused("Invalid");
}

/// A controller of the cluster that is not listed as exempt.
fn denies_pods_of_unlisted_controllers(installation: &Installation) {
    let ns = TenantNamespace::new(installation, "operator");
    ns.arrange(&["create", "serviceaccount", "syncer"]);
    let account = format!("--serviceaccount={}:syncer", ns.namespace);
    ns.arrange(&["create", "rolebinding", "syncer", "--clusterrole=edit", &account]);
    let syncer = installation.plane.service_account(&ns.namespace, "syncer");
    wait_until("the API server knows the controller's rights", Duration::from_secs(20), || {
        syncer.kubectl(&["auth", "can-i", "create", "pods", "-n", &ns.namespace]).ok().then_some(())
    });
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "custom"},
        "spec": {"containers": [{"name": "c", "image": EVIL}]}});
    for (number, attempt) in [
        (29, "a Pod, by an operator that is not an exempt controller"),
        (80, "a Pod, by the syncer of a virtual cluster"),
    ] {
        ns.row(number, attempt).by(&syncer).create(&pod).denied("WorkloadNotAllowed");
    }
    note(29, "a Pod, by an operator that is an exempt controller")
        .limit("An operator that is listed as an exempt controller can create any Pod");
}

/// The webhook decides before anything connects. Without a kubelet, a connection that it admits fails one step later.
fn denies_connections_into_pods(installation: &Installation) {
    let ns = TenantNamespace::with(installation, "connect", |posture| posture["connect"] = json!("deny"));
    ns.runs(&ns.deployment("orders"));
    let pod = text(&ns.list("pods")[0]["metadata"]["name"]);
    let running = json!({"status": {"phase": "Running"}}).to_string();
    ns.arrange(&["patch", "pod", &pod, "--subresource=status", "-p", &running]);
    let path = format!("/api/v1/namespaces/{}/pods/{pod}/proxy/", ns.namespace);
    let row = |attempt: &str| ns.row(25, format!("{attempt}, under `connect: deny`"));
    row("`kubectl exec`").kubectl(&["exec", &pod, "--", "sh"]).denied("WorkloadNotAllowed");
    row("`kubectl attach`").kubectl(&["attach", &pod]).denied("WorkloadNotAllowed");
    row("`kubectl port-forward`").kubectl(&["port-forward", &pod, "8080"]).denied("WorkloadNotAllowed");
    row("a request through `pods/proxy`").kubectl(&["get", "--raw", &path]).denied("WorkloadNotAllowed");
    note(25, "`kubectl exec` and the like, under `connect: allow` or `audit`")
        .limit("`kubectl exec`, `attach`, `port-forward` and the Pod's proxy follow the posture's `connect`");
}

/// A Job that is not a replay.
pub(crate) fn job(name: &str) -> Value {
    json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": job_spec()})
}

fn cron_job(name: &str) -> Value {
    json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": name},
        "spec": {"schedule": "0 3 31 2 *", "jobTemplate": {"metadata": {}, "spec": job_spec()}}})
}

fn job_spec() -> Value {
    json!({"template": {"spec": {"restartPolicy": "Never", "containers": [
        {"name": "c", "image": "ghcr.io/acme/nightly:1"}]}}})
}
