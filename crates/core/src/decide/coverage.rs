//! Coverage: what an approval says about a workload that exists, and what the workload can do without a further check.
//!
//! A workload from before its namespace was governed was never decided about. Here is what the decision about creating
//! it again shows, and which of its later changes are not actions. Nothing is decided here.

use std::fmt;

use jiff::{SignedDuration, Timestamp};
use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::{
    kube::workload::WorkloadKind,
    posture::{Posture, UngovernedRule},
    record::{
        decision::{Basis, Decision, Outcome},
        denial::Denial,
        reasons::Reason,
    },
};

/// What approvals say about a workload as it is, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Coverage {
    /// Its approval, a key that signed it, or its spec is revoked.
    Revoked,
    /// No reviewer of the environment has approved it.
    Unapproved,
    /// Approvals exist, but for another spec, or for another object with this spec.
    OtherSpec,
    /// An approval for exactly this spec exists, but the object or the approval fails another check.
    Insufficient,
    /// It could not be decided.
    Unreadable,
    /// An approval for exactly this spec was enough while it was valid, and only time has passed.
    Expired,
    /// An approval for exactly this spec is valid now.
    Approved,
    /// The posture requires no approval for it.
    NotRequired,
}

impl Coverage {
    /// Every value, the worst first.
    pub const ALL: [Self; 8] = [
        Self::Revoked,
        Self::Unapproved,
        Self::OtherSpec,
        Self::Insufficient,
        Self::Unreadable,
        Self::Expired,
        Self::Approved,
        Self::NotRequired,
    ];

    /// The stable word in JSON: `other-spec`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Revoked => "revoked",
            Self::Unapproved => "unapproved",
            Self::OtherSpec => "other-spec",
            Self::Insufficient => "insufficient",
            Self::Unreadable => "unreadable",
            Self::Expired => "expired",
            Self::Approved => "approved",
            Self::NotRequired => "not-required",
        }
    }

    /// Whether the workload was approved as it is, or requires no approval. `None`: that is not known.
    #[must_use]
    pub const fn is_covered(self) -> Option<bool> {
        match self {
            Self::Revoked | Self::Unapproved | Self::OtherSpec | Self::Insufficient => Some(false),
            Self::Unreadable => None,
            Self::Expired | Self::Approved | Self::NotRequired => Some(true),
        }
    }

    /// By the decision about creating the workload again. `Expired` is a guess: whether the approval was ever enough is
    /// not known yet.
    fn of(decision: &Decision) -> Self {
        let reasons: Vec<Reason> = decision.denials.iter().map(Denial::reason).collect();
        let any = |wanted: &[Reason]| reasons.iter().any(|reason| wanted.contains(reason));
        if reasons.is_empty() {
            return match (decision.record.decision, decision.record.basis) {
                (Outcome::Admitted, Some(Basis::Approval | Basis::BreakGlass)) => Self::Approved,
                (Outcome::Admitted, Some(Basis::NotRequired)) | (Outcome::NotAnAction, _) => Self::NotRequired,
                _ => Self::Unreadable,
            };
        }
        let not_decided = [
            Reason::MalformedReview,
            Reason::UnsupportedKind,
            Reason::PostureMissing,
            Reason::PostureInvalid,
            Reason::TooManyApprovals,
            Reason::LookupFailed,
        ];
        if any(&[Reason::Revoked]) {
            Self::Revoked
        } else if any(&not_decided) {
            Self::Unreadable
        } else if reasons.iter().any(|reason| reason.row() < ROW_OF_SPEC) {
            Self::Unapproved
        } else if reasons.iter().any(|reason| reason.row() <= ROW_OF_OBJECT) {
            Self::OtherSpec
        } else if reasons.iter().all(|reason| *reason == Reason::Expired) {
            Self::Expired
        } else if decision.record.approvals.is_empty() {
            Self::Unapproved
        } else {
            Self::Insufficient
        }
    }

    /// By the decision while the approval was still valid.
    fn of_expired(now_denied: &Decision, earlier: &Decision, posture: Option<&Posture>, now: Timestamp) -> Self {
        let rested_on = |id: &str| earlier.record.approvals.iter().any(|approval| approval.id == id);
        let same_approval = now_denied.record.approvals.first().is_some_and(|approval| rested_on(&approval.id));
        if Self::of(earlier) != Self::Approved || !same_approval {
            return Self::Insufficient;
        }
        // A revocation may begin after the approval has expired.
        let is_revoked = posture.is_none_or(|posture| {
            let revoked = &posture.revocations;
            earlier.record.approvals.iter().any(|approval| {
                let key = |id: &String| id.parse().ok().and_then(|id| revoked.keys.get(&id));
                let keys = approval.key_ids.iter().filter_map(key);
                revoked.approvals.get(&approval.id).into_iter().chain(keys).any(|revocation| revocation.in_force(now))
            })
        });
        if is_revoked { Self::Revoked } else { Self::Expired }
    }
}

