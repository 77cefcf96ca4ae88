//! Calls at a constant rate while something happens to the webhook. Most of them create an approved Deployment, the others a
//! Deployment without an approval, all as dry runs.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::Deployment;
use kube::Error;
use kube::api::{Api, PostParams};
use serde_json::Value;
use tokio::task::JoinHandle;

use crate::cluster::{Cluster, NAMESPACE, deployment};

/// Callers at the same time, each with connections of its own. The first ones create the approved object.
const CALLERS: usize = 12;
/// Callers without an approval. Each of their calls takes up to a second, since the webhook lists the detached approvals of a
/// namespace at most once a second.
const UNAPPROVED: usize = 4;
/// The time from one call to the next of a caller: up to 250 calls a second together.
const INTERVAL: Duration = Duration::from_millis(32);
/// How long the calls may take. They then end even if there were fewer than wanted.
const LIMIT: Duration = Duration::from_mins(5);

/// What became of the calls.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) calls: AtomicUsize,
    /// Calls with another outcome than an admission of the approved object, or a denial of the other one.
    pub(crate) failed: AtomicUsize,
    /// Admissions of the object without an approval.
    pub(crate) admitted: AtomicUsize,
    failures: Mutex<Failures>,
}

#[derive(Default)]
struct Failures {
    first: Option<Duration>,
    last: Duration,
    messages: Vec<String>,
    slowest: Duration,
}

/// Running calls.
pub(crate) struct Load {
    tally: Arc<Tally>,
    stop: Arc<AtomicBool>,
    callers: Vec<JoinHandle<()>>,
    begun: Instant,
}

impl Load {
    /// Starts the calls, and waits until each caller has had an answer.
    pub(crate) fn start(cluster: &Cluster) -> Self {
        let object = |manifest: Value| -> Deployment { serde_json::from_value(manifest).expect("a Deployment") };
        let manifest = deployment("load");
        let objects = Arc::new([object(cluster.approved(&manifest)), object(manifest)]);
        let (tally, stop, begun) = (Arc::new(Tally::default()), Arc::new(AtomicBool::new(false)), Instant::now());
        let mut callers = Vec::new();
        for caller in 0..CALLERS {
            let client = cluster.node.block_on(cluster.node.admin.client());
            let api = Api::namespaced(client, NAMESPACE);
            let (objects, tally, stop) = (objects.clone(), tally.clone(), stop.clone());
            let is_approved = caller < CALLERS - UNAPPROVED;
            callers.push(cluster.node.spawn(async move {
                let object = &objects[usize::from(!is_approved)];
                call(&api, object, is_approved, &tally, &stop, begun).await;
            }));
        }
        sleep(Duration::from_secs(2));
        assert!(tally.calls.load(Ordering::Relaxed) >= CALLERS, "the calls have begun");
        Self { tally, stop, callers, begun }
    }

    /// Ends the calls after at least `calls` of them.
    pub(crate) fn finish(self, cluster: &Cluster, calls: usize) -> Arc<Tally> {
        while self.tally.calls.load(Ordering::Relaxed) < calls && self.begun.elapsed() < LIMIT {
            sleep(Duration::from_millis(50));
        }
        self.stop.store(true, Ordering::Relaxed);
        for caller in self.callers {
            cluster.node.block_on(caller).expect("a caller does not panic");
        }
        self.tally
    }
}

async fn call(
    api: &Api<Deployment>,
    object: &Deployment,
    is_approved: bool,
    tally: &Tally,
    stop: &AtomicBool,
    begun: Instant,
) {
    let params = PostParams { dry_run: true, ..PostParams::default() };
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while !stop.load(Ordering::Relaxed) {
        ticks.tick().await;
        let sent = Instant::now();
        let answer = api.create(&params, object).await;
        tally.count(is_approved, answer.map(drop), sent.elapsed(), begun.elapsed());
    }
}

impl Tally {
    fn count(&self, is_approved: bool, answer: Result<(), Error>, took: Duration, at: Duration) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let failure = match answer {
            Ok(()) if is_approved => None,
            Ok(()) => {
                self.admitted.fetch_add(1, Ordering::Relaxed);
                None
            }
            Err(Error::Api(status)) if !is_approved && status.message.contains("\nApprovalRequired: ") => None,
            Err(Error::Api(status)) => Some(status.message.clone()),
            Err(other) => Some(other.to_string()),
        };
        let mut failures = self.failures.lock().expect("no thread panics while it holds the lock");
        failures.slowest = failures.slowest.max(took);
        if let Some(message) = failure {
            self.failed.fetch_add(1, Ordering::Relaxed);
            failures.first.get_or_insert(at);
            failures.last = at;
            // Addresses and ports differ from call to call.
            let message: String = message.chars().filter(|c| !c.is_ascii_digit()).collect();
            if !failures.messages.contains(&message) && failures.messages.len() < 5 {
                failures.messages.push(message);
            }
        }
    }

    /// The slowest call.
    pub(crate) fn slowest(&self) -> Duration {
        self.failures.lock().expect("no thread panics while it holds the lock").slowest
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let failures = self.failures.lock().expect("no thread panics while it holds the lock");
        let count = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
        write!(f, "{} of {} calls failed", count(&self.failed), count(&self.calls))?;
        if let Some(first) = failures.first {
            write!(f, ", from {:.1} s to {:.1} s after the start", first.as_secs_f64(), failures.last.as_secs_f64())?;
        }
        write!(f, "; {} admitted without an approval", count(&self.admitted))?;
        failures.messages.iter().try_for_each(|message| write!(f, "\n    {message}"))
    }
}
