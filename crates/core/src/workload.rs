//! The kinds whose spec runs something and therefore has a hash.
//!
//! Only names and shapes live here; what of a spec is hashed is `spec_hash`'s, what a request does is `action`'s.

use serde::{Deserialize, Serialize};

/// A kind that carries a pod template and that an approval can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum WorkloadKind {
    /// `apps/v1`
    Deployment,
    /// `apps/v1`
    ReplicaSet,
    /// `apps/v1`
    DaemonSet,
    /// `apps/v1`
    StatefulSet,
    /// `v1`
    ReplicationController,
    /// `batch/v1`
    Job,
    /// `batch/v1`
    CronJob,
}

impl WorkloadKind {
    /// Every kind, in the order of this enum.
    pub const ALL: [Self; 7] = [
        Self::Deployment,
        Self::ReplicaSet,
        Self::DaemonSet,
        Self::StatefulSet,
        Self::ReplicationController,
        Self::Job,
        Self::CronJob,
    ];

    /// The kind with exactly this API version and name; other versions are other kinds.
    #[must_use]
    pub fn from_gvk(api_version: &str, kind: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.api_version() == api_version && known.kind() == kind)
    }

    /// `apps/v1`, `batch/v1` or `v1`.
    #[must_use]
    pub fn api_version(self) -> &'static str {
        match self {
            Self::Deployment | Self::ReplicaSet | Self::DaemonSet | Self::StatefulSet => "apps/v1",
            Self::ReplicationController => "v1",
            Self::Job | Self::CronJob => "batch/v1",
        }
    }

    /// The name in `kind`: `Deployment`.
    #[must_use]
    pub fn kind(self) -> &'static str {
        match self {
            Self::Deployment => "Deployment",
            Self::ReplicaSet => "ReplicaSet",
            Self::DaemonSet => "DaemonSet",
            Self::StatefulSet => "StatefulSet",
            Self::ReplicationController => "ReplicationController",
            Self::Job => "Job",
            Self::CronJob => "CronJob",
        }
    }

    /// The plural in the API's paths and in RBAC: `deployments`.
    #[must_use]
    pub fn resource(self) -> &'static str {
        match self {
            Self::Deployment => "deployments",
            Self::ReplicaSet => "replicasets",
            Self::DaemonSet => "daemonsets",
            Self::StatefulSet => "statefulsets",
            Self::ReplicationController => "replicationcontrollers",
            Self::Job => "jobs",
            Self::CronJob => "cronjobs",
        }
    }
}
