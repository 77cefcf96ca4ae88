//! The decision on a request, its record, and its text for people.
//!
//! The response, the Event, the log line, the metric and the command line render these values and add nothing.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    approval::action::Action,
    approval::spec_hash::SpecHash,
    record::chain::{Link, RecordSignature},
    record::claimed_initiator::ClaimedInitiator,
    record::connection::Connection,
    record::denial::Denial,
    record::enforcement::{Durability, Enforcement},
    record::history::HistoryNote,
    text::quoted,
};

/// The `version` of a record.
pub const RECORD_VERSION: &str = "writgate.dev/decision/v1";

/// Problems of a document in the text of its denial. The response's causes contain all of them.
const MAX_FAULTS: usize = 20;

/// A decided request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The record, the same in every place where it is kept.
    pub record: DecisionRecord,
    /// Every reason for a denial, in the order of the table. Under `warn` and `audit`, an admission has reasons too.
    pub denials: Vec<Denial>,
    /// The object's `metadata.generation`, or 0.
    pub generation: i64,
    /// What is added to the history for rollbacks once the object was seen as it was admitted.
    pub note: Option<HistoryNote>,
    /// What the user should know although no check fails.
    pub remarks: Vec<String>,
    /// What the posture requires of an admission's record.
    pub durability: Durability,
}

/// The record of a decision (docs/records.md), as the log, the Event and `verify -o json` contain it.
///
/// The fields of this type and of those in it are sorted by the names that they have in JSON. So serde writes a record in
/// its canonical form (RFC 8785), and its digest requires no second pass.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DecisionRecord {
    /// What the request would do; `None` if it is not an action or that is not known.
    pub action: Option<Action>,
    /// Whether an approval is required; `None` if no posture was consulted.
    pub approval_required: Option<bool>,
    /// The approvals that a known key has signed, even if they were not enough.
    pub approvals: Vec<ApprovalRecord>,
    /// What an admission rests on; `None` for a denial, and for an admission under `warn` or `audit` that has reasons.
    #[serde(default)]
    pub basis: Option<Basis>,
    /// The capability rules that matched.
    #[serde(default)]
    pub capability_rules: Vec<RuleRecord>,
    /// The record's link in its writer's chain; `None` if it is not sealed, as in `verify -o json`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chain: Option<Link>,
    /// The change to what governs, in words; `None` for workloads.
    #[serde(default)]
    pub change: Option<String>,
    /// The posture's cluster.
    pub cluster: Option<String>,
    /// The connection that the request opens; `None` for everything but CONNECT.
    #[serde(default)]
    pub connection: Option<Connection>,
    /// The outcome.
    pub decision: Outcome,
    /// Whether the request is a dry run.
    pub dry_run: bool,
    /// What a failed check does under the posture.
    pub enforcement: Option<Enforcement>,
    /// The namespace's environment.
    pub environment: Option<String>,
    /// `UUIDv7` of the decision.
    pub id: Uuid,
    /// The Flux or Argo CD objects that the object's labels and annotations name. A claim of whoever wrote the object.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub initiated_by: Vec<ClaimedInitiator>,
    /// The API user who sends the request.
    pub initiator: Option<Initiator>,
    /// The object that the request changes.
    pub object: Option<ObjectRecord>,
    /// `CREATE`, `UPDATE` …
    pub operation: Option<String>,
    /// Digest of the posture's documents.
    pub posture_version: Option<String>,
    /// The spec hash of the object before the request.
    pub previous_spec_hash: Option<SpecHash>,
    /// The namespace's project.
    pub project: Option<String>,
    /// The codes of all reasons, in the order of the table.
    pub reasons: Vec<String>,
    /// The request's uid in the AdmissionReview, which the API server's audit log has too.
    pub request_uid: Option<String>,
    /// The requester, as a verified approval says.
    pub requested_by: Option<String>,
    /// The capabilities that the action requires.
    pub required_capabilities: Vec<String>,
    /// The writer's signature over all other fields.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<RecordSignature>,
    /// The spec hash of the object after the request.
    pub spec_hash: Option<SpecHash>,
    /// When it was decided.
    pub time: Timestamp,
    /// [`RECORD_VERSION`]
    pub version: String,
}

