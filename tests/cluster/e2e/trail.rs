//! The five renderings of a decision: the message to the user, the Event, the annotations in the API server's audit log, the
//! record, and the metric. They must agree.

use std::time::Duration;

use serde_json::Value;

use writgate_testing::{Governed, Ran, denial, denied_for, wait_until};

pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// The decision that a test expects.
pub(crate) struct Expected<'a> {
    pub(crate) operation: &'a str,
    pub(crate) action: &'a str,
    pub(crate) kind: &'a str,
    /// The object's name, or the prefix of its generated name.
    pub(crate) name: &'a str,
    /// The spec hash in hexadecimal, without its prefix.
    pub(crate) hash: &'a str,
}

/// Asserts that `ran` was denied with `code`, and that all renderings agree. Returns the record.
pub(crate) fn assert_denied(governed: &Governed<'_>, ran: &Ran, code: &str, expected: &Expected<'_>) -> Value {
    let message = denial(ran).unwrap_or_else(|| panic!("the webhook did not deny: {ran}"));
    assert!(denied_for(ran, code), "expected {code} as the first reason: {message}");
    assert!(message.contains(&format!("sha256:{}", expected.hash)), "expected the spec hash: {message}");
    assert!(message.lines().count() <= 6, "expected at most six lines: {message}");
    assert!(message.contains("\nnext: "), "expected the next step: {message}");

    let record = record(governed, "denied", code, expected);
    assert_eq!(record["reasons"][0], code, "{record}");
    assert_agrees(governed, &record, code, "Warning", expected);
    record
}

/// Asserts that `ran` was admitted as an action, and that all renderings agree. Returns the record.
pub(crate) fn assert_admitted(governed: &Governed<'_>, ran: &Ran, expected: &Expected<'_>) -> Value {
    assert!(ran.ok(), "{ran}");
    let record = record(governed, "admitted", "", expected);
    assert_eq!(record["reasons"], serde_json::json!([]), "{record}");
    let event = assert_agrees(governed, &record, "Admitted", "Normal", expected);
    let resource = format!("{}s", expected.kind.to_lowercase());
    let name = record["object"]["name"].as_str().expect("an admitted object has its name");
    let object = governed.installation.plane.admin.get(&[&resource, name, "-n", &governed.namespace]);
    let object = object.expect("the admitted object exists");
    assert_eq!(event["regarding"]["uid"], object["metadata"]["uid"], "the Event refers to the object's uid");
    record
}

/// The Event of a decision, once it exists.
pub(crate) fn event_of(governed: &Governed<'_>, record: &Value) -> Value {
    let id = record["id"].as_str().expect("a record has an id");
    wait_until(&format!("the Event of decision {id} exists"), LIMIT, || {
        events(governed, |event| decision_id(event) == id).pop()
    })
}

/// The namespace's Events that `wanted` accepts.
pub(crate) fn events(governed: &Governed<'_>, wanted: impl Fn(&Value) -> bool) -> Vec<Value> {
    let list = governed.installation.plane.admin.get(&["events.events.k8s.io", "-n", &governed.namespace]);
    let items = list.expect("a list always exists")["items"].take();
    let Value::Array(items) = items else { panic!("a list has items") };
    items.into_iter().filter(|event| event["reportingController"] == "writgate.dev/webhook").filter(wanted).collect()
}

/// The records about this namespace that `wanted` accepts.
pub(crate) fn records(governed: &Governed<'_>, wanted: impl Fn(&Value) -> bool) -> Vec<Value> {
    governed
        .installation
        .webhook
        .records(|record| record["object"]["namespace"] == governed.namespace.as_str() && wanted(record))
}

fn record(governed: &Governed<'_>, decision: &str, code: &str, expected: &Expected<'_>) -> Value {
    let what = format!("a record exists of {decision} {code} {} {}", expected.operation, expected.name);
    wait_until(&what, LIMIT, || {
        let mut records = records(governed, |record| {
            record["decision"] == decision
                && record["dryRun"] == false
                && record["operation"] == expected.operation
                && record["object"]["kind"] == expected.kind
                && record["object"]["name"].as_str().is_none_or(|name| name.starts_with(expected.name))
                && record["reasons"][0].as_str().unwrap_or_default() == code
        });
        records.pop()
    })
}

