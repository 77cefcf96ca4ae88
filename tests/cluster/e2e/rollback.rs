//! Rollback: an admitted spec is admitted again after its approval expired, within the window of the posture.

use std::time::Duration;

use serde_json::{Value, json};

use crate::e2e::lifecycle::{short_lived, wait_past};
use crate::e2e::{policies::AsWebhook, trail};
use writgate_testing::harness::{Test, tests};
use writgate_testing::{APPROVAL, Governed, Installation, Ran, SYSTEM_NAMESPACE, denied_for, document, wait_until};

const LIMIT: Duration = Duration::from_secs(20);

pub(crate) fn tests() -> Vec<Test<Installation>> {
    tests![
        an_admitted_spec_is_admitted_again_after_its_approval_expired,
        denies_a_rollback_outside_its_window,
        denies_a_rollback_beyond_the_last_revisions,
        denies_a_rollback_after_a_revocation,
        denies_a_rollback_to_an_admission_that_the_webhook_did_not_note,
        denies_a_rollback_with_other_claims_or_to_an_admission_without_enforcement,
    ]
}

const OLD: &str = "ghcr.io/acme/orders:1.4.2";
const NEW: &str = "ghcr.io/acme/orders:1.5.0";

fn an_admitted_spec_is_admitted_again_after_its_approval_expired(installation: &Installation) {
    let governed = governed(installation, "1h", 3);
    let kubectl = |args: &[&str]| installation.operator.kubectl(&[args, &["-n", &governed.namespace]].concat());
    let (never, _) = short_lived(&governed, &orders(&governed, "ghcr.io/acme/orders:6.6.6"));
    admit(&governed, OLD, 1);
    let (new, expiry) = admit(&governed, NEW, 2);
    wait_past(&expiry);

    let ran = kubectl(&["rollout", "undo", "deployment", "orders"]);
    assert!(ran.ok(), "rollout undo: {ran}");
    let records = rollbacks(&governed);
    assert_eq!(records.len(), 1, "{records:?}");
    assert_eq!(
        records[0]["approvals"][0]["id"],
        id_in(&governed, 0),
        "the record names the approval of the first admission"
    );
    let event = trail::event_of(&governed, &records[0]);
    assert_eq!((&event["reason"], &event["type"]), (&json!("RollbackAdmitted"), &json!("Normal")), "{event}");

    let ran = installation.operator.apply(&new);
    assert!(ran.ok(), "the admitted manifest applied again: {ran}");
    assert!(kubectl(&["rollout", "pause", "deployment", "orders"]).ok());
    let ran = kubectl(&["rollout", "resume", "deployment", "orders"]);
    assert!(ran.ok(), "a paused rollout resumed: {ran}");
    assert_eq!(rollbacks(&governed).len(), 3);
    let ran = installation.operator.apply(&never);
    assert!(denied_for(&ran, "Expired"), "a spec that was never admitted: {ran}");
}

fn denies_a_rollback_outside_its_window(installation: &Installation) {
    let governed = governed(installation, "1s", 3);
    let (old, _) = admit(&governed, OLD, 1);
    let (_, expiry) = admit(&governed, NEW, 2);
    wait_past(&expiry);
    let ran = installation.operator.apply(&old);
    assert!(denied_for(&ran, "Expired"), "{ran}");
}

fn denies_a_rollback_beyond_the_last_revisions(installation: &Installation) {
    let governed = governed(installation, "1h", 1);
    let (old, _) = admit(&governed, OLD, 1);
    let (new, expiry) = admit(&governed, NEW, 2);
    wait_past(&expiry);
    let ran = installation.operator.apply(&old);
    assert!(denied_for(&ran, "Expired"), "{ran}");
    // The latest spec is the one revision that the posture permits.
    assert!(installation.operator.kubectl(&["delete", "deployment", "orders", "-n", &governed.namespace]).ok());
    let ran = installation.operator.apply(&new);
    assert!(ran.ok(), "{ran}");
}

