//! The metrics, in the `OpenMetrics` text format.
//!
//! Every label has a closed set of values. An unauthenticated caller can reach the webhook, and each value that it could make up
//! would stay in memory. Names, users and keys are never labels.
//!
//! Here the metrics are declared and counted. [`labels`] has their labels, and [`registration`] their names and descriptions.

mod labels;
mod process;
mod registration;

use std::collections::BTreeSet;
use std::ops::Deref;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use prometheus_client::encoding::{EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use writgate_cluster::live::Standing;

pub(crate) use self::labels::NotificationOutcome;
pub use self::labels::{
    CanaryAnswer, CanaryAnswerLabels, ConnectionRefusal, ConnectionRefusalLabels, EnvironmentLabels, EventQueue,
    EventQueueLabels, HandshakeFailure, NotificationLabels, OutcomeLabels, Port, PortLabels, ReauditLabels, Refusal,
    RefusalLabels, ReloadOutcome, RequestLabels, SkippedApproval, UseOutcome, Watched, WatchedLabels, WriteOutcome,
};
use crate::notify::NotificationType;
use crate::reaudit::Counts;

/// Upper bounds in seconds. A review takes about 0.1 ms, and the API server gives up after a few seconds.
const DURATION_BUCKETS: [f64; 12] = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0];

/// A gauge without labels that may be absent.
#[derive(Clone, Debug, Default)]
pub struct AbsentGauge(Arc<Mutex<Option<i64>>>);

impl AbsentGauge {
    fn set(&self, value: Option<i64>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = value;
    }

    fn get(&self) -> Option<i64> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EncodeMetric for AbsentGauge {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), std::fmt::Error> {
        self.get().map_or(Ok(()), |value| encoder.encode_gauge(&value))
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Gauge
    }

    fn is_empty(&self) -> bool {
        self.get().is_none()
    }
}

/// Every metric of the process. Clones share their values. A clone only increments a counter, since each request makes
/// several.
#[derive(Clone)]
pub struct Metrics(Arc<Families>);

impl Deref for Metrics {
    type Target = Families;

    fn deref(&self) -> &Families {
        &self.0
    }
}

/// The metric families, by field.
#[expect(missing_docs, reason = "each is described where it is registered")]
pub struct Families {
    pub requests: Family<RequestLabels, Counter>,
    pub duration: Histogram,
    pub refusals: Family<RefusalLabels, Counter>,
    pub connections: Family<PortLabels, Gauge>,
    pub connections_refused: Family<ConnectionRefusalLabels, Counter>,
    pub handshake_failures: Family<RefusalLabels, Counter>,
    pub records_dropped: Counter,
    pub records_sealed: Counter,
    pub records_unsealed: Gauge,
    pub records_stored: Family<OutcomeLabels, Counter>,
    pub checkpoints: Family<OutcomeLabels, Counter>,
    pub log_lines_dropped: Counter,
    pub events_written: Family<EventQueueLabels, Counter>,
    pub events_dropped: Family<EventQueueLabels, Counter>,
    pub events_failed: Family<EventQueueLabels, Counter>,
    pub events_queued: Family<EventQueueLabels, Gauge>,
    pub event_names_taken: Counter,
    pub posture_age: Gauge<f64, AtomicU64>,
    pub posture_problems: Gauge,
    pub posture_valid: Family<EnvironmentLabels, Gauge>,
    pub environments_without_posture: Gauge,
    /// The environments that `posture_valid` has.
    environments: Mutex<BTreeSet<Arc<str>>>,
    pub watch_failures: Family<WatchedLabels, Counter>,
    pub unlisted_revocations: Gauge,
    pub documents_left_out: Gauge,
    pub namespace_reads: Counter,
    pub ledger_uses: Family<OutcomeLabels, Counter>,
    /// Entries of the ledger that the webhook did not write, or whose key has changed since.
    pub ledger_entries_rejected: Counter,
    pub ledger_key_changes: Counter,
    pub history_notes: Family<OutcomeLabels, Counter>,
    pub break_glass: Counter,
    pub approvals_cached: Gauge,
    pub approvals_skipped: Family<RefusalLabels, Counter>,
    pub approval_lists: Counter,
    pub posted_requests: Gauge,
    pub posted_requests_swept: Counter,
    pub request_sweeps: Family<OutcomeLabels, Counter>,
    pub certificate_reloads: Family<OutcomeLabels, Counter>,
    pub certificate_expiry: Gauge,
    pub certificate_checks: Family<OutcomeLabels, Counter>,
    pub ca_expiry: Gauge,
    pub ca_bundle_matches: Gauge<f64, AtomicU64>,
    /// Absent on a replica that does not compete for the Lease.
    pub lease_holder: AbsentGauge,
    pub lease_checks: Family<OutcomeLabels, Counter>,
    /// Absent on a replica that does not hold the Lease, as is the next one.
    pub canary_denied: AbsentGauge,
    pub canary_last_denied: AbsentGauge,
    pub canary_answers: Family<CanaryAnswerLabels, Counter>,
    /// Absent on a replica that does not hold the Lease, or does not know what was rendered.
    pub configuration_matches: AbsentGauge,
    /// Empty on a replica that does not hold the Lease.
    pub reaudit_workloads: Family<ReauditLabels, Gauge>,
    pub reaudit_last_success: AbsentGauge,
    pub reaudit_runs: Family<OutcomeLabels, Counter>,
    pub notifications: Family<NotificationLabels, Counter>,
    pub notifications_queued: Gauge,
    pub notification_receivers_failing: Gauge,
    /// Absent without a configuration of notifications.
    pub notifications_configured: AbsentGauge,
}