/// The row of the table in which an approval proves to be for another spec.
const ROW_OF_SPEC: u8 = 6;
/// The row of the table in which an approval proves to be for another object.
const ROW_OF_OBJECT: u8 = 7;

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Coverage {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// What covers a workload, and the decision at `now` that shows it. `decide` decides about creating the workload again, as
/// it is and with the approvals that exist, at the given time. It is called a second time if the approval has expired:
/// too few signatures are not reported of an expired approval.
///
/// # Errors
///
/// Fails as `decide` fails.
pub fn coverage<E>(
    now: Timestamp,
    posture: Option<&Posture>,
    mut decide: impl FnMut(Timestamp) -> Result<Decision, E>,
) -> Result<(Coverage, Decision), E> {
    let decision = decide(now)?;
    let mut coverage = Coverage::of(&decision);
    if coverage == Coverage::Expired {
        coverage = match last_second(&decision) {
            Some(earlier) => Coverage::of_expired(&decision, &decide(earlier)?, posture, now),
            None => Coverage::Insufficient,
        };
    }
    Ok((coverage, decision))
}

/// The last second before anything that has expired did.
fn last_second(decision: &Decision) -> Option<Timestamp> {
    let ends = decision.denials.iter().filter_map(|denial| match denial {
        Denial::Expired { at, .. } => Some(*at),
        _ => None,
    });
    ends.min()?.checked_sub(SignedDuration::from_secs(1)).ok()
}

/// What a workload can do later although nobody checks it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unchecked {
    /// It has 0 replicas, and the posture does not check scaling.
    ScaleUp,
    /// A `CronJob` starts Jobs, and its controller is exempt.
    Schedule,
    /// No controller owns it, and one that selects its labels can adopt it.
    Stray,
    /// It runs, and its controller replaces its Pods.
    Running,
}

impl Unchecked {
    /// What an object of this kind can do under `posture`; `kind: None` stands for a Pod.
    #[must_use]
    pub fn of(kind: Option<WorkloadKind>, object: &Value, posture: Option<&Posture>) -> Vec<Self> {
        let spec = &object["spec"];
        let is_set = |field: &str| spec[field] == true;
        // The API server sets `replicas` unless the kind has none.
        let is_at_zero = spec["replicas"].as_i64() == Some(0);
        let running = (!is_at_zero && !is_finished(object)).then_some(Self::Running);
        match kind {
            None | Some(WorkloadKind::ReplicaSet) => [Self::Stray].into_iter().chain(running).collect(),
            Some(WorkloadKind::Deployment | WorkloadKind::StatefulSet | WorkloadKind::Further(_)) if is_at_zero => {
                let is_checked = posture.is_some_and(|posture| posture.ungoverned == UngovernedRule::Deny);
                if is_checked { Vec::new() } else { vec![Self::ScaleUp] }
            }
            // To resume them is an action.
            Some(WorkloadKind::Job | WorkloadKind::CronJob) if is_set("suspend") => Vec::new(),
            Some(WorkloadKind::CronJob) => vec![Self::Schedule],
            Some(_) => running.into_iter().collect(),
        }
    }

    /// The stable word in JSON: `scale-up`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ScaleUp => "scale-up",
            Self::Schedule => "schedule",
            Self::Stray => "stray",
            Self::Running => "running",
        }
    }
}

/// Whether a Job or a Pod will not run again.
fn is_finished(object: &Value) -> bool {
    let status = &object["status"];
    let ended = |condition: &Value| {
        condition["status"] == "True" && matches!(condition["type"].as_str(), Some("Complete" | "Failed"))
    };
    let of_job = object["kind"] == "Job" && status["conditions"].as_array().is_some_and(|all| all.iter().any(ended));
    let of_pod = object["kind"] == "Pod" && matches!(status["phase"].as_str(), Some("Succeeded" | "Failed"));
    of_job || of_pod
}

impl fmt::Display for Unchecked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ScaleUp => "at 0 replicas; scaling it up is not checked",
            Self::Schedule => "runs on its schedule",
            Self::Stray => "stray: no controller owns it",
            Self::Running => "runs now",
        })
    }
}

impl Serialize for Unchecked {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}
