//! The metrics, in the `OpenMetrics` text format.
//!
//! Every label has a closed set of values. An unauthenticated caller can reach the webhook, and each value that it could make up
//! would stay in memory. Names, users and keys are never labels.
//!
//! The file is longer than 500 lines: it declares, registers and counts every metric.

mod process;

use std::collections::BTreeSet;
use std::ops::Deref;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use prometheus_client::encoding::{EncodeLabelSet, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use writgate_cluster::live::Standing;

use crate::reaudit::Counts;

/// Upper bounds in seconds. A review takes about 0.1 ms, and the API server gives up after a few seconds.
const DURATION_BUCKETS: [f64; 12] = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0];

/// Labels of `writgate_admission_requests_total`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RequestLabels {
    /// An environment with a posture; empty in a namespace that is not governed; `other` for an environment without a posture.
    pub environment: Arc<str>,
    /// A kind that Writgate decides about, else `other`.
    pub kind: &'static str,
    /// `CREATE`, `UPDATE`, `DELETE`, `CONNECT`, else `other`.
    pub operation: &'static str,
    /// The action, or empty.
    pub action: &'static str,
    /// `admitted`, `denied` or `not-an-action`.
    pub decision: &'static str,
    /// The first reason code, or empty.
    pub reason: &'static str,
    /// `enforce`, `warn`, `audit`, or empty.
    pub enforcement: &'static str,
    /// `true` or `false`.
    pub dry_run: &'static str,
}

/// Why a request was answered without a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Too many requests are in progress.
    Overloaded,
    /// The decision took almost as long as the API server waits.
    Timeout,
    /// The body did not arrive in time.
    SlowBody,
    /// The body is larger than any AdmissionReview.
    TooLarge,
    /// The content type is not JSON.
    NotJson,
    /// The body is not an AdmissionReview, and has no uid that a response could echo.
    Unreadable,
    /// The record could not be written, and nothing is admitted without a record.
    Unrecorded,
    /// A defect of Writgate.
    Panic,
}

impl Refusal {
    const ALL: [Self; 8] = [
        Self::Overloaded,
        Self::Timeout,
        Self::SlowBody,
        Self::TooLarge,
        Self::NotJson,
        Self::Unreadable,
        Self::Unrecorded,
        Self::Panic,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Overloaded => "overloaded",
            Self::Timeout => "timeout",
            Self::SlowBody => "slow-body",
            Self::TooLarge => "too-large",
            Self::NotJson => "not-json",
            Self::Unreadable => "unreadable",
            Self::Unrecorded => "unrecorded",
            Self::Panic => "panic",
        }
    }
}

/// A port of the webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// HTTPS, for API servers.
    Webhook,
    /// HTTP, for probes and metrics.
    Admin,
}

impl Port {
    const ALL: [Self; 2] = [Self::Webhook, Self::Admin];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::Admin => "admin",
        }
    }
}

/// Why a connection was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionRefusal {
    /// The port has too many connections, or the peer has more than its share of them.
    TooMany,
    /// The connection was closed for a peer with fewer connections, before or after a request.
    Reclaimed,
    /// The client has no certificate of the client CA, or its certificate has another name.
    ClientCertificate,
    /// The TLS handshake failed for another reason, or took too long.
    Handshake,
    /// The connection was accepted, and ended before a request was read completely: too slow, too long, or not HTTP.
    NoRequest,
}

impl ConnectionRefusal {
    const ALL: [Self; 5] = [Self::TooMany, Self::Reclaimed, Self::ClientCertificate, Self::Handshake, Self::NoRequest];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::TooMany => "too-many",
            Self::Reclaimed => "reclaimed",
            Self::ClientCertificate => "client-certificate",
            Self::Handshake => "handshake",
            Self::NoRequest => "no-request",
        }
    }
}

/// Why a TLS handshake failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandshakeFailure {
    /// The client does not accept the serving certificate. If the client is an API server, `caBundle` is wrong.
    CertificateRejected,
    /// The client has no certificate of the client CA, or its certificate has another name.
    ClientCertificate,
    /// There is no serving certificate yet.
    NoCertificate,
    /// Client and webhook have no common protocol version or cipher suite.
    Incompatible,
    /// The client did not send TLS.
    NotTls,
    /// The client was too slow.
    Timeout,
    /// The client closed the connection.
    Closed,
    /// Anything else.
    Other,
}

impl HandshakeFailure {
    const ALL: [Self; 8] = [
        Self::CertificateRejected,
        Self::ClientCertificate,
        Self::NoCertificate,
        Self::Incompatible,
        Self::NotTls,
        Self::Timeout,
        Self::Closed,
        Self::Other,
    ];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::CertificateRejected => "certificate-rejected",
            Self::ClientCertificate => "client-certificate",
            Self::NoCertificate => "no-certificate",
            Self::Incompatible => "incompatible",
            Self::NotTls => "not-tls",
            Self::Timeout => "timeout",
            Self::Closed => "closed",
            Self::Other => "other",
        }
    }
}

