//! Attempts with Events, which a tenant with the `edit` role may otherwise write and delete.

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use writgate_core::encoding::hex;

use crate::bypass::case::{PATIENCE, TenantNamespace, text};
use writgate_testing::harness::{Test, tests};
use writgate_testing::{Installation, wait_until};

pub(crate) fn tests() -> Vec<Test<Installation>> {
    tests![guards_against_forged_events, guards_the_webhooks_events, reports_a_denial_whose_event_name_is_taken]
}

/// The policy that protects the webhook's Events.
const POLICY: &str = "events.writgate.dev";
const CONTROLLER: &str = "writgate.dev/webhook";

fn guards_against_forged_events(installation: &Installation) {
    let ns = TenantNamespace::new(installation, "forged");
    let newer = json!({"apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "forged"},
        "regarding": {"apiVersion": "apps/v1", "kind": "Deployment", "namespace": ns.namespace, "name": "orders"},
        "eventTime": "2026-11-22T11:00:00.000000Z", "reason": "Admitted", "type": "Normal", "note": "admitted",
        "action": "deploy", "reportingController": CONTROLLER, "reportingInstance": "x"});
    let older = |more: Value| {
        let mut event = json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": "forged"}, "reason": "Admitted",
            "involvedObject": {"apiVersion": "apps/v1", "kind": "Deployment", "namespace": ns.namespace, "name": "orders"},
            "type": "Normal", "message": "admitted"});
        if let (Value::Object(event), Value::Object(more)) = (&mut event, more) {
            event.extend(more);
        }
        event
    };
    let forged = |attempt, event: &Value| ns.row(72, attempt).create(event).guarded_by_policy(POLICY);
    forged("an Event that claims to be the webhook's", &newer);
    forged(
        "an Event that claims to be the webhook's, in the core API",
        &older(json!({"reportingComponent": CONTROLLER})),
    );
    forged(
        "an Event that claims to be the webhook's by its `source`",
        &older(json!({"source": {"component": CONTROLLER}})),
    );
    let decision = json!({"metadata": {"name": "forged", "annotations": {"writgate.dev/decision": "{}"}}});
    forged("an Event with a decision in its annotation", &older(decision));
    ns.row(72, "the tenant's own Event").create(&older(json!({"source": {"component": "tina"}}))).unchanged();
    ns.row(72, "the tenant's own Event changed to claim that it is the webhook's")
        .patch("events.v1./forged", "merge", &json!({"reportingComponent": CONTROLLER}))
        .guarded_by_policy(POLICY);
}

fn guards_the_webhooks_events(installation: &Installation) {
    let ns = TenantNamespace::new(installation, "kept");
    ns.runs(&ns.deployment("orders"));
    let event = wait_until("there is an Event of the admission", PATIENCE, || {
        let mut events = ns.list("events.events.k8s.io");
        events.retain(|event| event["reportingController"] == CONTROLLER);
        events.pop()
    });
    let target = format!("events.v1./{}", text(&event["metadata"]["name"]));
    let collection = format!("/api/v1/namespaces/{}/events", ns.namespace);
    let row = |attempt| ns.row(73, attempt);
    row("the webhook's Event deleted").kubectl(&["delete", &target]).guarded_by_policy(POLICY);
    row("`kubectl delete events --all`").kubectl(&["delete", "events", "--all"]).guarded_by_policy(POLICY);
    row("the whole collection of Events deleted").kubectl(&["delete", "--raw", &collection]).guarded_by_policy(POLICY);
    let reason = json!({"reason": "Denied"});
    row("the reason of the webhook's Event changed").patch(&target, "merge", &reason).guarded_by_policy(POLICY);
    let handed_over =
        json!({"reportingComponent": "tina", "metadata": {"annotations": {"writgate.dev/decision": null}}});
    row("the reporter of the webhook's Event changed").patch(&target, "merge", &handed_over).guarded_by_policy(POLICY);
    let now = ns.live(&target.replace("v1.", "events.k8s.io")).expect("it is there");
    assert_eq!(now["metadata"]["resourceVersion"], event["metadata"]["resourceVersion"], "the Event is unchanged");
}

/// A tenant takes the name of an Event before the webhook writes it.
fn reports_a_denial_whose_event_name_is_taken(installation: &Installation) {
    let ns = TenantNamespace::new(installation, "taken");
    let orders = ns.deployment("orders");
    let dry = ["create", "--dry-run=server", "-n", &ns.namespace, "-f", "-"];
    let ran = installation.tenant.kubectl_in(&dry, &orders.to_string());
    assert!(!ran.ok(), "{ran}");
    let record = ns.records().pop().expect("a record of the dry run");
    let take = |name: &str| {
        let event = json!({"apiVersion": "v1", "kind": "Event", "reason": "Innocent", "type": "Normal", "message": "nothing",
            "metadata": {"name": name, "namespace": ns.namespace}, "source": {"component": "tina"},
            "involvedObject": {"apiVersion": "apps/v1", "kind": "Deployment", "namespace": ns.namespace, "name": "orders"}});
        let ran = installation.tenant.create(&event);
        assert!(ran.ok(), "{ran}");
    };
    let written = |but: &str| {
        wait_until("there is an Event of the denial", PATIENCE, || {
            let mut events = ns.list("events.events.k8s.io");
            events.retain(|event| event["reportingController"] == CONTROLLER && event["metadata"]["name"] != but);
            events.pop()
        })
    };
    for generation in 0..2 {
        take(&predicted(&record, generation));
    }
    let attempt = ns
        .row(100, "a denial whose Event's name, as a digest of the decision, a tenant has taken: the Event is written");
    attempt.create(&orders).denied("ApprovalRequired");
    let event = written("");
    assert_eq!(event["reason"], "ApprovalRequired", "{event}");

    // What the end of its time does to an Event, the namespace controller may do as well.
    let name = text(&event["metadata"]["name"]);
    let name = name.as_str();
    let target = format!("events.events.k8s.io/{name}");
    ns.arrange(&["delete", &target, "--as", "system:serviceaccount:kube-system:namespace-controller"]);
    take(name);
    let attempt = ns.row(
        100,
        "a denial after a tenant has taken the name of its expired Event: the Event is written under another name",
    );
    attempt.create(&orders).denied("ApprovalRequired");
    let event = written(name);
    assert_eq!(event["reason"], "ApprovalRequired", "{event}");
}

/// The name that the Event of the denied creation of `record` would have if it were only a digest of what the tenant knows.
fn predicted(record: &Value, generation: i64) -> String {
    let list = |value: &Value| value.as_array().into_iter().flatten().map(text).collect::<Vec<_>>().join("\n");
    let object = &record["object"];
    let parts = [
        format!("{}/{}/{}", text(&object["apiVersion"]), text(&object["kind"]), text(&object["name"])),
        generation.to_string(),
        text(&record["specHash"]),
        text(&record["initiator"]["username"]),
        String::new(),
        "denied".to_owned(),
        list(&record["reasons"]),
        String::new(),
        "false".to_owned(),
    ];
    let mut digest = Sha256::new();
    for part in parts {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    format!("{}.{}", text(&object["name"]), &hex::encode(&digest.finalize().into())[..32])
}
