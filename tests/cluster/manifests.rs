//! The webhook configuration in `manifests/`, on a real API server where nothing listens at the webhook's address. Requests
//! that the API server sends to the webhook fail, and others succeed. The tests show which requests are sent, and that
//! controllers work while the webhook is down. The webhook's answers are in `e2e`.
//!
//! The file is longer than 500 lines: its tests share one control plane whose webhook is down.

mod chart;
mod children;

use std::path::Path;
use std::time::Duration;

use serde_json::{Deserializer, Value, json};
use writgate_testing::{Plane, Ran, User, harness, harness::Test, wait_until};

/// Nothing listens on port 1, and connecting to it fails at once.
const NOBODY: &str = "https://127.0.0.1:1/validate";
/// Controllers act within a second or two, but the machine may be busy.
const PATIENCE: Duration = Duration::from_mins(1);
/// The prefix of controllers' user names.
const CONTROLLERS: &str = "system:serviceaccount:kube-system:";

/// Every test of this file.
pub(crate) fn tests() -> Vec<Test<Unreachable>> {
    harness::tests![
        sends_every_request_that_may_be_an_action,
        sends_no_request_that_cannot_be_an_action,
        sends_every_connection_into_a_pod,
        sends_no_request_from_ungoverned_namespaces,
        sends_every_change_of_governing_labels,
        sends_metadata_written_through_a_status,
        sends_config_bundles_and_posted_requests_and_no_other_config_maps,
        sends_changes_of_documents_and_not_the_end_of_their_namespace,
        a_lost_pod_is_replaced_without_the_webhook,
        a_deployment_can_be_deleted_without_its_replica_sets,
        deleting_a_deployment_deletes_its_replica_sets_and_pods,
        a_governed_namespace_can_be_deleted_without_the_webhook,
        children::writes_of_controllers_cause_no_call,
        chart::the_api_server_accepts_the_chart_on_each_platform,
        chart::the_api_server_accepts_each_overlay,
        chart::helm_refuses_values_of_another_certificate_mode,
        chart::each_certificate_mode_renders_its_own_parts,
        chart::the_pods_start_although_their_priority_class_is_limited,
    ]
}

/// A control plane whose webhook is down.
pub(crate) struct Unreachable {
    plane: Plane,
    /// A governed namespace with one object of each kind, from before the webhook was configured.
    namespace: String,
}

impl Unreachable {
    pub(crate) fn start() -> Self {
        let plane = Plane::start();
        let namespace = governed_namespace(&plane, "changes");
        let ran = plane.admin.kubectl_in(&["create", "-n", &namespace, "-f", "-"], OBJECTS);
        assert!(ran.ok(), "{ran}");
        // Every user has all rights, since RBAC does not decide which requests are sent to the webhook.
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
        // The labels must have no effect on these namespaces, since the cluster would stop.
        for namespace in ["writgate-system", "writgate-canary", chart::NAMESPACE] {
            unreachable.admin(&["create", "namespace", namespace], "");
        }
        unreachable.admin(&["label", "namespace", "kube-system", "writgate-system", ENVIRONMENT, PROJECT], "");
        unreachable.admin(&["create", "-f", "-"], DOCUMENTS);
        unreachable.install();
        unreachable
    }

    /// Applies the rendered policies and webhook configurations, with another address, and waits until they are in force.
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

    /// Creates an object of each kind and an Event of the webhook.
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

    /// Creates a Deployment and waits for its Pod.
    fn deploy(&self, namespace: &str) {
        let admin = &self.plane.admin;
        let ran = admin.kubectl(&["create", "deployment", "web", "--image=i", "-n", namespace]);
        assert!(ran.ok(), "{ran}");
        wait_until("the Deployment has its Pod", PATIENCE, || self.pods(namespace).first().cloned());
    }

    fn admin(&self, args: &[&str], input: &str) {
        let ran = self.plane.admin.kubectl_in(args, input);
        assert!(ran.ok(), "{args:?}: {ran}");
    }

