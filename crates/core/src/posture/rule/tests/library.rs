//! The rules of `docs/capability-rules.md`, read from that page: each is true for its cases, in every kind of workload and
//! container, and false for near misses.

use serde_json::{Map, Value, json};

use super::{CapabilityRule, matching, with_input};
use crate::{approval::capability::Capability, encoding::yaml::read_yaml};

const PAGE: &str = include_str!("../../../../../../docs/capability-rules.md");
const IMAGE: &str = "ghcr.io/acme/orders@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const CONTAINERS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];

fn library() -> Vec<CapabilityRule> {
    let fences = PAGE.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
    let rules = fences.flat_map(|fence| read_yaml(fence).unwrap()).flat_map(|list| list.as_array().unwrap().clone());
    rules
        .map(|rule| {
            let text = |field: &str| rule[field].as_str().unwrap().to_owned();
            let require = rule["require"].as_array().unwrap();
            let require = require.iter().map(|name| Capability::parse(name.as_str().unwrap()).unwrap()).collect();
            CapabilityRule::compile(text("name"), text("when"), require, Some(text("message"))).unwrap()
        })
        .collect()
}

/// A Pod for which every rule is false.
fn quiet() -> Value {
    let container = json!({"name": "c", "image": IMAGE, "securityContext": {"runAsNonRoot": true},
        "resources": {"limits": {"cpu": "4", "memory": "8Gi"}}});
    json!({"serviceAccountName": "orders", "volumes": [{"name": "v", "emptyDir": {}}],
        "initContainers": [container], "containers": [container], "ephemeralContainers": [container]})
}

/// The request that changes the Pod of a workload, or creates the workload if `old` is null.
fn request(group: &str, kind: &str, resource: &str, old: &Value, pod: &Value) -> Value {
    let api_version = if group.is_empty() { "v1".to_owned() } else { format!("{group}/v1") };
    let object = |pod: &Value| {
        let template = json!({"template": {"spec": pod}});
        let spec = match kind {
            "Pod" => pod.clone(),
            "CronJob" => json!({"jobTemplate": {"spec": template}}),
            _ => template,
        };
        json!({"apiVersion": api_version, "kind": kind, "metadata": {}, "spec": spec})
    };
    let (operation, old) = if old.is_null() { ("CREATE", Value::Null) } else { ("UPDATE", object(old)) };
    json!({
        "operation": operation, "userInfo": {"username": "alice"},
        "kind": {"group": group, "version": "v1", "kind": kind},
        "resource": {"group": group, "version": "v1", "resource": resource},
        "object": object(pod), "oldObject": old})
}

/// The rules that are true if `pod` replaces `old`: the same in every kind of workload.
#[track_caller]
fn matching_rules(old: &Value, pod: &Value) -> Vec<String> {
    let rules = library();
    let of_kind = |(group, kind, resource)| {
        with_input(&request(group, kind, resource, old, pod), |input| {
            matching(&rules, input).unwrap().into_iter().map(|rule| rule.name.clone()).collect()
        })
    };
    let kinds = [
        ("apps", "Deployment", "deployments"),
        ("apps", "StatefulSet", "statefulsets"),
        ("batch", "CronJob", "cronjobs"),
        ("", "Pod", "pods"),
    ];
    let mut matching: Vec<Vec<String>> = kinds.into_iter().map(of_kind).collect();
    assert!(matching.windows(2).all(|pair| pair[0] == pair[1]), "{matching:?}");
    matching.remove(0)
}

/// Sets fields of a value, at any depth. A null removes the field.
fn with(of: &mut Value, fields: &Value) {
    for (key, value) in fields.as_object().unwrap() {
        match (of.get_mut(key), value) {
            (_, Value::Null) => drop(of.as_object_mut().unwrap().remove(key)),
            (Some(inner @ Value::Object(_)), Value::Object(_)) => with(inner, value),
            _ => of[key] = value.clone(),
        }
    }
}

#[track_caller]
fn assert_pods(rule: &str, about: &[Value], near: &[Value]) {
    for (fields, expected) in about.iter().map(|pod| (pod, vec![rule])).chain(near.iter().map(|pod| (pod, vec![]))) {
        let mut pod = quiet();
        with(&mut pod, fields);
        assert_eq!(matching_rules(&quiet(), &pod), expected, "{fields}");
    }
}

#[track_caller]
fn assert_containers(rule: &str, about: &[Value], near: &[Value]) {
    for sort in CONTAINERS {
        let in_pod = |fields: &Value| {
            let mut container = quiet()[sort][0].clone();
            with(&mut container, fields);
            Value::Object(Map::from_iter([(sort.to_owned(), json!([quiet()[sort][0], container]))]))
        };
        let [about, near] = [about, near].map(|all| all.iter().map(in_pod).collect::<Vec<_>>());
        assert_pods(rule, &about, &near);
    }
}

#[test]
fn the_page_has_exactly_the_tested_rules() {
    let names: Vec<_> = library().into_iter().map(|rule| rule.name).collect();
    assert_eq!(
        names,
        [
            "privileged",
            "host-namespaces",
            "host-paths",
            "linux-capabilities",
            "mutable-images",
            "new-service-account",
            "large",
            "root"
        ]
    );
}

