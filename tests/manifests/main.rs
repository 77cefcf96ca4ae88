//! The webhook configuration in `manifests/`, on a real API server and with nobody at the webhook's address: what is sent
//! to it fails, and what is not goes through. So this shows both what the gate sees, and that the cluster heals itself
//! while the gate is down. What the webhook answers is e2e's.

mod children;

#[path = "../support/mod.rs"]
mod support;

use std::path::Path;
use std::time::Duration;

use serde_json::{Deserializer, Value, json};
use support::{Plane, Ran, User, harness, wait_until};

/// Nothing listens on port 1, and connecting to it fails at once.
const NOBODY: &str = "https://127.0.0.1:1/validate";
/// Controllers answer within a second or two; the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(60);
/// The controllers that write to a namespace, by what the API server calls them.
const CONTROLLERS: &str = "system:serviceaccount:kube-system:";

fn main() -> std::process::ExitCode {
    harness::run(
        Unreachable::start,
        harness::tests![
            sends_every_change_that_an_approval_is_about,
            sends_nothing_that_is_no_action,
            sends_every_way_into_a_pod,
            sends_nothing_from_namespaces_that_are_not_governed,
            a_lost_pod_comes_back,
            a_deployment_can_be_deleted_without_what_it_owns,
            what_is_owned_goes_with_its_owner,
            a_governed_namespace_comes_to_its_end,
            children::what_controllers_make_causes_no_call,
        ],
    )
}

/// A control plane whose webhook is down.
struct Unreachable {
    plane: Plane,
    /// Governed, with one object of each kind that was there before the webhook went down.
    namespace: String,
}

impl Unreachable {
    fn start() -> Self {
        let plane = Plane::start();
        let namespace = governed_namespace(&plane, "changes");
        let ran = plane.admin.kubectl_in(&["create", "-n", &namespace, "-f", "-"], OBJECTS);
        assert!(ran.ok(), "{ran}");
        // Not their own rights: whether they may is RBAC's, whether it is sent does not depend on it.
        let ran = plane.admin.kubectl(&[
            "create",
            "clusterrolebinding",
            "everyone",
            "--clusterrole=cluster-admin",
            "--group=system:authenticated",
        ]);
        assert!(ran.ok(), "{ran}");
        let unreachable = Self { plane, namespace };
        for namespace in ["lost-pod", "orphans", "owners", "ending"] {
            unreachable.deploy(&governed_namespace(&unreachable.plane, namespace));
        }
        unreachable.fill(&unreachable.namespace_like("ending"));
        unreachable.install();
        unreachable
    }

    /// Applies every entry of every configuration as it is rendered, but for the address, and the policies, and waits until
    /// they are in force.
    fn install(&self) {
        let admin = &self.plane.admin;
        for object in rendered(&self.plane) {
            let ran = admin.apply(&object);
            assert!(ran.ok(), "{ran}");
        }
        wait_until("the webhook configuration is in force", PATIENCE, || {
            self.is_sent(admin, "create deployment probe --image=i").then_some(())
        });
    }

    /// Events of the webhook, and of each kind an object that somebody has to delete.
    fn fill(&self, namespace: &str) {
        let event = json!({"apiVersion": "events.k8s.io/v1", "kind": "Event",
            "metadata": {"name": "web.1", "namespace": namespace},
            "regarding": {"apiVersion": "apps/v1", "kind": "Deployment", "namespace": namespace, "name": "web"},
            "eventTime": "2026-11-22T11:00:00.000000Z", "reason": "Admitted", "type": "Normal", "note": "admitted",
            "action": "deploy", "reportingController": "writgate.dev/webhook", "reportingInstance": "x"});
        for objects in [OBJECTS, &event.to_string()] {
            let ran = self.plane.admin.kubectl_in(&["create", "-n", namespace, "-f", "-"], objects);
            assert!(ran.ok(), "{ran}");
        }
    }

    /// A Deployment with one Pod, made before the webhook went down.
    fn deploy(&self, namespace: &str) {
        let admin = &self.plane.admin;
        let ran = admin.kubectl(&["create", "deployment", "web", "--image=i", "-n", namespace]);
        assert!(ran.ok(), "{ran}");
        wait_until("the Deployment has its Pod", PATIENCE, || self.pods(namespace).first().cloned());
    }

    fn namespace_like(&self, hint: &str) -> String {
        let list = self.plane.admin.get(&["namespaces"]).expect("a list");
        names(&list).into_iter().find(|name| name.starts_with(hint)).expect("made at the start")
    }

