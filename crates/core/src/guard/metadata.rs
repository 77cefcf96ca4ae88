//! Metadata that is written through a status subresource, where workloads are not checked. The API server accepts
//! annotations there, labels of most kinds, and even the owner references of a `ReplicaSet`.

use std::collections::BTreeSet;

use super::{GuardContext, verdict_of};
use crate::{
    decide::{driver::Step, facts::Governance, verdict::DecisionDraft},
    record::denial::Denial,
    request::admission_review::{Metadata, Object, Request},
    request::adoption::{changed_labels, has_same_owners, is_adopted},
    text::quoted,
    vocabulary::DOMAIN,
};

pub(super) fn check<'a>(request: &Request<'_>, context: &GuardContext<'_>, mut draft: DecisionDraft) -> Step<'a> {
    let Governance::Governed { environment, project, .. } = context.governance else { return draft.not_an_action() };
    let (Some(object), Some(old)) = (&request.object, &request.old_object) else { return draft.not_an_action() };
    if !environment.is_empty() {
        draft.record.environment = Some(environment.to_owned());
    }
    draft.record.project = project.map(str::to_owned);
    let changed = changed(request, object, old);
    if changed.is_empty() {
        return draft.not_an_action();
    }
    let resource = quoted(&request.resource);
    draft.record.change = Some(format!("metadata through {resource}/status"));
    let denial = |what| Denial::StatusMetadata { resource: resource.clone(), what };
    draft.decided(verdict_of(changed.into_iter().map(denial).collect()))
}

/// What the request changes outside the status: names that mean something to Writgate, and the owners and labels by which
/// controllers adopt the object.
fn changed(request: &Request<'_>, object: &Object<'_>, old: &Object<'_>) -> Vec<String> {
    let (new_data, old_data) = (&object.metadata, &old.metadata);
    let adoption = changed_labels(&request.resource, object, old);
    let is_guarded = |key: &&str| adoption.contains(key) || key.starts_with(DOMAIN);
    let keys = |metadata: &Metadata<'_>| -> BTreeSet<String> {
        metadata.labels.iter().map(|(key, _)| key).filter(is_guarded).map(str::to_owned).collect()
    };
    let labels = keys(new_data).into_iter().chain(keys(old_data)).collect::<BTreeSet<_>>();
    let labels = labels.iter().filter(|key| new_data.labels.get(key) != old_data.labels.get(key));
    let annotations: BTreeSet<&str> =
        new_data.annotations.iter().chain(old_data.annotations.iter()).map(|(key, _)| key).collect();
    let annotations =
        annotations.into_iter().filter(|key| new_data.annotations.get(key) != old_data.annotations.get(key));
    let mut changed: Vec<String> = labels.map(|key| format!("label {}", quoted(key))).collect();
    changed.extend(annotations.map(|key| format!("annotation {}", quoted(key))));
    if is_adopted(&request.resource) && !has_same_owners(object, old) {
        changed.push("metadata.ownerReferences".to_owned());
    }
    changed
}
