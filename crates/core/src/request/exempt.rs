//! Exempt controllers: their writes are consequences of a change that was already decided.
//!
//! The webhook configuration's `matchConditions` do not even send most of these requests. The list is here as well, so
//! that a cluster without the conditions decides the same. A controller is identified by its authenticated user name,
//! never by owner references, which anyone can write.

use std::{collections::BTreeSet, fmt, str::FromStr};

/// Pairs of an API user name and a resource that the user may write without an approval.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExemptControllers(BTreeSet<(String, String)>);

/// The controllers of a kube-controller-manager that runs with `--use-service-account-credentials` (kubeadm's default).
///
/// The garbage collector is exempt because it removes owner references when it orphans what a workload owned. The Jobs of the
/// cronjob controller are exempt unless they are replays: each replay requires an approval.
const KUBE: [(&str, &str); 14] = [
    ("deployment-controller", "replicasets"),
    ("replicaset-controller", "pods"),
    ("replication-controller", "pods"),
    ("statefulset-controller", "pods"),
    ("statefulset-controller", "controllerrevisions"),
    ("daemon-set-controller", "pods"),
    ("daemon-set-controller", "controllerrevisions"),
    ("job-controller", "pods"),
    ("cronjob-controller", "jobs"),
    ("generic-garbage-collector", "replicasets"),
    ("generic-garbage-collector", "replicationcontrollers"),
    ("generic-garbage-collector", "controllerrevisions"),
    ("generic-garbage-collector", "jobs"),
    ("generic-garbage-collector", "pods"),
];

impl Default for ExemptControllers {
    fn default() -> Self {
        let user = |account| format!("system:serviceaccount:kube-system:{account}");
        Self(KUBE.into_iter().map(|(account, resource)| (user(account), resource.to_owned())).collect())
    }
}

impl FromIterator<ExemptController> for ExemptControllers {
    fn from_iter<I: IntoIterator<Item = ExemptController>>(controllers: I) -> Self {
        Self(controllers.into_iter().map(|controller| (controller.user, controller.resource)).collect())
    }
}

impl ExemptControllers {
    /// Whether `user` may write `resource` without an approval.
    #[must_use]
    pub fn covers(&self, user: &str, resource: &str) -> bool {
        self.0.iter().any(|(known, covered)| known == user && covered == resource)
    }

    /// All pairs.
    pub fn iter(&self) -> impl Iterator<Item = ExemptController> {
        self.0.iter().map(|(user, resource)| ExemptController { user: user.clone(), resource: resource.clone() })
    }
}

/// One pair. Its text is `system:serviceaccount:kube-system:deployment-controller=replicasets`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExemptController {
    user: String,
    resource: String,
}

impl fmt::Display for ExemptController {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.user, self.resource)
    }
}

/// The text does not have the form `USER=RESOURCE`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not USER=RESOURCE, as in system:serviceaccount:kube-system:deployment-controller=replicasets")]
pub struct ExemptControllerError(String);

impl FromStr for ExemptController {
    type Err = ExemptControllerError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('=') {
            Some((user, resource))
                if !user.is_empty()
                    && !resource.is_empty()
                    && resource.bytes().all(|byte| byte.is_ascii_lowercase()) =>
            {
                Ok(Self { user: user.to_owned(), resource: resource.to_owned() })
            }
            _ => Err(ExemptControllerError(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEPLOYMENTS: &str = "system:serviceaccount:kube-system:deployment-controller";

    #[test]
    fn a_controller_is_exempt_only_for_its_own_children() {
        let exempt = ExemptControllers::default();
        assert!(exempt.covers(DEPLOYMENTS, "replicasets"));
        assert!(!exempt.covers(DEPLOYMENTS, "pods"));
        assert!(!exempt.covers("system:serviceaccount:payments:deployment-controller", "replicasets"));
    }

    #[test]
    fn parses_what_it_writes_and_refuses_other_forms() {
        let entry: ExemptController = format!("{DEPLOYMENTS}=replicasets").parse().expect("an entry");
        assert_eq!(entry.to_string(), format!("{DEPLOYMENTS}=replicasets"));
        for wrong in ["", "a", "=pods", "a=", "a=Pods", "a=pods/status"] {
            assert!(wrong.parse::<ExemptController>().is_err(), "{wrong}");
        }
        let only: ExemptControllers = [entry].into_iter().collect();
        assert!(only.covers(DEPLOYMENTS, "replicasets") && !only.covers(DEPLOYMENTS, "pods"));
        assert_eq!(only.iter().count(), 1);
    }
}
