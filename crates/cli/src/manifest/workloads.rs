//! The workloads of manifests, each with its name and hash as in an approval's subject, and the fields of a workload that
//! the API server would drop.

use serde_json::Value;
use writgate_core::{
    approval::{Subject, manifest_hash},
    kube::{UnknownField, WorkloadKind, remove_dropped_fields, unknown_fields},
};

use crate::{
    cluster::Cluster,
    failure::Failure,
    manifest::Manifest,
    terminal::output::{self, shown},
};

/// A workload and its subject.
pub(crate) struct Workload {
    /// The object.
    pub(crate) manifest: Manifest,
    /// Its name and spec hash.
    pub(crate) subject: Subject,
}

/// The workloads among `manifests`, at least one.
pub(crate) fn of(manifests: Vec<Manifest>, namespace: Option<&str>) -> Result<Vec<Workload>, Failure> {
    let none = none_in(&manifests);
    let mut workloads: Vec<Workload> = Vec::new();
    for manifest in manifests {
        warn_of_outdated(&manifest);
        let Some(hash) = manifest.spec_hash() else { continue };
        let subject = Subject { name: subject_name(&manifest, namespace)?, hash: hash? };
        if let Some(twice) = workloads.iter().find(|other| other.subject.name == subject.name) {
            return Err(Failure::Misuse(format!("{manifest} appears twice, first as {}; remove one", twice.manifest)));
        }
        workloads.push(Workload { manifest, subject });
    }
    if workloads.is_empty() {
        return Err(Failure::Undetermined(none));
    }
    Ok(workloads)
}

/// The message about manifests without a workload.
pub(crate) fn none_in(manifests: &[Manifest]) -> String {
    let mut files = manifests.iter().map(Manifest::file);
    let mut found: Vec<String> = manifests.iter().map(|manifest| shown(manifest.kind())).collect();
    found.sort();
    found.dedup();
    let found = found.join(", ");
    match files.next() {
        Some(file) if files.all(|other| other == file) => format!("{file} contains no workload, only {found}"),
        Some(_) => format!("the files contain no workload, only {found}"),
        None => "the input contains no workload".to_owned(),
    }
}

/// `<group/version>/<kind>/<namespace>/<name>`, as in a subject.
pub(crate) fn subject_name(manifest: &Manifest, namespace: Option<&str>) -> Result<String, Failure> {
    let name = manifest.subject_name().ok_or_else(|| {
        Failure::Misuse(format!("{manifest} has no name; set metadata.name or metadata.generateName"))
    })?;
    let namespace = manifest
        .namespace()
        .or(namespace)
        .ok_or_else(|| Failure::Misuse(format!("{manifest} has no namespace; set metadata.namespace or pass -n")))?;
    // A name that the API server would reject could have another meaning in a subject, as `*` and `/` do.
    let stem = manifest.stem();
    for part in [stem, namespace] {
        if !part.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte)) {
            return Err(Failure::Misuse(format!("{manifest}: {} is not a valid Kubernetes name", shown(part))));
        }
    }
    Ok(format!("{}/{}/{namespace}/{name}", manifest.api_version(), manifest.kind()))
}

/// How similar a known field must be to be suggested: `imagePullPolicy` for `imagePullPolcy`.
const SIMILAR: f64 = 0.9;

/// The fields of a workload that Kubernetes does not have, each with the field that may be meant. The API server drops
/// them, so that the spec hash is another one than the manifest's.
pub(crate) fn dropped_fields(manifest: &Manifest) -> Vec<(UnknownField, Option<&'static str>)> {
    let unknown = manifest.workload().map(|kind| unknown_fields(kind, manifest.object())).unwrap_or_default();
    unknown
        .into_iter()
        .map(|field| {
            let meant = similar(&field);
            (field, meant)
        })
        .collect()
}

fn similar(field: &UnknownField) -> Option<&'static str> {
    let name = field.path.rsplit('.').next()?.to_lowercase();
    let scored = field.known.iter().map(|known| (strsim::jaro_winkler(&name, &known.to_lowercase()), *known));
    let (score, known) = scored.max_by(|(one, _), (other, _)| one.total_cmp(other))?;
    (score > SIMILAR).then_some(known)
}

