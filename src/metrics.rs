//! The metrics, in the `OpenMetrics` text format.
//!
//! Every label has a closed set of values. An unauthenticated caller can reach the webhook, and each value that it could make up
//! would stay in memory. Names, users and keys are never labels.

use std::ops::Deref;
use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

/// Upper bounds in seconds: a review takes some 0.1 ms here, and the API server gives up after a few seconds.
const DURATION_BUCKETS: [f64; 12] = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0];

/// Labels of `writgate_admission_requests_total`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RequestLabels {
    /// An environment that a posture is in force for; empty where none governs, `other` for an unknown one.
    pub environment: Arc<str>,
    /// A kind that the product judges, else `other`.
    pub kind: &'static str,
    /// `CREATE`, `UPDATE`, `DELETE`, `CONNECT`, else `other`.
    pub operation: &'static str,
    /// The action judged, or empty.
    pub action: &'static str,
    /// `admitted`, `denied` or `not-an-action`.
    pub decision: &'static str,
    /// First reason code, or empty.
    pub reason: &'static str,
    /// `enforce`, `warn`, `audit`, or empty.
    pub enforcement: &'static str,
    /// `true` or `false`.
    pub dry_run: &'static str,
}

/// Why a request was answered without a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// More requests at once than the server takes.
    Overloaded,
    /// The API server's patience would have run out.
    Timeout,
    /// The body is larger than any review.
    TooLarge,
    /// The content type is not JSON.
    NotJson,
    /// The body is no review, and names no uid that an answer could echo.
    Unreadable,
    /// The record could not be written, and nothing is admitted without one.
    Unrecorded,
    /// A defect of ours.
    Panic,
}

impl Refusal {
    fn as_str(self) -> &'static str {
        match self {
            Self::Overloaded => "overloaded",
            Self::Timeout => "timeout",
            Self::TooLarge => "too-large",
            Self::NotJson => "not-json",
            Self::Unreadable => "unreadable",
            Self::Unrecorded => "unrecorded",
            Self::Panic => "panic",
        }
    }
}

/// How taking up a new certificate went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReloadOutcome {
    /// The new one is served.
    Ok,
    /// The old one stays.
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

/// Which queue an Event waited in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventQueue {
    /// Events of admissions.
    Admission,
    /// Events of denials.
    Denial,
}

impl EventQueue {
    pub(crate) fn labels(self) -> EventQueueLabels {
        let lane = match self {
            Self::Admission => "admission",
            Self::Denial => "denial",
        };
        EventQueueLabels { lane }
    }
}

/// What became of a use of a single-use approval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UseOutcome {
    /// Entered in the ledger.
    Reserved,
    /// Its object was seen.
    Confirmed,
    /// Its object surely never was there, and it is free again.
    Released,
    /// It stays spent, though its object was not seen: the watch that would have proved it broke.
    Spent,
    /// The ledger could not be asked or written.
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

/// Why an approval beside workloads was not kept when it was seen; it is found live nevertheless.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SkippedApproval {
    /// It is no approval, or too large for one.
    Unreadable,
    /// It is worth nothing any more.
    Expired,
    /// Its namespace, or all of them, have as many as are kept.
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

/// How writing something of a decision's went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteOutcome {
    /// It is there.
    Written,
    /// It is not.
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

/// Label set of refusals, and of what is passed over.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RefusalLabels {
    reason: &'static str,
}

/// Label set of what ends one way or another.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OutcomeLabels {
    outcome: &'static str,
}

/// Label set of what counts Events.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct EventQueueLabels {
    lane: &'static str,
}

/// Every metric of the process. Clones share their values, and cost one counter: each request makes several.
#[derive(Clone)]
pub struct Metrics(Arc<Families>);

impl Deref for Metrics {
    type Target = Families;

    fn deref(&self) -> &Families {
        &self.0
    }
}

