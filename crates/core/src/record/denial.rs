//! Why a request is denied: one variant with its facts for each reason, and the text for people.
//!
//! Code, row, next step and page are in the table of reasons (`reasons`). A text says what was found and what was
//! expected; the decision's message adds what to do next. Of an envelope that no known key has signed, a text repeats
//! only the key ids, and says that they are the envelope's own claim.
//!
//! The file is longer than 500 lines, because each reason has its facts and its text in one place.

use std::fmt;

use jiff::{SignedDuration, Timestamp};

use crate::{
    approval::action::Action,
    approval::capability::Capability,
    approval::spec_hash::SpecHash,
    record::reasons::{NextStep, Reason},
    text::{listed, on_one_line, quoted},
    vocabulary::APPROVAL_REF,
};

/// One reason for denying a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Denial {
    /// The request cannot be read or contradicts itself.
    #[error("the request cannot be checked: {why}")]
    MalformedReview {
        /// What was found and what was expected.
        why: String,
    },
    /// The API server sent a kind of object that the webhook does not know.
    #[error("this version of the webhook cannot check {what}")]
    UnsupportedKind {
        /// Operation, kind and resource.
        what: String,
    },
    /// The namespace's environment has no posture.
    #[error("{why}")]
    PostureMissing {
        /// Which environments have a posture.
        why: String,
    },
    /// The posture of the namespace's environment is invalid, or cannot be read.
    #[error("{why}")]
    PostureInvalid {
        /// Where, what was found and what was expected.
        why: String,
    },
    /// The namespace's labels claim an environment or a project that the posture does not give it.
    #[error("{why}")]
    NamespaceNotListed {
        /// What the labels say and what the posture lists.
        why: String,
    },
    /// The posture permits no such workload, with or without an approval.
    #[error("{why}")]
    WorkloadNotAllowed {
        /// What the workload is and which rule denies it.
        why: String,
    },
    /// The posture permits no connections into Pods.
    #[error("the posture denies {subresource} into a Pod (connect: deny)")]
    ConnectionNotAllowed {
        /// The Pod's subresource: `exec`.
        subresource: String,
    },
    /// The change would end a revocation.
    #[error("this change would lift the revocation of {what}{}", with_reason(.why.as_deref()))]
    RevocationLifted {
        /// The approval, key or spec, and its environment.
        what: String,
        /// The reason that was given for its revocation.
        why: Option<String>,
    },
    /// The change would remove a document that is in use.
    #[error("{what} is in use: {by}")]
    InUse {
        /// The document.
        what: String,
        /// What uses it.
        by: String,
    },
    /// The posture requires more reviewers than its documents list.
    #[error("{why}")]
    QuorumUnreachable {
        /// Which rule, what it requires and which reviewers there are.
        why: String,
    },
    /// A ConfigMap has the label of a config bundle and is not one.
    #[error("ConfigMap {name} is not a config bundle: {why}")]
    BundleInvalid {
        /// Its name.
        name: String,
        /// What was found and what was expected.
        why: String,
    },
    /// A ConfigMap has the label of a posted request or of a rejection and is not one.
    #[error("ConfigMap {name} is not a {kind}: {why}")]
    RequestInvalid {
        /// Its name.
        name: String,
        /// `posted request` or `rejection`.
        kind: &'static str,
        /// What was found and what was expected.
        why: String,
    },
    /// The namespace has too many posted requests or rejections.
    #[error("the namespace has {found} {kind}s, but at most {most} may exist in one namespace")]
    TooManyRequests {
        /// `posted request` or `rejection`.
        kind: &'static str,
        /// How many exist.
        found: usize,
        /// The limit.
        most: usize,
    },
    /// The user may not change what governs a namespace.
    #[error(
        "{user} may not {what}: this requires the verb govern on namespaces.writgate.dev, for this name or for all"
    )]
    GovernRequired {
        /// The API user.
        user: String,
        /// What the request would do.
        what: String,
    },
    /// The governing labels of a namespace are incomplete, or on a namespace that cannot be governed.
    #[error("{why}")]
    GovernanceInvalid {
        /// What was found and what was expected.
        why: String,
    },
    /// A write to a status would change governed metadata.
    #[error("a write to {resource}/status may not change {what}")]
    StatusMetadata {
        /// The plural resource.
        resource: String,
        /// The label, annotation or field.
        what: String,
    },
    /// No approval is attached or detached.
    #[error("{action} requires an approval in {environment}, but {}{}", absence(.named.as_deref()), required_because(.because))]
    ApprovalRequired {
        /// What the request would do.
        action: Action,
        /// The namespace's environment.
        environment: String,
        /// The messages of the capability rules that match.
        because: Vec<String>,
        /// The ConfigMap that the object's `writgate.dev/approval-ref` refers to.
        named: Option<String>,
    },
    /// An envelope or its payload does not have the format of an approval.
    #[error("{annotation} contains no approval: {why}")]
    MalformedApproval {
        /// The annotation or ConfigMap that contains the envelope.
        annotation: String,
        /// What was found and what was expected.
        why: String,
        /// Whether a known reviewer signed it: then the payload is malformed.
        signed: bool,
    },
    /// More approvals are attached than a decision considers.
    #[error("the object has {found} attached approvals, but at most {most} are considered for one object, so none was")]
    TooManyApprovals {
        /// How many are attached.
        found: usize,
        /// The limit.
        most: usize,
    },
    /// No key that the environment trusts has signed.
    #[error("{annotation} has no signature by a key that {environment} trusts{}", claimed_keys(.claimed))]
    UnknownKey {
        /// The annotation or ConfigMap that contains the envelope.
        annotation: String,
        /// The environment whose reviewers were considered.
        environment: String,
        /// The key ids that the envelope itself claims.
        claimed: Vec<String>,
    },
    /// Signatures name known keys, and none verifies.
    #[error(
        "{annotation} has no valid signature: it names a key that {environment} trusts, but that key did not sign this payload"
    )]
    InvalidSignature {
        /// The annotation or ConfigMap that contains the envelope.
        annotation: String,
        /// The environment whose reviewers were considered.
        environment: String,
    },
    /// Another spec was approved.
    #[error("the approval is for spec {}, but this spec is {found}{}", hashes(.approved), first_difference(.differs_at.as_deref()))]
    SpecHashMismatch {
        /// The hashes that the approval covers.
        approved: Vec<SpecHash>,
        /// The hash of what would run.
        found: SpecHash,
        /// The first field that differs, if the approved spec is known.
        differs_at: Option<String>,
    },
    /// The live spec of a `StatefulSet` or `DaemonSet` was approved, and the request keeps that approval with another spec.
    #[error("the approval is for spec {}, but this spec is {found}{}", hashes(.approved), first_difference(Some(.differs_at)))]
    LiveSpecApproved {
        /// The hashes that the approval covers.
        approved: Vec<SpecHash>,
        /// The hash of what would run.
        found: SpecHash,
        /// The first field that differs.
        differs_at: String,
    },
    /// The approved manifest was applied, and the API server has made another spec of it.
    #[error(
        "the approval is for spec {approved}, which was applied, but the result is spec {found}: {}",
        changed_by(.at.as_deref(), *.is_update)
    )]
    NotAsApplied {
        /// The hash of the manifest, by the client's own record of it.
        approved: SpecHash,
        /// The hash of what would run.
        found: SpecHash,
        /// The first field that differs.
        at: Option<String>,
        /// Whether a live object is changed.
        is_update: bool,
    },
    /// This spec was approved for another object.
    #[error("this spec is approved for {}, but this object is {found}{}", quoted(.approved), only_at_creation(.approved))]
    WrongResource {
        /// The subjects that have this hash.
        approved: String,
        /// The subject that this object would be.
        found: String,
    },
    /// Approved for another environment.
    #[error("the approval is for environment {}, but this namespace belongs to {required}", quoted(.approved))]
    WrongEnvironment {
        /// What the approval says.
        approved: String,
        /// What the namespace says.
        required: String,
    },
    /// Approved for another cluster.
    #[error("the approval {}, but the posture {}", named_clusters(.approved), named_clusters(.required.as_slice()))]
    WrongCluster {
        /// The clusters that the approval names.
        approved: Vec<String>,
        /// What the posture says.
        required: Option<String>,
    },
    /// Approved for another project.
    #[error("the approval is for project {}, but this namespace belongs to {required}", quoted(.approved))]
    WrongProject {
        /// What the approval says.
        approved: String,
        /// What the namespace says.
        required: String,
    },
    /// Approved for another action.
    #[error("the approval is for {approved}, but this request is {required}")]
    WrongAction {
        /// What the approval says.
        approved: Action,
        /// What the request would do.
        required: Action,
    },
    /// A break-glass approval, and the posture has no terms for it.
    #[error("the approval is a break-glass approval, but the posture has no breakGlass")]
    NoBreakGlass,
    /// The approval, or the key that signed it, is not valid yet.
    #[error("{what} is not valid before {from}; the decision was made {} earlier, at {now:.0}", until(*.now, *.from))]
    NotYetValid {
        /// The approval, or whose key.
        what: String,
        /// When it becomes valid.
        from: Timestamp,
        /// The time of the decision.
        now: Timestamp,
    },
    /// The approval, or the key that signed it, is no longer valid.
    #[error("{what} expired at {at}")]
    Expired {
        /// The approval, or whose key.
        what: String,
        /// When it expired.
        at: Timestamp,
    },
    /// Valid for longer than the posture permits.
    #[error("the approval is valid for {found:#}, but the posture permits at most {most:#}")]
    LifetimeTooLong {
        /// The approval's lifetime.
        found: SignedDuration,
        /// The posture's.
        most: SignedDuration,
    },
    /// An approval, a key or a spec is revoked.
    #[error("{what} was revoked{}", with_reason(.why.as_deref()))]
    Revoked {
        /// The approval, whose key, or the spec.
        what: String,
        /// The reason that was given.
        why: Option<String>,
    },
    /// The approval does not name what the action requires, or its signer may not grant it.
    #[error("{} {}{}{}", who_lacks(.reviewer.as_deref()), names(.missing), in_project(.project.as_deref()), required_because(.because))]
    InsufficientCapabilities {
        /// The reviewer who may not grant them; `None` if the approval does not name them.
        reviewer: Option<String>,
        /// The project in which the reviewer may grant nothing.
        project: Option<String>,
        /// The capabilities that are required and missing.
        missing: Vec<Capability>,
        /// The messages of the capability rules that require them.
        because: Vec<String>,
    },
    /// Only the requester or the initiator has signed.
    #[error("{reviewer} is {role} and may not also approve")]
    SelfApproval {
        /// The name of the reviewer.
        reviewer: String,
        /// What else the reviewer is in this request.
        role: &'static str,
    },
    /// Too few reviewers, or not the right ones.
    #[error("{required}; {}", people(.signed))]
    QuorumNotMet {
        /// What the posture requires.
        required: String,
        /// The eligible reviewers who have signed.
        signed: Vec<String>,
    },
    /// The approval binds another pipeline version.
    #[error("{0}")]
    PipelineVersionMismatch(ClaimMismatch),
    /// The posture requires a pipeline version, and the object has none.
    #[error("the posture requires the annotation writgate.dev/pipeline-version, and the object does not have it")]
    NoPipelineVersion,
    /// The object differs from the canonical build of its pipeline version.
    #[error("the object is not the canonical build of {}: {why}", quoted(.version))]
    NotCanonicalBuild {
        /// The pipeline version that the object names.
        version: String,
        /// What was found and what was expected.
        why: String,
    },
    /// The approval binds another config bundle.
    #[error("{0}")]
    ConfigBundleMismatch(ClaimMismatch),
    /// The posture requires a config bundle, and the object refers to something else.
    #[error("the posture requires a config bundle: {why}")]
    ConfigNotBundled {
        /// What was found and what was expected.
        why: String,
    },
    /// Images are named by tags, which can be moved.
    #[error("the posture requires a digest (@sha256:…) for every image: {} none", unpinned(.images))]
    ImageNotPinned {
        /// Each image and the container or volume that it is for, escaped.
        images: Vec<String>,
    },
    /// The replay reads from another environment than the approval says.
    #[error("{0}")]
    SourceEnvironmentMismatch(ClaimMismatch),
    /// The replay reads from an environment that the posture does not permit.
    #[error(
        "the posture permits replays from {}, but writgate.dev/source-environment says {}",
        permitted_sources(.permitted), quoted(.found)
    )]
    SourceNotPermitted {
        /// What the object says.
        found: String,
        /// What the posture permits.
        permitted: Vec<String>,
    },
    /// The replay reads another artifact.
    #[error("{0}")]
    SourceArtifactMismatch(ClaimMismatch),
    /// The replay is for another incident.
    #[error("{0}")]
    IncidentMismatch(ClaimMismatch),
    /// The incident ran another spec than that of the pipeline version that the replay names.
    #[error("pipeline version {} has spec {canonical}, but the incident ran spec {}", quoted(.version), quoted(.incident))]
    IncidentNotOfBuild {
        /// The incident's spec hash, as the object says it.
        incident: String,
        /// The pipeline version that the object names.
        version: String,
        /// That version's spec.
        canonical: SpecHash,
    },
    /// The approval is single-use and was used.
    #[error("approval {approval} is single-use and was already used by {by} at {at}{}", usable_again(.free_at.as_ref()))]
    AlreadyUsed {
        /// Its id.
        approval: String,
        /// The object that has used it.
        by: String,
        /// When.
        at: Timestamp,
        /// When it becomes usable again unless that object appears; `None` if it never does.
        free_at: Option<Timestamp>,
    },
    /// A fact that the decision depends on could not be looked up.
    #[error("cannot determine {what}: {why}")]
    LookupFailed {
        /// What was looked up: `whether approval … was used`.
        what: String,
        /// Why there is no answer.
        why: String,
    },
    /// The spec was admitted before, but the earlier approvals are not enough today. Its reason is that of `why`.
    #[error("this spec was admitted at {admitted}, but the approvals of then permit no rollback today: {why}")]
    RollbackNotPermitted {
        /// When it was admitted.
        admitted: Timestamp,
        /// What today's posture requires.
        why: Box<Denial>,
    },
    /// A workload without replicas would get some, and was never approved as it is. Its reason is that of `why`.
    #[error(
        "this starts a workload that has 0 replicas, and the posture requires that it was approved before as it is \
         (ungoverned: deny): {why}"
    )]
    WakeUpNotApproved {
        /// What is missing, apart from time.
        why: Box<Denial>,
    },
    /// The posture requires that an admission's record is kept first, and it was not.
    #[error(
        "the posture admits nothing before its record is in the ledger (audit.durability: required), and the record was \
         not kept: {why}"
    )]
    NotRecorded {
        /// Why not.
        why: String,
    },
}

