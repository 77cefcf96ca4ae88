//! Config bundles, checked when they are written: what a workload refers to by digest shall hold it.
//!
//! What one is, is `bundle`'s. It is checked again when a workload that refers to it is judged, since a namespace may
//! have been governed after it was written.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Ground, judged_by};
use crate::{
    decide::driver::Governance,
    kube::config_map::{ConfigMapContent, check_bundle},
    posture::PostureError,
    record::decision::{DecisionRecord, Verdict},
    record::denial::Denial,
    request::admission_review::{Object, Operation, Request},
    vocabulary::{BUNDLE_KIND, ENVIRONMENT_LABEL, KIND_LABEL},
};

pub(super) fn judge(request: &Request<'_>, ground: &Ground<'_>, record: &mut DecisionRecord) -> Option<Verdict> {
    let is_bundle = |object: &&Object<'_>| object.metadata.labels.get(KIND_LABEL) == Some(BUNDLE_KIND);
    let object = request.object.as_ref().filter(is_bundle);
    // What is no bundle any more is none that a workload could refer to.
    let (Some(object), false) = (object, request.operation == Operation::Delete) else { return None };
    if request.old_object.as_ref().filter(is_bundle).is_some_and(|old| is_same(object, old)) {
        return None;
    }
    let Governance::Governed { environment, project, posture } = ground.governance else { return None };
    record.project = project.map(str::to_owned);
    record.change = Some("config bundle written".to_owned());
    if let ("", Err(PostureError::Unknown { why })) = (environment, posture) {
        let what = "the namespace's environment".to_owned();
        return Some(judged_by(vec![Denial::LookupFailed { what, why: why.clone() }]));
    }
    record.environment = Some(environment.to_owned());
    let name = request.object_name();
    let checked = content(object).and_then(|content| check_bundle(name, &content, Some(environment)));
    Some(judged_by(checked.err().map(|why| Denial::BundleInvalid { name: name.to_owned(), why }).into_iter().collect()))
}

/// Whether nothing differs that is checked.
fn is_same(object: &Object<'_>, old: &Object<'_>) -> bool {
    let texts = |object: &Object<'_>| {
        [object.immutable, object.data, object.binary_data].map(|text| text.map(|text| text.get().to_owned()))
    };
    let environment = |object: &Object<'_>| object.metadata.labels.get(ENVIRONMENT_LABEL).map(str::to_owned);
    texts(object) == texts(old) && environment(object) == environment(old)
}

fn content(object: &Object<'_>) -> Result<ConfigMapContent, String> {
    let labels = object.metadata.labels.iter().map(|(key, value)| (key.to_owned(), value.to_owned()));
    Ok(ConfigMapContent {
        labels: labels.collect(),
        immutable: read("immutable", object.immutable)?,
        data: read::<BTreeMap<_, _>>("data", object.data)?,
        binary_data: read::<BTreeMap<_, _>>("binaryData", object.binary_data)?,
    })
}

fn read<'a, T: Deserialize<'a> + Default>(field: &str, text: Option<&'a RawValue>) -> Result<T, String> {
    let Some(text) = text else { return Ok(T::default()) };
    serde_json::from_str(text.get()).map_err(|error| format!("its {field} cannot be read: {error}"))
}
