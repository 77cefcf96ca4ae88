//! Attempts with namespaces: their labels, their deletion, and ungoverned ones.

use serde_json::json;

use crate::bypass::case::{PATIENCE, TenantNamespace, row};
use writgate_testing::harness::{Test, tests};
use writgate_testing::{Installation, wait_until};

pub(crate) fn tests() -> Vec<Test<Installation>> {
    tests![
        denies_a_namespace_that_the_posture_does_not_list,
        a_tenant_may_not_write_namespaces,
        ungoverned_namespaces_are_a_documented_limit,
    ]
}

/// A posture lists the namespaces of its environment. The label alone only sends requests to the webhook.
fn denies_a_namespace_that_the_posture_does_not_list(installation: &Installation) {
    let ns = TenantNamespace::new(installation, "claims");
    let until = |code| {
        let orders = ns.deployment("orders").to_string();
        wait_until(code, PATIENCE, || {
            let ran = installation.operator.kubectl_in(&["create", "--dry-run=server", "-f", "-"], &orders);
            ran.stderr.contains(code).then_some(())
        });
    };
    let mut posture = ns.usual_posture();
    posture["namespaces"] = json!({"another": "payments"});
    installation.plane.install(&ns.posture_objects(&posture));
    until("NamespaceNotListed");
    ns.row(41, "a namespace that claims an environment whose posture does not list it, with a correct approval")
        .apply(&ns.approved(&ns.deployment("orders")))
        .denied("NamespaceNotListed");
    let name = &ns.namespace;
    let ran =
        installation.plane.admin.kubectl(&["label", "--overwrite", "namespace", name, "writgate.dev/environment=dev"]);
    assert!(ran.ok(), "{ran}");
    until("PostureMissing");
    ns.row(41, "a namespace that claims an environment without a posture")
        .apply(&ns.deployment("orders"))
        .denied("PostureMissing");
}

fn a_tenant_may_not_write_namespaces(installation: &Installation) {
    let ns = TenantNamespace::new(installation, "namespace");
    let name = &ns.namespace;
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
        ns.row(number, attempt).tries(|user| user.kubectl(&args)).refused("Forbidden");
    }
}

fn ungoverned_namespaces_are_a_documented_limit(_: &Installation) {
    row(44, "run it in a namespace that is not governed, and reach the same data over the network")
        .limit("What runs in namespaces that are not governed");
    row(42, "a change in the milliseconds after a namespace is labelled")
        .limit("For some milliseconds after a namespace is labelled, a change in it may still be admitted without asking the webhook");
}
