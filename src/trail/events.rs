//! Events: one for each decision, on its object, written after the response is sent.
//!
//! kube's `Recorder` merges a second decision into the first and keeps the first note, so it is not used. Admissions, break-glass
//! admissions, connections and denials have bounded [queues](queue) of their own, so that a flood of one kind displaces no other.
//! Nothing that waits holds a slot: a slot is held for one attempt, and failed attempts are repeated later.
//!
//! [`event`] renders an Event, [`persisted`] checks whether an admitted object was stored, [`creation`] creates the Event, and
//! [`series`] counts a repeated denial.

mod creation;
pub mod event;
pub mod persisted;
mod queue;
mod series;

use std::collections::HashSet;
use std::hash::RandomState;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kube::Client;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use writgate_cluster::retry;
use writgate_core::record::HistoryNote;

use crate::metrics::{EventQueue, Metrics, WriteOutcome};
use crate::trail::ledger::Ledger;
use creation::{Attempt, EventCreator, NewEvent};
use event::{DecidedRequest, EventContent, Reporter};
use queue::{FairQueue, Served};

/// Events that may wait in each queue. An admission takes a few KiB.
const CAPACITY: usize = 1024;
/// Events about one object that may wait in each queue.
const PER_OBJECT: usize = 64;
/// Admissions that send a request to the API server at the same time.
const ADMISSIONS: usize = 32;
/// Break-glass admissions that do.
const BREAK_GLASS: usize = 8;
/// Denials that do, and as many connections.
const PACED: usize = 4;
/// Pause between two denials, so at most 50 per second are written. Anyone who reaches the webhook can cause denials, and each
/// is a write to the API server. Faster denials fill the queue, and are dropped and counted. The same applies to connections.
const PAUSE: Duration = Duration::from_millis(20);
/// How long one response of the API server may take.
const ANSWER: Duration = Duration::from_secs(10);
/// How long an admitted object may take to appear.
const PATIENCE: Duration = Duration::from_secs(10);
/// The first look for an admitted object. It usually appears some milliseconds after the response.
const FIRST_LOOK: Duration = Duration::from_millis(10);
/// How many times longer each further pause is than the last: six looks in ten seconds, three of them in the first quarter of a
/// second. Anyone who reaches the webhook can cause looks, and each is a read from the API server.
const SLOWER: u32 = 4;

/// The queues of decisions that become Events. Cheap to clone.
#[derive(Clone)]
pub struct Events {
    writer: Arc<EventWriter>,
    workers: Arc<Mutex<Workers>>,
}

/// The tasks that serve the queues.
#[derive(Default)]
struct Workers {
    /// Of the queues whose objects must be seen. Their entries may move to the queue of denials.
    confirming: Vec<JoinHandle<()>>,
    direct: Vec<JoinHandle<()>>,
}

/// A decision on its way to becoming an Event.
struct Report {
    stage: Stage,
    /// Ends with the report.
    _in_progress: Option<InProgress>,
}

enum Stage {
    /// The admitted object was not seen yet.
    Confirm { decided: Box<DecidedRequest>, deadline: Instant },
    /// The Event is to be created.
    Create { new: Box<NewEvent>, pauses: Box<dyn Iterator<Item = Duration> + Send> },
}

impl Stage {
    fn create(new: NewEvent) -> Self {
        Self::Create { new: Box::new(new), pauses: Box::new(retry::pauses()) }
    }
}

/// What a report requires after it was served.
enum Next {
    Done,
    /// It is served again after this time.
    Again(Duration),
    /// The object was never seen. Anyone who reaches the webhook can cause that, so the Event is written as slowly as a denial's.
    NotPersisted,
}

/// Marks an admission as in progress. One request can reach the webhook as several reviews.
struct InProgress {
    digest: String,
    all: Arc<Mutex<HashSet<String>>>,
}

impl InProgress {
    /// `None` if the same decision is in progress already.
    fn begin(all: &Arc<Mutex<HashSet<String>>>, digest: String) -> Option<Self> {
        locked(all).insert(digest.clone()).then(|| Self { digest, all: all.clone() })
    }
}

