//! The one value that a request is decided to, and its record.
//!
//! Response, Event, log line, metric and command line render what is here and add nothing of their own.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    approval::action::Action,
    approval::spec_hash::SpecHash,
    record::chain::{Link, RecordSignature},
    record::connection::Connection,
    record::denial::Denial,
    record::enforcement::{Durability, Enforcement},
    record::history::HistoryNote,
    text::quoted,
};

/// The `version` of a record.
pub const RECORD_VERSION: &str = "writgate.dev/decision/v1";

/// Faults of a document that its denial tells in the text; all are among its causes.
const MAX_FAULTS: usize = 20;

/// A decided request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What is kept of it, everywhere the same.
    pub record: DecisionRecord,
    /// Every reason against it, in the order of the table; under `warn` and `audit` of an admission too.
    pub denials: Vec<Denial>,
    /// The object's `metadata.generation`, 0 where it has none.
    pub generation: i64,
    /// What is to be noted for rollbacks, once the object was seen as it was admitted.
    pub note: Option<HistoryNote>,
    /// What the user should know though nothing speaks against it.
    pub remarks: Vec<String>,
    /// What the posture asks for an admission's record.
    pub durability: Durability,
}

/// The record of a decision (docs/records.md), as it stands in the log, in the Event and in `verify -o json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DecisionRecord {
    /// [`RECORD_VERSION`]
    pub version: String,
    /// `UUIDv7` of the decision.
    pub id: Uuid,
    /// When it was decided.
    pub time: Timestamp,
    /// The review's uid, to be found in the API server's audit log.
    pub request_uid: Option<String>,
    /// Whether nothing would be persisted.
    pub dry_run: bool,
    /// The posture's cluster.
    pub cluster: Option<String>,
    /// The namespace's environment.
    pub environment: Option<String>,
    /// The namespace's project.
    pub project: Option<String>,
    /// The API user who asked.
    pub initiator: Option<Initiator>,
    /// On whose behalf, as a verified approval says.
    pub requested_by: Option<String>,
    /// `CREATE`, `UPDATE` …
    pub operation: Option<String>,
    /// What would be done; absent where it is not an action or could not be told.
    pub action: Option<Action>,
    /// What it would be done to.
    pub object: Option<ObjectRecord>,
    /// The way into it that would be opened; absent for everything but CONNECT.
    #[serde(default)]
    pub connection: Option<Connection>,
    /// What a change of what governs comes to, in words; absent for workloads.
    #[serde(default)]
    pub change: Option<String>,
    /// What would run.
    pub spec_hash: Option<SpecHash>,
    /// What runs.
    pub previous_spec_hash: Option<SpecHash>,
    /// Whether the posture asks for an approval; absent where no posture was looked at.
    pub approval_required: Option<bool>,
    /// What the action needs.
    pub required_capabilities: Vec<String>,
    /// The capability rules that matched.
    #[serde(default)]
    pub capability_rules: Vec<RuleRecord>,
    /// The approvals that were given and whose signatures were verified.
    pub approvals: Vec<ApprovalRecord>,
    /// What was decided.
    pub decision: Outcome,
    /// What an admission rests on; absent where nothing was admitted, or only because the posture is not enforced.
    #[serde(default)]
    pub basis: Option<Basis>,
    /// How strictly the posture is enforced.
    pub enforcement: Option<Enforcement>,
    /// The codes of all reasons against it, in the order of the table.
    pub reasons: Vec<String>,
    /// Digest of the posture's documents.
    pub posture_version: Option<String>,
    /// Its place in its writer's chain; absent where nothing was sealed, as in `verify -o json`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chain: Option<Link>,
    /// Its writer's signature over all the rest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<RecordSignature>,
}

/// The API user who asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Initiator {
    /// As authentication gave it.
    pub username: String,
    /// As authentication gave it, often empty.
    pub uid: String,
    /// As authentication gave them.
    pub groups: Vec<String>,
}

