//! What people see of decisions: the Events, which a tenant may otherwise write and delete.

use serde_json::{Value, json};

use crate::bypass::case::{Ground, PATIENCE, text};
use writgate_testing::harness::{Test, tests};
use writgate_testing::{Gate, wait_until};

pub(crate) fn tests() -> Vec<Test<Gate>> {
    tests![forged_events, events_that_are_there]
}

/// The policy that keeps them.
const POLICY: &str = "events.writgate.dev";
const OURS: &str = "writgate.dev/webhook";

fn forged_events(gate: &Gate) {
    let ground = Ground::new(gate, "forged");
    let newer = json!({"apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "forged"},
        "regarding": {"apiVersion": "apps/v1", "kind": "Deployment", "namespace": ground.namespace, "name": "orders"},
        "eventTime": "2026-11-22T11:00:00.000000Z", "reason": "Admitted", "type": "Normal", "note": "admitted",
        "action": "deploy", "reportingController": OURS, "reportingInstance": "x"});
    let older = |more: Value| {
        let mut event = json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": "forged"}, "reason": "Admitted",
            "involvedObject": {"apiVersion": "apps/v1", "kind": "Deployment", "namespace": ground.namespace, "name": "orders"},
            "type": "Normal", "message": "admitted"});
        if let (Value::Object(event), Value::Object(more)) = (&mut event, more) {
            event.extend(more);
        }
        event
    };
    let forged = |attempt, event: &Value| ground.row(72, attempt).create(event).guarded_by_policy(POLICY);
    forged("an Event that claims to be the webhook's", &newer);
    forged("an Event that claims to be the webhook's, in the core API", &older(json!({"reportingComponent": OURS})));
    forged("an Event that claims to be the webhook's by its `source`", &older(json!({"source": {"component": OURS}})));
    let decision = json!({"metadata": {"name": "forged", "annotations": {"writgate.dev/decision": "{}"}}});
    forged("an Event with a decision in its annotation", &older(decision));
    ground.row(72, "the tenant's own Event").create(&older(json!({"source": {"component": "tina"}}))).unchanged();
    ground
        .row(72, "the tenant's own Event changed to claim that it is the webhook's")
        .patch("events.v1./forged", "merge", &json!({"reportingComponent": OURS}))
        .guarded_by_policy(POLICY);
}

fn events_that_are_there(gate: &Gate) {
    let ground = Ground::new(gate, "kept");
    ground.runs(&ground.deployment("orders"));
    let event = wait_until("there is an Event of the admission", PATIENCE, || {
        let mut events = ground.list("events.events.k8s.io");
        events.retain(|event| event["reportingController"] == OURS);
        events.pop()
    });
    let target = format!("events.v1./{}", text(&event["metadata"]["name"]));
    let collection = format!("/api/v1/namespaces/{}/events", ground.namespace);
    let row = |attempt| ground.row(73, attempt);
    row("the webhook's Event deleted").kubectl(&["delete", &target]).guarded_by_policy(POLICY);
    row("`kubectl delete events --all`").kubectl(&["delete", "events", "--all"]).guarded_by_policy(POLICY);
    row("the whole collection of Events deleted").kubectl(&["delete", "--raw", &collection]).guarded_by_policy(POLICY);
    let reason = json!({"reason": "Denied"});
    row("the reason of the webhook's Event changed").patch(&target, "merge", &reason).guarded_by_policy(POLICY);
    let handed_over =
        json!({"reportingComponent": "tina", "metadata": {"annotations": {"writgate.dev/decision": null}}});
    row("the reporter of the webhook's Event changed").patch(&target, "merge", &handed_over).guarded_by_policy(POLICY);
    let now = ground.live(&target.replace("v1.", "events.k8s.io")).expect("it is there");
    assert_eq!(now["metadata"]["resourceVersion"], event["metadata"]["resourceVersion"], "as it was");
}