/// A claim of an approval that differs from the object's annotation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimMismatch {
    /// The annotation.
    pub name: &'static str,
    /// What the approval says.
    pub approved: Option<String>,
    /// What the object says.
    pub found: Option<String>,
}

impl fmt::Display for ClaimMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, approved, found } = self;
        match (approved, found) {
            (Some(approved), Some(found)) => {
                write!(f, "the approval says {}, but {name} says {}", quoted(approved), quoted(found))
            }
            (Some(approved), None) => {
                write!(f, "the approval says {}, but the object has no annotation {name}", quoted(approved))
            }
            (None, Some(found)) => write!(f, "{name} says {}, but the approval says nothing about it", quoted(found)),
            (None, None) => write!(f, "{name} is required, but neither the approval nor the object has it"),
        }
    }
}

impl Denial {
    /// The entry in the table of reasons.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::MalformedReview { .. } => Reason::MalformedReview,
            Self::UnsupportedKind { .. } => Reason::UnsupportedKind,
            Self::PostureMissing { .. } => Reason::PostureMissing,
            Self::PostureInvalid { .. } => Reason::PostureInvalid,
            Self::NamespaceNotListed { .. } => Reason::NamespaceNotListed,
            Self::WorkloadNotAllowed { .. } => Reason::WorkloadNotAllowed,
            Self::ConnectionNotAllowed { .. } => Reason::ConnectionNotAllowed,
            Self::RevocationLifted { .. } => Reason::RevocationLifted,
            Self::InUse { .. } => Reason::InUse,
            Self::QuorumUnreachable { .. } => Reason::QuorumUnreachable,
            Self::BundleInvalid { .. } => Reason::BundleInvalid,
            Self::RequestInvalid { .. } => Reason::RequestInvalid,
            Self::TooManyRequests { .. } => Reason::TooManyRequests,
            Self::GovernRequired { .. } => Reason::GovernRequired,
            Self::GovernanceInvalid { .. } => Reason::GovernanceInvalid,
            Self::StatusMetadata { .. } => Reason::StatusMetadata,
            Self::ApprovalRequired { .. } => Reason::ApprovalRequired,
            Self::TooManyApprovals { .. } => Reason::TooManyApprovals,
            Self::MalformedApproval { signed: false, .. } => Reason::MalformedApproval,
            Self::MalformedApproval { signed: true, .. } => Reason::MalformedPayload,
            Self::UnknownKey { .. } => Reason::UnknownKey,
            Self::InvalidSignature { .. } => Reason::InvalidSignature,
            Self::SpecHashMismatch { .. } => Reason::SpecHashMismatch,
            Self::LiveSpecApproved { .. } => Reason::LiveSpecApproved,
            Self::NotAsApplied { is_update: true, .. } => Reason::KeptByApply,
            Self::NotAsApplied { is_update: false, .. } => Reason::ChangedInCluster,
            Self::WrongResource { .. } => Reason::WrongResource,
            Self::WrongEnvironment { .. } => Reason::WrongEnvironment,
            Self::WrongCluster { .. } => Reason::WrongCluster,
            Self::WrongProject { .. } => Reason::WrongProject,
            Self::WrongAction { .. } => Reason::WrongAction,
            Self::NoBreakGlass => Reason::NoBreakGlass,
            Self::NotYetValid { .. } => Reason::NotYetValid,
            Self::Expired { .. } => Reason::Expired,
            Self::LifetimeTooLong { .. } => Reason::LifetimeTooLong,
            Self::Revoked { .. } => Reason::Revoked,
            Self::InsufficientCapabilities { .. } => Reason::InsufficientCapabilities,
            Self::SelfApproval { .. } => Reason::SelfApproval,
            Self::QuorumNotMet { .. } => Reason::QuorumNotMet,
            Self::PipelineVersionMismatch(_) => Reason::PipelineVersionMismatch,
            Self::NoPipelineVersion => Reason::NoPipelineVersion,
            Self::NotCanonicalBuild { .. } => Reason::NotCanonicalBuild,
            Self::ConfigBundleMismatch(_) => Reason::ConfigBundleMismatch,
            Self::ConfigNotBundled { .. } => Reason::ConfigNotBundled,
            Self::ImageNotPinned { .. } => Reason::ImageNotPinned,
            Self::SourceEnvironmentMismatch(_) => Reason::SourceEnvironmentMismatch,
            Self::SourceNotPermitted { .. } => Reason::SourceNotPermitted,
            Self::SourceArtifactMismatch(_) => Reason::SourceArtifactMismatch,
            Self::IncidentMismatch(_) => Reason::IncidentMismatch,
            Self::IncidentNotOfBuild { .. } => Reason::IncidentNotOfBuild,
            Self::AlreadyUsed { free_at: None, .. } => Reason::AlreadyUsed,
            Self::AlreadyUsed { free_at: Some(_), .. } => Reason::UseUnconfirmed,
            Self::LookupFailed { .. } => Reason::LookupFailed,
            Self::RollbackNotPermitted { why, .. } | Self::WakeUpNotApproved { why } => why.reason(),
            Self::NotRecorded { .. } => Reason::NotRecorded,
        }
    }

    /// The stable word for this reason, the same in every rendering.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.reason().code()
    }

    /// The row of the table of checks.
    #[must_use]
    pub fn row(&self) -> u8 {
        self.reason().row()
    }

    /// What the reader can do about it; `request` is the command that requests an approval.
    pub(crate) fn next(&self, request: &str) -> String {
        match self.reason().next() {
            NextStep::Advice(advice) => advice.to_owned(),
            NextStep::Request(advice) => format!("{advice}: {request}"),
        }
    }
}

