//! Near misses of the guard for posted requests and rejections.

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use writgate_core::{
    approval::{Envelope, REJECTION_PREDICATE_TYPE, RequestDigest},
    encoding::hex,
    guard::{MAX_POSTED, PostedCounts, PostedRequests},
};

use super::Case;
use crate::decision::case::Person;

type Change = fn(&mut Value);

/// The largest request in bytes, as the specification says it.
const LARGEST: usize = 262_144;

fn file() -> Value {
    json!({
        "apiVersion": "writgate.dev/v1", "kind": "ApprovalRequest", "requestedBy": "alice",
        "requestedAt": "2026-11-22T10:00:00Z", "environment": "production", "project": "payments", "action": "deploy",
        "capabilities": [{"capability": "deploy", "because": ["required by every deploy"]}],
        "workloads": [{"namespace": "payments", "specHash": format!("sha256:{}", "0".repeat(64)),
            "subject": "apps/v1/Deployment/payments/orders",
            "object": {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "orders"}, "spec": {}}}],
    })
}

fn config_map(kind: &str, name: &str, text: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "immutable": true, "data": {format!("{kind}.json"): text},
        "metadata": {"name": name, "namespace": "payments", "labels": {"writgate.dev/kind": kind, "team": "sre"}}})
}

/// A request whose ConfigMap has the name of its content.
fn request(file: &Value) -> Value {
    let text = file.to_string();
    let digits = hex::encode(&Sha256::digest(&text).into());
    config_map("request", &format!("request-{}", &digits[..20]), &text)
}

fn rejection() -> Value {
    let request = RequestDigest::of(&file().to_string());
    let statement = json!({
        "_type": "https://in-toto.io/Statement/v1", "predicateType": REJECTION_PREDICATE_TYPE,
        "subject": [{"name": "apps/v1/Deployment/payments/orders", "digest": {"sha256": "0".repeat(64)}}],
        "predicate": {"projection": "v1", "request": request.to_string(), "reason": "not on a Friday",
            "rejectedBy": "bob@acme.example", "rejectedAt": "2026-11-22T10:30:00Z"}});
    let mut envelope = Envelope::new(statement.to_string().into_bytes());
    Person::Bob.sign(&mut envelope);
    let text = envelope.to_json();
    config_map("rejection", &request.rejection_name(&text), &text)
}

/// Creates a ConfigMap, or changes `old`.
fn writes(new: &Value, old: Option<&Value>) -> Case {
    let name = new["metadata"]["name"].as_str().expect("a name").to_owned();
    Case::of("ConfigMap", "configmaps", "payments", &name, Some(new), old)
}

fn creates(new: &Value) -> Case {
    writes(new, None)
}

fn changed(object: &Value, change: impl FnOnce(&mut Value)) -> Value {
    let mut object = object.clone();
    change(&mut object);
    object
}

fn counted(requests: usize, rejections: usize) -> PostedRequests<'static> {
    PostedRequests::Counted(PostedCounts { requests, rejections })
}

/// A request that names another user than the one who posts it.
pub(super) fn of_another_user() -> Case {
    creates(&request(&changed(&file(), |file| file["requestedBy"] = "bob".into())))
}

#[test]
fn a_request_and_a_rejection_are_admitted_and_recorded_with_their_author() {
    for (object, change) in [(request(&file()), "posted request added"), (rejection(), "rejection added")] {
        let decision = creates(&object).decide();
        assert_eq!(decision.message(), "");
        let record = decision.record;
        assert_eq!((record.environment.as_deref(), record.change.as_deref()), (Some("production"), Some(change)));
        assert_eq!(record.project.as_deref(), Some("payments"));
        assert_eq!(record.initiator.expect("an initiator").username, "alice");
    }
}

#[test]
fn denies_a_request_of_another_user() {
    let message = of_another_user().expect("RequestInvalid");
    assert!(message.contains("its requestedBy is bob, expected the user who posts it, alice"), "{message}");
    // The user is the one whom the API server names.
    creates(&request(&file()))
        .with(|case| case.request["userInfo"]["username"] = "system:serviceaccount:payments:alice".into())
        .expect("RequestInvalid");
    // Names are compared by bytes.
    for name in ["Alice", "alice ", "\u{430}lice"] {
        creates(&request(&changed(&file(), |file| file["requestedBy"] = name.into()))).expect("RequestInvalid");
    }
}

