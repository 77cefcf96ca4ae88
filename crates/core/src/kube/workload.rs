//! The kinds of workloads: Kubernetes' own, and further kinds that the configuration names.
//!
//! Only their names and the position of their Pod's spec live here. The projection says which fields of a spec are
//! hashed.

use std::str::FromStr;

/// A kind that has a pod template and that an approval can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
    /// A custom resource whose operator creates Pods, as the configuration names it.
    Further(&'static FurtherKind),
}

/// A custom resource that the configuration declares a workload. Every field of its spec is hashed, because nothing is
/// known about their meaning.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FurtherKind {
    api_version: &'static str,
    kind: &'static str,
    resource: &'static str,
    /// The names of the members that lead from the object to the Pod's spec.
    pod: Vec<&'static str>,
}

impl FurtherKind {
    /// The names of the members that lead from the object to the Pod's spec: `spec`, `template`, `spec`.
    #[must_use]
    pub fn pod(&self) -> &[&'static str] {
        &self.pod
    }

    /// The names of the members that lead from the object's spec to the Pod's spec: `template`, `spec`.
    pub(crate) fn pod_below_spec(&self) -> &[&'static str] {
        self.pod.get(1..).unwrap_or_default()
    }
}

impl WorkloadKind {
    /// Kubernetes' own kinds, in the order of this enum.
    pub const ALL: [Self; 7] = [
        Self::Deployment,
        Self::ReplicaSet,
        Self::DaemonSet,
        Self::StatefulSet,
        Self::ReplicationController,
        Self::Job,
        Self::CronJob,
    ];

    /// Kubernetes' own kind with this API version and name. Another version of a kind is not found.
    #[must_use]
    pub fn from_gvk(api_version: &str, kind: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.api_version() == api_version && known.kind() == kind)
    }

    /// `apps/v1`, `batch/v1` or `v1`.
    #[must_use]
    pub fn api_version(self) -> &'static str {
        match self {
            Self::Further(further) => further.api_version,
            Self::Deployment | Self::ReplicaSet | Self::DaemonSet | Self::StatefulSet => "apps/v1",
            Self::ReplicationController => "v1",
            Self::Job | Self::CronJob => "batch/v1",
        }
    }

    /// The value of `kind`: `Deployment`.
    #[must_use]
    pub fn kind(self) -> &'static str {
        match self {
            Self::Further(further) => further.kind,
            Self::Deployment => "Deployment",
            Self::ReplicaSet => "ReplicaSet",
            Self::DaemonSet => "DaemonSet",
            Self::StatefulSet => "StatefulSet",
            Self::ReplicationController => "ReplicationController",
            Self::Job => "Job",
            Self::CronJob => "CronJob",
        }
    }

    /// The plural name in the API's paths and in RBAC: `deployments`.
    #[must_use]
    pub fn resource(self) -> &'static str {
        match self {
            Self::Further(further) => further.resource,
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

/// The text does not name a further kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not GROUP/VERSION/KIND=RESOURCE:PATH, as in example.com/v1/Rollout=rollouts:spec.template")]
pub struct FurtherKindError(String);

/// Parses `example.com/v1/Rollout=rollouts:spec.template`: group, version and kind, then the plural resource, then the
/// path of the pod template.
///
/// The group must contain a dot, as the group of every custom resource does. So a further kind cannot replace one of
/// Kubernetes' own by mistake. The parsed kind is never freed, because it is configuration that is read once.
impl FromStr for WorkloadKind {
    type Err = FurtherKindError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = || FurtherKindError(text.to_owned());
        if parts(text).is_none() {
            return Err(refused());
        }
        let (api_version, kind, resource, template) = parts(text.to_owned().leak()).ok_or_else(refused)?;
        let pod = template.split('.').chain(["spec"]).collect();
        Ok(Self::Further(Box::leak(Box::new(FurtherKind { api_version, kind, resource, pod }))))
    }
}

