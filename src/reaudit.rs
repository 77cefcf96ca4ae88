//! The re-audit: the holder of the [Lease](crate::lease) decides again about each workload that exists, and reports what no approval
//! covers any more. A decision is made when a workload is written; an approval that is revoked or expires later changes none.
//!
//! It denies nothing and changes nothing. It reads one page at a time, with a pause after each, and shares no limit of requests with
//! admission. [`walk`] reads, [`decider`] decides, [`transitions`] finds what has changed since the last round, and
//! [`reports`] writes the result for viewers of policy reports.

pub(crate) mod decider;
mod reports;
mod transitions;
pub(crate) mod walk;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use tokio::time::{Instant, sleep};
use writgate_cluster::clock;
use writgate_cluster::event::REAUDIT_ACTION;
use writgate_cluster::live::Standing;
use writgate_cluster::names::CANARY_NAMESPACE;

use crate::lasting_failure::{FailureChange, LastingFailure};
use crate::lease::Holding;
use crate::metrics::{Metrics, ReloadOutcome};
use crate::notify::NotificationSender;
use crate::reaudit::reports::Reports;
use crate::reaudit::transitions::{Known, Transition};
use crate::reaudit::walk::{Found, Walk};
use crate::state::store::Store;
use crate::trail::events::notice::{Notice, NoticeWriter};

/// Events and log lines of one round, at most. The log has the number of the others. Notifications are not limited by it.
const MAX_REPORTS: usize = 100;
/// How soon a round is repeated that failed, unless the interval is shorter.
const AGAIN: Duration = Duration::from_secs(30);

/// How many workloads of each environment have each standing.
pub(crate) type Counts = BTreeMap<(Arc<str>, Standing), i64>;

/// What the re-audit works with.
pub struct Reaudit {
    walk: Walk,
    store: Arc<Store>,
    notices: NoticeWriter,
    metrics: Metrics,
    known: Known,
    reports: Option<ReportTarget>,
    people: Option<NotificationSender>,
    failure: LastingFailure,
}

/// The settings of the webhook on which its decisions depend.
#[derive(Clone)]
pub struct Rules {
    /// The exempt controllers.
    pub exempt: writgate_core::request::ExemptControllers,
    /// The further kinds.
    pub further: Vec<writgate_core::kube::WorkloadKind>,
    /// Whether detached approvals count.
    pub detached_approvals: bool,
}

/// Where the result is written as `Report` objects.
struct ReportTarget {
    client: Client,
    failure: LastingFailure,
}

impl Reaudit {
    /// A re-audit of what `store` knows as governed.
    #[must_use]
    pub fn new(client: Client, store: Arc<Store>, rules: Rules, notices: NoticeWriter, metrics: Metrics) -> Self {
        let walk = Walk::new(client, rules);
        Self {
            walk,
            store,
            notices,
            metrics,
            known: Known::default(),
            reports: None,
            people: None,
            failure: LastingFailure::default(),
        }
    }

    /// Writes the result as `Report` objects too.
    #[must_use]
    pub fn with_reports(self, client: Client) -> Self {
        Self { reports: Some(ReportTarget { client, failure: LastingFailure::default() }), ..self }
    }

    /// Notifies people through `people` too.
    #[must_use]
    pub(crate) fn with_notifications(self, people: Option<NotificationSender>) -> Self {
        Self { people, ..self }
    }

    /// Does a round every `interval` while this replica holds the Lease. Does not return.
    pub async fn keep(mut self, interval: Duration, mut holding: Holding) {
        loop {
            if !holding.is_held() {
                // Another replica reports from now on, so what this one knows becomes stale.
                self.metrics.reaudit_forgotten();
                (self.known, self.failure) = (Known::default(), LastingFailure::default());
                holding.wait().await;
                self.metrics.reaudit_began(clock::now());
            }
            // A replica may hold the Lease before it has read the postures. /readyz says why it has not.
            if self.store.age(Instant::now()).is_none() {
                sleep(Duration::from_secs(1)).await;
                continue;
            }
            let round = self.round(&holding).await;
            let pause = if round.is_err() { interval.min(AGAIN) } else { interval + jitter(interval) };
            if holding.is_held() {
                self.report(round.err());
            }
            sleep(pause).await;
        }
    }

    async fn round(&mut self, holding: &Holding) -> Result<(), String> {
        let begun = Instant::now();
        if let Some(why) = self.store.staleness(begun) {
            return Err(why);
        }
        let mut counts = Counts::new();
        let mut transitions = Vec::new();
        let mut next = self.known.begin();
        let governed = self.store.governed().into_values().flatten().filter(|name| name != CANARY_NAMESPACE);
        let governed: Vec<String> = governed.collect();
        let mut reports = self.reports.as_ref().map(|_| Reports::of(governed.iter().cloned()));
        let mut add = |found: Found| {
            if let Some(reports) = &mut reports {
                reports.add(&found);
            }
            if let Some(people) = &self.people {
                people.notify_of_expiry(&found);
            }
            *counts.entry((found.environment.clone(), found.standing)).or_default() += 1;
            transitions.extend(self.known.compare(&mut next, found));
        };
        self.walk.all(&self.store, governed, holding, &mut add).await?;
        self.known.end(next);
        self.metrics.reaudited(&counts, clock::now());
        let total: i64 = counts.values().sum();
        let alarming: i64 =
            counts.iter().filter(|((_, standing), _)| standing.is_alarming()).map(|(_, count)| count).sum();
        let (changed, took) = (transitions.len(), begun.elapsed());
        tracing::info!(workloads = total, alarming, changed, ?took, "re-audit finished");
        // A crowd of harmless changes must not hide the worst ones.
        transitions.sort_by_key(|transition| transition.found.standing);
        for transition in notified(&transitions, self.people.as_ref()) {
            self.tell(transition).await;
        }
        if changed > MAX_REPORTS {
            tracing::warn!(left_out = changed - MAX_REPORTS, "more workloads changed than one round reports");
        }
        if let (Some(target), Some(reports)) = (&mut self.reports, reports) {
            target.write(reports).await;
        }
        Ok(())
    }

