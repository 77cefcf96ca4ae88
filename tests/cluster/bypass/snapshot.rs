//! The state of a namespace: what its objects request, and what runs. It is read before and after every attempt, with the API
//! client, since kubectl would be too slow for hundreds of snapshots.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use axum::http::Request;
use serde_json::{Value, json};
use writgate_core::{approval::spec_hash, kube::WorkloadKind};

/// The resources that run content or decide what runs.
const RESOURCES: [&str; 10] = [
    "apis/apps/v1/deployments",
    "apis/apps/v1/replicasets",
    "apis/apps/v1/statefulsets",
    "apis/apps/v1/daemonsets",
    "apis/apps/v1/controllerrevisions",
    "apis/batch/v1/jobs",
    "apis/batch/v1/cronjobs",
    "api/v1/pods",
    "api/v1/replicationcontrollers",
    "api/v1/podtemplates",
];

/// The objects of a namespace, by kind and name.
#[derive(PartialEq)]
pub(crate) struct Snapshot(BTreeMap<String, ObjectState>);

#[derive(PartialEq)]
struct ObjectState {
    /// The fields that an attempt could change, without those that controllers keep changing.
    whole: Value,
    /// What runs: a workload's spec hash, or a Pod's images.
    live: String,
}

impl Snapshot {
    /// Reads the namespace.
    pub(crate) async fn take(admin: &kube::Client, namespace: &str) -> Self {
        let mut objects = BTreeMap::new();
        for resource in RESOURCES {
            let (group, plural) = resource.rsplit_once('/').expect("a path");
            let path = format!("/{group}/namespaces/{namespace}/{plural}");
            let request = Request::get(&path).body(Vec::new()).expect("a request");
            let mut list: Value = admin.request(request).await.unwrap_or_else(|e| panic!("{path}: {e}"));
            let Value::Array(items) = list["items"].take() else { panic!("{path}: a list has items") };
            for item in items {
                let name = item["metadata"]["name"].as_str().expect("a name").to_owned();
                objects.insert(format!("{plural}/{name}"), ObjectState::of(plural, &item));
            }
        }
        Self(objects)
    }

    /// What runs, each as `kind hash`.
    pub(crate) fn live(&self) -> BTreeSet<&str> {
        self.0.values().map(|state| &*state.live).filter(|live| !live.is_empty()).collect()
    }
}

impl ObjectState {
    fn of(plural: &str, item: &Value) -> Self {
        let metadata = &item["metadata"];
        // The controller copies a Deployment's annotations to its ReplicaSet a moment later.
        let claims = if plural == "replicasets" { Value::Null } else { writgate_entries(&metadata["annotations"]) };
        let whole = json!({"spec": item["spec"], "data": item["data"], "template": item["template"],
            "revision": item["revision"], "labels": metadata["labels"], "claims": claims,
            "owners": metadata["ownerReferences"]});
        Self { whole, live: live(plural, item) }
    }
}

fn live(plural: &str, item: &Value) -> String {
    let kind = match plural {
        "deployments" => WorkloadKind::Deployment,
        "replicasets" => WorkloadKind::ReplicaSet,
        "statefulsets" => WorkloadKind::StatefulSet,
        "daemonsets" => WorkloadKind::DaemonSet,
        "replicationcontrollers" => WorkloadKind::ReplicationController,
        "jobs" => WorkloadKind::Job,
        "cronjobs" => WorkloadKind::CronJob,
        "pods" => {
            let lists = ["initContainers", "containers", "ephemeralContainers"].map(|list| &item["spec"][list]);
            let all = lists.into_iter().filter_map(Value::as_array).flatten();
            return format!("Pod {:?}", all.map(|container| container["image"].to_string()).collect::<Vec<_>>());
        }
        _ => return String::new(), // it runs only through a workload, which is in the snapshot itself
    };
    let hash = spec_hash(kind, &item["spec"].to_string()).expect("what the API server sends can be hashed");
    format!("{plural} {hash}")
}

fn writgate_entries(map: &Value) -> Value {
    let entries = map.as_object().into_iter().flatten().filter(|(key, _)| key.starts_with("writgate.dev/"));
    entries.map(|(key, value)| (key.clone(), value.clone())).collect::<serde_json::Map<_, _>>().into()
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(name, state)| write!(f, "\n  {name}: {}", state.whole))
    }
}
