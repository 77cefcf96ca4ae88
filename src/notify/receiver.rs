//! A receiver: its queue, and the task that delivers from it.
//!
//! The queue is bounded and [fair](crate::trail::events::queue): if it is full, a notification of whoever has the most is
//! dropped and counted. A receiver that fails is tried again with growing pauses, and a notification that fails returns to the
//! queue behind those that were tried less often, so that one that the receiver cannot take delays no other.

use std::hash::RandomState;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{Instant, sleep};
use writgate_cluster::clock;

use crate::lasting_failure::{FailureChange, LastingFailure};
use crate::metrics::{Metrics, NotificationOutcome};
use crate::notify::configuration::{Format, ReceiverConfiguration};
use crate::notify::notification::Notification;
use crate::notify::progress::{Progress, StoredProgress};
use crate::notify::request::{self, Answer};
use crate::trail::events::queue::FairQueue;

/// Notifications that may wait for one receiver. One takes about 2 KiB.
const CAPACITY: usize = 1000;
/// Notifications about one object that may wait.
const PER_OBJECT: usize = 20;

/// How patient a receiver's task is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// The pause after the first failure. Each further one is twice as long.
    pub(super) first: Duration,
    /// The longest pause.
    pub(super) longest: Duration,
    /// The longest pause that a receiver may ask for.
    pub(super) longest_asked: Duration,
    /// How long a notification is tried. Then it is dropped.
    pub(super) give_up: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            first: Duration::from_secs(1),
            longest: Duration::from_mins(1),
            longest_asked: Duration::from_mins(10),
            give_up: Duration::from_hours(24),
        }
    }
}

/// A notification that waits.
struct Waiting {
    notification: Arc<Notification>,
    since: Instant,
}

pub(super) struct Receiver {
    configuration: ReceiverConfiguration,
    source: String,
    queue: FairQueue<Waiting>,
    progress: Mutex<Progress>,
    metrics: Metrics,
    pace: Pace,
}

impl Receiver {
    pub(super) fn new(
        configuration: ReceiverConfiguration,
        source: &str,
        stored: Option<StoredProgress>,
        metrics: Metrics,
        pace: Pace,
    ) -> Self {
        Self {
            configuration,
            source: source.to_owned(),
            queue: FairQueue::new(CAPACITY, PER_OBJECT, RandomState::new()),
            progress: Mutex::new(Progress::new(stored, clock::now())),
            metrics,
            pace,
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.configuration.name
    }

    /// The time before which the receiver requires nothing.
    pub(super) fn from(&self) -> Timestamp {
        self.progress().from()
    }

    /// What is to be stored. Before `looked_at_until`, nothing more will be found.
    pub(super) fn stored(&self, looked_at_until: Timestamp) -> StoredProgress {
        self.progress().stored(looked_at_until)
    }

    /// Queues a notification, if the receiver wants it and it is new. Never waits.
    pub(super) fn offer(&self, notification: &Arc<Notification>) {
        if !self.configuration.wants(notification) || !self.progress().begin(notification) {
            return;
        }
        self.metrics.notifications_queued.inc();
        let Notification { kind, namespace, subject, .. } = &**notification;
        let now = Instant::now();
        let waiting = Waiting { notification: notification.clone(), since: now };
        let dropped = self.queue.add(waiting, [namespace, kind.as_str(), "", subject], now);
        self.drop_for_another(dropped);
    }

    /// Delivers what is queued. Does not return.
    pub(super) async fn deliver(&self) {
        let mut failure = LastingFailure::default();
        let mut pause = self.pace.first;
        while let Some(served) = self.queue.next().await {
            let notification = served.entry.notification.clone();
            if served.entry.since.elapsed() >= self.pace.give_up {
                let (receiver, id) = (self.name(), &notification.id);
                tracing::warn!(receiver, id, "a notification was dropped: it could not be delivered for too long");
                self.settle(&notification, NotificationOutcome::Dropped);
                continue;
            }
            let why = match request::send(&self.configuration, self.body(&notification), clock::now()).await {
                Answer::Delivered => {
                    self.settle(&notification, NotificationOutcome::Delivered);
                    pause = self.pace.first;
                    self.report(&mut failure, None);
                    continue;
                }
                Answer::Refused(why) => {
                    self.settle(&notification, NotificationOutcome::Refused);
                    let (receiver, id) = (self.name(), &notification.id);
                    tracing::warn!(receiver, id, why, "a notification was dropped: the receiver refuses it");
                    continue;
                }
                Answer::Failed(why, asked) => {
                    pause = pause.max(asked.unwrap_or_default().min(self.pace.longest_asked));
                    why
                }
            };
            self.metrics.notification(notification.kind, NotificationOutcome::Failed);
            self.report(&mut failure, Some(why));
            let pause_now = jittered(pause);
            let dropped = self.queue.again(served, Instant::now() + pause_now);
            self.drop_for_another(dropped);
            sleep(pause_now).await;
            pause = (pause * 2).min(self.pace.longest);
        }
    }

    fn body(&self, notification: &Notification) -> Vec<u8> {
        let body = match self.configuration.format {
            Format::CloudEvents => notification.cloud_event(&self.source),
            Format::Text => notification.message(),
        };
        body.to_string().into_bytes()
    }

    fn settle(&self, notification: &Notification, outcome: NotificationOutcome) {
        self.progress().settle(&notification.id);
        self.metrics.notifications_queued.dec();
        self.metrics.notification(notification.kind, outcome);
    }

    fn drop_for_another(&self, dropped: Option<Waiting>) {
        let Some(Waiting { notification, .. }) = dropped else { return };
        let (receiver, id) = (self.name(), &notification.id);
        tracing::warn!(receiver, id, "a notification was dropped: the queue of the receiver is full");
        self.settle(&notification, NotificationOutcome::Dropped);
    }

    fn report(&self, failure: &mut LastingFailure, why: Option<String>) {
        let was_failing = failure.is_failing();
        let receiver = self.name();
        match failure.note(why) {
            Some(FailureChange::Failed(why)) => {
                tracing::warn!(receiver, why, "notifications cannot be delivered; decisions do not depend on it");
            }
            Some(FailureChange::Recovered) => tracing::info!(receiver, "notifications are delivered again"),
            None => {}
        }
        match (was_failing, failure.is_failing()) {
            (false, true) => drop(self.metrics.notification_receivers_failing.inc()),
            (true, false) => drop(self.metrics.notification_receivers_failing.dec()),
            _ => {}
        }
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// From three quarters of `pause` to five quarters of it, so that clusters do not send at the same time after an outage.
fn jittered(pause: Duration) -> Duration {
    let mut byte = [0];
    // Without randomness, the shortest.
    let _ = getrandom::fill(&mut byte);
    pause.mul_f64(0.75 + f64::from(byte[0]) / 510.0)
}

#[cfg(test)]
mod tests;
