//! With a real client, and an API server that fails in ways in which a real one cannot be made to fail.

use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use tokio::time::sleep;

use super::*;
use crate::trail::chain::audit_key;
use crate::trail::events::event::tests::{PRODUCTION, STAGING, decided, exec};

/// Responds to the `n`th read of the object or creation of an Event, from 0.
type Script = fn(n: usize) -> Response;

struct Server {
    object: Script,
    create: Script,
    key: Script,
    /// Responds to the read of an Event whose creation was refused.
    found: fn(refused: Value) -> Response,
    objects: AtomicUsize,
    creates: AtomicUsize,
    created: Mutex<Vec<Value>>,
    refused: Mutex<Vec<Value>>,
    /// The changes of Events.
    patches: Mutex<Vec<Value>>,
}

const EVENTS: &str = "/apis/events.k8s.io/v1/namespaces/payments/events";

async fn handle(State(server): State<Arc<Server>>, method: Method, uri: Uri, body: String) -> Response {
    let refused = || server.refused.lock().expect("no panic").last().cloned().expect("a refused Event");
    let json = || serde_json::from_str::<Value>(&body).expect("JSON");
    match (&method, uri.path()) {
        (&Method::GET, "/apis/apps/v1/namespaces/payments/deployments/orders") => {
            (server.object)(server.objects.fetch_add(1, Ordering::Relaxed))
        }
        (&Method::GET, path) if path.starts_with("/apis/apps/v1/namespaces/payments/deployments/") => absent(0),
        (&Method::GET, "/api/v1/namespaces/writgate-system/secrets/writgate-ledger") => (server.key)(0),
        (&Method::POST, EVENTS) => {
            let response = (server.create)(server.creates.fetch_add(1, Ordering::Relaxed));
            if response.status() == StatusCode::CREATED {
                server.created.lock().expect("no panic").push(json());
                return (StatusCode::CREATED, body).into_response();
            }
            server.refused.lock().expect("no panic").push(json());
            response
        }
        (&Method::GET, path) if path.starts_with(EVENTS) => {
            assert_eq!(path, format!("{EVENTS}/{}", name_of(&refused())));
            (server.found)(refused())
        }
        (&Method::PATCH, path) if path.starts_with(EVENTS) => {
            server.patches.lock().expect("no panic").push(json());
            refused().to_string().into_response()
        }
        other => panic!("{other:?}"),
    }
}

fn name_of(event: &Value) -> &str {
    event["metadata"]["name"].as_str().expect("a name")
}

/// A Secret with the ledger's key.
fn key(_: usize) -> Response {
    let data = json!({"key": "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc="});
    json!({"metadata": {"name": "writgate-ledger"}, "data": data}).to_string().into_response()
}

fn another_key(_: usize) -> Response {
    let data = json!({"key": "CAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAg="});
    json!({"metadata": {"name": "writgate-ledger"}, "data": data}).to_string().into_response()
}

/// The Event exists, as the webhook wrote it.
#[expect(clippy::needless_pass_by_value, reason = "the other functions of this type change the value")]
fn own(refused: Value) -> Response {
    refused.to_string().into_response()
}

/// A tenant's Event has the name.
fn of_a_tenant(mut refused: Value) -> Response {
    refused["reportingController"] = json!("tina.example/controller");
    refused.to_string().into_response()
}

fn status(code: u16, reason: &str) -> Response {
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason,
        "message": reason});
    (StatusCode::from_u16(code).expect("a status"), status.to_string()).into_response()
}

fn created(_: usize) -> Response {
    StatusCode::CREATED.into_response()
}

/// The object of `decided(…)` as it was admitted.
fn there(_: usize) -> Response {
    let spec = json!({"template": {"spec": {"containers": [{"name": "c", "image": "i"}]}}});
    json!({"metadata": {"uid": "u-1", "generation": 1}, "spec": spec}).to_string().into_response()
}

fn absent(_: usize) -> Response {
    status(404, "NotFound")
}

struct Case {
    server: Arc<Server>,
    events: Events,
    metrics: Metrics,
}

async fn case(object: Script, create: Script) -> Case {
    case_with(Server::new(object, create)).await
}

