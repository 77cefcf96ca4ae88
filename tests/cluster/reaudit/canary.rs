//! The canary: denied on a healthy installation, and not on each weakened one.

use std::process::Command;
use std::time::Instant;

use super::{CONFIGURATION, LIMIT, Watched, is_holder, json, pod, value, wait_value};
use serde_json::Value;
use writgate_cluster::webhook_configuration::RenderedEntry;
use writgate_testing::{Ran, denied_for, program, wait_until};

const DENIED: &str = "writgate_canary_denied";

pub(super) fn is_denied_and_leaves_no_record(watched: &Watched) {
    let _turn = watched.turn();
    let main = &watched.installation.webhook;
    assert_eq!((value(main, DENIED), value(main, "writgate_lease_holder")), (None, None), "it sends no canary");
    let replica = watched.replica("canary");
    wait_value(&replica, DENIED, Some(1.0));
    assert!(is_holder(&replica));
    let before = value(&replica, "writgate_canary_last_denied_timestamp_seconds").expect("a time");
    wait_until("the canary is repeated", LIMIT, || {
        (value(&replica, "writgate_canary_last_denied_timestamp_seconds")? > before + 2.0).then_some(())
    });
    let of_canary =
        |record: &Value| record["environment"] == "writgate-canary" || record["object"]["name"] == "writgate-canary";
    assert_eq!(main.records(of_canary), Vec::<Value>::new());
    let reason = [("reason", "PostureMissing")];
    assert!(main.metric("writgate_admission_requests_total", &reason).abs() < f64::EPSILON);
    let lines = replica.lines();
    assert!(lines.contains("the canary is denied") && lines.contains(env!("CARGO_PKG_VERSION")), "{lines}");

    // The same request by somebody else is recorded, also with the canary's annotation.
    let mut other = pod("writgate-canary");
    other["metadata"]["annotations"]["writgate.dev/canary"] = "0198f0de-0000-7000-8000-000000000001".into();
    let ran =
        watched.installation.plane.admin.kubectl_in(&["create", "--dry-run=server", "-f", "-"], &other.to_string());
    assert!(denied_for(&ran, "PostureMissing"), "{ran}");
    assert_eq!(main.records(of_canary).len(), 1);

    // Nothing can be stored in the namespace even without the webhook.
    let quota = watched.get(&["resourcequota", "writgate-canary", "-n", "writgate-canary"]);
    assert_eq!(quota["spec"]["hard"]["pods"], "0");
    let stopped = replica.stop();
    assert_eq!(stopped.matches("the canary is denied").count(), 1, "a lasting state is logged once: {stopped}");
    let lease = watched.get(&["lease", "writgate-webhook", "-n", super::SYSTEM_NAMESPACE]);
    assert_eq!(lease["spec"]["holderIdentity"], Value::Null, "a replica that stops gives the Lease up: {lease}");
}

/// `helm test` runs the binary once with this flag, as the service account of the webhook.
pub(super) fn the_test_of_a_release_succeeds_only_if_it_is_denied(watched: &Watched) {
    let _turn = watched.turn();
    let identity = &watched.installation.webhook.identity.kubeconfig;
    let test = || {
        let mut command = Command::new(program("writgate-webhook"));
        Ran::of(command.arg("--canary-test").arg("--kubeconfig").arg(identity), "")
    };
    let ran = test();
    let version = env!("CARGO_PKG_VERSION");
    assert!(ran.ok(), "{ran}");
    assert_eq!(ran.stdout, format!("the webhook, version {version}, denied each dry run of the canary\n"));

    let healthy = watched.remember(&[CONFIGURATION]);
    patch(watched, "workloads", "replace", "/failurePolicy", &json!("Ignore"));
    let ran = test();
    watched.restore(&healthy);
    assert_eq!(ran.code, Some(1), "{ran}");
    for said in ["the canary was not denied: ", "failurePolicy of entry workloads.writgate.dev is Ignore"] {
        assert!(ran.stderr.contains(said), "{ran}");
    }
    let lease = watched.installation.plane.admin.get(&["lease", "writgate-webhook", "-n", super::SYSTEM_NAMESPACE]);
    assert!(lease.is_none(), "it competes for no Lease");
}

/// A change of the webhook configuration, and what the log says about it.
type Weakening = (&'static str, fn(&Watched), &'static str);