impl Default for Metrics {
    fn default() -> Self {
        Self(Arc::new(Families {
            requests: Family::default(),
            duration: Histogram::new(DURATION_BUCKETS),
            refusals: Family::default(),
            connections: Family::default(),
            connections_refused: Family::default(),
            handshake_failures: Family::default(),
            records_dropped: Counter::default(),
            records_sealed: Counter::default(),
            records_unsealed: Gauge::default(),
            records_stored: Family::default(),
            checkpoints: Family::default(),
            log_lines_dropped: Counter::default(),
            events_written: Family::default(),
            events_dropped: Family::default(),
            events_failed: Family::default(),
            events_queued: Family::default(),
            event_names_taken: Counter::default(),
            posture_age: Gauge::default(),
            posture_problems: Gauge::default(),
            posture_valid: Family::default(),
            environments_without_posture: Gauge::default(),
            environments: Mutex::default(),
            watch_failures: Family::default(),
            unlisted_revocations: Gauge::default(),
            documents_left_out: Gauge::default(),
            namespace_reads: Counter::default(),
            ledger_uses: Family::default(),
            ledger_entries_rejected: Counter::default(),
            ledger_key_changes: Counter::default(),
            history_notes: Family::default(),
            break_glass: Counter::default(),
            approvals_cached: Gauge::default(),
            approvals_skipped: Family::default(),
            approval_lists: Counter::default(),
            posted_requests: Gauge::default(),
            posted_requests_swept: Counter::default(),
            request_sweeps: Family::default(),
            certificate_reloads: Family::default(),
            certificate_expiry: Gauge::default(),
            certificate_checks: Family::default(),
            ca_expiry: Gauge::default(),
            ca_bundle_matches: not_known(),
            lease_holder: AbsentGauge::default(),
            lease_checks: Family::default(),
            canary_denied: AbsentGauge::default(),
            canary_last_denied: AbsentGauge::default(),
            canary_answers: Family::default(),
            configuration_matches: AbsentGauge::default(),
            reaudit_workloads: Family::default(),
            reaudit_last_success: AbsentGauge::default(),
            reaudit_runs: Family::default(),
            notifications: Family::default(),
            notifications_queued: Gauge::default(),
            notification_receivers_failing: Gauge::default(),
            notifications_configured: AbsentGauge::default(),
        }))
    }
}

impl Metrics {
    /// Counts a request that was answered without a decision.
    pub fn refused(&self, reason: Refusal) {
        self.refusals.get_or_create(&RefusalLabels { reason: reason.as_str() }).inc();
    }

    /// Counts a connection that was opened (`1`) or closed (`-1`).
    pub fn connection_counted(&self, port: Port, change: i64) {
        self.connections.get_or_create(&PortLabels { port: port.as_str() }).inc_by(change);
    }

    /// Counts a connection that was refused, ended before its first request or was closed for another address.
    pub fn connection_refused(&self, port: Port, reason: ConnectionRefusal) {
        let labels = ConnectionRefusalLabels { port: port.as_str(), reason: reason.as_str() };
        self.connections_refused.get_or_create(&labels).inc();
    }

    /// Counts a failed TLS handshake.
    pub fn handshake_failed(&self, why: HandshakeFailure) {
        self.handshake_failures.get_or_create(&RefusalLabels { reason: why.as_str() }).inc();
    }

    /// Counts a failure of a watch.
    pub fn watch_failed(&self, what: Watched) {
        self.watch_failures.get_or_create(&WatchedLabels { what: what.as_str() }).inc();
    }

    /// Notes whether the entries of the webhook configuration accept the certificate. `None` if there is none, or it was never read.
    pub fn note_bundle(&self, accepted: Option<bool>) {
        self.ca_bundle_matches.set(accepted.map_or(f64::NAN, |accepted| f64::from(u8::from(accepted))));
    }

