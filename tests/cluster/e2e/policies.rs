//! The chart's admission policies, with which the API server itself protects the webhook's Events and its ledger. The other
//! tests show that the policies let the webhook write them.

use std::time::Duration;

use serde_json::{Value, json};

use crate::e2e::trail;
use writgate_testing::harness::{Test, tests};
use writgate_testing::{Governed, Installation, Ran, SYSTEM_NAMESPACE, User, document, wait_until};

pub(crate) fn tests() -> Vec<Test<Installation>> {
    tests![
        a_tenant_cannot_forge_the_webhooks_events,
        a_tenant_cannot_change_or_delete_the_webhooks_events,
        a_namespace_with_the_webhooks_events_can_be_deleted,
        only_the_webhook_may_write_the_ledger,
        the_webhooks_account_may_write_only_the_ledger,
        a_job_completes_in_a_governed_namespace,
    ]
}

const CONTROLLER: &str = "writgate.dev/webhook";

fn is_refused(ran: &Ran, policy: &str) -> bool {
    ran.code == Some(1) && ran.stderr.contains(&format!("ValidatingAdmissionPolicy '{policy}'"))
}

/// A tenant's Event in the core API, changed by `change`.
fn core_event(governed: &Governed<'_>, name: &str, change: impl FnOnce(&mut Value)) -> Value {
    let namespace = &governed.namespace;
    let mut event = json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": name, "namespace": namespace},
        "involvedObject": {"apiVersion": "apps/v1", "kind": "Deployment", "namespace": namespace, "name": "orders"},
        "reason": "Admitted", "type": "Normal", "message": "admitted", "source": {"component": "tina"}});
    change(&mut event);
    event
}

/// An Event in `events.k8s.io`.
fn new_event(governed: &Governed<'_>, name: &str, controller: &str) -> Value {
    let namespace = &governed.namespace;
    json!({"apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": name, "namespace": namespace},
        "regarding": {"apiVersion": "apps/v1", "kind": "Deployment", "namespace": namespace, "name": "orders"},
        "eventTime": "2026-11-22T11:00:00.000000Z", "reason": "Admitted", "type": "Normal", "note": "admitted",
        "action": "deploy", "reportingController": controller, "reportingInstance": "x"})
}

fn a_tenant_cannot_forge_the_webhooks_events(installation: &Installation) {
    let governed = installation.governed("forged");
    let create = |event: Value| installation.tenant.create(&event);
    for ran in [
        create(new_event(&governed, "a", "example.com/tina")),
        create(core_event(&governed, "b", |_| ())),
        create(core_event(&governed, "c", |event| event["reportingComponent"] = json!("example.com/tina"))),
    ] {
        assert!(ran.ok(), "a tenant creates an Event: {ran}");
    }
    let forged = [
        create(new_event(&governed, "d", CONTROLLER)),
        create(core_event(&governed, "d", |event| event["reportingComponent"] = json!(CONTROLLER))),
        create(core_event(&governed, "d", |event| event["source"]["component"] = json!(CONTROLLER))),
        create(core_event(&governed, "d", |event| {
            event["source"]["component"] = json!("writgate.dev/webhook\u{200b}");
        })),
        create(core_event(&governed, "d", |event| event["reportingComponent"] = json!("Writgate.dev/Webhook"))),
        create(core_event(&governed, "d", |event| event["source"]["component"] = json!("\u{2060}writgate"))),
        create(core_event(&governed, "d", |event| {
            event["metadata"]["annotations"] = json!({"writgate.dev/decision": "{}"});
        })),
        installation.tenant.kubectl(&["annotate", "event", "b", "writgate.dev/decision={}", "-n", &governed.namespace]),
        patch(&governed, "b", &json!({"reportingComponent": CONTROLLER})),
        patch(&governed, "b", &json!({"source": {"component": CONTROLLER}})),
    ];
    for (index, ran) in forged.iter().enumerate() {
        assert!(is_refused(ran, "events.writgate.dev"), "{index}: {ran}");
    }
    let ran = patch(&governed, "b", &json!({"reason": "Other"}));
    assert!(ran.ok(), "a tenant changes their Event: {ran}");
}

