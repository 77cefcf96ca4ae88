use proptest::prelude::*;
use serde_json::json;

use super::*;

fn deployment(pod: &Value) -> Value {
    json!({"spec": {"replicas": 1, "template": {"spec": pod}}})
}

fn changes(old: Option<&Value>, new: &Value) -> Vec<FieldChange> {
    of(WorkloadKind::Deployment, old, new, new)
}

fn paths(old: Option<&Value>, new: &Value) -> Vec<String> {
    let short = |change: FieldChange| change.path.replace("spec.template.spec.", "");
    changes(old, new).into_iter().map(short).collect()
}

fn pod_paths(old: &Value, new: &Value) -> Vec<String> {
    paths(Some(&deployment(old)), &deployment(new))
}

#[test]
fn images_come_first_then_commands_then_privileges_then_the_rest() {
    let old = json!({"containers": [{"name": "a", "args": ["x"], "image": "a:1"}]});
    let new = json!({"containers": [
        {"name": "a", "args": ["y"], "image": "a:2", "securityContext": {"privileged": true}}]});
    let expected = ["containers[a].image", "containers[a].args", "containers[a].securityContext.privileged"];
    assert_eq!(pod_paths(&old, &new), expected);
}

#[test]
fn a_field_that_kubernetes_does_not_have_is_no_privilege() {
    let concerns = |pod: &Value| -> Vec<Concern> {
        changes(None, &deployment(pod)).into_iter().map(|change| change.concern).collect()
    };
    let container = |field: &str| json!({"containers": [{"securityContext": {field: true}}]});
    assert_eq!(concerns(&container("runAsNonRoot")), [Concern::Privileges, Concern::Rest]);
    assert_eq!(concerns(&container("runAsNonroot")), [Concern::Unknown, Concern::Rest]);
}

#[test]
fn matches_items_of_named_lists_by_name_whatever_their_position() {
    let port = |port: u16, protocol: &str| json!({"containerPort": port, "protocol": protocol});
    let old = json!({"containers": [
        {"name": "a", "env": [{"name": "X", "value": "1"}], "ports": [port(53, "TCP"), port(53, "UDP")]}]});
    let new = json!({"containers": [
        {"name": "new", "image": "n"},
        {"name": "a", "env": [{"name": "X", "value": "2"}], "ports": [port(53, "UDP")]}]});
    let found = pod_paths(&old, &new);
    for path in ["containers[new].image", "containers[a].env[X].value", "containers[a].ports[53/TCP]"] {
        assert!(found.contains(&path.to_owned()), "{path}: {found:?}");
    }
    assert!(found.iter().all(|path| !path.starts_with("containers[a].ports[53/UDP]")), "{found:?}");
}

#[test]
fn a_new_order_is_a_change() {
    let old = json!({"initContainers": [{"name": "a"}, {"name": "b"}]});
    let new = json!({"initContainers": [{"name": "b"}, {"name": "a"}]});
    assert_eq!(pod_paths(&old, &new), ["initContainers (order)"]);
}

#[test]
fn marks_what_the_approval_does_not_bind() {
    let (old, mut new) = (deployment(&json!({"hostPID": false})), deployment(&json!({"hostPID": true})));
    new["spec"]["replicas"] = json!(5);
    let bound: Vec<(String, bool)> =
        changes(Some(&old), &new).into_iter().map(|change| (change.path, change.bound)).collect();
    let expected = [("spec.template.spec.hostPID".to_owned(), true), ("spec.replicas".to_owned(), false)];
    assert_eq!(bound, expected);
}

#[test]
fn an_omitted_field_that_is_not_bound_is_not_a_change() {
    let (mut old, new) = (deployment(&json!({})), deployment(&json!({})));
    old["spec"]["progressDeadlineSeconds"] = json!(600);
    assert_eq!(paths(Some(&old), &new), [""; 0]);
    assert_eq!(paths(Some(&new), &old), ["spec.progressDeadlineSeconds"]);
}

#[test]
fn reports_metadata_that_no_approval_binds_as_not_bound() {
    let old = json!({"metadata": {"annotations": {"writgate.dev/pipeline-version": "a@1", "other": "1"}}, "spec": {}});
    let new = json!({"metadata": {"annotations": {"writgate.dev/pipeline-version": "a@2", "other": "2"}}, "spec": {}});
    let found: Vec<(String, bool)> =
        changes(Some(&old), &new).into_iter().map(|change| (change.path, change.bound)).collect();
    let expected = [
        ("metadata.annotations.other".to_owned(), false),
        ("metadata.annotations[writgate.dev/pipeline-version]".to_owned(), true),
    ];
    assert_eq!(found, expected);
}

/// Values as specs have them: small, with lists whose items have names.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (0..3_i64).prop_map(Value::from),
        "[a-c]{0,2}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let name = prop_oneof![
            Just("containers"),
            Just("env"),
            Just("ports"),
            Just("name"),
            Just("containerPort"),
            Just("x.y/z"),
        ];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(name.prop_map(str::to_owned), inner, 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_change_of_a_spec_shows(old in value(), new in value()) {
        let object = |spec: &Value| json!({"spec": spec});
        let changes = super::tests::changes(Some(&object(&old)), &object(&new));
        prop_assert_eq!(changes.is_empty(), old == new);
    }

    #[test]
    fn one_item_renamed_moved_or_doubled_shows(names in prop::collection::vec("[ab]", 1..4), at in any::<prop::sample::Index>()) {
        let list = |names: &[String]| deployment(&json!({"initContainers":
            names.iter().map(|name| json!({"name": name})).collect::<Vec<_>>()}));
        let mut doubled = names.clone();
        doubled.insert(at.index(names.len()), "a".to_owned());
        prop_assert!(!changes(Some(&list(&names)), &list(&doubled)).is_empty());
        let mut turned = names.clone();
        turned.reverse();
        prop_assert_eq!(
            changes(Some(&list(&names)), &list(&turned)).is_empty(),
            turned == names
        );
    }
}