    fn namespace_like(&self, hint: &str) -> String {
        let list = self.plane.admin.get(&["namespaces"]).expect("a list");
        names(&list).into_iter().find(|name| name.starts_with(hint)).expect("a namespace from the start")
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

    /// Whether the API server sends the request of a kubectl command to the webhook. The command is a dry run.
    fn is_sent(&self, user: &User, command: &str) -> bool {
        let words = command.split(' ').chain(["-n", &self.namespace, "--dry-run=server"]);
        let ran = user.kubectl(&words.collect::<Vec<_>>());
        is_sent(&ran).unwrap_or_else(|| panic!("{}: kubectl {command}: {ran}", user.name))
    }
}

/// The rendered policies, and the webhook configurations with an address where nothing listens.
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

/// The entry of the webhook configuration that is called when `user` runs a kubectl command, if any. The command is a dry run.
fn called_entry(user: &User, command: &str, input: &str) -> Option<String> {
    let words = command.split(' ').chain(["--dry-run=server"]);
    let ran = user.kubectl_in(&words.collect::<Vec<_>>(), input);
    let entry = ran.stderr.split_once("failed calling webhook \"").and_then(|(_, rest)| rest.split_once('"'));
    assert!(ran.ok() || entry.is_some(), "{}: kubectl {command}: {ran}", user.name);
    entry.map(|(name, _)| name.to_owned())
}

/// Whether the request was sent, or `None` if it failed for another reason.
fn is_sent(ran: &Ran) -> Option<bool> {
    match ran.ok() {
        true => Some(false),
        false
            if ran.stderr.contains("failed calling webhook \"workloads.writgate.dev\"")
                || ran.stderr.contains("failed calling webhook \"wake-ups.writgate.dev\"") =>
        {
            Some(true)
        }
        false => None,
    }
}

fn governed_namespace(plane: &Plane, hint: &str) -> String {
    let name = plane.namespace(hint);
    let ran = plane.admin.kubectl(&["label", "namespace", &name, ENVIRONMENT, PROJECT]);
    assert!(ran.ok(), "{ran}");
    name
}

fn names(list: &Value) -> Vec<String> {
    let items = list["items"].as_array().expect("a list has items");
    items.iter().filter_map(|item| item["metadata"]["name"].as_str().map(str::to_owned)).collect()
}

fn sends_every_request_that_may_be_an_action(unreachable: &Unreachable) {
    for (user, command) in SENT {
        assert!(
            unreachable.is_sent(&unreachable.user(user), command),
            "{user}: kubectl {command}: the request is not sent"
        );
    }
}

fn sends_no_request_that_cannot_be_an_action(unreachable: &Unreachable) {
    for (user, command) in NOT_SENT {
        assert!(
            !unreachable.is_sent(&unreachable.user(user), command),
            "{user}: kubectl {command}: the request is sent"
        );
    }
}

fn sends_every_connection_into_a_pod(unreachable: &Unreachable) {
    let (admin, namespace) = (&unreachable.plane.admin, &unreachable.namespace);
    let running = r#"{"status":{"phase":"Running"}}"#; // kubectl forwards ports only to a running Pod
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

fn sends_no_request_from_ungoverned_namespaces(unreachable: &Unreachable) {
    let admin = &unreachable.plane.admin;
    let namespace = unreachable.plane.namespace("ungoverned");
    let ran = admin.kubectl(&["create", "deployment", "web", "--image=i", "-n", &namespace]);
    assert!(ran.ok(), "{ran}");
    let ran = admin.kubectl(&["create", "deployment", "web", "--image=i", "-n", "kube-system", "--dry-run=server"]);
    assert_eq!(is_sent(&ran), Some(false), "{ran}");
}

fn sends_every_change_of_governing_labels(unreachable: &Unreachable) {
    let admin = &unreachable.plane.admin;
    let (governed, free) = (&unreachable.namespace, &unreachable.plane.namespace("free"));
    let taken = r#"{"metadata":{"labels":{"writgate.dev/environment":null}}}"#;
    for command in [
        format!("label namespace {governed} writgate.dev/environment-"),
        format!("label namespace {governed} writgate.dev/project-"),
        format!("label --overwrite namespace {governed} writgate.dev/project=other"),
        format!("label namespace {free} {ENVIRONMENT}"),
        format!("patch namespace {governed} --subresource=status --type=merge -p {taken}"),
        "label --overwrite namespace kube-system writgate.dev/environment=other".to_owned(),
    ] {
        assert_eq!(called_entry(admin, &command, "").as_deref(), Some("namespaces.writgate.dev"), "{command}");
    }
    let named = |labels: &str| {
        format!(r#"{{"apiVersion":"v1","kind":"Namespace","metadata":{{"name":"new","labels":{{{labels}}}}}}}"#)
    };
    let ask = |labels: &str| called_entry(admin, "create -f -", &named(labels));
    assert_eq!(ask(r#""writgate.dev/project":"x""#).as_deref(), Some("namespaces.writgate.dev"));
    assert_eq!(ask(r#""team":"x""#), None);
    let mut finalized = admin.get(&["namespace", governed]).expect("it exists");
    let finalize = |namespace: &Value| {
        let path = format!("/api/v1/namespaces/{governed}/finalize?dryRun=All");
        admin.kubectl_in(&["replace", "--raw", &path, "-f", "-"], &namespace.to_string())
    };
    assert!(finalize(&finalized).ok());
    finalized["metadata"]["labels"] = json!({});
    let ran = finalize(&finalized);
    assert!(ran.stderr.contains("failed calling webhook \"namespaces.writgate.dev\""), "{ran}");
    for command in [
        format!("label namespace {governed} team=orders"),
        format!("annotate namespace {governed} note=a"),
        format!(
            "patch namespace {governed} --subresource=status --type=merge -p {{\"status\":{{\"phase\":\"Active\"}}}}"
        ),
        format!("delete namespace {governed}"),
    ] {
        assert_eq!(called_entry(admin, &command, ""), None, "{command}");
    }
}

fn sends_metadata_written_through_a_status(unreachable: &Unreachable) {
    let admin = &unreachable.plane.admin;
    let ask = |what: &str, patch: &str| {
        let namespace = &unreachable.namespace;
        let command = format!("patch {what} -n {namespace} --subresource=status --type=merge -p {patch}");
        called_entry(admin, &command, "")
    };
    let annotation = r#"{"metadata":{"annotations":{"writgate.dev/incident":"x"}}}"#;
    for what in [
        "deployment d",
        "statefulset s",
        "daemonset ds",
        "replicaset rs",
        "replicationcontroller rc",
        "job j",
        "cronjob c",
        "pod p",
    ] {
        assert_eq!(ask(what, annotation).as_deref(), Some("metadata.writgate.dev"), "{what}");
        assert_eq!(ask(what, r#"{"metadata":{"annotations":{"note":"x"}}}"#), None, "{what}");
        assert_eq!(ask(what, r#"{"status":{"observedGeneration":1}}"#), None, "{what}");
    }
    let removed = r#"{"metadata":{"annotations":{"writgate.dev/pipeline-version":null}}}"#;
    assert_eq!(ask("deployment d", removed).as_deref(), Some("metadata.writgate.dev"));
    let label = r#"{"metadata":{"labels":{"writgate.dev/replay":"execute"}}}"#;
    assert_eq!(ask("job j", label).as_deref(), Some("metadata.writgate.dev"));
    let owner = r#"{"metadata":{"ownerReferences":[{"apiVersion":"v1","kind":"Node","name":"n","uid":"u"}]}}"#;
    for what in ["replicaset rs", "replicationcontroller rc"] {
        assert_eq!(ask(what, owner).as_deref(), Some("metadata.writgate.dev"), "{what}");
        assert_eq!(
            ask(what, r#"{"metadata":{"labels":{"adopt":"me"}}}"#).as_deref(),
            Some("metadata.writgate.dev"),
            "{what}"
        );
    }
    assert_eq!(ask("statefulset s", r#"{"metadata":{"labels":{"team":"a"}}}"#), None);
}

fn sends_config_bundles_and_posted_requests_and_no_other_config_maps(unreachable: &Unreachable) {
    let admin = &unreachable.plane.admin;
    let ask = |namespace: &str, kind: &str| {
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "new", "namespace": namespace, "labels": {"writgate.dev/kind": kind}}});
        called_entry(admin, "create -f -", &object.to_string())
    };
    assert_eq!(ask(&unreachable.namespace, "config-bundle").as_deref(), Some("bundles.writgate.dev"));
    for kind in ["request", "rejection"] {
        assert_eq!(ask(&unreachable.namespace, kind).as_deref(), Some("requests.writgate.dev"));
        assert_eq!(ask("default", kind), None);
    }
    assert_eq!(ask(&unreachable.namespace, "approval"), None);
    assert_eq!(ask(&unreachable.namespace, "posture"), None, "a document outside the system namespace has no effect");
    assert_eq!(ask("default", "config-bundle"), None);
}

fn sends_changes_of_documents_and_not_the_end_of_their_namespace(unreachable: &Unreachable) {
    let admin = &unreachable.plane.admin;
    let ask = |command: &str| called_entry(admin, &format!("{command} -n writgate-system"), "");
    for command in [
        "delete configmap posture",
        "label configmap posture writgate.dev/kind-",
        "label --overwrite configmap posture writgate.dev/kind=other",
        "label configmap other writgate.dev/kind=revocations",
        r#"patch configmap posture -p {"data":{"posture.yaml":"x"}}"#,
        r#"patch configmap posture -p {"metadata":{"ownerReferences":[{"apiVersion":"v1","kind":"Node","name":"n","uid":"u"}]}}"#,
    ] {
        assert_eq!(ask(command).as_deref(), Some("documents.writgate.dev"), "{command}");
    }
    for command in [
        "annotate configmap posture note=a",
        "label configmap posture team=a",
        "create configmap third",
        "delete configmap other",
        r#"patch configmap other -p {"data":{"posture.yaml":"x"}}"#,
    ] {
        assert_eq!(ask(command), None, "{command}");
    }
    unreachable.admin(&["delete", "namespace", "writgate-system", "--wait=false"], "");
    wait_until("the system namespace is gone", PATIENCE, || {
        admin.get(&["namespace", "writgate-system"]).is_none().then_some(())
    });
}

fn a_lost_pod_is_replaced_without_the_webhook(unreachable: &Unreachable) {
    let namespace = unreachable.namespace_like("lost-pod");
    let lost = unreachable.pods(&namespace);
    let ran = unreachable.plane.admin.kubectl(&["delete", "pods", "--all", "--now", "-n", &namespace]);
    assert!(ran.ok(), "{ran}");
    wait_until("another Pod replaces the lost one", PATIENCE, || {
        unreachable.pods(&namespace).into_iter().find(|name| !lost.contains(name))
    });
}

fn a_deployment_can_be_deleted_without_its_replica_sets(unreachable: &Unreachable) {
    let namespace = unreachable.namespace_like("orphans");
    let admin = &unreachable.plane.admin;
    let ran = admin.kubectl(&["delete", "deployment", "web", "--cascade=orphan", "--wait=false", "-n", &namespace]);
    assert!(ran.ok(), "{ran}");
    wait_until("the Deployment is deleted", PATIENCE, || {
        admin.get(&["deployment", "web", "-n", &namespace]).is_none().then_some(())
    });
    let sets = admin.get(&["replicasets", "-n", &namespace]).expect("a list");
    assert_eq!(names(&sets).len(), 1);
    assert_eq!(sets["items"][0]["metadata"]["ownerReferences"], Value::Null);
}

fn deleting_a_deployment_deletes_its_replica_sets_and_pods(unreachable: &Unreachable) {
    let namespace = unreachable.namespace_like("owners");
    let admin = &unreachable.plane.admin;
    let ran = admin.kubectl(&["delete", "deployment", "web", "--cascade=foreground", "--wait=false", "-n", &namespace]);
    assert!(ran.ok(), "{ran}");
    wait_until("Deployment, ReplicaSet and Pods are gone", PATIENCE, || {
        let left = admin.get(&["deployments,replicasets,pods", "-n", &namespace]).expect("a list");
        names(&left).is_empty().then_some(())
    });
}

/// The namespace has an object of each kind, and an Event that otherwise only the webhook may delete.
fn a_governed_namespace_can_be_deleted_without_the_webhook(unreachable: &Unreachable) {
    let admin = &unreachable.plane.admin;
    let namespace = unreachable.namespace_like("ending");
    let ran = admin.kubectl(&["delete", "namespace", &namespace, "--wait=false"]);
    assert!(ran.ok(), "{ran}");
    wait_until("the namespace is gone", PATIENCE, || admin.get(&["namespace", &namespace]).is_none().then_some(()));
}

const ENVIRONMENT: &str = "writgate.dev/environment=production";
const PROJECT: &str = "writgate.dev/project=payments";

/// A document and a ConfigMap that is not a document.
const DOCUMENTS: &str = r"
apiVersion: v1
kind: ConfigMap
metadata: {name: posture, namespace: writgate-system, labels: {writgate.dev/kind: posture}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: other, namespace: writgate-system}
";

/// Users and commands whose requests are sent to the webhook.
const SENT: [(&str, &str); 41] = [
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
    // An approval binds annotations and the replay label as well as the spec.
    ("admin", "label job j writgate.dev/replay=execute"),
    ("admin", "annotate --overwrite deployment d writgate.dev/pipeline-version=orders@2"),
    ("admin", "annotate deployment d writgate.dev/pipeline-version-"),
    ("admin", "annotate deployment d writgate.dev/config-bundle=x"),
    ("admin", "annotate job j writgate.dev/incident=INC-1"),
    ("admin", "annotate job j writgate.dev/incident-spec-hash=x"),
    ("admin", "annotate job j writgate.dev/source-environment=x"),
    ("admin", "annotate job j writgate.dev/source-artifact=x"),
    // A ReplicaSet or ReplicationController can run without a Deployment.
    ("admin", "scale replicaset rs --replicas=3"),
    ("admin", "scale replicationcontroller rc --replicas=3"),
    // What was at 0 replicas may never have been approved.
    ("admin", "scale deployment d --replicas=7"),
    ("admin", "scale statefulset s --replicas=7"),
    ("admin", "label replicaset rs adopt=me"),
    ("admin", "label replicationcontroller rc adopt=me"),
    ("admin", "label job j adopt=me"),
    ("admin", "label pod p adopt=me"),
    ("admin", "label pod of-a-set pod-template-hash=adopt"),
    (
        "admin",
        r#"patch replicaset rs -p {"metadata":{"ownerReferences":[{"apiVersion":"v1","kind":"Node","name":"n","uid":"u"}]}}"#,
    ),
    // A ControllerRevision is the target of a rollback.
    ("admin", r#"patch controllerrevision cr --type=merge -p {"revision":7}"#),
    ("admin", "label controllerrevision cr adopt=me"),
    (
        "admin",
        r#"patch controllerrevision cr --type=merge -p {"metadata":{"ownerReferences":[{"apiVersion":"v1","kind":"Node","name":"n","uid":"u"}]}}"#,
    ),
    ("deployment-controller", "label controllerrevision cr adopt=me"),
    // A controller is exempt only for the objects that it creates.
    ("deployment-controller", "run x --image=i"),
    ("deployment-controller", "create deployment x --image=i"),
    ("replicaset-controller", r#"patch replicaset rs -p {"spec":{"replicas":7}}"#),
    ("statefulset-controller", "create job x --image=i"),
    ("generic-garbage-collector", "create deployment x --image=i"),
    // A Job of a CronJob may be a replay.
    ("cronjob-controller", "create job x --image=i"),
    ("cronjob-controller", "run x --image=i"),
];

/// Users and commands whose requests are not sent.
const NOT_SENT: [(&str, &str); 29] = [
    ("admin", "label deployment d team=a"),
    ("admin", "annotate deployment d note=a"),
    ("admin", "annotate deployment d writgate.dev/approval=later"),
    ("admin", r#"patch deployment d -p {"metadata":{"finalizers":["example.com/f"]}}"#),
    (
        "admin",
        r#"patch deployment d -p {"metadata":{"ownerReferences":[{"apiVersion":"v1","kind":"Node","name":"n","uid":"u"}]}}"#,
    ),
    ("admin", r#"patch deployment d --subresource=status -p {"status":{"replicas":7}}"#),
    ("admin", "scale deployment awake --replicas=7"),
    ("admin", "scale deployment awake --replicas=0"),
    ("admin", "scale deployment d --replicas=0"),
    ("admin", "annotate job j note=a"),
    ("admin", "annotate pod p note=a"),
    ("admin", "label pod of-a-set role=primary"),
    ("job-controller", "label pod p adopt=me"),
    ("admin", "annotate cronjob c note=a"),
    ("admin", "annotate statefulset s note=a"),
    ("admin", "annotate daemonset ds note=a"),
    ("admin", "annotate replicaset rs note=a"),
    ("admin", "annotate controllerrevision cr note=a"),
    ("admin", "delete controllerrevision cr"),
    ("statefulset-controller", "label controllerrevision cr adopt=me"),
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

/// One object of each kind, without replicas or paused, so that no controller changes them during the tests.
const OBJECTS: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: d, annotations: {writgate.dev/pipeline-version: orders@1}}
spec: {replicas: 0, selector: {matchLabels: {app: d}}, template: {metadata: {labels: {app: d}}, spec: {containers: [{name: c, image: i}]}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: awake}
spec:
  replicas: 2
  paused: true
  selector: {matchLabels: {app: awake}}
  template: {metadata: {labels: {app: awake}}, spec: {containers: [{name: c, image: i}]}}
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
apiVersion: apps/v1
kind: ControllerRevision
metadata: {name: cr}
revision: 1
data: {}
---
apiVersion: v1
kind: Pod
metadata: {name: p}
spec: {containers: [{name: c, image: i}]}
---
# No controller knows this owner, so nobody adopts, releases or deletes the Pod.
apiVersion: v1
kind: Pod
metadata:
  name: of-a-set
  ownerReferences: [{apiVersion: example.com/v1, kind: ReplicaSet, name: set, uid: set, controller: true}]
spec: {containers: [{name: c, image: i}]}
"#;
