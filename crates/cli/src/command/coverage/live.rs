//! The workloads of a cluster's namespaces, page by page, without those that a workload of the same namespace controls.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Namespace;
use kube::{
    ResourceExt as _,
    api::{Api, ApiResource, DynamicObject, ListParams},
};
use serde_json::Value;
use writgate_cluster::names::CANARY_NAMESPACE;
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

/// Kubernetes' own kinds. A kind comes after the kinds that control it.
const KINDS: [WorkloadKind; 7] = [
    WorkloadKind::Deployment,
    WorkloadKind::CronJob,
    WorkloadKind::StatefulSet,
    WorkloadKind::DaemonSet,
    WorkloadKind::ReplicationController,
    WorkloadKind::Job,
    WorkloadKind::ReplicaSet,
];

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
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let listed = ApiResource {
            group: group.to_owned(),
            version: version.to_owned(),
            api_version: api_version.to_owned(),
            kind: kind.to_owned(),
            plural: resource.to_owned(),
        };
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
                    && !controllers.include(&manifest)
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

/// The workloads that were seen, by uid.
#[derive(Default)]
pub(super) struct Controllers(BTreeMap<String, WorkloadKind>);

impl Controllers {
    /// Notes an object, and says whether a workload that was noted before controls it. An owner that does not exist, or of
    /// a kind whose controller would not create this object, does not count: anybody can write an owner reference.
    pub(super) fn include(&mut self, manifest: &Manifest) -> bool {
        let metadata = &manifest.object()["metadata"];
        let owners = metadata["ownerReferences"].as_array();
        let owner = owners.into_iter().flatten().find(|owner| owner["controller"] == true);
        let owner = owner.and_then(|owner| self.0.get(owner["uid"].as_str()?)).copied();
        if let (Some(kind), Value::String(uid)) = (manifest.workload(), &metadata["uid"]) {
            self.0.insert(uid.clone(), kind);
        }
        owner.is_some_and(|owner| creates(owner, manifest.workload()))
    }
}

/// Whether the controller of `owner` creates objects of `kind`; `None` stands for a Pod.
fn creates(owner: WorkloadKind, kind: Option<WorkloadKind>) -> bool {
    match kind {
        Some(WorkloadKind::ReplicaSet) => matches!(owner, WorkloadKind::Deployment | WorkloadKind::Further(_)),
        Some(WorkloadKind::Job) => matches!(owner, WorkloadKind::CronJob | WorkloadKind::Further(_)),
        Some(_) => false,
        None => !matches!(owner, WorkloadKind::Deployment | WorkloadKind::CronJob),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(api_version: &str, kind: &str, uid: &str, owner: &Value) -> Manifest {
        let object = json!({"apiVersion": api_version, "kind": kind,
            "metadata": {"name": uid, "uid": uid, "ownerReferences": [owner]}});
        manifest::live("a test", object, &WorkloadKinds::default()).unwrap().unwrap()
    }

    fn owned_by(uid: &str) -> Value {
        json!({"uid": uid, "controller": true})
    }

    #[test]
    fn only_an_owner_that_was_seen_and_creates_such_objects_controls_an_object() {
        let mut controllers = Controllers::default();
        assert!(!controllers.include(&object("apps/v1", "Deployment", "d", &Value::Null)));
        assert!(!controllers.include(&object("batch/v1", "CronJob", "c", &Value::Null)));
        assert!(controllers.include(&object("apps/v1", "ReplicaSet", "r", &owned_by("d"))));
        assert!(controllers.include(&object("batch/v1", "Job", "j", &owned_by("c"))));
        assert!(controllers.include(&object("v1", "Pod", "p", &owned_by("r"))));
        assert!(controllers.include(&object("v1", "Pod", "q", &owned_by("j"))));

        assert!(!controllers.include(&object("apps/v1", "ReplicaSet", "s", &owned_by("gone"))), "no such owner");
        assert!(!controllers.include(&object("apps/v1", "ReplicaSet", "s", &owned_by("c"))), "a CronJob");
        assert!(!controllers.include(&object("v1", "Pod", "s", &owned_by("d"))), "a Deployment");
        assert!(!controllers.include(&object("apps/v1", "Deployment", "s", &owned_by("d"))), "nothing creates it");
        let owner = json!({"uid": "d", "controller": false});
        assert!(!controllers.include(&object("apps/v1", "ReplicaSet", "s", &owner)), "not its controller");
    }
}