/// Describes a field that the API server drops.
pub(crate) fn describe_dropped((field, meant): &(UnknownField, Option<&'static str>)) -> String {
    let meant = meant.map(|meant| format!("; use {meant} if you meant that")).unwrap_or_default();
    format!("Kubernetes has no field {}, and the API server drops it{meant}", shown(&field.path))
}

/// Warns of fields that the API server drops.
pub(crate) fn warn_of_dropped_fields(manifest: &Manifest) {
    for field in dropped_fields(manifest) {
        output::note(&format!(
            "warning: {manifest}: {}; the webhook then denies the object, because its spec hash differs from the \
             manifest's",
            describe_dropped(&field)
        ));
    }
}

/// Warns of fields that Kubernetes has, but that the cluster's API server drops because it is older or because their
/// feature gate is off in its version.
pub(crate) fn warn_of_newer_fields(manifest: &Manifest, cluster: Option<&Cluster>) {
    let (Some(kind), Some(cluster)) = (manifest.workload(), cluster) else { return };
    let Some(version) = cluster.version() else { return };
    let newer = newer_fields(kind, manifest.object(), version.minor);
    if newer.is_empty() {
        return;
    }
    output::note(&format!(
        "warning: {manifest}: the API server ({}) drops {} by default; the webhook then denies the object, because its spec hash \
         differs from the manifest's; remove what is dropped from the manifest, or upgrade the cluster",
        shown(&version.name),
        shown(&newer.join(", "))
    ));
}

/// The fields that Kubernetes v1.`minor` drops and newer releases keep, if the spec hash covers one of them.
fn newer_fields(kind: WorkloadKind, object: &Value, minor: u32) -> Vec<String> {
    let mut kept = object.clone();
    remove_dropped_fields(kind, &mut kept, u32::MAX);
    let mut older = kept.clone();
    let newer = remove_dropped_fields(kind, &mut older, minor);
    let hash = |object: &Value| manifest_hash(object).ok();
    if newer.is_empty() || hash(&kept) == hash(&older) { Vec::new() } else { newer }
}

/// The fields that the cluster's API server drops, if the manifest without them has the spec hash `expected`.
pub(crate) fn dropped_to(manifest: &Manifest, expected: &str, cluster: &Cluster) -> Option<Vec<String>> {
    let mut object = manifest.object().clone();
    let minor = cluster.version().map_or(u32::MAX, |version| version.minor);
    let dropped = remove_dropped_fields(manifest.workload()?, &mut object, minor);
    let (_, hash) = manifest_hash(&object).ok()?;
    (hash.to_string() == expected).then_some(dropped)
}

/// Notes that an object which looks like a workload is skipped, and why.
pub(crate) fn warn_of_outdated(manifest: &Manifest) {
    if manifest.is_outdated_workload() {
        output::note(&format!(
            "skipped: {manifest}: no supported API server serves it in version {}",
            shown(manifest.api_version())
        ));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_newer_fields_that_change_the_spec_hash() {
        let deployment = |container: Value| {
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "orders"},
                "spec": {"template": {"spec": {"containers": [container]}}}})
        };
        let newer = |container, minor| newer_fields(WorkloadKind::Deployment, &deployment(container), minor);
        let claims = json!({"name": "c", "image": "i", "resources": {"claims": [{"name": "gpu"}]}, "typo": 1});
        assert_eq!(newer(claims.clone(), 30), ["spec.template.spec.containers[0].resources.claims"]);
        assert_eq!(newer(claims, 34), [""; 0], "1.34 keeps it, and an unknown field has a warning of its own");
        let empty = json!({"name": "c", "image": "i", "resources": {"claims": []}});
        assert_eq!(newer(empty, 30), [""; 0], "no release keeps an empty list");
    }

    #[test]
    fn names_values_that_older_releases_do_not_keep() {
        let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "orders"}, "spec": {
            "template": {"spec": {"containers": [{"name": "c", "image": "i", "restartPolicy": "Never"}]}}}});
        let found = |minor| newer_fields(WorkloadKind::Deployment, &deployment, minor);
        assert_eq!((found(34), found(35)), (vec!["spec.template.spec.containers[0].restartPolicy".to_owned()], vec![]));
        let job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "orders"}, "spec": {
            "podFailurePolicy": {"rules": []},
            "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}}});
        assert_eq!(newer_fields(WorkloadKind::Job, &job, 30), ["spec.podFailurePolicy.rules"]);
        let mut signal = deployment.clone();
        signal["spec"]["template"]["spec"]["containers"] =
            json!([{"name": "c", "image": "i", "lifecycle": {"stopSignal": "SIGTERM"}}]);
        let found = newer_fields(WorkloadKind::Deployment, &signal, 32);
        assert_eq!(found, ["spec.template.spec.containers[0].lifecycle.stopSignal"]);
    }

    #[test]
    fn a_default_that_only_newer_releases_fill_in_is_no_newer_field() {
        let set = |unavailable: Value| {
            json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "db"}, "spec": {
                "updateStrategy": {"rollingUpdate": {"maxUnavailable": unavailable}},
                "template": {"spec": {"containers": [{"name": "c", "image": "i"}]}}}})
        };
        assert_eq!(newer_fields(WorkloadKind::StatefulSet, &set(json!(1)), 34), [""; 0]);
        let changed = newer_fields(WorkloadKind::StatefulSet, &set(json!(2)), 34);
        assert_eq!(changed, ["spec.updateStrategy.rollingUpdate.maxUnavailable"]);
    }
}