#[test]
fn the_rules_have_a_result_for_a_pod_without_optional_fields() {
    assert_eq!(matching_rules(&quiet(), &quiet()), [""; 0]);
    let bare = json!({"containers": [{"name": "c"}]});
    assert_eq!(matching_rules(&quiet(), &bare), ["mutable-images", "new-service-account", "large", "root"]);
}

#[test]
fn privileged_containers() {
    assert_containers(
        "privileged",
        &[json!({"securityContext": {"privileged": true}})],
        &[
            json!({"securityContext": {"privileged": false}}),
            json!({"securityContext": {"allowPrivilegeEscalation": true}}),
            json!({"name": "privileged"}),
        ],
    );
}

#[test]
fn host_namespaces() {
    assert_pods(
        "host-namespaces",
        &[
            json!({"hostNetwork": true}),
            json!({"hostPID": true}),
            json!({"hostIPC": true}),
            json!({"securityContext": {"windowsOptions": {"hostProcess": true}}}),
        ],
        &[
            json!({"hostNetwork": false, "hostPID": false, "hostIPC": false}),
            json!({"shareProcessNamespace": true, "hostname": "h"}),
            json!({"securityContext": {"windowsOptions": {"runAsUserName": "u"}}}),
        ],
    );
    assert_containers(
        "host-namespaces",
        &[json!({"securityContext": {"windowsOptions": {"hostProcess": true}}})],
        &[json!({"securityContext": {"windowsOptions": {"hostProcess": false}}})],
    );
}

#[test]
fn host_paths() {
    assert_pods(
        "host-paths",
        &[
            json!({"volumes": [{"name": "a", "emptyDir": {}}, {"name": "b", "hostPath": {"path": "/"}}]}),
            json!({"volumes": [{"name": "b", "hostPath": {}}]}),
        ],
        &[json!({"volumes": [{"name": "hostPath", "configMap": {"name": "hostPath"}}]}), json!({"volumes": null})],
    );
}

#[test]
fn linux_capabilities() {
    let add = |names: &[&str]| json!({"securityContext": {"capabilities": {"add": names}}});
    assert_containers(
        "linux-capabilities",
        &[add(&["SYS_ADMIN"]), add(&["NET_BIND_SERVICE", "NET_RAW"]), add(&["ALL"])],
        &[add(&[]), add(&["NET_BIND_SERVICE"]), json!({"securityContext": {"capabilities": {"drop": ["ALL"]}}})],
    );
}

#[test]
fn mutable_images() {
    let digest = IMAGE.split_once('@').unwrap().1;
    assert_containers(
        "mutable-images",
        &[
            json!({"image": "ghcr.io/acme/orders:1.4.2"}),
            json!({"image": "ghcr.io/acme/orders"}),
            json!({"image": null}),
            json!({"image": format!("ghcr.io/acme/orders@{}", digest.split_at(70).0)}),
            json!({"image": format!("{IMAGE}:latest")}),
        ],
        &[json!({"image": format!("ghcr.io/acme/orders:1.4.2@{digest}")})],
    );
    assert_pods(
        "mutable-images",
        &[json!({"volumes": [{"name": "v", "image": {"reference": "data:1"}}]}), json!({"volumes": [{"image": {}}]})],
        &[json!({"volumes": [{"name": "v", "image": {"reference": IMAGE}}]})],
    );
}

#[test]
fn a_new_service_account() {
    assert_pods(
        "new-service-account",
        &[json!({"serviceAccountName": "admin"}), json!({"serviceAccountName": null})],
        &[json!({"automountServiceAccountToken": true})],
    );
    assert_eq!(matching_rules(&Value::Null, &quiet()), ["new-service-account"]);
    let mut by_default = quiet();
    by_default["serviceAccountName"] = "default".into();
    assert_eq!(matching_rules(&Value::Null, &by_default), [""; 0]);
}

#[test]
fn resources_above_a_bound() {
    let limits = |name: &str, quantity: Value| json!({"resources": {"limits": {name: quantity}}});
    assert_containers(
        "large",
        &[
            limits("cpu", "4001m".into()),
            limits("cpu", "5".into()),
            limits("cpu", Value::Null),
            limits("memory", "8193Mi".into()),
            limits("memory", "9G".into()),
            limits("memory", "1Ti".into()),
            limits("memory", Value::Null),
            json!({"resources": null}),
        ],
        &[
            limits("cpu", "4000m".into()),
            limits("cpu", "100u".into()),
            limits("memory", "8589934592".into()),
            limits("memory", "8G".into()),
            limits("example.com/gpu", "64".into()),
        ],
    );
}

#[test]
fn root() {
    assert_containers(
        "root",
        &[
            json!({"securityContext": null}),
            json!({"securityContext": {"runAsNonRoot": false}}),
            json!({"securityContext": {"runAsNonRoot": false, "runAsUser": 0}}),
            json!({"securityContext": {"runAsNonRoot": null, "runAsGroup": 1000}}),
        ],
        &[json!({"securityContext": {"runAsNonRoot": false, "runAsUser": 1000}})],
    );
    let mut container = quiet()["containers"][0].clone();
    with(&mut container, &json!({"securityContext": null}));
    let in_pod = |context: Value| json!({"containers": [container], "securityContext": context});
    assert_pods(
        "root",
        &[in_pod(json!({})), in_pod(json!({"runAsUser": 0})), in_pod(json!({"fsGroup": 1000}))],
        &[in_pod(json!({"runAsNonRoot": true})), in_pod(json!({"runAsUser": 1000}))],
    );
}
