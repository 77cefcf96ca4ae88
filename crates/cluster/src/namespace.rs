//! The labels of a namespace that govern it.

use std::collections::BTreeMap;
use std::sync::Arc;

use writgate_core::vocabulary::{ENVIRONMENT_LABEL, PROJECT_LABEL};

/// The environment and the project of a namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamespaceLabels {
    /// The environment; absent if the namespace is not governed.
    pub environment: Option<Arc<str>>,
    /// The project.
    pub project: Option<Arc<str>>,
}

impl NamespaceLabels {
    /// Selects Writgate's labels from all labels of a namespace.
    #[must_use]
    pub fn of(labels: &BTreeMap<String, String>) -> Self {
        let label = |key| labels.get(key).map(|value| Arc::from(value.as_str()));
        Self { environment: label(ENVIRONMENT_LABEL), project: label(PROJECT_LABEL) }
    }
}
