//! One decision, whatever its source: the values that filters compare and tables print.
//!
//! A row comes from a decision record, or from the API server's audit log, which says less. Nothing is concluded here.

use jiff::Timestamp;
use writgate_core::{
    posture::Enforcement,
    record::{ApprovalRecord, Basis, ChainPosition, DecisionRecord, Initiator, VerifiedRecord},
};

/// A decision. A text is empty if its value is not known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Row {
    /// The context of the kubeconfig that the decision was read with, if decisions of several contexts are read.
    pub(crate) context: String,
    /// Time of the decision; in the API server's audit log, time of the request.
    pub(crate) time: Timestamp,
    /// The decision's id.
    pub(crate) id: String,
    /// `admitted`, `denied` or `not-an-action`.
    pub(crate) decision: String,
    /// What qualifies the decision: `break-glass`, `dry run`, `not persisted`.
    pub(crate) remarks: Vec<String>,
    /// The API user who sent the request.
    pub(crate) initiator: String,
    /// The Flux or Argo CD objects that the object names, which nothing verifies.
    pub(crate) claimed_initiators: String,
    /// The user who impersonated the initiator; only the API server's audit log says.
    pub(crate) impersonator: String,
    /// The requester, according to a verified approval.
    pub(crate) requested_by: String,
    /// `CREATE` …; in the API server's audit log, the verb.
    pub(crate) operation: String,
    /// `deploy` …, the connection into a Pod, or `govern`.
    pub(crate) action: String,
    /// The object of the request.
    pub(crate) object: ObjectName,
    pub(crate) cluster: String,
    pub(crate) environment: String,
    pub(crate) project: String,
    /// Whether an approval was required.
    pub(crate) required: Required,
    /// Ids of the approvals that were given.
    pub(crate) approvals: Vec<String>,
    /// The reviewers who signed them.
    pub(crate) reviewers: Vec<String>,
    /// The capabilities that the action required.
    pub(crate) capabilities: Vec<String>,
    /// The reason codes.
    pub(crate) reasons: Vec<String>,
    /// How often the same request was denied, if the source counts.
    pub(crate) times: Option<i32>,
    /// What an admission rests on.
    pub(crate) basis: String,
    /// The posture's enforcement.
    pub(crate) enforcement: String,
    pub(crate) spec_hash: String,
    pub(crate) posture_version: String,
    /// The record's place in its chain, if it was verified.
    pub(crate) verified: Option<ChainPosition>,
}

/// Remark about an admission whose object was not seen.
pub(crate) const NOT_PERSISTED: &str = "not persisted";

/// Remark about a record that no seal covers yet, so that it is not verified.
pub(crate) const NOT_YET_SEALED: &str = "not yet sealed";

/// An object's name. In the API server's audit log, the plural resource takes the place of the kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ObjectName {
    pub(crate) api_version: String,
    pub(crate) kind: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
}

/// Whether an approval was required.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Required {
    Yes,
    No,
    /// No posture was used, so nothing was required.
    NotChecked,
    /// The source does not say.
    #[default]
    Unknown,
}

impl Required {
    pub(crate) fn of(required: Option<bool>) -> Self {
        required.map_or(Self::NotChecked, |yes| if yes { Self::Yes } else { Self::No })
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::No => "no",
            Self::NotChecked => "",
            Self::Unknown => "?",
        }
    }
}

impl Row {
    pub(crate) fn is_not_persisted(&self) -> bool {
        self.remarks.iter().any(|remark| remark == NOT_PERSISTED)
    }

    /// The outcome, with its remarks in brackets.
    pub(crate) fn outcome(&self) -> String {
        if self.remarks.is_empty() {
            self.decision.clone()
        } else {
            format!("{} ({})", self.decision, self.remarks.join(", "))
        }
    }

    /// The initiator, and on whose behalf.
    pub(crate) fn who(&self) -> String {
        let mut who = self.initiator.clone();
        if !self.impersonator.is_empty() {
            who = format!("{} as {who}", self.impersonator);
        }
        if !self.requested_by.is_empty() {
            who = format!("{who} for {}", self.requested_by);
        }
        who
    }

