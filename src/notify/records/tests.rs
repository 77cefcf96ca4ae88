//! Records that a real key has signed, and an API server in memory that has its checkpoint.

use std::convert::Infallible;

use axum::body::Body;
use axum::http::{Request, Response};
use ed25519_dalek::{Signer as _, SigningKey};
use serde_json::{Value, json};
use tower::service_fn;
use writgate_core::record::{CHAIN_VERSION, Chain, CheckpointHead, Head};

use super::*;
use crate::notify::inbox::Inbox;
use crate::state::watch::Follower as _;

/// A replica: its chain, and its key.
struct Writer {
    chain: Chain,
    key: SigningKey,
    id: Uuid,
}

impl Writer {
    fn new(seed: u8) -> Self {
        let id = Uuid::from_bytes([seed; 16]);
        let mut chain = Chain::new(id);
        let key = SigningKey::from_bytes(&[seed; 32]);
        let public = public(&key);
        drop(
            chain
                .start(Uuid::from_u128(1), clock::now(), Vec::new())
                .seal(public.id(), |bytes| key.sign(bytes).to_bytes()),
        );
        Self { chain, key, id }
    }

    fn checkpoint(&self) -> ConfigMap {
        let Head { sequence, digest, .. } = self.chain.head().expect("a link");
        let public_key = pkcs8::EncodePublicKey::to_public_key_pem(&self.key.verifying_key(), pkcs8::LineEnding::LF);
        let checkpoint = Checkpoint {
            version: CHAIN_VERSION.to_owned(),
            writer: self.id,
            public_key: public_key.expect("PEM"),
            keyid: public(&self.key).id(),
            started: clock::now(),
            head: CheckpointHead { sequence, digest, time: clock::now() },
        };
        checkpoint::config_map(&checkpoint, None)
    }

    /// The record with its signature, as an Event has it.
    fn sign(&mut self, record: &Value) -> String {
        let record: DecisionRecord = serde_json::from_value(record.clone()).expect("a record");
        let signed = self.chain.link(record).seal(public(&self.key).id(), |bytes| self.key.sign(bytes).to_bytes());
        serde_json::to_string(&signed).expect("JSON")
    }
}

fn public(key: &SigningKey) -> PublicKey {
    let prefix = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
    PublicKey::from_spki_der(&[prefix.as_slice(), key.verifying_key().as_bytes()].concat()).expect("a key")
}

/// A reader for which the checkpoints of `writers` exist.
fn reader(writers: &[&Writer]) -> RecordReader {
    let checkpoints: HashMap<String, Value> = writers
        .iter()
        .map(|writer| (format!("audit-{}", writer.id), serde_json::to_value(writer.checkpoint()).expect("JSON")))
        .collect();
    let service = service_fn(move |request: Request<kube::client::Body>| {
        let name = request.uri().path().strip_prefix("/api/v1/namespaces/writgate-system/configmaps/").expect("a name");
        let absent = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404, "reason": "NotFound",
            "message": "no"});
        let found = checkpoints.get(name);
        let response = Response::builder().status(if found.is_some() { 200 } else { 404 });
        let response = response.body(Body::from(found.unwrap_or(&absent).to_string())).expect("a response");
        std::future::ready(Ok::<_, Infallible>(response))
    });
    RecordReader::new(Client::new(service, "default"), "writgate-system")
}

fn record(decision: &str, basis: &Value) -> Value {
    json!({
        "action": "deploy", "approvalRequired": true, "approvals": [{"capabilities": ["deploy"],
            "expiresAt": "2099-11-22T12:00:00Z", "id": "01935a00-0000-7000-8000-000000000001", "keyIds": [],
            "reason": "INC-7 <!here>", "reviewers": ["dave@acme.example"]}],
        "basis": basis, "cluster": null, "decision": decision, "dryRun": false, "enforcement": "enforce",
        "environment": "production", "id": "01935a00-0000-7000-8000-000000000002",
        "initiator": {"groups": [], "uid": "", "username": "alice@acme.example"},
        "object": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "orders", "namespace": "payments", "uid": "u-1"},
        "operation": "CREATE", "postureVersion": null, "previousSpecHash": null, "project": "payments",
        "reasons": if decision == "denied" { json!(["ApprovalRequired"]) } else { json!([]) },
        "requestUid": null, "requestedBy": null, "requiredCapabilities": ["deploy"], "specHash": null,
        "time": clock::now().to_string(), "version": "writgate.dev/decision/v1"
    })
}