    fn pods(&self, namespace: &str) -> Vec<String> {
        names(&self.plane.admin.get(&["pods", "-n", namespace]).expect("a list"))
    }

    fn user(&self, name: &str) -> User {
        match name {
            "admin" => self.plane.admin.clone(),
            controller => self.plane.user(&format!("{CONTROLLERS}{controller}")),
        }
    }

    /// Whether the API server sends what this command asks for. Nothing is changed.
    fn is_sent(&self, user: &User, command: &str) -> bool {
        let words = command.split(' ').chain(["-n", &self.namespace, "--dry-run=server"]);
        let ran = user.kubectl(&words.collect::<Vec<_>>());
        is_sent(&ran).unwrap_or_else(|| panic!("{}: kubectl {command}: {ran}", user.name))
    }
}

/// What is rendered of admission: the policies, and the configurations with nobody at their address.
fn rendered(plane: &Plane) -> Vec<Value> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests/writgate.yaml");
    let file = file.to_str().expect("a UTF-8 path");
    let ran = plane.admin.kubectl(&["create", "--dry-run=client", "-o", "json", "-f", file]);
    assert!(ran.ok(), "{ran}");
    let objects = Deserializer::from_str(&ran.stdout).into_iter::<Value>();
    let mut objects: Vec<_> = objects.map(|object| object.expect("kubectl prints JSON")).collect();
    objects.retain(|object| object["apiVersion"] == "admissionregistration.k8s.io/v1");
    let configurations = objects.iter_mut().filter(|object| object["kind"] == "ValidatingWebhookConfiguration");
    for webhook in configurations.filter_map(|object| object["webhooks"].as_array_mut()).flatten() {
        webhook["clientConfig"] = json!({"url": NOBODY});
    }
    assert!(objects.len() > 1, "manifests/writgate.yaml has a configuration and policies");
    objects
}

/// `None` where the request failed for another reason.
fn is_sent(ran: &Ran) -> Option<bool> {
    match ran.ok() {
        true => Some(false),
        false if ran.stderr.contains("failed calling webhook \"workloads.writgate.dev\"") => Some(true),
        false => None,
    }
}

fn governed_namespace(plane: &Plane, hint: &str) -> String {
    let name = plane.namespace(hint);
    let ran = plane.admin.kubectl(&["label", "namespace", &name, "writgate.dev/environment=production"]);
    assert!(ran.ok(), "{ran}");
    name
}

fn names(list: &Value) -> Vec<String> {
    let items = list["items"].as_array().expect("a list has items");
    items.iter().filter_map(|item| item["metadata"]["name"].as_str().map(str::to_owned)).collect()
}

fn sends_every_change_that_an_approval_is_about(unreachable: &Unreachable) {
    for (user, command) in SENT {
        assert!(unreachable.is_sent(&unreachable.user(user), command), "{user}: kubectl {command}: not sent");
    }
}

fn sends_nothing_that_is_no_action(unreachable: &Unreachable) {
    for (user, command) in NOT_SENT {
        assert!(!unreachable.is_sent(&unreachable.user(user), command), "{user}: kubectl {command}: sent");
    }
}

fn sends_every_way_into_a_pod(unreachable: &Unreachable) {
    let (admin, namespace) = (&unreachable.plane.admin, &unreachable.namespace);
    let running = r#"{"status":{"phase":"Running"}}"#; // kubectl forwards no port to a Pod that does not run
    let ran = admin.kubectl(&["patch", "pod", "p", "--subresource=status", "-p", running, "-n", namespace]);
    assert!(ran.ok(), "{ran}");
    let proxy = format!("/api/v1/namespaces/{namespace}/pods/p/proxy/");
    let ways = ["exec p -n NS -- ls", "attach p -n NS", "port-forward p 8080 -n NS", &format!("get --raw {proxy}")]
        .map(|way| {
            let words = way.split(' ').map(|word| if word == "NS" { namespace } else { word });
            admin.kubectl(&words.collect::<Vec<_>>())
        });
    for ran in ways {
        assert!(ran.stderr.contains("failed calling webhook \"connect.writgate.dev\""), "{ran}");
    }
}