/// `A has`, `A, B have`
fn unpinned(images: &[String]) -> String {
    let verb = if images.len() == 1 { "has" } else { "have" };
    format!("{} {verb}", listed(images.iter().cloned()))
}

fn hashes(approved: &[SpecHash]) -> String {
    listed(approved.iter().map(ToString::to_string))
}

fn first_difference(path: Option<&str>) -> String {
    path.map(|path| format!("; the first difference is at {}", quoted(path))).unwrap_or_default()
}

fn changed_by(path: Option<&str>, is_update: bool) -> String {
    let field = path.map_or("a field".to_owned(), quoted);
    if is_update {
        format!("{field} differs from the manifest, because kubectl apply merges the manifest into the live object")
    } else {
        format!("{field} differs from the manifest, because something in the cluster changes it")
    }
}

/// Without this, `replay-*` and `replay-bcdfg` look as if they agreed.
fn only_at_creation(approved: &str) -> &'static str {
    if approved.contains('*') { " (* matches a generated name, and only at creation)" } else { "" }
}

fn claimed_keys(claimed: &[String]) -> String {
    let named: Vec<&String> = claimed.iter().filter(|keyid| !keyid.is_empty()).collect();
    if named.is_empty() {
        return String::new();
    }
    format!(" (it claims to be signed by {})", listed(named.into_iter().map(quoted)))
}

