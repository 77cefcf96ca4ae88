//! Attempts that a controller carries out later: rollback, resuming after a pause, scaling.

use serde_json::{Value, json};

use crate::bypass::case::{EVIL, GOOD, PATIENCE, TenantNamespace, row, with_image};
use writgate_testing::harness::{Test, tests};
use writgate_testing::{Installation, Ran, SYSTEM_NAMESPACE, attach, document, seconds_from_now, wait_until};

pub(crate) fn tests() -> Vec<Test<Installation>> {
    tests![
        undo_is_admitted_while_the_approval_is_valid,
        denies_undo_after_the_approval_expired,
        denies_undo_to_a_revoked_spec,
        denies_a_rollback_by_the_controller,
        resuming_requires_a_valid_approval,
        denies_resuming_a_deployment_after_the_approval_expired,
        scaling_requires_no_approval,
        denies_resuming_a_cron_job_after_the_approval_expired,
        scaling_a_running_old_revision_is_a_documented_limit,
        scaling_a_paused_old_revision_is_a_documented_limit,
        scaling_what_no_approval_covers_is_a_documented_limit,
        denies_scaling_up_what_was_never_approved_where_the_posture_says_so,
    ]
}

/// The image of a second revision.
const NEXT: &str = "ghcr.io/acme/orders:1.5.0";

/// A Deployment whose first revision is `first` and whose second has a valid approval and runs. No Pod of the first
/// revision remains.
fn two_revisions(ns: &TenantNamespace<'_>, first: &Value) {
    ns.applied(first);
    let mut second = recreated(ns);
    second["spec"]["template"]["spec"]["containers"][0]["image"] = json!(NEXT);
    ns.runs(&second);
}

/// A Deployment that never runs two revisions at once. Without a kubelet no Pod becomes ready, so a rolling update would stop.
fn recreated(ns: &TenantNamespace<'_>) -> Value {
    let mut orders = ns.deployment("orders");
    orders["spec"]["strategy"] = json!({"type": "Recreate"});
    orders
}

/// Applies `object` with an approval that expires before this function returns. Returns what was applied.
fn expired(ns: &TenantNamespace<'_>, object: &Value) -> Value {
    let mut ends = String::new();
    let envelope = ns.signed_but(object, |statement| {
        ends = seconds_from_now(5);
        statement["predicate"]["expiresAt"] = json!(ends);
    });
    let approved = attach(object, &envelope);
    ns.applied(&approved);
    let ends: jiff::Timestamp = ends.parse().expect("RFC 3339");
    wait_until("the approval has expired", PATIENCE, || (jiff::Timestamp::now() > ends).then_some(()));
    approved
}

fn undo_is_admitted_while_the_approval_is_valid(installation: &Installation) {
    let ns = TenantNamespace::new(installation, "undo");
    two_revisions(&ns, &ns.approved(&recreated(&ns)));
    let undo = ns.row(11, "`kubectl rollout undo` to a revision whose approval is valid");
    let record = undo.kubectl(&["rollout", "undo", "deployment/orders"]).admitted();
    assert_eq!(record["approvals"][0]["reviewers"], json!(["bob@acme.example"]), "{record}");
    ns.settle("deployment/orders");
    ns.row(12, "`kubectl rollout restart`").kubectl(&["rollout", "restart", "deployment/orders"]).unchanged();
    ns.settle("deployment/orders");
    let annotate = |value: &str| json!({"spec": {"template": {"metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": value}}}}});
    for value in ["--evil", "2026-11-22T10:00:00Z --evil", "2026-11-22T10:00:00.123456789Z"] {
        ns.row(12, format!("a restart annotation with the value `{value}`, which the Pod can read"))
            .patch("deployment/orders", "merge", &annotate(value))
            .denied("SpecHashMismatch");
    }
}

fn denies_undo_after_the_approval_expired(installation: &Installation) {
    let ns = TenantNamespace::new(installation, "undo-expired");
    expired(&ns, &recreated(&ns));
    let mut second = recreated(&ns);
    second["spec"]["template"]["spec"]["containers"][0]["image"] = json!(NEXT);
    ns.runs(&second);
    ns.row(11, "`kubectl rollout undo` to a revision whose approval has expired")
        .kubectl(&["rollout", "undo", "deployment/orders"])
        .denied("Expired");
    row(11, "`kubectl rollout undo` after the approval expired, within the posture's `rollback` window").shown_by(
        "admitted and recorded",
        "tests/cluster/e2e/rollback.rs",
        "an_admitted_spec_is_admitted_again_after_its_approval_expired",
    );
}

