//! Why an action is refused: one reason with its facts, one stable code, one place in the table of checks.
//!
//! What is told of an envelope that nobody known has signed is marked as its own word. Texts are for someone at
//! three in the morning: what was found, what was expected, what to do next.

use std::fmt;

use jiff::{SignedDuration, Timestamp};

use crate::{
    approval::action::Action,
    approval::capability::Capability,
    approval::spec_hash::SpecHash,
    text::{listed, on_one_line, quoted},
    vocabulary::APPROVAL_REF,
};

/// Every reason's row in the table of checks and its code, in the order of the table. A word is here once, though two
/// denials may have it.
pub const REASONS: [(u8, &str); 40] = [
    (1, "MalformedReview"),
    (1, "UnsupportedKind"),
    (1, "PostureMissing"),
    (1, "PostureInvalid"),
    (1, "NamespaceNotListed"),
    (1, "WorkloadNotAllowed"),
    (1, "RevocationLifted"),
    (1, "InUse"),
    (1, "QuorumUnreachable"),
    (1, "BundleInvalid"),
    (1, "GovernanceInvalid"),
    (1, "GovernRequired"),
    (1, "StatusMetadata"),
    (2, "ApprovalRequired"),
    (3, "MalformedApproval"),
    (4, "UnknownKey"),
    (5, "InvalidSignature"),
    (6, "SpecHashMismatch"),
    (7, "WrongResource"),
    (8, "WrongEnvironment"),
    (8, "WrongCluster"),
    (8, "WrongProject"),
    (9, "WrongAction"),
    (10, "NotYetValid"),
    (10, "Expired"),
    (10, "LifetimeTooLong"),
    (11, "Revoked"),
    (12, "InsufficientCapabilities"),
    (13, "SelfApproval"),
    (13, "QuorumNotMet"),
    (14, "PipelineVersionMismatch"),
    (14, "NotCanonicalBuild"),
    (14, "ConfigBundleMismatch"),
    (14, "ImageNotPinned"),
    (15, "SourceEnvironmentMismatch"),
    (15, "SourceArtifactMismatch"),
    (15, "IncidentMismatch"),
    (16, "AlreadyUsed"),
    (16, "LookupFailed"),
    (17, "NotRecorded"),
];