/// The metric families.
#[expect(missing_docs, reason = "each is described where it is registered")]
pub struct Families {
    pub requests: Family<RequestLabels, Counter>,
    pub duration: Histogram,
    pub refusals: Family<RefusalLabels, Counter>,
    pub records_dropped: Counter,
    pub records_sealed: Counter,
    pub records_stored: Family<OutcomeLabels, Counter>,
    pub checkpoints: Family<OutcomeLabels, Counter>,
    pub log_lines_dropped: Counter,
    pub events_written: Family<EventQueueLabels, Counter>,
    pub events_dropped: Family<EventQueueLabels, Counter>,
    pub events_failed: Family<EventQueueLabels, Counter>,
    pub events_queued: Family<EventQueueLabels, Gauge>,
    pub posture_age: Gauge<f64, std::sync::atomic::AtomicU64>,
    pub posture_problems: Gauge,
    pub namespace_reads: Counter,
    pub ledger_uses: Family<OutcomeLabels, Counter>,
    pub history_notes: Family<OutcomeLabels, Counter>,
    pub break_glass: Counter,
    pub approvals_cached: Gauge,
    pub approvals_skipped: Family<RefusalLabels, Counter>,
    pub approval_lists: Counter,
    pub certificate_reloads: Family<OutcomeLabels, Counter>,
    pub certificate_expiry: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        Self(Arc::new(Families {
            requests: Family::default(),
            duration: Histogram::new(DURATION_BUCKETS),
            refusals: Family::default(),
            records_dropped: Counter::default(),
            records_sealed: Counter::default(),
            records_stored: Family::default(),
            checkpoints: Family::default(),
            log_lines_dropped: Counter::default(),
            events_written: Family::default(),
            events_dropped: Family::default(),
            events_failed: Family::default(),
            events_queued: Family::default(),
            posture_age: Gauge::default(),
            posture_problems: Gauge::default(),
            namespace_reads: Counter::default(),
            ledger_uses: Family::default(),
            history_notes: Family::default(),
            break_glass: Counter::default(),
            approvals_cached: Gauge::default(),
            approvals_skipped: Family::default(),
            approval_lists: Counter::default(),
            certificate_reloads: Family::default(),
            certificate_expiry: Gauge::default(),
        }))
    }
}

impl Metrics {
    /// A registry that encodes these metrics, all of them from the first scrape on.
    #[must_use]
    pub fn registry(&self) -> Registry {
        let mut registry = Registry::with_prefix("writgate");
        let build = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "This build", build);
        // The encoder appends _total to counters and the unit to the name.
        registry.register("admission_requests", "Reviews judged, by what was decided", self.requests.clone());
        registry.register_with_unit(
            "admission_duration",
            "Time from a review's last byte to its answer",
            Unit::Seconds,
            self.duration.clone(),
        );
        registry.register("admission_refusals", "Requests answered without a decision", self.refusals.clone());
        registry.register(
            "records_dropped",
            "Decision records that standard output did not take in time",
            self.records_dropped.clone(),
        );
        registry.register("records_sealed", "Decision records given a place in the chain", self.records_sealed.clone());
        registry.register(
            "records_kept",
            "Records of admissions that the ledger had to have before the answer",
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
        registry.register("events_failed", "Events given up after retries", self.events_failed.clone());
        registry.register("events_queued", "Events waiting to be written", self.events_queued.clone());
        registry.register_with_unit(
            "posture_age",
            "Time since the postures and namespaces were last proved fresh",
            Unit::Seconds,
            self.posture_age.clone(),
        );
        registry.register(
            "posture_problems",
            "Documents of the posture that are invalid",
            self.posture_problems.clone(),
        );
        registry.register(
            "namespace_reads",
            "Namespaces read live because the cache could not tell",
            self.namespace_reads.clone(),
        );
        registry.register(
            "ledger_uses",
            "Uses of single-use approvals, by what became of them",
            self.ledger_uses.clone(),
        );
        registry.register("history_notes", "Admissions noted for rollbacks", self.history_notes.clone());
        registry.register(
            "break_glass_admissions",
            "Requests admitted by an approval for an emergency",
            self.break_glass.clone(),
        );
        registry.register("approvals_kept", "Approvals beside workloads that are kept", self.approvals_cached.clone());
        registry.register(
            "approvals_passed_over",
            "Approvals beside workloads that were seen and not kept: they are found live",
            self.approvals_skipped.clone(),
        );
        registry.register(
            "approval_lists",
            "Approvals beside a workload looked for live, before it would be denied",
            self.approval_lists.clone(),
        );
        registry.register(
            "certificate_reloads",
            "Changed serving certificates, taken up or refused",
            self.certificate_reloads.clone(),
        );
        registry.register(
            "certificate_expiry_timestamp_seconds",
            "When the serving certificate expires",
            self.certificate_expiry.clone(),
        );
        self.begin();
        registry
    }

