//! Events: one for each decision, on its object, written after the response is sent.
//!
//! kube's `Recorder` merges a second decision into the first and keeps the first note, so it is not used. Two bounded queues
//! keep a flood of denials from displacing an admission. Failed writes are retried, and Events that are given up are counted.
//! [`event`] renders an Event, [`persisted`] checks whether an admitted object was stored, [`creation`] creates the Event, and
//! [`series`] counts a repeated denial.

mod creation;
pub mod event;
pub mod persisted;
mod series;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kube::Client;
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinHandle, JoinSet};
use tokio::time::{MissedTickBehavior, interval, sleep};
use writgate_cluster::retry;

use crate::metrics::{EventQueue, Metrics, WriteOutcome};
use crate::trail::ledger::Ledger;
use creation::{Attempt, EventCreator, NewEvent};
use event::{DecidedRequest, EventContent, Reporter};
use persisted::Persistence;

/// Events that may wait in each queue. An admission takes a few KiB.
const CAPACITY: usize = 1024;
/// Admissions in progress. They mostly wait for the object to appear.
const ADMISSIONS: usize = 64;
/// Denials in progress.
const DENIALS: usize = 4;
/// Pause between two denials, so at most 50 per second are written. Anyone who reaches the webhook can cause denials, and each
/// is a write to the API server. Faster denials fill the queue, and are dropped and counted.
const DENIAL_PAUSE: Duration = Duration::from_millis(20);
/// How long one response of the API server may take.
const ANSWER: Duration = Duration::from_secs(10);

/// The queues of decisions that become Events. Cheap to clone.
#[derive(Clone)]
pub struct Events {
    admissions: mpsc::Sender<DecidedRequest>,
    denials: mpsc::Sender<DecidedRequest>,
    closing: watch::Sender<bool>,
    workers: Arc<Mutex<Vec<JoinHandle<()>>>>,
    metrics: Metrics,
}

impl Events {
    /// Starts the workers of both queues. Confirmed admissions are noted in `ledger`.
    #[must_use]
    pub fn start(client: Client, reporter: Reporter, ledger: Ledger, metrics: Metrics) -> Self {
        let (metrics_of_writer, in_progress) = (metrics.clone(), Mutex::default());
        let creator = EventCreator { client, reporter, ledger, metrics: metrics_of_writer };
        let writer = Arc::new(EventWriter { creator, in_progress });
        let (closing, closed) = watch::channel(false);
        let mut workers = Vec::new();
        let mut start = |queue, at_once, pause| {
            let (sender, waiting) = mpsc::channel(CAPACITY);
            workers.push(tokio::spawn(work(writer.clone(), queue, waiting, closed.clone(), at_once, pause)));
            sender
        };
        let admissions = start(EventQueue::Admission, ADMISSIONS, None);
        let denials = start(EventQueue::Denial, DENIALS, Some(DENIAL_PAUSE));
        Self { admissions, denials, closing, workers: Arc::new(Mutex::new(workers)), metrics }
    }

    /// Queues the Event of a decision. Never waits: if the queue is full, the Event is dropped, counted and logged.
    pub fn submit(&self, decided: DecidedRequest) {
        let queue = decided.queue();
        let sender = match queue {
            EventQueue::Admission => &self.admissions,
            EventQueue::Denial => &self.denials,
        };
        self.metrics.event_queued(queue, 1);
        if let Err(error) = sender.try_send(decided) {
            self.metrics.event_queued(queue, -1);
            self.metrics.events_dropped(queue, 1);
            let decided = error.into_inner();
            if decided.decision.note.is_some() {
                self.metrics.note_counted(WriteOutcome::Failed);
            }
            tracing::warn!(decision = %decided.decision.record.id, "no Event for this decision: the queue is full");
        }
    }

    /// Writes queued Events for at most `patience`. The rest is counted as dropped.
    pub async fn finish(self, patience: Duration) {
        self.closing.send_replace(true);
        let workers = std::mem::take(&mut *self.workers.lock().unwrap_or_else(PoisonError::into_inner));
        let aborts: Vec<_> = workers.iter().map(JoinHandle::abort_handle).collect();
        if tokio::time::timeout(patience, futures::future::join_all(workers)).await.is_ok() {
            return;
        }
        aborts.iter().for_each(AbortHandle::abort);
        for queue in [EventQueue::Admission, EventQueue::Denial] {
            let left = self.metrics.events_waiting(queue);
            if left > 0 {
                self.metrics.events_dropped(queue, left);
                tracing::warn!(lane = ?queue, left, "Events not written before the exit; their records are in this log");
            }
        }
    }
}

/// Writes the Events of one queue until it is closed and empty.
async fn work(
    writer: Arc<EventWriter>,
    queue: EventQueue,
    mut waiting: mpsc::Receiver<DecidedRequest>,
    mut closed: watch::Receiver<bool>,
    at_once: usize,
    pause: Option<Duration>,
) {
    let mut tasks = JoinSet::new();
    let mut pace = pause.map(|pause| {
        let mut pace = interval(pause);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        pace
    });
    loop {
        while tasks.len() >= at_once {
            tasks.join_next().await;
        }
        let next = tokio::select! {
            next = waiting.recv() => next,
            _ = closed.wait_for(|closed| *closed), if !waiting.is_closed() => {
                waiting.close();
                continue;
            }
        };
        let Some(decided) = next else { break };
        if let Some(pace) = &mut pace {
            pace.tick().await;
        }
        let writer = writer.clone();
        tasks.spawn(async move {
            Box::pin(writer.report(decided)).await;
            writer.creator.metrics.event_queued(queue, -1);
        });
    }
    while tasks.join_next().await.is_some() {}
}

