//! The restore of docs/operations/backup.md after the system namespace was deleted, with the chart's policies and its webhook
//! configuration in force all the time.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Deserializer, Value, json};
use writgate_testing::harness::{Test, tests};
use writgate_testing::{CA_SECRET, Installation, SYSTEM_NAMESPACE, Webhook, denied_for, wait_until};

/// The namespace controller deletes what is in a namespace, and a new bundle must reach the API server.
const LIMIT: Duration = Duration::from_mins(2);
const ACCOUNT: &str = "--as=system:serviceaccount:writgate-system:writgate-webhook";

/// Every test of this file.
pub(crate) fn tests() -> Vec<Test<Installation>> {
    tests![a_restored_ledger_still_knows_what_was_used]
}

/// The objects of a list, without what the API server adds to them.
fn backup(installation: &Installation, args: &[&str]) -> Vec<Value> {
    let list = installation.plane.admin.get(&[args, &["-n", SYSTEM_NAMESPACE]].concat()).expect("a list");
    let mut items = list["items"].as_array().cloned().unwrap_or_else(|| vec![list.clone()]);
    for item in &mut items {
        let metadata = item["metadata"].as_object_mut().expect("metadata");
        metadata.retain(|field, _| matches!(field.as_str(), "name" | "namespace" | "labels" | "annotations"));
    }
    items
}

fn list(items: &[Value]) -> String {
    json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string()
}

/// The objects that `helm install` creates. The cluster-scoped ones exist still.
fn release(installation: &Installation) -> Vec<Value> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests/writgate.yaml");
    let args = ["create", "--dry-run=client", "-o", "json", "-f", file.to_str().expect("a UTF-8 path")];
    let ran = installation.plane.admin.kubectl(&args);
    let objects = Deserializer::from_str(&ran.stdout).into_iter::<Value>();
    let objects = objects.map(|object| object.expect("kubectl prints JSON"));
    objects.filter(|object| object["kind"] != "ValidatingWebhookConfiguration").collect()
}

fn a_restored_ledger_still_knows_what_was_used(installation: &Installation) {
    let Installation { plane, operator, .. } = installation;
    let admin = &plane.admin;
    let governed = installation.governed("restored");
    let job = governed.approved(&governed.replay_job("replay"));
    let replay = || {
        let ran = operator.kubectl(&["delete", "job", "replay", "-n", &governed.namespace, "--ignore-not-found"]);
        assert!(ran.ok(), "{ran}");
        operator.create(&job)
    };
    let ran = replay();
    assert!(ran.ok(), "{ran}");
    assert!(denied_for(&replay(), "AlreadyUsed"));

    let key = backup(installation, &["secret", "writgate-ledger"]);
    let ledger = backup(installation, &["configmaps", "-l", "writgate.dev/kind in (ledger,audit)"]);
    let documents =
        backup(installation, &["configmaps", "-l", "writgate.dev/kind in (posture,reviewers,revocations,pipelines)"]);
    assert!(!ledger.is_empty() && documents.len() >= 2, "{ledger:?} {documents:?}");
    let port = installation.webhook.url("").rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    let process = installation.webhook.process_id().to_string();
    assert!(Command::new("kill").args(["-KILL", &process]).status().expect("kill runs").success());
    let ran = admin.kubectl(&["delete", "namespace", SYSTEM_NAMESPACE, "--timeout=120s"]);
    assert!(ran.ok(), "{ran}");

    // 1. The namespace and the key, before anything can make another key.
    let ran = admin.kubectl(&["create", "namespace", SYSTEM_NAMESPACE]);
    assert!(ran.ok(), "{ran}");
    let ran = admin.kubectl_in(&["create", "-f", "-"], &list(&key));
    assert!(ran.ok(), "{ran}");
    // 2. The release.
    plane.install(&release(installation));
    let secret = format!("{SYSTEM_NAMESPACE}/{CA_SECRET}");
    let args = ["--certificate-secret", &secret, "--certificate-name", "127.0.0.1", "--release-after", "5s"];
    let webhook = Webhook::on_port(plane, "restored", port, &args);
    webhook.wait_ready(LIMIT);
    // 3. The ledger. A cluster administrator is bound by the policy, and may impersonate the webhook.
    let ran = admin.kubectl_in(&["create", "-f", "-"], &list(&ledger));
    assert!(ran.stderr.contains("only the webhook may write or delete ConfigMaps"), "{ran}");
    let ran = admin.kubectl_in(&["create", ACCOUNT, "-f", "-"], &list(&ledger));
    assert!(ran.ok(), "{ran}");
    // Until the documents are back, nothing is admitted, so no approval is used twice meanwhile.
    wait_until("the API server calls the new webhook", LIMIT, || denied_for(&replay(), "PostureMissing").then_some(()));
    // 4. The documents.
    plane.install(&documents);
    wait_until("the posture is in force", LIMIT, || {
        let ran = replay();
        assert!(!ran.ok(), "the approval was used before: {ran}");
        denied_for(&ran, "AlreadyUsed").then_some(())
    });
    let rejected = webhook.metric("writgate_ledger_entries_rejected_total", &[]);
    assert!(rejected.abs() < 0.5, "{rejected} entries of the backup were rejected");
}
