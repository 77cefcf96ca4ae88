//! The workloads of manifests, each with its name and hash as in an approval's subject, and the fields of a workload that
//! the API server would drop.

use writgate_core::{
    approval::Subject,
    kube::{UnknownField, unknown_fields},
};

use crate::{
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
        return Err(Failure::Misuse(none));
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

/// Notes that an object which looks like a workload is skipped, and why.
pub(crate) fn warn_of_outdated(manifest: &Manifest) {
    if manifest.is_outdated_workload() {
        output::note(&format!(
            "skipped: {manifest}: no supported API server serves it in version {}",
            shown(manifest.api_version())
        ));
    }
}