fn denies_undo_to_a_revoked_spec(installation: &Installation) {
    let ns = TenantNamespace::with(installation, "undo-revoked", |_| {});
    let first = recreated(&ns);
    two_revisions(&ns, &ns.approved(&first));
    revoke_spec(&ns, &first);
    ns.row(11, "`kubectl rollout undo` to a revision whose spec was revoked")
        .kubectl(&["rollout", "undo", "deployment/orders"])
        .denied("Revoked");
    ns.row(69, "a revoked spec applied again with a valid approval").apply(&ns.approved(&first)).denied("Revoked");
}

/// Revokes a spec, and waits until the revocation is in force.
fn revoke_spec(ns: &TenantNamespace<'_>, object: &Value) {
    let name = format!("revocations-{}", ns.environment);
    let mut posture = ns.usual_posture();
    posture["revocationLists"] = json!([name]);
    let list = json!({"apiVersion": "writgate.dev/v1", "kind": "Revocations",
        "specs": [{"hash": format!("sha256:{}", ns.installation.hash(object)), "why": "CVE-2026-0001"}]});
    let mut objects = ns.posture_objects(&posture);
    objects.insert(0, document("revocations", &name, &list));
    ns.installation.plane.install(&objects);
    let again = ns.approved(object).to_string();
    wait_until("the revocation is in force", PATIENCE, || {
        let ran = ns.installation.operator.kubectl_in(&["apply", "--dry-run=server", "-f", "-"], &again);
        ran.stderr.contains("Revoked").then_some(())
    });
}

/// The Deployment controller rolls back if an annotation asks for it. The webhook decides its request as any other user's.
fn denies_a_rollback_by_the_controller(installation: &Installation) {
    let ns = TenantNamespace::new(installation, "rollback-to");
    expired(&ns, &recreated(&ns));
    let mut second = recreated(&ns);
    second["spec"]["template"]["spec"]["containers"][0]["image"] = json!(NEXT);
    ns.runs(&second);
    let rollback = json!({"metadata": {"annotations": {"deprecated.deployment.rollback.to": "1"}}});
    ns
        .row(85, "the annotation `deprecated.deployment.rollback.to`, which makes the controller roll back to a revision whose approval has expired")
        .patch("deployment/orders", "merge", &rollback)
        .denied_to("system:serviceaccount:kube-system:deployment-controller", "Expired");
}

fn resuming_requires_a_valid_approval(installation: &Installation) {
    let ns = TenantNamespace::new(installation, "paused");
    ns.runs(&ns.deployment("orders"));
    let rollout = |number, attempt: &str, verb: &str| {
        ns.row(number, attempt.to_owned()).kubectl(&["rollout", verb, "deployment/orders"])
    };
    rollout(13, "`kubectl rollout pause`", "pause").unchanged();
    ns.row(14, "another image in a paused Deployment")
        .kubectl(&["set", "image", "deployment/orders", &format!("orders={EVIL}")])
        .denied("SpecHashMismatch");
    rollout(13, "`kubectl rollout resume` while the approval is valid", "resume").admitted();
}

fn denies_resuming_a_deployment_after_the_approval_expired(installation: &Installation) {
    let ns = TenantNamespace::new(installation, "banked");
    let mut orders = ns.deployment("orders");
    orders["spec"]["paused"] = json!(true);
    expired(&ns, &orders);
    ns.row(13, "`kubectl rollout resume` after the approval expired, of a Deployment that was applied paused")
        .kubectl(&["rollout", "resume", "deployment/orders"])
        .denied("Expired");
    ns.row(83, "`paused` removed from a Deployment after its approval expired")
        .patch("deployment/orders", "json", &json!([{"op": "remove", "path": "/spec/paused"}]))
        .denied("Expired");
}

