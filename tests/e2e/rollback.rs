//! What was admitted before may run again after its approval expired, within the posture's window.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::harness::{Test, tests};
use crate::support::{Gate, Governed, SYSTEM_NAMESPACE, denied_for, seconds_from_now, wait_until};
use crate::trail;

const LIMIT: Duration = Duration::from_secs(20);

pub(crate) fn tests() -> Vec<Test<Gate>> {
    tests![what_was_admitted_runs_again_after_its_approval_expired]
}

const OLD: &str = "ghcr.io/acme/orders:1.4.2";
const NEW: &str = "ghcr.io/acme/orders:1.5.0";

fn what_was_admitted_runs_again_after_its_approval_expired(gate: &Gate) {
    let governed = gate.governed_with("undo", |posture| posture["rollback"] = json!({"within": "1h", "revisions": 3}));
    let kubectl = |args: &[&str]| gate.operator.kubectl(&[args, &["-n", &governed.namespace]].concat());
    let (old, expiry) = short_lived(&governed, OLD);
    let (new, _) = short_lived(&governed, NEW);
    let (never, _) = short_lived(&governed, "ghcr.io/acme/orders:6.6.6");
    admit(&governed, &old, 1);
    admit(&governed, &new, 2);
    wait_past(&expiry);

    let ran = kubectl(&["rollout", "undo", "deployment", "orders"]);
    assert!(ran.ok(), "undone: {ran}");
    let records = rollbacks(&governed);
    assert_eq!(records.len(), 1, "{records:?}");
    assert_eq!(records[0]["approvals"][0]["id"], id_in(&governed, 0), "the approval of then");
    let event = trail::event_of(&governed, &records[0]);
    assert_eq!((&event["reason"], &event["type"]), (&json!("RollbackAdmitted"), &json!("Normal")), "{event}");

    let ran = gate.operator.apply(&new);
    assert!(ran.ok(), "the manifest of then, applied again: {ran}");
    assert!(kubectl(&["rollout", "pause", "deployment", "orders"]).ok());
    let ran = kubectl(&["rollout", "resume", "deployment", "orders"]);
    assert!(ran.ok(), "a paused rollout resumed: {ran}");
    assert_eq!(rollbacks(&governed).len(), 3);
    let ran = gate.operator.apply(&never);
    assert!(denied_for(&ran, "Expired"), "what never ran: {ran}");
}

/// A Deployment with this image and an approval that is valid for five seconds, and when it ends.
fn short_lived(governed: &Governed<'_>, image: &str) -> (Value, String) {
    let mut object = governed.deployment("orders");
    object["spec"]["template"]["spec"]["containers"][0]["image"] = json!(image);
    let mut expires = String::new();
    let approved = governed.approved_but(&object, |statement| {
        expires = seconds_from_now(5);
        statement["predicate"]["expiresAt"] = json!(expires);
    });
    (approved, expires)
}

/// Applies `object` and waits until it is the `nth` admission that is known.
fn admit(governed: &Governed<'_>, object: &Value, nth: usize) {
    let ran = governed.gate.operator.apply(object);
    assert!(ran.ok(), "{ran}");
    wait_until("the admission is noted", LIMIT, || (history(governed)?.len() == nth).then_some(()));
    // What is undone is a revision, which the controller makes.
    wait_until("the controller made the revision", LIMIT, || {
        let sets = governed.gate.plane.admin.get(&["replicasets", "-n", &governed.namespace])?;
        (sets["items"].as_array()?.len() == nth).then_some(())
    });
}

/// The id of the approval of the `nth` admission, oldest first.
fn id_in(governed: &Governed<'_>, nth: usize) -> Value {
    let admissions = history(governed).expect("a history");
    let oldest_first: Vec<_> = admissions.iter().rev().collect();
    oldest_first[nth]["approvals"][0]["id"].clone()
}

/// What the ledger knows of the Deployment, latest first.
fn history(governed: &Governed<'_>) -> Option<Vec<Value>> {
    let about = format!("apps/v1/Deployment/{}/orders", governed.namespace);
    let list = governed.gate.plane.admin.get(&["configmaps", "-n", SYSTEM_NAMESPACE, "-l", "writgate.dev/kind=ledger"]);
    let list = list.expect("a list is always there");
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

fn wait_past(time: &str) {
    let time: jiff::Timestamp = time.parse().expect("RFC 3339");
    wait_until("the approval has expired", Duration::from_secs(30), || (jiff::Timestamp::now() > time).then_some(()));
}
