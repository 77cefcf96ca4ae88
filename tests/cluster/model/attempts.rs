//! What a history attempts although only controllers and the webhook may do it. `verdict` says who refuses each attempt.

use kube::api::{Api, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use kube::discovery::ApiResource;
use serde_json::json;

use crate::model::player::{Player, code_of, message_of, text};
use crate::model::verdict::{Answer, Attempt, Name};
use writgate_testing::{Governed, SYSTEM_NAMESPACE};

/// Makes what nobody approved, as if the namespace were not governed yet: the webhook does not decide what controllers write.
pub(super) fn make_strays(governed: &Governed<'_>) {
    let (labels, image) = (json!({"stray": "yes"}), "ghcr.io/mallory/evil:1");
    let metadata = json!({"name": "stray", "namespace": governed.namespace, "labels": labels});
    let set = json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": metadata,
        "spec": {"replicas": 0, "selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels},
            "spec": {"containers": [{"name": "c", "image": image}]}}}});
    let revision = json!({"apiVersion": "apps/v1", "kind": "ControllerRevision", "metadata": metadata, "revision": 1,
        "data": {"spec": {"template": {}}}});
    for (controller, object) in [("deployment", set), ("statefulset", revision)] {
        let controller = format!("--as=system:serviceaccount:kube-system:{controller}-controller");
        let admin = &governed.installation.plane.admin;
        let ran = admin.kubectl_in(&["create", &controller, "-f", "-"], &object.to_string());
        assert!(ran.ok(), "{ran}");
    }
}

impl Player<'_> {
    /// Makes an attempt, if its object exists.
    pub(super) fn attempt(&mut self) {
        let attempt = self.random.pick(&Attempt::ALL);
        let plane = &self.governed.installation.plane;
        let Some((name, refused)) = plane.block_on(self.try_to(attempt)) else { return };
        self.log.push(format!("{attempt:?} of {name} => {refused:?}"));
        let log = self.log.join("\n");
        let Err(message) = refused else { panic!("{log}\nnobody refused it") };
        self.refused.insert(attempt);
        let expected = attempt.refusal();
        if expected.iter().any(|policy| message.contains(&format!("ValidatingAdmissionPolicy '{policy}'"))) {
            return;
        }
        let code = code_of(&message);
        assert!(expected.contains(&code), "{log}\n{code}, expected {expected:?}");
        self.answers.push((name, Answer::Denied(code)));
    }

    /// Makes `attempt` as the administrator. `None`: there is no such object now.
    async fn try_to(&self, attempt: Attempt) -> Option<(String, Result<(), String>)> {
        let of = |group: &str, kind: &str| {
            let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, "v1", kind));
            Api::<DynamicObject>::namespaced_with(self.admin.clone(), &self.governed.namespace, &resource)
        };
        let sets = of("apps", "ReplicaSet");
        let (objects, name, change) = match attempt {
            Attempt::LabelStray => (sets, "stray".to_owned(), json!({"metadata": {"labels": {"app": "orders"}}})),
            Attempt::OwnStray => {
                let owner = self.objects(Name::Orders).get_opt("orders").await.expect("an answer")?.metadata.uid;
                let owner = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "orders", "uid": owner,
                    "controller": true});
                (sets, "stray".to_owned(), json!({"metadata": {"ownerReferences": [owner]}}))
            }
            Attempt::ScaleStray => (sets, "stray".to_owned(), json!({"spec": {"replicas": 1}})),
            Attempt::LabelReplicaSet => {
                let made = sets.list(&ListParams::default().labels("app")).await.expect("a list").items.pop()?;
                (sets, made.metadata.name?, json!({"metadata": {"labels": {"adopt": "me"}}}))
            }
            Attempt::LabelRevision => {
                let change = json!({"metadata": {"labels": {"app": "orders"}}});
                (of("apps", "ControllerRevision"), "stray".to_owned(), change)
            }
            Attempt::LabelPod | Attempt::UntrackPod | Attempt::DisownPod => {
                let change = match attempt {
                    Attempt::LabelPod => json!({"labels": {"batch.kubernetes.io/controller-uid": null}}),
                    Attempt::UntrackPod => json!({"finalizers": null}),
                    _ => json!({"ownerReferences": null}),
                };
                let pods = of("", "Pod");
                let name = self.pod_of_a_job(&pods).await?;
                (pods, name, json!({"metadata": change}))
            }
            Attempt::ForgeHistory => return Some(self.forge().await),
        };
        let merge = (PatchParams::default(), Patch::Merge(change));
        let did = if matches!(attempt, Attempt::ScaleStray) {
            objects.patch_scale(&name, &merge.0, &merge.1).await.map(drop)
        } else {
            objects.patch(&name, &merge.0, &merge.1).await.map(drop)
        };
        match did.map_err(message_of) {
            Err(message) if message.contains("not found") => None,
            did => Some((name, did)),
        }
    }

    /// A Pod that a running Job counts.
    async fn pod_of_a_job(&self, pods: &Api<DynamicObject>) -> Option<String> {
        let runs = |name: &&Name| self.world.objects.get(name).is_some_and(|now| name.is_replay() && !now.held);
        let job = text(*Name::ALL.iter().find(runs)?);
        let (uid, _) = self.persisted[job].last()?;
        let own = ListParams::default().labels(&format!("batch.kubernetes.io/controller-uid={uid}"));
        let counted =
            |pod: &DynamicObject| pod.metadata.deletion_timestamp.is_none() && pod.metadata.finalizers.is_some();
        pods.list(&own).await.expect("a list").items.into_iter().find(counted)?.metadata.name
    }

    /// Creates an entry of the ledger under the name that the webhook reads, or changes it.
    async fn forge(&self) -> (String, Result<(), String>) {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "ConfigMap"));
        let maps = Api::<DynamicObject>::namespaced_with(self.admin.clone(), SYSTEM_NAMESPACE, &resource);
        let about = format!("apps/v1/Deployment/{}/", self.governed.namespace);
        let is_own = |entry: &DynamicObject| {
            let annotations = entry.metadata.annotations.as_ref();
            annotations.is_some_and(|all| all.get("writgate.dev/about").is_some_and(|text| text.starts_with(&about)))
        };
        let entries = maps.list(&ListParams::default().labels("writgate.dev/kind=ledger")).await.expect("a list").items;
        let data = json!({"history.json": r#"{"version": "writgate.dev/history/v1", "admissions": []}"#});
        if let Some(name) = entries.into_iter().find(is_own).and_then(|entry| entry.metadata.name) {
            let did = maps.patch(&name, &PatchParams::default(), &Patch::Merge(json!({"data": data}))).await;
            return (name, did.map(drop).map_err(message_of));
        }
        let name = format!("history-{}", "a1".repeat(32));
        let entry = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data});
        let entry = serde_json::from_value(entry).expect("an object");
        (name, maps.create(&PostParams::default(), &entry).await.map(drop).map_err(message_of))
    }
}
