//! A Namespace as the watch reads it: its name, its version and the labels that govern it.
//!
//! A Namespace may have more than 1 MiB of labels, and as much again in its managed fields. Writers of Namespaces must not
//! decide how much memory the webhook takes, so everything else is skipped while it is parsed.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::api::core::v1::Namespace;
use kube::api::ObjectMeta;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use writgate_core::vocabulary::{ENVIRONMENT_LABEL, PROJECT_LABEL};

use crate::state::metadata_only::MetadataOnly;

/// A Namespace with the metadata that the webhook uses, and nothing else.
pub type WatchedNamespace = MetadataOnly<Namespace, NamespaceMetadata>;

/// The metadata of a Namespace that is kept.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NamespaceMetadata {
    name: Option<String>,
    resource_version: Option<String>,
    #[serde(default)]
    labels: GoverningLabels,
}

impl From<NamespaceMetadata> for ObjectMeta {
    fn from(NamespaceMetadata { name, resource_version, labels }: NamespaceMetadata) -> Self {
        Self { name, resource_version, labels: Some(labels.0), ..Self::default() }
    }
}

/// The labels that govern a namespace; others are skipped.
#[derive(Clone, Debug, Default)]
struct GoverningLabels(BTreeMap<String, String>);

impl<'de> Deserialize<'de> for GoverningLabels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Labels;
        impl<'de> Visitor<'de> for Labels {
            type Value = GoverningLabels;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("labels")
            }

            fn visit_unit<E>(self) -> Result<GoverningLabels, E> {
                Ok(GoverningLabels::default())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<GoverningLabels, A::Error> {
                let mut labels = GoverningLabels::default();
                while let Some(key) = map.next_key::<String>()? {
                    if key == ENVIRONMENT_LABEL || key == PROJECT_LABEL {
                        labels.0.insert(key, map.next_value()?);
                    } else {
                        map.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(labels)
            }
        }
        deserializer.deserialize_any(Labels)
    }
}

#[cfg(test)]
mod tests {
    use kube::ResourceExt as _;
    use serde_json::json;

    use super::*;

    #[test]
    fn keeps_the_name_the_version_and_the_governing_labels_only() {
        let object = json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": {
            "name": "payments", "resourceVersion": "7", "uid": "u", "annotations": {"a": "b"},
            "managedFields": [{"fieldsV1": {"f:metadata": {}}}],
            "labels": {"team": "x", ENVIRONMENT_LABEL: "production", "zone": "y", PROJECT_LABEL: "orders"}}});
        let namespace: WatchedNamespace = serde_json::from_value(object).expect("a Namespace");
        assert_eq!((namespace.name_any(), namespace.resource_version()), ("payments".to_owned(), Some("7".to_owned())));
        let labels: Vec<_> = namespace.labels().iter().map(|(key, value)| (&**key, &**value)).collect();
        assert_eq!(labels, [(ENVIRONMENT_LABEL, "production"), (PROJECT_LABEL, "orders")]);
        assert!(namespace.annotations().is_empty() && namespace.managed_fields().is_empty());
        for bare in [json!({"metadata": {"name": "a"}}), json!({"metadata": {"name": "a", "labels": null}})] {
            let namespace: WatchedNamespace = serde_json::from_value(bare).expect("a Namespace");
            assert!(namespace.labels().is_empty());
        }
        let odd = json!({"metadata": {"name": "a", "labels": {ENVIRONMENT_LABEL: 7}}});
        assert!(serde_json::from_value::<WatchedNamespace>(odd).is_err(), "a label must not be read as absent");
    }
}