impl Drop for InProgress {
    fn drop(&mut self) {
        locked(&self.all).remove(&self.digest);
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Events {
    /// Starts the workers of all queues. Confirmed admissions are noted in `ledger`.
    #[must_use]
    pub fn start(client: Client, reporter: Reporter, ledger: Ledger, metrics: Metrics) -> Self {
        let hasher = RandomState::new();
        let writer = Arc::new(EventWriter {
            creator: EventCreator { client, reporter, ledger, metrics },
            queues: EventQueue::ALL.map(|_| FairQueue::new(CAPACITY, PER_OBJECT, hasher.clone())),
            in_progress: Arc::default(),
            notes: Mutex::default(),
        });
        let mut workers = Workers::default();
        for queue in EventQueue::ALL {
            let (at_once, pause) = match queue {
                EventQueue::Admission => (ADMISSIONS, None),
                EventQueue::BreakGlass => (BREAK_GLASS, None),
                EventQueue::Connection | EventQueue::Denial => (PACED, Some(PAUSE)),
            };
            let worker = tokio::spawn(work(writer.clone(), queue, at_once, pause));
            if queue.confirms() { workers.confirming.push(worker) } else { workers.direct.push(worker) }
        }
        Self { writer, workers: Arc::new(Mutex::new(workers)) }
    }

    /// Queues the Event of a decision. Never waits: if the queue is full, an Event of whoever has the most is dropped, counted and
    /// logged.
    pub fn submit(&self, mut decided: DecidedRequest) {
        let (writer, queue) = (&self.writer, decided.queue());
        let now = Instant::now();
        decided.bound();
        let record = &decided.decision.record;
        let requester = record.initiator.as_ref().map(|initiator| initiator.username.clone()).unwrap_or_default();
        let object = record.object.clone();
        let (namespace, kind, name) =
            object.map_or_else(Default::default, |object| (object.namespace, object.kind, object.name));
        let (report, due) = if queue.confirms() {
            let in_progress = InProgress::begin(&writer.in_progress, decided.review_digest());
            if in_progress.is_none() {
                return;
            }
            let stage = Stage::Confirm { decided: Box::new(decided), deadline: now + PATIENCE };
            (Report { stage, _in_progress: in_progress }, now + FIRST_LOOK)
        } else {
            let new = NewEvent::new(&writer.creator.reporter, &decided, &EventContent::Decision);
            (Report { stage: Stage::create(new), _in_progress: None }, now)
        };
        writer.creator.metrics.event_queued(queue, 1);
        let dropped = writer.queue(queue).add(report, [&namespace, &requester, &kind, &name], due);
        writer.drop_report(queue, dropped);
    }

    /// Writes queued Events for at most `patience`. The rest is counted as dropped.
    pub async fn finish(self, patience: Duration) {
        let Workers { confirming, direct } = std::mem::take(&mut *locked(&self.workers));
        let aborts: Vec<_> = confirming.iter().chain(&direct).map(JoinHandle::abort_handle).collect();
        let written = async {
            self.writer.close(EventQueue::confirms);
            futures::future::join_all(confirming).await;
            self.writer.close(|queue| !queue.confirms());
            futures::future::join_all(direct).await;
            let mut notes = std::mem::take(&mut *locked(&self.writer.notes));
            while notes.join_next().await.is_some() {}
        };
        if timeout(patience, written).await.is_ok() {
            return;
        }
        for abort in aborts {
            abort.abort();
        }
        let metrics = &self.writer.creator.metrics;
        for queue in EventQueue::ALL {
            let left = metrics.events_waiting(queue);
            if left > 0 {
                metrics.events_dropped(queue, left);
                tracing::warn!(lane = ?queue, left, "Events not written before the exit; their records are in this log");
            }
        }
    }
}

/// Serves one queue until it is closed and empty.
async fn work(writer: Arc<EventWriter>, queue: EventQueue, at_once: usize, pause: Option<Duration>) {
    let mut tasks = JoinSet::new();
    let mut pace = pause.map(|pause| {
        let mut pace = interval(pause);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        pace
    });
    loop {
        tokio::select! {
            Some(_) = tasks.join_next(), if !tasks.is_empty() => {}
            served = writer.queue(queue).next(), if tasks.len() < at_once => match served {
                Some(served) => {
                    if let Some(pace) = &mut pace {
                        pace.tick().await;
                    }
                    let writer = writer.clone();
                    tasks.spawn(async move { writer.serve(queue, served).await });
                }
                None if tasks.is_empty() => break,
                // A report in progress may return to the queue.
                None => drop(tasks.join_next().await),
            }
        }
    }
}

/// Writes Events to the cluster.
struct EventWriter {
    creator: EventCreator,
    /// In the order of [`EventQueue::ALL`].
    queues: [FairQueue<Report>; EventQueue::ALL.len()],
    /// Digests of the admissions in progress.
    in_progress: Arc<Mutex<HashSet<String>>>,
    /// Notes for rollbacks that are written.
    notes: Mutex<JoinSet<()>>,
}

impl EventWriter {
    fn queue(&self, queue: EventQueue) -> &FairQueue<Report> {
        &self.queues[queue as usize]
    }

    fn close(&self, which: impl Fn(EventQueue) -> bool) {
        for queue in EventQueue::ALL.into_iter().filter(|queue| which(*queue)) {
            self.queue(queue).close();
        }
    }

    async fn serve(&self, queue: EventQueue, mut served: Served<Report>) {
        let metrics = &self.creator.metrics;
        match self.step(queue, &mut served).await {
            Next::Done => metrics.event_queued(queue, -1),
            Next::Again(pause) => self.drop_report(queue, self.queue(queue).again(served, Instant::now() + pause)),
            Next::NotPersisted => {
                metrics.event_queued(queue, -1);
                metrics.event_queued(EventQueue::Denial, 1);
                let dropped = self.queue(EventQueue::Denial).adopt(served, Instant::now());
                self.drop_report(EventQueue::Denial, dropped);
            }
        }
    }

    /// Sends the requests of one attempt.
    async fn step(&self, queue: EventQueue, served: &mut Served<Report>) -> Next {
        let (report, looks) = (&mut served.entry, served.before);
        if let Stage::Confirm { decided, deadline } = &report.stage {
            let content = match persisted::look(&self.creator.client, decided).await {
                Ok(stored) => EventContent::Persisted(stored),
                Err(found) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if !left.is_zero() {
                        return Next::Again((FIRST_LOOK * SLOWER.saturating_pow(looks + 1)).min(left));
                    }
                    EventContent::NotPersisted(found)
                }
            };
            let new = NewEvent::new(&self.creator.reporter, decided, &content);
            if matches!(content, EventContent::NotPersisted(_)) {
                report.stage = Stage::create(new);
                return Next::NotPersisted;
            }
            self.note(decided.decision.note.clone());
            report.stage = Stage::create(new);
        }
        let Stage::Create { new, pauses } = &mut report.stage else { return Next::Done };
        let why = match self.creator.attempt(new).await {
            Attempt::Written => {
                self.creator.metrics.event_written(queue);
                return Next::Done;
            }
            Attempt::NameTaken => return Next::Again(Duration::ZERO),
            Attempt::Refused(why) => return self.give_up(queue, new, &why),
            Attempt::Failed(why) => why,
        };
        let Some(pause) = pauses.next() else { return self.give_up(queue, new, &why) };
        tracing::debug!(event = new.event.metadata.name, why, "Event not written yet");
        Next::Again(pause)
    }

    /// Adds a confirmed admission to the history, whatever becomes of its Event.
    fn note(&self, note: Option<HistoryNote>) {
        let Some(note) = note else { return };
        let ledger = self.creator.ledger.clone();
        let mut notes = locked(&self.notes);
        while notes.try_join_next().is_some() {}
        notes.spawn(async move { ledger.note(&note).await });
    }

    fn give_up(&self, queue: EventQueue, new: &NewEvent, why: &str) -> Next {
        self.creator.metrics.event_failed(queue);
        let metadata = &new.event.metadata;
        let (namespace, name) = (metadata.namespace.as_deref(), metadata.name.as_deref());
        tracing::error!(namespace, name, why, "Event not written; its record is in this log");
        Next::Done
    }

    /// Counts and logs a report that was dropped for another one.
    fn drop_report(&self, queue: EventQueue, dropped: Option<Report>) {
        let Some(report) = dropped else { return };
        let metrics = &self.creator.metrics;
        metrics.event_queued(queue, -1);
        metrics.events_dropped(queue, 1);
        let decision = match &report.stage {
            Stage::Confirm { decided, .. } => {
                if decided.decision.note.is_some() {
                    metrics.note_counted(WriteOutcome::Failed);
                }
                decided.decision.record.id.to_string()
            }
            Stage::Create { new, .. } => new.id().to_owned(),
        };
        tracing::warn!(decision, "no Event for this decision: the queue is full");
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

    use tokio::time::sleep;

    use super::*;
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
}
