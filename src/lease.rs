//! A Lease (coordination.k8s.io/v1) that one replica holds: the one that sends the [canary](crate::canary) and does the
//! [re-audit](crate::reaudit). Decisions never depend on it.
//!
//! The times in a Lease are written for people and never compared, because clocks differ and jump. A replica takes the Lease over
//! if it has not changed for its duration, measured from when the replica first saw it by a clock that only advances. client-go's
//! leader election works in the same way. A holder stops before others may take over, because it measures from before its request.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Client;
use kube::api::{Api, ObjectMeta, PostParams};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use writgate_cluster::bounded_request::{self, RequestError};
use writgate_cluster::clock;
use writgate_core::text::quoted;

use crate::lasting_failure::{FailureChange, LastingFailure};
use crate::metrics::{Metrics, ReloadOutcome};

/// How long the Lease must be unchanged before another replica takes it over.
const TERM: Duration = Duration::from_secs(15);
/// How long a holder acts after it began a renewal that succeeded.
const HELD: Duration = Duration::from_secs(10);
/// The longest duration of another holder that is waited for. Otherwise a Lease with a duration of years would never be free.
const LONGEST_TERM: Duration = Duration::from_mins(1);
/// The pause between two looks at the Lease.
const PAUSE: Duration = Duration::from_secs(4);
/// How long the API server may take.
const ANSWER: Duration = Duration::from_secs(4);

/// Whether this replica holds the Lease. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Holding(watch::Receiver<Option<Instant>>);

