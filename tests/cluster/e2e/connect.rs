//! Ways into the Pods of a governed namespace. There is no kubelet, so one that is permitted fails a step later: nothing
//! has to run for the gate to be asked.

use serde_json::{Value, json};

use crate::e2e::trail;
use writgate_testing::harness::{Test, tests};
use writgate_testing::{Gate, Governed, Ran, denied_for};

pub(crate) fn tests() -> Vec<Test<Gate>> {
    tests![
        denies_every_way_into_a_pod_under_deny,
        an_exec_under_audit_tells_who_and_never_what_was_typed,
        a_way_into_a_pod_is_no_action_under_allow,
    ]
}

const SECRET: &str = "s3cret-7f2a";

/// A governed namespace with a Pod `p` that the API server takes for running.
fn with_pod<'a>(gate: &'a Gate, rule: &str) -> Governed<'a> {
    let governed = gate.governed_with("connect", |posture| {
        posture["connect"] = json!(rule);
        posture["pods"] = json!("allow");
    });
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": governed.namespace},
        "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let ran = gate.tenant.create(&pod);
    assert!(ran.ok(), "{ran}");
    let running = r#"{"status":{"phase":"Running"}}"#;
    let ran = gate.plane.admin.kubectl(&[
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

/// Each way, by its subresource, as the tenant tries it.
fn ways(governed: &Governed<'_>) -> [(&'static str, Ran); 4] {
    let namespace = &governed.namespace;
    let tenant = &governed.gate.tenant;
    let path = format!("/api/v1/namespaces/{namespace}/pods/p/proxy/{SECRET}");
    [
        ("exec", tenant.kubectl(&["exec", "p", "-c", "c", "-n", namespace, "--", "sh", "-c", SECRET])),
        ("attach", tenant.kubectl(&["attach", "p", "-c", "c", "-n", namespace])),
        ("portforward", tenant.kubectl(&["port-forward", "p", "8080", "-n", namespace])),
        ("proxy", tenant.kubectl(&["get", "--raw", &path])),
    ]
}

/// Whether the API server went on to look for a kubelet, or for the Pod's address.
fn is_let_by(ran: &Ran) -> bool {
    let nowhere = ["does not have a host assigned", "address not allowed"];
    !ran.ok() && nowhere.iter().any(|why| ran.stderr.contains(why))
}

fn records(governed: &Governed<'_>) -> Vec<Value> {
    trail::records(governed, |record| record["operation"] == "CONNECT")
}

fn denies_every_way_into_a_pod_under_deny(gate: &Gate) {
    let governed = with_pod(gate, "deny");
    for (way, ran) in ways(&governed) {
        assert!(denied_for(&ran, "WorkloadNotAllowed"), "{way}: {ran}");
        assert!(ran.stderr.contains(&format!("the posture denies {way} into a Pod (connect: deny)")), "{ran}");
    }
    let records = records(&governed);
    assert!(records.iter().all(|record| record["decision"] == "denied"), "{records:?}");
    assert_eq!(trail::event_of(&governed, &records[0])["reason"], "WorkloadNotAllowed");
}

fn an_exec_under_audit_tells_who_and_never_what_was_typed(gate: &Gate) {
    let governed = with_pod(gate, "audit");
    for (way, ran) in ways(&governed) {
        assert!(is_let_by(&ran), "{way}: {ran}");
    }
    let records = records(&governed);
    for way in ["exec", "attach", "portforward", "proxy"] {
        let record = records.iter().find(|record| record["connection"]["subresource"] == way);
        let record = record.unwrap_or_else(|| panic!("{way} is on the record: {records:?}"));
        assert_eq!((&record["decision"], &record["object"]["kind"]), (&json!("admitted"), &json!("Pod")), "{record}");
        assert_eq!(record["initiator"]["username"], gate.tenant.name.as_str());
        let container = matches!(way, "exec" | "attach").then_some("c");
        assert_eq!(record["connection"]["container"], json!(container), "{record}");
        assert_eq!(trail::audit_annotations(&governed, "connect", record)["connect.writgate.dev/decision"], "admitted");
        let event = trail::event_of(&governed, record);
        assert_eq!((&event["reason"], &event["type"]), (&json!("ConnectAdmitted"), &json!("Normal")), "{event}");
        assert_eq!((&event["regarding"]["kind"], &event["regarding"]["name"]), (&json!("Pod"), &json!("p")), "{event}");
        assert!(event["note"].as_str().is_some_and(|note| note.contains(&gate.tenant.name)), "{event}");
    }
    for told in records.iter().chain(&trail::events(&governed, |_| true)) {
        assert!(!told.to_string().contains(SECRET), "{told}");
    }
}

fn a_way_into_a_pod_is_no_action_under_allow(gate: &Gate) {
    let governed = with_pod(gate, "allow");
    for (way, ran) in ways(&governed) {
        assert!(is_let_by(&ran), "{way}: {ran}");
    }
    assert_eq!(records(&governed), Vec::<Value>::new());
}
