//! The six release blockers, with a Deployment and with a replay Job. A denied object does not exist, and containerd has no container
//! for it. The same object with a valid approval runs.

use std::time::Duration;

use serde_json::{Value, json};
use writgate_testing::{Key, attach, denied_for, envelope, seconds_from_now, wait_until};

use crate::cluster::{Cluster, NAMESPACE, approval, deployment, is_ready, replay_job};
use crate::node::Node;

const LIMIT: Duration = Duration::from_secs(90);
/// How long to look for containers that must not exist. An approved Pod starts within about two seconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// Attaches an approval with one wrong property.
type Wrong = fn(&Cluster, &Value) -> Value;

const BLOCKERS: [(&str, Wrong); 6] = [
    ("UnknownKey", |cluster, object| attach(object, &envelope(&cluster.statement(object), &[&Key::new()]))),
    ("InvalidSignature", |cluster, object| {
        let mut approved: Value = serde_json::from_str(approval(&cluster.approved(object))).expect("JSON");
        let other: Value = serde_json::from_str(approval(&cluster.approved(object))).expect("JSON");
        approved["payload"] = other["payload"].clone(); // its id is another
        attach(object, &approved.to_string())
    }),
    ("SpecHashMismatch", |cluster, object| {
        let mut approved = cluster.approved(object);
        approved["spec"]["template"]["spec"]["containers"][0]["env"] = json!([{"name": "DEBUG", "value": "1"}]);
        approved
    }),
    ("WrongEnvironment", |cluster, object| but(cluster, object, "environment", json!("staging"))),
    ("Expired", |cluster, object| but(cluster, object, "expiresAt", json!(seconds_from_now(-1)))),
    ("InsufficientCapabilities", |cluster, object| but(cluster, object, "capabilities", json!(["view"]))),
];

/// `object` with an approval in which one property is wrong.
fn but(cluster: &Cluster, object: &Value, property: &str, value: Value) -> Value {
    let mut statement = cluster.statement(object);
    statement["predicate"][property] = value;
    attach(object, &cluster.signed(&statement))
}

/// Tries the blockers, and then the approved objects. Passes one line about each to `say`.
pub(crate) fn prove(cluster: &Cluster, say: impl Fn(&str)) {
    let mut approved = Vec::new();
    for (code, wrong) in BLOCKERS {
        let hint = code.to_lowercase();
        for object in [deployment(&format!("{hint}-app")), replay_job(&format!("{hint}-replay"))] {
            let ran = cluster.node.admin.create(&wrong(cluster, &object));
            assert!(denied_for(&ran, code), "expected {code}: {ran}");
            approved.push(object);
        }
        say(&format!("{code}: a Deployment and a replay Job are denied"));
    }
    std::thread::sleep(PATIENCE);
    let existing = cluster.kubectl(&["get", "deployments,replicasets,jobs,pods", "-n", NAMESPACE, "-o", "name"]);
    assert_eq!(existing, "", "nothing that was denied exists");
    assert_eq!(Node::containers(NAMESPACE), [""; 0], "no container of a denied workload exists");
    say(&format!("{} s later: no object, no Pod, no container", PATIENCE.as_secs()));

    for object in &approved {
        cluster.create(&cluster.approved(object));
    }
    for object in &approved {
        let name = object["metadata"]["name"].as_str().expect("a name");
        if object["kind"] == "Job" { completes(cluster, name) } else { runs(cluster, name) }
    }
    let containers = Node::containers(NAMESPACE);
    assert!(containers.len() >= 2 * BLOCKERS.len(), "containers of the approved workloads: {containers:?}");
    say(&format!(
        "the same {} objects with valid approvals: 6 Deployments run, 6 replay Jobs completed",
        approved.len()
    ));

    changed_without_approval(cluster, &approved[0]);
    say("a changed image without a new approval is denied; the running Pod stays");
    cluster.kubectl(&["delete", "deployments,jobs", "--all", "-n", NAMESPACE, "--wait"]);
}

fn pods_of(cluster: &Cluster, name: &str) -> Vec<Value> {
    let mut pods = cluster.node.pods(NAMESPACE);
    pods.retain(|pod| pod["metadata"]["labels"]["app"] == name);
    pods
}

fn runs(cluster: &Cluster, name: &str) {
    wait_until(&format!("{name} runs"), LIMIT, || {
        let pods = pods_of(cluster, name);
        (pods.len() == 1 && is_ready(&pods[0])).then_some(())
    });
}

fn completes(cluster: &Cluster, name: &str) {
    let ran = cluster.node.admin.kubectl(&[
        "wait",
        "--for=condition=Complete",
        "-n",
        NAMESPACE,
        &format!("job/{name}"),
        "--timeout=90s",
    ]);
    assert!(ran.ok(), "{name}: {ran}\n{}", cluster.state());
    assert_eq!(cluster.kubectl(&["logs", "-n", NAMESPACE, &format!("job/{name}")]), "replayed INC-7\n");
}

fn changed_without_approval(cluster: &Cluster, deployment: &Value) {
    let name = deployment["metadata"]["name"].as_str().expect("a name");
    let uid = |pods: Vec<Value>| pods[0]["metadata"]["uid"].clone();
    let before = uid(pods_of(cluster, name));
    let target = format!("deployment/{name}");
    let ran =
        cluster.node.admin.kubectl(&["set", "image", "-n", NAMESPACE, &target, "workload=registry.example/workload:2"]);
    assert!(denied_for(&ran, "SpecHashMismatch"), "{ran}");
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(uid(pods_of(cluster, name)), before, "the Pod is the same");
    runs(cluster, name);
}
