//! The kinds whose spec runs something and therefore has a hash.
//!
//! Only names and shapes live here; what of a spec is hashed is `spec_hash`'s, what a request does is `action`'s.

use std::str::FromStr;

/// A kind that carries a pod template and that an approval can name.
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
    /// A custom resource whose operator makes Pods, as the configuration names it.
    Further(&'static FurtherKind),
}

/// What the configuration says of a custom resource. Nothing of its spec is left out of the hash.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FurtherKind {
    api_version: &'static str,
    kind: &'static str,
    resource: &'static str,
    /// The members that lead from the object to the Pod's spec.
    pod: Vec<&'static str>,
}

impl FurtherKind {
    /// The members that lead from the object to the Pod's spec: `spec`, `template`, `spec`.
    #[must_use]
    pub fn pod(&self) -> &[&'static str] {
        &self.pod
    }

    /// The same from the object's spec: `template`, `spec`.
    pub(crate) fn pod_below_spec(&self) -> &[&'static str] {
        self.pod.get(1..).unwrap_or_default()
    }
}

impl WorkloadKind {
    /// Every kind of Kubernetes' own, in the order of this enum.
    pub const ALL: [Self; 7] = [
        Self::Deployment,
        Self::ReplicaSet,
        Self::DaemonSet,
        Self::StatefulSet,
        Self::ReplicationController,
        Self::Job,
        Self::CronJob,
    ];

    /// Kubernetes' own kind with exactly this API version and name; other versions are other kinds.
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

    /// The name in `kind`: `Deployment`.
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

    /// The plural in the API's paths and in RBAC: `deployments`.
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

/// A text that names no further kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not GROUP/VERSION/KIND=RESOURCE:PATH, as in example.com/v1/Rollout=rollouts:spec.template")]
pub struct FurtherKindError(String);

/// Reads `example.com/v1/Rollout=rollouts:spec.template`: what it is, its plural resource, and where its pod template is.
///
/// The group has a dot, as that of every custom resource; so none of Kubernetes' own kinds is named by mistake. What is
/// read lives as long as the program: it is configuration, read once.
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

/// The kinds that are judged: Kubernetes' own, and those that the configuration adds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkloadKinds(Vec<WorkloadKind>);

impl FromIterator<WorkloadKind> for WorkloadKinds {
    fn from_iter<I: IntoIterator<Item = WorkloadKind>>(further: I) -> Self {
        Self(further.into_iter().collect())
    }
}

impl WorkloadKinds {
    /// The kind with exactly this API version and name; other versions are other kinds.
    #[must_use]
    pub fn find(&self, api_version: &str, kind: &str) -> Option<WorkloadKind> {
        let further =
            || self.0.iter().copied().find(|known| known.api_version() == api_version && known.kind() == kind);
        WorkloadKind::from_gvk(api_version, kind).or_else(further)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_further_kind_is_read_as_it_is_written() {
        let kind: WorkloadKind = "example.com/v1/Rollout=rollouts:spec.template".parse().expect("a kind");
        assert_eq!((kind.api_version(), kind.kind(), kind.resource()), ("example.com/v1", "Rollout", "rollouts"));
        let kinds = WorkloadKinds::from_iter([kind]);
        assert_eq!(kinds.find("example.com/v1", "Rollout"), Some(kind));
        assert_eq!(kinds.find("example.com/v2", "Rollout"), None);
        assert_eq!(kinds.find("apps/v1", "Deployment"), Some(WorkloadKind::Deployment));
    }

    #[test]
    fn a_text_that_names_no_custom_resource_is_refused() {
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
