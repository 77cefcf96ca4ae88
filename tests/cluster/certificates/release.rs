//! The release itself: upgrades after the webhook wrote the bundle, and the policy that confines the webhook's right to write it.

use serde_json::{Value, json};

use crate::certificates::{LIMIT, Released, base64, certificates, text};
use writgate_testing::{CA_SECRET, SYSTEM_NAMESPACE, Webhook, wait_until};

fn configuration(released: &Released) -> Value {
    released.plane.admin.get(&["validatingwebhookconfiguration", "writgate"]).expect("the release has one")
}

/// The bundles of all entries.
fn bundles(released: &Released) -> Vec<String> {
    let found = configuration(released);
    let entries = found["webhooks"].as_array().expect("it has entries");
    entries.iter().map(|entry| text(&entry["clientConfig"]["caBundle"])).collect()
}

/// The chart's webhook with the chart's names. Its Service has no route on loopback, so no API server calls it.
fn webhook(released: &Released, name: &str) -> Webhook {
    let secret = format!("{SYSTEM_NAMESPACE}/{CA_SECRET}");
    let args = ["--certificate-secret", &secret];
    let webhook = Webhook::with_certificate(&released.plane, name, CA_SECRET, &args);
    webhook.wait_ready(LIMIT);
    webhook
}

pub(super) fn helm_upgrades_and_rolls_back_without_a_conflict_and_the_bundle_stays(released: &Released) {
    let webhook = webhook(released, "release");
    let ours = webhook.authority(&released.plane);
    let written = bundles(released);
    assert!(written.len() >= 7 && written.iter().all(|bundle| bundle.contains(ours.trim())), "{written:?}");
    let upgrade = |timeout: &str| {
        released.helm(&["upgrade", "writgate", "CHART", "--set", &format!("webhook.timeoutSeconds={timeout}")])
    };
    let rollback = || released.helm(&["rollback", "writgate", "1"]);
    let steps: [(&str, &dyn Fn() -> writgate_testing::Ran, i64); 4] = [
        ("an upgrade", &|| upgrade("7"), 7),
        ("a second upgrade", &|| upgrade("8"), 8),
        ("an upgrade without a change", &|| upgrade("8"), 8),
        ("a rollback", &rollback, 5),
    ];
    for (what, run, timeout) in steps {
        let ran = run();
        assert!(ran.ok(), "{what}: {ran}");
        assert_eq!(configuration(released)["webhooks"][0]["timeoutSeconds"], timeout, "{what} has an effect");
        assert_eq!(bundles(released), written, "{what}");
        assert_eq!(webhook.authority(&released.plane), ours, "{what} keeps the CA");
    }
    restores_what_others_changed(released);
    let log = webhook.stop();
    // Another test runs a replica of the same release, which may have written it.
    assert!(log.matches("caBundle written").count() <= 1, "the bundle was never repaired: {log}");
}

/// As docs/operations/doctor.md says.
fn restores_what_others_changed(released: &Released) {
    let entry = |configuration: &Value| {
        let mut entry = configuration["webhooks"][0].clone();
        entry["clientConfig"].as_object_mut().expect("an object").remove("caBundle");
        entry
    };
    let rendered = entry(&configuration(released));
    let add = |path: &str, value: Value| {
        let patch = json!([{"op": "add", "path": format!("/webhooks/0/{path}"), "value": value}]).to_string();
        released.admin(&["patch", "validatingwebhookconfiguration", "writgate", "--type=json", "-p", &patch]);
    };
    add("failurePolicy", json!("Ignore"));
    add("matchConditions/-", json!({"name": "never", "expression": "false"}));

    let upgrade = ["upgrade", "writgate", "CHART", "--reuse-values"];
    let ran = released.helm(&upgrade);
    assert!(ran.stderr.contains("conflict with \"kubectl-patch\"") && ran.stderr.contains(".failurePolicy"), "{ran}");
    let ran = released.helm(&[&upgrade[..], &["--force-conflicts"]].concat());
    assert!(ran.ok(), "{ran}");
    let upgraded = entry(&configuration(released));
    assert_eq!(upgraded["failurePolicy"], "Fail");
    assert_eq!(upgraded["matchConditions"][2]["name"], "never", "Helm leaves what it did not write");

    let values = tempfile::NamedTempFile::new().expect("a file");
    let ran = released.helm(&["get", "values", "writgate", "-o", "yaml"]);
    std::fs::write(values.path(), &ran.stdout).expect("it can be written");
    let values = values.path().to_str().expect("UTF-8");
    let ran =
        released.helm(&["template", "writgate", "CHART", "--values", values, "--show-only", "templates/webhook.yaml"]);
    // Other tests would see that the real replacement removes the bundle for a moment.
    let replace = ["replace", "-f", "-", "--dry-run=server", "-o", "json"];
    let ran = released.plane.admin.kubectl_in(&replace, &ran.stdout);
    assert!(ran.ok(), "{ran}");
    assert_eq!(entry(&serde_json::from_str(&ran.stdout).expect("JSON")), rendered);

    released.admin(&[
        "patch",
        "validatingwebhookconfiguration",
        "writgate",
        "--type=json",
        "-p",
        r#"[{"op": "remove", "path": "/webhooks/0/matchConditions/2"}]"#,
    ]);
}

