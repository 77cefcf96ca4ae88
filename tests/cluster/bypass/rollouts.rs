//! What runs is changed by what a controller is told to do later: back to an old revision, on after a pause, more of it.

use serde_json::{Value, json};

use crate::bypass::case::{EVIL, GOOD, Ground, PATIENCE, row, with_image};
use writgate_testing::harness::{Test, tests};
use writgate_testing::{Gate, attach, document, seconds_from_now, wait_until};

pub(crate) fn tests() -> Vec<Test<Gate>> {
    tests![
        back_to_what_is_still_approved,
        back_to_what_has_expired,
        back_to_what_was_revoked,
        back_by_the_controller,
        paused_and_resumed,
        paused_and_resumed_when_expired,
        how_many_and_how_fast,
        suspended_and_released,
        an_old_revision_that_still_runs,
        an_old_revision_that_no_longer_runs,
    ]
}

/// The image of a second revision.
const NEXT: &str = "ghcr.io/acme/orders:1.5.0";

/// A Deployment whose first revision was approved by `first`, and whose second runs under a right approval. Nothing of the
/// first runs any more.
fn two_revisions(ground: &Ground<'_>, first: &Value) {
    ground.applied(first);
    let mut second = recreated(ground);
    second["spec"]["template"]["spec"]["containers"][0]["image"] = json!(NEXT);
    ground.runs(&second);
}

/// A Deployment that never runs two revisions at once: here no Pod ever becomes ready.
fn recreated(ground: &Ground<'_>) -> Value {
    let mut orders = ground.deployment("orders");
    orders["spec"]["strategy"] = json!({"type": "Recreate"});
    orders
}

/// `object` with an approval that has expired when this returns, and that admitted it before.
fn expired(ground: &Ground<'_>, object: &Value) -> Value {
    let mut ends = String::new();
    let envelope = ground.signed_but(object, |statement| {
        ends = seconds_from_now(5);
        statement["predicate"]["expiresAt"] = json!(ends);
    });
    let approved = attach(object, &envelope);
    ground.applied(&approved);
    let ends: jiff::Timestamp = ends.parse().expect("RFC 3339");
    wait_until("the approval has expired", PATIENCE, || (jiff::Timestamp::now() > ends).then_some(()));
    approved
}

fn back_to_what_is_still_approved(gate: &Gate) {
    let ground = Ground::new(gate, "undo");
    two_revisions(&ground, &ground.approved(&recreated(&ground)));
    let undo = ground.row(11, "`kubectl rollout undo` to a revision whose approval is valid");
    let record = undo.kubectl(&["rollout", "undo", "deployment/orders"]).admitted();
    assert_eq!(record["approvals"][0]["reviewers"], json!(["bob@acme.example"]), "{record}");
    ground.settle("deployment/orders");
    ground.row(12, "`kubectl rollout restart`").kubectl(&["rollout", "restart", "deployment/orders"]).unchanged();
    ground.settle("deployment/orders");
    let annotate = |value: &str| json!({"spec": {"template": {"metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": value}}}}});
    for value in ["--evil", "2026-11-22T10:00:00Z --evil", "2026-11-22T10:00:00.123456789Z"] {
        ground
            .row(12, format!("a restart annotation with the value `{value}`, which the Pod can read"))
            .patch("deployment/orders", "merge", &annotate(value))
            .denied("SpecHashMismatch");
    }
}

fn back_to_what_has_expired(gate: &Gate) {
    let ground = Ground::new(gate, "undo-expired");
    expired(&ground, &recreated(&ground));
    let mut second = recreated(&ground);
    second["spec"]["template"]["spec"]["containers"][0]["image"] = json!(NEXT);
    ground.runs(&second);
    ground
        .row(11, "`kubectl rollout undo` to a revision whose approval has expired")
        .kubectl(&["rollout", "undo", "deployment/orders"])
        .denied("Expired");
    row(11, "`kubectl rollout undo` after the approval expired, within the posture's `rollback` window").shown_by(
        "admitted and recorded",
        "tests/cluster/e2e/rollback.rs",
        "what_was_admitted_runs_again_after_its_approval_expired",
    );
}

