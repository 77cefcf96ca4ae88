//! Sets of documents: what is missing, doubled or broken, and which environments that affects.

use proptest::prelude::*;
use serde_json::json;

use super::*;

#[test]
fn a_missing_named_document_makes_the_posture_invalid() {
    assert_problem(&set_of(&[POSTURE, REVOCATIONS]), "reviewerSets[0]", "\"prod-reviewers\" does not exist");
    assert_problem(&set_of(&[POSTURE, REVIEWERS]), "revocationLists[0]", "\"prod-revocations\" does not exist");
    assert_posture_problem("/reviewerSets", json!(["prod-reviewers", "prod-reviewers"]), "reviewerSets[1]", "twice");
}

#[test]
fn an_environment_with_two_postures_has_none() {
    let set = set_of(&[POSTURE, REVIEWERS, REVOCATIONS, POSTURE]);
    assert_problem(&set, "environment", "\"production\" has 2 postures, expected one: 0.yaml, 3.yaml");
    let broken = POSTURE.replace("pods: deny", "pods: [");
    assert_problem(&set_of(&[POSTURE, REVIEWERS, REVOCATIONS, &broken]), "environment", "has 2 postures");
}

#[test]
fn two_sets_with_one_name_are_unusable() {
    assert_problem(&set_of(&[POSTURE, REVIEWERS, REVOCATIONS, REVIEWERS]), "reviewerSets[0]", "1.yaml");
    let broken = REVIEWERS.replace("carol@acme.example", "[");
    assert_problem(&set_of(&[POSTURE, REVIEWERS, REVOCATIONS, &broken]), "reviewerSets[0]", "is invalid");
}

#[test]
fn a_missing_set_is_reported_with_the_sets_that_have_no_name() {
    let nameless = REVIEWERS.replace("name: prod-reviewers\n", "");
    assert_problem(
        &set_of(&[POSTURE, &nameless, REVOCATIONS]),
        "reviewerSets[0]",
        "it may be an invalid document without a name: 1.yaml: line 2, column 1: name: is missing",
    );
}

#[test]
fn a_broken_document_invalidates_only_its_own_environment() {
    let staging = POSTURE.replace("environment: production", "environment: staging");
    for broken in [
        POSTURE.replace("pods: deny", "pods: ["),
        POSTURE.replace("pods: deny", "pods: maybe"),
        POSTURE.replace("pods: deny", "pods: deny\npods: deny"),
        POSTURE.replace("kind: Posture", "kind: Postrue"),
        POSTURE.replace("kind: Posture", ""),
        POSTURE.replace("writgate.dev/v1", "writgate.dev/v2"),
    ] {
        let set = set_of(&[&broken, REVIEWERS, REVOCATIONS, &staging]);
        assert!(matches!(set.environment("production"), Err(PostureError::Invalid { .. })), "{broken}");
        assert!(set.environment("staging").is_ok());
        assert!(
            matches!(set.environment("qa"), Err(PostureError::Missing { known }) if *known == ["production", "staging"])
        );
    }
}

#[test]
fn a_broken_document_without_an_environment_invalidates_environments_without_a_posture() {
    for broken in
        ["{", "just a text", "[1, 2]", "kind: Posture", "kind: Posture\nenvironment: 5", "environment: [", "a: b"]
    {
        let set = set_of(&[POSTURE, REVIEWERS, REVOCATIONS, broken]);
        assert!(set.environment("production").is_ok(), "{broken}");
        match set.environment("qa") {
            Err(PostureError::Invalid { problems }) => assert_eq!(problems[0].source, "3.yaml", "{broken}"),
            other => panic!("{broken}: {other:?}"),
        }
    }
}

#[test]
fn other_documents_are_reported_and_invalidate_nothing() {
    for other in [
        "{apiVersion: writgate.dev/v1, kind: Pipelines, name: p, pipelines: {a: {}, a: {}}}",
        "{apiVersion: apps/v1, kind: Deployment, metadata: {name: a}}",
        "apiVersion: apps/v1\nkind: Deployment\nspec: [",
        "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {a: b}}",
        "{apiVersion: v1, kind: Namespace}",
    ] {
        let set = set_of(&[POSTURE, REVIEWERS, REVOCATIONS, other]);
        assert!(set.environment("production").is_ok(), "{other}");
        assert!(matches!(set.environment("qa"), Err(PostureError::Missing { .. })), "{other}");
        assert_eq!(set.problems().len(), 1, "{other}");
    }
    for nothing in ["", "# a comment\n", "---\n---\n", "{apiVersion: v1, kind: List, items: []}"] {
        assert_eq!(set_of(&[POSTURE, REVIEWERS, REVOCATIONS, nothing]).problems(), [], "{nothing}");
    }
}

#[test]
fn a_change_of_any_document_changes_the_version() {
    let version = |set: &PostureSet| set.environment("production").unwrap().version.clone();
    let mut versions = vec![
        version(&valid()),
        version(&changed("Posture", "/pods", json!("allow"))),
        version(&changed("Reviewers", "/reviewers/0/groups", json!([]))),
        version(&changed("Revocations", "/specs", json!([]))),
    ];
    versions.sort();
    versions.dedup();
    assert_eq!(versions.len(), 4);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn assembling_never_panics(text in "\\PC{0,200}", structured in "[a-z:{}\\[\\],&*<\\-'\"# \n|>!?0-9.]{0,120}") {
        let _ = set_of(&[&text]);
        let _ = set_of(&[&structured]);
    }

    #[test]
    fn a_damaged_document_never_affects_another_environment(which in 0..3_usize, at in 0..4000_usize, new in any::<char>(), cut in any::<bool>()) {
        let mut texts = [POSTURE.to_owned(), REVIEWERS.to_owned(), REVOCATIONS.to_owned()];
        let mut damaged: Vec<char> = texts[which].chars().collect();
        let at = at % damaged.len();
        if cut { damaged.truncate(at) } else { damaged[at] = new }
        texts[which] = damaged.into_iter().collect();
        // The damaged document may be valid, so production may have a posture or not. Nothing may panic.
        let set = set_of(&texts.each_ref().map(String::as_str));
        let _ = set.environment("production");
        prop_assert!(set.environment("elsewhere").is_err());
    }
}