/// Writes Events to the cluster.
struct EventWriter {
    creator: EventCreator,
    /// Digests of the admissions in progress. One request can reach the webhook as several AdmissionReviews.
    in_progress: Mutex<HashSet<String>>,
}

impl EventWriter {
    async fn report(&self, decided: DecidedRequest) {
        let queue = decided.queue();
        if queue == EventQueue::Denial {
            return self.write(queue, &decided, &EventContent::Decision).await;
        }
        let digest = decided.digest(&EventContent::Decision);
        if !self.in_progress().insert(digest.clone()) {
            return;
        }
        let content = match persisted::wait_for(&self.creator.client, &decided).await {
            Persistence::Confirmed => EventContent::Decision,
            Persistence::Unconfirmed(instead) => EventContent::NotPersisted(instead),
        };
        let noted = async {
            if let (EventContent::Decision, Some(note)) = (&content, &decided.decision.note) {
                self.creator.ledger.note(note).await;
            }
        };
        tokio::join!(self.write(queue, &decided, &content), noted);
        self.in_progress().remove(&digest);
    }

    fn in_progress(&self) -> MutexGuard<'_, HashSet<String>> {
        self.in_progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Creates the Event that reports `content`, and retries after temporary failures.
    async fn write(&self, queue: EventQueue, decided: &DecidedRequest, content: &EventContent) {
        let mut new = NewEvent::new(&self.creator.reporter, decided, content);
        let mut pauses = retry::pauses();
        loop {
            let why = match self.creator.attempt(&mut new).await {
                Attempt::Written => return self.creator.metrics.event_written(queue),
                Attempt::NameTaken => continue,
                Attempt::Refused(why) => return self.give_up(queue, &new, &why),
                Attempt::Failed(why) => why,
            };
            let Some(pause) = pauses.next() else { return self.give_up(queue, &new, &why) };
            tracing::debug!(event = new.event.metadata.name, why, "Event not written yet");
            sleep(pause).await;
        }
    }

    fn give_up(&self, queue: EventQueue, new: &NewEvent, why: &str) {
        self.creator.metrics.event_failed(queue);
        let metadata = &new.event.metadata;
        let (namespace, name) = (metadata.namespace.as_deref(), metadata.name.as_deref());
        tracing::error!(namespace, name, why, "Event not written; its record is in this log");
    }
}

#[cfg(test)]
mod tests {
    //! With a real client, and an API server that fails in ways in which a real one cannot be made to fail.

    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::Router;
    use axum::extract::State;
    use axum::http::{Method, StatusCode, Uri};
    use axum::response::{IntoResponse, Response};
    use serde_json::{Value, json};

    use super::*;
    use crate::trail::events::event::tests::{PRODUCTION, STAGING, decided};

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
            let (objects, creates) = (0.into(), 0.into());
            let (created, refused, patches) = Default::default();
            Self { object, create, key, found: own, objects, creates, created, refused, patches }
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
        let events = Events::start(client, Reporter::new("webhook-0", "writgate-system"), ledger, metrics.clone());
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
        let (server, metrics) =
            reported(Server { found: of_a_tenant, ..Server::new(there, taken_once) }, PRODUCTION).await;
        assert_eq!((server.names().len(), written(&metrics), metrics.event_names_taken.get()), (1, 1, 1));
        assert_ne!(server.names(), plain.names());
        assert_eq!(name_of(&server.refused.lock().expect("no panic")[0]), plain.names()[0]);
        assert!(server.patches.lock().expect("no panic").is_empty(), "a tenant's Event is not changed");
    }

    #[tokio::test]
    async fn the_webhooks_event_about_another_decision_does_not_count_as_this_one() {
        let changes: [fn(Value) -> Response; 3] = [
            |mut event| {
                event["regarding"]["name"] = json!("invoices");
                own(event)
            },
            |mut event| {
                event["reason"] = json!("Admitted");
                own(event)
            },
            |mut event| {
                event["type"] = json!("Normal");
                own(event)
            },
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
    async fn a_flood_of_denials_is_dropped_and_counted_and_displaces_no_admission() {
        let case = case(there, created).await;
        let (server, metrics) = (case.server.clone(), case.metrics.clone());
        // `submit` is not async, so the loop ends although both queues overflow: it cannot wait for a worker.
        for n in 0..3 * CAPACITY {
            case.events.submit(decided(PRODUCTION, |request| request["userInfo"]["username"] = n.to_string().into()));
        }
        case.events.submit(decided(STAGING, |_| ()));
        assert!(metrics.events_dropped.get_or_create(&queue_labels()).get() >= u64::try_from(CAPACITY).expect("fits"));
        let created = || server.created.lock().expect("no panic").clone();
        let admission = async {
            while !created().iter().any(|event| event["reason"] == "Admitted") {
                sleep(Duration::from_millis(10)).await;
            }
        };
        // The denials in the queue take at least 20 s. An admission behind them would be written after all of them, however
        // slow the machine is. The timeout only ends a test that has failed.
        tokio::time::timeout(Duration::from_mins(2), admission).await.expect("the admission is written");
        assert!(created().len() < CAPACITY, "{} Events before the admission's", created().len());
        assert!(metrics.events_waiting(EventQueue::Denial) > 0);
    }

    fn queue_labels() -> crate::metrics::EventQueueLabels {
        EventQueue::Denial.labels()
    }
}
