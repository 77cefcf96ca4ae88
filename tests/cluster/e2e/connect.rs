//! Connections into the Pods of a governed namespace. The webhook decides before anything connects. There is no kubelet, so a
//! connection that it admits fails one step later.

use serde_json::{Value, json};

use crate::e2e::trail;
use writgate_testing::harness::{Test, tests};
use writgate_testing::{Governed, Installation, Ran, denied_for};

pub(crate) fn tests() -> Vec<Test<Installation>> {
    tests![
        denies_every_connection_under_deny,
        a_connection_under_audit_is_recorded_without_its_command_line,
        a_connection_under_allow_is_not_an_action,
    ]
}

const SECRET: &str = "s3cret-7f2a";

/// A governed namespace with a Pod `p` whose status says that it is running.
fn with_pod<'a>(installation: &'a Installation, rule: &str) -> Governed<'a> {
    let governed = installation.governed_with("connect", |posture| {
        posture["connect"] = json!(rule);
        posture["pods"] = json!("allow");
    });
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": governed.namespace},
        "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let ran = installation.tenant.create(&pod);
    assert!(ran.ok(), "{ran}");
    let running = r#"{"status":{"phase":"Running"}}"#;
    let ran = installation.plane.admin.kubectl(&[
        "patch",
        "pod",
        "p",
        "--subresource=status",
        "-p",
        running,
        "-n",
        &governed.namespace,
    ]);
    assert!(ran.ok(), "{ran}");
    governed
}

/// Opens each kind of connection as the tenant; the first value is its subresource.
fn ways(governed: &Governed<'_>) -> [(&'static str, Ran); 4] {
    let namespace = &governed.namespace;
    let tenant = &governed.installation.tenant;
    let path = format!("/api/v1/namespaces/{namespace}/pods/p/proxy/{SECRET}");
    [
        ("exec", tenant.kubectl(&["exec", "p", "-c", "c", "-n", namespace, "--", "sh", "-c", SECRET])),
        ("attach", tenant.kubectl(&["attach", "p", "-c", "c", "-n", namespace])),
        ("portforward", tenant.kubectl(&["port-forward", "p", "8080", "-n", namespace])),
        ("proxy", tenant.kubectl(&["get", "--raw", &path])),
    ]
}

/// Whether the API server admitted the connection and then found no kubelet or no address.
fn is_admitted(ran: &Ran) -> bool {
    let nowhere = ["does not have a host assigned", "address not allowed"];
    !ran.ok() && nowhere.iter().any(|why| ran.stderr.contains(why))
}

fn records(governed: &Governed<'_>) -> Vec<Value> {
    trail::records(governed, |record| record["operation"] == "CONNECT")
}

fn denies_every_connection_under_deny(installation: &Installation) {
    let governed = with_pod(installation, "deny");
    for (way, ran) in ways(&governed) {
        assert!(denied_for(&ran, "WorkloadNotAllowed"), "{way}: {ran}");
        assert!(ran.stderr.contains(&format!("the posture denies {way} into a Pod (connect: deny)")), "{ran}");
    }
    let records = records(&governed);
    assert!(records.iter().all(|record| record["decision"] == "denied"), "{records:?}");
    assert_eq!(trail::event_of(&governed, &records[0])["reason"], "WorkloadNotAllowed");
}

fn a_connection_under_audit_is_recorded_without_its_command_line(installation: &Installation) {
    let governed = with_pod(installation, "audit");
    for (way, ran) in ways(&governed) {
        assert!(is_admitted(&ran), "{way}: {ran}");
    }
    let records = records(&governed);
    for way in ["exec", "attach", "portforward", "proxy"] {
        let record = records.iter().find(|record| record["connection"]["subresource"] == way);
        let record = record.unwrap_or_else(|| panic!("no record of {way}: {records:?}"));
        assert_eq!((&record["decision"], &record["object"]["kind"]), (&json!("admitted"), &json!("Pod")), "{record}");
        assert_eq!(record["initiator"]["username"], installation.tenant.name.as_str());
        let container = matches!(way, "exec" | "attach").then_some("c");
        assert_eq!(record["connection"]["container"], json!(container), "{record}");
        assert_eq!(trail::audit_annotations(&governed, "connect", record)["connect.writgate.dev/decision"], "admitted");
        let event = trail::event_of(&governed, record);
        assert_eq!((&event["reason"], &event["type"]), (&json!("ConnectAdmitted"), &json!("Normal")), "{event}");
        assert_eq!((&event["regarding"]["kind"], &event["regarding"]["name"]), (&json!("Pod"), &json!("p")), "{event}");
        assert!(event["note"].as_str().is_some_and(|note| note.contains(&installation.tenant.name)), "{event}");
    }
    for text in records.iter().chain(&trail::events(&governed, |_| true)) {
        assert!(!text.to_string().contains(SECRET), "{text}");
    }
}

fn a_connection_under_allow_is_not_an_action(installation: &Installation) {
    let governed = with_pod(installation, "allow");
    for (way, ran) in ways(&governed) {
        assert!(is_admitted(&ran), "{way}: {ran}");
    }
    assert_eq!(records(&governed), Vec::<Value>::new());
}