fn denies_a_rollback_after_a_revocation(installation: &Installation) {
    let governed = governed(installation, "1h", 3);
    let (old, _) = admit(&governed, OLD, 1);
    let (new, _) = admit(&governed, NEW, 2);
    let (newest, expiry) = admit(&governed, "ghcr.io/acme/orders:1.6.0", 3);
    wait_past(&expiry);
    // After the Deployment is deleted, creating it with any of the three specs is a rollback.
    assert!(installation.operator.kubectl(&["delete", "deployment", "orders", "-n", &governed.namespace]).ok());
    let revocations = [
        (&old, json!({"approvals": [{"id": id_in(&governed, 0)}]})),
        (&new, json!({"specs": [{"hash": format!("sha256:{}", installation.hash(&new))}]})),
        (&newest, json!({"keys": [{"id": governed.bob.id()}]})),
    ];
    let mut in_force = json!({"apiVersion": "writgate.dev/v1", "kind": "Revocations"});
    for (object, revoked) in revocations {
        let ran = dry_run(&governed, object);
        assert!(ran.ok(), "before the revocation: {ran}");
        in_force.as_object_mut().expect("an object").extend(revoked.as_object().expect("an object").clone());
        revoke(&governed, &in_force);
        let refused = wait_until("the revocation is in force", LIMIT, || {
            Some(dry_run(&governed, object)).filter(|ran| !ran.ok())
        });
        assert!(denied_for(&refused, "Expired") && refused.stderr.contains("Revoked: "), "{revoked}: {refused}");
    }
}

/// Whoever could write the ledger would need its key as well.
fn denies_a_rollback_to_an_admission_that_the_webhook_did_not_note(installation: &Installation) {
    let governed = governed(installation, "1h", 3);
    let (old, _) = admit(&governed, OLD, 1);
    let (_, expiry) = admit(&governed, NEW, 2);
    wait_past(&expiry);
    let ran = dry_run(&governed, &old);
    assert!(ran.ok(), "as the webhook noted it: {ran}");
    let list = ["configmaps", "-n", SYSTEM_NAMESPACE, "-l", "writgate.dev/kind=ledger"];
    let entries = installation.plane.admin.get(&list).expect("a list always exists");
    let about = format!("apps/v1/Deployment/{}/orders", governed.namespace);
    let is_history = |entry: &&Value| {
        entry["metadata"]["annotations"]["writgate.dev/about"] == about.as_str()
            && entry["data"]["history.json"].is_string()
    };
    let entry = entries["items"].as_array().into_iter().flatten().find(is_history).expect("a history");
    let name = entry["metadata"]["name"].as_str().expect("a name");
    let mut mac = entry["data"]["mac"].as_str().expect("a MAC").to_owned();
    let first = mac.remove(0);
    mac.insert(0, if first == '0' { '1' } else { '0' });
    let patch = json!({"data": {"mac": mac}}).to_string();
    let webhook = AsWebhook(&installation.plane.admin);
    let ran = webhook.kubectl(&["patch", "configmap", name, "-n", SYSTEM_NAMESPACE, "--type=merge", "-p", &patch]);
    assert!(ran.ok(), "the policy lets only the webhook's account write it: {ran}");
    let ran = dry_run(&governed, &old);
    assert!(denied_for(&ran, "Expired"), "{ran}");
}

fn denies_a_rollback_with_other_claims_or_to_an_admission_without_enforcement(installation: &Installation) {
    let governed = governed(installation, "1h", 3);
    let (old, expiry) = admit(&governed, OLD, 1);
    let mut soft = short_lived(&governed, &orders(&governed, NEW)).0;
    soft["metadata"]["annotations"].as_object_mut().expect("annotations").remove(APPROVAL);
    let enforce = |enforcement: &str, in_force: &dyn Fn(&Ran) -> bool| {
        let mut posture = posture(&governed, "1h", 3);
        posture["enforcement"] = json!(enforcement);
        installation.plane.install(&governed.posture_objects(&posture));
        wait_until("the posture is in force", LIMIT, || in_force(&dry_run(&governed, &soft)).then_some(()));
    };
    enforce("warn", &|ran| ran.ok());
    let ran = installation.operator.apply(&soft);
    assert!(ran.ok(), "under enforcement warn: {ran}");
    let ran = installation.operator.apply(&old);
    assert!(ran.ok(), "{ran}");
    enforce("enforce", &|ran| denied_for(ran, "ApprovalRequired"));
    wait_past(&expiry);

    assert!(installation.operator.kubectl(&["delete", "deployment", "orders", "-n", &governed.namespace]).ok());
    let mut other = old.clone();
    other["metadata"]["annotations"]["writgate.dev/pipeline-version"] = json!("orders@1.4.3");
    let ran = installation.operator.apply(&other);
    assert!(denied_for(&ran, "Expired"), "with another claim: {ran}");
    let ran = installation.operator.apply(&soft);
    assert!(denied_for(&ran, "ApprovalRequired"), "an admission without enforcement: {ran}");
    let ran = installation.operator.apply(&old);
    assert!(ran.ok(), "with the approved claims: {ran}");
}

