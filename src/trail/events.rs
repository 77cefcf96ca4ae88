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
pub mod notice;
pub mod persisted;
pub(crate) mod queue;
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
use crate::trail::chain::Sealer;
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
    /// Starts the workers of all queues. Confirmed admissions are noted in `ledger`, and `sealer` signs the records.
    #[must_use]
    pub fn start(client: Client, reporter: Reporter, ledger: Ledger, sealer: Sealer, metrics: Metrics) -> Self {
        let hasher = RandomState::new();
        let writer = Arc::new(EventWriter {
            creator: EventCreator { client, reporter, ledger, sealer, metrics },
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
mod tests;
