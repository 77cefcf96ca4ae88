use std::collections::BTreeSet;

use serde_json::json;

use super::*;
use crate::kube::defaults;

fn add_paths(nodes: &[Node], path: &[&'static str], paths: &mut Vec<Vec<&'static str>>) {
    for node in nodes {
        let path = [path, &[node.name]].concat();
        add_paths(node.below, &path, paths);
        paths.push(path);
    }
}

#[test]
fn every_field_of_every_workload_is_classified_once() {
    let mut wrong = BTreeSet::new();
    for kind in WorkloadKind::ALL {
        let mut rows = Vec::new();
        add_paths(table::of(kind).expect("it is a kind of Kubernetes"), &[], &mut rows);
        let fields = defaults::field_paths(kind);
        assert!(fields.len() > 1000, "{kind:?} has {} fields", fields.len());
        let (known, fields): (BTreeSet<_>, BTreeSet<_>) =
            (rows.iter().cloned().collect(), fields.into_iter().collect());
        wrong.extend(fields.difference(&known).map(|path| format!("no row: {} {}", kind.kind(), path.join("."))));
        wrong.extend(known.difference(&fields).map(|path| format!("no field: {} {}", kind.kind(), path.join("."))));
        if rows.len() != known.len() {
            wrong.insert(format!("{} has two rows for a field", kind.kind()));
        }
    }
    let wrong: Vec<String> = wrong.into_iter().collect();
    assert!(wrong.is_empty(), "classify these fields in field_class/table.rs:\n{}", wrong.join("\n"));
}

#[test]
fn a_class_is_found_by_path() {
    let class = |path: &str| field_class(WorkloadKind::Deployment, &path.split('.').collect::<Vec<_>>());
    let pod = |path: &str| class(&format!("spec.template.spec.{path}"));
    assert_eq!(pod("containers.image"), Some(FieldClass::Notable));
    assert_eq!(pod("containers.securityContext.privileged"), Some(FieldClass::Severe));
    assert_eq!(pod("containers.env.value"), Some(FieldClass::Runs));
    assert_eq!(pod("volumes.csi.volumeAttributes.share"), Some(FieldClass::Notable));
    let limit = |key| {
        field_class(WorkloadKind::Deployment, &["spec", "template", "spec", "containers", "resources", "limits", key])
    };
    assert_eq!(limit("example.com/gpu"), Some(FieldClass::Notable));
    assert!(matches!(limit("cpu"), Some(FieldClass::Harmless(_))));
    assert!(matches!(class("spec.replicas"), Some(FieldClass::Harmless(HOW_MANY)) if !HOW_MANY.is_empty()));
    assert_eq!(pod("containers.securityContext.privilegedly"), None);
    assert_eq!(class("metadata.name"), None);
}

const HOW_MANY: &str = "how many Pods run the same spec";

#[test]
fn the_class_of_a_further_kind_is_that_of_its_pod() {
    let kind: WorkloadKind = "argoproj.io/v1alpha1/Rollout=rollouts:spec.template".parse().unwrap();
    let class = |path: &str| field_class(kind, &path.split('.').collect::<Vec<_>>());
    assert_eq!(class("spec.template.spec.hostPID"), Some(FieldClass::Severe));
    assert_eq!(class("spec.template.hostPID"), None);
    assert_eq!(class("spec.strategy"), None);
}

fn found(kind: WorkloadKind, live: Option<&Value>, new: &Value) -> Vec<(&'static str, String)> {
    let path = |one: UnusualField<'_>| {
        let step = |step: &FieldStep| match &step.item {
            Some(item) => format!("{}[{item}]", step.field),
            None => step.field.to_owned(),
        };
        (one.remark.code, one.path.iter().map(step).collect::<Vec<_>>().join("."))
    };
    unusual_fields(kind, live, new).into_iter().map(path).collect()
}

fn deployment(pod: &Value) -> Value {
    json!({"spec": {"template": {"metadata": {"annotations": {"vault.hashicorp.com/role": "r"}}, "spec": pod}}})
}

#[test]
fn a_path_begins_at_the_pod_and_names_items() {
    let new = deployment(&json!({
        "hostPID": true,
        "containers": [{"name": "a", "securityContext": {"privileged": true}, "env": [{"name": "LD_PRELOAD"}]}],
    }));
    let expected = [
        ("injector", "annotations[vault.hashicorp.com/role]"),
        ("latest", ""),
        ("loads-code", "containers[a].env[LD_PRELOAD]"),
        ("privileged", "containers[a].securityContext.privileged"),
        ("host-access", "hostPID"),
    ];
    let expected: Vec<_> = expected.into_iter().filter(|(code, _)| *code != "latest").collect();
    let all = found(WorkloadKind::Deployment, None, &new);
    assert_eq!(all, expected.iter().map(|(code, path)| (*code, (*path).to_owned())).collect::<Vec<_>>());
    let further: WorkloadKind = "argoproj.io/v1alpha1/Rollout=rollouts:spec.template".parse().unwrap();
    assert_eq!(found(further, None, &new), all);
}

