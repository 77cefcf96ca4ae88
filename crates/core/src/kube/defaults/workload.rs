//! The defaults of each kind of workload, outside its pod template.
//!
//! Source: `pkg/apis/{apps,batch}/v1/defaults.go` and `conversion.go` of Kubernetes.

use serde_json::json;

use super::{JsonObject, child, children, fill, fill_empty, pod, text, volume};
use crate::kube::workload::WorkloadKind;

/// Fills in a conformed spec.
pub(super) fn fill_spec(kind: WorkloadKind, spec: &mut JsonObject) {
    match kind {
        WorkloadKind::ReplicaSet | WorkloadKind::Further(_) => {}
        WorkloadKind::Deployment => keep_absent(spec, "strategy"),
        WorkloadKind::DaemonSet => keep_absent(spec, "updateStrategy"),
        WorkloadKind::ReplicationController => fill_replication_controller(spec),
        WorkloadKind::StatefulSet => fill_stateful_set(spec),
        WorkloadKind::Job => {
            fill_job(spec);
            fill_pod_failure_policy(spec);
        }
        WorkloadKind::CronJob => {
            fill(spec, "concurrencyPolicy", "Allow");
            // The API server fills in the Job's own defaults only when the controller creates the Job.
            if let Some(job) = child(spec, "jobTemplate").and_then(|template| child(template, "spec")) {
                fill_pod_failure_policy(job);
                pod::fill_template(job);
            }
            return;
        }
    }
    pod::fill_template(spec);
}

/// Removes a strategy that only decoding has added. The hash leaves it out, and a review would show it as a change that
/// the manifest does not contain.
fn keep_absent(spec: &mut JsonObject, name: &str) {
    if child(spec, name).is_some_and(|strategy| strategy.is_empty()) {
        spec.remove(name);
    }
}

fn fill_replication_controller(spec: &mut JsonObject) {
    let labels = child(spec, "template").and_then(|template| child(template, "metadata")?.get("labels").cloned());
    if let Some(labels) = labels {
        fill(spec, "selector", labels);
    }
}

fn fill_stateful_set(spec: &mut JsonObject) {
    fill(spec, "podManagementPolicy", "OrderedReady");
    if let Some(strategy) = child(spec, "updateStrategy") {
        if !strategy.contains_key("type") {
            fill(strategy, "type", "RollingUpdate");
            fill(strategy, "rollingUpdate", json!({}));
        }
        if text(strategy, "type") == Some("RollingUpdate")
            && let Some(rolling) = child(strategy, "rollingUpdate")
        {
            // Newer API servers also fill in `maxUnavailable: 1`. The hash leaves it out.
            fill(rolling, "partition", 0);
        }
    }
    fill(spec, "persistentVolumeClaimRetentionPolicy", json!({}));
    if let Some(policy) = child(spec, "persistentVolumeClaimRetentionPolicy") {
        fill(policy, "whenDeleted", "Retain");
        fill(policy, "whenScaled", "Retain");
    }
    for claim in children(spec, "volumeClaimTemplates") {
        // The API server replaces both, whatever the manifest contains.
        claim.insert("apiVersion".to_owned(), "v1".into());
        claim.insert("kind".to_owned(), "PersistentVolumeClaim".into());
        if let Some(claim_spec) = child(claim, "spec") {
            volume::fill_claim_spec(claim_spec);
        }
        if let Some(status) = child(claim, "status") {
            fill(status, "phase", "Pending");
        }
    }
}

fn fill_job(spec: &mut JsonObject) {
    if !spec.contains_key("completions") && !spec.contains_key("parallelism") {
        fill(spec, "completions", 1);
    }
    fill(spec, "parallelism", 1);
    let backoff_limit = if spec.contains_key("backoffLimitPerIndex") { i32::MAX } else { 6 };
    fill(spec, "backoffLimit", backoff_limit);
    fill(spec, "completionMode", "NonIndexed");
    let replacement = if spec.contains_key("podFailurePolicy") { "Failed" } else { "TerminatingOrFailed" };
    fill(spec, "podReplacementPolicy", replacement);
    fill(spec, "manualSelector", false);
}

fn fill_pod_failure_policy(job: &mut JsonObject) {
    let Some(policy) = child(job, "podFailurePolicy") else { return };
    for rule in children(policy, "rules") {
        for condition in children(rule, "onPodConditions") {
            fill_empty(condition, "status", "True");
        }
    }
}
