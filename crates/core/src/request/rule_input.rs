//! What capability rules see of a request.

use serde_json::value::RawValue;

use crate::{
    kube::pod_spec::PodPath,
    posture::rule::{RuleInput, RuleObject, RuleUser},
    request::admission_review::{Object, Request},
};

impl<'a> From<&'a Request<'_>> for RuleInput<'a> {
    fn from(request: &'a Request<'_>) -> Self {
        let kind = &request.kind;
        let is_pod = kind.group.is_empty() && kind.version == "v1" && kind.kind == "Pod";
        Self {
            operation: request.operation.as_str(),
            user: RuleUser {
                username: &request.user.username,
                uid: &request.user.uid,
                groups: request.user.groups.iter().map(|group| &*group.0).collect(),
            },
            namespace: &request.namespace,
            name: &request.name,
            dry_run: request.dry_run,
            group: &kind.group,
            version: &kind.version,
            kind: &kind.kind,
            resource: &request.resource,
            sub_resource: &request.sub_resource,
            object: request.object.as_ref().map(object),
            old_object: request.old_object.as_ref().map(object),
            pod: match request.workload {
                Some(workload) => Some(workload.into()),
                None if is_pod => Some(PodPath::Itself),
                None => None,
            },
        }
    }
}

fn object<'a>(object: &'a Object<'_>) -> RuleObject<'a> {
    let metadata = &object.metadata;
    RuleObject {
        api_version: &object.api_version,
        kind: &object.kind,
        name: &metadata.name,
        generate_name: &metadata.generate_name,
        namespace: &metadata.namespace,
        labels: metadata.labels.iter().collect(),
        annotations: metadata.annotations.iter().collect(),
        spec: object.spec.map(RawValue::get),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::{approval::capability::Capability, posture::rule, posture::rule::CapabilityRule};

    use super::*;

    #[track_caller]
    fn assert_holds(review: &Value, when: &str) {
        let body = review.to_string();
        let request = Request::parse(body.as_bytes()).expect("a review");
        let require = vec![Capability::parse("deploy.x").expect("a capability")];
        let rules = [CapabilityRule::compile("r".to_owned(), when.to_owned(), require, None).expect(when)];
        let matching = rule::matching(&rules, &RuleInput::from(&request)).expect(when);
        assert_eq!(matching.len(), 1, "{when}: {body}");
    }

    fn review(group: &str, kind: &str, resource: &str, spec: &Value) -> Value {
        let api_version = if group.is_empty() { "v1".to_owned() } else { format!("{group}/v1") };
        let metadata = json!({"name": "orders", "namespace": "payments", "labels": {"team": "orders"},
            "annotations": {"acme.example/x": "y", "writgate.dev/incident": "INC-7"}});
        let object = json!({"apiVersion": api_version, "kind": kind, "metadata": metadata, "spec": spec});
        json!({
            "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
            "request": {
                "uid": "u", "operation": "CREATE", "name": "orders", "namespace": "payments", "dryRun": true,
                "kind": {"group": group, "version": "v1", "kind": kind},
                "resource": {"group": group, "version": "v1", "resource": resource},
                "userInfo": {"username": "alice", "uid": "7", "groups": ["dev", "ops"]}, "object": object
            }
        })
    }

    #[test]
    fn conditions_see_every_part_of_the_request() {
        let review = review("apps", "Deployment", "deployments", &json!({"replicas": 3, "template": {"spec": {}}}));
        for when in [
            "object.apiVersion == 'apps/v1' && object.kind == 'Deployment' && object.spec.replicas == 3",
            "object.metadata.name == 'orders' && object.metadata.namespace == 'payments'",
            "object.metadata.labels == {'team': 'orders'} && !has(object.metadata.generateName)",
            "object.metadata.annotations['writgate.dev/incident'] == 'INC-7' && oldObject == null",
            "request.operation == 'CREATE' && request.userInfo.username == 'alice' && request.userInfo.uid == '7'",
            "request.userInfo.groups == ['dev', 'ops'] && request.dryRun",
            "request.namespace == 'payments' && request.name == 'orders'",
            "request.kind == {'group': 'apps', 'version': 'v1', 'kind': 'Deployment'}",
            "request.resource == 'deployments' && request.subResource == ''",
        ] {
            assert_holds(&review, when);
        }
    }

    #[test]
    fn conditions_see_the_pod_wherever_its_kind_has_it() {
        let pod = json!({"hostNetwork": true, "containers": [{"name": "a"}]});
        let template = json!({"template": {"spec": pod}});
        for (group, kind, resource, spec) in [
            ("", "Pod", "pods", &pod),
            ("", "ReplicationController", "replicationcontrollers", &template),
            ("apps", "Deployment", "deployments", &template),
            ("apps", "ReplicaSet", "replicasets", &template),
            ("apps", "DaemonSet", "daemonsets", &template),
            ("apps", "StatefulSet", "statefulsets", &template),
            ("batch", "Job", "jobs", &template),
            ("batch", "CronJob", "cronjobs", &json!({"jobTemplate": {"spec": template}})),
        ] {
            let review = review(group, kind, resource, spec);
            assert_holds(&review, "pod.hostNetwork && size(containers) == 1 && oldPod == null");
        }
        assert_holds(&review("apps", "ControllerRevision", "controllerrevisions", &json!({})), "pod == null");
    }

    #[test]
    fn a_pod_is_a_pod_only_in_the_core_group() {
        let is_pod = |group: &str, version: &str, kind: &str| {
            let mut review = review(group, kind, "pods", &json!({}));
            review["request"]["kind"]["version"] = version.into();
            review["request"]["resource"]["version"] = version.into();
            review["request"]["object"]["apiVersion"] = format!("{group}/{version}").trim_start_matches('/').into();
            let body = review.to_string();
            let request = Request::parse(body.as_bytes()).expect("a review");
            RuleInput::from(&request).pod.is_some()
        };
        assert!(is_pod("", "v1", "Pod"));
        assert!(!is_pod("example.com", "v1", "Pod"));
        assert!(!is_pod("", "v2", "Pod"));
        assert!(!is_pod("", "v1", "Service"));
    }
}