#[test]
fn what_runs_unchanged_is_remarked_only_if_it_is_always_unusual() {
    let object = deployment(&json!({
        "hostPID": true,
        "containers": [{"name": "a", "envFrom": [{"secretRef": {"name": "s"}}], "command": ["x"]}],
    }));
    let again = found(WorkloadKind::Deployment, Some(&object), &object);
    assert_eq!(again, [("host-access", "hostPID".to_owned())]);
}

#[test]
fn protection_that_is_lost_is_remarked() {
    let pod = |context: &Value| deployment(&json!({"containers": [{"name": "a", "securityContext": context}]}));
    let strict = json!({"capabilities": {"drop": ["ALL"]}, "allowPrivilegeEscalation": false, "runAsNonRoot": true,
        "readOnlyRootFilesystem": true, "seccompProfile": {"type": "RuntimeDefault"}});
    assert_eq!(found(WorkloadKind::Deployment, Some(&pod(&strict)), &pod(&strict)), []);
    let lost = found(WorkloadKind::Deployment, Some(&pod(&strict)), &pod(&json!({})));
    assert_eq!(lost.iter().filter(|(code, _)| *code == "weakened").count(), 5, "{lost:?}");
}

fn codes(live: Option<&Value>, pod: &Value) -> Vec<&'static str> {
    let live = live.map(deployment);
    let codes = found(WorkloadKind::Deployment, live.as_ref(), &deployment(pod)).into_iter().map(|(code, _)| code);
    codes.filter(|code| *code != "injector").collect()
}

#[test]
fn a_mount_is_remarked_over_system_paths_and_over_the_folders_of_programs_and_accounts() {
    let mounted = |path: &str| {
        codes(None, &json!({"containers": [{"name": "a", "volumeMounts": [{"name": "v", "mountPath": path}]}]}))
    };
    for path in ["/", "/etc", "/usr/", "/usr/local", "/usr/bin", "/lib/x", "/srv/..//etc/ssl/", "/var/run/secrets/x"] {
        assert_eq!(mounted(path), ["mount-over"], "{path}");
    }
    for path in ["/var", "/run", "/var/run", "/usr/share/nginx/html", "/usr/binary", "/etc/app", "/opt", "/tmp"] {
        assert_eq!(mounted(path), [""; 0], "{path}");
    }
}

#[test]
fn another_choice_of_nodes_is_remarked_of_a_workload_that_runs() {
    let pod = |key: &str, operator: &str| {
        json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
            {"nodeSelectorTerms": [{"matchExpressions": [{"key": key, "operator": operator}]}]}}}})
    };
    let (plain, none) = (pod("zone", "Exists"), json!({}));
    assert_eq!(codes(None, &plain), [""; 0], "a new workload has no earlier choice");
    assert_eq!(codes(Some(&plain), &plain), [""; 0]);
    for (live, new) in [(&none, &plain), (&plain, &none), (&plain, &pod("disk", "Exists"))] {
        assert_eq!(codes(Some(live), new), ["node-affinity"], "{live} {new}");
    }
    assert_eq!(codes(Some(&none), &json!({"nodeSelector": {"zone": "a"}})), ["node-affinity"]);
    let control_plane = "node-role.kubernetes.io/control-plane";
    assert_eq!(codes(None, &pod(control_plane, "Exists")), ["control-plane"]);
    assert_eq!(codes(None, &pod(control_plane, "DoesNotExist")), [""; 0]);
    let class = |field: &str| {
        let path = ["affinity", "nodeAffinity", "preferredDuringSchedulingIgnoredDuringExecution", "preference", field];
        field_class(WorkloadKind::Deployment, &[&["spec", "template", "spec"][..], &path[..]].concat())
    };
    assert_eq!(class("matchExpressions"), Some(FieldClass::Notable));
}

#[test]
fn another_group_of_files_is_remarked() {
    let pod = |context: &Value| json!({"securityContext": context});
    let (thousand, root) = (pod(&json!({"fsGroup": 1000})), pod(&json!({"fsGroup": 0})));
    assert_eq!(codes(None, &thousand), [""; 0]);
    assert_eq!(codes(None, &root), ["root"]);
    assert_eq!(codes(Some(&thousand), &pod(&json!({"fsGroup": 1001}))), ["file-group"]);
    assert_eq!(codes(Some(&thousand), &root), ["root", "file-group"]);
    assert_eq!(codes(Some(&pod(&json!({}))), &pod(&json!({"supplementalGroups": [6]}))), ["file-group"]);
}

#[test]
fn many_thousand_items_are_compared_in_linear_time() {
    let variables: Vec<Value> = (0..20_000).map(|i| json!({"name": format!("V{i}"), "value": "x"})).collect();
    let object = deployment(&json!({"containers": [{"name": "a", "env": variables}]}));
    assert_eq!(found(WorkloadKind::Deployment, Some(&object), &object), []);
}
