//! Where two renders of one workload differ, such as in a value that a chart makes at random.
//!
//! A chart that makes a value at each render never has the approved spec when Helm renders it again, and the denial cannot name
//! the field: an approval contains a hash. Two renders show it.

use writgate_core::{
    approval::{RequestFile, RequestedWorkload},
    text::listed,
};

use crate::{
    cluster::posted::Posted,
    command::{request::Arguments, review::diff},
    failure::Failure,
    manifest::{self, Manifest},
    terminal::output::{self, shown},
};

/// The error about a workload that the manifests contain twice.
pub(super) fn twice(first: &Manifest, second: &Manifest) -> Result<Failure, Failure> {
    let why = match differing(first, second)? {
        Some(fields) => format!(
            "{second} appears twice, and the two specs differ in {fields}; remove one, and if both are renders of one \
             release, set these values so that each render has them"
        ),
        None => format!("{second} appears twice; remove one"),
    };
    Ok(Failure::Misuse(why))
}

/// Notes the fields in which a workload differs from the last request for it by the same person.
pub(super) fn note_differences(arguments: &Arguments, posted: &[Posted], file: &RequestFile) -> Result<(), Failure> {
    for workload in &file.workloads {
        let requested = |posted: &&Posted| posted.request.file.requested_by == file.requested_by;
        let earlier = posted.iter().filter(requested).filter_map(|posted| {
            let same = posted.request.file.workloads.iter().find(|other| other.subject == workload.subject)?;
            Some((posted, same))
        });
        let Some((posted, last)) = earlier.max_by_key(|(posted, _)| posted.created) else { continue };
        let manifest = |of: &RequestedWorkload| -> Result<Option<Manifest>, Failure> {
            let Some(object) = &of.object else { return Ok(None) };
            let kinds = arguments.decider.reading.kinds.known();
            Ok(manifest::read(&shown(&of.subject), &object.to_string(), &kinds)?.pop())
        };
        // An earlier request is what somebody else wrote, so it may be unreadable.
        let (Ok(Some(last)), Some(new)) = (manifest(last), manifest(workload)?) else { continue };
        if let Ok(Some(fields)) = differing(&last, &new) {
            output::note(&format!(
                "{} differs in {fields} from request {} of {}; if you rendered the same release again, set these values so \
                 that each render has them",
                shown(&workload.subject),
                posted.name,
                posted.created
            ));
        }
    }
    Ok(())
}

/// The fields that the spec hash covers and in which the two differ.
fn differing(first: &Manifest, second: &Manifest) -> Result<Option<String>, Failure> {
    let Some(kind) = second.workload() else { return Ok(None) };
    let changes = diff::of(kind, Some(&first.as_admitted()?), &second.as_admitted()?, second.object());
    let paths: Vec<String> =
        changes.into_iter().filter(|change| change.bound).map(|change| shown(&change.path)).collect();
    Ok((!paths.is_empty()).then(|| listed(paths.into_iter())))
}