fn named_clusters(names: &[String]) -> String {
    match names {
        [] => "names no cluster".to_owned(),
        [name] => format!("is for cluster {}", quoted(name)),
        names => format!("is for clusters {}", listed(names.iter().map(quoted))),
    }
}

/// The time from `now` to `then`, rounded up to seconds: `3s`.
fn until(now: Timestamp, then: Timestamp) -> String {
    let wait = then.duration_since(now);
    let seconds = wait.as_secs() + i64::from(wait.subsec_nanos() > 0);
    format!("{:#}", SignedDuration::from_secs(seconds))
}

fn usable_again(at: Option<&Timestamp>) -> String {
    at.map(|at| format!("; it becomes usable again at {at} unless that object appears")).unwrap_or_default()
}

/// ` (reason: signed by mistake)`
fn with_reason(why: Option<&str>) -> String {
    why.map(|why| format!(" (reason: {})", quoted(why))).unwrap_or_default()
}

fn who_lacks(reviewer: Option<&str>) -> String {
    reviewer.map_or("the approval does not name".to_owned(), |name| format!("reviewer {} may not grant", quoted(name)))
}

fn names(capabilities: &[Capability]) -> String {
    listed(capabilities.iter().map(ToString::to_string))
}

fn in_project(project: Option<&str>) -> String {
    project.map(|project| format!(" in project {}", quoted(project))).unwrap_or_default()
}

