//! Workloads after their admission: they keep working when their approval expires, and every later action requires an
//! approval again.

use std::time::Duration;

use serde_json::{Value, json};

use crate::e2e::trail::{self, Expected, assert_admitted, assert_denied};
use writgate_testing::harness::{Test, tests};
use writgate_testing::{Governed, Installation, Ran, denied_for, free_port, seconds_from_now, wait_until};

pub(crate) fn tests() -> Vec<Test<Installation>> {
    tests![
        the_shipped_example_posture_governs_a_namespace,
        denies_a_deployment_without_an_approval,
        an_admitted_deployment_keeps_working_after_its_approval_expired,
        rollout_undo_requires_a_valid_approval,
        server_side_apply_is_decided_like_any_other_write,
        a_server_side_dry_run_is_decided_and_writes_no_event,
        an_event_says_admitted_only_if_the_object_was_stored,
        a_dry_run_replay_requires_no_approval,
        a_bare_pod_is_admitted_if_the_posture_allows_pods,
        a_changed_posture_takes_effect_without_a_restart,
        warn_admits_and_warns_the_user,
        audit_admits_and_only_records,
        an_unreachable_webhook_stops_actions_and_nothing_else,
    ]
}

fn the_shipped_example_posture_governs_a_namespace(installation: &Installation) {
    let labels = json!({"writgate.dev/environment": "example", "writgate.dev/project": "payments"});
    let namespace = installation.plane.labelled_namespace("example", &labels);
    let args = ["create", "deployment", "check", "--image=check", "--dry-run=server", "-n", &namespace];
    let ran = installation.plane.admin.kubectl(&args);
    assert!(denied_for(&ran, "ApprovalRequired"), "{ran}");
}

fn denies_a_deployment_without_an_approval(installation: &Installation) {
    let governed = installation.governed("unapproved");
    let object = governed.deployment("orders");
    let expected = Expected {
        operation: "CREATE",
        action: "deploy",
        kind: "Deployment",
        name: "orders",
        hash: &installation.hash(&object),
    };
    let record = assert_denied(&governed, &installation.operator.apply(&object), "ApprovalRequired", &expected);
    assert_eq!(record["approvalRequired"], true, "{record}");
    assert_eq!(record["requiredCapabilities"], json!(["deploy"]), "{record}");
    let live = installation.plane.admin.get(&["deployment", "orders", "-n", &governed.namespace]);
    assert!(live.is_none(), "the denied Deployment does not exist");

    let record = assert_admitted(&governed, &installation.operator.apply(&governed.approved(&object)), &expected);
    assert_eq!(record["requestedBy"], "alice@acme.example", "{record}");
    assert_eq!(record["approvals"][0]["reviewers"], json!(["bob@acme.example"]), "{record}");
    assert_eq!(record["approvals"][0]["keyIds"], json!([governed.bob.id()]), "{record}");
}

fn an_admitted_deployment_keeps_working_after_its_approval_expired(installation: &Installation) {
    let governed = installation.governed("expired");
    let (object, expires) = short_lived(&governed, &governed.deployment("orders"));
    let apply = |object: &Value| installation.operator.apply(object);
    let ran = apply(&object);
    assert!(ran.ok(), "{ran}");
    wait_past(&expires);

    let ran = apply(&object);
    assert!(ran.ok(), "applied again unchanged: {ran}");
    let mut labelled = object.clone();
    labelled["metadata"]["labels"]["team"] = json!("orders");
    let ran = apply(&labelled);
    assert!(ran.ok(), "labelled: {ran}");
    let kubectl = |args: &[&str]| installation.operator.kubectl(&[args, &["-n", &governed.namespace]].concat());
    let ran = kubectl(&["scale", "deployment", "orders", "--replicas=3"]);
    assert!(ran.ok(), "scaled: {ran}");
    let autoscale = r#"{"spec": {"replicas": 4}}"#;
    let ran = kubectl(&["patch", "deployment", "orders", "--subresource=scale", "--type=merge", "-p", autoscale]);
    assert!(ran.ok(), "scaled as an autoscaler does: {ran}");
    let ran = kubectl(&["patch", "deployment", "orders", "--type=merge", "-p", autoscale]);
    assert!(ran.ok(), "scaled in its spec: {ran}");
    let ran = kubectl(&["rollout", "restart", "deployment", "orders"]);
    assert!(ran.ok(), "restarted: {ran}");
    let ran = kubectl(&["rollout", "pause", "deployment", "orders"]);
    assert!(ran.ok(), "paused: {ran}");

    let ran = kubectl(&["rollout", "resume", "deployment", "orders"]);
    assert!(denied_for(&ran, "Expired"), "resumed after the approval expired: {ran}");
    let ran = kubectl(&["set", "image", "deployment/orders", "orders=ghcr.io/acme/orders:6.6.6"]);
    assert!(denied_for(&ran, "SpecHashMismatch"), "another image: {ran}");
    let ran = kubectl(&["delete", "deployment", "orders"]);
    assert!(ran.ok(), "deleted: {ran}");
    let ran = apply(&object);
    assert!(denied_for(&ran, "Expired"), "created again: {ran}");
}

