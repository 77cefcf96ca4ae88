//! A set that is made from an earlier one is the set that would be made from nothing.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;

const PIPELINES: &str = "apiVersion: writgate.dev/v1\nkind: Pipelines\nname: builds\n";

/// Texts that belong together, contradict each other, or cannot be read.
fn texts() -> Vec<String> {
    let config_map = |name: &str, kind: &str, text: &str| {
        serde_json::json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": name, "namespace": "writgate-system", "labels": {"writgate.dev/kind": kind}},
            "data": {format!("{kind}.yaml"): text}})
        .to_string()
    };
    vec![
        POSTURE.to_owned(),
        POSTURE.replace("environment: production", "environment: staging"),
        POSTURE.replace("pods: deny", "pods: maybe"),
        format!("{POSTURE}\n---\n{REVIEWERS}"),
        REVIEWERS.to_owned(),
        REVIEWERS.replace("carol", "dave"),
        REVIEWERS.replace("name: prod-reviewers\n", ""),
        REVOCATIONS.to_owned(),
        REVOCATIONS.replace("laptop lost", "stolen"),
        REVOCATIONS.replace("keys:", "keys: ["),
        PIPELINES.to_owned(),
        config_map("prod-reviewers", "reviewers", &REVIEWERS.replace("name: prod-reviewers\n", "")),
        config_map("production", "posture", POSTURE),
        config_map("production", "reviewers", POSTURE),
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: payments, labels: {a: b}}\n".to_owned(),
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: payments, labels: {a: c}}\n".to_owned(),
        "kind: [".to_owned(),
    ]
}

/// Everything that a set says.
fn view(set: &PostureSet) -> String {
    let environments: Vec<_> = set.environments().collect();
    let (revoked, listed) = (&set.revoked, &set.listed);
    format!(
        "{environments:#?}\n{:#?}\n{:#?}\n{:#?}\n{revoked:#?}\n{listed:#?}\n{:#?}\n{:#?}",
        set.environment("elsewhere"),
        set.problems(),
        set.unreachable_quorums(),
        set.namespaces(),
        set.config_map("writgate-system", "production"),
    )
}

proptest! {
    #[test]
    fn a_set_does_not_depend_on_the_sets_before_it(
        steps in prop::collection::vec(prop::collection::btree_map(0..5_usize, 0..texts().len(), 0..5), 1..6)
    ) {
        let texts = texts();
        let mut set = PostureSet::assemble(Vec::new());
        for step in steps {
            let documents: Vec<_> =
                step.iter().map(|(file, text)| document(&format!("{file}.yaml"), &texts[*text])).collect();
            set = set.reassemble(documents.iter().cloned().map(Arc::new));
            prop_assert_eq!(view(&set), view(&PostureSet::assemble(documents)));
        }
    }
}

#[test]
fn a_change_builds_only_the_postures_that_name_the_changed_document() {
    let staging = POSTURE.replace("environment: production", "environment: staging");
    let staging = staging.replace("prod-reviewers", "staging-reviewers");
    let staging_reviewers = REVIEWERS.replace("name: prod-reviewers", "name: staging-reviewers");
    let before = set_of(&[POSTURE, REVIEWERS, REVOCATIONS, &staging, &staging_reviewers]);
    let changed = staging_reviewers.replace("carol", "dave");
    let documents = [POSTURE, REVIEWERS, REVOCATIONS, &staging, &changed];
    let documents = documents.iter().enumerate().map(|(index, text)| document(&format!("{index}.yaml"), text));
    let after = before.reassemble(documents.map(Arc::new));
    let of = |set: &PostureSet, environment| std::ptr::from_ref(set.environment(environment).expect("a valid posture"));
    assert_eq!(of(&after, "production"), of(&before, "production"));
    assert_ne!(of(&after, "staging"), of(&before, "staging"));
}
