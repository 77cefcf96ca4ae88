//! The labels of metrics. Each has a closed set of values.

use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;

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
    pub(super) const ALL: [Self; 8] = [
        Self::Overloaded,
        Self::Timeout,
        Self::SlowBody,
        Self::TooLarge,
        Self::NotJson,
        Self::Unreadable,
        Self::Unrecorded,
        Self::Panic,
    ];

    pub(super) fn as_str(self) -> &'static str {
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
    pub(super) const ALL: [Self; 2] = [Self::Webhook, Self::Admin];

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
    pub(super) const ALL: [Self; 5] =
        [Self::TooMany, Self::Reclaimed, Self::ClientCertificate, Self::Handshake, Self::NoRequest];

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
    pub(super) const ALL: [Self; 8] = [
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

/// What the webhook watches in the cluster, to decide and to notify people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watched {
    /// Posture documents.
    Postures,
    /// Namespaces and their labels.
    Namespaces,
    /// Detached approvals.
    Approvals,
    /// Posted requests and rejections.
    Requests,
    /// The webhook's Events, for notifications.
    Events,
    /// Posted requests with their approvals and rejections, for notifications.
    Posted,
}

impl Watched {
    pub(super) const ALL: [Self; 6] =
        [Self::Postures, Self::Namespaces, Self::Approvals, Self::Requests, Self::Events, Self::Posted];

    /// Its name in logs and labels.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Postures => "postures",
            Self::Namespaces => "namespaces",
            Self::Approvals => "approvals",
            Self::Requests => "requests",
            Self::Events => "events",
            Self::Posted => "posted",
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
    pub(super) fn as_str(self) -> &'static str {
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
    pub(super) const ALL: [Self; 5] = [Self::Reserved, Self::Confirmed, Self::Released, Self::Spent, Self::Failed];

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

/// What the answer to a dry run of the canary shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CanaryAnswer {
    /// The webhook denied it, with the proof of this installation.
    Denied,
    /// It was admitted, or something else refused it.
    NotDenied,
    /// It was denied with a proof that is not this installation's.
    Forged,
    /// There was no answer about it.
    None,
}

impl CanaryAnswer {
    pub(super) const ALL: [Self; 4] = [Self::Denied, Self::NotDenied, Self::Forged, Self::None];

    pub(super) fn labels(self) -> CanaryAnswerLabels {
        let answer = match self {
            Self::Denied => "denied",
            Self::NotDenied => "not-denied",
            Self::Forged => "forged",
            Self::None => "none",
        };
        CanaryAnswerLabels { answer }
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
    pub(super) const ALL: [Self; 2] = [Self::Written, Self::Failed];

    pub(super) fn labels(self) -> OutcomeLabels {
        let outcome = match self {
            Self::Written => "written",
            Self::Failed => "failed",
        };
        OutcomeLabels { outcome }
    }
}

/// What became of a notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotificationOutcome {
    /// A receiver has it.
    Delivered,
    /// An attempt failed, and is repeated.
    Failed,
    /// A receiver refused it for its content, and it was dropped.
    Refused,
    /// It was dropped: the queue was full, it waited too long, or too many were caused in its namespace.
    Dropped,
    /// What it rests on could not be verified, so it was not sent.
    Unverified,
}

impl NotificationOutcome {
    pub(super) const ALL: [Self; 5] = [Self::Delivered, Self::Failed, Self::Refused, Self::Dropped, Self::Unverified];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Failed => "failed",
            Self::Refused => "refused",
            Self::Dropped => "dropped",
            Self::Unverified => "unverified",
        }
    }
}

/// Labels of `writgate_notifications_total`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct NotificationLabels {
    // `type` is a word of Rust.
    pub(super) r#type: &'static str,
    pub(super) outcome: &'static str,
}

/// Labels with the reason of a refusal or of a skipped approval.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RefusalLabels {
    pub(super) reason: &'static str,
}

/// Labels with a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct PortLabels {
    pub(super) port: &'static str,
}

/// Labels with the reason why a connection was refused.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ConnectionRefusalLabels {
    pub(super) port: &'static str,
    pub(super) reason: &'static str,
}

/// Labels with the outcome of an operation.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OutcomeLabels {
    pub(super) outcome: &'static str,
}

/// Labels with the answer to a dry run.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct CanaryAnswerLabels {
    pub(super) answer: &'static str,
}

/// Labels with the queue of an Event.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct EventQueueLabels {
    pub(super) lane: &'static str,
}

/// Labels with what is watched.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct WatchedLabels {
    pub(super) what: &'static str,
}

/// Labels with an environment that has a posture.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct EnvironmentLabels {
    pub(super) environment: Arc<str>,
}

/// Labels of `writgate_reaudit_workloads`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ReauditLabels {
    /// An environment with a posture, else `other`.
    pub(super) environment: Arc<str>,
    pub(super) state: &'static str,
}
