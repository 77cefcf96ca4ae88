//! Which workloads another one controls, so that what covers the controller covers them.
//!
//! Anybody can write an owner reference. So the containers of a Pod or a Job are compared with the template of its controller. Images,
//! commands and arguments are compared, and nothing that controllers and admission plugins add. A `ReplicaSet` is not compared with its
//! Deployment: during a rollout, the earlier one differs.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use writgate_core::kube::WorkloadKind;

/// The workloads of a namespace that were seen, by uid.
#[derive(Default)]
pub struct Controllers(BTreeMap<String, Controller>);

struct Controller {
    kind: WorkloadKind,
    /// `None`: what it controls is not compared.
    template: Option<Template>,
}

impl Controllers {
    /// Notes an object of `kind`, and says whether a workload that was noted before controls it. `None` stands for a Pod. An owner
    /// does not count if it does not exist, if its controller would not create objects of this kind, or if it would create other
    /// containers.
    pub fn include(&mut self, kind: Option<WorkloadKind>, object: &Value) -> bool {
        let metadata = &object["metadata"];
        let owners = metadata["ownerReferences"].as_array();
        let owner = owners.into_iter().flatten().find(|owner| owner["controller"] == true);
        let owner = owner.and_then(|owner| self.0.get(owner["uid"].as_str()?));
        let is_controlled = owner.is_some_and(|owner| {
            creates(owner.kind, kind) && owner.template.as_ref().is_none_or(|template| template.is_of(kind, object))
        });
        if let (Some(kind), Value::String(uid)) = (kind, &metadata["uid"]) {
            self.0.insert(uid.clone(), Controller { kind, template: Template::of(kind, object) });
        }
        is_controlled
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

/// The most containers of a template that are compared, so that memory is bounded.
const MAX_CONTAINERS: usize = 64;

/// The containers that the Pods of a controller have.
struct Template {
    containers: Vec<[u8; 16]>,
    /// The label of Pods of the current revision. Pods of an earlier one are being replaced, and are not compared.
    revision: Option<(&'static str, String)>,
}

impl Template {
    fn of(kind: WorkloadKind, object: &Value) -> Option<Self> {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (pod, revision) = match kind {
            WorkloadKind::ReplicaSet | WorkloadKind::ReplicationController | WorkloadKind::Job => {
                ("/spec/template/spec", None)
            }
            WorkloadKind::CronJob => ("/spec/jobTemplate/spec/template/spec", None),
            WorkloadKind::StatefulSet => {
                ("/spec/template/spec", Some(("controller-revision-hash", text("/status/updateRevision"))))
            }
            WorkloadKind::DaemonSet => {
                let generation = text("/metadata/annotations/deprecated.daemonset.template.generation");
                ("/spec/template/spec", Some(("pod-template-generation", generation)))
            }
            _ => return None,
        };
        let containers: Vec<_> = containers(object.pointer(pod)?)
            .map(|(init, container)| digest(init, container, whole_or_digest))
            .collect();
        (1..=MAX_CONTAINERS).contains(&containers.len()).then_some(Self { containers, revision })
    }

    /// Whether `object` has all containers of the template. It may have others, because admission plugins add them.
    fn is_of(&self, kind: Option<WorkloadKind>, object: &Value) -> bool {
        if let Some((label, revision)) = &self.revision
            && object["metadata"]["labels"][label] != **revision
        {
            return true;
        }
        // The template of a CronJob may have changed since.
        let is_finished = |job: &Value| {
            let conditions = job["status"]["conditions"].as_array().into_iter().flatten();
            let mut ended = conditions.filter(|one| one["type"] == "Complete" || one["type"] == "Failed");
            ended.any(|one| one["status"] == "True")
        };
        if kind.is_some() && is_finished(object) {
            return true;
        }
        let pod = if kind.is_some() { &object["spec"]["template"]["spec"] } else { &object["spec"] };
        let found: Vec<_> = containers(pod)
            .flat_map(|(init, container)| [whole_or_digest, without_digest].map(|image| digest(init, container, image)))
            .collect();
        self.containers.iter().all(|expected| found.contains(expected))
    }
}

/// The containers of a Pod's spec, each with whether it is an init container.
fn containers(pod: &Value) -> impl Iterator<Item = (bool, &Value)> {
    let list = |field: &str| pod[field].as_array().into_iter().flatten();
    list("initContainers").map(|one| (true, one)).chain(list("containers").map(|one| (false, one)))
}

/// What of a container is compared.
fn digest(init: bool, container: &Value, image: fn(&str) -> &str) -> [u8; 16] {
    let image = image(container["image"].as_str().unwrap_or_default());
    let compared = json!([init, container["name"], image, container["command"], container["args"]]);
    let digest: [u8; 32] = Sha256::digest(compared.to_string()).into();
    digest.first_chunk().copied().unwrap_or_default()
}

/// The digest of an image, which admission plugins keep if they rewrite the reference to a mirror.
fn whole_or_digest(image: &str) -> &str {
    image.rsplit_once('@').map_or(image, |(_, digest)| digest)
}

/// The reference of an image, to which admission plugins add a digest.
fn without_digest(image: &str) -> &str {
    image.rsplit_once('@').map_or(image, |(reference, _)| reference)
}

#[cfg(test)]
mod tests {
    use WorkloadKind::{CronJob, DaemonSet, Deployment, Job, ReplicaSet, StatefulSet};

    use super::*;

    fn owned_by(uid: &str, controller: bool) -> Value {
        json!([{"uid": uid, "controller": controller}])
    }

    fn object(uid: &str, owners: &Value) -> Value {
        json!({"metadata": {"name": uid, "uid": uid, "ownerReferences": owners}})
    }

    #[test]
    fn only_an_owner_that_was_seen_and_creates_such_objects_controls_an_object() {
        let mut controllers = Controllers::default();
        let mut include = |kind, uid: &str, owners: &Value| controllers.include(kind, &object(uid, owners));
        assert!(!include(Some(Deployment), "d", &Value::Null));
        assert!(!include(Some(CronJob), "c", &Value::Null));
        assert!(include(Some(ReplicaSet), "r", &owned_by("d", true)));
        assert!(include(Some(Job), "j", &owned_by("c", true)));
        assert!(include(None, "p", &owned_by("r", true)));
        assert!(include(None, "q", &owned_by("j", true)));

        assert!(!include(Some(ReplicaSet), "s", &owned_by("gone", true)), "no such owner");
        assert!(!include(Some(ReplicaSet), "s", &owned_by("c", true)), "a CronJob");
        assert!(!include(None, "s", &owned_by("d", true)), "a Deployment");
        assert!(!include(Some(Deployment), "s", &owned_by("d", true)), "nothing creates it");
        assert!(!include(Some(ReplicaSet), "s", &owned_by("d", false)), "not its controller");
    }

    /// Whether `owner`, with a template that has an init container and a container, controls `child` after `change`.
    fn controls(owner: WorkloadKind, kind: Option<WorkloadKind>, change: impl FnOnce(&mut Value, &mut Value)) -> bool {
        let pod = json!({"initContainers": [{"name": "init", "image": "i:1"}],
            "containers": [{"name": "app", "image": "r.example/a:1@sha256:aa", "command": ["run"], "args": ["-x"]}]});
        let template = json!({"template": {"spec": pod}});
        let spec = if owner == CronJob { json!({"jobTemplate": {"spec": template}}) } else { template.clone() };
        let mut controller = object("owner", &Value::Null);
        (controller["spec"], controller["status"]) = (spec, json!({"updateRevision": "r-2"}));
        controller["metadata"]["annotations"] = json!({"deprecated.daemonset.template.generation": "2"});
        let mut child = object("child", &owned_by("owner", true));
        child["spec"] = if kind.is_some() { template } else { pod };
        child["metadata"]["labels"] = json!({"controller-revision-hash": "r-2", "pod-template-generation": "2"});
        change(&mut child, &mut controller);
        let mut controllers = Controllers::default();
        assert!(!controllers.include(Some(owner), &controller));
        controllers.include(kind, &child)
    }

    type Change = fn(&mut Value, &mut Value);

    #[test]
    fn a_pod_with_other_containers_than_the_template_is_not_controlled() {
        let forged: [(&str, Change); 6] = [
            ("image", |pod, _| pod["spec"]["containers"][0]["image"] = "r.example/a:1@sha256:bb".into()),
            ("tag in place of the digest", |pod, _| pod["spec"]["containers"][0]["image"] = "r.example/a:1".into()),
            ("command", |pod, _| pod["spec"]["containers"][0]["command"] = json!(["sh"])),
            ("arguments", |pod, _| pod["spec"]["containers"][0]["args"] = Value::Null),
            ("init container", |pod, _| pod["spec"]["initContainers"][0]["image"] = "i:2".into()),
            ("name", |pod, _| pod["spec"]["containers"][0]["name"] = "other".into()),
        ];
        let genuine: [(&str, Change); 5] = [
            ("nothing", |_, _| ()),
            ("a mirror", |pod, _| pod["spec"]["containers"][0]["image"] = "m.example/a@sha256:aa".into()),
            ("a digest", |pod, _| pod["spec"]["initContainers"][0]["image"] = "i:1@sha256:cc".into()),
            ("a container of a mesh", |pod, _| {
                pod["spec"]["containers"].as_array_mut().expect("a list").push(json!({"name": "proxy", "image": "p"}));
            }),
            ("variables", |pod, _| pod["spec"]["containers"][0]["env"] = json!([{"name": "A", "value": "b"}])),
        ];
        for owner in [ReplicaSet, WorkloadKind::ReplicationController, Job, StatefulSet, DaemonSet] {
            for (what, change) in &forged {
                assert!(!controls(owner, None, change), "{owner:?}: {what}");
            }
            for (what, change) in &genuine {
                assert!(controls(owner, None, change), "{owner:?}: {what}");
            }
        }
    }

    #[test]
    fn a_pod_of_an_earlier_revision_is_controlled() {
        let earlier: Change = |pod, _| {
            pod["spec"]["containers"][0]["image"] = "old".into();
            pod["metadata"]["labels"] = json!({"controller-revision-hash": "r-1", "pod-template-generation": "1"});
        };
        assert!(controls(StatefulSet, None, earlier) && controls(DaemonSet, None, earlier));
        assert!(!controls(ReplicaSet, None, earlier), "a ReplicaSet has one template");
    }

    #[test]
    fn a_running_job_with_other_containers_than_its_cron_job_is_not_controlled() {
        let forged: Change = |job, _| job["spec"]["template"]["spec"]["containers"][0]["image"] = "evil".into();
        assert!(controls(CronJob, Some(Job), |_, _| ()));
        assert!(!controls(CronJob, Some(Job), forged));
        let ended = |kind: &'static str| {
            controls(CronJob, Some(Job), move |job, owner| {
                forged(job, owner);
                job["status"] = json!({"conditions": [{"type": kind, "status": "True"}]});
            })
        };
        assert!(ended("Complete") && ended("Failed"), "the CronJob may have changed since");
        assert!(!ended("Suspended"));
    }

    #[test]
    fn a_template_without_a_bound_is_not_compared() {
        let many = |count: usize| {
            controls(ReplicaSet, None, move |pod, owner| {
                let containers: Vec<Value> = (0..count).map(|number| json!({"name": number.to_string()})).collect();
                owner["spec"]["template"]["spec"] = json!({"containers": containers});
                pod["spec"]["containers"] = json!([]);
            })
        };
        assert!(!many(MAX_CONTAINERS));
        assert!(many(MAX_CONTAINERS + 1) && many(0));
    }
}