fn permitted_sources(permitted: &[String]) -> String {
    if permitted.is_empty() { "no environment".to_owned() } else { listed(permitted.iter().map(quoted)) }
}

fn absence(named: Option<&str>) -> String {
    match named {
        None => "none is attached, and no ConfigMap in the namespace contains one for this spec".to_owned(),
        Some(name) => {
            let name = on_one_line(name);
            format!("none is attached, and ConfigMap {name}, which {APPROVAL_REF} refers to, contains none")
        }
    }
}

/// ` (required because: runs privileged)`
fn required_because(because: &[String]) -> String {
    if because.is_empty() {
        String::new()
    } else {
        format!(" (required because: {})", listed(because.iter().map(quoted)))
    }
}

fn people(signed: &[String]) -> String {
    if signed.is_empty() {
        "no eligible reviewer has signed".to_owned()
    } else {
        format!("signed by {}", listed(signed.iter().map(quoted)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_that_a_generated_name_matches_only_at_creation() {
        let text = |approved: &str| {
            let found = "batch/v1/Job/payments/replay-bcdfg".to_owned();
            Denial::WrongResource { approved: approved.to_owned(), found }.to_string()
        };
        assert!(text("batch/v1/Job/payments/replay-*").ends_with(
            "but this object is batch/v1/Job/payments/replay-bcdfg (* matches a generated name, and only at creation)"
        ));
        assert!(
            text("batch/v1/Job/payments/replay").ends_with("but this object is batch/v1/Job/payments/replay-bcdfg")
        );
    }

    #[test]
    fn says_how_much_the_clocks_differ() {
        // 2026-11-22T10:00:00Z
        let from = Timestamp::from_second(1_795_341_600).unwrap();
        let at = |millis| from - SignedDuration::from_millis(millis);
        let text = |now| Denial::NotYetValid { what: "the approval".to_owned(), from, now }.to_string();
        assert_eq!(
            text(at(2_400)),
            "the approval is not valid before 2026-11-22T10:00:00Z; the decision was made 3s earlier, at 2026-11-22T09:59:57Z"
        );
        assert!(text(at(3_600_000)).ends_with("the decision was made 1h earlier, at 2026-11-22T09:00:00Z"));
    }

    #[test]
    fn says_a_lifetime_in_words() {
        let denial =
            Denial::LifetimeTooLong { found: SignedDuration::from_secs(86_401), most: SignedDuration::from_hours(24) };
        assert_eq!(denial.to_string(), "the approval is valid for 24h 1s, but the posture permits at most 24h");
    }
}
