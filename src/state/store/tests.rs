//! The store without a watch and without a cluster.

use serde_json::json;
use writgate_core::vocabulary::ENVIRONMENT_LABEL;

use super::*;

fn config_map(name: &str, kind: &str, text: &str) -> ConfigMap {
    serde_json::from_value(json!({
        "metadata": {"name": name, "namespace": "writgate-system", "labels": {"writgate.dev/kind": kind}},
        "data": {format!("{kind}.yaml"): text},
    }))
    .expect("a ConfigMap")
}

fn listed(objects: &[ConfigMap]) -> Documents {
    let mut listed = Documents::default();
    for object in objects {
        listed.insert(object, &PostureSet::assemble(Vec::new()));
    }
    listed
}

fn posture(environment: &str) -> ConfigMap {
    let text = format!("apiVersion: writgate.dev/v1\nkind: Posture\nenvironment: {environment}\n");
    config_map(&format!("posture-{environment}"), "posture", &text)
}

fn namespace(name: &str, environment: Option<&str>) -> WatchedNamespace {
    let labels = environment.map(|environment| json!({ENVIRONMENT_LABEL: environment, "app": "x"}));
    let object = json!({"metadata": {"name": name, "labels": labels}});
    serde_json::from_value(object).expect("a Namespace")
}

fn code(store: &Store, environment: &str) -> &'static str {
    match store.postures().environment(environment) {
        Ok(_) => "valid",
        Err(writgate_core::posture::PostureError::Missing { .. }) => "missing",
        Err(_) => "invalid",
    }
}

#[test]
fn a_posture_is_in_force_from_its_apply_to_its_delete() {
    let postures = PostureFollower(Arc::default());
    postures.apply(posture("production"));
    postures.settle();
    assert_eq!(code(&postures.0, "production"), "valid");
    assert_eq!(code(&postures.0, "staging"), "missing");
    postures.delete(posture("production"));
    postures.settle();
    assert_eq!(code(&postures.0, "production"), "missing");
}

#[test]
fn changes_that_arrive_together_are_in_force_together() {
    let postures = PostureFollower(Arc::default());
    postures.apply(posture("production"));
    postures.apply(posture("staging"));
    assert_eq!((code(&postures.0, "production"), code(&postures.0, "staging")), ("missing", "missing"));
    postures.settle();
    assert_eq!((code(&postures.0, "production"), code(&postures.0, "staging")), ("valid", "valid"));
    let before = postures.0.postures();
    let mut annotated = posture("production");
    annotated.annotations_mut().insert("touched".to_owned(), "again".to_owned());
    postures.apply(annotated);
    postures.settle();
    assert!(Arc::ptr_eq(&before, &postures.0.postures()), "the documents are the same");
}

#[test]
fn a_new_list_replaces_the_known_postures() {
    let postures = PostureFollower(Arc::default());
    postures.reset(listed(&[posture("production"), posture("staging")]));
    postures.reset(listed(&[posture("staging")]));
    assert_eq!((code(&postures.0, "production"), code(&postures.0, "staging")), ("missing", "valid"));
}

#[test]
fn an_invalid_change_leaves_no_older_trust_in_force() {
    let postures = PostureFollower(Arc::default());
    postures.reset(listed(&[posture("production"), posture("staging")]));
    postures.apply(config_map("posture-production", "posture", "environment: production\nkind: Posture\nquorum: ["));
    postures.settle();
    assert_eq!((code(&postures.0, "production"), code(&postures.0, "staging")), ("invalid", "valid"));
}