fn scaling_requires_no_approval(installation: &Installation) {
    let ns = TenantNamespace::new(installation, "scale");
    expired(&ns, &ns.deployment("orders"));
    let patch = |attempt: &str, spec: Value| {
        let row = ns.row(13, format!("{attempt}, after the approval expired"));
        row.patch("deployment/orders", "merge", &json!({"spec": spec})).unchanged();
    };
    patch("`minReadySeconds`", json!({"minReadySeconds": 5}));
    patch("`strategy`", json!({"strategy": {"rollingUpdate": {"maxSurge": "100%"}}}));
    patch("`revisionHistoryLimit`", json!({"revisionHistoryLimit": 1}));
    let scale = |attempt: &str, args: &[&str]| {
        ns.row(15, format!("{attempt}, after the approval expired")).kubectl(args).unchanged();
        ns.settle("deployment/orders");
    };
    scale("`kubectl scale`", &["scale", "deployment/orders", "--replicas=2"]);
    let replicas = json!({"spec": {"replicas": 3}}).to_string();
    scale(
        "PATCH of `/scale`, as an autoscaler does",
        &["patch", "deployment/orders", "--subresource=scale", "--type=merge", "-p", &replicas],
    );
    scale("`kubectl autoscale`", &["autoscale", "deployment/orders", "--max=9"]);
}

fn denies_resuming_a_cron_job_after_the_approval_expired(installation: &Installation) {
    let ns = TenantNamespace::new(installation, "suspended");
    let cron = json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "nightly"},
        "spec": {"schedule": "0 3 31 2 *", "suspend": true, "jobTemplate": {"spec": {"suspend": true, "template": {"spec":
            {"restartPolicy": "Never", "containers": [{"name": "c", "image": GOOD}]}}}}}});
    expired(&ns, &cron);
    let patch = |attempt, spec: Value| ns.row(83, attempt).patch("cronjob/nightly", "merge", &json!({"spec": spec}));
    patch("a suspended CronJob resumed after its approval expired", json!({"suspend": false})).denied("Expired");
    patch(
        "the suspended job template of a CronJob resumed after its approval expired",
        json!({"jobTemplate": {"spec": {"suspend": false}}}),
    )
    .denied("Expired");
}

/// During a rollout both revisions run, and the controller spreads additional replicas over both.
fn scaling_a_running_old_revision_is_a_documented_limit(installation: &Installation) {
    let ns = TenantNamespace::new(installation, "both");
    let orders = ns.deployment("orders");
    ns.runs(&orders);
    let old = format!("replicaset/{}", ns.replica_set(GOOD));
    let ran = installation.operator.apply(&ns.approved(&with_image(&orders, NEXT)));
    assert!(ran.ok(), "{ran}");
    wait_until("both revisions run", PATIENCE, || (ns.list("replicasets").len() == 2).then_some(()));
    ns.arrange(&["rollout", "pause", "deployment/orders"]);
    revoke_spec(&ns, &orders);
    let raise = ns.row(86, "a revoked revision that still runs, scaled up through its Deployment during a rollout");
    let raise = raise.kubectl(&["scale", "deployment/orders", "--replicas=5"]);
    wait_until("the old revision has more replicas", PATIENCE, || {
        (ns.live(&old)?["spec"]["replicas"].as_i64()? > 1).then_some(())
    });
    raise.limit("A revision that still runs can be given more replicas through its Deployment");
}

/// The controller of a paused Deployment scales up the newest `ReplicaSet` that exists.
fn scaling_a_paused_old_revision_is_a_documented_limit(installation: &Installation) {
    let ns = TenantNamespace::new(installation, "paused-old");
    let first = recreated(&ns);
    two_revisions(&ns, &ns.approved(&first));
    let old = format!("replicaset/{}", ns.replica_set(GOOD));
    wait_until("nothing of the old revision runs", PATIENCE, || {
        (ns.live(&old)?["spec"]["replicas"] == 0).then_some(())
    });
    revoke_spec(&ns, &first);
    ns.row(87, "`kubectl rollout pause`").kubectl(&["rollout", "pause", "deployment/orders"]).unchanged();
    let delete = ns.row(
        87,
        "the newest ReplicaSet of a paused Deployment deleted: the controller scales up the previous one, although it is revoked",
    );
    let delete = delete.kubectl(&["delete", "replicaset", &ns.replica_set(NEXT)]);
    wait_until("the controller has scaled up the old revision", PATIENCE, || {
        (ns.live(&old)?["spec"]["replicas"] == 1).then_some(())
    });
    delete.limit("The controller of a paused Deployment scales up the newest ReplicaSet that exists");
}

/// A workload at 0 replicas that nobody approved.
fn asleep(api_version: &str, kind: &str, name: &str) -> Value {
    json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name},
        "spec": {"replicas": 0, "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "c", "image": EVIL}]}}}})
}

