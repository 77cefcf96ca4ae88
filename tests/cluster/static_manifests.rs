//! Manifest-based admission (KEP-5793): the API server reads the webhook configuration and the policies from the files that the chart
//! renders for it. Nobody can remove or weaken them through the API.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use writgate_testing::harness::{Test, tests};
use writgate_testing::{
    Authority, Installation, Plane, Ran, SYSTEM_NAMESPACE, Webhook, denied_for, free_port, helm, scratch, wait_until,
};

/// How long the webhook may take to be ready.
const LIMIT: Duration = Duration::from_secs(30);

/// A control plane whose API server has the files, with a webhook at the address that they name.
pub(crate) struct Static {
    // Declared, and so stopped, before the files are removed.
    installation: Installation,
    _files: TempDir,
}

/// Every test of this file.
pub(crate) fn tests() -> Vec<Test<Static>> {
    tests![no_change_through_the_api_weakens_admission_from_files]
}

/// What the chart renders with these arguments.
fn render(args: &[&str]) -> String {
    let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/writgate");
    let mut command = Command::new(helm());
    command.args(["template", "writgate"]).arg(chart).args(["--namespace", SYSTEM_NAMESPACE]).args(args);
    let output = command.output().expect("make tools has built Helm");
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("YAML")
}

impl Static {
    pub(crate) fn start() -> Self {
        use base64::Engine as _;
        let files = tempfile::tempdir_in(scratch()).expect("a folder");
        let write = |name: &str, text: &str| {
            let path = files.path().join(name);
            fs::create_dir_all(path.parent().expect("it is in the folder")).expect("a folder");
            fs::write(&path, text).expect("written");
            path.display().to_string()
        };
        let (port, authority) = (free_port(), Authority::new("static"));
        let bundle = base64::engine::general_purpose::STANDARD.encode(&authority.certificate);
        let (url, bundle) =
            (format!("staticManifests.url=https://127.0.0.1:{port}"), format!("staticManifests.caBundle={bundle}"));
        let values = ["--set", "staticManifests.render=true", "--set", &url, "--set", &bundle, "--show-only"];
        let of = |template: &str| render(&[&values[..], &[template]].concat());
        write("webhooks/writgate.yaml", &of("templates/webhook.yaml"));
        write("policies/writgate.yaml", &of("templates/policies.yaml"));
        let plane = Plane::with_static_manifests(files.path());

        let release = ["certificates.mode=brought", "staticManifests.enabled=true", "createNamespace=true"];
        let rendered = render(&release.map(|value| ["--set", value]).concat());
        assert!(!rendered.contains("kind: Validating"), "the release has no objects of admission");
        let ran = plane.admin.kubectl_in(&["apply", "--server-side", "-f", "-"], &rendered);
        assert!(ran.ok(), "{ran}");
        let pair = authority.server(&["127.0.0.1"]);
        let (certificate, key) = (write("tls.crt", &pair.certificate), write("tls.key", &pair.key));
        let args = ["--tls-cert-file", &certificate, "--tls-private-key-file", &key];
        let webhook = Webhook::on_port(&plane, "static", port, &args);
        webhook.wait_ready(LIMIT);
        Self { installation: Installation::of(plane, webhook), _files: files }
    }
}

fn no_change_through_the_api_weakens_admission_from_files(fixture: &Static) {
    let Static { installation, .. } = fixture;
    let (admin, operator) = (&installation.plane.admin, &installation.operator);
    let governed = installation.governed("static");
    let kinds = [
        "validatingwebhookconfigurations",
        "validatingadmissionpolicies",
        "validatingadmissionpolicybindings",
        "mutatingwebhookconfigurations",
    ];
    for kind in kinds {
        let list = admin.get(&[kind]).expect("a list");
        assert!(!list.to_string().contains("writgate"), "the files are not objects of the API: {list}");
        let ran = admin.kubectl(&["delete", kind, "--all"]);
        assert!(ran.ok(), "{ran}");
    }
    let ran = operator.create(&governed.deployment("unapproved"));
    assert!(denied_for(&ran, "ApprovalRequired"), "{ran}");
    let ran = operator.create(&governed.approved(&governed.deployment("approved")));
    assert!(ran.ok(), "{ran}");

    let wait_for_checks = |statuses: &[(&str, &str)]| {
        wait_until("doctor reports it", LIMIT, || {
            let checks = "webhook-configuration,ca-bundle,policies,versions,dry-run";
            let mut command = admin.command(writgate_testing::plugin());
            let args = ["doctor", "--only", checks, "--system-namespace", SYSTEM_NAMESPACE, "-o", "json"];
            let ran = Ran::of(command.args(args), "");
            let report: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran}"));
            let is = |(check, status): &(&str, &str)| {
                let mut all = report["checks"].as_array().expect("checks").iter();
                all.any(|one| one["check"] == *check && one["status"] == *status)
            };
            statuses.iter().all(is).then_some(())
        });
    };
    let is_ok = ["ca-bundle", "policies", "versions", "dry-run"].map(|check| (check, "ok"));
    wait_for_checks(&is_ok);
    wait_for_checks(&[("webhook-configuration", "ok")]);

    // An object with the name would be mistaken for the file.
    let mut configuration: Value = json!({"apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration", "metadata": {"name": "writgate"}, "webhooks": []});
    let ran = admin.create(&configuration);
    assert!(ran.ok(), "the name without the suffix is free: {ran}");
    wait_for_checks(&[("webhook-configuration", "failed"), is_ok[3]]);
    configuration["metadata"]["name"] = json!("writgate.static.k8s.io");
    let ran = admin.create(&configuration);
    assert!(ran.stderr.contains("reserved for static manifest-based configurations"), "{ran}");

    let is_refused = |object: &Value, policy: &str| {
        let ran = admin.create(object);
        let policy = format!("ValidatingAdmissionPolicy '{policy}.writgate.dev.static.k8s.io'");
        assert!(ran.code == Some(1) && ran.stderr.contains(&policy), "{ran}");
    };
    let event = json!({"apiVersion": "events.k8s.io/v1", "kind": "Event",
        "metadata": {"name": "forged", "namespace": governed.namespace},
        "regarding": {"apiVersion": "apps/v1", "kind": "Deployment", "namespace": governed.namespace, "name": "approved"},
        "eventTime": "2026-11-28T11:00:00.000000Z", "reason": "Admitted", "type": "Normal", "note": "admitted",
        "action": "deploy", "reportingController": "writgate.dev/webhook", "reportingInstance": "x"});
    is_refused(&event, "events");
    let entry = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "entry", "namespace": SYSTEM_NAMESPACE,
        "labels": {"writgate.dev/kind": "ledger"}}});
    is_refused(&entry, "ledger");

    // The API server of this plane traces every request.
    let log = installation.webhook.lines();
    let traced =
        log.lines().filter(|line| line.contains("decided in a trace") && line.contains("\"traceparent\":\"00-"));
    assert!(traced.count() >= 2, "{log}");

    let process = installation.webhook.process_id().to_string();
    assert!(Command::new("kill").args(["-KILL", &process]).status().expect("kill runs").success());
    let ran = operator.create(&governed.approved(&governed.deployment("late")));
    assert!(ran.stderr.contains("failed calling webhook \"workloads.writgate.dev\""), "{ran}");
    wait_for_checks(&[("dry-run", "failed"), ("ca-bundle", "unknown"), ("policies", "ok")]);
}
