//! The workloads of some manifests, each under the name and hash by which an approval names it.

use writgate_core::approval::Subject;

use crate::{
    failure::Failure,
    manifest::Manifest,
    terminal::output::{self, shown},
};

/// A workload of the file, as a subject names it.
pub(crate) struct Workload {
    /// The object.
    pub(crate) manifest: Manifest,
    /// Its name and spec hash.
    pub(crate) subject: Subject,
}

/// The workloads among `manifests`; there must be one.
pub(crate) fn of(manifests: Vec<Manifest>, namespace: Option<&str>) -> Result<Vec<Workload>, Failure> {
    let mut workloads: Vec<Workload> = Vec::new();
    for manifest in manifests {
        warn_of_outdated(&manifest);
        let Some(hash) = manifest.spec_hash() else { continue };
        let subject = Subject { name: subject_name(&manifest, namespace)?, hash: hash? };
        if let Some(twice) = workloads.iter().find(|other| other.subject.name == subject.name) {
            return Err(Failure::Misuse(format!("{manifest}: it is there twice, first as {}", twice.manifest)));
        }
        workloads.push(Workload { manifest, subject });
    }
    if workloads.is_empty() {
        return Err(Failure::Misuse("there is no workload in it to approve".to_owned()));
    }
    Ok(workloads)
}

/// `<group/version>/<kind>/<namespace>/<name>`, as a subject names it.
pub(crate) fn subject_name(manifest: &Manifest, namespace: Option<&str>) -> Result<String, Failure> {
    let name = manifest
        .subject_name()
        .ok_or_else(|| Failure::Misuse(format!("{manifest}: it has neither metadata.name nor generateName")))?;
    let namespace = manifest
        .namespace()
        .or(namespace)
        .ok_or_else(|| Failure::Misuse(format!("{manifest}: it names no namespace; say which with -n")))?;
    // What the API server would not take as a name could mean something else in a subject, as `*` and `/` do.
    let stem = manifest.stem();
    for part in [stem, namespace] {
        if !part.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte)) {
            return Err(Failure::Misuse(format!("{manifest}: {} is not a name that Kubernetes permits", shown(part))));
        }
    }
    Ok(format!("{}/{}/{namespace}/{name}", manifest.api_version(), manifest.kind()))
}

/// Says of what looks like a workload why it is passed over.
pub(crate) fn warn_of_outdated(manifest: &Manifest) {
    if manifest.is_outdated_workload() {
        output::note(&format!(
            "skipped: {manifest}: {} is no version of it that a supported API server serves",
            shown(manifest.api_version())
        ));
    }
}
