//! A real Prometheus that scrapes the webhook and the API server: the dashboard's queries have results, and the most important alert
//! fires. The unit tests of the alerts are `tests/prometheus/alerts.yaml`.

use std::fs;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use writgate_testing::harness::{Test, tests};
use writgate_testing::{Installation, Process, denied_for, free_port, prometheus, repository, wait_until};

/// Long enough for a rate over some scrapes on a busy machine.
const LIMIT: Duration = Duration::from_mins(2);
/// Only the replica that holds the Lease has these.
const OF_THE_HOLDER: [&str; 2] = ["writgate_canary_", "writgate_reaudit_"];

/// Every test of this file.
pub(crate) fn tests() -> Vec<Test<Installation>> {
    tests![the_dashboard_has_data_and_an_unreachable_webhook_fires_an_alert]
}

struct Prometheus {
    _process: Process,
    url: String,
}

impl Prometheus {
    fn start(installation: &Installation) -> Self {
        let plane = &installation.plane;
        let folder = plane.folder.join("prometheus");
        fs::create_dir_all(&folder).expect("a folder");
        let write = |name: &str, text: &str| {
            let path = folder.join(name);
            fs::write(&path, text).expect("written");
            path
        };
        let pair = plane.authority.client("prometheus", &["system:masters"]);
        let (certificate, key) = (write("client.crt", &pair.certificate), write("client.key", &pair.key));
        let api_server = plane.server().trim_start_matches("https://");
        let config = json!({
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [repository().join("charts/writgate/monitoring/alerts.yaml")],
            "scrape_configs": [
                {"job_name": "writgate",
                 "static_configs": [{"targets": [format!("127.0.0.1:{}", installation.webhook.admin_port())]}]},
                {"job_name": "apiserver", "scheme": "https", "static_configs": [{"targets": [api_server]}],
                 "tls_config": {"ca_file": plane.authority_file(), "cert_file": certificate, "key_file": key}},
            ]
        });
        let address = format!("127.0.0.1:{}", free_port());
        let mut command = Command::new(prometheus().join("prometheus"));
        command
            .arg(format!("--config.file={}", write("prometheus.yaml", &config.to_string()).display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
            .arg(format!("--web.listen-address={address}"));
        let process = Process::start("prometheus", command, &plane.folder.join("logs"), None);
        Self { _process: process, url: format!("http://{address}") }
    }

    /// The samples that a query returns now.
    fn query(&self, expression: &str) -> Option<Vec<Value>> {
        let mut command = Command::new(prometheus().join("promtool"));
        let output = command.args(["query", "instant", "--format=json", &self.url, expression]).output();
        let output = output.expect("promtool runs");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(!errors.contains("bad_data"), "{expression}: {errors}");
        serde_json::from_slice(&output.stdout).ok()
    }
}

/// The expressions of the dashboard, with the interval that Grafana would put into them.
fn dashboard() -> Vec<String> {
    let path = repository().join("charts/writgate/monitoring/dashboard.json");
    let dashboard: Value = serde_json::from_str(&fs::read_to_string(path).expect("it exists")).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels").clone();
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    let expression = |target: &Value| target["expr"].as_str().expect("an expression").replace("$__rate_interval", "1m");
    targets.map(expression).collect()
}

fn the_dashboard_has_data_and_an_unreachable_webhook_fires_an_alert(installation: &Installation) {
    let prometheus = Prometheus::start(installation);
    let governed = installation.governed("watched");
    let audited = installation.governed_with("audited", |posture| posture["enforcement"] = json!("audit"));
    let unreachable = installation.plane.namespace("unreachable");
    let configuration = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "unreachable"},
        "webhooks": [{"name": "unreachable.writgate.dev", "admissionReviewVersions": ["v1"], "sideEffects": "None",
            "clientConfig": {"url": "https://127.0.0.1:1/validate"},
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": unreachable}},
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["secrets"], "operations": ["CREATE"]}]}]});
    installation.plane.install(&[configuration]);
    wait_until("a webhook is unreachable", LIMIT, || {
        let args = ["create", "secret", "generic", "refused", "-n", &unreachable, "--dry-run=server"];
        let ran = installation.plane.admin.kubectl(&args);
        ran.stderr.contains("failed calling webhook \"unreachable.writgate.dev\"").then_some(())
    });

    let mut attempts = 0;
    for expression in dashboard() {
        if OF_THE_HOLDER.iter().any(|metric| expression.contains(metric)) {
            continue;
        }
        wait_until(&format!("the query has a result: {expression}"), LIMIT, || {
            // A rate requires a series that has existed for two scrapes, and changes while it is watched.
            attempts += 1;
            let ran = installation.operator.create(&governed.deployment("unapproved"));
            assert!(denied_for(&ran, "ApprovalRequired"), "{ran}");
            let manifest = audited.deployment(&format!("unapproved-{attempts}"));
            assert!(installation.operator.create(&manifest).ok());
            prometheus.query(&expression).filter(|samples| !samples.is_empty())
        });
    }
    let fires =
        "ALERTS{alertname=\"WritgateWebhookUnreachable\",alertstate=\"firing\",name=\"unreachable.writgate.dev\"}";
    wait_until("the alert fires", LIMIT, || prometheus.query(fires).filter(|samples| samples.len() == 1));
    // The installation is sound, so no other serious alert fires. Its webhook was not reachable for a moment when it was installed.
    let others = "ALERTS{severity=\"critical\",alertname!~\"WritgateWebhookUnreachable|WritgateFailOpen\"}";
    let others = prometheus.query(others).expect("an answer");
    assert!(others.is_empty(), "{others:#?}");
}