/// What the webhook watches in the cluster to decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watched {
    /// Posture documents.
    Postures,
    /// Namespaces and their labels.
    Namespaces,
    /// Detached approvals.
    Approvals,
}

impl Watched {
    const ALL: [Self; 3] = [Self::Postures, Self::Namespaces, Self::Approvals];

    /// Its name in logs and labels.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Postures => "postures",
            Self::Namespaces => "namespaces",
            Self::Approvals => "approvals",
        }
    }
}

/// The outcome of replacing or checking a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReloadOutcome {
    /// The new certificate is served.
    Ok,
    /// The old certificate stays in use.
    Failed,
}

impl ReloadOutcome {
    fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
        }
    }
}

/// The queue of an Event. Its label is called `lane`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventQueue {
    /// Events of admissions.
    Admission,
    /// Events of break-glass admissions.
    BreakGlass,
    /// Events of connections that are admitted.
    Connection,
    /// Events of denials, and of admissions whose object was not seen.
    Denial,
}

impl EventQueue {
    /// Every queue, in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::Admission, Self::BreakGlass, Self::Connection, Self::Denial];

    /// Whether an Event waits until its object was seen.
    #[must_use]
    pub fn confirms(self) -> bool {
        matches!(self, Self::Admission | Self::BreakGlass)
    }

    pub(crate) fn labels(self) -> EventQueueLabels {
        let lane = match self {
            Self::Admission => "admission",
            Self::BreakGlass => "break-glass",
            Self::Connection => "connection",
            Self::Denial => "denial",
        };
        EventQueueLabels { lane }
    }
}

/// A step in the life of a use of a single-use approval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UseOutcome {
    /// The use was entered in the ledger.
    Reserved,
    /// The object of the use appeared.
    Confirmed,
    /// The object was provably never created, and the approval is free again.
    Released,
    /// The use stays spent although its object did not appear, because the watch that would prove it broke.
    Spent,
    /// The ledger could not be read or written.
    Failed,
}

impl UseOutcome {
    const ALL: [Self; 5] = [Self::Reserved, Self::Confirmed, Self::Released, Self::Spent, Self::Failed];

    pub(crate) fn labels(self) -> OutcomeLabels {
        let outcome = match self {
            Self::Reserved => "reserved",
            Self::Confirmed => "confirmed",
            Self::Released => "released",
            Self::Spent => "kept",
            Self::Failed => "failed",
        };
        OutcomeLabels { outcome }
    }
}

/// Why a detached approval was not cached. It is still found by a live read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SkippedApproval {
    /// It is not an approval, or is too large.
    Unreadable,
    /// It has expired.
    Expired,
    /// The limit of its namespace, or of all namespaces, is reached.
    Full,
}

impl SkippedApproval {
    pub(crate) const ALL: [Self; 3] = [Self::Unreadable, Self::Expired, Self::Full];

    pub(crate) fn labels(self) -> RefusalLabels {
        let reason = match self {
            Self::Unreadable => "unreadable",
            Self::Expired => "expired",
            Self::Full => "full",
        };
        RefusalLabels { reason }
    }
}

/// The outcome of a write to the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteOutcome {
    /// The write succeeded.
    Written,
    /// The write failed.
    Failed,
}

impl WriteOutcome {
    const ALL: [Self; 2] = [Self::Written, Self::Failed];

    fn labels(self) -> OutcomeLabels {
        let outcome = match self {
            Self::Written => "written",
            Self::Failed => "failed",
        };
        OutcomeLabels { outcome }
    }
}

/// Labels with the reason of a refusal or of a skipped approval.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RefusalLabels {
    reason: &'static str,
}

/// Labels with a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct PortLabels {
    port: &'static str,
}

/// Labels with the reason why a connection was refused.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ConnectionRefusalLabels {
    port: &'static str,
    reason: &'static str,
}

/// Labels with the outcome of an operation.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OutcomeLabels {
    outcome: &'static str,
}

/// Labels with the queue of an Event.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct EventQueueLabels {
    lane: &'static str,
}

/// Labels with what is watched.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct WatchedLabels {
    what: &'static str,
}

/// Labels with an environment that has a posture.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct EnvironmentLabels {
    environment: Arc<str>,
}

