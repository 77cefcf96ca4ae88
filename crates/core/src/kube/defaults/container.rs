//! The defaults of containers, init containers and ephemeral containers.
//!
//! Source: `SetDefaults_Container`, `_Probe`, `_HTTPGetAction` and the generated defaults of `pkg/apis/core/v1` in
//! Kubernetes.

use super::{JsonObject, child, children, fill, fill_empty, image_tag, text};

/// Fills in one conformed container.
pub(super) fn fill_container(container: &mut JsonObject) {
    let pull_policy = image_tag::pull_policy(text(container, "image").unwrap_or_default());
    fill(container, "imagePullPolicy", pull_policy);
    fill(container, "terminationMessagePath", "/dev/termination-log");
    fill(container, "terminationMessagePolicy", "File");
    for port in children(container, "ports") {
        fill(port, "protocol", "TCP");
    }
    for variable in children(container, "env") {
        let Some(source) = child(variable, "valueFrom") else { continue };
        if let Some(field) = child(source, "fieldRef") {
            fill_field_ref(field);
        }
        if let Some(key) = child(source, "fileKeyRef") {
            fill(key, "optional", false);
        }
    }
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = child(container, probe) {
            fill_probe(probe);
        }
    }
    fill_lifecycle(container);
}

/// Fills in a reference to a field of the Pod, in an environment variable or a downward API file.
pub(super) fn fill_field_ref(field: &mut JsonObject) {
    fill(field, "apiVersion", "v1");
}

fn fill_probe(probe: &mut JsonObject) {
    fill(probe, "timeoutSeconds", 1);
    fill(probe, "periodSeconds", 10);
    fill(probe, "successThreshold", 1);
    fill(probe, "failureThreshold", 3);
    if let Some(get) = child(probe, "httpGet") {
        fill_http_get(get);
    }
    if let Some(grpc) = child(probe, "grpc") {
        fill_empty(grpc, "service", "");
    }
}

fn fill_lifecycle(container: &mut JsonObject) {
    let Some(lifecycle) = child(container, "lifecycle") else { return };
    for hook in ["postStart", "preStop"] {
        if let Some(get) = child(lifecycle, hook).and_then(|hook| child(hook, "httpGet")) {
            fill_http_get(get);
        }
    }
    // Its feature gate is off, so the API server drops it. A lifecycle that had nothing else is dropped with it.
    if lifecycle.remove("stopSignal").is_some() && lifecycle.is_empty() {
        container.remove("lifecycle");
    }
}

fn fill_http_get(get: &mut JsonObject) {
    fill(get, "path", "/");
    fill(get, "scheme", "HTTP");
}