/// A governed namespace whose posture permits rollback.
fn governed<'g>(installation: &'g Installation, within: &str, revisions: u32) -> Governed<'g> {
    installation
        .governed_with("undo", |posture| posture["rollback"] = json!({"within": within, "revisions": revisions}))
}

fn posture(governed: &Governed<'_>, within: &str, revisions: u32) -> Value {
    let mut posture = governed.usual_posture();
    posture["rollback"] = json!({"within": within, "revisions": revisions});
    posture
}

/// Installs these revocations and a posture that names them.
fn revoke(governed: &Governed<'_>, revocations: &Value) {
    let name = format!("revocations-{}", governed.environment);
    let mut posture = posture(governed, "1h", 3);
    posture["revocationLists"] = json!([name]);
    let mut objects = vec![document("revocations", &name, revocations)];
    objects.extend(governed.posture_objects(&posture));
    governed.installation.plane.install(&objects);
}

fn dry_run(governed: &Governed<'_>, object: &Value) -> Ran {
    governed.installation.operator.kubectl_in(&["apply", "--dry-run=server", "-f", "-"], &object.to_string())
}

fn orders(governed: &Governed<'_>, image: &str) -> Value {
    let mut object = governed.deployment("orders");
    object["spec"]["template"]["spec"]["containers"][0]["image"] = json!(image);
    object
}

/// Applies a Deployment with this image and a short-lived approval, and waits until the history has `nth` admissions. Returns
/// the Deployment and the time at which its approval expires.
fn admit(governed: &Governed<'_>, image: &str, nth: usize) -> (Value, String) {
    let (object, expires) = short_lived(governed, &orders(governed, image));
    let ran = governed.installation.operator.apply(&object);
    assert!(ran.ok(), "{ran}");
    wait_until("the history has the admission", LIMIT, || (history(governed)?.len() == nth).then_some(()));
    // `rollout undo` requires the revision, which the controller creates.
    wait_until("the controller made the revision", LIMIT, || {
        let sets = governed.installation.plane.admin.get(&["replicasets", "-n", &governed.namespace])?;
        (sets["items"].as_array()?.len() == nth).then_some(())
    });
    (object, expires)
}

/// The id of the approval of the `nth` admission, oldest first.
fn id_in(governed: &Governed<'_>, nth: usize) -> Value {
    let admissions = history(governed).expect("a history");
    let oldest_first: Vec<_> = admissions.iter().rev().collect();
    oldest_first[nth]["approvals"][0]["id"].clone()
}

/// The admissions of the Deployment in the ledger, latest first.
fn history(governed: &Governed<'_>) -> Option<Vec<Value>> {
    let about = format!("apps/v1/Deployment/{}/orders", governed.namespace);
    let list = governed.installation.plane.admin.get(&[
        "configmaps",
        "-n",
        SYSTEM_NAMESPACE,
        "-l",
        "writgate.dev/kind=ledger",
    ]);
    let list = list.expect("a list always exists");
    let entry = list["items"].as_array()?.iter().find(|entry| {
        entry["metadata"]["annotations"]["writgate.dev/about"] == about.as_str()
            && entry["data"]["history.json"].is_string()
    })?;
    let history: Value = serde_json::from_str(entry["data"]["history.json"].as_str()?).expect("JSON");
    history["admissions"].as_array().cloned()
}

fn rollbacks(governed: &Governed<'_>) -> Vec<Value> {
    trail::records(governed, |record| record["basis"] == "rollback")
}
