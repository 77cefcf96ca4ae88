//! The cluster with Writgate installed by Helm, and a governed namespace.

use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use writgate_testing::{
    APPROVAL, Key, Ran, SYSTEM_NAMESPACE, Scope, attach, denied_for, document, envelope, hash_of, helm, repository,
    wait_until,
};

use crate::node::{Node, REPLAY, WEBHOOK, WORKLOAD};

/// The governed namespace.
pub(crate) const NAMESPACE: &str = "payments";
const UNGOVERNED: &str = "ungoverned";
const ENVIRONMENT: &str = "production";
const PROJECT: &str = "payments";
const LIMIT: Duration = Duration::from_secs(90);

/// A cluster with Writgate.
pub(crate) struct Cluster {
    pub(crate) node: Node,
    /// The key of a reviewer who may grant every capability.
    bob: Key,
}

impl Cluster {
    /// Starts the cluster, and creates the namespaces. Writgate is not installed yet.
    pub(crate) fn start() -> Self {
        let cluster = Self { node: Node::start(), bob: Key::new() };
        for (name, labels) in [
            (UNGOVERNED, json!({})),
            // Every Pod must meet the strictest of the Pod Security Standards, the webhook's as well.
            (SYSTEM_NAMESPACE, json!({"pod-security.kubernetes.io/enforce": "restricted"})),
            (NAMESPACE, json!({"writgate.dev/environment": ENVIRONMENT, "writgate.dev/project": PROJECT})),
        ] {
            cluster.create(
                &json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}),
            );
            wait_until("the namespace has its service account", LIMIT, || {
                cluster.node.admin.kubectl(&["get", "serviceaccount", "default", "-n", name]).ok().then_some(())
            });
        }
        cluster
    }

    /// Installs the chart with its defaults and `args`, and waits for a denial through the Service. Returns the times of both.
    pub(crate) fn install(&self, args: &[&str]) -> (Duration, Duration) {
        let begun = Instant::now();
        let ran = self.helm(&[&["install", "writgate", "CHART", "--wait", "--timeout=180s"], args].concat());
        assert!(ran.ok(), "{ran}\n{}", self.state());
        let installed = begun.elapsed();
        for object in self.posture() {
            self.create(&object);
        }
        let probe = deployment("probe");
        let answered = Instant::now();
        loop {
            let ran = self.try_dry_run(&probe);
            if denied_for(&ran, "ApprovalRequired") {
                break;
            }
            assert!(answered.elapsed() < LIMIT, "the webhook does not deny: {ran}\n{}", self.state());
            sleep(Duration::from_millis(50));
        }
        (installed, begun.elapsed())
    }

    /// `helm upgrade` with these values in addition to the image's, until the Pods are ready.
    pub(crate) fn upgrade(&self, args: &[&str]) {
        let ran = self.helm(&[&["upgrade", "writgate", "CHART", "--wait", "--timeout=180s"], args].concat());
        assert!(ran.ok(), "{ran}\n{}", self.state());
        self.wait_settled();
    }

    /// Runs Helm. `CHART` stands for the chart and the name of the imported image.
    pub(crate) fn helm(&self, args: &[&str]) -> Ran {
        let mut command = self.node.admin.command(&helm());
        let (registry, image) = WEBHOOK.split_once('/').expect("it has a registry");
        for arg in args {
            match *arg {
                "CHART" => command.arg(repository().join("charts/writgate")).args([
                    "--set",
                    &format!("image.registry={registry}"),
                    "--set",
                    &format!("image.repository={image}"),
                ]),
                arg => command.arg(arg),
            };
        }
        Ran::of(command.args(["--namespace", SYSTEM_NAMESPACE]), "")
    }

    /// Runs kubectl, which must succeed.
    pub(crate) fn kubectl(&self, args: &[&str]) -> String {
        let ran = self.node.admin.kubectl(args);
        assert!(ran.ok(), "{args:?}: {ran}\n{}", self.state());
        ran.stdout
    }

    /// The logs of the webhook's Pods.
    pub(crate) fn logs(&self) -> String {
        self.kubectl(&["logs", "-n", SYSTEM_NAMESPACE, "deployment/writgate-webhook", "--all-pods", "--tail=-1"])
    }

    /// Creates an object, which must succeed.
    pub(crate) fn create(&self, object: &Value) {
        let ran = self.node.admin.create(object);
        assert!(ran.ok(), "{ran}");
    }

    /// A dry run of the creation of an object.
    pub(crate) fn try_dry_run(&self, object: &Value) -> Ran {
        self.node.admin.kubectl_in(&["create", "--dry-run=server", "-o", "json", "-f", "-"], &object.to_string())
    }

    /// Waits until two webhook Pods are ready and no other is left.
    pub(crate) fn wait_settled(&self) {
        wait_until("two webhook Pods are ready, and no other is left", LIMIT, || {
            let pods = self.node.pods(SYSTEM_NAMESPACE);
            (pods.len() == 2 && pods.iter().all(is_ready)).then_some(())
        });
    }

    /// Waits until the holder of the Lease has had its canary denied and has ended a re-audit.
    pub(crate) fn wait_watched(&self) {
        let values = ["writgate_canary_denied 1", "writgate_reaudit_runs_total{outcome=\"ok\"}"];
        let is_watched = |pod: &String| {
            let page = format!("/api/v1/namespaces/{SYSTEM_NAMESPACE}/pods/{pod}:8080/proxy/metrics");
            let page = self.node.admin.kubectl(&["get", "--raw", &page]).stdout;
            values.iter().all(|value| page.lines().any(|line| line.starts_with(value) && !line.ends_with(" 0")))
        };
        wait_until("a replica has had its canary denied and has ended a re-audit", LIMIT, || {
            self.webhook_pods().iter().any(is_watched).then_some(())
        });
    }

    /// The names of the webhook's Pods.
    pub(crate) fn webhook_pods(&self) -> Vec<String> {
        let pods = self.node.pods(SYSTEM_NAMESPACE);
        pods.iter().map(|pod| pod["metadata"]["name"].as_str().expect("a name").to_owned()).collect()
    }

    /// The statement of a valid approval.
    pub(crate) fn statement(&self, manifest: &Value) -> Value {
        let mut elsewhere = manifest.clone();
        elsewhere["metadata"]["namespace"] = json!(UNGOVERNED);
        let ran = self.try_dry_run(&elsewhere);
        assert!(ran.ok(), "{ran}");
        let defaulted: Value = serde_json::from_str(&ran.stdout).expect("kubectl prints JSON");
        let scope = Scope { namespace: NAMESPACE, environment: ENVIRONMENT, project: PROJECT };
        scope.statement(manifest, &hash_of(&defaulted))
    }

    /// The approval of a statement by the reviewer.
    pub(crate) fn signed(&self, statement: &Value) -> String {
        envelope(statement, &[&self.bob])
    }

    /// `manifest` with a valid approval.
    pub(crate) fn approved(&self, manifest: &Value) -> Value {
        attach(manifest, &self.signed(&self.statement(manifest)))
    }

    /// What a failure requires: Pods, Events, and the end of the webhooks' logs.
    pub(crate) fn state(&self) -> String {
        let printed = |args: &[&str]| self.node.admin.kubectl(args).to_string();
        [
            printed(&["get", "pods", "-A", "-o", "wide"]),
            printed(&["get", "events", "-n", SYSTEM_NAMESPACE, "--sort-by=.lastTimestamp"]),
            printed(&["logs", "-n", SYSTEM_NAMESPACE, "deployment/writgate-webhook", "--all-pods", "--tail=5"]),
        ]
        .concat()
    }

    fn posture(&self) -> [Value; 2] {
        let posture = json!({"apiVersion": "writgate.dev/v1", "kind": "Posture", "environment": ENVIRONMENT,
            "reviewerSets": ["reviewers"],
            "replay": {"images": [REPLAY], "sourceEnvironments": ["production"]}});
        let reviewers = json!({"apiVersion": "writgate.dev/v1", "kind": "Reviewers", "reviewers": [
            {"name": "bob@acme.example", "capabilities": ["deploy", "replay.execute"],
             "keys": [{"publicKey": self.bob.public_pem()}]}]});
        [document("posture", "posture", &posture), document("reviewers", "reviewers", &reviewers)]
    }
}