fn denial() -> Value {
    record("denied", &Value::Null)
}

fn event(reason: &str, record: &str) -> SeenEvent {
    seen(reason, record).expect("an Event of the webhook")
}

fn seen(reason: &str, record: &str) -> Option<SeenEvent> {
    let event = json!({"metadata": {"name": "orders.1", "namespace": "payments", "uid": "e-1",
            "creationTimestamp": clock::now().to_string(), "annotations": {RECORD_ANNOTATION: record}},
        "reportingController": CONTROLLER, "reason": reason, "eventTime": null});
    SeenEvent::of(serde_json::from_value(event).expect("an Event"))
}

async fn read(reader: &mut RecordReader, event: &SeenEvent) -> Read {
    reader.read(event).await.expect("the API server answers")
}

fn why(read: Read) -> &'static str {
    match read {
        Read::Unverified(_, why) => why,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_denial_whose_record_verifies_is_sent_with_its_user_as_a_claim() {
    let mut writer = Writer::new(1);
    let event = event("ApprovalRequired", &writer.sign(&denial()));
    let Read::Notification(made) = read(&mut reader(&[&writer]), &event).await else { panic!("no notification") };
    assert_eq!(made.kind, NotificationType::Denied);
    let sent = made.cloud_event("/writgate");
    assert_eq!(sent["subject"], "apps/v1/Deployment/payments/orders");
    assert_eq!(sent["data"]["reasons"], json!(["ApprovalRequired"]));
    assert_eq!(sent["data"]["claims"], json!({"initiator": "alice@acme.example"}));
    assert_eq!(
        made.message()["text"],
        "Denied: `deploy` of `apps/v1/Deployment/payments/orders` in environment `production`, project `payments`, because \
         of `ApprovalRequired`. The review names the user `alice@acme.example`."
    );
}

#[tokio::test]
async fn break_glass_is_sent_only_if_its_object_was_seen() {
    let mut writer = Writer::new(1);
    let admitted = |basis: &str| record("admitted", &json!(basis));
    let mut reader = reader(&[&writer]);
    let used = event(BREAK_GLASS, &writer.sign(&admitted("break-glass")));
    let Read::Notification(made) = read(&mut reader, &used).await else { panic!("no notification") };
    assert_eq!(made.kind, NotificationType::BreakGlass);
    let text = made.message()["text"].as_str().expect("text").to_owned();
    assert!(text.contains("signed by `dave@acme.example`") && text.contains("`INC-7 &lt;!here&gt;`"), "{text}");
    let approved = event(BREAK_GLASS, &writer.sign(&admitted("approval")));
    assert!(matches!(read(&mut reader, &approved).await, Read::Nothing));
    assert!(seen("NotPersisted", &writer.sign(&admitted("break-glass"))).is_none(), "its object was not seen");
    let mut dry_run = denial();
    dry_run["dryRun"] = true.into();
    let event = event("ApprovalRequired", &writer.sign(&dry_run));
    assert!(matches!(read(&mut reader, &event).await, Read::Nothing));
}

#[tokio::test]
async fn an_event_with_one_thing_wrong_is_not_sent() {
    let (mut writer, mut stranger) = (Writer::new(1), Writer::new(2));
    let good = writer.sign(&denial());
    let mut reader = reader(&[&writer]);

    let altered = good.replace("alice@acme.example", "carol@acme.example");
    assert_eq!(why(read(&mut reader, &event("ApprovalRequired", &altered)).await), "its record does not verify");

    let mut unsigned: Value = serde_json::from_str(&good).expect("JSON");
    unsigned.as_object_mut().expect("an object").remove("signature");
    let unsigned = event("ApprovalRequired", &unsigned.to_string());
    assert_eq!(why(read(&mut reader, &unsigned).await), "its record has no signature");

    // The stranger's signature under the name of the writer.
    stranger.id = writer.id;
    stranger.chain = Chain::new(writer.id);
    let forged = event("ApprovalRequired", &stranger.sign(&denial()));
    assert_eq!(why(read(&mut reader, &forged).await), "its record does not verify");

    let mut elsewhere = denial();
    elsewhere["object"]["namespace"] = "ledger".into();
    let elsewhere = event("ApprovalRequired", &writer.sign(&elsewhere));
    assert_eq!(why(read(&mut reader, &elsewhere).await), "its record is about another namespace");

    let mut old = denial();
    old["time"] = "2026-11-22T10:00:00Z".into();
    let old = event("ApprovalRequired", &writer.sign(&old));
    assert_eq!(why(read(&mut reader, &old).await), "its record is older than the Event");

    // The checkpoint of an unknown writer may still come, for a while.
    let mut unknown = Writer::new(3);
    let mut event = event("ApprovalRequired", &unknown.sign(&denial()));
    assert!(matches!(read(&mut reader, &event).await, Read::Early(NotificationType::Denied)));
    event.created = event.created.checked_sub(SignedDuration::from_mins(1)).expect("a time");
    assert_eq!(why(read(&mut reader, &event).await), "its writer has no checkpoint");
}

#[tokio::test]
async fn a_copy_of_an_event_is_the_same_notification() {
    let mut writer = Writer::new(1);
    let record = writer.sign(&denial());
    let mut reader = reader(&[&writer]);
    let mut id_of = async |uid: &str| {
        let event = json!({"metadata": {"name": uid, "namespace": "payments", "uid": uid,
                "creationTimestamp": clock::now().to_string(), "annotations": {RECORD_ANNOTATION: record}},
            "reportingController": CONTROLLER, "reason": "ApprovalRequired", "eventTime": null});
        let event = SeenEvent::of(serde_json::from_value(event).expect("an Event")).expect("an Event of the webhook");
        let Read::Notification(made) = read(&mut reader, &event).await else { panic!("no notification") };
        made.id
    };
    assert_eq!(id_of("e-1").await, id_of("e-2").await);
}

#[test]
fn events_of_made_up_writers_wait_in_bounded_numbers_for_each_namespace() {
    let (inbox, mut seen) = Inbox::<SeenEvent>::new(1 << 20, Timestamp::UNIX_EPOCH);
    let mut early = EarlyEvents::default();
    let mut add = |namespace: &str, number: usize| {
        let event = json!({"metadata": {"name": "a", "namespace": namespace, "uid": format!("{namespace}-{number}"),
                "creationTimestamp": clock::now().to_string(), "annotations": {RECORD_ANNOTATION: "{}"}},
            "reportingController": CONTROLLER, "reason": "x".repeat(1 << 10), "eventTime": null});
        inbox.apply(serde_json::from_value(event).expect("an Event"));
        early.add(seen.try_recv().expect("it is looked at"))
    };
    let added = (0..100).filter(|number| add("payments", *number)).count();
    assert_eq!((added, add("ledger", 0)), (MAX_EARLY, true));
    assert_eq!((early.take().len(), early.is_empty()), (MAX_EARLY + 1, true));
}

#[test]
fn the_reason_of_an_event_is_not_kept() {
    let [short, long] = ["x", &*"x".repeat(1 << 20)].map(|reason| event(reason, "{}").size());
    assert_eq!(short, long);
}

#[test]
fn only_events_of_the_webhook_with_a_record_are_looked_at() {
    let event = |reporter: &str, annotation: &str| {
        let event = json!({"metadata": {"name": "a", "namespace": "payments", "uid": "e-1",
                "creationTimestamp": clock::now().to_string(), "annotations": {annotation: "{}"}},
            "reportingController": reporter, "eventTime": null});
        SeenEvent::of(serde_json::from_value(event).expect("an Event")).is_some()
    };
    assert!(event(CONTROLLER, RECORD_ANNOTATION));
    assert!(!event("other.example/controller", RECORD_ANNOTATION));
    assert!(!event(CONTROLLER, "other"));
    assert_eq!(SELECTOR, format!("reportingController={CONTROLLER}"));
}