/// The API user who sends a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Initiator {
    /// The groups from authentication.
    pub groups: Vec<String>,
    /// The uid from authentication, often empty.
    pub uid: String,
    /// The user name from authentication.
    pub username: String,
}

/// The object of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectRecord {
    /// `apps/v1`
    pub api_version: String,
    /// `Deployment`
    pub kind: String,
    /// Its name; `<generateName>*` before the API server has generated it.
    pub name: String,
    /// Its namespace; empty for a Namespace.
    pub namespace: String,
    /// Its uid, if it has one.
    pub uid: Option<String>,
}

impl ObjectRecord {
    /// The name of a subject that is this object: `apps/v1/Deployment/payments/orders`, without the part for the namespace if it
    /// has none. [`Subject::parts`](crate::approval::Subject::parts) reads the former.
    #[must_use]
    pub fn subject(&self) -> String {
        let Self { api_version, kind, namespace, name, .. } = self;
        if namespace.is_empty() {
            format!("{api_version}/{kind}/{name}")
        } else {
            format!("{api_version}/{kind}/{namespace}/{name}")
        }
    }
}

/// A capability rule that matched: why the action requires capabilities in addition to its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleRecord {
    /// Its message for people.
    pub message: Option<String>,
    /// Its name in the posture.
    pub name: String,
    /// The capabilities that it requires.
    pub require: Vec<String>,
}

/// An approval that a known key has signed. It need not have been enough.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApprovalRecord {
    /// The capabilities that it names.
    pub capabilities: Vec<String>,
    /// When it expires.
    pub expires_at: Timestamp,
    /// Its id.
    pub id: String,
    /// Those keys.
    pub key_ids: Vec<String>,
    /// The requester's reason.
    pub reason: Option<String>,
    /// The reviewers who signed it with a known key.
    pub reviewers: Vec<String>,
}

/// What an admission rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Basis {
    /// The posture requires no approval.
    NotRequired,
    /// A valid approval.
    Approval,
    /// A valid break-glass approval.
    BreakGlass,
    /// An earlier admission; the record has its approvals.
    Rollback,
    /// The user's permissions: no check of a guard failed.
    Guard,
}

impl Basis {
    /// `not-required`, `approval`, `break-glass`, `rollback` or `guard`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotRequired => "not-required",
            Self::Approval => "approval",
            Self::BreakGlass => "break-glass",
            Self::Rollback => "rollback",
            Self::Guard => "guard",
        }
    }
}

/// The outcome of a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// An action that is admitted.
    Admitted,
    /// Denied.
    Denied,
    /// Not an action: it is admitted and leaves no Event.
    NotAnAction,
}

impl Outcome {
    /// `admitted`, `denied` or `not-an-action`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Admitted => "admitted",
            Self::Denied => "denied",
            Self::NotAnAction => "not-an-action",
        }
    }
}

impl DecisionRecord {
    /// The request in a word: the action, the subresource of a connection, or `govern` for a change to what governs.
    #[must_use]
    pub fn deed(&self) -> &str {
        let connection = self.connection.as_ref().map(|connection| connection.subresource.as_str());
        let change = self.change.as_ref().map(|_| "govern");
        self.action.map(Action::as_str).or(connection).or(change).unwrap_or_default()
    }

    /// The claimed initiators, joined by commas; empty if there are none.
    #[must_use]
    pub fn claimed_initiators(&self) -> String {
        self.initiated_by.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    }

    /// A record with an id and a time only.
    pub(crate) fn empty(id: Uuid, time: Timestamp) -> Self {
        Self {
            version: RECORD_VERSION.to_owned(),
            id,
            time,
            request_uid: None,
            dry_run: false,
            cluster: None,
            environment: None,
            project: None,
            initiated_by: Vec::new(),
            initiator: None,
            requested_by: None,
            operation: None,
            action: None,
            object: None,
            connection: None,
            change: None,
            spec_hash: None,
            previous_spec_hash: None,
            approval_required: None,
            required_capabilities: Vec::new(),
            capability_rules: Vec::new(),
            approvals: Vec::new(),
            decision: Outcome::Denied,
            basis: None,
            enforcement: None,
            reasons: Vec::new(),
            posture_version: None,
            chain: None,
            signature: None,
        }
    }
}

