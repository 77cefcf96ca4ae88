//! The workloads of a cluster's namespaces, page by page, without those that a workload of the same namespace controls.

use k8s_openapi::api::core::v1::Namespace;
use kube::{
    ResourceExt as _,
    api::{Api, DynamicObject, ListParams},
};
use writgate_cluster::{client::api_resource, controllers::Controllers, live::KINDS, names::CANARY_NAMESPACE};
use writgate_core::{
    kube::{WorkloadKind, WorkloadKinds},
    vocabulary::ENVIRONMENT_LABEL,
};

use crate::{
    cluster::Cluster,
    failure::Failure,
    manifest::{self, Manifest},
    terminal::output::shown,
};

/// Objects per page of a list. An object has at most 1.5 MiB.
const PAGE: u32 = 100;

/// The governed namespaces, sorted by name. Nothing can exist in the namespace of the canary.
pub(super) fn governed_namespaces(cluster: &Cluster) -> Result<Vec<String>, Failure> {
    let namespaces: Api<Namespace> = Api::all(cluster.client.clone());
    let what = "list governed namespaces (ClusterRole writgate-namespace-reader permits it)";
    let mut found = Vec::new();
    let mut page = ListParams::default().labels(ENVIRONMENT_LABEL).limit(PAGE);
    loop {
        let list = cluster.ask(what, namespaces.list_metadata(&page))?;
        found.extend(list.items.iter().map(kube::ResourceExt::name_any).filter(|name| name != CANARY_NAMESPACE));
        match list.metadata.continue_.filter(|next| !next.is_empty()) {
            Some(next) => page = page.continue_token(&next),
            None => break,
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// Passes each workload and bare Pod of a namespace to `each`.
pub(super) fn workloads(
    cluster: &Cluster,
    namespace: &str,
    further: &[WorkloadKind],
    mut each: impl FnMut(&Manifest) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let kinds: WorkloadKinds = further.iter().copied().collect();
    let mut controllers = Controllers::default();
    let workloads = further.iter().chain(&KINDS).map(|kind| (kind.api_version(), kind.kind(), kind.resource()));
    for (api_version, kind, resource) in workloads.chain([("v1", "Pod", "pods")]) {
        let listed = api_resource(api_version, kind, resource);
        let api: Api<DynamicObject> = Api::namespaced_with(cluster.client.clone(), namespace, &listed);
        let what = format!("list {resource} in {}", shown(namespace));
        let mut page = ListParams::default().limit(PAGE);
        loop {
            let list = cluster.ask(&what, api.list(&page))?;
            for object in list.items {
                let source = format!("{kind} {namespace}/{}", object.name_any());
                let mut object = serde_json::to_value(object)
                    .map_err(|error| Failure::Undetermined(format!("cannot read {}: {error}", shown(&source))))?;
                // Items of a list have no kind.
                object["apiVersion"] = api_version.into();
                object["kind"] = kind.into();
                if let Some(manifest) = manifest::live(&source, object, &kinds)?
                    && !controllers.include(manifest.workload(), manifest.object())
                {
                    each(&manifest)?;
                }
            }
            match list.metadata.continue_.filter(|next| !next.is_empty()) {
                Some(next) => page = page.continue_token(&next),
                None => break,
            }
        }
    }
    Ok(())
}