pub(super) fn the_webhook_may_change_only_the_bundle(released: &Released) {
    let webhook = webhook(released, "confined");
    let identity = &webhook.identity;
    let patch = |patch: &Value| {
        let args = ["patch", "validatingwebhookconfiguration", "writgate", "--type=json", "--dry-run=server", "-p"];
        identity.kubectl(&[&args[..], &[&patch.to_string()]].concat())
    };
    let replace = |path: &str, value: Value| patch(&json!([{"op": "add", "path": path, "value": value}]));
    let other = writgate_testing::Authority::new("other").certificate;
    assert_eq!(certificates(&other), 1);
    let ran = replace("/webhooks/0/clientConfig/caBundle", json!(base64(&other)));
    assert!(ran.ok(), "{ran}");

    let entry = configuration(released)["webhooks"][0].clone();
    let mut rule = entry["rules"].clone();
    rule.as_array_mut().expect("rules").truncate(1);
    let expression = json!([{"name": "never", "expression": "false"}]);
    for (path, value) in [
        ("/webhooks/0/failurePolicy", json!("Ignore")),
        ("/webhooks/0/matchConditions", expression),
        ("/webhooks/0/matchPolicy", json!("Exact")),
        ("/webhooks/0/namespaceSelector", json!({"matchLabels": {"no": "namespace"}})),
        ("/webhooks/0/objectSelector", json!({"matchLabels": {"no": "object"}})),
        ("/webhooks/0/rules", rule),
        ("/webhooks/0/sideEffects", json!("None")),
        ("/webhooks/0/timeoutSeconds", json!(1)),
        ("/webhooks/0/admissionReviewVersions", json!(["v1", "v1beta1"])),
        ("/webhooks/0/name", json!("other.writgate.dev")),
        ("/webhooks/0/clientConfig/service/name", json!("other")),
        ("/webhooks/0/clientConfig/service/namespace", json!("default")),
        ("/webhooks/0/clientConfig/service/path", json!("/livez")),
        ("/webhooks/0/clientConfig/service/port", json!(8443)),
        ("/webhooks/0/clientConfig", json!({"url": "https://other.example/validate"})),
        ("/metadata/annotations", json!({"example.com/note": "x"})),
        ("/metadata/labels", json!({})),
        ("/metadata/finalizers", json!(["example.com/f"])),
        ("/metadata/ownerReferences", json!([{"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "u"}])),
        ("/webhooks", json!([])),
        ("/webhooks", json!([entry])),
    ] {
        let ran = replace(path, value);
        assert!(!ran.ok() && ran.stderr.contains("the webhook may change only caBundle"), "{path}: {ran}");
    }
    for args in [
        &["delete", "validatingwebhookconfiguration", "writgate", "--dry-run=server"][..],
        &["delete", "validatingadmissionpolicy", "configuration.writgate.dev", "--dry-run=server"],
        &["get", "secrets", "-n", SYSTEM_NAMESPACE],
        &["get", "validatingwebhookconfigurations"],
    ] {
        let ran = identity.kubectl(args);
        assert!(ran.stderr.contains("Forbidden"), "{args:?}: {ran}");
    }
    // Others are not confined by it.
    let patch = json!([{"op": "add", "path": "/webhooks/0/timeoutSeconds", "value": 1}]).to_string();
    released.admin(&[
        "patch",
        "validatingwebhookconfiguration",
        "writgate",
        "--type=json",
        "--dry-run=server",
        "-p",
        &patch,
    ]);
    wait_until("nothing was changed", LIMIT, || (configuration(released)["webhooks"][0] == entry).then_some(()));
}

/// A field of a new version of Kubernetes must be added to the policy.
pub(super) fn the_policy_names_every_field_of_an_entry(released: &Released) {
    let ran = released.admin(&["get", "--raw", "/openapi/v3/apis/admissionregistration.k8s.io/v1"]);
    let schemas: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    let fields = |kind: &str| -> Vec<String> {
        let name = format!("io.k8s.api.admissionregistration.v1.{kind}");
        let properties = schemas["components"]["schemas"][&name]["properties"].as_object();
        properties.unwrap_or_else(|| panic!("no schema of {kind}")).keys().cloned().collect()
    };
    let policy = released.plane.admin.get(&["validatingadmissionpolicy", "configuration.writgate.dev"]);
    let expression = policy.expect("it is installed")["spec"]["validations"][0]["expression"].to_string();
    for field in fields("ValidatingWebhook") {
        let is_named = expression.contains(&format!("entry.?{field}")) || field == "name";
        assert!(is_named, "{field}");
    }
    for field in fields("WebhookClientConfig") {
        assert_eq!(expression.contains(&format!("clientConfig.?{field}")), field != "caBundle", "{field}");
    }
    assert_eq!(fields("ValidatingWebhookConfiguration"), ["apiVersion", "kind", "metadata", "webhooks"]);
}