/// The group and the version in an API version. The core group is empty.
#[must_use]
pub fn group_and_version(api_version: &str) -> (&str, &str) {
    api_version.split_once('/').unwrap_or(("", api_version))
}

/// API version, kind, resource and the path of the pod template.
fn parts(text: &str) -> Option<(&str, &str, &str, &str)> {
    let is_word = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let (what, place) = text.split_once('=')?;
    let (api_version, kind) = what.rsplit_once('/')?;
    let (group, version) = api_version.split_once('/')?;
    let (resource, template) = place.split_once(':')?;
    let is_group = group.contains('.') && group.split('.').all(|label| is_word(&label.replace('-', "")));
    let is_resource = is_word(resource) && resource.bytes().all(|byte| byte.is_ascii_lowercase());
    let is_path = template.strip_prefix("spec.").is_some_and(|path| path.split('.').all(is_word));
    let is_one = is_group && is_word(version) && is_word(kind) && is_resource && is_path;
    is_one.then_some((api_version, kind, resource, template))
}

/// The kinds that require an approval: Kubernetes' own, and those that the configuration adds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkloadKinds(Vec<WorkloadKind>);

impl FromIterator<WorkloadKind> for WorkloadKinds {
    fn from_iter<I: IntoIterator<Item = WorkloadKind>>(further: I) -> Self {
        Self(further.into_iter().collect())
    }
}

impl WorkloadKinds {
    /// The kind with this API version and name. Another version of a kind is not found.
    #[must_use]
    pub fn find(&self, api_version: &str, kind: &str) -> Option<WorkloadKind> {
        let further =
            || self.0.iter().copied().find(|known| known.api_version() == api_version && known.kind() == kind);
        WorkloadKind::from_gvk(api_version, kind).or_else(further)
    }

    /// The kind whose objects have this plural name in this API group.
    #[must_use]
    pub(crate) fn of_resource(&self, group: &str, resource: &str) -> Option<WorkloadKind> {
        let is_it =
            |known: &WorkloadKind| known.resource() == resource && group_and_version(known.api_version()).0 == group;
        WorkloadKind::ALL.into_iter().chain(self.0.iter().copied()).find(is_it)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_a_further_kind() {
        let kind: WorkloadKind = "example.com/v1/Rollout=rollouts:spec.template".parse().expect("a kind");
        assert_eq!((kind.api_version(), kind.kind(), kind.resource()), ("example.com/v1", "Rollout", "rollouts"));
        let kinds = WorkloadKinds::from_iter([kind]);
        assert_eq!(kinds.find("example.com/v1", "Rollout"), Some(kind));
        assert_eq!(kinds.find("example.com/v2", "Rollout"), None);
        assert_eq!(kinds.find("apps/v1", "Deployment"), Some(WorkloadKind::Deployment));
        assert_eq!(kinds.of_resource("example.com", "rollouts"), Some(kind));
        assert_eq!(kinds.of_resource("apps", "statefulsets"), Some(WorkloadKind::StatefulSet));
        assert_eq!(kinds.of_resource("", "replicationcontrollers"), Some(WorkloadKind::ReplicationController));
        assert_eq!(kinds.of_resource("apps", "rollouts"), None);
        assert_eq!(kinds.of_resource("", "statefulsets"), None);
    }

    #[test]
    fn refuses_a_text_that_names_no_custom_resource() {
        for wrong in [
            "",
            "example.com/v1/Rollout",
            "example.com/v1/Rollout=rollouts",
            "example.com/v1/Rollout=rollouts:",
            "example.com/v1/Rollout=rollouts:spec",
            "example.com/v1/Rollout=rollouts:status.template",
            "example.com/v1/Rollout=rollouts:spec..template",
            "example.com/v1/Rollout=Rollouts:spec.template",
            "example.com/Rollout=rollouts:spec.template",
            "apps/v1/Deployment=deployments:spec.template",
            "v1/Pod=pods:spec.template",
        ] {
            assert!(wrong.parse::<WorkloadKind>().is_err(), "{wrong}");
        }
    }
}