fn a_tenant_cannot_change_or_delete_the_webhooks_events(installation: &Installation) {
    let governed = installation.governed("kept");
    let ran = installation.operator.apply(&governed.deployment("orders"));
    assert!(!ran.ok(), "{ran}");
    let denied = trail::records(&governed, |record| record["dryRun"] == false).pop().expect("a denial");
    let event = trail::event_of(&governed, &denied);
    let name = event["metadata"]["name"].as_str().expect("a name");
    for own in ["own", "other"] {
        assert!(installation.tenant.create(&core_event(&governed, own, |_| ())).ok());
    }
    let namespace = &governed.namespace;
    let tenant = |args: &[&str]| installation.tenant.kubectl(&[args, &["-n", namespace]].concat());
    let collection =
        |api: &str| installation.tenant.kubectl(&["delete", "--raw", &format!("/{api}/namespaces/{namespace}/events")]);
    let ways = [
        patch(&governed, name, &json!({"reason": "Admitted"})),
        patch(&governed, name, &json!({"message": "all is well"})),
        patch(
            &governed,
            name,
            &json!({"reportingComponent": "example.com/tina", "metadata": {"annotations": {"writgate.dev/decision": null}}}),
        ),
        patch(&governed, name, &json!({"metadata": {"labels": {"a": "b"}}})),
        tenant(&["delete", "event", name]),
        tenant(&["delete", "events.events.k8s.io", name]),
        collection("api/v1"),
        collection("apis/events.k8s.io/v1"),
    ];
    for (index, ran) in ways.iter().enumerate() {
        assert!(is_refused(ran, "events.writgate.dev"), "{index}: {ran}");
    }
    assert!(patch(&governed, name, &json!({"reason": "Admitted"})).stderr.contains("(Forbidden)"));
    // The API server checks every Event of a collection separately, so it may have deleted the tenant's Events already.
    let ran = tenant(&["delete", "events", "own", "other", "--ignore-not-found"]);
    assert!(ran.ok(), "a tenant deletes their Events: {ran}");
    assert_eq!(trail::event_of(&governed, &denied), event, "the Event is unchanged");
}

fn a_namespace_with_the_webhooks_events_can_be_deleted(installation: &Installation) {
    let governed = installation.governed("ending");
    let ran = installation.operator.apply(&governed.approved(&governed.deployment("orders")));
    assert!(ran.ok(), "{ran}");
    let admitted = trail::records(&governed, |record| record["decision"] == "admitted").pop().expect("an admission");
    trail::event_of(&governed, &admitted);
    let admin = &installation.plane.admin;
    assert!(admin.kubectl(&["delete", "namespace", &governed.namespace, "--wait=false"]).ok());
    wait_until("the namespace is gone", Duration::from_mins(1), || {
        admin.get(&["namespace", &governed.namespace]).is_none().then_some(())
    });
}