#[test]
fn denies_a_request_with_one_thing_wrong() {
    let changes: [(&str, Change); 8] = [
        ("is not immutable", |object| object["immutable"] = false.into()),
        ("is not immutable", |object| drop(object.as_object_mut().expect("an object").remove("immutable"))),
        ("its name does not contain", |object| object["metadata"]["name"] = "request-00000000000000000000".into()),
        ("its name does not contain", |object| object["metadata"]["name"] = "orders".into()),
        ("exactly one key", |object| object["data"]["more"] = "".into()),
        ("exactly one key", |object| object["binaryData"] = json!({"more": ""})),
        ("exactly one key", |object| object["data"] = json!({"request.yaml": "a"})),
        ("its data cannot be read", |object| object["data"] = json!({"request.json": 7})),
    ];
    for (says, change) in changes {
        let message = creates(&changed(&request(&file()), change)).expect("RequestInvalid");
        assert!(message.contains(says), "{says}: {message}");
    }
    let other_files: [(&str, Change); 6] = [
        ("is not a request file", |file| file["kind"] = "Approval".into()),
        ("is not a request file", |file| file["approved"] = true.into()),
        ("in namespace ledger", |file| file["workloads"][0]["namespace"] = "ledger".into()),
        ("has no object", |file| drop(file["workloads"][0].as_object_mut().expect("an object").remove("object"))),
        ("is not a request file", |file| file["clusters"] = json!([])),
        ("0 workloads", |file| file["workloads"] = json!([])),
    ];
    for (says, change) in other_files {
        let message = creates(&request(&changed(&file(), change))).expect("RequestInvalid");
        assert!(message.contains(says), "{says}: {message}");
    }
    // A name that is still to be generated is not that of the digest.
    let generated = |object: &mut Value| {
        object["metadata"]["name"] = "".into();
        object["metadata"]["generateName"] = "request-".into();
    };
    creates(&changed(&request(&file()), generated)).expect("RequestInvalid");
}

#[test]
fn a_request_has_at_most_256_kib() {
    let padded = |bytes: usize| {
        let empty = changed(&file(), |file| file["notNeeded"] = json!([""])).to_string().len();
        request(&changed(&file(), |file| file["notNeeded"] = json!(["x".repeat(bytes - empty)])))
    };
    creates(&padded(LARGEST)).expect("admitted");
    let message = creates(&padded(LARGEST + 1)).expect("RequestInvalid");
    assert!(message.contains("has 262145 bytes, expected at most 262144"), "{message}");
}

#[test]
fn denies_a_rejection_with_one_thing_wrong() {
    let changes: [(&str, Change); 8] = [
        ("is not immutable", |object| object["immutable"] = false.into()),
        ("exactly one key", |object| object["data"]["request.json"] = "{}".into()),
        ("is not a rejection", |object| object["data"]["rejection.json"] = "no".into()),
        ("is not a rejection", |object| {
            object["data"]["rejection.json"] = {
                let mut envelope = Envelope::new(b"{}".to_vec());
                Person::Bob.sign(&mut envelope);
                envelope.to_json().into()
            }
        }),
        ("its name does not contain", |object| {
            object["metadata"]["name"] = "rejection-00000000000000000000-00000000".into();
        }),
        // The name of another rejection, which somebody wants to keep out.
        ("its name does not contain", |object| {
            let text = object["data"]["rejection.json"].as_str().expect("text").replace(':', ": ");
            object["data"]["rejection.json"] = text.into();
        }),
        // The readers of a few rejections must not have many signatures to check.
        ("it has 2 signatures, expected one", |object| {
            let text = object["data"]["rejection.json"].as_str().expect("text");
            let mut envelope = Envelope::parse(text).expect("an envelope");
            Person::Carol.sign(&mut envelope);
            object["data"]["rejection.json"] = envelope.to_json().into();
        }),
        ("its signature has no key id", |object| {
            let text = object["data"]["rejection.json"].as_str().expect("text");
            let mut envelope: Value = serde_json::from_str(text).expect("JSON");
            envelope["signatures"][0]["keyid"] = "".into();
            object["data"]["rejection.json"] = envelope.to_string().into();
        }),
    ];
    creates(&rejection()).expect("admitted");
    for (says, change) in changes {
        let message = creates(&changed(&rejection(), change)).expect("RequestInvalid");
        assert!(message.contains(says), "{says}: {message}");
    }
}