/// One reason for refusing an action.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Denial {
    /// The request cannot be read or contradicts itself.
    #[error("the request cannot be judged: {why}")]
    MalformedReview {
        /// What was found and what was expected.
        why: String,
    },
    /// The webhook was asked about something that it does not know.
    #[error("{what} is nothing that this version can judge")]
    UnsupportedKind {
        /// Operation, kind and resource.
        what: String,
    },
    /// The namespace's environment has no posture.
    #[error("{why}")]
    PostureMissing {
        /// Which environment, and where a posture was looked for.
        why: String,
    },
    /// The namespace's environment has a posture that cannot be used.
    #[error("{why}")]
    PostureInvalid {
        /// Where, what was found and what was expected.
        why: String,
    },
    /// The namespace claims an environment or a project that is not its own.
    #[error("{why}")]
    NamespaceNotListed {
        /// What is claimed and what is listed.
        why: String,
    },
    /// Something that no approval could allow.
    #[error("{why}")]
    WorkloadNotAllowed {
        /// What it is and which rule refuses it.
        why: String,
    },
    /// A way into a running Pod, where the posture permits none.
    #[error("{subresource} into a Pod is refused here (connect: deny)")]
    ConnectionNotAllowed {
        /// The Pod's subresource: `exec`.
        subresource: String,
    },
    /// What was revoked would no longer be.
    #[error("{what}, which is revoked{}, would no longer be", because(.why.as_deref()))]
    RevocationLifted {
        /// The approval, key or spec, and where.
        what: String,
        /// The reason that was given for its revocation.
        why: Option<String>,
    },
    /// Something that is needed would go.
    #[error("{what} is in use: {by}")]
    InUse {
        /// The document.
        what: String,
        /// What needs it.
        by: String,
    },
    /// A posture asks for more people than there are.
    #[error("{why}")]
    QuorumUnreachable {
        /// Where, what is asked for and who there is.
        why: String,
    },
    /// A ConfigMap that says it is a config bundle, and is none.
    #[error("configmap {name} is no config bundle: {why}")]
    BundleInvalid {
        /// Its name.
        name: String,
        /// What was found and what was expected.
        why: String,
    },
    /// Who changes what governs a namespace may not.
    #[error("{user} may not {what}: that needs the verb govern on namespaces.writgate.dev, for this name or for all")]
    GovernRequired {
        /// The API user.
        user: String,
        /// What would be done.
        what: String,
    },
    /// Labels that could not govern.
    #[error("{why}")]
    GovernanceInvalid {
        /// What was found and what was expected.
        why: String,
    },
    /// A write to a status would change more than the status.
    #[error("a write to {resource}/status may not change {what}")]
    StatusMetadata {
        /// The plural resource.
        resource: String,
        /// The label, annotation or field.
        what: String,
    },
    /// No approval is attached, and none is beside the object.
    #[error("{action} needs an approval in {environment}, and {}{}", absence(.named.as_deref()), for_reasons(.because))]
    ApprovalRequired {
        /// What would be done.
        action: Action,
        /// Where.
        environment: String,
        /// What the capability rules say that match.
        because: Vec<String>,
        /// The ConfigMap in which the object says that its approval is.
        named: Option<String>,
    },
    /// An envelope or its payload is not what the format says.
    #[error("{annotation} holds no approval: {why}")]
    MalformedApproval {
        /// Where it is.
        annotation: String,
        /// What was found and what was expected.
        why: String,
        /// Whether a known reviewer signed it: then it is the payload that is malformed.
        signed: bool,
    },
    /// Nobody whom the environment trusts has signed.
    #[error("{annotation} has no signature by a key that {environment} trusts{}", claimed_keys(.claimed))]
    UnknownKey {
        /// Where it is.
        annotation: String,
        /// Which environment's reviewers were looked at.
        environment: String,
        /// The key ids that the envelope itself claims.
        claimed: Vec<String>,
    },
    /// Signatures claim known keys, and none is good.
    #[error(
        "{annotation} has no valid signature: it names a key that {environment} trusts, but that key did not sign this payload"
    )]
    InvalidSignature {
        /// Where it is.
        annotation: String,
        /// Which environment's reviewers were looked at.
        environment: String,
    },
    /// Another spec was approved.
    #[error("another spec was approved: {}, but this one is {found}{}", hashes(.approved), first_difference(.differs_at.as_deref()))]
    SpecHashMismatch {
        /// The hashes that the approval covers.
        approved: Vec<SpecHash>,
        /// The hash of what would run.
        found: SpecHash,
        /// The first field that differs, where the approved spec is known.
        differs_at: Option<String>,
    },
    /// This spec was approved for another object.
    #[error("this spec is approved for {}, but this is {found}{}", quoted(.approved), at_creation_alone(.approved))]
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
    #[error("the approval is for {}, but the posture is for {}", named_cluster(.approved.as_deref()), named_cluster(.required.as_deref()))]
    WrongCluster {
        /// What the approval says.
        approved: Option<String>,
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
    #[error("the approval is for {approved}, but this is {required}")]
    WrongAction {
        /// What the approval says.
        approved: Action,
        /// What would be done.
        required: Action,
    },
    /// Approved for an emergency, which the posture does not know.
    #[error("the approval is for an emergency (breakGlass), and the posture permits none")]
    NoBreakGlass,
    /// The approval or the key that signed it is not valid yet.
    #[error("{what} is not valid before {from}")]
    NotYetValid {
        /// The approval, or whose key.
        what: String,
        /// When it will be.
        from: Timestamp,
    },
    /// The approval or the key that signed it is not valid any more.
    #[error("{what} expired at {at}")]
    Expired {
        /// The approval, or whose key.
        what: String,
        /// When it did.
        at: Timestamp,
    },
    /// Valid for longer than the posture permits.
    #[error("the approval is valid for {found:#}, but the posture permits {most:#} at most")]
    LifetimeTooLong {
        /// The approval's lifetime.
        found: SignedDuration,
        /// The posture's.
        most: SignedDuration,
    },
    /// Withdrawn.
    #[error("{what} was revoked{}", because(.why.as_deref()))]
    Revoked {
        /// The approval, whose key, or the spec.
        what: String,
        /// The reason that was given.
        why: Option<String>,
    },
    /// The approval does not name, or its signer may not grant, what the action needs.
    #[error("{who} {}{}", lacking(.missing), for_reasons(.because))]
    InsufficientCapabilities {
        /// The approval, or which reviewer.
        who: String,
        /// What is needed and not given.
        missing: Vec<Capability>,
        /// What the capability rules say that need it.
        because: Vec<String>,
    },
    /// Only those who asked have signed.
    #[error("{reviewer} signed, but {role} cannot also approve")]
    SelfApproval {
        /// The name of the reviewer.
        reviewer: String,
        /// What else the reviewer is here.
        role: &'static str,
    },
    /// Too few people, or not the right ones.
    #[error("{needed}; signed by {}", people(.signed))]
    QuorumNotMet {
        /// What the posture asks for.
        needed: String,
        /// Who counts so far.
        signed: Vec<String>,
    },
    /// The approval binds another pipeline version.
    #[error("{0}")]
    PipelineVersionMismatch(Claim),
    /// The object names no pipeline version, and must.
    #[error("the object has no annotation writgate.dev/pipeline-version, which the posture requires")]
    NoPipelineVersion,
    /// The object is not what its pipeline version was built into.
    #[error("{} is not its canonical build: {why}", quoted(.version))]
    NotCanonicalBuild {
        /// The pipeline version that the object names.
        version: String,
        /// What was found and what was expected.
        why: String,
    },
    /// The approval binds another config bundle.
    #[error("{0}")]
    ConfigBundleMismatch(Claim),
    /// The object names no config bundle, or refers to something else than bundles.
    #[error("the configuration is not the bundle that was to be approved: {why}")]
    ConfigNotBundled {
        /// What was found and what was expected.
        why: String,
    },
    /// Images are named by what can be moved.
    #[error("{} without a digest (@sha256:…)", unpinned(.images))]
    ImageNotPinned {
        /// Each image and what of the Pod it is for, safe to show.
        images: Vec<String>,
    },
    /// The replay reads from another environment, or from one that the posture does not permit.
    #[error("{0}")]
    SourceEnvironmentMismatch(Claim),
    /// The replay says itself that it reads from an environment that the posture does not permit.
    #[error("replays may read from {}, but this one says it reads from {}", listed(.permitted.iter().map(quoted)), quoted(.found))]
    SourceNotPermitted {
        /// What the object says.
        found: String,
        /// What the posture permits.
        permitted: Vec<String>,
    },
    /// The replay reads another artifact.
    #[error("{0}")]
    SourceArtifactMismatch(Claim),
    /// The replay is for another incident.
    #[error("{0}")]
    IncidentMismatch(Claim),
    /// The incident ran something else than the pipeline version that the replay names.
    #[error("{} was deployed with spec {canonical}, but the incident's is {}", quoted(.version), quoted(.incident))]
    IncidentNotOfBuild {
        /// The incident's spec hash, as the object says it.
        incident: String,
        /// The pipeline version that the object names.
        version: String,
        /// That version's spec.
        canonical: SpecHash,
    },
    /// The approval may be used once, and was.
    #[error("approval {approval} may be used once, and was at {at} by {by}{}", free_again(.free_at.as_ref()))]
    AlreadyUsed {
        /// Its id.
        approval: String,
        /// The object that has used it.
        by: String,
        /// When.
        at: Timestamp,
        /// When it is free again, unless that object appears; absent where it is spent for good.
        free_at: Option<Timestamp>,
    },
    /// What the decision depends on could not be found out.
    #[error("{what} could not be found out: {why}")]
    LookupFailed {
        /// What was looked for.
        what: String,
        /// Why there is no answer.
        why: String,
    },
    /// The posture asks that an admission's record be kept first, and it was not.
    #[error(
        "here nothing is admitted before its record is in the ledger (audit.durability: required), and it is not: {why}"
    )]
    NotRecorded {
        /// Why not.
        why: String,
    },
}