fn only_the_webhook_may_write_the_ledger(installation: &Installation) {
    let (admin, webhook) = (&installation.plane.admin, AsWebhook(&installation.plane.admin));
    let ledger = |name: &str| config_map(name, &json!({"writgate.dev/kind": "ledger"}));
    let ran = webhook.create(&ledger("entry"));
    assert!(ran.ok(), "the webhook writes its ledger: {ran}");
    for name in ["plain", "use-cases", "history-of-prices"] {
        let ran = admin.create(&config_map(name, &json!({})));
        assert!(ran.ok(), "ConfigMap {name} is outside the ledger: {ran}");
    }
    let in_system = |args: &[&str]| admin.kubectl(&[args, &["-n", SYSTEM_NAMESPACE]].concat());
    let ways = [
        admin.create(&ledger("forged")),
        admin.create(&config_map(&format!("history-{}", "a1".repeat(32)), &json!({}))),
        admin.create(&config_map(&format!("use-{}", "a1".repeat(32)), &json!({"writgate.dev/kind": "posture"}))),
        admin.create(&config_map("record-01935a00-0000-7000-8000-000000000001", &json!({}))),
        in_system(&["label", "configmap", "plain", "writgate.dev/kind=ledger"]),
        in_system(&["label", "configmap", "entry", "writgate.dev/kind-"]),
        in_system(&["label", "--overwrite", "configmap", "entry", "writgate.dev/kind=posture"]),
        in_system(&["patch", "configmap", "entry", "-p", r#"{"data":{"a":"b"}}"#]),
        in_system(&["delete", "configmap", "entry"]),
        in_system(&["delete", "configmap", "-l", "writgate.dev/kind=ledger"]),
    ];
    for (index, ran) in ways.iter().enumerate() {
        assert!(is_refused(ran, "ledger.writgate.dev"), "{index}: {ran}");
    }
    let elsewhere = installation.plane.namespace("ledger");
    let mut object = ledger("entry");
    object["metadata"]["namespace"] = json!(elsewhere);
    let ran = admin.create(&object);
    assert!(ran.ok(), "the label in another namespace: {ran}");
    for ran in [
        webhook.kubectl(&["delete", "configmap", "entry", "-n", SYSTEM_NAMESPACE]),
        in_system(&["delete", "configmap", "plain"]),
    ] {
        assert!(ran.ok(), "{ran}");
    }
}

fn the_webhooks_account_may_write_only_the_ledger(installation: &Installation) {
    let webhook = AsWebhook(&installation.plane.admin);
    let list = json!({"apiVersion": "writgate.dev/v1", "kind": "Revocations"});
    let posture = document("revocations", "planted", &list);
    let ran = webhook.create(&posture);
    assert!(is_refused(&ran, "ledger.writgate.dev"), "{ran}");
    let ran = installation.plane.admin.create(&posture);
    assert!(ran.ok(), "{ran}");
    for args in [
        ["label", "--overwrite", "configmap", "planted", "writgate.dev/kind=ledger"].as_slice(),
        &["patch", "configmap", "planted", "-p", r#"{"data":{"a":"b"}}"#],
        &["delete", "configmap", "planted"],
    ] {
        let ran = webhook.kubectl(&[args, &["-n", SYSTEM_NAMESPACE]].concat());
        assert!(is_refused(&ran, "ledger.writgate.dev"), "{args:?}: {ran}");
    }
    assert!(installation.plane.admin.kubectl(&["delete", "configmap", "planted", "-n", SYSTEM_NAMESPACE]).ok());
}

/// The policy on Pods lets the Job controller count them: it removes its finalizer from each.
fn a_job_completes_in_a_governed_namespace(installation: &Installation) {
    let governed = installation.governed("completes");
    let ran = installation.operator.apply(&governed.approved(&governed.replay_job("replay")));
    assert!(ran.ok(), "{ran}");
    let (admin, namespace) = (&installation.plane.admin, &governed.namespace);
    let pod = wait_until("the Job has a Pod", Duration::from_mins(1), || {
        let pods = admin.get(&["pods", "-n", namespace])?;
        Some(pods["items"][0]["metadata"]["name"].as_str()?.to_owned())
    });
    let status = json!({"status": {"phase": "Succeeded"}}).to_string();
    let ran =
        admin.kubectl(&["patch", "pod", &pod, "-n", namespace, "--subresource=status", "--type=merge", "-p", &status]);
    assert!(ran.ok(), "{ran}");
    wait_until("the Job is complete", Duration::from_mins(1), || {
        let job = admin.get(&["job", "replay", "-n", namespace])?;
        (job["status"]["succeeded"] == 1).then_some(())
    });
}

fn patch(governed: &Governed<'_>, event: &str, patch: &Value) -> Ran {
    let args = ["patch", "events.v1.", event, "--type=merge", "-p", &patch.to_string(), "-n", &governed.namespace];
    governed.installation.tenant.kubectl(&args)
}

fn config_map(name: &str, labels: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": SYSTEM_NAMESPACE, "labels": labels}})
}

/// The webhook's account with all rights, so that only the policy can refuse.
pub(crate) struct AsWebhook<'a>(pub(crate) &'a User);

impl AsWebhook<'_> {
    const FLAGS: [&'static str; 2] =
        ["--as=system:serviceaccount:writgate-system:writgate-webhook", "--as-group=system:masters"];

    pub(crate) fn create(&self, object: &Value) -> Ran {
        self.0.kubectl_in(&[&["create", "-f", "-"], Self::FLAGS.as_slice()].concat(), &object.to_string())
    }

    pub(crate) fn kubectl(&self, args: &[&str]) -> Ran {
        self.0.kubectl(&[args, &Self::FLAGS].concat())
    }
}
