//! Posture documents in a Kustomization.

use serde_json::{Value, json};

use crate::flux::{Flux, LIMIT};
use writgate_testing::{Key, document, wait_until};

/// Flux applies ConfigMaps in the order of their names, and stops at the first that is denied.
pub(crate) fn a_posture_and_a_new_reviewer_set_can_come_in_one_commit(flux: &Flux) {
    let governed = flux.installation.governed("posture");
    let repository = flux.repository(&governed.namespace);
    let next = |name: &str| -> Vec<Value> {
        let mut posture = governed.usual_posture();
        posture["reviewerSets"].as_array_mut().expect("a list").push(json!(name));
        let dana = json!({"apiVersion": "writgate.dev/v1", "kind": "Reviewers", "reviewers": [
            {"name": "dana@acme.example", "capabilities": ["deploy"], "keys": [{"publicKey": Key::new().public_pem()}]}]});
        let mut objects = governed.posture_objects(&posture);
        objects.push(document("reviewers", name, &dana));
        objects
    };
    let push = |objects: &[Value]| {
        let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
        repository.write("posture.yaml", &list.to_string());
        repository.push()
    };
    let version = || {
        let of_a_probe =
            |record: &Value| record["environment"] == *governed.environment && record["object"]["kind"] == "Deployment";
        flux.installation.webhook.records(of_a_probe).last().map(|record| record["postureVersion"].clone())
    };
    flux.kustomize(&governed.namespace, &repository, &json!({"prune": false}));

    // A name after `posture-…`: the dry run passes, and the posture is written before the set.
    let late = push(&next(&format!("the-late-set-of-{}", governed.environment)));
    let message = flux.failed(&governed.namespace, &late);
    assert!(message.contains("PostureInvalid") && !message.contains("dry-run failed"), "{message}");

    let early = push(&next(&format!("additional-{}", governed.environment)));
    flux.applied(&governed.namespace, &early);
    let before = version();
    wait_until("the new posture is in force", LIMIT, || {
        let probe = governed.deployment("probe").to_string();
        flux.installation.operator.kubectl_in(&["create", "--dry-run=server", "-f", "-"], &probe);
        (version() != before).then_some(())
    });
}
