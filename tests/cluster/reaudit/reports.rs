//! Reports: written once their kind exists, and accepted by the API server.

use super::{LIMIT, Watched, json, value};
use serde_json::Value;
use writgate_testing::wait_until;

/// The fields of `Report` in config/install.yaml of github.com/openreports/reports-api, at commit
/// 79fa2f394ab7486b8d9b1cb449dfef885a0c804e, without descriptions and selectors.
fn definition() -> Value {
    let text = json!({"type": "string"});
    let count = json!({"type": "integer"});
    let reference = json!({"type": "object", "x-kubernetes-map-type": "atomic", "properties": {
        "apiVersion": text, "fieldPath": text, "kind": text, "name": text, "namespace": text, "resourceVersion": text,
        "uid": text}});
    let result = json!({"type": "object", "required": ["policy"], "properties": {
        "category": text, "message": text, "policy": text, "rule": text, "scored": {"type": "boolean"}, "source": text,
        "properties": {"type": "object", "additionalProperties": text},
        "resources": {"type": "array", "items": reference},
        "result": {"type": "string", "enum": ["pass", "fail", "warn", "error", "skip"]},
        "severity": {"type": "string", "enum": ["critical", "high", "low", "medium", "info"]},
        "timestamp": {"type": "object", "required": ["nanos", "seconds"], "properties": {
            "nanos": {"type": "integer", "format": "int32"}, "seconds": {"type": "integer", "format": "int64"}}}}});
    let limits = json!({"type": "object", "properties": {"maxResults": count}});
    let schema = json!({"type": "object", "properties": {
        "apiVersion": text, "kind": text, "metadata": {"type": "object"}, "source": text, "scope": reference,
        "configuration": {"type": "object", "required": ["limits"], "properties": {"limits": limits}},
        "results": {"type": "array", "items": result},
        "summary": {"type": "object", "properties": {
            "pass": count, "fail": count, "warn": count, "error": count, "skip": count}}}});
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "reports.openreports.io",
            "annotations": {"api-approved.kubernetes.io": "unapproved, for a test"}},
        "spec": {"group": "openreports.io", "scope": "Namespaced",
            "names": {"kind": "Report", "listKind": "ReportList", "plural": "reports", "singular": "report"},
            "versions": [{"name": "v1alpha1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}]}})
}

pub(super) fn are_written_where_their_kind_exists(watched: &Watched) {
    let _turn = watched.turn();
    let plane = &watched.installation.plane;
    let governed = watched.installation.governed_with("reports", |posture| posture["enforcement"] = json!("audit"));
    let mut unapproved = governed.deployment("unapproved");
    unapproved["spec"]["replicas"] = json!(0);
    let ran = watched.installation.operator.kubectl_in(&["create", "-f", "-"], &unapproved.to_string());
    assert!(ran.ok(), "{ran}");
    // As the chart does with reaudit.openReports.
    let group = "rbac.authorization.k8s.io";
    plane.install(&[
        json!({"apiVersion": format!("{group}/v1"), "kind": "ClusterRole", "metadata": {"name": "reports"}, "rules": [
            {"apiGroups": ["openreports.io"], "resources": ["reports"], "verbs": ["create", "patch"]}]}),
        json!({"apiVersion": format!("{group}/v1"), "kind": "ClusterRoleBinding", "metadata": {"name": "reports"},
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "reports"},
            "subjects": [{"kind": "ServiceAccount", "name": "writgate-webhook", "namespace": "writgate-system"}]}),
    ]);
    let replica = watched.replica_with("reports", &["--reaudit-interval", "1s", "--open-reports"]);
    wait_until("a re-audit without the kind is complete", LIMIT, || {
        value(&replica, "writgate_reaudit_last_success_timestamp_seconds")
    });
    plane.install(&[definition()]);
    let report = wait_until("the Report is written", LIMIT, || {
        plane.admin.get(&["reports.openreports.io", "writgate", "-n", &governed.namespace])
    });
    assert_eq!(report["summary"], json!({"pass": 0, "fail": 1, "warn": 0, "error": 0, "skip": 0}), "{report:#}");
    let result = &report["results"][0];
    assert_eq!(
        (&result["rule"], &result["result"], &result["severity"]),
        (&json!("unapproved"), &json!("fail"), &json!("high"))
    );
    assert_eq!(
        (&result["resources"][0]["kind"], &result["resources"][0]["name"]),
        (&json!("Deployment"), &json!("unapproved"))
    );
    watched.admin(&["delete", "deployment", "unapproved", "-n", &governed.namespace], "");
    wait_until("the Report is empty", LIMIT, || {
        let report = plane.admin.get(&["reports.openreports.io", "writgate", "-n", &governed.namespace])?;
        (report["summary"]["fail"] == 0 && report["results"] == json!([])).then_some(())
    });
    let lines = replica.stop();
    assert!(!lines.contains("the Reports are not up to date"), "{lines}");
}