/// A claim of an approval that the object does not bear out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The annotation or rule that it is about.
    pub of: &'static str,
    /// What the approval says.
    pub approved: Option<String>,
    /// What the object, or the posture, says.
    pub found: Option<String>,
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let said = |value: &Option<String>| value.as_deref().map_or("nothing".to_owned(), quoted);
        write!(f, "the approval says {} where {} says {}", said(&self.approved), self.of, said(&self.found))
    }
}

/// Whether a reason code says that an approval is missing or not enough, so that another approval would help: rows 2 to 13
/// of the table, and a spent one.
#[must_use]
pub fn is_about_approval(code: &str) -> bool {
    matches!(
        code,
        "ApprovalRequired"
            | "MalformedApproval"
            | "UnknownKey"
            | "InvalidSignature"
            | "SpecHashMismatch"
            | "WrongResource"
            | "WrongEnvironment"
            | "WrongCluster"
            | "WrongProject"
            | "WrongAction"
            | "NotYetValid"
            | "Expired"
            | "LifetimeTooLong"
            | "Revoked"
            | "InsufficientCapabilities"
            | "SelfApproval"
            | "QuorumNotMet"
            | "AlreadyUsed"
    )
}

impl Denial {
    /// The stable word for this reason, the same in every rendering. Never rename one.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.entry().1
    }

    /// The row of the table of checks, which is at the head of `decide.rs`.
    #[must_use]
    pub fn row(&self) -> u8 {
        self.entry().0 / 10
    }

    /// For putting reasons in the order of the table.
    pub(crate) fn place(&self) -> u8 {
        self.entry().0
    }

    /// Row × 10 + place in the row, and the code.
    fn entry(&self) -> (u8, &'static str) {
        match self {
            Self::MalformedReview { .. } => (10, "MalformedReview"),
            Self::UnsupportedKind { .. } => (11, "UnsupportedKind"),
            Self::PostureMissing { .. } => (12, "PostureMissing"),
            Self::PostureInvalid { .. } => (13, "PostureInvalid"),
            Self::NamespaceNotListed { .. } => (14, "NamespaceNotListed"),
            Self::WorkloadNotAllowed { .. } | Self::ConnectionNotAllowed { .. } => (15, "WorkloadNotAllowed"),
            Self::RevocationLifted { .. } => (16, "RevocationLifted"),
            Self::InUse { .. } => (17, "InUse"),
            Self::QuorumUnreachable { .. } => (18, "QuorumUnreachable"),
            // Of guards as well, each of another kind of object, so that they never meet.
            Self::BundleInvalid { .. } => (16, "BundleInvalid"),
            Self::GovernanceInvalid { .. } => (16, "GovernanceInvalid"),
            Self::GovernRequired { .. } => (17, "GovernRequired"),
            Self::StatusMetadata { .. } => (16, "StatusMetadata"),
            Self::ApprovalRequired { .. } => (20, "ApprovalRequired"),
            Self::MalformedApproval { signed: false, .. } => (30, "MalformedApproval"),
            Self::UnknownKey { .. } => (40, "UnknownKey"),
            Self::InvalidSignature { .. } => (50, "InvalidSignature"),
            // The payload is read only once somebody known has signed it, so it ranks after row 5.
            Self::MalformedApproval { signed: true, .. } => (59, "MalformedApproval"),
            Self::SpecHashMismatch { .. } => (60, "SpecHashMismatch"),
            Self::WrongResource { .. } => (70, "WrongResource"),
            Self::WrongEnvironment { .. } => (80, "WrongEnvironment"),
            Self::WrongCluster { .. } => (81, "WrongCluster"),
            Self::WrongProject { .. } => (82, "WrongProject"),
            Self::WrongAction { .. } => (90, "WrongAction"),
            Self::NoBreakGlass => (91, "WrongAction"),
            Self::NotYetValid { .. } => (100, "NotYetValid"),
            Self::Expired { .. } => (101, "Expired"),
            Self::LifetimeTooLong { .. } => (102, "LifetimeTooLong"),
            Self::Revoked { .. } => (110, "Revoked"),
            Self::InsufficientCapabilities { .. } => (120, "InsufficientCapabilities"),
            Self::SelfApproval { .. } => (130, "SelfApproval"),
            Self::QuorumNotMet { .. } => (131, "QuorumNotMet"),
            Self::PipelineVersionMismatch(_) | Self::NoPipelineVersion => (140, "PipelineVersionMismatch"),
            Self::NotCanonicalBuild { .. } => (141, "NotCanonicalBuild"),
            Self::ConfigBundleMismatch(_) | Self::ConfigNotBundled { .. } => (142, "ConfigBundleMismatch"),
            Self::ImageNotPinned { .. } => (143, "ImageNotPinned"),
            Self::SourceEnvironmentMismatch(_) | Self::SourceNotPermitted { .. } => (150, "SourceEnvironmentMismatch"),
            Self::SourceArtifactMismatch(_) => (151, "SourceArtifactMismatch"),
            Self::IncidentMismatch(_) | Self::IncidentNotOfBuild { .. } => (152, "IncidentMismatch"),
            Self::AlreadyUsed { .. } => (160, "AlreadyUsed"),
            Self::LookupFailed { .. } => (161, "LookupFailed"),
            Self::NotRecorded { .. } => (170, "NotRecorded"),
        }
    }

    /// What the reader can do about it; `ask` is the command by which an approval of it is asked for.
    pub(crate) fn next(&self, ask: &str) -> String {
        let advice = match self {
            Self::MalformedReview { .. } => "send the object through a supported API server; if it did, report this",
            Self::UnsupportedKind { .. } => "ask the platform team to correct the webhook's rules",
            Self::PostureMissing { .. } => "ask the platform team for a posture of this environment",
            Self::PostureInvalid { .. } => "ask the platform team to run: kubectl writgate posture check -f FOLDER",
            Self::NamespaceNotListed { .. } => "ask the platform team to label or list this namespace",
            Self::WorkloadNotAllowed { .. } => "run it as a workload that the posture permits",
            Self::ConnectionNotAllowed { .. } => "read its log, or ask the platform team to look",
            Self::RevocationLifted { .. } => "leave the revocation; approve anew what shall run, or give out a new key",
            Self::InUse { .. } => "first change or remove what uses it",
            Self::QuorumUnreachable { .. } => "first add reviewers who may grant it, or ask for fewer",
            Self::BundleInvalid { .. } => "make it with: kubectl writgate bundle",
            Self::GovernRequired { .. } => "ask somebody who is bound to the ClusterRole writgate-govern",
            Self::GovernanceInvalid { .. } => {
                "kubectl label namespace NAME writgate.dev/environment=ENVIRONMENT writgate.dev/project=PROJECT"
            }
            Self::StatusMetadata { .. } => "change metadata of the object itself, where it is judged",
            Self::MalformedApproval { .. } => "attach the approval as it was signed: kubectl writgate attach",
            Self::NotYetValid { .. } => "wait until then",
            Self::NoPipelineVersion | Self::NotCanonicalBuild { .. } => {
                "deploy a version that a pipeline set of the posture lists, and name it in writgate.dev/pipeline-version"
            }
            Self::ConfigNotBundled { .. } => {
                "make a bundle: kubectl writgate bundle NAME --from-file PATH --environment ENVIRONMENT"
            }
            Self::ImageNotPinned { .. } => "name each image by its digest: NAME@sha256:…",
            Self::SourceNotPermitted { .. } => "replay from an environment that the posture permits",
            Self::IncidentNotOfBuild { .. } => "replay with the pipeline version that the incident ran",
            Self::AlreadyUsed { free_at: Some(_), .. } => "see what stopped that object, and try again then",
            Self::NotRecorded { .. } => {
                "try again; if it goes on, the platform team makes room for ConfigMaps in the webhook's namespace, or looks \
                 at its log"
            }
            Self::LookupFailed { .. } => "try again; if it goes on, the platform team looks at the webhook's log",
            Self::QuorumNotMet { .. } => {
                "another reviewer runs: kubectl writgate approve -f REQUEST --key KEY --add-signature APPROVAL"
            }
            Self::ApprovalRequired { .. } => return format!("ask for one: {ask}"),
            Self::SelfApproval { .. } => return format!("ask somebody else: {ask}"),
            Self::SpecHashMismatch { .. } => return format!("apply what was approved, or ask for this: {ask}"),
            Self::LifetimeTooLong { .. } => return format!("ask for one that ends sooner: {ask}"),
            Self::InsufficientCapabilities { .. } => return format!("ask reviewers who may grant all of them: {ask}"),
            Self::PipelineVersionMismatch(_)
            | Self::ConfigBundleMismatch(_)
            | Self::SourceEnvironmentMismatch(_)
            | Self::SourceArtifactMismatch(_)
            | Self::IncidentMismatch(_) => {
                return format!("make the object say what was approved, or ask anew: {ask}");
            }
            Self::UnknownKey { .. }
            | Self::InvalidSignature { .. }
            | Self::WrongResource { .. }
            | Self::WrongEnvironment { .. }
            | Self::WrongCluster { .. }
            | Self::WrongProject { .. }
            | Self::WrongAction { .. }
            | Self::NoBreakGlass
            | Self::AlreadyUsed { .. }
            | Self::Expired { .. }
            | Self::Revoked { .. } => return format!("ask a reviewer of this environment: {ask}"),
        };
        advice.to_owned()
    }
}

