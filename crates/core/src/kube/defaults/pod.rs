//! The defaults of pod templates.
//!
//! A Pod gets more defaults (requests from limits, host ports, `enableServiceLinks`), but only when a controller
//! creates it. Source: `SetDefaults_PodSpec` in `pkg/apis/core/v1/defaults.go` of Kubernetes, and
//! `DropDisabledTemplateFields` in `pkg/api/pod`.

use serde_json::{Value, json};

use super::{JsonObject, child, children, container, fill, text, volume};

/// Annotations of Kubernetes before 1.8. The API server removes them from every template.
const DROPPED_ANNOTATIONS: [&str; 4] = [
    "pod.alpha.kubernetes.io/init-container-statuses",
    "pod.alpha.kubernetes.io/init-containers",
    "pod.beta.kubernetes.io/init-container-statuses",
    "pod.beta.kubernetes.io/init-containers",
];

/// Fills in the `template` of a conformed spec, if there is one.
pub(super) fn fill_template(spec: &mut JsonObject) {
    let Some(template) = child(spec, "template") else { return };
    if let Some(metadata) = child(template, "metadata") {
        drop_annotations(metadata);
    }
    if let Some(pod) = child(template, "spec") {
        fill_pod_spec(pod);
    }
}

fn drop_annotations(metadata: &mut JsonObject) {
    let Some(annotations) = child(metadata, "annotations") else { return };
    for name in DROPPED_ANNOTATIONS {
        annotations.remove(name);
    }
    if annotations.is_empty() {
        metadata.remove("annotations");
    }
}

fn fill_pod_spec(pod: &mut JsonObject) {
    // `serviceAccount` is the deprecated name. The new name wins.
    if let Some(account) = text(pod, "serviceAccountName").or_else(|| text(pod, "serviceAccount")) {
        let account = Value::from(account);
        pod.insert("serviceAccountName".to_owned(), account.clone());
        pod.insert("serviceAccount".to_owned(), account);
    }
    fill(pod, "dnsPolicy", "ClusterFirst");
    fill(pod, "restartPolicy", "Always");
    fill(pod, "securityContext", json!({}));
    fill(pod, "terminationGracePeriodSeconds", 30);
    fill(pod, "schedulerName", "default-scheduler");
    for volume in children(pod, "volumes") {
        volume::fill_volume(volume);
    }
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for container in children(pod, list) {
            container::fill_container(container);
        }
    }
}
