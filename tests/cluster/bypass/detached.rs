//! Detached approvals: a tenant may write any ConfigMap in the namespace.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use serde_json::{Value, json};

use crate::bypass::case::{EVIL, TenantNamespace, with_image};
use writgate_testing::harness::{Test, tests};
use writgate_testing::{Installation, Key, detached, envelope};

pub(crate) fn tests() -> Vec<Test<Installation>> {
    tests![
        denies_a_detached_approval_of_another_object_or_namespace,
        many_config_maps_do_not_hide_a_named_approval,
        denies_a_change_with_a_replaced_detached_approval
    ]
}

const REF: &str = "writgate.dev/approval-ref";

/// Applies a `ConfigMap` as the tenant.
fn apply(ns: &TenantNamespace<'_>, object: &Value) {
    let ran = ns.installation.tenant.apply(object);
    assert!(ran.ok(), "{ran}");
}

/// Creates `ConfigMap`s with the label of approvals and without an approval. It uses the API client, since kubectl takes
/// about a hundred milliseconds for each.
fn create_junk(ns: &TenantNamespace<'_>, many: usize) {
    ns.installation.plane.block_on(async {
        let config_maps: Api<ConfigMap> = Api::namespaced(ns.installation.tenant.client().await, &ns.namespace);
        let junk = |number| detached(&ns.namespace, &format!("junk-{number}"), "junk");
        for number in 0..many {
            let junk = serde_json::from_value(junk(number)).expect("a ConfigMap");
            config_maps.create(&PostParams::default(), &junk).await.expect("a tenant may create ConfigMaps");
        }
    });
}

/// Deletes every detached approval of the namespace.
fn delete_approvals(ns: &TenantNamespace<'_>) {
    ns.installation.plane.block_on(async {
        let config_maps: Api<ConfigMap> = Api::namespaced(ns.installation.plane.admin.client().await, &ns.namespace);
        let approvals = ListParams::default().labels("writgate.dev/kind=approval");
        config_maps
            .delete_collection(&DeleteParams::default(), &approvals)
            .await
            .expect("an administrator may delete ConfigMaps");
    });
}

fn naming(object: &Value, name: &str) -> Value {
    let mut object = object.clone();
    object["metadata"]["annotations"][REF] = json!(name);
    object
}

fn denies_a_detached_approval_of_another_object_or_namespace(installation: &Installation) {
    let ns = TenantNamespace::new(installation, "laid");
    let orders = ns.deployment("orders");
    let good = ns.signed_but(&orders, |_| {});
    let denied = |attempt, object: &Value, code| ns.row(92, attempt).create(object).denied(code);

    apply(&ns, &detached(&ns.namespace, "own", &envelope(&ns.statement(&orders), &[&Key::new()])));
    denied("a detached approval signed by an unknown key", &orders, "UnknownKey");
    let other = ns.signed_but(&ns.deployment("other"), |_| {});
    apply(&ns, &detached(&ns.namespace, "own", &other));
    denied("another workload's detached approval for the same spec", &orders, "WrongResource");
    denied("another workload's detached approval, named by the workload", &naming(&orders, "own"), "WrongResource");
    let mut payload: Value = serde_json::from_str(&good).expect("JSON");
    payload["payload"] = serde_json::from_str::<Value>(&other).expect("JSON")["payload"].clone();
    apply(&ns, &detached(&ns.namespace, "own", &payload.to_string()));
    denied(
        "a detached approval with the signature of another payload, named by the workload",
        &naming(&orders, "own"),
        "InvalidSignature",
    );

    let mut unlabelled = detached(&ns.namespace, "own", &good);
    unlabelled["metadata"]["labels"] = json!({"writgate.dev/kind": "notes"});
    apply(&ns, &unlabelled);
    denied("a correct approval in a ConfigMap without the label", &orders, "ApprovalRequired");
    denied(
        "a correct approval in a ConfigMap without the label, named by the workload",
        &naming(&orders, "own"),
        "ApprovalRequired",
    );
    let elsewhere = installation.plane.namespace("elsewhere");
    let ran = installation.plane.admin.apply(&detached(&elsewhere, "orders", &good));
    assert!(ran.ok(), "{ran}");
    denied("a correct approval in another namespace", &orders, "ApprovalRequired");
    denied(
        "a correct approval in another namespace, named with its namespace",
        &naming(&orders, &format!("{elsewhere}/orders")),
        "ApprovalRequired",
    );
    apply(&ns, &detached(&ns.namespace, "own", &good));
    ns.row(92, "a correct detached approval").create(&orders).admitted();
}

fn many_config_maps_do_not_hide_a_named_approval(installation: &Installation) {
    let ns = TenantNamespace::new(installation, "crowd");
    let orders = ns.deployment("orders");
    create_junk(&ns, 600);
    let row = ns.row(93, "600 ConfigMaps with the label of approvals but without one, and no approval");
    row.create(&orders).denied("ApprovalRequired");
    let good = detached(&ns.namespace, "orders", &ns.signed_but(&orders, |_| {}));
    apply(&ns, &good);
    let row = ns.row(93, "600 such ConfigMaps and a correct approval, named by the workload");
    row.create(&naming(&orders, "orders")).admitted();
    ns.arrange(&["delete", "deployment", "orders"]);
    delete_approvals(&ns);

    let mut statement = ns.statement(&orders);
    statement["predicate"]["expiresAt"] = json!("2999-01-01T00:00:00Z");
    for number in 0..8 {
        apply(&ns, &detached(&ns.namespace, &format!("forged-{number}"), &envelope(&statement, &[&Key::new()])));
    }
    apply(&ns, &good);
    let row = ns.row(93, "eight forged approvals that claim a later expiry, and a correct one");
    row.create(&orders).denied("UnknownKey");
    let row = ns.row(93, "eight such forged approvals, and a correct one named by the workload");
    row.create(&naming(&orders, "orders")).admitted();
}

fn denies_a_change_with_a_replaced_detached_approval(installation: &Installation) {
    let ns = TenantNamespace::new(installation, "swapped");
    let orders = ns.deployment("orders");
    apply(&ns, &detached(&ns.namespace, "orders", &ns.signed_but(&orders, |_| {})));
    ns.applied(&orders);
    let evil = with_image(&orders, EVIL);
    let row = ns.row(94, "the image changed, with the detached approval for the previous image");
    row.apply(&evil).denied("ApprovalRequired");
    let row = ns.row(94, "the image changed, with the detached approval for the previous image named by the workload");
    row.apply(&naming(&evil, "orders")).denied("SpecHashMismatch");
    let own = detached(&ns.namespace, "orders", &envelope(&ns.statement(&evil), &[&Key::new()]));
    let row = ns.row(94, "a running workload's detached approval replaced with the tenant's own");
    row.apply(&own).unchanged();
    let row = ns.row(94, "the image changed to one that the tenant's own approval names");
    row.apply(&evil).denied("UnknownKey");
    let row = ns.row(94, "the approval that a running workload names changed");
    let patch = json!({"metadata": {"annotations": {REF: "elsewhere"}}});
    row.patch("deployment/orders", "merge", &patch).unchanged();
}