impl Decision {
    /// Whether the ledger must have the record before the request is answered. A dry run changes nothing, so it need not.
    #[must_use]
    pub fn must_be_kept(&self) -> bool {
        let admitted = self.record.decision == Outcome::Admitted && !self.record.dry_run;
        admitted && self.durability == Durability::Required
    }

    /// Whether the request is admitted.
    #[must_use]
    pub fn allowed(&self) -> bool {
        self.record.decision != Outcome::Denied
    }

    /// The first reason in the order of the table.
    #[must_use]
    pub fn headline(&self) -> Option<&Denial> {
        self.denials.first()
    }

    /// Why the request is, or would have been, denied: at most six lines for the user, and more only for the problems of a
    /// document. Empty if no check failed.
    #[must_use]
    pub fn message(&self) -> String {
        let Some(headline) = self.headline() else { return String::new() };
        let mut lines = vec![self.summary()];
        // To repair a posture takes all its problems, and there is no spec hash that they could hide.
        let most = if self.record.change.is_some() { MAX_FAULTS } else { 3 };
        lines.extend(self.denials.iter().take(most).map(|denial| format!("{}: {denial}", denial.code())));
        if self.record.change.is_some() && self.denials.len() > most {
            lines.push(format!("and {} more", self.denials.len() - most));
        }
        if let Some(hash) = self.record.spec_hash {
            lines.push(format!("spec hash: {hash}"));
        }
        lines.push(format!("next: {}", headline.next(&self.request_command())));
        lines.join("\n")
    }

    /// The command that requests an approval. It finds out by itself what else a reviewer must know.
    fn request_command(&self) -> String {
        let namespace = self.record.object.as_ref().map_or("", |object| &object.namespace);
        let namespace = if namespace.is_empty() { String::new() } else { format!(" -n {}", quoted(namespace)) };
        format!("kubectl writgate request -f FILE{namespace}")
    }

    /// The first line: the outcome, the action, the object, the environment and the reason codes.
    #[must_use]
    pub fn summary(&self) -> String {
        let record = &self.record;
        let verb = match record.decision {
            Outcome::Denied => "denied",
            Outcome::Admitted if !self.denials.is_empty() => "would be denied",
            Outcome::Admitted => match record.basis {
                Some(Basis::BreakGlass) => "admitted under break-glass",
                Some(Basis::Rollback) => "admitted as a rollback",
                _ => "admitted",
            },
            Outcome::NotAnAction => "not an action",
        };
        let mut parts = vec![verb.to_owned()];
        parts.extend(record.action.map(|action| format!("({action})")));
        parts.extend(record.connection.as_ref().map(|connection| format!("({})", connection.subresource)));
        parts.extend(record.object.as_ref().map(|ObjectRecord { kind, namespace, name, .. }| {
            let slash = if namespace.is_empty() { "" } else { "/" };
            format!("{} {}{slash}{}", quoted(kind), quoted(namespace), quoted(name))
        }));
        parts.extend(record.environment.as_ref().map(|environment| format!("in {}", quoted(environment))));
        let line = parts.join(" ");
        if record.reasons.is_empty() { line } else { format!("{line}: {}", record.reasons.join(", ")) }
    }

    /// The warning for the user: under `warn`, the text that a denial would have had; for break-glass, that it is recorded;
    /// otherwise the remarks of a guard.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        if self.record.basis == Some(Basis::BreakGlass) {
            return Some(format!("{}; this is recorded, and a Warning Event reports it", self.summary()));
        }
        let warns = self.record.enforcement == Some(Enforcement::Warn) && self.allowed() && !self.denials.is_empty();
        if warns {
            return Some(self.message());
        }
        (self.allowed() && !self.remarks.is_empty()).then(|| self.remarks.join("\n"))
    }
}
