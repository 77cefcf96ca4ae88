//! Which fields of an object an approval binds, and which are no part of a comparison.

use serde_json::{Map, Value};
use writgate_core::{
    approval::Coverage,
    kube::WorkloadKind,
    vocabulary::{BOUND_ANNOTATIONS, REPLAY_LABEL},
};

use crate::manifest::is_of_an_approval;

/// Metadata that is not compared: what the name of the subject contains, and what the API server sets.
const OTHER_METADATA: [&str; 11] = [
    "name",
    "generateName",
    "namespace",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "managedFields",
    "selfLink",
];
/// kubectl's copy of the object. Nothing runs by it.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// What an approval binds of a value.
#[derive(Clone, Copy)]
pub(super) enum Binding {
    Nothing,
    Everything,
    /// An object: its spec as far as the spec hash covers it, and some of its metadata.
    Object(WorkloadKind),
    Spec(Coverage),
    Metadata,
    Annotations,
    Labels,
}

impl Binding {
    pub(super) fn of_field(self, object: &Map<String, Value>, name: &str) -> Self {
        let everything_if = |bound| if bound { Self::Everything } else { Self::Nothing };
        match self {
            Self::Object(kind) if name == "spec" => Self::Spec(Coverage::of(kind)),
            Self::Object(_) if name == "metadata" => Self::Metadata,
            Self::Spec(coverage) => coverage.member(object, name).map_or(Self::Nothing, Self::Spec),
            Self::Metadata if name == "annotations" => Self::Annotations,
            Self::Metadata if name == "labels" => Self::Labels,
            Self::Annotations => everything_if(BOUND_ANNOTATIONS.contains(&name)),
            Self::Labels => everything_if(name == REPLAY_LABEL),
            Self::Everything => Self::Everything,
            Self::Object(_) | Self::Metadata | Self::Nothing => Self::Nothing,
        }
    }

    pub(super) fn of_item(self) -> Self {
        match self {
            Self::Spec(coverage) => Self::Spec(coverage.item()),
            Self::Everything => Self::Everything,
            _ => Self::Nothing,
        }
    }

    pub(super) fn is_bound(self) -> bool {
        matches!(self, Self::Everything | Self::Spec(_))
    }

    /// Whether a member is no part of a comparison.
    pub(super) fn passes_over(self, name: &str) -> bool {
        match self {
            Self::Metadata => OTHER_METADATA.contains(&name),
            Self::Annotations => name == LAST_APPLIED || is_of_an_approval(name),
            _ => false,
        }
    }
}