const WEAKENINGS: &[Weakening] = &[
    (
        "deleted",
        |watched| drop(watched.admin(&["delete", CONFIGURATION], "")),
        "the API server admitted it|does not exist|something other than this webhook",
    ),
    (
        "an entry without Deployments",
        |watched| patch(watched, "workloads", "replace", "/rules/0/resources", &json!(["statefulsets"])),
        "a Deployment: ",
    ),
    ("an entry without Jobs", |watched| patch(watched, "workloads", "remove", "/rules/1", &Value::Null), "a Job: "),
    ("an entry without Pods", |watched| patch(watched, "workloads", "remove", "/rules/2", &Value::Null), "a Pod: "),
    (
        "a selector that excludes it",
        |watched| {
            let expression =
                json!({"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["writgate-canary"]});
            patch(watched, "workloads", "add", "/namespaceSelector/matchExpressions/-", &expression);
        },
        "a Deployment: ",
    ),
    (
        "a condition that excludes everything",
        |watched| {
            patch(watched, "workloads", "add", "/matchConditions/-", &json!({"name": "never", "expression": "false"}));
        },
        "a Deployment: ",
    ),
    (
        "an entry that does not guard namespaces",
        |watched| patch(watched, "namespaces", "remove", "", &Value::Null),
        "the removal of a governing label: ",
    ),
    (
        "an entry that is open while the webhook is down",
        |watched| patch(watched, "workloads", "replace", "/failurePolicy", &json!("Ignore")),
        "failurePolicy of entry workloads.writgate.dev is Ignore",
    ),
    (
        "a server that is not there",
        |watched| patch(watched, "workloads", "replace", "/clientConfig/url", &json!("https://127.0.0.1:1/validate")),
        "cannot call the webhook",
    ),
];

fn patch(watched: &Watched, entry: &str, operation: &str, path: &str, value: &Value) {
    let path = format!("/webhooks/{}{path}", watched.entry(entry));
    watched.json_patch(&[CONFIGURATION], &json!([{"op": operation, "path": path, "value": value}]));
}

pub(super) fn is_not_denied_if_the_webhook_configuration_is_removed_or_weakened(watched: &Watched) {
    let _turn = watched.turn();
    let healthy = watched.remember(&[CONFIGURATION]);
    let replica = watched.replica("ringing");
    wait_value(&replica, DENIED, Some(1.0));
    for (what, weaken, said) in WEAKENINGS {
        let logged = replica.lines().len();
        let begun = Instant::now();
        weaken(watched);
        wait_value(&replica, DENIED, Some(0.0));
        assert!(begun.elapsed() < LIMIT, "{what}");
        wait_until(&format!("{what}: the log says so"), LIMIT, || {
            let lines = replica.lines();
            let new = lines.get(logged..).unwrap_or_default();
            (new.contains("the canary was not denied") && said.split('|').any(|said| new.contains(said))).then_some(())
        });
        watched.restore(&healthy);
        wait_value(&replica, DENIED, Some(1.0));
    }
    let events = watched.get(&["events.events.k8s.io", "-n", "default"]);
    let events = events["items"].as_array().expect("a list");
    let of = |reason: &str| {
        let about = |event: &&Value| event["reason"] == reason && event["regarding"]["name"] == "writgate";
        events.iter().filter(about).filter(|event| event["reportingController"] == "writgate.dev/webhook").count()
    };
    let changes = WEAKENINGS.len();
    assert!(of("CanaryNotDenied") >= changes && of("CanaryDenied") == changes, "one for each change: {events:#?}");
}

const MATCHES: &str = "writgate_configuration_matches";

/// A change, and what makes it.
type Narrowing = (&'static str, fn(&Watched));

/// Changes after which every dry run of the canary is still denied.
const NARROWINGS: &[Narrowing] = &[
    ("a selector that excludes another namespace", |watched| {
        let expression = json!({"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["payments"]});
        patch(watched, "workloads", "add", "/namespaceSelector/matchExpressions/-", &expression);
    }),
    ("an objectSelector", |watched| {
        let selector = json!({"matchExpressions": [{"key": "skip", "operator": "DoesNotExist"}]});
        patch(watched, "workloads", "add", "/objectSelector", &selector);
    }),
    ("a condition that excludes a user", |watched| {
        let condition = json!({"name": "mine", "expression": "request.userInfo.username != 'eve'"});
        patch(watched, "workloads", "add", "/matchConditions/-", &condition);
    }),
    ("an entry without StatefulSets", |watched| {
        let resources = json!(["controllerrevisions", "daemonsets", "deployments", "replicasets"]);
        patch(watched, "workloads", "replace", "/rules/0/resources", &resources);
    }),
    ("another spelling of the URL", |watched| {
        let index = watched.entry("workloads");
        let url = watched.get(&[CONFIGURATION])["webhooks"][index]["clientConfig"]["url"].clone();
        let url = url.as_str().expect("a URL").replace("https:", "HTTPS:");
        patch(watched, "workloads", "replace", "/clientConfig/url", &json!(url));
    }),
    ("another entry", |watched| {
        let mut entry = watched.get(&[CONFIGURATION])["webhooks"][watched.entry("connect")].clone();
        entry["name"] = "more.writgate.dev".into();
        watched.json_patch(&[CONFIGURATION], &json!([{"op": "add", "path": "/webhooks/-", "value": entry}]));
    }),
];

pub(super) fn reports_a_webhook_configuration_that_is_not_the_rendered_one(watched: &Watched) {
    let _turn = watched.turn();
    let healthy = watched.remember(&[CONFIGURATION]);
    let entries = watched.get(&[CONFIGURATION])["webhooks"].as_array().expect("entries").clone();
    let mut arguments = vec!["--canary-interval".to_owned(), "1s".to_owned()];
    arguments.extend(entries.iter().map(|entry| format!("--webhook-entry={}", RenderedEntry::of(entry))));
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let replica = watched.replica_with("comparing", &arguments);
    wait_value(&replica, MATCHES, Some(1.0));
    for (what, narrow) in NARROWINGS {
        narrow(watched);
        wait_value(&replica, MATCHES, Some(0.0));
        watched.restore(&healthy);
        wait_value(&replica, MATCHES, Some(1.0));
        assert_eq!(value(&replica, DENIED), Some(1.0), "{what}: the dry runs do not show it");
    }
    let lines = replica.stop();
    let said = |text: &str| lines.matches(text).count();
    let changes = NARROWINGS.len();
    assert_eq!(said("the webhook configuration differs from the one that the chart rendered"), changes, "{lines}");
    assert_eq!(said("entry workloads.writgate.dev is not as the chart rendered it"), changes - 1, "{lines}");
    assert_eq!(said("the webhook configuration is as the chart rendered it again"), changes, "{lines}");
    assert!(!lines.contains("the canary was not denied"), "{lines}");
}
