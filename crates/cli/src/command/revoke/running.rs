//! The live workloads of governed namespaces that rest on an approval, a key's signature or a spec.
//!
//! Annotations are not verified here: they only say where to look.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Namespace;
use kube::{
    ResourceExt as _,
    api::{Api, DynamicObject, ListParams},
};
use writgate_cluster::client::api_resource;
use writgate_core::{
    approval::{Approval, Envelope, spec_hash},
    kube::WorkloadKind,
    vocabulary::{ENVIRONMENT_LABEL, is_approval},
};

use crate::{cluster::Cluster, failure::Failure};

/// Objects per page of a list.
const PAGE: u32 = 500;

/// How a workload is recognised.
#[derive(Clone, Copy, Debug)]
pub(crate) enum WorkloadSelector<'a> {
    /// By the id of an approval that it carries.
    Approval(&'a str),
    /// By the id of a key that signed an approval that it carries.
    Key(&'a str),
    /// By its spec hash.
    Spec(&'a str),
}

/// `Deployment payments/orders` for each match. An object that a controller made is left out in favour of its owner.
pub(crate) fn workloads(cluster: &Cluster, selectors: &[WorkloadSelector<'_>]) -> Result<Vec<String>, Failure> {
    let namespaces: Api<Namespace> = Api::all(cluster.client.clone());
    let governed = ListParams::default().labels(ENVIRONMENT_LABEL);
    let governed = cluster.ask("list governed namespaces", namespaces.list_metadata(&governed))?;
    let governed: BTreeSet<String> = governed.items.iter().map(kube::ResourceExt::name_any).collect();
    let mut found = Vec::new();
    for kind in WorkloadKind::ALL {
        for object in list(cluster, kind)? {
            let namespace = object.namespace().unwrap_or_default();
            if governed.contains(&namespace)
                && object.owner_references().is_empty()
                && matches(kind, &object, selectors)
            {
                found.push(format!("{} {namespace}/{}", kind.kind(), object.name_any()));
            }
        }
    }
    Ok(found)
}

fn list(cluster: &Cluster, kind: WorkloadKind) -> Result<Vec<DynamicObject>, Failure> {
    let resource = api_resource(kind.api_version(), kind.kind(), kind.resource());
    let api: Api<DynamicObject> = Api::all_with(cluster.client.clone(), &resource);
    let mut objects = Vec::new();
    let mut page = ListParams::default().limit(PAGE);
    loop {
        let list = cluster.ask(&format!("list {}", kind.resource()), api.list(&page))?;
        objects.extend(list.items);
        match list.metadata.continue_.filter(|next| !next.is_empty()) {
            Some(next) => page = page.continue_token(&next),
            None => return Ok(objects),
        }
    }
}

fn matches(kind: WorkloadKind, object: &DynamicObject, selectors: &[WorkloadSelector<'_>]) -> bool {
    let envelopes: Vec<Envelope> = object
        .annotations()
        .iter()
        .filter(|(name, _)| is_approval(name))
        .filter_map(|(_, text)| Envelope::parse(text).ok())
        .collect();
    let is_one = |selectors: &WorkloadSelector<'_>| match selectors {
        WorkloadSelector::Approval(id) => envelopes
            .iter()
            .any(|envelope| Approval::parse(envelope.payload()).is_ok_and(|approval| approval.id == *id)),
        WorkloadSelector::Key(id) => envelopes.iter().any(|envelope| envelope.keyids().any(|keyid| keyid == *id)),
        WorkloadSelector::Spec(hash) => object
            .data
            .get("spec")
            .and_then(|spec| spec_hash(kind, &spec.to_string()).ok())
            .is_some_and(|own| own.to_string() == *hash),
    };
    selectors.iter().any(is_one)
}