fn back_to_what_was_revoked(gate: &Gate) {
    let ground = Ground::with(gate, "undo-revoked", |_| {});
    let first = recreated(&ground);
    two_revisions(&ground, &ground.approved(&first));
    revoke_spec(&ground, &first);
    ground
        .row(11, "`kubectl rollout undo` to a revision whose spec was revoked")
        .kubectl(&["rollout", "undo", "deployment/orders"])
        .denied("Revoked");
    ground
        .row(69, "a revoked spec applied again with a valid approval")
        .apply(&ground.approved(&first))
        .denied("Revoked");
}

/// Revokes a spec, and waits until the webhook knows.
fn revoke_spec(ground: &Ground<'_>, object: &Value) {
    let name = format!("revocations-{}", ground.environment);
    let mut posture = ground.usual_posture();
    posture["revocationLists"] = json!([name]);
    let list = json!({"apiVersion": "writgate.dev/v1", "kind": "Revocations",
        "specs": [{"hash": format!("sha256:{}", ground.gate.hash(object)), "why": "CVE-2026-0001"}]});
    let mut objects = ground.posture_objects(&posture);
    objects.insert(0, document("revocations", &name, &list));
    ground.gate.plane.install(&objects);
    let again = ground.approved(object).to_string();
    wait_until("the revocation is in force", PATIENCE, || {
        let ran = ground.gate.operator.kubectl_in(&["apply", "--dry-run=server", "-f", "-"], &again);
        ran.stderr.contains("Revoked").then_some(())
    });
}

/// The Deployment controller rolls back when an annotation tells it to, and is judged as whoever applies an old file is.
fn back_by_the_controller(gate: &Gate) {
    let ground = Ground::new(gate, "rollback-to");
    expired(&ground, &recreated(&ground));
    let mut second = recreated(&ground);
    second["spec"]["template"]["spec"]["containers"][0]["image"] = json!(NEXT);
    ground.runs(&second);
    let rollback = json!({"metadata": {"annotations": {"deprecated.deployment.rollback.to": "1"}}});
    ground
        .row(85, "the annotation `deprecated.deployment.rollback.to`, which makes the controller roll back to a revision whose approval has expired")
        .patch("deployment/orders", "merge", &rollback)
        .denied_to("system:serviceaccount:kube-system:deployment-controller", "Expired");
}

fn paused_and_resumed(gate: &Gate) {
    let ground = Ground::new(gate, "paused");
    ground.runs(&ground.deployment("orders"));
    let rollout = |number, attempt: &str, verb: &str| {
        ground.row(number, attempt.to_owned()).kubectl(&["rollout", verb, "deployment/orders"])
    };
    rollout(13, "`kubectl rollout pause`", "pause").unchanged();
    ground
        .row(14, "another image in a paused Deployment")
        .kubectl(&["set", "image", "deployment/orders", &format!("orders={EVIL}")])
        .denied("SpecHashMismatch");
    rollout(13, "`kubectl rollout resume` while the approval is valid", "resume").admitted();
}

fn paused_and_resumed_when_expired(gate: &Gate) {
    let ground = Ground::new(gate, "banked");
    let mut orders = ground.deployment("orders");
    orders["spec"]["paused"] = json!(true);
    expired(&ground, &orders);
    ground
        .row(13, "`kubectl rollout resume` after the approval expired, of a Deployment that was applied paused")
        .kubectl(&["rollout", "resume", "deployment/orders"])
        .denied("Expired");
    ground
        .row(83, "`paused` removed from a Deployment after its approval expired")
        .patch("deployment/orders", "json", &json!([{"op": "remove", "path": "/spec/paused"}]))
        .denied("Expired");
}