fn sends_nothing_from_namespaces_that_are_not_governed(unreachable: &Unreachable) {
    let admin = &unreachable.plane.admin;
    let namespace = unreachable.plane.namespace("ungoverned");
    let ran = admin.kubectl(&["create", "deployment", "web", "--image=i", "-n", &namespace]);
    assert!(ran.ok(), "{ran}");
    // Whoever labels these would otherwise stop the cluster.
    for namespace in ["kube-system", "writgate-system"] {
        admin.kubectl(&["create", "namespace", namespace]); // one of them is there
        let ran = admin.kubectl(&["label", "namespace", namespace, "writgate.dev/environment=production"]);
        assert!(ran.ok(), "{ran}");
        let ran = admin.kubectl(&["create", "deployment", "web", "--image=i", "-n", namespace, "--dry-run=server"]);
        assert_eq!(is_sent(&ran), Some(false), "{namespace}: {ran}");
    }
}

fn a_lost_pod_comes_back(unreachable: &Unreachable) {
    let namespace = unreachable.namespace_like("lost-pod");
    let lost = unreachable.pods(&namespace);
    let ran = unreachable.plane.admin.kubectl(&["delete", "pods", "--all", "--now", "-n", &namespace]);
    assert!(ran.ok(), "{ran}");
    wait_until("another Pod takes the place of the lost one", PATIENCE, || {
        unreachable.pods(&namespace).into_iter().find(|name| !lost.contains(name))
    });
}

fn a_deployment_can_be_deleted_without_what_it_owns(unreachable: &Unreachable) {
    let namespace = unreachable.namespace_like("orphans");
    let admin = &unreachable.plane.admin;
    let ran = admin.kubectl(&["delete", "deployment", "web", "--cascade=orphan", "--wait=false", "-n", &namespace]);
    assert!(ran.ok(), "{ran}");
    wait_until("the garbage collector lets the Deployment go", PATIENCE, || {
        admin.get(&["deployment", "web", "-n", &namespace]).is_none().then_some(())
    });
    let sets = admin.get(&["replicasets", "-n", &namespace]).expect("a list");
    assert_eq!(names(&sets).len(), 1);
    assert_eq!(sets["items"][0]["metadata"]["ownerReferences"], Value::Null);
}

fn what_is_owned_goes_with_its_owner(unreachable: &Unreachable) {
    let namespace = unreachable.namespace_like("owners");
    let admin = &unreachable.plane.admin;
    let ran = admin.kubectl(&["delete", "deployment", "web", "--cascade=foreground", "--wait=false", "-n", &namespace]);
    assert!(ran.ok(), "{ran}");
    wait_until("Deployment, ReplicaSet and Pods are gone", PATIENCE, || {
        let left = admin.get(&["deployments,replicasets,pods", "-n", &namespace]).expect("a list");
        names(&left).is_empty().then_some(())
    });
}

/// With something of each kind in it, and Events that only the webhook may delete otherwise.
fn a_governed_namespace_comes_to_its_end(unreachable: &Unreachable) {
    let admin = &unreachable.plane.admin;
    let namespace = unreachable.namespace_like("ending");
    let ran = admin.kubectl(&["delete", "namespace", &namespace, "--wait=false"]);
    assert!(ran.ok(), "{ran}");
    wait_until("the namespace is gone", PATIENCE, || admin.get(&["namespace", &namespace]).is_none().then_some(()));
}