fn unpinned(images: &[String]) -> String {
    let verb = if images.len() == 1 { "is" } else { "are" };
    format!("{} {verb}", listed(images.iter().cloned()))
}

fn hashes(approved: &[SpecHash]) -> String {
    listed(approved.iter().map(ToString::to_string))
}

fn first_difference(path: Option<&str>) -> String {
    path.map(|path| format!("; it differs first at {}", quoted(path))).unwrap_or_default()
}

/// Without this, `replay-*` and `replay-bcdfg` look as if they agreed.
fn at_creation_alone(approved: &str) -> &'static str {
    if approved.contains('*') { " (* stands for what the API server generates, and at creation alone)" } else { "" }
}

fn claimed_keys(claimed: &[String]) -> String {
    let named: Vec<&String> = claimed.iter().filter(|keyid| !keyid.is_empty()).collect();
    if named.is_empty() {
        return String::new();
    }
    format!(" (it claims key {})", listed(named.into_iter().map(quoted)))
}

fn named_cluster(name: Option<&str>) -> String {
    name.map_or("no cluster".to_owned(), |name| format!("cluster {}", quoted(name)))
}

fn free_again(at: Option<&Timestamp>) -> String {
    at.map(|at| format!("; it is free again at {at}, unless that object appears")).unwrap_or_default()
}

