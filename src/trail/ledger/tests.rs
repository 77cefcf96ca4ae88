//! The ledger with an API server that fails in ways in which a real one cannot be made to fail. The client is real.
//! `tests/cluster/e2e/single_use.rs` tests the rest with a real API server.

use std::convert::Infallible;
use std::sync::{Mutex, MutexGuard};

use axum::body::Body;
use axum::http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tokio::time::sleep;
use tower::service_fn;
use writgate_core::{
    approval::{SpecHash, spec_hash},
    kube::WorkloadKind,
};

use super::*;

const SPEC: &str = r#"{"template":{"spec":{"containers":[{"name":"c","image":"i"}]}}}"#;
/// The version of the entry once it was created.
const RESERVED: u64 = 100;
const RELEASE_AFTER: Duration = Duration::from_secs(90);

/// The API server's responses. The last response to each kind of request is repeated.
struct Script {
    wanted: Use,
    create: Vec<(u16, Value)>,
    read: Vec<(u16, Value)>,
    /// The resource versions of lists of Jobs.
    lists: Vec<u64>,
    /// The events of each watch of the Job before it ends.
    watches: Vec<Vec<Value>>,
    /// How long a creation takes.
    delay: Duration,
    /// The response to a read of the Secret.
    secret: (u16, Value),
    /// How long after its start the webhook is asked.
    waits: Duration,
}

impl Default for Script {
    /// An object that never appears.
    fn default() -> Self {
        Self {
            wanted: wanted(),
            create: vec![(201, entry(RESERVED, |_| ()))],
            read: vec![(200, entry(RESERVED, |_| ()))],
            lists: vec![RESERVED, 200],
            watches: vec![vec![bookmark(150)], vec![bookmark(200)]],
            delay: Duration::ZERO,
            secret: refused(404, "NotFound"),
            waits: Duration::ZERO,
        }
    }
}

fn hash() -> SpecHash {
    spec_hash(WorkloadKind::Job, SPEC).expect("a spec")
}

fn wanted() -> Use {
    let used = json!({"entry": "use-1", "approval": "a-1", "expiresAt": "2026-11-22T12:00:00Z",
        "object": {"apiVersion": "batch/v1", "kind": "Job", "namespace": "payments", "name": "replay", "uid": "u-1"},
        "specHash": hash(), "generation": 2, "starts": true});
    serde_json::from_value(used).expect("a use")
}

fn entry(version: u64, change: impl FnOnce(&mut UseRecord)) -> Value {
    let mut record = UseRecord::new(wanted(), now());
    record.free_at = Some(clock::now() + SignedDuration::from_mins(1));
    change(&mut record);
    let mut entry = super::entry::of_use(&record, &LedgerKey::of_test());
    entry.metadata.uid = Some("entry-1".to_owned());
    entry.metadata.resource_version = Some(version.to_string());
    serde_json::to_value(entry).expect("JSON")
}

fn now() -> Timestamp {
    "2026-11-22T11:00:00Z".parse().expect("a time")
}

fn bookmark(version: u64) -> Value {
    json!({"type": "BOOKMARK", "object": {"apiVersion": "batch/v1", "kind": "Job",
        "metadata": {"resourceVersion": version.to_string(), "annotations": {}}, "spec": {}}})
}

fn event(kind: &str, uid: &str, generation: i64, image: &str) -> Value {
    let spec: Value = serde_json::from_str(&SPEC.replace("\"i\"", &format!("{image:?}"))).expect("JSON");
    json!({"type": kind, "object": {"apiVersion": "batch/v1", "kind": "Job", "spec": spec,
        "metadata": {"name": "replay", "uid": uid, "generation": generation, "resourceVersion": "120"}}})
}

fn expired() -> Value {
    json!({"type": "ERROR", "object": {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 410,
        "reason": "Expired", "message": "too old resource version"}})
}

/// The API server.
struct Server {
    script: Mutex<Script>,
    requests: Mutex<Vec<String>>,
}

