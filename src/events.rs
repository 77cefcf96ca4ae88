//! Events: the trail that people see beside the object. One per decision, written behind the answer.
//!
//! Never kube's `Recorder`: it merges a second decision into the first and keeps the first note. How an Event looks
//! is [`event`]'s, whether an admitted object was really persisted is [`persisted`]'s. Here: two bounded queues, so
//! that a flood of denials never displaces an admission, retries, and the count of what was given up. Fed by
//! `admission`, which never waits for any of this. The log line of a decision is on standard output before its
//! answer, so an Event that is lost here is a record that is found there.

pub mod event;
pub mod persisted;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::api::events::v1::Event;
use kube::api::{Api, PostParams};
use kube::{Client, Error};
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinHandle, JoinSet};
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::metrics::{Lane, Metrics};
use event::{Decided, Reporter, Told};
use persisted::Sight;

/// Events that may wait, in each lane. An admission is a few KiB.
const CAPACITY: usize = 1024;
/// Admissions in progress: most of that time is spent waiting to see the object.
const ADMISSIONS: usize = 64;
/// Denials in progress.
const DENIALS: usize = 4;
/// Pause between two denials, at most 50 a second: whoever can reach the webhook can cause them, and each is a
/// write to the API server. What comes faster for long fills the queue and is counted there.
const DENIAL_PAUSE: Duration = Duration::from_millis(20);
/// Longest wait for one answer of the API server.
const ANSWER: Duration = Duration::from_secs(10);
/// Attempts to write one Event, with pauses that double from the first: some two minutes in all.
const ATTEMPTS: u32 = 10;
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Where decisions go to become Events. Cheap to clone.
#[derive(Clone)]
pub struct Events {
    admissions: mpsc::Sender<Decided>,
    denials: mpsc::Sender<Decided>,
    closing: watch::Sender<bool>,
    workers: Arc<Mutex<Vec<JoinHandle<()>>>>,
    metrics: Metrics,
}

impl Events {
    /// Starts the writers.
    #[must_use]
    pub fn start(client: Client, reporter: Reporter, metrics: Metrics) -> Self {
        let writer = Arc::new(Writer { client, reporter, metrics: metrics.clone(), in_progress: Mutex::default() });
        let (closing, closed) = watch::channel(false);
        let mut workers = Vec::new();
        let mut lane = |lane, at_once, pause| {
            let (sender, queue) = mpsc::channel(CAPACITY);
            workers.push(tokio::spawn(work(writer.clone(), lane, queue, closed.clone(), at_once, pause)));
            sender
        };
        let admissions = lane(Lane::Admission, ADMISSIONS, None);
        let denials = lane(Lane::Denial, DENIALS, Some(DENIAL_PAUSE));
        Self { admissions, denials, closing, workers: Arc::new(Mutex::new(workers)), metrics }
    }

    /// Queues the Event of a decision; never waits. A full queue drops it, counted and logged.
    pub fn submit(&self, decided: Decided) {
        let lane = decided.lane();
        let queue = match lane {
            Lane::Admission => &self.admissions,
            Lane::Denial => &self.denials,
        };
        self.metrics.event_queued(lane, 1);
        if let Err(error) = queue.try_send(decided) {
            self.metrics.event_queued(lane, -1);
            self.metrics.events_dropped(lane, 1);
            let decided = error.into_inner();
            tracing::warn!(decision = %decided.decision.record.id, "no Event for this decision: the queue is full");
        }
    }

    /// Writes what is queued, for at most `patience`; what is left then is counted as dropped.
    pub async fn finish(self, patience: Duration) {
        self.closing.send_replace(true);
        let workers = std::mem::take(&mut *self.workers.lock().unwrap_or_else(PoisonError::into_inner));
        let aborts: Vec<_> = workers.iter().map(JoinHandle::abort_handle).collect();
        if tokio::time::timeout(patience, futures::future::join_all(workers)).await.is_ok() {
            return;
        }
        aborts.iter().for_each(AbortHandle::abort);
        for lane in [Lane::Admission, Lane::Denial] {
            let left = self.metrics.events_waiting(lane);
            if left > 0 {
                self.metrics.events_dropped(lane, left);
                tracing::warn!(?lane, left, "Events not written before the end; their records are in this log");
            }
        }
    }
}

/// Works one lane off until it is closed and empty.
async fn work(
    writer: Arc<Writer>,
    lane: Lane,
    mut queue: mpsc::Receiver<Decided>,
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
            next = queue.recv() => next,
            _ = closed.wait_for(|closed| *closed), if !queue.is_closed() => {
                queue.close();
                continue;
            }
        };
        let Some(decided) = next else { break };
        if let Some(pace) = &mut pace {
            pace.tick().await;
        }
        let writer = writer.clone();
        tasks.spawn(async move {
            writer.tell(decided).await;
            writer.metrics.event_queued(lane, -1);
        });
    }
    while tasks.join_next().await.is_some() {}
}

/// Turns decisions into Events in the cluster.
struct Writer {
    client: Client,
    reporter: Reporter,
    metrics: Metrics,
    /// Names of the admissions being confirmed: one request can reach the webhook as several reviews.
    in_progress: Mutex<HashSet<String>>,
}

impl Writer {
    async fn tell(&self, decided: Decided) {
        let lane = decided.lane();
        if lane == Lane::Denial {
            return self.write(lane, self.reporter.event(&decided, &Told::Decided)).await;
        }
        let name = decided.event_name(&Told::Decided);
        if !self.in_progress().insert(name.clone()) {
            return;
        }
        let told = match persisted::wait_for(&self.client, &decided).await {
            Sight::Seen => Told::Decided,
            Sight::Unseen(instead) => Told::NotPersisted(instead),
        };
        self.write(lane, self.reporter.event(&decided, &told)).await;
        self.in_progress().remove(&name);
    }

    fn in_progress(&self) -> MutexGuard<'_, HashSet<String>> {
        self.in_progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Creates `event`, again after failures that may pass.
    async fn write(&self, lane: Lane, event: Event) {
        let namespace = event.metadata.namespace.as_deref().unwrap_or_default();
        let events: Api<Event> = Api::namespaced(self.client.clone(), namespace);
        let mut pause = FIRST_PAUSE;
        for attempt in 1..=ATTEMPTS {
            let created = tokio::time::timeout(ANSWER, events.create(&PostParams::default(), &event)).await;
            let why = match created {
                Ok(Ok(_)) => return self.metrics.event_written(lane),
                // Told before, by this replica or another.
                Ok(Err(Error::Api(status))) if status.is_already_exists() => return self.metrics.event_written(lane),
                Ok(Err(Error::Api(status))) if !may_pass(status.code) => {
                    return self.give_up(lane, &event, &status.message);
                }
                Ok(Err(error)) => error.to_string(),
                Err(_) => format!("no answer within {ANSWER:?}"),
            };
            if attempt == ATTEMPTS {
                return self.give_up(lane, &event, &why);
            }
            tracing::debug!(event = event.metadata.name, attempt, why, "Event not written yet");
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn give_up(&self, lane: Lane, event: &Event, why: &str) {
        self.metrics.event_failed(lane);
        let (namespace, name) = (event.metadata.namespace.as_deref(), event.metadata.name.as_deref());
        tracing::error!(namespace, name, why, "Event given up; its record is in this log");
    }
}

/// Whether a later attempt may fare better: overload and outages pass, a refusal does not.
fn may_pass(code: u16) -> bool {
    matches!(code, 408 | 429 | 500..)
}