impl Server {
    fn new(object: Script, create: Script) -> Self {
        Self {
            object,
            create,
            key,
            found: own,
            objects: AtomicUsize::new(0),
            creates: AtomicUsize::new(0),
            created: Mutex::default(),
            refused: Mutex::default(),
            patches: Mutex::default(),
        }
    }

    /// The names of the created Events.
    fn names(&self) -> Vec<String> {
        self.created.lock().expect("no panic").iter().map(|event| name_of(event).to_owned()).collect()
    }
}

async fn case_with(server: Server) -> Case {
    let server = Arc::new(server);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let routes = Router::new().fallback(handle).with_state(server.clone());
    tokio::spawn(async move { axum::serve(listener, routes).await });
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut config = kube::Config::new(format!("http://{address}").parse().expect("a URL"));
    config.default_retry = false;
    let client = Client::try_from(config).expect("a client");
    let metrics = Metrics::default();
    let kinds = writgate_core::kube::WorkloadKinds::default();
    let ledger = Ledger::new(client.clone(), kinds, "writgate-system", Duration::from_secs(90), metrics.clone());
    let sealer = Sealer::new(audit_key(None).expect("a key"), Vec::new(), metrics.clone());
    let events = Events::start(client, Reporter::new("webhook-0", "writgate-system"), ledger, sealer, metrics.clone());
    Case { server, events, metrics }
}

impl Case {
    /// The reasons of the created Events, after every Event was written or failed.
    async fn finish(self) -> Vec<String> {
        self.events.finish(Duration::from_secs(20)).await;
        let created = self.server.created.lock().expect("no panic");
        created.iter().map(|event| event["reason"].as_str().expect("a reason").to_owned()).collect()
    }
}