    fn report(&mut self, failure: Option<String>) {
        let outcome = if failure.is_some() { ReloadOutcome::Failed } else { ReloadOutcome::Ok };
        self.metrics.reaudit_run(outcome);
        match self.failure.note(failure) {
            Some(FailureChange::Failed(why)) => {
                tracing::warn!(%why, "the re-audit failed; its metrics are those of the last complete round");
            }
            Some(FailureChange::Recovered) => tracing::info!("the re-audit is complete again"),
            None => {}
        }
    }

    /// Logs a transition, and writes an Event about the workload.
    async fn tell(&self, transition: &Transition) {
        let Transition { found, before } = transition;
        let (now, object) = (found.standing, &found.object);
        let was = before.map_or("new", Standing::as_str);
        let name = format!("{} {}/{}", object.kind, object.namespace, object.name);
        if now.is_alarming() {
            tracing::warn!(workload = name, standing = now.as_str(), was, why = found.why, "re-audit");
        } else {
            tracing::info!(workload = name, standing = now.as_str(), was, "re-audit");
        }
        let mut note = format!("re-audit: {} (before: {was})", now.as_str());
        if !found.why.is_empty() {
            note = format!("{note}\n{}", found.why);
        }
        let notice = Notice {
            regarding: ObjectReference {
                api_version: Some(object.api_version.clone()),
                kind: Some(object.kind.clone()),
                namespace: Some(object.namespace.clone()),
                name: Some(object.name.clone()),
                uid: object.uid.clone(),
                ..ObjectReference::default()
            },
            reason: reason(now),
            action: REAUDIT_ACTION,
            is_warning: now.is_alarming(),
            note,
            subject: format!("re-audit/{}", clock::decision_id(clock::now())),
        };
        if let Err(why) = self.notices.write(&notice).await {
            tracing::warn!(%why, workload = name, "the Event about a re-audited workload was not written");
        }
    }
}

impl ReportTarget {
    /// A failure is logged, and does not make the round fail: the metrics are right without the reports.
    async fn write(&mut self, reports: Reports) {
        let failure = reports.write(&self.client, clock::now()).await.err();
        match self.failure.note(failure) {
            Some(FailureChange::Failed(why)) => tracing::warn!(%why, "the Reports are not up to date"),
            Some(FailureChange::Recovered) => tracing::info!("the Reports are up to date again"),
            None => {}
        }
    }
}

/// Notifies of each revocation, and returns the transitions that are reported.
fn notified<'t>(transitions: &'t [Transition], people: Option<&NotificationSender>) -> &'t [Transition] {
    if let Some(people) = people {
        for transition in transitions {
            people.notify_of_revocation(&transition.found);
        }
    }
    transitions.get(..MAX_REPORTS).unwrap_or(transitions)
}

/// The reason of an Event.
const fn reason(standing: Standing) -> &'static str {
    match standing {
        Standing::Revoked => "ReauditRevoked",
        Standing::Drifted => "ReauditDrifted",
        Standing::Unapproved => "ReauditUnapproved",
        Standing::Insufficient => "ReauditInsufficient",
        Standing::Unreadable => "ReauditUnreadable",
        Standing::PreGovernance => "ReauditPreGovernance",
        Standing::Expired => "ReauditExpired",
        Standing::Approved => "ReauditApproved",
        Standing::NotRequired => "ReauditNotRequired",
    }
}

/// Up to a tenth of the interval, so that clusters that were installed together do not read at the same time.
fn jitter(interval: Duration) -> Duration {
    let random = clock::decision_id(clock::now()).as_bytes()[15];
    interval.mul_f64(f64::from(random) / 2550.0)
}

#[cfg(test)]
mod tests {
    use writgate_core::record::ObjectRecord;

    use super::*;

    #[test]
    fn people_are_notified_of_more_revocations_than_a_round_reports() {
        let revoked = |number: usize| {
            let object = ObjectRecord {
                api_version: "apps/v1".to_owned(),
                kind: "Deployment".to_owned(),
                namespace: "payments".to_owned(),
                name: format!("orders-{number}"),
                uid: Some(number.to_string()),
            };
            let (environment, why) = ("production".into(), "Revoked".to_owned());
            let found = Found { object, environment, standing: Standing::Revoked, why, approval: None };
            Transition { found, before: Some(Standing::Approved) }
        };
        let transitions: Vec<Transition> = (0..=MAX_REPORTS).map(revoked).collect();
        let (people, mut arrived) = NotificationSender::for_tests();
        assert_eq!(notified(&transitions, Some(&people)).len(), MAX_REPORTS);
        let sent = std::iter::from_fn(|| arrived.try_recv().ok()).count();
        assert_eq!(sent, MAX_REPORTS + 1);
        assert_eq!(notified(&transitions[1..2], Some(&people)).len(), 1);
    }
}