fn rollout_undo_requires_a_valid_approval(installation: &Installation) {
    let governed = installation.governed("undo");
    let kubectl = |args: &[&str]| installation.operator.kubectl(&[args, &["-n", &governed.namespace]].concat());
    let mut object = governed.deployment("orders");
    let (first, expires) = short_lived(&governed, &object);
    let mut applied = 0;
    let mut apply = |object: &Value| {
        let ran = installation.operator.apply(object);
        assert!(ran.ok(), "{ran}");
        applied += 1;
        // The controller copies the approval to the revision, and a rollback restores it.
        wait_until("the controller made the revision", Duration::from_secs(20), || {
            let sets = installation.plane.admin.get(&["replicasets", "-n", &governed.namespace])?;
            (sets["items"].as_array()?.len() == applied).then_some(())
        });
    };
    apply(&first);
    for image in ["ghcr.io/acme/orders:1.5.0", "ghcr.io/acme/orders:1.6.0"] {
        object["spec"]["template"]["spec"]["containers"][0]["image"] = json!(image);
        apply(&governed.approved(&object));
    }
    wait_past(&expires);

    let ran = kubectl(&["rollout", "undo", "deployment", "orders", "--to-revision=1"]);
    assert!(denied_for(&ran, "Expired"), "undo to a revision whose approval expired: {ran}");
    let ran = kubectl(&["rollout", "undo", "deployment", "orders", "--to-revision=2"]);
    assert!(ran.ok(), "undo to a revision whose approval is valid: {ran}");
    let live = installation.plane.admin.get(&["deployment", "orders", "-n", &governed.namespace]).expect("it exists");
    assert_eq!(live["spec"]["template"]["spec"]["containers"][0]["image"], "ghcr.io/acme/orders:1.5.0");
}

fn server_side_apply_is_decided_like_any_other_write(installation: &Installation) {
    let governed = installation.governed("ssa");
    let apply = |object: &Value, manager: &str| {
        let manager = format!("--field-manager={manager}");
        let args = ["apply", "--server-side", "--force-conflicts", &manager, "-f", "-"];
        installation.operator.kubectl_in(&args, &object.to_string())
    };
    let object = governed.deployment("orders");
    let hash = installation.hash(&object);
    let expected = Expected { operation: "CREATE", action: "deploy", kind: "Deployment", name: "orders", hash: &hash };
    assert_denied(&governed, &apply(&object, "one"), "ApprovalRequired", &expected);
    let approved = governed.approved(&object);
    assert_admitted(&governed, &apply(&approved, "one"), &expected);
    let ran = apply(&approved, "one");
    assert!(ran.ok(), "unchanged: {ran}");

    let mut changed = approved;
    changed["spec"]["template"]["spec"]["containers"][0]["image"] = json!("ghcr.io/acme/orders:6.6.6");
    let expected = Expected { operation: "UPDATE", hash: &installation.hash(&changed), ..expected };
    assert_denied(&governed, &apply(&changed, "another"), "SpecHashMismatch", &expected);
}

