use kube::core::TypeMeta;
use serde_json::json;

use super::*;

const HASH: &str = "sha256:48547757bcfe1ffefadbfce2c8b692436c9d9403b8c53c5210624dfd1bce3f80";
const TIME: &str = "2026-11-28T10:00:00Z";

/// The webhook's text, as the API server passes it on.
fn denial() -> String {
    format!(
        "admission webhook \"workloads.writgate.dev\" denied the request: denied (deploy) Deployment payments/orders in \
         production: ApprovalRequired, NotCanonicalBuild\nApprovalRequired: deploy requires an approval in production, but none \
         is attached\nNotCanonicalBuild: 1.4.4 is not the canonical build\nspec hash: {HASH}\nnext: request an approval: kubectl \
         writgate request -f FILE -n payments"
    )
}

fn kustomize_controller() -> String {
    format!("Deployment/payments/orders dry-run failed (Forbidden): {}", denial())
}

fn found(tool: usize, status: &Value) -> Vec<ReportedDenial> {
    let object = DynamicObject {
        types: None::<TypeMeta>,
        metadata: serde_json::from_value(json!({"name": "apps", "namespace": "flux-system"})).unwrap(),
        data: json!({"status": status}),
    };
    denials(&TOOLS[tool], &object)
}

fn condition(kind: &str, status: &str, message: &str) -> Value {
    json!({"type": kind, "status": status, "message": message, "lastTransitionTime": TIME})
}

/// What a Kustomization with this message reports.
fn reported(message: &str) -> Vec<ReportedDenial> {
    found(0, &json!({"conditions": [condition("Ready", "False", message)]}))
}

fn expected(tool: usize) -> ReportedDenial {
    ReportedDenial {
        kind: "Deployment".into(),
        namespace: "payments".into(),
        name: "orders".into(),
        spec_hash: HASH.parse().unwrap(),
        action: Some(Action::Deploy),
        environment: Some("production".into()),
        report: DenialReport {
            kind: TOOLS[tool].kind,
            namespace: "flux-system".into(),
            name: "apps".into(),
            since: TIME.parse().unwrap(),
            reasons: vec!["ApprovalRequired".into(), "NotCanonicalBuild".into()],
        },
    }
}

#[test]
fn reads_the_message_of_kustomize_controller() {
    assert_eq!(reported(&kustomize_controller()), [expected(0)]);
    assert_eq!(expected(0).report.source(), "Kustomization flux-system/apps");
}

#[test]
fn reads_the_messages_of_helm_controller_once() {
    let message = format!(
        "Helm install failed for release payments/orders with chart orders@0.1.0: failed to create resource: {}",
        denial()
    );
    let released = condition("Released", "False", &message);
    assert_eq!(found(1, &json!({"conditions": [condition("Ready", "False", &message), released]})), [expected(1)]);
    let remediated = condition("Ready", "False", "Helm rollback to previous release succeeded");
    assert_eq!(found(1, &json!({"conditions": [remediated, released]})), [expected(1)]);
}

#[test]
fn reads_the_messages_of_argo_cd_until_a_sync_succeeds() {
    let state = |phase: &str, whole: &str, object: &str| {
        found(
            2,
            &json!({"operationState": {"phase": phase, "message": whole, "startedAt": TIME,
                "syncResult": {"resources": [{"kind": "Deployment", "namespace": "payments", "name": "orders",
                    "status": "SyncFailed", "message": object}]}}}),
        )
    };
    let whole = format!("one or more objects failed to apply, reason: {} (retried 5 times).", denial());
    let tasks = "one or more synchronization tasks completed unsuccessfully";
    let several = format!("{},{}", denial(), denial().replace("/orders", "/invoices"));
    assert_eq!(state("Failed", &whole, ""), [expected(2)]);
    assert_eq!(state("Error", &whole, &denial()), [expected(2)]);
    assert_eq!(state("Running", tasks, &denial()), [expected(2)]);
    assert_eq!(state("Failed", &several, "").len(), 2);
    assert_eq!(state("Succeeded", &whole, &denial()), []);
    assert_eq!(state("Running", &whole, ""), [], "the message of an operation that has not ended");
}

#[test]
fn a_ready_object_reports_nothing() {
    assert_eq!(found(0, &json!({"conditions": [condition("Ready", "True", &kustomize_controller())]})), []);
    assert_eq!(found(0, &json!({"conditions": [condition("Healthy", "False", &kustomize_controller())]})), []);
    assert_eq!(found(0, &json!({"conditions": "none"})), []);
    assert_eq!(found(0, &Value::Null), []);
}

#[test]
fn reads_no_text_that_the_webhook_would_not_write() {
    let message = kustomize_controller();
    for (from, to) in [
        ("workloads.writgate.dev", "validate.kyverno.svc-fail"),
        ("workloads.writgate.dev", "workloads.writgate.dev.example"),
        ("admission webhook \"workloads.writgate.dev\" denied the request: ", ""),
        ("denied (deploy)", "admitted (deploy)"),
        ("(deploy)", "(approve)"),
        ("Deployment payments", "De\u{202e}ployment payments"),
        ("Deployment payments", "\u{1b}[2JDeployment payments"),
        ("payments/orders in", "payments/or\u{202e}ders in"),
        ("payments/orders in", "../../secrets/orders in"),
        ("in production", "in \u{1b}[31mproduction"),
        ("ApprovalRequired, NotCanonicalBuild\n", "Approved\n"),
        ("ApprovalRequired, NotCanonicalBuild\n", "ImageNotPinned\n"),
        ("spec hash: sha256:4", "spec hash: sha256:g"),
        ("spec hash", "hash"),
    ] {
        let changed = message.replacen(from, to, 1);
        assert_ne!(changed, message, "{from}");
        assert_eq!(reported(&changed), [], "{from:?} is {to:?}");
    }
}

#[test]
fn reads_the_start_of_a_long_message() {
    let filler = "x".repeat(100_000);
    assert_eq!(reported(&format!("{}\n{filler}", kustomize_controller())), [expected(0)]);
    assert_eq!(reported(&format!("{filler}\n{}", kustomize_controller())), []);
    let codes = "ApprovalRequired, ".repeat(1000) + "NotCanonicalBuild\n";
    let repeated = kustomize_controller().replacen("ApprovalRequired, NotCanonicalBuild\n", &codes, 1);
    assert_eq!(reported(&repeated), [expected(0)]);
    let many: String =
        (0..1000).map(|number| denial().replace("/orders", &format!("/orders-{number}")) + "\n").collect();
    assert!((10..100).contains(&reported(&many).len()));
}
