//! Documents in ConfigMaps and Lists, and the other objects that are read with them.

use serde_json::{Value, json};

use super::*;

fn config_map(name: &str, kind: &str, text: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"namespace": "writgate-system", "name": name, "labels": {"writgate.dev/kind": kind}},
        "data": {format!("{kind}.yaml"): text},
    })
}

fn config_maps() -> [Value; 3] {
    [
        config_map("posture-production", "posture", POSTURE),
        config_map("prod-reviewers", "reviewers", &REVIEWERS.replace("name: prod-reviewers\n", "")),
        config_map("prod-revocations", "revocations", REVOCATIONS),
    ]
}

fn set_of_values(values: &[Value]) -> PostureSet {
    let texts: Vec<String> = values.iter().map(Value::to_string).collect();
    set_of(&texts.iter().map(String::as_str).collect::<Vec<_>>())
}

#[test]
fn a_posture_has_the_same_version_in_config_maps_and_bare_files() {
    let bare = valid().environment("production").unwrap().version.clone();
    assert!(bare.starts_with("sha256:") && bare.len() == 71);
    let set = set_of_values(&config_maps());
    assert_eq!(set.problems(), []);
    assert_eq!(set.environment("production").unwrap().version, bare);
    let all = format!("{REVOCATIONS}---{POSTURE}---\n# nothing\n---{REVIEWERS}");
    assert_eq!(set_of(&[&all]).environment("production").unwrap().version, bare);
    let list = json!({"apiVersion": "v1", "kind": "List", "items": config_maps()});
    assert_eq!(set_of_values(&[list]).environment("production").unwrap().version, bare);
    // As a watch delivers them: each key's text with the name of its ConfigMap.
    let named = |name: &str, text: &str| Document { name: Some(name.to_owned()), ..document(name, text) };
    let nameless = REVIEWERS.replace("name: prod-reviewers\n", "");
    let set = PostureSet::assemble(vec![
        named("posture-production", POSTURE),
        named("prod-revocations", REVOCATIONS),
        named("prod-reviewers", &nameless),
    ]);
    assert_eq!(set.environment("production").unwrap().version, bare);
}

#[test]
fn a_problem_in_a_config_map_names_the_config_map_and_the_key() {
    let mut maps = config_maps();
    maps[0]["data"]["posture.yaml"] = json!(POSTURE.replace("pods: deny", "pods: maybe"));
    match set_of_values(&maps).environment("production") {
        Err(PostureError::Invalid { problems }) => {
            assert_eq!(problems[0].source, "configmap writgate-system/posture-production key posture.yaml");
            assert_eq!(problems[0].path, "pods");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn refuses_a_config_map_whose_label_key_and_kind_differ() {
    let disagreement = |change: &dyn Fn(&mut Value)| {
        let mut maps = config_maps();
        change(&mut maps[0]);
        assert!(
            matches!(set_of_values(&maps).environment("production"), Err(PostureError::Invalid { .. })),
            "{}",
            maps[0]
        );
    };
    disagreement(&|map| map["metadata"]["labels"]["writgate.dev/kind"] = json!("reviewers"));
    disagreement(&|map| map["metadata"]["labels"]["writgate.dev/kind"] = json!("Posture"));
    disagreement(&|map| map["metadata"]["labels"] = json!({}));
    disagreement(&|map| map["data"]["notes"] = json!("x"));
    disagreement(&|map| map["data"]["reviewers.yaml"] = json!(REVIEWERS));
    disagreement(&|map| map["binaryData"] = json!({"x": "eA=="}));
    disagreement(&|map| map["data"] = json!({"postures.yaml": POSTURE}));
    disagreement(&|map| map["data"]["posture.yaml"] = json!(format!("{POSTURE}---{POSTURE}")));
    disagreement(&|map| map["data"]["posture.yaml"] = json!(POSTURE.replace("kind: Posture", "kind: Reviewers")));
    let broken_reviewers = |change: &dyn Fn(&mut Value)| {
        let mut maps = config_maps();
        change(&mut maps[1]);
        assert_problem(&set_of_values(&maps), "reviewerSets[0]", "is invalid");
    };
    broken_reviewers(&|map| map["metadata"]["labels"]["writgate.dev/kind"] = json!("revocations"));
    broken_reviewers(&|map| map["data"]["reviewers.yaml"] = json!(""));
    broken_reviewers(&|map| map["data"]["reviewers.yaml"] = json!(REVIEWERS.replace("prod-reviewers", "others")));
    broken_reviewers(&|map| map["data"]["reviewers.yaml"] = json!("reviewers: ["));
}

#[test]
fn config_maps_are_found_by_namespace_and_name() {
    let config_map = |namespace: &str, value: &str| {
        format!(
            "{{apiVersion: v1, kind: ConfigMap, metadata: {{name: a, labels: {{writgate.dev/kind: config-bundle}}, \
             {namespace}}}, data: {{k: {value}}}}}"
        )
    };
    let (anywhere, payments) = (config_map("", "one"), config_map("namespace: payments", "two"));
    let set = set_of(&[POSTURE, REVIEWERS, REVOCATIONS, &anywhere, &payments]);
    assert_eq!(set.problems(), []);
    let value = |set: &PostureSet, namespace: &str| set.config_map(namespace, "a").unwrap().unwrap().data["k"].clone();
    assert_eq!((value(&set, "payments"), value(&set, "ledger")), ("two".to_owned(), "one".to_owned()));
    assert!(set.config_map("payments", "b").is_none());
    let twice = set_of(&[&payments, &payments]);
    assert!(twice.config_map("payments", "a").unwrap().is_err());
    assert!(set_of(&[&config_map("", "[1]")]).config_map("payments", "a").unwrap().is_err());
}

#[test]
fn namespaces_give_their_labels() {
    let labelled =
        "{apiVersion: v1, kind: Namespace, metadata: {name: payments, labels: {writgate.dev/environment: production}}}";
    let set = set_of(&[labelled, "{apiVersion: v1, kind: Namespace, metadata: {name: bare}}"]);
    assert_eq!(set.namespaces()["payments"]["writgate.dev/environment"], "production");
    assert!(set.namespaces()["bare"].is_empty());
    assert_eq!(set_of(&[labelled, labelled]).problems().len(), 1);
    let number = set_of(&[&labelled.replace("production", "5")]);
    assert_eq!((number.problems().len(), number.namespaces().len()), (1, 0));
}

#[test]
fn detached_approvals_are_found_by_namespace() {
    let approval = |name: &str, namespace: &str, label: &str| {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"approval.json": name},
            "metadata": {"name": name, "namespace": namespace, "labels": {"writgate.dev/kind": label}}})
        .to_string()
    };
    let texts =
        [approval("a", "payments", "approval"), approval("b", "ledger", "approval"), approval("c", "", "approval")];
    let set = set_of(&[&texts[0], &texts[1], &texts[2]]);
    assert_eq!(set.problems(), []);
    let names = |namespace| set.detached_approvals(namespace).map(|found| found.name).collect::<Vec<_>>();
    assert_eq!(names("payments"), ["c", "a"]);
    assert_eq!(names("elsewhere"), ["c"]);
    let other = set_of(&[&approval("a", "payments", "other")]);
    assert_eq!(other.detached_approvals("payments").count(), 0);
}
