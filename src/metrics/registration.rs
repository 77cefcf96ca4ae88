//! The names and descriptions of the metrics, and the series that exist from the first scrape.

use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use super::{
    CanaryAnswer, ConnectionRefusal, ConnectionRefusalLabels, EventQueue, HandshakeFailure, Metrics,
    NotificationLabels, NotificationOutcome, OutcomeLabels, Port, PortLabels, Refusal, RefusalLabels, ReloadOutcome,
    SkippedApproval, UseOutcome, Watched, WatchedLabels, WriteOutcome, process,
};
use crate::notify::NotificationType;

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
            "posted_requests",
            "Posted requests and rejections, counted up to the limit of each namespace",
            self.posted_requests.clone(),
        );
        registry.register(
            "posted_requests_swept",
            "Posted requests and rejections that were deleted because of their age",
            self.posted_requests_swept.clone(),
        );
        registry.register("request_sweeps", "Sweeps of posted requests, by outcome", self.request_sweeps.clone());
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
            "canary_answers",
            "Answers to dry runs of the canary, by what they show",
            self.canary_answers.clone(),
        );
        registry.register(
            "configuration_matches",
            "1 if the webhook configuration is the one that the chart rendered, except for caBundle, else 0; only on the holder of \
             the Lease",
            self.configuration_matches.clone(),
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
        registry.register(
            "notifications",
            "Notifications by type and outcome; a delivery to each receiver counts, and so does each failed attempt",
            self.notifications.clone(),
        );
        registry.register(
            "notifications_queued",
            "Notifications that wait to be delivered to a receiver",
            self.notifications_queued.clone(),
        );
        registry.register(
            "notification_receivers_failing",
            "Receivers of notifications to which the last delivery failed",
            self.notification_receivers_failing.clone(),
        );
        registry.register(
            "notifications_configured",
            "1 if the configuration of notifications can be used, else 0; only on replicas that have one",
            self.notifications_configured.clone(),
        );
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
        for (kind, outcome) in
            NotificationType::ALL.into_iter().flat_map(|kind| NotificationOutcome::ALL.map(|outcome| (kind, outcome)))
        {
            let labels = NotificationLabels { r#type: kind.as_str(), outcome: outcome.as_str() };
            drop(self.notifications.get_or_create(&labels));
        }
        for answer in CanaryAnswer::ALL {
            drop(self.canary_answers.get_or_create(&answer.labels()));
        }
        for outcome in WriteOutcome::ALL {
            for family in [&self.history_notes, &self.records_stored, &self.checkpoints] {
                drop(family.get_or_create(&outcome.labels()));
            }
        }
        for outcome in [ReloadOutcome::Ok, ReloadOutcome::Failed] {
            for family in [
                &self.certificate_reloads,
                &self.certificate_checks,
                &self.lease_checks,
                &self.reaudit_runs,
                &self.request_sweeps,
            ] {
                drop(family.get_or_create(&OutcomeLabels { outcome: outcome.as_str() }));
            }
        }
    }
}