impl Server {
    async fn answer(&self, request: Request<kube::client::Body>) -> Response<Body> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.expect("a body").to_bytes();
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        let query = head.uri.query().unwrap_or_default();
        let since = query.split('&').find_map(|pair| pair.strip_prefix("resourceVersion="));
        let delay = self.script().delay;
        let (request_name, answer) = match (&head.method, head.uri.path().contains("/jobs")) {
            (&Method::GET, true) if query.contains("watch=true") => {
                self.requests.lock().expect("no panic").push(format!("watch {}", since.expect("a version")));
                sleep(Duration::from_secs(1)).await;
                let lines: Vec<_> = next(&mut self.script().watches).iter().map(Value::to_string).collect();
                return Response::new(Body::from(lines.join("\n") + "\n"));
            }
            (&Method::GET, true) => ("list".to_owned(), list(next(&mut self.script().lists))),
            (&Method::POST, false) => {
                sleep(delay).await;
                ("create".to_owned(), next(&mut self.script().create))
            }
            (&Method::GET, false) if head.uri.path().contains("/secrets/") => {
                ("secret".to_owned(), self.script().secret.clone())
            }
            (&Method::GET, false) => ("read".to_owned(), next(&mut self.script().read)),
            (&Method::PUT, false) => (change_to(&body), (200, with_version(body, "110"))),
            (&Method::DELETE, false) => {
                let of = &body["preconditions"];
                assert_eq!(of["uid"], "entry-1", "{body}");
                let version = of["resourceVersion"].as_str().expect("a version");
                (format!("release {version}"), (200, json!({"kind": "Status", "status": "Success"})))
            }
            other => panic!("{other:?}"),
        };
        self.requests.lock().expect("no panic").push(request_name);
        let mut response = Response::new(Body::from(answer.1.to_string()));
        *response.status_mut() = StatusCode::from_u16(answer.0).expect("a status");
        response
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().expect("no panic")
    }
}

fn next<T: Clone>(answers: &mut Vec<T>) -> T {
    if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() }
}

fn list(version: u64) -> (u16, Value) {
    let metadata = json!({"resourceVersion": version.to_string()});
    (
        200,
        json!({"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "items": [], "metadata": metadata}),
    )
}

/// How an update changes the use in an entry.
fn change_to(entry: &Value) -> String {
    let record: Value = serde_json::from_str(entry["data"]["use.json"].as_str().expect("a use")).expect("JSON");
    match (record["confirmed"].is_string(), record["freeAt"].is_string()) {
        (true, false) => "confirm".to_owned(),
        (false, true) => "renew".to_owned(),
        (false, false) => "keep".to_owned(),
        (true, true) => panic!("confirmed and still to be released: {record}"),
    }
}

fn with_version(mut entry: Value, version: &str) -> Value {
    entry["metadata"]["resourceVersion"] = json!(version);
    entry
}

/// The requests that the API server received, and what came of the use.
struct Settled {
    held: Result<Option<UseRecord>, String>,
    requests: Vec<String>,
    metrics: Metrics,
}

/// Reserves the use and waits until it is settled.
async fn run(script: Script) -> Settled {
    let (wanted, waits) = (script.wanted.clone(), script.waits);
    let server = Arc::new(Server { script: Mutex::new(script), requests: Mutex::default() });
    let answering = server.clone();
    let service = service_fn(move |request| {
        let server = answering.clone();
        async move { Ok::<_, Infallible>(server.answer(request).await) }
    });
    let metrics = Metrics::default();
    let kinds = writgate_core::kube::WorkloadKinds::default();
    let ledger = Ledger::new(Client::new(service, "default"), kinds, "writgate-system", RELEASE_AFTER, metrics.clone());
    let mut ledger = ledger;
    Arc::get_mut(&mut ledger.0).expect("a new ledger").key = KeptKey::of_test(LedgerKey::of_test());
    // Longer than the shortest time between two reads of the Secret.
    sleep(waits).await;
    let held = ledger.use_of(&wanted, false, now()).await;
    // The clock is paused, so this advances it until every task has ended.
    sleep(Duration::from_mins(10)).await;
    let requests = server.requests.lock().expect("no panic").clone();
    Settled { held, requests, metrics }
}

impl Settled {
    fn count(&self, outcome: UseOutcome) -> u64 {
        self.metrics.ledger_uses.get_or_create(&outcome.labels()).get()
    }

    fn last(&self) -> &str {
        self.requests.last().map_or("", String::as_str)
    }
}

fn refused(code: u16, reason: &str) -> (u16, Value) {
    (
        code,
        json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason,
        "message": reason}),
    )
}

fn taken() -> Vec<(u16, Value)> {
    vec![refused(409, "AlreadyExists")]
}

