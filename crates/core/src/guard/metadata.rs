//! Metadata that is written through a status, where the gate does not judge: the API server takes annotations there,
//! of most kinds labels, and of a `ReplicaSet` even the owner.

use std::collections::BTreeSet;

use super::{Ground, judged_by};
use crate::{
    decide::driver::Governance,
    record::decision::{DecisionRecord, Verdict},
    record::denial::Denial,
    request::admission_review::{Metadata, Object, Request},
    request::change::same_owners,
    text::quoted,
    vocabulary::DOMAIN,
};

pub(super) fn judge(request: &Request<'_>, ground: &Ground<'_>, record: &mut DecisionRecord) -> Option<Verdict> {
    let Governance::Governed { environment, project, .. } = ground.governance else { return None };
    let (Some(object), Some(old)) = (&request.object, &request.old_object) else { return None };
    record.environment = Some(environment).filter(|known| !known.is_empty()).map(str::to_owned);
    record.project = project.map(str::to_owned);
    let changed = changed(request, object, old);
    if changed.is_empty() {
        return None;
    }
    record.change = Some(format!("metadata through {}/status", quoted(&request.resource)));
    let resource = quoted(&request.resource);
    Some(judged_by(
        changed.into_iter().map(|what| Denial::StatusMetadata { resource: resource.clone(), what }).collect(),
    ))
}

/// What is not the status's and differs: what means something to the gate, and who owns and selects a set of Pods.
fn changed(request: &Request<'_>, object: &Object<'_>, old: &Object<'_>) -> Vec<String> {
    let (new_data, old_data) = (&object.metadata, &old.metadata);
    let is_adopted_by_labels = matches!(&*request.resource, "replicasets" | "replicationcontrollers");
    let ours = |key: &&str| is_adopted_by_labels || key.starts_with(DOMAIN);
    let keys = |metadata: &Metadata<'_>| -> BTreeSet<String> {
        metadata.labels.iter().map(|(key, _)| key).filter(ours).map(str::to_owned).collect()
    };
    let labels = keys(new_data).into_iter().chain(keys(old_data)).collect::<BTreeSet<_>>();
    let labels = labels.iter().filter(|key| new_data.labels.get(key) != old_data.labels.get(key));
    let annotations: BTreeSet<&str> =
        new_data.annotations.iter().chain(old_data.annotations.iter()).map(|(key, _)| key).collect();
    let annotations =
        annotations.into_iter().filter(|key| new_data.annotations.get(key) != old_data.annotations.get(key));
    let mut changed: Vec<String> = labels.map(|key| format!("label {}", quoted(key))).collect();
    changed.extend(annotations.map(|key| format!("annotation {}", quoted(key))));
    if is_adopted_by_labels && !same_owners(object, old) {
        changed.push("metadata.ownerReferences".to_owned());
    }
    changed
}
