//! Labels and owner references by which a controller adopts an object or lets go of it.
//!
//! A Deployment adopts `ReplicaSets`, and a `ReplicaSet`, a Job and the like adopt Pods: whatever matches their selectors and
//! has no controller. What is adopted is scaled and rolled back to without a request about it. What is let go of is
//! replaced, so a Job runs again, and so it does if it cannot count a Pod. A selector can name any label, so every label of such an object counts.
//!
//! Pods are the exception, because Pods of databases label themselves. A set of Pods replaces a Pod that it lost by
//! another one of the same spec, as if it were scaled. So of its Pods only the labels count that controllers write.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{approval::projection::Projection, request::admission_review::Object, request::equal_json::same_text};

/// The labels that Kubernetes' controllers write to Pods.
const CONTROLLER_LABELS: [&str; 8] = [
    "apps.kubernetes.io/pod-index",
    "batch.kubernetes.io/controller-uid",
    "batch.kubernetes.io/job-completion-index",
    "batch.kubernetes.io/job-name",
    "controller-revision-hash",
    "controller-uid",
    "job-name",
    "pod-template-hash",
];

/// The finalizer by which the Job controller counts a Pod that ended.
const TRACKING: &str = "batch.kubernetes.io/job-tracking";

/// The kinds whose controllers replace a Pod that they lost.
const SETS: [&str; 4] = ["DaemonSet", "ReplicaSet", "ReplicationController", "StatefulSet"];

/// Whether an update leaves everything as it was by which controllers find an object of `resource`.
pub(crate) fn is_same_adoption(resource: &str, object: &Object<'_>, old: &Object<'_>) -> bool {
    let is_untracked = || resource == "pods" && is_owned_by_a_job(old) && is_tracked(old) && !is_tracked(object);
    !is_adopted(resource)
        || (has_same_owners(object, old) && changed_labels(resource, object, old).is_empty() && !is_untracked())
}

/// Whether controllers adopt objects of `resource`.
pub(crate) fn is_adopted(resource: &str) -> bool {
    matches!(resource, "controllerrevisions" | "jobs" | "pods" | "replicasets" | "replicationcontrollers")
}

/// Whether both objects have the same owner references.
pub(crate) fn has_same_owners(object: &Object<'_>, old: &Object<'_>) -> bool {
    same_text(object.metadata.owner_references, old.metadata.owner_references, Projection::Whole)
}

/// The names of the labels that an update changes and that decide who adopts the object.
pub(crate) fn changed_labels<'o>(resource: &str, object: &'o Object<'_>, old: &'o Object<'_>) -> Vec<&'o str> {
    let (new, before) = (&object.metadata.labels, &old.metadata.labels);
    if !is_adopted(resource) || new.is_same(before) {
        return Vec::new();
    }
    let of_a_set = resource == "pods" && is_controlled_by_a_set(old);
    let differs = |key: &&str| new.get(key) != before.get(key) && (!of_a_set || CONTROLLER_LABELS.contains(key));
    let removed = before.iter().map(|(key, _)| key).filter(|key| new.get(key).is_none());
    new.iter().map(|(key, _)| key).chain(removed).filter(differs).collect()
}

/// Whether a Job is among the owners of a Pod. An owner that cannot be read may be one.
pub(crate) fn is_owned_by_a_job(pod: &Object<'_>) -> bool {
    owners(pod).is_none_or(|owners| owners.iter().any(|owner| owner.kind == "Job"))
}

/// Whether a Pod has the finalizer by which its Job counts it.
fn is_tracked(pod: &Object<'_>) -> bool {
    let text = pod.metadata.finalizers.map_or("null", RawValue::get);
    let finalizers: Option<Vec<String>> = serde_json::from_str(text).unwrap_or_default();
    finalizers.is_some_and(|finalizers| finalizers.iter().any(|finalizer| finalizer == TRACKING))
}

fn is_controlled_by_a_set(pod: &Object<'_>) -> bool {
    owners(pod)
        .is_some_and(|owners| owners.iter().any(|owner| owner.controller == Some(true) && SETS.contains(&&*owner.kind)))
}

#[derive(Deserialize)]
struct Owner {
    kind: String,
    controller: Option<bool>,
}

/// The owners of an object. `None`: they cannot be read.
fn owners(object: &Object<'_>) -> Option<Vec<Owner>> {
    let text = object.metadata.owner_references.map_or("null", RawValue::get);
    serde_json::from_str::<Option<Vec<Owner>>>(text).ok().map(Option::unwrap_or_default)
}