#[tokio::test(start_paused = true)]
async fn a_use_whose_object_never_appears_is_released_at_the_version_that_was_written() {
    let settled = run(Script::default()).await;
    assert!(settled.held.as_ref().is_ok_and(Option::is_some), "{:?}", settled.held);
    assert_eq!(settled.requests[..3], ["create", "list", "watch 100"]);
    assert_eq!(settled.last(), "release 100");
    assert_eq!((settled.count(UseOutcome::Reserved), settled.count(UseOutcome::Released)), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn an_object_that_was_there_for_a_moment_confirms_its_use() {
    for kind in ["ADDED", "MODIFIED", "DELETED"] {
        let settled = run(Script { watches: vec![vec![event(kind, "u-1", 2, "i")]], ..Script::default() }).await;
        assert_eq!(settled.requests, ["create", "list", "watch 100", "confirm"], "{kind}");
        assert_eq!(settled.count(UseOutcome::Confirmed), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn another_object_of_the_same_name_or_an_older_state_does_not_confirm_the_use() {
    for other in [event("ADDED", "u-2", 2, "i"), event("MODIFIED", "u-1", 1, "i")] {
        let settled =
            run(Script { watches: vec![vec![other.clone()], vec![bookmark(200)]], ..Script::default() }).await;
        assert_eq!(settled.last(), "release 100", "{other}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_object_of_this_uid_that_is_another_job_does_not_confirm_the_use() {
    let mut dry_run = event("MODIFIED", "u-1", 2, "i");
    dry_run["object"]["metadata"]["labels"] = json!({"writgate.dev/replay": "dry-run"});
    for other in [event("MODIFIED", "u-1", 2, "j"), dry_run] {
        let settled =
            run(Script { watches: vec![vec![other.clone()], vec![bookmark(200)]], ..Script::default() }).await;
        assert_eq!((settled.last(), settled.count(UseOutcome::Spent)), ("release 100", 0), "{other}");
        let watches = vec![vec![other.clone(), event("MODIFIED", "u-1", 2, "i")]];
        let settled = run(Script { watches, ..Script::default() }).await;
        assert_eq!(settled.count(UseOutcome::Confirmed), 1, "{other}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_object_of_this_uid_whose_spec_has_no_hash_leaves_its_use_spent() {
    let mut other = event("MODIFIED", "u-1", 2, "i");
    other["object"]["spec"] = json!([]);
    let settled = run(Script { watches: vec![vec![other]], ..Script::default() }).await;
    assert_eq!((settled.last(), settled.count(UseOutcome::Spent)), ("keep", 1));
}

#[tokio::test(start_paused = true)]
async fn a_resource_in_another_etcd_leaves_its_use_spent() {
    let settled = run(Script { lists: vec![RESERVED - 1, 200], ..Script::default() }).await;
    assert_eq!(settled.requests, ["create", "list", "keep"]);
    assert_eq!(settled.count(UseOutcome::Spent), 1);
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_may_have_missed_something_leaves_its_use_spent() {
    let settled = run(Script { watches: vec![vec![bookmark(150)], vec![expired()]], ..Script::default() }).await;
    assert_eq!((settled.last(), settled.count(UseOutcome::Spent)), ("keep", 1));
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_stays_behind_leaves_its_use_spent() {
    let settled = run(Script { watches: vec![vec![bookmark(199)]], ..Script::default() }).await;
    assert_eq!((settled.last(), settled.count(UseOutcome::Spent)), ("keep", 1));
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_breaks_continues_from_its_last_version() {
    let mut broken = expired();
    broken["object"]["code"] = 500.into();
    let watches = vec![vec![bookmark(150)], vec![broken], vec![bookmark(200)]];
    let settled = run(Script { watches, ..Script::default() }).await;
    assert_eq!(settled.requests[..5], ["create", "list", "watch 100", "watch 150", "watch 150"]);
    assert_eq!(settled.last(), "release 100");
}

#[tokio::test(start_paused = true)]
async fn a_further_request_by_the_same_object_renews_its_use_and_is_watched_from_the_first() {
    let settled = run(Script { create: taken(), ..Script::default() }).await;
    assert!(settled.held.as_ref().is_ok_and(Option::is_some), "{:?}", settled.held);
    assert_eq!(settled.requests[..5], ["create", "read", "renew", "list", "watch 100"]);
    assert_eq!(settled.last(), "release 110", "only the renewed version may be released");
}

#[tokio::test(start_paused = true)]
async fn a_use_that_should_have_been_released_is_spent_by_a_further_request() {
    let late = entry(RESERVED, |record| record.free_at = Some(now()));
    let settled = run(Script { create: taken(), read: vec![(200, late)], ..Script::default() }).await;
    assert!(settled.held.as_ref().is_ok_and(Option::is_some), "{:?}", settled.held);
    assert_eq!(settled.requests, ["create", "read", "keep"]);
}

#[tokio::test(start_paused = true)]
async fn a_use_by_another_object_or_a_confirmed_use_is_returned_unchanged() {
    let of_another = entry(RESERVED, |record| record.used.object.uid = Some("u-2".to_owned()));
    let confirmed = entry(RESERVED, |record| (record.free_at, record.confirmed) = (None, Some(now())));
    for found in [of_another, confirmed] {
        let settled = run(Script { create: taken(), read: vec![(200, found)], ..Script::default() }).await;
        assert!(settled.held.as_ref().is_ok_and(Option::is_some), "{:?}", settled.held);
        assert_eq!(settled.requests, ["create", "read"]);
    }
}

#[tokio::test(start_paused = true)]
async fn an_entry_that_disappears_meanwhile_is_created_again() {
    let create = vec![refused(409, "AlreadyExists"), (201, entry(RESERVED, |_| ()))];
    let settled = run(Script { create, read: vec![refused(404, "NotFound")], ..Script::default() }).await;
    assert_eq!(settled.requests[..3], ["create", "read", "create"]);
    assert!(settled.held.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_ledger_that_fails_or_holds_invalid_entries_is_an_error() {
    let mut garbled = entry(RESERVED, |_| ());
    garbled["data"]["use.json"] = json!("{}");
    let mut copied = entry(RESERVED, |_| ());
    copied["metadata"]["name"] = json!("use-2");
    let scripts = [
        Script { create: vec![refused(500, "InternalError")], ..Script::default() },
        Script { create: vec![refused(403, "Forbidden")], ..Script::default() },
        Script { create: taken(), read: vec![refused(500, "InternalError")], ..Script::default() },
        Script { create: taken(), read: vec![refused(404, "NotFound")], ..Script::default() },
        Script { create: taken(), read: vec![(200, garbled)], ..Script::default() },
        Script { create: taken(), read: vec![(200, copied)], ..Script::default() },
    ];
    for script in scripts {
        let settled = run(script).await;
        assert!(settled.held.is_err(), "{:?}", settled.requests);
        assert_eq!(settled.count(UseOutcome::Failed), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_use_that_the_webhook_did_not_write_is_an_error() {
    let another = |record: &mut UseRecord| record.used.object.uid = Some("u-2".to_owned());
    let held = run(Script { create: taken(), read: vec![(200, entry(90, another))], ..Script::default() }).await.held;
    assert!(held.is_ok_and(|held| held.is_some()), "as the webhook wrote it");
    let mut forged = entry(90, another);
    forged["data"]["mac"] = json!("0".repeat(64));
    let settled = run(Script { create: taken(), read: vec![(200, forged)], ..Script::default() }).await;
    let why = settled.held.expect_err("whether the approval is used is unknown");
    assert!(why.contains("was not written by the webhook"), "{why}");
    assert_eq!(settled.metrics.ledger_entries_rejected.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_replaced_key_is_read_again_before_an_entry_is_rejected() {
    let replaced = || {
        let another = |record: &mut UseRecord| record.used.object.uid = Some("u-2".to_owned());
        let mut record = UseRecord::new(wanted(), now());
        another(&mut record);
        let mut held = super::entry::of_use(&record, &LedgerKey::other_of_test());
        held.metadata.resource_version = Some("90".to_owned());
        let secret = serde_json::to_value(key::secret_with(&[8; 32])).expect("JSON");
        Script {
            create: taken(),
            read: vec![(200, serde_json::to_value(held).expect("JSON"))],
            secret: (200, secret),
            waits: Duration::from_secs(11),
            ..Script::default()
        }
    };
    let settled = run(replaced()).await;
    assert!(settled.held.is_ok_and(|held| held.is_some()), "another replica wrote it with the new key");
    let counted = |metrics: &Metrics| (metrics.ledger_key_changes.get(), metrics.ledger_entries_rejected.get());
    assert_eq!(counted(&settled.metrics), (1, 0));
    let same = serde_json::to_value(key::secret_with(&[7; 32])).expect("JSON");
    for (what, script) in [
        ("the Secret is the same", Script { secret: (200, same), ..replaced() }),
        ("the Secret was deleted", Script { secret: refused(404, "NotFound"), ..replaced() }),
        ("the Secret was read a moment ago", Script { waits: Duration::from_secs(9), ..replaced() }),
    ] {
        let settled = run(script).await;
        assert!(settled.held.is_err(), "{what}");
        assert_eq!(counted(&settled.metrics), (0, 1), "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_create_that_completes_too_late_denies_and_is_followed_up() {
    let settled = run(Script { delay: PATIENCE + Duration::from_secs(1), ..Script::default() }).await;
    assert!(settled.held.is_err());
    assert_eq!(settled.last(), "release 100");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_reserved_for_an_object_without_a_uid() {
    let mut wanted = wanted();
    wanted.object.uid = None;
    let settled = run(Script { wanted, ..Script::default() }).await;
    assert!(settled.held.is_err());
    assert!(settled.requests.is_empty(), "{:?}", settled.requests);
}
