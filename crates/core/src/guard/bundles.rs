//! Config bundles, checked when they are written: a ConfigMap that a workload refers to by digest must have that content.
//!
//! What a bundle is, is defined in `kube::config_map`. A bundle is checked again when a workload that refers to it is decided,
//! since its namespace may have become governed after the bundle was written.

use super::{GuardContext, content, verdict_of};
use crate::{
    decide::{driver::Step, facts::Governance, verdict::DecisionDraft},
    kube::config_map::check_bundle,
    posture::PostureError,
    record::denial::Denial,
    request::admission_review::{Object, Operation, Request},
    vocabulary::{BUNDLE_KIND, ENVIRONMENT_LABEL, KIND_LABEL},
};

pub(super) fn check<'a>(request: &Request<'_>, context: &GuardContext<'_>, mut draft: DecisionDraft) -> Step<'a> {
    let Governance::Governed { environment, project, posture } = context.governance else {
        return draft.not_an_action();
    };
    let Some(object) = written_bundle(request) else { return draft.not_an_action() };
    draft.record.project = project.map(str::to_owned);
    draft.record.change = Some("config bundle written".to_owned());
    if let ("", Err(PostureError::Unknown { why })) = (environment, posture) {
        let what = "the namespace's environment".to_owned();
        return draft.decided(verdict_of(vec![Denial::LookupFailed { what, why: why.clone() }]));
    }
    draft.record.environment = Some(environment.to_owned());
    let name = request.object_name();
    let checked = content(object).and_then(|content| check_bundle(name, &content, Some(environment)));
    let denials = checked.err().map(|why| Denial::BundleInvalid { name: name.to_owned(), why });
    draft.decided(verdict_of(denials.into_iter().collect()))
}

/// The bundle that the request creates or changes. A ConfigMap that is no longer a bundle is not checked: a workload that
/// refers to it is denied.
fn written_bundle<'r>(request: &'r Request<'_>) -> Option<&'r Object<'r>> {
    let is_bundle = |object: &Object<'_>| object.metadata.labels.get(KIND_LABEL) == Some(BUNDLE_KIND);
    let object = request.object.as_ref()?;
    if request.operation == Operation::Delete || !is_bundle(object) {
        return None;
    }
    match &request.old_object {
        Some(old) if is_bundle(old) && is_same(object, old) => None,
        _ => Some(object),
    }
}

/// Whether the parts that are checked are the same.
fn is_same(object: &Object<'_>, old: &Object<'_>) -> bool {
    let texts = |object: &Object<'_>| {
        [object.immutable, object.data, object.binary_data].map(|text| text.map(|text| text.get().to_owned()))
    };
    let environment = |object: &Object<'_>| object.metadata.labels.get(ENVIRONMENT_LABEL).map(str::to_owned);
    texts(object) == texts(old) && environment(object) == environment(old)
}