#[test]
fn documents_that_no_posture_names_leave_room_for_those_that_a_posture_names() {
    let pipelines = |name: &str, bytes: usize| {
        config_map(name, "pipelines", &format!("kind: Pipelines\napiVersion: writgate.dev/v1\n#{}", "x".repeat(bytes)))
    };
    let postures = PostureFollower(Arc::default());
    let mut names_a_set = posture("production");
    let text = names_a_set.data.as_mut().expect("data").get_mut("posture.yaml").expect("a text");
    text.push_str("pipelineSets: [wanted]\n");
    let mut page: Vec<_> = (0..33).map(|number| pipelines(&format!("junk-{number}"), 1 << 20)).collect();
    page.extend([posture("staging"), pipelines("wanted", 1 << 20), names_a_set]);
    let list = |page: &[ConfigMap]| {
        let mut listed = Documents::default();
        postures.list(&mut listed, page.to_vec());
        postures.reset(listed);
    };
    list(&page);
    assert_eq!((code(&postures.0, "production"), code(&postures.0, "staging")), ("invalid", "valid"));
    let why = postures.0.postures().environment("production").expect_err("invalid").to_string();
    assert!(why.contains("more than 32 MiB; delete documents that no posture names"), "{why}");
    assert!(postures.wants_another_list());
    list(&page);
    assert_eq!(code(&postures.0, "staging"), "valid");
    let why = postures.0.postures().environment("production").err().map(ToString::to_string).unwrap_or_default();
    assert!(!why.contains("left out"), "{why}");
    assert!(!postures.wants_another_list());
    let left_out = postures.0.postures().documents().filter(|document| document.is_left_out()).count();
    assert!((1..=3).contains(&left_out), "{left_out} of the documents that no posture names");
}

#[test]
fn a_snapshot_does_not_change_under_a_review() {
    let postures = PostureFollower(Arc::default());
    postures.apply(posture("production"));
    postures.settle();
    let snapshot = postures.0.postures();
    postures.delete(posture("production"));
    postures.settle();
    assert!(snapshot.environment("production").is_ok());
}

#[test]
fn the_same_documents_have_one_version_in_a_cluster_and_in_a_folder() {
    let postures = PostureFollower(Arc::default());
    let object = posture("production");
    postures.apply(object.clone());
    postures.settle();
    let bare = Store::default();
    let text = object.data.expect("data")["posture.yaml"].clone();
    bare.replace(vec![Document { source: "a.yaml".into(), name: None, text }], Instant::now());
    let version = |store: &Store| store.postures().environment("production").expect("valid").version.clone();
    assert_eq!(version(&postures.0), version(&bare));
    let named = postures.0.postures();
    assert_eq!(named.environment("production").expect("valid").config_map.as_deref(), Some("posture-production"));
}

#[test]
fn namespaces_follow_their_labels() {
    let namespaces = NamespaceFollower(Arc::default());
    namespaces.reset(
        [namespace("payments", Some("production")), namespace("default", None)]
            .iter()
            .map(|object| (object.name_any(), NamespaceLabels::of(object.labels())))
            .collect(),
    );
    let environment =
        |name| namespaces.0.namespace(name).map(|labels| labels.environment.as_deref().map(str::to_owned));
    assert_eq!(environment("payments"), Some(Some("production".to_owned())));
    assert_eq!(environment("default"), Some(None));
    assert_eq!(environment("unknown"), None);
    namespaces.apply(namespace("payments", Some("staging")));
    assert_eq!(environment("payments"), Some(Some("staging".to_owned())));
    namespaces.delete(namespace("payments", None));
    assert_eq!(environment("payments"), None);
}

#[test]
fn state_is_stale_when_either_source_was_not_proved_fresh_for_a_minute() {
    let store = Store::default();
    let begun = Instant::now();
    assert!(store.staleness(begun).is_some_and(|why| why.contains("not been read yet")));
    store.prove_fresh(WatchedSource::Postures, begun);
    assert!(store.staleness(begun).is_some(), "the namespaces are still unknown");
    store.prove_fresh(WatchedSource::Namespaces, begun + Duration::from_secs(30));
    assert_eq!(store.staleness(begun + Duration::from_secs(59)), None);
    assert!(store.staleness(begun + STALE_AFTER).is_some_and(|why| why.contains("60 s")));
    store.note_failure(WatchedSource::Namespaces, "the API server refuses to show them");
    let why = store.staleness(begun + STALE_AFTER).expect("stale");
    assert!(why.contains("namespaces: the API server refuses") && !why.contains("cannot reach"), "{why}");
    store.prove_fresh(WatchedSource::Namespaces, begun + Duration::from_secs(30));
    assert!(store.staleness(begun + STALE_AFTER).is_some_and(|why| why.contains("cannot reach")));
    store.prove_fresh(WatchedSource::Postures, begun + Duration::from_secs(50));
    store.prove_fresh(WatchedSource::Postures, begun);
    assert_eq!(store.age(begun + Duration::from_secs(50)), Some(Duration::from_secs(20)));
}