    /// Notes which environments have a valid posture. An environment that is not among them has no series any more.
    pub fn note_postures<'a>(&self, validity: impl Iterator<Item = (&'a str, bool)>) {
        let mut known = self.environments.lock().unwrap_or_else(PoisonError::into_inner);
        let mut gone = std::mem::take(&mut *known);
        for (environment, is_valid) in validity {
            let environment = gone.take(environment).unwrap_or_else(|| environment.into());
            let labels = EnvironmentLabels { environment: environment.clone() };
            self.posture_valid.get_or_create(&labels).set(i64::from(is_valid));
            known.insert(environment);
        }
        for environment in gone {
            self.posture_valid.remove(&EnvironmentLabels { environment });
        }
    }

    /// Counts a changed certificate.
    pub fn certificate_reloaded(&self, outcome: ReloadOutcome) {
        self.certificate_reloads.get_or_create(&OutcomeLabels { outcome: outcome.as_str() }).inc();
    }

    /// Counts a check of the certificate and its bundle.
    pub fn certificate_checked(&self, outcome: ReloadOutcome) {
        self.certificate_checks.get_or_create(&OutcomeLabels { outcome: outcome.as_str() }).inc();
    }

    /// Notes whether this replica holds the Lease.
    pub fn lease_held(&self, is_held: bool) {
        self.lease_holder.set(Some(i64::from(is_held)));
    }

    /// Counts an attempt to keep the Lease.
    pub fn lease_checked(&self, outcome: ReloadOutcome) {
        self.lease_checks.get_or_create(&OutcomeLabels { outcome: outcome.as_str() }).inc();
    }

    /// Notes that this replica begins to send the canary. An alert must see that the first denial does not come.
    pub fn canary_began(&self, at: Timestamp) {
        self.canary_last_denied.set(Some(at.as_second()));
    }

    /// Notes that this replica begins with the re-audit. An alert must see that the first round does not end.
    pub(crate) fn reaudit_began(&self, at: Timestamp) {
        self.reaudit_last_success.set(Some(at.as_second()));
    }

    /// Notes that the canary was denied.
    pub fn canary_denied(&self, at: Timestamp) {
        self.canary_denied.set(Some(1));
        self.canary_last_denied.set(Some(at.as_second()));
    }

    /// Notes that the canary was not denied.
    pub fn canary_not_denied(&self) {
        self.canary_denied.set(Some(0));
    }

    /// Counts an answer to a dry run of the canary.
    pub fn canary_answered(&self, answer: CanaryAnswer) {
        self.canary_answers.get_or_create(&answer.labels()).inc();
    }

    /// Notes whether the webhook configuration is the one that was rendered.
    pub fn note_configuration(&self, matches: bool) {
        self.configuration_matches.set(Some(i64::from(matches)));
    }

    /// Replaces the result of the last re-audit. Every state of an environment is present.
    pub(crate) fn reaudited(&self, counts: &Counts, at: Timestamp) {
        let environments: BTreeSet<&Arc<str>> = counts.keys().map(|(environment, _)| environment).collect();
        self.reaudit_workloads.clear();
        for environment in environments {
            for standing in Standing::ALL {
                let labels = ReauditLabels { environment: environment.clone(), state: standing.as_str() };
                let count = counts.get(&(environment.clone(), standing)).copied().unwrap_or(0);
                self.reaudit_workloads.get_or_create(&labels).set(count);
            }
        }
        self.reaudit_last_success.set(Some(at.as_second()));
    }

    /// Counts a re-audit.
    pub fn reaudit_run(&self, outcome: ReloadOutcome) {
        self.reaudit_runs.get_or_create(&OutcomeLabels { outcome: outcome.as_str() }).inc();
    }

    /// Counts a notification, or an attempt to deliver it.
    pub(crate) fn notification(&self, kind: NotificationType, outcome: NotificationOutcome) {
        let labels = NotificationLabels { r#type: kind.as_str(), outcome: outcome.as_str() };
        self.notifications.get_or_create(&labels).inc();
    }

    /// Notes that this replica notifies nobody any more.
    pub(crate) fn notifications_ended(&self) {
        self.notifications_queued.set(0);
        self.notification_receivers_failing.set(0);
    }

    /// Notes whether the configuration of notifications can be used.
    pub(crate) fn note_notifications(&self, is_valid: bool) {
        self.notifications_configured.set(Some(i64::from(is_valid)));
    }

    /// Counts a sweep of posted requests.
    pub fn requests_swept(&self, outcome: ReloadOutcome) {
        self.request_sweeps.get_or_create(&OutcomeLabels { outcome: outcome.as_str() }).inc();
    }

    /// Removes the result of the last re-audit.
    pub fn reaudit_forgotten(&self) {
        self.reaudit_workloads.clear();
        self.reaudit_last_success.set(None);
    }

    /// Removes what this replica reported about the canary.
    pub fn canary_forgotten(&self) {
        self.canary_denied.set(None);
        self.configuration_matches.set(None);
        self.canary_last_denied.set(None);
    }

    /// Counts a detached approval that is not cached.
    pub fn approval_skipped(&self, why: SkippedApproval) {
        self.approvals_skipped.get_or_create(&why.labels()).inc();
    }

    /// Counts a step of a use.
    pub fn use_counted(&self, outcome: UseOutcome) {
        self.ledger_uses.get_or_create(&outcome.labels()).inc();
    }

    /// Counts a note in a history.
    pub fn note_counted(&self, outcome: WriteOutcome) {
        self.history_notes.get_or_create(&outcome.labels()).inc();
    }

    /// Counts a record that is stored before the response.
    pub fn record_stored(&self, outcome: WriteOutcome) {
        self.records_stored.get_or_create(&outcome.labels()).inc();
    }

    /// Counts a checkpoint.
    pub fn checkpoint_counted(&self, outcome: WriteOutcome) {
        self.checkpoints.get_or_create(&outcome.labels()).inc();
    }

    /// Counts a written Event.
    pub fn event_written(&self, queue: EventQueue) {
        self.events_written.get_or_create(&queue.labels()).inc();
    }

    /// Counts Events without an attempt to write them: the queue was full, or the process ended.
    pub fn events_dropped(&self, queue: EventQueue, how_many: u64) {
        self.events_dropped.get_or_create(&queue.labels()).inc_by(how_many);
    }

    /// Counts an Event that was not written after all retries.
    pub fn event_failed(&self, queue: EventQueue) {
        self.events_failed.get_or_create(&queue.labels()).inc();
    }

    /// Counts an Event that entered (`1`) or left (`-1`) its queue.
    pub fn event_queued(&self, queue: EventQueue, change: i64) {
        self.events_queued.get_or_create(&queue.labels()).inc_by(change);
    }

    /// The Events in a queue that are neither written nor failed.
    #[must_use]
    pub fn events_waiting(&self, queue: EventQueue) -> u64 {
        u64::try_from(self.events_queued.get_or_create(&queue.labels()).get()).unwrap_or_default()
    }
}