    /// A counter that appears only with its first failure cannot be alerted on.
    fn begin(&self) {
        for queue in [EventQueue::Admission, EventQueue::Denial] {
            for family in [&self.events_written, &self.events_dropped, &self.events_failed] {
                drop(family.get_or_create(&queue.labels()));
            }
            drop(self.events_queued.get_or_create(&queue.labels()));
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
            drop(self.certificate_reloads.get_or_create(&OutcomeLabels { outcome: outcome.as_str() }));
        }
    }

    /// Counts a request that was answered without a decision.
    pub fn refused(&self, reason: Refusal) {
        self.refusals.get_or_create(&RefusalLabels { reason: reason.as_str() }).inc();
    }

    /// Counts an attempt to take up a changed certificate.
    pub fn certificate_reloaded(&self, outcome: ReloadOutcome) {
        self.certificate_reloads.get_or_create(&OutcomeLabels { outcome: outcome.as_str() }).inc();
    }

    /// Counts an approval beside workloads that is not kept.
    pub fn approval_skipped(&self, why: SkippedApproval) {
        self.approvals_skipped.get_or_create(&why.labels()).inc();
    }

    /// Counts what became of a use.
    pub fn use_counted(&self, outcome: UseOutcome) {
        self.ledger_uses.get_or_create(&outcome.labels()).inc();
    }

    /// Counts how noting an admission went.
    pub fn note_counted(&self, outcome: WriteOutcome) {
        self.history_notes.get_or_create(&outcome.labels()).inc();
    }

    /// Counts how keeping a record before the answer went.
    pub fn record_stored(&self, outcome: WriteOutcome) {
        self.records_stored.get_or_create(&outcome.labels()).inc();
    }

    /// Counts how noting the chain's head went.
    pub fn checkpoint_counted(&self, outcome: WriteOutcome) {
        self.checkpoints.get_or_create(&outcome.labels()).inc();
    }

    /// Counts an Event written.
    pub fn event_written(&self, queue: EventQueue) {
        self.events_written.get_or_create(&queue.labels()).inc();
    }

    /// Counts Events that were never tried: their queue was full, or the process ended.
    pub fn events_dropped(&self, queue: EventQueue, how_many: u64) {
        self.events_dropped.get_or_create(&queue.labels()).inc_by(how_many);
    }

    /// Counts an Event given up.
    pub fn event_failed(&self, queue: EventQueue) {
        self.events_failed.get_or_create(&queue.labels()).inc();
    }

    /// An Event entered (`1`) or left (`-1`) its queue.
    pub fn event_queued(&self, queue: EventQueue, change: i64) {
        self.events_queued.get_or_create(&queue.labels()).inc_by(change);
    }

    /// Events that entered a queue and were neither written nor given up.
    #[must_use]
    pub fn events_waiting(&self, queue: EventQueue) -> u64 {
        u64::try_from(self.events_queued.get_or_create(&queue.labels()).get()).unwrap_or_default()
    }
}