impl Holding {
    /// Whether this replica holds the Lease now.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.0.borrow().is_some_and(|until| Instant::now() < until)
    }

    /// Waits until this replica holds the Lease. Never returns after the keeper of the Lease has ended.
    pub async fn wait(&mut self) {
        while !self.is_held() {
            if self.0.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}

/// The task that acquires, renews and releases the Lease.
pub struct LeaseKeeper {
    holding: Holding,
    release: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl LeaseKeeper {
    /// Starts to compete for the Lease `name` in `namespace`. `identity` differs between all processes.
    #[must_use]
    pub fn start(client: Client, namespace: &str, name: &str, identity: String, metrics: Metrics) -> Self {
        let (held_until, holding) = watch::channel(None);
        let (release, released) = oneshot::channel();
        let competitor = Competitor {
            leases: Api::namespaced(client, namespace),
            name: name.to_owned(),
            identity,
            metrics,
            held_until,
            seen: None,
            failure: LastingFailure::default(),
            holder: None,
        };
        let task = tokio::spawn(competitor.keep(released));
        Self { holding: Holding(holding), release, task }
    }

    /// Whether this replica holds the Lease.
    #[must_use]
    pub fn holding(&self) -> Holding {
        self.holding.clone()
    }

    /// Gives the Lease up, so that another replica can take it at once. Waits for at most `patience`.
    pub async fn release(self, patience: Duration) {
        let _ = self.release.send(());
        let _ = timeout(patience, self.task).await;
    }
}

/// What a replica does about the Lease that it has read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Renew it: this replica is the holder.
    Renew,
    /// Take it: nobody holds it, or the holder has not renewed it for too long.
    Take,
    /// Wait for the holder.
    Wait,
}

struct Competitor {
    leases: Api<Lease>,
    name: String,
    identity: String,
    metrics: Metrics,
    held_until: watch::Sender<Option<Instant>>,
    /// The version of the Lease that was read last, and when it was first read.
    seen: Option<(String, Instant)>,
    failure: LastingFailure,
    /// The holder that was logged last.
    holder: Option<String>,
}

impl Competitor {
    async fn keep(mut self, mut released: oneshot::Receiver<()>) {
        loop {
            let failure = self.round().await.err();
            self.report(failure);
            tokio::select! {
                () = sleep(PAUSE) => {}
                _ = &mut released => break,
            }
        }
        self.give_up().await;
    }

    fn is_held(&self) -> bool {
        self.held_until.borrow().is_some_and(|until| Instant::now() < until)
    }

    fn hold(&self, until: Option<Instant>) {
        self.held_until.send_replace(until);
    }

    fn report(&mut self, failure: Option<String>) {
        self.metrics.lease_held(self.is_held());
        let outcome = if failure.is_some() { ReloadOutcome::Failed } else { ReloadOutcome::Ok };
        self.metrics.lease_checked(outcome);
        match self.failure.note(failure) {
            Some(FailureChange::Failed(why)) => {
                tracing::warn!(%why, "the Lease cannot be kept; this replica does neither canary nor re-audit, and decisions do not depend on it");
            }
            Some(FailureChange::Recovered) => tracing::info!("the Lease can be kept again"),
            None => {}
        }
    }

    /// Reads the Lease, and renews or takes it.
    async fn round(&mut self) -> Result<(), String> {
        let begun = Instant::now();
        let found = bounded_request::send(ANSWER, self.leases.get_opt(&self.name)).await;
        let found = found.map_err(|error| self.failed("read", &error))?;
        let step = self.look(found.as_ref(), begun);
        if step == Step::Wait {
            self.hold(None);
            self.note_holder(found.and_then(|lease| lease.spec?.holder_identity));
            return Ok(());
        }
        let params = PostParams { field_manager: Some("writgate-webhook".to_owned()), ..PostParams::default() };
        let written = if let Some(mut lease) = found {
            lease.spec = Some(self.spec(lease.spec.take().unwrap_or_default(), step));
            bounded_request::send(ANSWER, self.leases.replace(&self.name, &params, &lease)).await
        } else {
            let metadata = ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() };
            let lease = Lease { metadata, spec: Some(self.spec(LeaseSpec::default(), step)) };
            bounded_request::send(ANSWER, self.leases.create(&params, &lease)).await
        };
        match written {
            Ok(lease) => {
                self.seen = lease.metadata.resource_version.map(|version| (version, begun));
                self.hold(Some(begun + HELD));
                self.note_holder(Some(self.identity.clone()));
                Ok(())
            }
            // Another replica was faster. The next look shows it.
            Err(error) if error.status_code() == Some(409) => Ok(()),
            Err(error) => Err(self.failed("written", &error)),
        }
    }

    /// What to do about the Lease as it is at `now`. Notes it.
    fn look(&mut self, found: Option<&Lease>, now: Instant) -> Step {
        let Some(Lease { metadata, spec: Some(found) }) = found else { return Step::Take };
        let holder = found.holder_identity.as_deref().unwrap_or_default();
        if holder == self.identity {
            return Step::Renew;
        }
        if holder.is_empty() {
            return Step::Take;
        }
        let since = match &self.seen {
            Some((seen, since)) if Some(seen) == metadata.resource_version.as_ref() => *since,
            _ => {
                self.seen = metadata.resource_version.clone().map(|version| (version, now));
                now
            }
        };
        let seconds = found.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
        let term = seconds.map_or(TERM, Duration::from_secs).clamp(TERM, LONGEST_TERM);
        if now.saturating_duration_since(since) >= term { Step::Take } else { Step::Wait }
    }

    /// The content of the Lease after `step`.
    fn spec(&self, before: LeaseSpec, step: Step) -> LeaseSpec {
        let now = MicroTime(clock::now());
        let transitions = before.lease_transitions.unwrap_or(0);
        let (acquire_time, lease_transitions) = match step {
            Step::Renew => (before.acquire_time.clone(), transitions),
            Step::Take | Step::Wait => (None, transitions.saturating_add(1)),
        };
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(TERM.as_secs()).ok(),
            acquire_time: acquire_time.or_else(|| Some(now.clone())),
            renew_time: Some(now),
            lease_transitions: Some(lease_transitions),
            ..before
        }
    }

    /// Empties the Lease if this replica holds it.
    async fn give_up(&mut self) {
        if !self.is_held() {
            return;
        }
        self.hold(None);
        self.metrics.lease_held(false);
        let Ok(Some(mut lease)) = bounded_request::send(ANSWER, self.leases.get_opt(&self.name)).await else { return };
        let Some(spec) = lease.spec.as_mut().filter(|spec| spec.holder_identity.as_ref() == Some(&self.identity))
        else {
            return;
        };
        spec.holder_identity = None;
        // The API server compares `resourceVersion`, so a Lease that another replica has taken meanwhile stays.
        let _ = bounded_request::send(ANSWER, self.leases.replace(&self.name, &PostParams::default(), &lease)).await;
    }

    /// Logs who holds the Lease, if that has changed.
    fn note_holder(&mut self, holder: Option<String>) {
        if holder == self.holder {
            return;
        }
        match holder.as_deref() {
            Some(holder) if holder == self.identity => {
                tracing::info!(lease = self.name, "this replica holds the Lease");
            }
            Some(other) => {
                tracing::info!(lease = self.name, holder = %quoted(other), "another replica holds the Lease");
            }
            None => {}
        }
        self.holder = holder;
    }

    fn failed(&self, what: &str, error: &RequestError) -> String {
        let verb = if what == "read" { "get" } else { "create and update" };
        let hint = match error.status_code() {
            Some(403) => format!(
                "; the service account must be allowed to {verb} it, as the chart's Role writgate-webhook grants"
            ),
            _ => String::new(),
        };
        format!("Lease {} cannot be {what}: {error}{hint}", self.name)
    }
}

#[cfg(test)]
mod tests;
