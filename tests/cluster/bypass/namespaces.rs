//! Namespaces: which one is governed, by whom, and what may be done about it.

use serde_json::json;

use crate::bypass::case::{Ground, PATIENCE, row};
use writgate_testing::harness::{Test, tests};
use writgate_testing::{Gate, wait_until};

pub(crate) fn tests() -> Vec<Test<Gate>> {
    tests![a_namespace_that_claims_what_is_not_its_own, namespaces_are_not_the_tenants, beside_the_gate,]
}

/// The posture's own list says which namespaces are the environment's; a label only sends a request to the webhook.
fn a_namespace_that_claims_what_is_not_its_own(gate: &Gate) {
    let ground = Ground::new(gate, "claims");
    let until = |code| {
        let orders = ground.deployment("orders").to_string();
        wait_until(code, PATIENCE, || {
            let ran = gate.operator.kubectl_in(&["create", "--dry-run=server", "-f", "-"], &orders);
            ran.stderr.contains(code).then_some(())
        });
    };
    let mut posture = ground.usual_posture();
    posture["namespaces"] = json!({"another": "payments"});
    gate.plane.install(&ground.posture_objects(&posture));
    until("NamespaceNotListed");
    ground
        .row(41, "a namespace that claims an environment whose posture does not list it, with a correct approval")
        .apply(&ground.approved(&ground.deployment("orders")))
        .denied("NamespaceNotListed");
    let name = &ground.namespace;
    let ran = gate.plane.admin.kubectl(&["label", "--overwrite", "namespace", name, "writgate.dev/environment=dev"]);
    assert!(ran.ok(), "{ran}");
    until("PostureMissing");
    ground
        .row(41, "a namespace that claims an environment without a posture")
        .apply(&ground.deployment("orders"))
        .denied("PostureMissing");
}

fn namespaces_are_not_the_tenants(gate: &Gate) {
    let ground = Ground::new(gate, "namespace");
    let name = &ground.namespace;
    for (number, attempt, args) in [
        (41, "a new namespace", vec!["create", "namespace", "mine"]),
        (42, "the governing label removed", vec!["label", "namespace", name, "writgate.dev/environment-"]),
        (
            43,
            "a namespace's environment changed",
            vec!["label", "--overwrite", "namespace", name, "writgate.dev/environment=dev"],
        ),
        (45, "the namespace deleted, to be created again", vec!["delete", "namespace", name]),
    ] {
        ground.row(number, attempt).tries(|user| user.kubectl(&args)).refused("Forbidden");
    }
}

fn beside_the_gate(_: &Gate) {
    row(44, "run it in a namespace that is not governed, and reach the same data over the network")
        .limit("What runs in namespaces that are not governed");
    row(42, "a change in the milliseconds after a namespace is labelled")
        .limit("For some milliseconds after a namespace is labelled, a change in it may still be admitted without asking the webhook");
}
