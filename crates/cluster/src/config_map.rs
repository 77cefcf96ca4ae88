//! Converts ConfigMaps to core's types, and selects those with postures and approvals.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt as _;
use serde_json::json;
use writgate_core::kube::ConfigMapContent;
use writgate_core::posture::Document;

/// The label selector of the ConfigMaps with posture documents.
pub const POSTURE_SELECTOR: &str = "writgate.dev/kind in (posture,reviewers,revocations,pipelines)";
/// The label selector of the ConfigMaps with approvals.
pub const APPROVAL_SELECTOR: &str = "writgate.dev/kind=approval";
/// The label selector of the ConfigMaps with posted requests and rejections.
pub const POSTED_SELECTOR: &str = "writgate.dev/kind in (rejection,request)";
/// The largest number of detached approvals that are read from a namespace.
pub const MAX_APPROVALS: u32 = 512;

/// Wraps a ConfigMap in a document, so that core checks its label and keys as it does for a file.
///
/// Annotations and managed fields are left out: they change without changing the posture, and `last-applied-configuration`
/// contains a copy of it.
#[must_use]
pub fn document(object: &ConfigMap) -> Document {
    let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
    let wrapped = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"namespace": namespace, "name": name, "labels": object.metadata.labels},
        "data": object.data,
        "binaryData": object.binary_data,
    });
    Document { source: format!("configmap {namespace}/{name}"), name: Some(name), text: wrapped.to_string() }
}

/// The content of a ConfigMap that a workload refers to. It fails if the ConfigMap has a shape that core refuses.
pub fn content(object: &ConfigMap) -> Result<ConfigMapContent, String> {
    let value = serde_json::to_value(object).map_err(|error| error.to_string())?;
    ConfigMapContent::of(&value)
}

#[cfg(test)]
mod tests {
    use writgate_core::vocabulary::{APPROVAL_KIND, KIND_LABEL};

    use super::*;

    #[test]
    fn selectors_select_by_the_kind_label() {
        assert_eq!(APPROVAL_SELECTOR, format!("{KIND_LABEL}={APPROVAL_KIND}"));
        assert!(POSTURE_SELECTOR.starts_with(&format!("{KIND_LABEL} in (")));
    }
}
