//! Capability rules: the capabilities that a reviewer must grant depend on the spec, and denials and records say why.

use serde_json::{Value, json};

use crate::e2e::trail;
use writgate_testing::harness::{Test, tests};
use writgate_testing::{Governed, Installation, Key, attach, denial, denied_for, envelope};

pub(crate) fn tests() -> Vec<Test<Installation>> {
    tests![a_privileged_container_requires_a_reviewer_who_may_grant_it, denies_when_a_capability_rule_fails]
}

const PRIVILEGED: &str = "containers.exists(c, has(c.securityContext) && has(c.securityContext.privileged) \
     && c.securityContext.privileged)";

fn ruled<'g>(installation: &'g Installation, hint: &str, when: &str) -> Governed<'g> {
    installation.governed_with(hint, |posture| {
        posture["capabilityRules"] = json!([{"name": "privileged", "when": when,
            "require": ["deploy.privileged"], "message": "runs privileged"}]);
    })
}

/// `object`, approved with these capabilities by the owner of `key`.
fn granted(governed: &Governed<'_>, object: &Value, capabilities: &[&str], key: &Key) -> Value {
    let mut statement = governed.statement(object);
    statement["predicate"]["capabilities"] = json!(capabilities);
    attach(object, &envelope(&statement, &[key]))
}

fn a_privileged_container_requires_a_reviewer_who_may_grant_it(installation: &Installation) {
    let governed = ruled(installation, "rules", PRIVILEGED);
    let plain = governed.deployment("plain");
    let ran = installation.operator.apply(&governed.approved(&plain));
    assert!(ran.ok(), "a spec that the rule does not match: {ran}");

    let mut object = governed.deployment("orders");
    // The privileged container is an init container, which a rule must not miss.
    object["spec"]["template"]["spec"]["initContainers"] =
        json!([{"name": "setup", "image": "ghcr.io/acme/setup:1", "securityContext": {"privileged": true}}]);
    let ran = installation.operator.apply(&object);
    assert!(denied_for(&ran, "ApprovalRequired"), "{ran}");
    let message = denial(&ran).expect("a denial");
    assert!(message.contains("runs privileged") && message.contains("kubectl writgate request"), "{message}");

    let ran = installation.operator.apply(&granted(&governed, &object, &["deploy"], &governed.bob));
    assert!(denied_for(&ran, "InsufficientCapabilities"), "the approval lacks the capability: {ran}");
    let both = ["deploy", "deploy.privileged"];
    let ran = installation.operator.apply(&granted(&governed, &object, &both, &governed.carol));
    assert!(denied_for(&ran, "InsufficientCapabilities"), "carol may not grant it: {ran}");
    assert!(denial(&ran).expect("denied").contains("runs privileged"), "{ran}");
    let ran = installation.operator.apply(&granted(&governed, &object, &both, &governed.bob));
    assert!(ran.ok(), "{ran}");

    let orders = |record: &Value| record["object"]["name"] == "orders" && record["decision"] == "admitted";
    let records = trail::records(&governed, orders);
    let [record] = &*records else { panic!("expected one record: {records:?}") };
    assert_eq!(record["requiredCapabilities"], json!(both), "{record}");
    assert_eq!(record["capabilityRules"][0]["message"], "runs privileged", "{record}");
    let event = trail::event_of(&governed, record);
    assert_eq!(event["reason"], "Admitted", "{event}");
}

fn denies_when_a_capability_rule_fails(installation: &Installation) {
    let governed =
        ruled(installation, "rules-fail", "object.metadata.name == 'orders' && object.metadata.labels['team'] == 'x'");
    let object = governed.deployment("orders");
    let ran = installation.operator.apply(&governed.approved(&object));
    assert!(denied_for(&ran, "PostureInvalid"), "{ran}");
    assert!(denial(&ran).expect("denied").contains("capability rule privileged"), "{ran}");
}