/// The object of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectRecord {
    /// `apps/v1`
    pub api_version: String,
    /// `Deployment`
    pub kind: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name; `<generateName>*` where it is still to be generated.
    pub name: String,
    /// Its uid, where it has one.
    pub uid: Option<String>,
}

/// A capability rule that matched: why something is needed beside the action's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleRecord {
    /// Its name in the posture.
    pub name: String,
    /// What it requires.
    pub require: Vec<String>,
    /// What it tells people.
    pub message: Option<String>,
}

/// An approval whose signatures were verified; whether it was enough is the decision's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApprovalRecord {
    /// Its id.
    pub id: String,
    /// Who signed it with a known key.
    pub reviewers: Vec<String>,
    /// With which.
    pub key_ids: Vec<String>,
    /// What it gives.
    pub capabilities: Vec<String>,
    /// Until when.
    pub expires_at: Timestamp,
    /// Why, in the words of who asked.
    pub reason: Option<String>,
}

/// What an admission rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Basis {
    /// The posture asks for no approval.
    NotRequired,
    /// A valid approval.
    Approval,
    /// A valid approval for an emergency.
    BreakGlass,
    /// An earlier admission, whose approvals are the record's.
    Rollback,
    /// The rights of who asked: a guard had nothing against a change of what governs.
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

/// What was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// An action that may go on.
    Admitted,
    /// Refused.
    Denied,
    /// Nothing that an approval is about; it may go on, and leaves no Event.
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
    /// What was asked for, in a word: the action, the way into a Pod, or `govern` for a change of what governs.
    #[must_use]
    pub fn deed(&self) -> &str {
        let connection = self.connection.as_ref().map(|connection| connection.subresource.as_str());
        let change = self.change.as_ref().map(|_| "govern");
        self.action.map(Action::as_str).or(connection).or(change).unwrap_or_default()
    }

    /// A record that knows no more than when it was made.
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
    /// Whether the ledger must have the record before the request is answered. Nothing comes of a dry run.
    #[must_use]
    pub fn must_be_kept(&self) -> bool {
        let admitted = self.record.decision == Outcome::Admitted && !self.record.dry_run;
        admitted && self.durability == Durability::Required
    }

    /// Whether the request may go on.
    #[must_use]
    pub fn allowed(&self) -> bool {
        self.record.decision != Outcome::Denied
    }

    /// The reason that comes first in the table.
    #[must_use]
    pub fn headline(&self) -> Option<&Denial> {
        self.denials.first()
    }

    /// Why it is, or would have been, refused: at most six lines for the person who asked, and more only for what is
    /// wrong in a document.
    /// Empty where nothing speaks against it.
    #[must_use]
    pub fn message(&self) -> String {
        let Some(headline) = self.headline() else { return String::new() };
        let mut lines = vec![self.summary()];
        // Whoever repairs a posture wants to see all that is wrong in it, and no hash stands below.
        let most = if self.record.change.is_some() { MAX_FAULTS } else { 3 };
        lines.extend(self.denials.iter().take(most).map(|denial| format!("{}: {denial}", denial.code())));
        if self.record.change.is_some() && self.denials.len() > most {
            lines.push(format!("and {} more", self.denials.len() - most));
        }
        if let Some(hash) = self.record.spec_hash {
            lines.push(format!("spec hash: {hash}"));
        }
        lines.push(format!("next: {}", headline.next(&self.ask())));
        lines.join("\n")
    }

    /// The command by which an approval of it is asked for. What else a reviewer must know it finds out by itself.
    fn ask(&self) -> String {
        let namespace = self.record.object.as_ref().map_or("", |object| &object.namespace);
        let namespace = if namespace.is_empty() { String::new() } else { format!(" -n {}", quoted(namespace)) };
        format!("kubectl writgate request -f FILE{namespace} -o REQUEST")
    }

    /// The first line: what was decided of what, where, and for which reasons.
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

    /// What the user is warned of: under `warn` the text that a denial would have had, that an emergency is on the
    /// record, and what a guard remarks.
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
