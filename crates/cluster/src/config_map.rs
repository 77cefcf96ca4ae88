//! ConfigMaps as core takes them: as documents of a posture, as config bundles, as approvals.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt as _;
use serde_json::json;
use writgate_core::kube::ConfigMapContent;
use writgate_core::posture::Document;

/// The ConfigMaps that make up postures, as a label selector.
pub const POSTURE_SELECTOR: &str = "writgate.dev/kind in (posture,reviewers,revocations,pipelines)";
/// The ConfigMaps that hold approvals, as a label selector.
pub const APPROVAL_SELECTOR: &str = "writgate.dev/kind=approval";

/// A ConfigMap as a document: whole, so that core checks its label and keys as it does those of a file.
///
/// Only what a posture is made of. The rest changes without meaning, and `last-applied-configuration` is a copy.
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

/// The content of a ConfigMap that a workload refers to.
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