/// A gauge without a value yet. No comparison with it is true, so no alert fires on it.
fn not_known() -> Gauge<f64, AtomicU64> {
    let gauge = Gauge::default();
    gauge.set(f64::NAN);
    gauge
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::encoding::text::encode;

    fn text(metrics: &Metrics) -> String {
        let mut text = String::new();
        encode(&mut text, &metrics.registry()).expect("encoded");
        text
    }

    /// `rate` and `increase` miss the first failure of a counter that appears with it.
    #[test]
    fn every_counter_with_a_closed_set_of_labels_is_present_from_the_first_scrape() {
        let text = text(&Metrics::default());
        // Its environments are not known before they are seen.
        let open = ["writgate_admission_requests", "writgate_posture_valid"];
        for family in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()) {
            let is_sample =
                |line: &str| line.strip_prefix(family).is_some_and(|rest| rest.starts_with(['{', ' ', '_']));
            let has_sample = text.lines().any(is_sample);
            assert!(has_sample || open.contains(&family), "{family} has no sample");
        }
        for sample in [
            "writgate_tls_handshake_failures_total{reason=\"certificate-rejected\"} 0",
            "writgate_watch_failures_total{what=\"approvals\"} 0",
            "writgate_events_dropped_total{lane=\"denial\"} 0",
            "writgate_records_kept_total{outcome=\"failed\"} 0",
        ] {
            assert!(text.lines().any(|line| line == sample), "{sample}");
        }
    }

    #[test]
    fn a_bundle_that_was_never_compared_is_neither_right_nor_wrong() {
        let metrics = Metrics::default();
        let value = |metrics: &Metrics| {
            let text = text(metrics);
            text.lines().find_map(|line| line.strip_prefix("writgate_ca_bundle_matches ")).expect("a sample").to_owned()
        };
        assert_eq!(value(&metrics), "NaN");
        metrics.note_bundle(Some(false));
        assert_eq!(value(&metrics), "0.0");
        metrics.note_bundle(Some(true));
        assert_eq!(value(&metrics), "1.0");
        metrics.note_bundle(None);
        assert_eq!(value(&metrics), "NaN");
    }

    #[test]
    fn an_environment_that_is_gone_has_no_series() {
        let metrics = Metrics::default();
        metrics.note_postures([("production", true), ("staging", false)].into_iter());
        metrics.note_postures([("production", false)].into_iter());
        let text = text(&metrics);
        let series: Vec<_> = text.lines().filter(|line| line.starts_with("writgate_posture_valid{")).collect();
        assert_eq!(series, ["writgate_posture_valid{environment=\"production\"} 0"]);
    }
}