#[tokio::test]
async fn a_denial_is_written_without_reading_the_object() {
    let case = case(absent, created).await;
    let server = case.server.clone();
    case.events.submit(decided(PRODUCTION, |_| ()));
    assert_eq!(case.finish().await, ["ApprovalRequired"]);
    assert_eq!(server.objects.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn an_admission_is_written_once_the_object_was_seen() {
    let late: Script = |n| if n < 3 { absent(n) } else { there(n) };
    let case = case(late, created).await;
    case.events.submit(decided(STAGING, |_| ()));
    assert_eq!(case.finish().await, ["Admitted"]);
}

#[tokio::test]
async fn an_admission_whose_object_never_appears_is_not_persisted() {
    let case = case(absent, created).await;
    case.events.submit(decided(STAGING, |_| ()));
    assert_eq!(case.finish().await, ["NotPersisted"]);
}

#[tokio::test]
async fn one_request_that_arrives_as_two_reviews_has_one_event() {
    let case = case(there, created).await;
    case.events.submit(decided(STAGING, |_| ()));
    case.events.submit(decided(STAGING, |request| request["uid"] = "r-2".into()));
    assert_eq!(case.finish().await, ["Admitted"]);
}

#[tokio::test]
async fn a_write_is_repeated_after_overload_and_outages() {
    let rough: Script = |n| match n {
        0 => status(429, "TooManyRequests"),
        1 => status(500, "InternalError"),
        2 => (StatusCode::SERVICE_UNAVAILABLE, "not even JSON").into_response(),
        _ => created(n),
    };
    let case = case(there, rough).await;
    let metrics = case.metrics.clone();
    case.events.submit(decided(PRODUCTION, |_| ()));
    assert_eq!(case.finish().await, ["ApprovalRequired"]);
    assert_eq!(metrics.events_failed.get_or_create(&queue_labels()).get(), 0);
}

#[tokio::test]
async fn a_refused_write_is_not_repeated() {
    let case = case(there, |_| status(403, "Forbidden")).await;
    let (server, metrics) = (case.server.clone(), case.metrics.clone());
    case.events.submit(decided(PRODUCTION, |_| ()));
    assert!(case.finish().await.is_empty());
    assert_eq!(server.creates.load(Ordering::Relaxed), 1);
    assert_eq!(metrics.events_failed.get_or_create(&queue_labels()).get(), 1);
}

fn taken_once(n: usize) -> Response {
    if n == 0 { status(409, "AlreadyExists") } else { created(n) }
}

/// The metrics after a decision under `posture` was reported, and the server.
async fn reported(server: Server, posture: &str) -> (Arc<Server>, Metrics) {
    let case = case_with(server).await;
    let (server, metrics) = (case.server.clone(), case.metrics.clone());
    case.events.submit(decided(posture, |_| ()));
    case.finish().await;
    (server, metrics)
}

fn written(metrics: &Metrics) -> u64 {
    metrics.events_written.get_or_create(&queue_labels()).get()
}

#[tokio::test]
async fn all_replicas_give_an_event_the_same_name_and_nobody_else_knows_it() {
    let (first, _) = reported(Server::new(there, created), PRODUCTION).await;
    let (second, _) = reported(Server::new(there, created), PRODUCTION).await;
    assert_eq!(first.names(), second.names());
    let (third, _) = reported(Server { key: another_key, ..Server::new(there, created) }, PRODUCTION).await;
    assert_ne!(first.names(), third.names());
}

#[tokio::test]
async fn an_event_is_written_without_the_key_under_a_name_that_is_only_a_digest() {
    let forbidden: Script = |_| status(403, "Forbidden");
    let (keyed, _) = reported(Server::new(there, created), PRODUCTION).await;
    let (server, metrics) = reported(Server { key: forbidden, ..Server::new(there, created) }, PRODUCTION).await;
    assert_eq!((server.names().len(), written(&metrics)), (1, 1));
    assert_ne!(server.names(), keyed.names());
}

#[tokio::test]
async fn a_repeated_denial_is_counted_in_its_event() {
    let (server, metrics) = reported(Server::new(there, taken_once), PRODUCTION).await;
    assert_eq!((server.creates.load(Ordering::Relaxed), written(&metrics)), (1, 1));
    assert_eq!(metrics.event_names_taken.get(), 0);
    let patches = server.patches.lock().expect("no panic").clone();
    assert_eq!(patches.iter().map(|patch| &patch["series"]["count"]).collect::<Vec<_>>(), [&json!(2)]);
}

#[tokio::test]
async fn an_event_whose_name_a_tenant_has_taken_gets_another_name() {
    let (plain, _) = reported(Server::new(there, created), PRODUCTION).await;
    let (server, metrics) = reported(Server { found: of_a_tenant, ..Server::new(there, taken_once) }, PRODUCTION).await;
    assert_eq!((server.names().len(), written(&metrics), metrics.event_names_taken.get()), (1, 1, 1));
    assert_ne!(server.names(), plain.names());
    assert_eq!(name_of(&server.refused.lock().expect("no panic")[0]), plain.names()[0]);
    assert!(server.patches.lock().expect("no panic").is_empty(), "a tenant's Event is not changed");
}

#[tokio::test]
async fn the_webhooks_event_about_another_decision_does_not_count_as_this_one() {
    fn changed(mut event: Value, pointer: &str, to: &str) -> Response {
        *event.pointer_mut(pointer).expect("the field") = json!(to);
        own(event)
    }
    let changes: [fn(Value) -> Response; 3] = [
        |event| changed(event, "/regarding/name", "invoices"),
        |event| changed(event, "/reason", "Admitted"),
        |event| changed(event, "/type", "Normal"),
    ];
    for found in changes {
        let (server, metrics) = reported(Server { found, ..Server::new(there, taken_once) }, PRODUCTION).await;
        assert_eq!((server.names().len(), metrics.event_names_taken.get()), (1, 1));
    }
}

#[tokio::test]
async fn an_event_that_is_gone_when_it_is_read_back_is_created_again() {
    let found = |_| status(404, "NotFound");
    let (plain, _) = reported(Server::new(there, created), PRODUCTION).await;
    let (server, metrics) = reported(Server { found, ..Server::new(there, taken_once) }, PRODUCTION).await;
    assert_eq!((server.names(), written(&metrics)), (plain.names(), 1));
    assert_eq!(metrics.event_names_taken.get(), 0);
}

#[tokio::test]
async fn an_event_whose_names_are_all_taken_is_counted_as_failed() {
    let taken: Script = |_| status(409, "AlreadyExists");
    let (server, metrics) = reported(Server { found: of_a_tenant, ..Server::new(there, taken) }, PRODUCTION).await;
    assert_eq!((written(&metrics), metrics.events_failed.get_or_create(&queue_labels()).get()), (0, 1));
    let mut names: Vec<_> =
        server.refused.lock().expect("no panic").iter().map(|event| name_of(event).to_owned()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), 4, "{names:?}");
}

#[tokio::test]
async fn a_flood_of_denials_is_dropped_and_counted_and_displaces_no_admission_and_no_connection() {
    let case = case(there, created).await;
    let (server, metrics) = (case.server.clone(), case.metrics.clone());
    // `submit` is not async, so the loop ends although the queue overflows: it cannot wait for a worker.
    for n in 0..3 * CAPACITY {
        case.events.submit(decided(PRODUCTION, |request| {
            request["userInfo"]["username"] = n.to_string().into();
            request["object"]["metadata"]["name"] = format!("x{n}").into();
        }));
    }
    case.events.submit(exec("alice"));
    case.events.submit(decided(STAGING, |_| ()));
    assert!(metrics.events_dropped.get_or_create(&queue_labels()).get() >= u64::try_from(CAPACITY).expect("fits"));
    let created = || server.created.lock().expect("no panic").clone();
    let admission = async {
        let is_there = |reason: &str| created().iter().any(|event| event["reason"] == reason);
        while !(is_there("Admitted") && is_there("ConnectAdmitted")) {
            sleep(Duration::from_millis(10)).await;
        }
    };
    // The denials in the queue take at least 20 s. An admission behind them would be written after all of them, however
    // slow the machine is. The timeout only ends a test that has failed.
    tokio::time::timeout(Duration::from_mins(2), admission).await.expect("the admission is written");
    assert!(created().len() < CAPACITY, "{} Events before the admission's", created().len());
    assert!(metrics.events_waiting(EventQueue::Denial) > 0);
}

#[tokio::test]
async fn reviews_of_objects_that_never_appear_do_not_delay_an_admission() {
    let late: Script = |n| if n < 2 { absent(n) } else { there(n) };
    let case = case(late, created).await;
    let (server, metrics) = (case.server.clone(), case.metrics.clone());
    for n in 0..1150 {
        case.events.submit(decided(STAGING, |request| {
            request["userInfo"]["username"] = format!("user-{n}").into();
            request["object"]["metadata"]["name"] = format!("x{n}").into();
            request["object"]["metadata"]["uid"] = format!("u-x{n}").into();
        }));
    }
    let labels = EventQueue::Admission.labels();
    assert_eq!(metrics.events_dropped.get_or_create(&labels).get(), 1150 - 1024);
    case.events.submit(decided(STAGING, |_| ()));
    let admission = async {
        while !server.created.lock().expect("no panic").iter().any(|event| event["reason"] == "Admitted") {
            sleep(Duration::from_millis(10)).await;
        }
    };
    // Each of the others waits for ten seconds. With 64 of them at a time, the admission would wait for three minutes.
    timeout(Duration::from_secs(9), admission).await.expect("the admission is written");
    assert!(metrics.events_waiting(EventQueue::Admission) > 0, "the others still wait");
}

#[tokio::test]
async fn a_replay_under_another_user_name_has_no_event_of_its_own() {
    let once: Script = |n| if n == 0 { created(n) } else { status(409, "AlreadyExists") };
    let case = case(there, once).await;
    let (server, metrics) = (case.server.clone(), case.metrics.clone());
    case.events.submit(decided(STAGING, |_| ()));
    case.events.submit(decided(STAGING, |request| request["userInfo"]["username"] = "mallory".into()));
    assert_eq!(case.finish().await, ["Admitted"]);
    let refused = server.refused.lock().expect("no panic").clone();
    assert_eq!(refused.iter().map(name_of).collect::<Vec<_>>(), [server.names()[0].as_str()]);
    assert_eq!(metrics.event_names_taken.get(), 0);
}

fn queue_labels() -> crate::metrics::EventQueueLabels {
    EventQueue::Denial.labels()
}