/// A Deployment in the governed namespace, without an approval.
pub(crate) fn deployment(name: &str) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"selector": {"matchLabels": {"app": name}}, "template": {"metadata": {"labels": {"app": name}},
            "spec": {"terminationGracePeriodSeconds": 1, "containers": [{"name": "workload", "image": WORKLOAD}]}}}})
}

/// A replay Job in the governed namespace, without an approval.
pub(crate) fn replay_job(name: &str) -> Value {
    json!({"apiVersion": "batch/v1", "kind": "Job",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": {"writgate.dev/replay": "execute"},
            "annotations": {"writgate.dev/incident": "INC-7", "writgate.dev/source-environment": "production"}},
        "spec": {"backoffLimit": 0, "template": {"metadata": {"labels": {"app": name}}, "spec": {
            "restartPolicy": "Never", "containers": [{"name": "workload", "image": REPLAY, "args": ["replayed INC-7"]}]}}}})
}

/// Whether a Pod is ready, and not about to end.
pub(crate) fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let is_ready = conditions.iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True");
    is_ready && pod["metadata"]["deletionTimestamp"].is_null()
}

/// The approval that an object carries.
pub(crate) fn approval(object: &Value) -> &str {
    object["metadata"]["annotations"][APPROVAL].as_str().expect("it has one")
}
