use serde_json::{Value, json};
use writgate_cluster::names::webhook_user;

use super::*;

const USER: &str = "system:serviceaccount:writgate-system:writgate-webhook";
const NONCE: &str = "0198f0de-0000-7000-8000-000000000001";

fn review(change: impl FnOnce(&mut Value)) -> String {
    let mut request = json!({
        "uid": "86048ed0-0422-4d04-bdcd-a1cfb1b9cab6", "operation": "CREATE", "dryRun": true, "userInfo": {"username": USER},
        "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "resource": {"group": "", "version": "v1", "resource": "pods"},
        "namespace": NAMESPACE, "name": NAMESPACE,
        "object": {"apiVersion": "v1", "kind": "Pod", "spec": {},
            "metadata": {"name": NAMESPACE, "namespace": NAMESPACE, "annotations": {ANNOTATION: NONCE}}}});
    change(&mut request);
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}).to_string()
}

fn recognised(change: impl FnOnce(&mut Value)) -> Option<String> {
    let review = review(change);
    nonce(&Request::parse(review.as_bytes()).expect("a review"), &webhook_user("writgate-system"))
}

/// Every other request leaves its record.
#[test]
fn only_the_webhooks_own_dry_run_in_its_namespace_is_the_canary() {
    assert_eq!(recognised(|_| {}).as_deref(), Some(NONCE));
    assert_eq!(recognised(|it| it["dryRun"] = false.into()), None);
    assert_eq!(recognised(|it| it["userInfo"]["username"] = "alice".into()), None);
    let elsewhere = |it: &mut Value| {
        it["namespace"] = "payments".into();
        it["object"]["metadata"]["namespace"] = "payments".into();
    };
    assert_eq!(recognised(elsewhere), None);
    assert_eq!(recognised(|it| it["object"]["metadata"]["annotations"] = json!({})), None);
    assert_eq!(recognised(|it| it["object"]["metadata"]["annotations"][ANNOTATION] = "7".into()), None);
}

#[test]
fn of_namespaces_only_the_canarys_own_is_recognised() {
    let namespace = |name: &'static str| {
        move |it: &mut Value| {
            it["kind"]["kind"] = "Namespace".into();
            it["resource"]["resource"] = "namespaces".into();
            it["operation"] = "UPDATE".into();
            (it["namespace"], it["name"]) = (name.into(), name.into());
            it["object"]["kind"] = "Namespace".into();
            it["object"]["metadata"]["name"] = name.into();
            it["object"]["metadata"].as_object_mut().expect("metadata").remove("namespace");
            it["oldObject"] = it["object"].clone();
        }
    };
    assert_eq!(recognised(namespace(NAMESPACE)).as_deref(), Some(NONCE));
    assert_eq!(recognised(namespace("payments")), None);
}
