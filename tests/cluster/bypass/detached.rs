//! Approvals beside the workload: in ConfigMaps, which a tenant may write as they like.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use serde_json::{Value, json};

use crate::bypass::case::{EVIL, Ground, with_image};
use writgate_testing::harness::{Test, tests};
use writgate_testing::{Gate, Key, detached, envelope};

pub(crate) fn tests() -> Vec<Test<Gate>> {
    tests![laid_in_the_wrong_place, crowded_out, swapped_after_an_admission]
}

const REF: &str = "writgate.dev/approval-ref";

/// Puts a `ConfigMap` there, as the tenant.
fn lay(ground: &Ground<'_>, object: &Value) {
    let ran = ground.gate.tenant.apply(object);
    assert!(ran.ok(), "{ran}");
}

/// So many `ConfigMap`s that hold no approval, past kubectl, which takes its time between them.
fn lay_junk(ground: &Ground<'_>, many: usize) {
    ground.gate.plane.block_on(async {
        let config_maps: Api<ConfigMap> = Api::namespaced(ground.gate.tenant.client().await, &ground.namespace);
        let junk = |number| detached(&ground.namespace, &format!("junk-{number}"), "junk");
        for number in 0..many {
            let junk = serde_json::from_value(junk(number)).expect("a ConfigMap");
            config_maps.create(&PostParams::default(), &junk).await.expect("a tenant may");
        }
    });
}

/// Takes every approval of the namespace away.
fn clear(ground: &Ground<'_>) {
    ground.gate.plane.block_on(async {
        let config_maps: Api<ConfigMap> = Api::namespaced(ground.gate.plane.admin.client().await, &ground.namespace);
        let approvals = ListParams::default().labels("writgate.dev/kind=approval");
        config_maps.delete_collection(&DeleteParams::default(), &approvals).await.expect("an administrator may");
    });
}

fn naming(object: &Value, name: &str) -> Value {
    let mut object = object.clone();
    object["metadata"]["annotations"][REF] = json!(name);
    object
}

fn laid_in_the_wrong_place(gate: &Gate) {
    let ground = Ground::new(gate, "laid");
    let orders = ground.deployment("orders");
    let good = ground.signed_but(&orders, |_| {});
    let denied = |attempt, object: &Value, code| ground.row(92, attempt).create(object).denied(code);

    lay(&ground, &detached(&ground.namespace, "own", &envelope(&ground.statement(&orders), &[&Key::new()])));
    denied("a detached approval signed by an unknown key", &orders, "UnknownKey");
    let other = ground.signed_but(&ground.deployment("other"), |_| {});
    lay(&ground, &detached(&ground.namespace, "own", &other));
    denied("another workload's detached approval for the same spec", &orders, "WrongResource");
    denied("another workload's detached approval, named by the workload", &naming(&orders, "own"), "WrongResource");
    let mut payload: Value = serde_json::from_str(&good).expect("JSON");
    payload["payload"] = serde_json::from_str::<Value>(&other).expect("JSON")["payload"].clone();
    lay(&ground, &detached(&ground.namespace, "own", &payload.to_string()));
    denied(
        "a detached approval with the signature of another payload, named by the workload",
        &naming(&orders, "own"),
        "InvalidSignature",
    );

    let mut unlabelled = detached(&ground.namespace, "own", &good);
    unlabelled["metadata"]["labels"] = json!({"writgate.dev/kind": "notes"});
    lay(&ground, &unlabelled);
    denied("a correct approval in a ConfigMap without the label", &orders, "ApprovalRequired");
    denied(
        "a correct approval in a ConfigMap without the label, named by the workload",
        &naming(&orders, "own"),
        "ApprovalRequired",
    );
    let elsewhere = gate.plane.namespace("elsewhere");
    let ran = gate.plane.admin.apply(&detached(&elsewhere, "orders", &good));
    assert!(ran.ok(), "{ran}");
    denied("a correct approval in another namespace", &orders, "ApprovalRequired");
    denied(
        "a correct approval in another namespace, named with its namespace",
        &naming(&orders, &format!("{elsewhere}/orders")),
        "ApprovalRequired",
    );
    lay(&ground, &detached(&ground.namespace, "own", &good));
    ground.row(92, "a correct detached approval").create(&orders).admitted();
}

fn crowded_out(gate: &Gate) {
    let ground = Ground::new(gate, "crowd");
    let orders = ground.deployment("orders");
    lay_junk(&ground, 600);
    let row = ground.row(93, "600 ConfigMaps with the label of approvals but without one, and no approval");
    row.create(&orders).denied("ApprovalRequired");
    let good = detached(&ground.namespace, "orders", &ground.signed_but(&orders, |_| {}));
    lay(&ground, &good);
    let row = ground.row(93, "600 such ConfigMaps and a correct approval, named by the workload");
    row.create(&naming(&orders, "orders")).admitted();
    ground.arrange(&["delete", "deployment", "orders"]);
    clear(&ground);

    let mut statement = ground.statement(&orders);
    statement["predicate"]["expiresAt"] = json!("2999-01-01T00:00:00Z");
    for number in 0..8 {
        lay(&ground, &detached(&ground.namespace, &format!("forged-{number}"), &envelope(&statement, &[&Key::new()])));
    }
    lay(&ground, &good);
    let row = ground.row(93, "eight forged approvals that claim a later expiry, and a correct one");
    row.create(&orders).denied("UnknownKey");
    let row = ground.row(93, "eight such forged approvals, and a correct one named by the workload");
    row.create(&naming(&orders, "orders")).admitted();
}

fn swapped_after_an_admission(gate: &Gate) {
    let ground = Ground::new(gate, "swapped");
    let orders = ground.deployment("orders");
    lay(&ground, &detached(&ground.namespace, "orders", &ground.signed_but(&orders, |_| {})));
    ground.applied(&orders);
    let evil = with_image(&orders, EVIL);
    let row = ground.row(94, "the image changed, with the detached approval for the previous image");
    row.apply(&evil).denied("ApprovalRequired");
    let row =
        ground.row(94, "the image changed, with the detached approval for the previous image named by the workload");
    row.apply(&naming(&evil, "orders")).denied("SpecHashMismatch");
    let own = detached(&ground.namespace, "orders", &envelope(&ground.statement(&evil), &[&Key::new()]));
    let row = ground.row(94, "a running workload's detached approval replaced with the tenant's own");
    row.apply(&own).unchanged();
    let row = ground.row(94, "the image changed to one that the tenant's own approval names");
    row.apply(&evil).denied("UnknownKey");
    let row = ground.row(94, "the approval that a running workload names changed");
    let patch = json!({"metadata": {"annotations": {REF: "elsewhere"}}});
    row.patch("deployment/orders", "merge", &patch).unchanged();
}