fn a_server_side_dry_run_is_decided_and_writes_no_event(installation: &Installation) {
    let governed = installation.governed("dry");
    let dry = |object: &Value| {
        installation.operator.kubectl_in(&["apply", "--dry-run=server", "-f", "-"], &object.to_string())
    };
    let object = governed.deployment("orders");
    let ran = dry(&object);
    assert!(denied_for(&ran, "ApprovalRequired"), "{ran}");
    let approved = governed.approved(&object);
    let ran = dry(&approved);
    assert!(ran.ok(), "{ran}");
    let records = trail::records(&governed, |record| record["object"]["name"] == "orders");
    let decisions: Vec<_> = records.iter().map(|record| (&record["decision"], &record["dryRun"])).collect();
    assert_eq!(decisions, [(&json!("denied"), &json!(true)), (&json!("admitted"), &json!(true))]);

    // Events are written in order, so the Event of a later decision proves that the dry runs have none.
    let hash = installation.hash(&object);
    let expected = Expected { operation: "CREATE", action: "deploy", kind: "Deployment", name: "orders", hash: &hash };
    assert_denied(&governed, &installation.operator.apply(&object), "ApprovalRequired", &expected);
    assert_admitted(&governed, &installation.operator.apply(&approved), &expected);
    assert_eq!(trail::events(&governed, |_| true).len(), 2, "Events of the two decisions that were not dry runs");
}

fn an_event_says_admitted_only_if_the_object_was_stored(installation: &Installation) {
    let governed = installation.governed("persisted");
    let object = governed.approved(&governed.deployment("orders"));
    let expected = Expected {
        operation: "CREATE",
        action: "deploy",
        kind: "Deployment",
        name: "orders",
        hash: &installation.hash(&object),
    };
    let first = assert_admitted(&governed, &installation.operator.create(&object), &expected);

    // The API server calls the webhook before it finds that the name exists.
    let ran = installation.operator.create(&object);
    assert!(ran.stderr.contains("AlreadyExists"), "{ran}");
    let records = trail::records(&governed, |record| record["decision"] == "admitted" && record["id"] != first["id"]);
    assert_eq!(records.len(), 1, "expected a second decision");
    let event = trail::event_of(&governed, &records[0]);
    assert_eq!(event["reason"], "NotPersisted", "{event}");
    assert_eq!(trail::events(&governed, |event| event["reason"] == "Admitted").len(), 1);
}

fn a_dry_run_replay_requires_no_approval(installation: &Installation) {
    let governed = installation.governed("replay");
    let free = governed.dry_run_job("look");
    let expected = Expected {
        operation: "CREATE",
        action: "replay-dry-run",
        kind: "Job",
        name: "look",
        hash: &installation.hash(&free),
    };
    let record = assert_admitted(&governed, &installation.operator.create(&free), &expected);
    assert_eq!(record["approvalRequired"], false, "{record}");

    let mut tricked = governed.dry_run_job("trick");
    tricked["spec"]["template"]["spec"]["containers"][0]["env"][0]["value"] = json!("execute");
    let expected = Expected { action: "replay-execute", name: "trick", hash: &installation.hash(&tricked), ..expected };
    assert_denied(&governed, &installation.operator.create(&tricked), "ApprovalRequired", &expected);
}

fn a_bare_pod_is_admitted_if_the_posture_allows_pods(installation: &Installation) {
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "look"},
        "spec": {"containers": [{"name": "c", "image": "ghcr.io/acme/look:1"}]}});
    let create = |governed: &Governed<'_>| {
        let mut pod = pod.clone();
        pod["metadata"]["namespace"] = json!(governed.namespace);
        installation.tenant.create(&pod)
    };
    let refused = create(&installation.governed("pods"));
    assert!(denied_for(&refused, "WorkloadNotAllowed"), "{refused}");

    let governed = installation.governed_with("pods", |posture| posture["pods"] = json!("allow"));
    let ran = create(&governed);
    assert!(ran.ok(), "{ran}");
    let records = trail::records(&governed, |record| record["object"]["kind"] == "Pod");
    assert_eq!(records.len(), 1, "{records:?}");
    assert_eq!(trail::event_of(&governed, &records[0])["reason"], "Admitted", "the webhook may read the Pod");
}

fn a_changed_posture_takes_effect_without_a_restart(installation: &Installation) {
    let governed = installation.governed("posture");
    let object = governed.approved(&governed.deployment("orders"));
    let dry = || installation.operator.kubectl_in(&["create", "--dry-run=server", "-f", "-"], &object.to_string());
    assert!(dry().ok());
    let change = |posture: Value, code: &str| {
        installation.plane.install(&governed.posture_objects(&posture));
        wait_until(&format!("the Deployment is denied with {code}"), Duration::from_secs(20), || {
            denied_for(&dry(), code).then_some(())
        });
    };
    let mut posture = governed.usual_posture();
    posture["actions"] = json!({"deploy": {"capabilities": ["deploy", "replay.execute"]}});
    change(posture, "InsufficientCapabilities");
    let mut posture = governed.usual_posture();
    posture["actions"] = json!({"deploy": {"quorum": [{"count": 2}]}});
    change(posture, "QuorumNotMet");

    installation.plane.install(&governed.posture_objects(&governed.usual_posture()));
    wait_until("the Deployment is admitted again", Duration::from_secs(20), || dry().ok().then_some(()));
}