    /// Kind, namespace and name of the object.
    pub(crate) fn object(&self) -> String {
        format!("{} {}", self.object.kind, joined([&self.object.namespace, &self.object.name]))
    }

    /// Environment and project.
    pub(crate) fn place(&self) -> String {
        joined([&self.environment, &self.project])
    }

    /// The approvals that were given, and who signed them.
    pub(crate) fn approval(&self) -> String {
        let ids = self.approvals.join(", ");
        if self.reviewers.is_empty() { ids } else { format!("{ids} by {}", self.reviewers.join(", ")) }
    }

    /// The reason codes, and how often they were given.
    pub(crate) fn reasons(&self) -> String {
        let reasons = self.reasons.join(", ");
        match self.times {
            Some(times) if times > 1 => format!("{reasons} ({times} times)"),
            _ => reasons,
        }
    }
}

fn joined(parts: [&str; 2]) -> String {
    let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    parts.join("/")
}

/// With `--verify`, this is the only way to a row without a finding.
impl From<VerifiedRecord> for Row {
    fn from(record: VerifiedRecord) -> Self {
        let position = record.position();
        Self { verified: Some(position), ..record.into_record().into() }
    }
}

impl From<DecisionRecord> for Row {
    fn from(record: DecisionRecord) -> Self {
        let remarks = remarks(&record);
        let action = record.deed().to_owned();
        let claimed_initiators = record.claimed_initiators();
        let object = record.object.map(|object| ObjectName {
            api_version: object.api_version,
            kind: object.kind,
            namespace: object.namespace,
            name: object.name,
        });
        Self {
            context: String::new(),
            time: record.time,
            id: record.id.to_string(),
            decision: record.decision.as_str().to_owned(),
            remarks,
            initiator: record.initiator.map(|Initiator { username, .. }| username).unwrap_or_default(),
            claimed_initiators,
            impersonator: String::new(),
            requested_by: record.requested_by.unwrap_or_default(),
            operation: record.operation.unwrap_or_default(),
            action,
            object: object.unwrap_or_default(),
            cluster: record.cluster.unwrap_or_default(),
            environment: record.environment.unwrap_or_default(),
            project: record.project.unwrap_or_default(),
            required: Required::of(record.approval_required),
            reviewers: reviewers(&record.approvals),
            approvals: record.approvals.into_iter().map(|approval| approval.id).collect(),
            capabilities: record.required_capabilities,
            reasons: record.reasons,
            times: None,
            basis: record.basis.map(|basis| basis.as_str().to_owned()).unwrap_or_default(),
            enforcement: record.enforcement.map(|enforcement| enforcement.as_str().to_owned()).unwrap_or_default(),
            spec_hash: record.spec_hash.map(|hash| hash.to_string()).unwrap_or_default(),
            posture_version: record.posture_version.unwrap_or_default(),
            verified: None,
        }
    }
}

/// All reviewers, each once.
fn reviewers(approvals: &[ApprovalRecord]) -> Vec<String> {
    let mut reviewers: Vec<String> = approvals.iter().flat_map(|approval| approval.reviewers.clone()).collect();
    reviewers.sort_unstable();
    reviewers.dedup();
    reviewers
}

fn remarks(record: &DecisionRecord) -> Vec<String> {
    let basis = record.basis.filter(|basis| matches!(basis, Basis::BreakGlass | Basis::Rollback));
    let softened = record.enforcement.filter(|enforcement| *enforcement != Enforcement::Enforce);
    let would_be_denied =
        if record.reasons.is_empty() { None } else { softened.map(|enforcement| enforcement.as_str().to_owned()) };
    let dry_run = record.dry_run.then(|| "dry run".to_owned());
    [basis.map(|basis| basis.as_str().to_owned()), would_be_denied, dry_run].into_iter().flatten().collect()
}
