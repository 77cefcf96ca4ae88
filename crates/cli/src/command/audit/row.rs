//! One decision as `audit` tells it, wherever it was found: what filters compare and what tables print.
//!
//! Made from a decision record, or from the API server's audit log, which holds less. Nothing is concluded here.

use jiff::Timestamp;
use writgate_core::{
    posture::Enforcement,
    record::{ApprovalRecord, Basis, DecisionRecord, Initiator},
};

/// A decision. A text is empty where there is nothing to tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Row {
    /// When it was decided; in the API server's audit log, when the request arrived.
    pub(super) time: Timestamp,
    /// The decision's own id.
    pub(super) id: String,
    /// `admitted`, `denied` or `not-an-action`.
    pub(super) decision: String,
    /// What makes it another decision than its word alone says: `break-glass`, `dry run`, `not persisted`.
    pub(super) remarks: Vec<String>,
    /// The API user who asked.
    pub(super) initiator: String,
    /// Who acted as the initiator; only the API server's audit log knows.
    pub(super) impersonator: String,
    /// On whose behalf, as a verified approval says.
    pub(super) requested_by: String,
    /// `CREATE` …; in the API server's audit log, the verb.
    pub(super) operation: String,
    /// `deploy` …, the way into a Pod, or `govern`.
    pub(super) action: String,
    /// What it was done to.
    pub(super) object: ObjectName,
    pub(super) cluster: String,
    pub(super) environment: String,
    pub(super) project: String,
    /// Whether an approval was required.
    pub(super) required: Required,
    /// Ids of the approvals that were given.
    pub(super) approvals: Vec<String>,
    /// Who signed them.
    pub(super) reviewers: Vec<String>,
    /// What the action needed.
    pub(super) capabilities: Vec<String>,
    /// Codes of what spoke against it.
    pub(super) reasons: Vec<String>,
    /// How often the same was denied, where somebody counted.
    pub(super) times: Option<i32>,
    /// What an admission rests on.
    pub(super) basis: String,
    /// How strictly the posture is enforced.
    pub(super) enforcement: String,
    pub(super) spec_hash: String,
    pub(super) posture_version: String,
}

/// Remark of an admission after which the object was not seen.
pub(super) const NOT_PERSISTED: &str = "not persisted";

/// An object's name. The API server's audit log knows the plural resource in place of the kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ObjectName {
    pub(super) api_version: String,
    pub(super) kind: String,
    pub(super) namespace: String,
    pub(super) name: String,
}

/// The answer to one of the five questions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Required {
    Yes,
    No,
    /// No posture was looked at, so nothing was asked for.
    Unasked,
    /// Where it was found, that is not told.
    #[default]
    Untold,
}

impl Required {
    pub(super) fn of(told: Option<bool>) -> Self {
        told.map_or(Self::Unasked, |required| if required { Self::Yes } else { Self::No })
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::No => "no",
            Self::Unasked => "",
            Self::Untold => "?",
        }
    }
}

impl Row {
    pub(super) fn is_not_persisted(&self) -> bool {
        self.remarks.iter().any(|remark| remark == NOT_PERSISTED)
    }
}

impl From<DecisionRecord> for Row {
    fn from(record: DecisionRecord) -> Self {
        let remarks = remarks(&record);
        let action = record.deed().to_owned();
        let object = record.object.map(|object| ObjectName {
            api_version: object.api_version,
            kind: object.kind,
            namespace: object.namespace,
            name: object.name,
        });
        Self {
            time: record.time,
            id: record.id.to_string(),
            decision: record.decision.as_str().to_owned(),
            remarks,
            initiator: record.initiator.map(|Initiator { username, .. }| username).unwrap_or_default(),
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
        }
    }
}

/// Everybody who signed, once.
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
        softened.filter(|_| !record.reasons.is_empty()).map(|enforcement| enforcement.as_str().to_owned());
    let dry_run = record.dry_run.then(|| "dry run".to_owned());
    [basis.map(|basis| basis.as_str().to_owned()), would_be_denied, dry_run].into_iter().flatten().collect()
}
