//! Controllers whose children are not judged again: their owner was.
//!
//! The cluster's `matchConditions` keep these requests from being sent at all; the list is here too, so that a
//! cluster without them decides the same. A controller is known by its authenticated user name, never by owner
//! references, which anyone can write.

use std::{collections::BTreeSet, fmt, str::FromStr};

/// Pairs of an API user name and a resource that it may write unjudged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExemptControllers(BTreeSet<(String, String)>);

/// What kube-controller-manager runs with `--use-service-account-credentials` (kubeadm's default).
///
/// The garbage collector orphans `ReplicaSets` by their owner references. The cronjob controller's Jobs are exempt
/// unless they are replays, which are judged each.
const KUBE: [(&str, &str); 12] = [
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
    /// Whether `user` may write `resource` unjudged.
    #[must_use]
    pub fn covers(&self, user: &str, resource: &str) -> bool {
        self.0.iter().any(|(known, covered)| known == user && covered == resource)
    }

    /// The pairs, in the form that [`ExemptController`] reads.
    pub fn iter(&self) -> impl Iterator<Item = ExemptController> {
        self.0.iter().map(|(user, resource)| ExemptController { user: user.clone(), resource: resource.clone() })
    }
}

/// One entry: `system:serviceaccount:kube-system:deployment-controller=replicasets`.
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

/// A text that is no entry.
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
    fn a_controller_is_exempt_for_its_own_children_alone() {
        let exempt = ExemptControllers::default();
        assert!(exempt.covers(DEPLOYMENTS, "replicasets"));
        assert!(!exempt.covers(DEPLOYMENTS, "pods"));
        assert!(!exempt.covers("system:serviceaccount:payments:deployment-controller", "replicasets"));
    }

    #[test]
    fn an_entry_is_read_as_it_is_written() {
        let entry: ExemptController = format!("{DEPLOYMENTS}=replicasets").parse().expect("an entry");
        assert_eq!(entry.to_string(), format!("{DEPLOYMENTS}=replicasets"));
        for wrong in ["", "a", "=pods", "a=", "a=Pods", "a=pods/status"] {
            assert!(wrong.parse::<ExemptController>().is_err(), "{wrong}");
        }
    }
}