fn how_many_and_how_fast(gate: &Gate) {
    let ground = Ground::new(gate, "scale");
    expired(&ground, &ground.deployment("orders"));
    let patch = |attempt: &str, spec: Value| {
        let row = ground.row(13, format!("{attempt}, after the approval expired"));
        row.patch("deployment/orders", "merge", &json!({"spec": spec})).unchanged();
    };
    patch("`minReadySeconds`", json!({"minReadySeconds": 5}));
    patch("`strategy`", json!({"strategy": {"rollingUpdate": {"maxSurge": "100%"}}}));
    patch("`revisionHistoryLimit`", json!({"revisionHistoryLimit": 1}));
    let scale = |attempt: &str, args: &[&str]| {
        ground.row(15, format!("{attempt}, after the approval expired")).kubectl(args).unchanged();
        ground.settle("deployment/orders");
    };
    scale("`kubectl scale`", &["scale", "deployment/orders", "--replicas=2"]);
    let replicas = json!({"spec": {"replicas": 3}}).to_string();
    scale(
        "PATCH of `/scale`, as an autoscaler does",
        &["patch", "deployment/orders", "--subresource=scale", "--type=merge", "-p", &replicas],
    );
    scale("`kubectl autoscale`", &["autoscale", "deployment/orders", "--max=9"]);
}

fn suspended_and_released(gate: &Gate) {
    let ground = Ground::new(gate, "suspended");
    let cron = json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "nightly"},
        "spec": {"schedule": "0 3 31 2 *", "suspend": true, "jobTemplate": {"spec": {"suspend": true, "template": {"spec":
            {"restartPolicy": "Never", "containers": [{"name": "c", "image": GOOD}]}}}}}});
    expired(&ground, &cron);
    let patch =
        |attempt, spec: Value| ground.row(83, attempt).patch("cronjob/nightly", "merge", &json!({"spec": spec}));
    patch("a suspended CronJob resumed after its approval expired", json!({"suspend": false})).denied("Expired");
    patch(
        "the suspended job template of a CronJob resumed after its approval expired",
        json!({"jobTemplate": {"spec": {"suspend": false}}}),
    )
    .denied("Expired");
}

/// In the middle of a rollout both revisions run, and a raise of the Deployment is spread over both.
fn an_old_revision_that_still_runs(gate: &Gate) {
    let ground = Ground::new(gate, "both");
    let orders = ground.deployment("orders");
    ground.runs(&orders);
    let old = format!("replicaset/{}", ground.replica_set(GOOD));
    let ran = gate.operator.apply(&ground.approved(&with_image(&orders, NEXT)));
    assert!(ran.ok(), "{ran}");
    wait_until("both revisions run", PATIENCE, || (ground.list("replicasets").len() == 2).then_some(()));
    ground.arrange(&["rollout", "pause", "deployment/orders"]);
    revoke_spec(&ground, &orders);
    let raise = ground.row(86, "a revoked revision that still runs, scaled up through its Deployment during a rollout");
    let raise = raise.kubectl(&["scale", "deployment/orders", "--replicas=5"]);
    wait_until("the old revision has more replicas", PATIENCE, || {
        (ground.live(&old)?["spec"]["replicas"].as_i64()? > 1).then_some(())
    });
    raise.limit("A revision that still runs can be given more replicas through its Deployment");
}

/// A paused Deployment without its newest `ReplicaSet` is scaled by its controller in the newest that is left.
fn an_old_revision_that_no_longer_runs(gate: &Gate) {
    let ground = Ground::new(gate, "paused-old");
    let first = recreated(&ground);
    two_revisions(&ground, &ground.approved(&first));
    let old = format!("replicaset/{}", ground.replica_set(GOOD));
    wait_until("nothing of the old revision runs", PATIENCE, || {
        (ground.live(&old)?["spec"]["replicas"] == 0).then_some(())
    });
    revoke_spec(&ground, &first);
    ground.row(87, "`kubectl rollout pause`").kubectl(&["rollout", "pause", "deployment/orders"]).unchanged();
    let delete = ground.row(
        87,
        "the newest ReplicaSet of a paused Deployment deleted: the controller scales up the previous one, although it is revoked",
    );
    let delete = delete.kubectl(&["delete", "replicaset", &ground.replica_set(NEXT)]);
    wait_until("the controller raised the old revision", PATIENCE, || {
        (ground.live(&old)?["spec"]["replicas"] == 1).then_some(())
    });
    delete.limit("The controller of a paused Deployment scales up the newest ReplicaSet that exists");
}