/// The posture says `ungoverned: deny`. An approval that is attached later is enough, also after it has expired.
fn denies_scaling_up_what_was_never_approved_where_the_posture_says_so(installation: &Installation) {
    let before = [
        asleep("apps/v1", "Deployment", "old"),
        asleep("apps/v1", "StatefulSet", "set"),
        asleep("v1", "ReplicationController", "rc"),
    ];
    let before = before.map(|mut object| {
        if object["kind"] == "ReplicationController" {
            object["spec"]["selector"] = json!({"app": "rc"});
        }
        object
    });
    let deny = |posture: &mut Value| posture["ungoverned"] = json!("deny");
    let ns = TenantNamespace::over(installation, "asleep", deny, &before);
    ns.settle("deployment/old");
    let up = json!({"spec": {"replicas": 1}});
    let attempt =
        |what: &str| ns.row(106, format!("{what} from before governance at 0 replicas, under `ungoverned: deny`"));
    attempt("`kubectl scale` of a Deployment")
        .kubectl(&["scale", "deployment/old", "--replicas=1"])
        .denied("ApprovalRequired");
    let patch = ["patch", "deployment/old", "--subresource=scale", "--type=merge", "-p", &up.to_string()];
    attempt("PATCH of `/scale`, as an autoscaler does, of a Deployment").kubectl(&patch).denied("ApprovalRequired");
    attempt("PATCH of `spec.replicas` of a Deployment")
        .patch("deployment/old", "merge", &up)
        .denied("ApprovalRequired");
    attempt("`kubectl scale` of a StatefulSet")
        .kubectl(&["scale", "statefulset/set", "--replicas=1"])
        .denied("ApprovalRequired");
    attempt("PATCH of `spec.replicas` of a StatefulSet")
        .patch("statefulset/set", "merge", &up)
        .denied("ApprovalRequired");
    attempt("PATCH of `spec.replicas` of a ReplicationController")
        .patch("replicationcontroller/rc", "merge", &up)
        .denied("ApprovalRequired");

    let live = ns.live("deployment/old").expect("it exists");
    let other = ns.approved(&ns.deployment("orders"));
    let approval =
        |object: &Value| object["metadata"]["annotations"]["writgate.dev/approval"].as_str().expect("text").to_owned();
    let annotate = |envelope: &str| {
        ns.arrange(&["annotate", "--overwrite", "deployment/old", &format!("writgate.dev/approval={envelope}")]);
    };
    annotate(&approval(&other));
    attempt("`kubectl scale`, with the approval of another workload, of a Deployment")
        .kubectl(&["scale", "deployment/old", "--replicas=1"])
        .denied("SpecHashMismatch");
    let mut ends = String::new();
    annotate(&ns.signed_but(&live, |statement| {
        ends = seconds_from_now(3);
        statement["predicate"]["expiresAt"] = json!(ends);
    }));
    let ends: jiff::Timestamp = ends.parse().expect("RFC 3339");
    wait_until("the approval has expired", PATIENCE, || (jiff::Timestamp::now() > ends).then_some(()));
    ns.arrange(&["scale", "deployment/old", "--replicas=1"]);
    wait_until("the controller has created a Pod", PATIENCE, || (!ns.list("pods").is_empty()).then_some(()));
}

/// By default, scaling is not checked.
fn scaling_what_no_approval_covers_is_a_documented_limit(installation: &Installation) {
    let ns = TenantNamespace::over(installation, "before", |_| {}, &[asleep("apps/v1", "Deployment", "old")]);
    ns.settle("deployment/old");
    let coverage = ["coverage", "-n", &ns.namespace, "--system-namespace", SYSTEM_NAMESPACE];
    let listed = Ran::of(installation.plane.admin.command(writgate_testing::plugin()).args(coverage), "");
    let expected = format!("Deployment {}/old", ns.namespace);
    let line = listed.stdout.lines().find(|line| line.contains(&expected)).unwrap_or_else(|| panic!("{listed}"));
    assert!(line.starts_with("unapproved "), "{listed}");
    assert!(line.contains("ApprovalRequired; at 0 replicas; scaling it up is not checked"), "{listed}");
    let raise = ns.row(105, "a Deployment from before governance at 0 replicas, which `coverage` names, scaled up");
    let raise = raise.kubectl(&["scale", "deployment/old", "--replicas=1"]);
    wait_until("the controller has created a Pod", PATIENCE, || (!ns.list("pods").is_empty()).then_some(()));
    raise.limit("A Deployment or StatefulSet from before governance, at 0 replicas, can be scaled up");
}
