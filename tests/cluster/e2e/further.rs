//! A custom resource that creates Pods, declared as a further kind to the webhook and to the command line.

use std::time::Duration;

use serde_json::{Value, json};

use crate::e2e::flow::Desk;
use crate::e2e::trail::{Expected, assert_admitted, assert_denied};
use writgate_testing::harness::{Test, tests};
use writgate_testing::{FURTHER_KIND, Governed, Installation, SYSTEM_NAMESPACE, denied_for, wait_until};

pub(crate) fn tests() -> Vec<Test<Installation>> {
    tests![a_further_kind_requires_an_approval]
}

const PATIENCE: Duration = Duration::from_secs(20);

/// Installs what the chart renders for `governedKinds` in addition to the flag: the webhook rule, and the right to read the
/// object. The rights are for this namespace alone.
fn govern(installation: &Installation, governed: &Governed<'_>) {
    let plane = &installation.plane;
    let any = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let rule = |verbs: &[&str]| json!([{"apiGroups": ["example.com"], "resources": ["rollouts", "rollouts/status"], "verbs": verbs}]);
    let access = |name: &str, verbs: &[&str], subject: Value| {
        let metadata = json!({"name": name, "namespace": governed.namespace});
        [
            json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": metadata,
                "rules": rule(verbs)}),
            json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": metadata,
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
                "subjects": [subject]}),
        ]
    };
    let webhook = json!({"kind": "ServiceAccount", "name": "writgate-webhook", "namespace": SYSTEM_NAMESPACE});
    let operator = json!({"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": installation.operator.name});
    plane.install(&access("reads-rollouts", &["get", "list", "watch"], webhook));
    plane.install(&access("writes-rollouts", &["*"], operator));
    plane.install(&[json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "rollouts.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced", "names": {"kind": "Rollout", "plural": "rollouts"},
            "versions": [{"name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": any, "status": any}}}}]}})]);
    let sent = json!([{"op": "add", "path": "/webhooks/0/rules/-", "value": {"apiGroups": ["example.com"],
        "apiVersions": ["v1"], "resources": ["rollouts"], "operations": ["CREATE", "UPDATE"], "scope": "Namespaced"}}]);
    let args = ["patch", "validatingwebhookconfiguration", "writgate", "--type=json", "-p", &sent.to_string()];
    let ran = plane.admin.kubectl(&args);
    assert!(ran.ok(), "{ran}");
    wait_until("rollouts are served, and sent to the webhook", PATIENCE, || {
        let probe = rollout(governed, "probe").to_string();
        let ran = plane.admin.kubectl_in(&["create", "--dry-run=server", "-f", "-"], &probe);
        denied_for(&ran, "ApprovalRequired").then_some(())
    });
}

fn rollout(governed: &Governed<'_>, name: &str) -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "Rollout",
        "metadata": {"name": name, "namespace": governed.namespace},
        "spec": {"steps": [{"weight": 20}], "template": {"metadata": {"labels": {"app": "orders"}},
            "spec": {"containers": [{"name": "orders", "image": "ghcr.io/acme/orders:1.4.2"}]}}}})
}

fn a_further_kind_requires_an_approval(installation: &Installation) {
    let governed = installation.governed("further");
    govern(installation, &governed);
    let mut desk = Desk::of(&governed);
    desk.flags = &["--workload-kind", FURTHER_KIND];
    let manifest = rollout(&governed, "orders");
    desk.write("app.json", &manifest.to_string());
    let hash = desk.prints(&["hash", "-f", "app.json", "-o", "json"])[0]["specHash"].take();
    let hash = hash.as_str().expect("a hash").trim_start_matches("sha256:").to_owned();
    let of = |operation| Expected { operation, action: "deploy", kind: "Rollout", name: "orders", hash: &hash };
    assert_denied(&governed, &installation.operator.create(&manifest), "ApprovalRequired", &of("CREATE"));

    desk.approve("app.json", "approval.json");
    desk.does(&["attach", "-f", "app.json", "--approval", "approval.json", "-o", "approved.json"]);
    assert_eq!(desk.verify("approved.json")["decision"], "admitted");
    let ran = installation.operator.kubectl(&["create", "-f", desk.path("approved.json").to_str().expect("UTF-8")]);
    assert_admitted(&governed, &ran, &of("CREATE"));

    let patch = |patch: &str, flags: &[&str]| {
        let args = ["patch", "rollout", "orders", "--type=merge", "-p", patch, "-n", &governed.namespace];
        installation.operator.kubectl(&[&args, flags].concat())
    };
    for change in [r#"{"spec":{"steps":[]}}"#, r#"{"spec":{"template":{"spec":{"hostNetwork":true}}}}"#] {
        let ran = patch(change, &[]);
        assert!(denied_for(&ran, "SpecHashMismatch"), "{ran}");
    }
    let replay = r#"{"spec":{"template":{"spec":{"containers":[{"name":"r","image":"ghcr.io/acme/replay:1"}]}}}}"#;
    let ran = patch(replay, &[]);
    assert!(denied_for(&ran, "WorkloadNotAllowed"), "only a Job may be a replay: {ran}");
    for ran in [
        patch(r#"{"metadata":{"labels":{"team":"a"}}}"#, &[]),
        patch(r#"{"status":{"phase":"Healthy"}}"#, &["--subresource=status"]),
        installation.operator.kubectl(&["delete", "rollout", "orders", "-n", &governed.namespace]),
    ] {
        assert!(ran.ok(), "not an action: {ran}");
    }
}