fn warn_admits_and_warns_the_user(installation: &Installation) {
    let ran = soft(installation, "warn");
    assert!(ran.stderr.contains("Warning: "), "{ran}");
    assert!(ran.stderr.contains("ApprovalRequired"), "{ran}");
}

fn audit_admits_and_only_records(installation: &Installation) {
    let ran = soft(installation, "audit");
    assert_eq!(ran.stderr, "", "{ran}");
}

fn an_unreachable_webhook_stops_actions_and_nothing_else(installation: &Installation) {
    let governed = installation.governed("down");
    let first = governed.approved(&governed.deployment("first"));
    let ran = installation.operator.apply(&first);
    assert!(ran.ok(), "{ran}");
    // A copy of the chart's configuration for this namespace alone, with an address where nothing listens.
    let mut silent = installation
        .plane
        .admin
        .get(&["validatingwebhookconfiguration", "writgate"])
        .expect("the configuration is installed");
    silent["metadata"] = json!({"name": "writgate-down"});
    for webhook in silent["webhooks"].as_array_mut().expect("webhooks") {
        webhook["clientConfig"]["url"] = json!(format!("https://127.0.0.1:{}/validate", free_port()));
        webhook["namespaceSelector"] = json!({"matchLabels": {"kubernetes.io/metadata.name": governed.namespace}});
    }
    installation.plane.install(&[silent]);
    let second = governed.approved(&governed.deployment("second"));
    wait_until("the API server uses the new configuration", Duration::from_secs(20), || {
        let ran = installation.operator.kubectl_in(&["create", "--dry-run=server", "-f", "-"], &second.to_string());
        (!ran.ok()).then_some(())
    });

    let ran = installation.operator.create(&second);
    assert!(ran.stderr.contains("failed calling webhook \"workloads.writgate.dev\""), "{ran}");
    let live = installation.plane.admin.get(&["deployment", "second", "-n", &governed.namespace]);
    assert!(live.is_none(), "a Deployment that the webhook cannot decide does not exist");
    let kubectl = |args: &[&str]| installation.operator.kubectl(&[args, &["-n", &governed.namespace]].concat());
    for command in [
        ["label", "deployment", "first", "team=orders"].as_slice(),
        &["scale", "deployment", "first", "--replicas=3"],
        &["delete", "deployment", "first"],
    ] {
        let ran = kubectl(command);
        assert!(ran.ok(), "{command:?}: {ran}");
    }
}

/// Creates an unapproved Deployment under a posture that does not enforce, and asserts that the record has the reason.
fn soft(installation: &Installation, enforcement: &str) -> Ran {
    let governed = installation.governed_with(enforcement, |posture| posture["enforcement"] = json!(enforcement));
    let ran = installation.operator.create(&governed.deployment("orders"));
    assert!(ran.ok(), "{ran}");
    let records = trail::records(&governed, |record| record["object"]["name"] == "orders");
    assert_eq!(records.len(), 1, "{records:?}");
    assert_eq!(records[0]["decision"], "admitted");
    assert_eq!(records[0]["enforcement"], enforcement);
    assert_eq!(records[0]["reasons"], json!(["ApprovalRequired"]));
    assert_eq!(trail::event_of(&governed, &records[0])["reason"], "Admitted");
    ran
}

/// `manifest` with an approval that is valid for five seconds, and the time at which it expires.
pub(crate) fn short_lived(governed: &Governed<'_>, manifest: &Value) -> (Value, String) {
    let mut expires = String::new();
    let approved = governed.approved_but(manifest, |statement| {
        expires = seconds_from_now(5);
        statement["predicate"]["expiresAt"] = json!(expires);
    });
    (approved, expires)
}

/// Waits for a time, since the webhook uses the machine's clock.
pub(crate) fn wait_past(time: &str) {
    let time: jiff::Timestamp = time.parse().expect("RFC 3339");
    wait_until("the approval has expired", Duration::from_secs(30), || (jiff::Timestamp::now() > time).then_some(()));
}
