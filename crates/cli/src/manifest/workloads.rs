//! The workloads of manifests, each with its name and hash as in an approval's subject.

use writgate_core::approval::Subject;

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
    match files.next() {
        Some(file) if files.all(|other| other == file) => format!("{file} contains no workload"),
        Some(_) => "the files contain no workload".to_owned(),
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

/// Notes that an object which looks like a workload is skipped, and why.
pub(crate) fn warn_of_outdated(manifest: &Manifest) {
    if manifest.is_outdated_workload() {
        output::note(&format!(
            "skipped: {manifest}: no supported API server serves it in version {}",
            shown(manifest.api_version())
        ));
    }
}