/// Asserts that Event, audit annotations and metric agree with the record. Returns the Event.
fn assert_agrees(governed: &Governed<'_>, record: &Value, reason: &str, kind: &str, expected: &Expected<'_>) -> Value {
    let hash = format!("sha256:{}", expected.hash);
    assert_eq!(record["specHash"], hash.as_str(), "{record}");
    assert_eq!(record["action"], expected.action, "{record}");
    assert_eq!(record["environment"], governed.environment.as_str(), "{record}");
    assert_eq!(record["project"], governed.project.as_str(), "{record}");
    let user = &governed.installation.operator.name;
    assert_eq!(record["initiator"]["username"], user.as_str(), "{record}");

    let audit = audit_annotations(governed, "workloads", record);
    let audited = |key: &str| audit[&format!("workloads.writgate.dev/{key}")].as_str().unwrap_or_default().to_owned();
    assert_eq!(audited("decision"), record["decision"], "{audit}");
    assert_eq!(audited("action"), expected.action, "{audit}");
    assert_eq!(audited("spec-hash"), hash, "{audit}");
    assert_eq!(audited("environment"), governed.environment, "{audit}");
    assert_eq!(audited("project"), governed.project, "{audit}");
    assert_eq!(audited("reasons"), record["reasons"][0].as_str().unwrap_or_default(), "{audit}");
    assert_eq!(audited("posture-version"), record["postureVersion"], "{audit}");

    let event = event_of(governed, record);
    assert_eq!(event["reason"], reason, "{event}");
    assert_eq!(event["type"], kind, "{event}");
    assert_eq!(event["regarding"]["kind"], expected.kind, "{event}");
    assert_eq!(event["related"]["kind"], "ConfigMap", "{event}");
    let annotated: Value = serde_json::from_str(annotation(&event)).expect("the annotation contains the record");
    assert_eq!(&without_signature(annotated), record, "the record in the Event's annotation");

    let labels = [
        ("environment", governed.environment.as_str()),
        ("kind", expected.kind),
        ("operation", expected.operation),
        ("action", expected.action),
        ("decision", record["decision"].as_str().expect("a record has a decision")),
        ("reason", record["reasons"][0].as_str().unwrap_or_default()),
        ("enforcement", "enforce"),
        ("dry_run", "false"),
    ];
    let counted = governed.installation.webhook.metric("writgate_admission_requests_total", &labels);
    assert!(counted >= 1.0, "the metric has no series with {labels:?}");
    event
}

/// The annotations of the API server's audit line about a decision, by one entry of the webhook configuration.
pub(crate) fn audit_annotations(governed: &Governed<'_>, webhook: &str, record: &Value) -> Value {
    let key = format!("{webhook}.writgate.dev/decision-id");
    let mut lines = wait_until("the decision is in the API server's audit log", LIMIT, || {
        let lines = governed
            .installation
            .plane
            .audit_log(|line| line["annotations"][&key] == record["id"] && line["stage"] == "ResponseComplete");
        (!lines.is_empty()).then_some(lines)
    });
    assert_eq!(lines.len(), 1, "audit lines of one request");
    assert_eq!(lines[0]["user"]["username"], record["initiator"]["username"]);
    lines.remove(0)["annotations"].take()
}

/// A record as the log has it: records in Events and in the ledger have a signature of their own.
pub(crate) fn without_signature(mut record: Value) -> Value {
    let signature = record.as_object_mut().expect("a record is an object").remove("signature");
    assert!(signature.is_some_and(|signature| signature["sig"].is_string()), "the record has a signature");
    record
}

fn decision_id(event: &Value) -> String {
    let record: Value = serde_json::from_str(annotation(event)).unwrap_or_default();
    record["id"].as_str().unwrap_or_default().to_owned()
}

fn annotation(event: &Value) -> &str {
    event["metadata"]["annotations"]["writgate.dev/decision"].as_str().unwrap_or_default()
}