fn because(why: Option<&str>) -> String {
    why.map(|why| format!(": {}", quoted(why))).unwrap_or_default()
}

fn lacking(capabilities: &[Capability]) -> String {
    format!("does not give {}", listed(capabilities.iter().map(ToString::to_string)))
}

/// Where no approval is.
fn absence(named: Option<&str>) -> String {
    match named {
        None => "none is attached or beside it".to_owned(),
        Some(name) => {
            let name = on_one_line(name);
            format!("none is attached, and there is none in configmap {name}, which its {APPROVAL_REF} names")
        }
    }
}

/// ` (needed: runs privileged)`
fn for_reasons(because: &[String]) -> String {
    if because.is_empty() { String::new() } else { format!(" (needed: {})", listed(because.iter().map(quoted))) }
}

fn people(signed: &[String]) -> String {
    if signed.is_empty() { "nobody who counts".to_owned() } else { listed(signed.iter().map(quoted)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A `match` cannot be listed, so it is read.
    #[test]
    fn every_reason_is_listed_once_in_the_order_of_the_table() {
        let (_, entries) = include_str!("denial.rs").split_once("fn entry(").unwrap();
        let (entries, _) = entries.split_once("\n    }\n").unwrap();
        let mut found: Vec<(u8, &str)> = Vec::new();
        for entry in entries.split("=> (").skip(1) {
            let (place, rest) = entry.split_once(", \"").unwrap();
            let (code, _) = rest.split_once('"').unwrap();
            if !found.iter().any(|(_, known)| *known == code) {
                found.push((place.parse::<u8>().unwrap() / 10, code));
            }
        }
        assert_eq!(found, REASONS);
    }

    #[test]
    fn a_generated_name_is_told_to_bind_at_creation_alone() {
        let told = |approved: &str| {
            let found = "batch/v1/Job/payments/replay-bcdfg".to_owned();
            Denial::WrongResource { approved: approved.to_owned(), found }.to_string()
        };
        assert!(told("batch/v1/Job/payments/replay-*").ends_with(
            "but this is batch/v1/Job/payments/replay-bcdfg (* stands for what the API server generates, and at creation alone)"
        ));
        assert!(told("batch/v1/Job/payments/replay").ends_with("but this is batch/v1/Job/payments/replay-bcdfg"));
    }

    #[test]
    fn a_lifetime_is_told_in_words() {
        let denial =
            Denial::LifetimeTooLong { found: SignedDuration::from_secs(86_401), most: SignedDuration::from_hours(24) };
        assert_eq!(denial.to_string(), "the approval is valid for 24h 1s, but the posture permits 24h at most");
    }
}
