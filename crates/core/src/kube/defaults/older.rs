//! Values that an older API server does not keep although it has the field, as found with `make hash-proof`.

use serde_json::Value;

use super::JsonObject;
use crate::kube::{pod_spec::PodPath, workload::WorkloadKind};

/// The release whose API server drops the restart policy of a container, except for `Always` of an init container. Later ones
/// keep it, and earlier ones refuse the object.
const WITHOUT_CONTAINER_RESTARTS: u32 = 34;
/// The first release that has `lifecycle.stopSignal`. It drops the field, and a `lifecycle` that has nothing else. Earlier ones
/// keep such a `lifecycle`, empty.
const STOP_SIGNAL: u32 = 33;
/// The first release that was seen to keep an empty list of rules in `podFailurePolicy`.
const EMPTY_RULES: u32 = 37;

/// Removes these values from a spec, and adds their paths.
pub(super) fn remove_values(kind: WorkloadKind, spec: &mut JsonObject, minor: u32, dropped: &mut Vec<String>) {
    let members = PodPath::from(kind).members();
    let mut steps = members.iter();
    let mut pod = steps.next().and_then(|first| spec.get_mut(*first));
    for member in steps {
        pod = pod.and_then(|at| at.get_mut(*member));
    }
    if let Some(pod) = pod {
        let path = format!("spec.{}", members.join("."));
        if minor == WITHOUT_CONTAINER_RESTARTS {
            remove_restarts(pod, &path, "containers", |_| true, dropped);
            remove_restarts(pod, &path, "initContainers", |policy| policy != "Always", dropped);
        }
        if minor < STOP_SIGNAL {
            remove_stop_signals(pod, &path, "containers", dropped);
            remove_stop_signals(pod, &path, "initContainers", dropped);
        }
    }
    if minor < EMPTY_RULES {
        let (job, path) = match kind {
            WorkloadKind::CronJob => {
                (spec.get_mut("jobTemplate").and_then(|job| job.get_mut("spec")), "spec.jobTemplate.spec")
            }
            WorkloadKind::Job => (None, "spec"),
            _ => return,
        };
        let policy = match job {
            Some(job) => job.get_mut("podFailurePolicy"),
            None => spec.get_mut("podFailurePolicy"),
        };
        if let Some(rules) = policy.and_then(|policy| policy.get_mut("rules"))
            && rules.as_array().is_some_and(Vec::is_empty)
        {
            *rules = Value::Null;
            dropped.push(format!("{path}.podFailurePolicy.rules"));
        }
    }
}

fn containers<'a>(pod: &'a mut Value, list: &str) -> impl Iterator<Item = (usize, &'a mut JsonObject)> {
    let items = pod.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten();
    items.enumerate().filter_map(|(index, item)| Some((index, item.as_object_mut()?)))
}

fn remove_stop_signals(pod: &mut Value, path: &str, list: &str, dropped: &mut Vec<String>) {
    for (index, container) in containers(pod, list) {
        let lifecycle = container.get_mut("lifecycle").and_then(Value::as_object_mut);
        if lifecycle.and_then(|lifecycle| lifecycle.remove("stopSignal")).is_some_and(|signal| !signal.is_null()) {
            dropped.push(format!("{path}.{list}[{index}].lifecycle.stopSignal"));
        }
    }
}

fn remove_restarts(
    pod: &mut Value,
    path: &str,
    list: &str,
    is_dropped: impl Fn(&Value) -> bool,
    dropped: &mut Vec<String>,
) {
    for (index, container) in containers(pod, list) {
        let found = container.get("restartPolicy").filter(|policy| !policy.is_null());
        if found.is_some_and(&is_dropped) {
            container.remove("restartPolicy");
            dropped.push(format!("{path}.{list}[{index}].restartPolicy"));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kube::defaults::remove_dropped_fields;

    #[test]
    fn removes_the_values_that_an_older_api_server_does_not_keep() {
        let container = |policy: &str| json!({"name": "c", "image": "i", "restartPolicy": policy});
        let deployment = json!({"spec": {"template": {"spec": {"containers": [container("Never")],
            "initContainers": [container("Always"), container("OnFailure")]}}}});
        let dropped_by = |kind, object: &Value, minor| remove_dropped_fields(kind, &mut object.clone(), minor);
        let both =
            ["spec.template.spec.containers[0].restartPolicy", "spec.template.spec.initContainers[1].restartPolicy"];
        assert_eq!(dropped_by(WorkloadKind::Deployment, &deployment, 34), both);
        assert_eq!(dropped_by(WorkloadKind::Deployment, &deployment, 35), [""; 0]);
        assert_eq!(dropped_by(WorkloadKind::Deployment, &deployment, 33), [""; 0], "it refuses the object");
        let job = |rules: Value| json!({"podFailurePolicy": {"rules": rules}});
        let cron_job = json!({"spec": {"jobTemplate": {"spec": job(json!([]))}}});
        let job = |rules| json!({"spec": job(rules)});
        assert_eq!(dropped_by(WorkloadKind::Job, &job(json!([])), 36), ["spec.podFailurePolicy.rules"]);
        assert_eq!(dropped_by(WorkloadKind::CronJob, &cron_job, 36), ["spec.jobTemplate.spec.podFailurePolicy.rules"]);
        assert_eq!(dropped_by(WorkloadKind::Job, &job(json!([])), 37), [""; 0]);
        assert_eq!(dropped_by(WorkloadKind::Job, &job(json!([{"action": "Ignore"}])), 36), [""; 0]);
    }
    #[test]
    fn a_lifecycle_with_only_a_stop_signal_stays_empty_before_it_was_known() {
        let container = json!({"name": "c", "image": "i", "lifecycle": {"stopSignal": "SIGTERM"}});
        let object = json!({"spec": {"template": {"spec": {"containers": [container]}}}});
        let left = |minor| {
            let mut object = object.clone();
            let dropped = remove_dropped_fields(WorkloadKind::Deployment, &mut object, minor);
            (dropped, object.pointer("/spec/template/spec/containers/0/lifecycle").cloned())
        };
        let dropped = vec!["spec.template.spec.containers[0].lifecycle.stopSignal".to_owned()];
        assert_eq!(left(32), (dropped, Some(json!({}))));
        assert_eq!(left(33), (vec![], Some(json!({"stopSignal": "SIGTERM"}))), "as the present release does");
    }
}