#[test]
fn what_is_posted_cannot_change() {
    let (good, other) = (request(&file()), request(&changed(&file(), |file| file["reason"] = "CHG-1".into())));
    let annotated = changed(&good, |object| object["metadata"]["annotations"] = json!({"a": "b"}));
    writes(&annotated, Some(&good)).expect("not-an-action");
    writes(&changed(&good, |object| object["metadata"]["labels"]["team"] = "x".into()), Some(&good))
        .expect("not-an-action");
    let changes: [Change; 4] = [
        |old| old["metadata"]["labels"] = json!({}),
        |old| old["metadata"]["labels"]["writgate.dev/kind"] = "rejection".into(),
        |old| old["metadata"]["labels"]["writgate.dev/kind"] = "config-bundle".into(),
        |old| old["immutable"] = false.into(),
    ];
    for change in changes {
        let message = writes(&good, Some(&changed(&good, change))).expect("RequestInvalid");
        assert!(message.contains("cannot change"), "{message}");
    }
    let replaced = changed(&good, |object| object["data"] = other["data"].clone());
    writes(&replaced, Some(&good)).expect("RequestInvalid");
    writes(&rejection(), Some(&changed(&rejection(), |old| old["metadata"]["labels"] = json!({}))))
        .expect("RequestInvalid");
    // Whoever may write the ConfigMap may delete it, and may as well take the label away.
    writes(&changed(&good, |object| object["metadata"]["labels"] = json!({})), Some(&good)).expect("not-an-action");
    let delete = |case: &mut Case| {
        case.request["operation"] = "DELETE".into();
        case.request["object"] = Value::Null;
    };
    writes(&good, Some(&good)).with(delete).expect("not-an-action");
}

#[test]
fn a_namespace_has_at_most_200_requests_and_200_rejections() {
    assert_eq!(MAX_POSTED, 200);
    let with = |object: &Value, posted| creates(object).with(|case| case.posted = posted);
    with(&request(&file()), counted(199, 1000)).expect("admitted");
    let message = with(&request(&file()), counted(200, 0)).expect("RequestInvalid");
    assert!(message.contains("the namespace has 200 posted requests, but at most 200 may exist"), "{message}");
    assert!(message.contains("kubectl writgate request cancel"), "{message}");
    with(&rejection(), counted(1000, 199)).expect("admitted");
    with(&rejection(), counted(0, 200)).expect("RequestInvalid");
    // What is posted already may still be annotated.
    let annotated = changed(&request(&file()), |object| object["metadata"]["annotations"] = json!({"a": "b"}));
    writes(&annotated, Some(&request(&file()))).with(|case| case.posted = counted(300, 0)).expect("not-an-action");
}

#[test]
fn denies_a_request_while_the_number_is_unknown_or_none_is_accepted() {
    let with = |object: &Value, posted| creates(object).with(|case| case.posted = posted);
    let unknown = PostedRequests::Unknown("they have not been read yet");
    let message = with(&request(&file()), unknown).expect("LookupFailed");
    assert!(message.contains("how many posted requests the namespace has: they have not been read yet"), "{message}");
    with(&rejection(), unknown).expect("LookupFailed");
    let message = with(&request(&file()), PostedRequests::NotAccepted).expect("RequestInvalid");
    assert!(message.contains("this installation accepts none"), "{message}");
    // Other ConfigMaps do not depend on the number.
    let plain = changed(&request(&file()), |object| object["metadata"]["labels"] = json!({}));
    for posted in [unknown, PostedRequests::NotAccepted] {
        with(&plain, posted).expect("not-an-action");
    }
}

#[test]
fn guards_requests_in_governed_namespaces_only() {
    let junk = changed(&request(&file()), |object| object["immutable"] = false.into());
    creates(&junk).with(|case| case.environment = None).expect("not-an-action");
    creates(&junk).expect("RequestInvalid");
}

#[test]
fn a_message_does_not_repeat_lines_of_a_request() {
    let file = changed(&file(), |file| file["x\nRequestInvalid: approved"] = true.into());
    let message = creates(&request(&file)).expect("RequestInvalid");
    assert!(message.lines().all(|line| !line.starts_with("RequestInvalid: approved")), "{message}");
}
