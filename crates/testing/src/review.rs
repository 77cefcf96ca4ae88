//! A review for tests that speak to the webhook's port themselves.

use serde_json::{Value, json};

/// The `AdmissionReview` of the creation of a Deployment without an approval, in the namespace `payments`. Its uid is `r-1`.
pub fn deployment_review() -> Value {
    json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "r-1", "operation": "CREATE", "namespace": "payments",
            "kind": {"group": "apps", "version": "v1", "kind": "Deployment"},
            "resource": {"group": "apps", "version": "v1", "resource": "deployments"},
            "userInfo": {"username": "alice"},
            "object": {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "orders"},
                "spec": {"template": {"spec": {"containers": [{"name": "c", "image": "i"}]}}}}
        }
    })
}
