//! What one replica does for all: the Lease, the canary, the re-audit, the sweep of posted requests and notifications, on a real API server. The API server calls a
//! replica that does none of them.
//! The tests change the webhook configuration and share a Lease, so they run one after the other.

mod canary;
mod lease;
mod notifications;
mod reports;
mod requests;
mod standing;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use writgate_testing::harness::{Test, tests};
use writgate_testing::{Installation, Ran, SYSTEM_NAMESPACE, Webhook};

const LIMIT: Duration = Duration::from_mins(1);
const CONFIGURATION: &str = "validatingwebhookconfiguration/writgate";
const LEASE: &str = "lease/writgate-webhook";
const COLLECTOR: &str = "system:serviceaccount:kube-system:generic-garbage-collector";

pub(crate) fn tests() -> Vec<Test<Watched>> {
    tests![
        canary::is_denied_and_leaves_no_record,
        canary::the_test_of_a_release_succeeds_only_if_it_is_denied,
        canary::is_not_denied_if_the_webhook_configuration_is_removed_or_weakened,
        canary::reports_a_webhook_configuration_that_is_not_the_rendered_one,
        lease::another_replica_takes_over_when_the_holder_dies,
        lease::a_stranger_that_holds_the_lease_stops_the_canary_and_no_admission,
        lease::a_holder_without_rights_stops_and_admission_goes_on,
        standing::reports_the_standing_of_each_workload_and_each_transition_once,
        reports::are_written_where_their_kind_exists,
        requests::old_requests_are_deleted_and_nothing_else,
        notifications::of_each_type_arrive_once_and_the_next_holder_repeats_none,
        standing::without_the_right_to_list_pods_the_last_result_stays_and_the_log_says_why,
    ]
}

/// The installation, and the turn of one test.
pub(crate) struct Watched {
    installation: Installation,
    turn: Mutex<()>,
}

impl Watched {
    pub(crate) fn start() -> Self {
        let installation = Installation::start();
        // The tests' webhook has a further kind. The chart grants the rights to it with governedKinds.
        let group = "rbac.authorization.k8s.io";
        installation.plane.install(&[
            json!({"apiVersion": format!("{group}/v1"), "kind": "ClusterRole", "metadata": {"name": "rollouts"}, "rules": [
                {"apiGroups": ["example.com"], "resources": ["rollouts"], "verbs": ["get", "list", "watch"]}]}),
            json!({"apiVersion": format!("{group}/v1"), "kind": "ClusterRoleBinding", "metadata": {"name": "rollouts"},
                "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "rollouts"},
                "subjects": [{"kind": "ServiceAccount", "name": "writgate-webhook", "namespace": SYSTEM_NAMESPACE}]}),
        ]);
        Self { installation, turn: Mutex::new(()) }
    }

    /// Waits until no other test runs, and until the Lease is free.
    fn turn(&self) -> MutexGuard<'_, ()> {
        let turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        // The policy permits it to the webhook and to the garbage collector.
        self.admin(&["delete", LEASE, "-n", SYSTEM_NAMESPACE, "--ignore-not-found", "--as", COLLECTOR], "");
        turn
    }

    /// A replica that competes for the Lease and sends the canary each second.
    fn replica(&self, name: &str) -> Webhook {
        self.replica_with(name, &["--canary-interval", "1s"])
    }

    /// A replica that competes for the Lease, if the flags have something for its holder to do.
    fn replica_with(&self, name: &str, args: &[&str]) -> Webhook {
        Webhook::replica_with(&self.installation.plane, name, args)
    }

    fn admin(&self, args: &[&str], input: &str) -> Ran {
        let ran = self.installation.plane.admin.kubectl_in(args, input);
        assert!(ran.ok(), "{args:?}: {ran}");
        ran
    }

    fn get(&self, args: &[&str]) -> Value {
        self.installation.plane.admin.get(args).expect("it exists")
    }

    fn json_patch(&self, what: &[&str], operations: &Value) {
        let operations = operations.to_string();
        self.admin(&[&["patch"], what, &["--type=json", "-p", &operations]].concat(), "");
    }

    /// The object without what the API server sets, so that it can be created again.
    fn remember(&self, args: &[&str]) -> Value {
        let mut object = self.get(args);
        let metadata = object["metadata"].as_object_mut().expect("metadata");
        metadata.retain(|field, _| matches!(field.as_str(), "name" | "namespace" | "labels"));
        object
    }

    fn restore(&self, object: &Value) {
        drop(self.installation.plane.admin.kubectl_in(&["create", "-f", "-"], &object.to_string()));
        self.admin(&["replace", "-f", "-"], &object.to_string());
    }

    /// The index of an entry in the webhook configuration.
    fn entry(&self, name: &str) -> usize {
        let configuration = self.get(&[CONFIGURATION]);
        let entries = configuration["webhooks"].as_array().expect("entries");
        entries.iter().position(|one| one["name"] == format!("{name}.writgate.dev")).expect("the entry")
    }
}

/// The value of a metric without labels; `None` if the replica does not report it.
fn value(webhook: &Webhook, metric: &str) -> Option<f64> {
    let (_, text) = webhook.http_get("/metrics").expect("the admin port answers");
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{metric} ")))?;
    Some(line.trim().parse().expect("a number"))
}

fn wait_value(webhook: &Webhook, metric: &str, wanted: Option<f64>) {
    let end = Instant::now() + LIMIT;
    while value(webhook, metric) != wanted {
        assert!(
            Instant::now() < end,
            "{metric} is {:?}, expected {wanted:?}: {}",
            value(webhook, metric),
            webhook.lines()
        );
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn is_holder(webhook: &Webhook) -> bool {
    value(webhook, "writgate_lease_holder") == Some(1.0)
}

/// A Pod that the API server would store without the webhook.
fn pod(namespace: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "probe", "namespace": namespace}, "spec": {
        "securityContext": {"runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [{"name": "c", "image": "i", "securityContext": {
            "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}}]}})
}
