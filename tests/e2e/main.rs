//! The gate, end to end: the real kubectl, the real API server, the real webhook. One control plane for all tests.

#[path = "../support/mod.rs"]
mod support;

use serde_json::json;
use support::{Plane, harness};

fn main() -> std::process::ExitCode {
    harness::run(Plane::start, harness::tests![what_a_user_does_is_in_the_audit_log])
}

fn what_a_user_does_is_in_the_audit_log(plane: &Plane) {
    let namespace = plane.namespace("audited");
    let ran = plane.admin.apply(&json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "x", "namespace": namespace}}));
    assert!(ran.ok(), "{ran}");
    let lines = plane.audit_log(|line| line["objectRef"]["name"] == "x");
    assert_eq!(lines[0]["user"]["username"], "admin");
}
