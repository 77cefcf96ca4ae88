//! The rendered manifests and the examples in the documentation, compared with the library: flags, names, conditions and
//! postures. `tests/cluster/manifests.rs` applies the manifests to an API server.

use std::path::Path;

use serde_json::Value;
use writgate_cluster::event::{CONTROLLER, RECORD_ANNOTATION};
use writgate_core::{
    encoding::read_yaml,
    posture::{Document, PostureSet},
    request::ExemptControllers,
};

fn manifest(name: &str) -> (String, Vec<Value>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests").join(name);
    let text = std::fs::read_to_string(&path).expect("manifests/ is rendered");
    let objects = read_yaml(&text).expect("manifests/ is YAML");
    (text, objects)
}

fn object<'a>(objects: &'a [Value], kind: &str) -> &'a Value {
    objects.iter().find(|object| object["kind"] == kind).expect("manifests/writgate.yaml has one")
}

/// The chart repeats the list, so that an administrator can change it. The default must equal the library's.
#[test]
fn the_chart_lists_the_exempt_controllers_of_core() {
    let (_, objects) = manifest("writgate.yaml");
    let args = &object(&objects, "Deployment")["spec"]["template"]["spec"]["containers"][0]["args"];
    let args = args.as_array().expect("the container has arguments");
    let mut flags: Vec<_> = args.iter().filter_map(|arg| arg.as_str()?.strip_prefix("--exempt-controller=")).collect();
    flags.sort_unstable();
    let mut known: Vec<_> = ExemptControllers::default().iter().map(|controller| controller.to_string()).collect();
    known.sort_unstable();
    assert_eq!(flags, known);
}

/// A Job can be a replay whoever creates it, so Jobs are always sent.
#[test]
fn the_api_server_does_not_send_writes_of_exempt_controllers_except_jobs() {
    let (_, objects) = manifest("writgate.yaml");
    let conditions = object(&objects, "ValidatingWebhookConfiguration")["webhooks"][0]["matchConditions"]
        .as_array()
        .expect("the webhook has conditions")
        .clone();
    let expression = conditions[0]["expression"].as_str().expect("a condition has an expression");
    for controller in ExemptControllers::default().iter().map(|controller| controller.to_string()) {
        let is_left_out = expression.contains(&format!("{controller:?}"));
        assert_eq!(is_left_out, !controller.ends_with("=jobs"), "{controller} in {expression}");
    }
}

/// A policy without `from` would let everybody in, and one that selects other Pods would protect nothing.
#[test]
fn the_network_policy_covers_both_ports_of_the_webhooks_pods() {
    let (_, objects) = manifest("example/network-policy.yaml");
    let policy = &object(&objects, "NetworkPolicy")["spec"];
    let (_, objects) = manifest("writgate.yaml");
    let deployment = &object(&objects, "Deployment")["spec"];
    assert_eq!(policy["podSelector"], deployment["selector"]);
    let rules = policy["ingress"].as_array().expect("the policy has rules");
    assert!(rules.iter().all(|rule| rule["from"].as_array().is_some_and(|from| !from.is_empty())), "{rules:?}");
    let allowed: Vec<_> = rules.iter().map(|rule| &rule["ports"][0]["port"]).collect();
    let ports = deployment["template"]["spec"]["containers"][0]["ports"].as_array().expect("the container has ports");
    assert_eq!(allowed, ports.iter().map(|port| &port["name"]).collect::<Vec<_>>());
}

/// The policies must protect the names that the webhook writes.
#[test]
fn the_policies_name_events_as_the_library_does() {
    let (text, objects) = manifest("writgate.yaml");
    let policies: Vec<_> = objects.iter().filter(|object| object["kind"] == "ValidatingAdmissionPolicy").collect();
    let bindings = objects.iter().filter(|object| object["kind"] == "ValidatingAdmissionPolicyBinding");
    let bound: Vec<_> = bindings.map(|binding| &binding["spec"]["policyName"]).collect();
    assert_eq!(policies.iter().map(|policy| &policy["metadata"]["name"]).collect::<Vec<_>>(), bound, "{text}");
    let events = policies.iter().find(|policy| policy["metadata"]["name"] == "events.writgate.dev");
    let expression = events.expect("a policy for Events")["spec"]["matchConditions"][0]["expression"].to_string();
    // The policy protects every reporter whose name contains the project's domain.
    let domain = "writgate.dev";
    assert!(CONTROLLER.contains(domain), "{CONTROLLER}");
    for protected in [domain, RECORD_ANNOTATION] {
        assert!(expression.contains(&format!("\\\"{protected}\\\"")), "{protected} in {expression}");
    }
}

#[test]
fn the_example_posture_is_valid() {
    let (text, _) = manifest("example/posture.yaml");
    let set = PostureSet::assemble(vec![Document { source: "example/posture.yaml".to_owned(), name: None, text }]);
    assert_eq!(set.problems(), []);
    let posture = set.environment("example").expect("the example is for its own environment");
    assert_eq!(posture.reviewers.len(), 1);
    assert_eq!(posture.reviewers[0].keys.len(), 1);
}

#[test]
fn the_documented_posture_is_valid() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/posture.md");
    let page = std::fs::read_to_string(path).expect("docs/posture.md is there");
    let examples: Vec<_> = page.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert_eq!(examples.len(), 4, "a posture, its reviewers, its revocations and its builds");
    let text = examples.join("---\n");
    let set = PostureSet::assemble(vec![Document { source: "docs/posture.md".to_owned(), name: None, text }]);
    assert_eq!(set.problems(), []);
    let posture = set.environment("production").expect("it is for production");
    assert_eq!(posture.reviewers.len(), 1);
    assert_eq!(posture.revocations.keys.len(), 1);
    assert_eq!(posture.builds.as_deref().map(std::collections::BTreeMap::len), Some(1));
}

/// Guards fail closed, except the one without which no Namespace could be created while the webhook is down. They never see the deletion of a namespace, so it does not depend on the webhook.
#[test]
fn every_guard_has_a_webhook_entry() {
    let (_, objects) = manifest("writgate.yaml");
    let webhooks = object(&objects, "ValidatingWebhookConfiguration")["webhooks"].as_array().expect("it has webhooks");
    let guards: Vec<_> =
        webhooks.iter().filter(|webhook| webhook["clientConfig"]["service"]["path"] == "/guard").collect();
    let names: Vec<_> = guards.iter().filter_map(|guard| guard["name"].as_str()).collect();
    assert_eq!(
        names,
        [
            "documents.writgate.dev",
            "bundles.writgate.dev",
            "requests.writgate.dev",
            "namespaces.writgate.dev",
            "unlabelled-namespaces.writgate.dev",
            "metadata.writgate.dev"
        ]
    );
    for guard in guards {
        // A cluster without the webhook must be able to create namespaces, or it could not be repaired.
        let policy = if guard["name"] == "unlabelled-namespaces.writgate.dev" { "Ignore" } else { "Fail" };
        assert_eq!(guard["failurePolicy"], policy, "{guard}");
        assert!(guard["matchConditions"].as_array().is_some_and(|conditions| !conditions.is_empty()), "{guard}");
        let deletes = guard["rules"].to_string().contains("DELETE");
        assert_eq!(deletes, guard["name"] == "documents.writgate.dev", "{guard}");
    }
}