/// Labels of `writgate_reaudit_workloads`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ReauditLabels {
    /// An environment with a posture, else `other`.
    environment: Arc<str>,
    state: &'static str,
}

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
    /// Empty on a replica that does not hold the Lease.
    pub reaudit_workloads: Family<ReauditLabels, Gauge>,
    pub reaudit_last_success: AbsentGauge,
    pub reaudit_runs: Family<OutcomeLabels, Counter>,
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
            certificate_reloads: Family::default(),
            certificate_expiry: Gauge::default(),
            certificate_checks: Family::default(),
            ca_expiry: Gauge::default(),
            ca_bundle_matches: not_known(),
            lease_holder: AbsentGauge::default(),
            lease_checks: Family::default(),
            canary_denied: AbsentGauge::default(),
            canary_last_denied: AbsentGauge::default(),
            reaudit_workloads: Family::default(),
            reaudit_last_success: AbsentGauge::default(),
            reaudit_runs: Family::default(),
        }))
    }
}

impl Metrics {
    /// A registry of these metrics, which are all present from the first scrape.
    #[must_use]
    pub fn registry(&self) -> Registry {
        let mut root = Registry::default();
        root.register_collector(Box::new(process::Process));
        let registry = root.sub_registry_with_prefix("writgate");
        let build = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "This build", build);
        // The encoder appends _total to counters and the unit to the name.
        registry.register("admission_requests", "Admission reviews that were decided", self.requests.clone());
        registry.register_with_unit(
            "admission_duration",
            "Time from the last byte of an admission review to its response",
            Unit::Seconds,
            self.duration.clone(),
        );
        registry.register("admission_refusals", "Requests answered without a decision", self.refusals.clone());
        registry.register("connections", "Open connections, by port", self.connections.clone());
        registry.register(
            "connections_refused",
            "Connections that were refused, ended before their first request or were closed for another address, by port and reason",
            self.connections_refused.clone(),
        );
        registry.register(
            "tls_handshake_failures",
            "TLS handshakes of the webhook's port that failed, by reason",
            self.handshake_failures.clone(),
        );
        registry.register(
            "records_dropped",
            "Decision records that could not be written to standard output in time",
            self.records_dropped.clone(),
        );
        registry.register("records_sealed", "Decision records that a seal covers", self.records_sealed.clone());
        registry.register(
            "records_unsealed",
            "Decision records that wait for the next seal of the chain",
            self.records_unsealed.clone(),
        );
        registry.register(
            "records_kept",
            "Records of admissions that the posture requires in the ledger before the response",
            self.records_stored.clone(),
        );
        registry.register("checkpoints", "Checkpoints of the chain of records", self.checkpoints.clone());
        registry.register(
            "log_lines_dropped",
            "Log lines dropped in favour of records",
            self.log_lines_dropped.clone(),
        );
        registry.register("events_written", "Events written", self.events_written.clone());
        registry.register("events_dropped", "Events dropped because their queue was full", self.events_dropped.clone());
        registry.register(
            "events_failed",
            "Events that were not written after all retries",
            self.events_failed.clone(),
        );
        registry.register("events_queued", "Events waiting to be written", self.events_queued.clone());
        registry.register(
            "event_names_taken",
            "Names of Events that another Event already had",
            self.event_names_taken.clone(),
        );
        registry.register_with_unit(
            "posture_age",
            "Time since the postures and namespaces were last proved fresh",
            Unit::Seconds,
            self.posture_age.clone(),
        );
        registry.register("posture_problems", "Posture documents that are invalid", self.posture_problems.clone());
        registry.register(
            "posture_valid",
            "1 if the posture of the environment is valid, 0 if it is invalid and everything is denied",
            self.posture_valid.clone(),
        );
        registry.register(
            "environments_without_posture",
            "Environments of governed namespaces that have no posture, so that everything is denied",
            self.environments_without_posture.clone(),
        );
        registry.register(
            "watch_failures",
            "Failures of the watches that keep the webhook's state current",
            self.watch_failures.clone(),
        );
        registry.register(
            "documents_left_out",
            "Posture documents that are not kept because all together are too large",
            self.documents_left_out.clone(),
        );
        registry.register(
            "unlisted_revocations",
            "Revocations in force that are in no list any more",
            self.unlisted_revocations.clone(),
        );
        registry.register(
            "namespace_reads",
            "Namespaces read live because they were not cached as governed",
            self.namespace_reads.clone(),
        );
        self.register_cluster(registry);
        self.begin();
        root
    }

    /// Registers what the webhook reads and writes in the cluster, and its certificate.
    fn register_cluster(&self, registry: &mut Registry) {
        registry.register("ledger_uses", "Uses of single-use approvals, by outcome", self.ledger_uses.clone());
        registry.register(
            "history_notes",
            "Admissions noted in the histories for rollbacks",
            self.history_notes.clone(),
        );
        registry.register(
            "ledger_key_changes",
            "Times that the key in Secret writgate-ledger was found to be replaced",
            self.ledger_key_changes.clone(),
        );
        registry.register(
            "ledger_entries_rejected",
            "Ledger entries that the webhook did not write, or wrote with another key",
            self.ledger_entries_rejected.clone(),
        );
        registry.register(
            "break_glass_admissions",
            "Requests admitted by a break-glass approval",
            self.break_glass.clone(),
        );
        registry.register("approvals_kept", "Detached approvals that are cached", self.approvals_cached.clone());
        registry.register(
            "approvals_passed_over",
            "Detached approvals that are not cached; they are read live",
            self.approvals_skipped.clone(),
        );
        registry.register(
            "approval_lists",
            "Live reads of detached approvals before a denial",
            self.approval_lists.clone(),
        );
        registry.register(
            "certificate_reloads",
            "Changed serving certificates, by outcome",
            self.certificate_reloads.clone(),
        );
        registry.register(
            "certificate_expiry_timestamp_seconds",
            "When the serving certificate expires",
            self.certificate_expiry.clone(),
        );
        registry.register(
            "certificate_checks",
            "Checks of the certificate, its CA and the CA bundle, by outcome",
            self.certificate_checks.clone(),
        );
        registry.register(
            "ca_expiry_timestamp_seconds",
            "When the CA that the webhook makes expires; 0 if it makes none",
            self.ca_expiry.clone(),
        );
        registry.register(
            "ca_bundle_matches",
            "1 if each entry of the webhook configuration accepted the serving certificate when it was last read, 0 if one did not, \
             NaN if there is no such configuration or it was never read",
            self.ca_bundle_matches.clone(),
        );
        self.register_holder(registry);
    }

    /// Registers what the holder of the Lease finds.
    fn register_holder(&self, registry: &mut Registry) {
        registry.register(
            "lease_holder",
            "1 if this replica holds the Lease, else 0; only on replicas that compete for it",
            self.lease_holder.clone(),
        );
        registry.register("lease_checks", "Attempts to read, renew or take the Lease", self.lease_checks.clone());
        registry.register(
            "canary_denied",
            "1 if the last canary was denied by this installation, else 0; only on the holder of the Lease",
            self.canary_denied.clone(),
        );
        registry.register(
            "canary_last_denied_timestamp_seconds",
            "When the canary was last denied, or when this replica began to send it; only on the holder of the Lease",
            self.canary_last_denied.clone(),
        );
        registry.register(
            "reaudit_workloads",
            "Workloads in the last complete re-audit, by environment and state; only on the holder of the Lease",
            self.reaudit_workloads.clone(),
        );
        registry.register(
            "reaudit_last_success_timestamp_seconds",
            "When the last complete re-audit ended, or when this replica began with it; only on the holder of the Lease",
            self.reaudit_last_success.clone(),
        );
        registry.register("reaudit_runs", "Re-audits, by outcome", self.reaudit_runs.clone());
    }

    /// Creates every label value. An alert misses the first failure of a counter that did not exist before.
    fn begin(&self) {
        for queue in EventQueue::ALL {
            for family in [&self.events_written, &self.events_dropped, &self.events_failed] {
                drop(family.get_or_create(&queue.labels()));
            }
            drop(self.events_queued.get_or_create(&queue.labels()));
        }
        for port in Port::ALL {
            drop(self.connections.get_or_create(&PortLabels { port: port.as_str() }));
            for reason in ConnectionRefusal::ALL {
                let labels = ConnectionRefusalLabels { port: port.as_str(), reason: reason.as_str() };
                drop(self.connections_refused.get_or_create(&labels));
            }
        }
        for why in HandshakeFailure::ALL {
            drop(self.handshake_failures.get_or_create(&RefusalLabels { reason: why.as_str() }));
        }
        for what in Watched::ALL {
            drop(self.watch_failures.get_or_create(&WatchedLabels { what: what.as_str() }));
        }
        for reason in Refusal::ALL {
            drop(self.refusals.get_or_create(&RefusalLabels { reason: reason.as_str() }));
        }
        for outcome in UseOutcome::ALL {
            drop(self.ledger_uses.get_or_create(&outcome.labels()));
        }
        for why in SkippedApproval::ALL {
            drop(self.approvals_skipped.get_or_create(&why.labels()));
        }
        for outcome in WriteOutcome::ALL {
            for family in [&self.history_notes, &self.records_stored, &self.checkpoints] {
                drop(family.get_or_create(&outcome.labels()));
            }
        }
        for outcome in [ReloadOutcome::Ok, ReloadOutcome::Failed] {
            for family in [&self.certificate_reloads, &self.certificate_checks, &self.lease_checks, &self.reaudit_runs]
            {
                drop(family.get_or_create(&OutcomeLabels { outcome: outcome.as_str() }));
            }
        }
    }

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

    /// Removes the result of the last re-audit.
    pub fn reaudit_forgotten(&self) {
        self.reaudit_workloads.clear();
        self.reaudit_last_success.set(None);
    }

    /// Removes what this replica reported about the canary.
    pub fn canary_forgotten(&self) {
        self.canary_denied.set(None);
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