/// Who, and what they try.
const SENT: [(&str, &str); 32] = [
    ("admin", "create deployment x --image=i"),
    ("admin", "create job x --image=i"),
    ("admin", "create cronjob x --image=i --schedule=@daily"),
    ("admin", "run x --image=i"),
    ("admin", "set image deployment/d c=other"),
    ("admin", "set image pod/p c=other"),
    ("admin", r#"patch deployment d -p {"spec":{"paused":true}}"#),
    ("admin", r#"patch job j -p {"spec":{"suspend":false}}"#),
    ("admin", r#"patch cronjob c -p {"spec":{"suspend":true}}"#),
    ("admin", r#"patch statefulset s -p {"spec":{"replicas":7}}"#),
    ("admin", r#"patch daemonset ds -p {"spec":{"minReadySeconds":7}}"#),
    (
        "admin",
        r#"patch pod p --subresource=ephemeralcontainers -p {"spec":{"ephemeralContainers":[{"name":"e","image":"e"}]}}"#,
    ),
    // What an approval binds besides the spec.
    ("admin", "label job j writgate.dev/replay=execute"),
    ("admin", "annotate --overwrite deployment d writgate.dev/pipeline-version=orders@2"),
    ("admin", "annotate deployment d writgate.dev/pipeline-version-"),
    ("admin", "annotate deployment d writgate.dev/config-bundle=x"),
    ("admin", "annotate job j writgate.dev/incident=INC-1"),
    ("admin", "annotate job j writgate.dev/incident-spec-hash=x"),
    ("admin", "annotate job j writgate.dev/source-environment=x"),
    ("admin", "annotate job j writgate.dev/source-artifact=x"),
    // What would run without its Deployment.
    ("admin", "scale replicaset rs --replicas=3"),
    ("admin", "scale replicationcontroller rc --replicas=3"),
    ("admin", "label replicaset rs adopt=me"),
    ("admin", "label replicationcontroller rc adopt=me"),
    (
        "admin",
        r#"patch replicaset rs -p {"metadata":{"ownerReferences":[{"apiVersion":"v1","kind":"Node","name":"n","uid":"u"}]}}"#,
    ),
    // A controller is exempt for what it makes, and for nothing else.
    ("deployment-controller", "run x --image=i"),
    ("deployment-controller", "create deployment x --image=i"),
    ("replicaset-controller", r#"patch replicaset rs -p {"spec":{"replicas":7}}"#),
    ("statefulset-controller", "create job x --image=i"),
    ("generic-garbage-collector", "run x --image=i"),
    // Each Job of a CronJob may be a replay.
    ("cronjob-controller", "create job x --image=i"),
    ("cronjob-controller", "run x --image=i"),
];

const NOT_SENT: [(&str, &str); 23] = [
    ("admin", "label deployment d team=a"),
    ("admin", "annotate deployment d note=a"),
    ("admin", "annotate deployment d writgate.dev/approval=later"),
    ("admin", r#"patch deployment d -p {"metadata":{"finalizers":["example.com/f"]}}"#),
    (
        "admin",
        r#"patch deployment d -p {"metadata":{"ownerReferences":[{"apiVersion":"v1","kind":"Node","name":"n","uid":"u"}]}}"#,
    ),
    ("admin", r#"patch deployment d --subresource=status -p {"status":{"replicas":7}}"#),
    ("admin", "scale deployment d --replicas=7"),
    ("admin", "scale statefulset s --replicas=7"),
    ("admin", "label job j team=a"),
    ("admin", "label pod p team=a"),
    ("admin", "annotate cronjob c note=a"),
    ("admin", "annotate statefulset s note=a"),
    ("admin", "annotate daemonset ds note=a"),
    ("admin", "annotate replicaset rs note=a"),
    ("admin", "delete deployment d"),
    ("admin", "delete job j"),
    ("admin", "create configmap x"),
    ("replicaset-controller", "run x --image=i"),
    ("replication-controller", "run x --image=i"),
    ("statefulset-controller", "run x --image=i"),
    ("daemon-set-controller", "run x --image=i"),
    ("job-controller", "run x --image=i"),
    ("deployment-controller", r#"patch replicaset rs -p {"spec":{"replicas":7}}"#),
];

/// One of each kind. No Pods of their own, so that nothing moves while the tests look.
const OBJECTS: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: d, annotations: {writgate.dev/pipeline-version: orders@1}}
spec: {replicas: 0, selector: {matchLabels: {app: d}}, template: {metadata: {labels: {app: d}}, spec: {containers: [{name: c, image: i}]}}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: s}
spec: {serviceName: s, replicas: 0, selector: {matchLabels: {app: s}}, template: {metadata: {labels: {app: s}}, spec: {containers: [{name: c, image: i}]}}}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: ds}
spec: {selector: {matchLabels: {app: ds}}, template: {metadata: {labels: {app: ds}}, spec: {containers: [{name: c, image: i}]}}}
---
apiVersion: apps/v1
kind: ReplicaSet
metadata: {name: rs, labels: {app: rs}}
spec: {replicas: 0, selector: {matchLabels: {app: rs}}, template: {metadata: {labels: {app: rs}}, spec: {containers: [{name: c, image: i}]}}}
---
apiVersion: v1
kind: ReplicationController
metadata: {name: rc}
spec: {replicas: 0, selector: {app: rc}, template: {metadata: {labels: {app: rc}}, spec: {containers: [{name: c, image: i}]}}}
---
apiVersion: batch/v1
kind: Job
metadata: {name: j}
spec: {suspend: true, template: {spec: {restartPolicy: Never, containers: [{name: c, image: i}]}}}
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: c}
spec: {schedule: "0 0 1 1 *", jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: c, image: i}]}}}}}
---
apiVersion: v1
kind: Pod
metadata: {name: p}
spec: {containers: [{name: c, image: i}]}
"#;
