//! The table of reasons: for each, its code, its row in the table of checks, whether another approval helps, what to do
//! next, and its page in `docs/reasons`.
//!
//! To add a reason, add an entry here, the page, and a [`Denial`](super::Denial) with its text and its arm in
//! `Denial::reason`. The order of the entries is the order in which a decision lists its denials; rows never decrease.
//! Several entries may have one code, which is what other programs see: they differ in what to do next, or in rank.

/// What a denied user can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NextStep {
    /// Something that requires no approval.
    Advice(&'static str),
    /// To request an approval; the command for it follows the text.
    Request(&'static str),
}

use NextStep::{Advice, Request};

macro_rules! reasons {
    ($($reason:ident: $code:literal, row $row:literal, approval helps: $helps:literal, $next:expr;)*) => {
        /// One reason for a denial. A smaller one comes first in the table of checks.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Reason {
            $(#[doc = concat!("Row ", $row, ", `", $code, "`.")] $reason,)*
        }

        impl Reason {
            /// Every reason, in the order of the table.
            pub const ALL: &[Self] = &[$(Self::$reason),*];

            /// The stable word for this reason, the same in every rendering. Never rename one.
            #[must_use]
            pub const fn code(self) -> &'static str {
                match self { $(Self::$reason => $code),* }
            }

            /// The row of the table of checks, which is at the head of `decide.rs`.
            #[must_use]
            pub const fn row(self) -> u8 {
                match self { $(Self::$reason => $row),* }
            }

            /// Whether an approval is missing or not enough, so that another approval can help.
            #[must_use]
            pub const fn approval_helps(self) -> bool {
                match self { $(Self::$reason => $helps),* }
            }

            pub(crate) const fn next(self) -> NextStep {
                match self { $(Self::$reason => $next),* }
            }

            /// The page in `docs/reasons`, in Markdown.
            #[must_use]
            pub const fn page(self) -> &'static str {
                match self {
                    $(Self::$reason => include_str!(concat!("../../../../docs/reasons/", $code, ".md"))),*
                }
            }
        }
    };
}

reasons! {
    MalformedReview: "MalformedReview", row 1, approval helps: false,
        Advice("report a bug if a supported API server sent this request");
    UnsupportedKind: "UnsupportedKind", row 1, approval helps: false,
        Advice("ask the platform team to correct the rules of the webhook configuration");
    PostureMissing: "PostureMissing", row 1, approval helps: false,
        Advice("ask the platform team for a posture for this environment");
    PostureInvalid: "PostureInvalid", row 1, approval helps: false,
        Advice("ask the platform team to run: kubectl writgate posture check -f DIR");
    NamespaceNotListed: "NamespaceNotListed", row 1, approval helps: false,
        Advice("ask the platform team to list this namespace in the posture or to correct its labels");
    WorkloadNotAllowed: "WorkloadNotAllowed", row 1, approval helps: false,
        Advice("run the program as a workload that the posture permits");
    ConnectionNotAllowed: "WorkloadNotAllowed", row 1, approval helps: false,
        Advice("read the Pod's log with kubectl logs, or ask the platform team");
    RevocationLifted: "RevocationLifted", row 1, approval helps: false,
        Advice("keep the revocation; request a new approval, or replace the revoked key");
    InUse: "InUse", row 1, approval helps: false,
        Advice("first change or remove the objects that use it");
    QuorumUnreachable: "QuorumUnreachable", row 1, approval helps: false,
        Advice("first add reviewers who may grant the capabilities, or require fewer reviewers");
    BundleInvalid: "BundleInvalid", row 1, approval helps: false,
        Advice("create the bundle with: kubectl writgate bundle");
    RequestInvalid: "RequestInvalid", row 1, approval helps: false,
        Advice("post requests with kubectl writgate request, and rejections with kubectl writgate reject; to change one, delete it \
                and post another");
    TooManyRequests: "RequestInvalid", row 1, approval helps: false,
        Advice("delete those that nobody waits for: kubectl writgate request list, then kubectl writgate request cancel NAME");
    GovernanceInvalid: "GovernanceInvalid", row 1, approval helps: false,
        Advice("set both labels or neither: kubectl label namespace NAME writgate.dev/environment=ENVIRONMENT \
                writgate.dev/project=PROJECT");
    GovernRequired: "GovernRequired", row 1, approval helps: false,
        Advice("ask a user who is bound to the ClusterRole writgate-govern");
    StatusMetadata: "StatusMetadata", row 1, approval helps: false,
        Advice("change the metadata of the object itself, not through /status");

    ApprovalRequired: "ApprovalRequired", row 2, approval helps: true,
        Request("request an approval");

    TooManyApprovals: "MalformedApproval", row 3, approval helps: true,
        Advice("remove the approvals of earlier specs from the manifest: \
                kubectl writgate attach -i -f FILE --approval APPROVAL");
    MalformedApproval: "MalformedApproval", row 3, approval helps: true,
        Advice("attach the approval exactly as it was signed: kubectl writgate attach");

    UnknownKey: "UnknownKey", row 4, approval helps: true,
        Request("request an approval from a reviewer of this environment");

    InvalidSignature: "InvalidSignature", row 5, approval helps: true,
        Request("request a new approval");
    // A payload is read only after a known reviewer's signature of it has been verified.
    MalformedPayload: "MalformedApproval", row 5, approval helps: true,
        Advice("attach the approval exactly as it was signed: kubectl writgate attach");

    SpecHashMismatch: "SpecHashMismatch", row 6, approval helps: true,
        Request("apply the file that was approved, or request an approval of this spec");

    LiveSpecApproved: "SpecHashMismatch", row 6, approval helps: true,
        Request("apply the file that was approved; kubectl rollout undo restores only the Pod template of a StatefulSet or \
                 DaemonSet, so put the approval of the earlier spec into a ConfigMap (kubectl writgate attach --detached); or \
                 request an approval of this spec");
    KeptByApply: "SpecHashMismatch", row 6, approval helps: true,
        Advice("remove these fields from the live object, or replace it: kubectl replace -f FILE, which also sets replicas and \
                other fields that FILE does not have to their defaults; if it is denied as well, a mutating webhook changes \
                it, and kubectl writgate request --server shows the changed object");
    ChangedInCluster: "SpecHashMismatch", row 6, approval helps: true,
        Advice("request an approval of the changed object: kubectl writgate request --server -f FILE");

    WrongResource: "WrongResource", row 7, approval helps: true,
        Request("request an approval for this object");

    WrongEnvironment: "WrongEnvironment", row 8, approval helps: true,
        Request("request an approval for this environment");
    WrongCluster: "WrongCluster", row 8, approval helps: true,
        Request("request an approval for this cluster");
    WrongProject: "WrongProject", row 8, approval helps: true,
        Request("request an approval for this project");

    WrongAction: "WrongAction", row 9, approval helps: true,
        Request("request an approval for this action");
    NoBreakGlass: "WrongAction", row 9, approval helps: true,
        Request("request an approval that is not break-glass");

    NotYetValid: "NotYetValid", row 10, approval helps: true,
        Advice("wait until that time, or ask the reviewer for an approval that is valid now; if the approval was signed just now, \
                correct the clock that is wrong");
    Expired: "Expired", row 10, approval helps: true,
        Request("request a new approval");
    LifetimeTooLong: "LifetimeTooLong", row 10, approval helps: true,
        Request("request an approval with a shorter lifetime");

    Revoked: "Revoked", row 11, approval helps: true,
        Request("change the spec if it was revoked, and request a new approval");

    InsufficientCapabilities: "InsufficientCapabilities", row 12, approval helps: true,
        Request("request an approval from reviewers who may grant all required capabilities");

    SelfApproval: "SelfApproval", row 13, approval helps: true,
        Request("request an approval from another reviewer");
    QuorumNotMet: "QuorumNotMet", row 13, approval helps: true,
        Advice("ask another reviewer to run: kubectl writgate approve -f REQUEST --key KEY --add-signature APPROVAL");

    PipelineVersionMismatch: "PipelineVersionMismatch", row 14, approval helps: false,
        Request("correct the annotation, or request an approval that names its value");
    NoPipelineVersion: "PipelineVersionMismatch", row 14, approval helps: false,
        Advice("deploy a version that a pipeline set of the posture lists, and name it in writgate.dev/pipeline-version");
    NotCanonicalBuild: "NotCanonicalBuild", row 14, approval helps: false,
        Advice("deploy a version that a pipeline set of the posture lists, and name it in writgate.dev/pipeline-version");
    ConfigBundleMismatch: "ConfigBundleMismatch", row 14, approval helps: false,
        Request("correct the annotation, or request an approval that names its value");
    ConfigNotBundled: "ConfigBundleMismatch", row 14, approval helps: false,
        Advice("create a config bundle: kubectl writgate bundle NAME --from-file PATH --environment ENVIRONMENT");
    ImageNotPinned: "ImageNotPinned", row 14, approval helps: false,
        Advice("refer to each image by its digest: NAME@sha256:…");

    SourceEnvironmentMismatch: "SourceEnvironmentMismatch", row 15, approval helps: false,
        Request("correct the annotation, or request an approval that names its value");
    SourceNotPermitted: "SourceEnvironmentMismatch", row 15, approval helps: false,
        Advice("replay from an environment that the posture permits");
    SourceArtifactMismatch: "SourceArtifactMismatch", row 15, approval helps: false,
        Request("correct the annotation, or request an approval that names its value");
    IncidentMismatch: "IncidentMismatch", row 15, approval helps: false,
        Request("correct the annotation, or request an approval that names its value");
    IncidentNotOfBuild: "IncidentMismatch", row 15, approval helps: false,
        Advice("replay with the pipeline version that the incident ran");

    AlreadyUsed: "AlreadyUsed", row 16, approval helps: true,
        Request("request a new approval");
    // Used for an object that was never seen: the approval becomes usable again if the object does not appear.
    UseUnconfirmed: "AlreadyUsed", row 16, approval helps: true,
        Advice("find out why that object was not created, and try again after that time");
    LookupFailed: "LookupFailed", row 16, approval helps: false,
        Advice("try again; if it fails again, ask the platform team to read the webhook's log");

    NotRecorded: "NotRecorded", row 17, approval helps: false,
        Advice("try again; if it fails again, ask the platform team to read the webhook's log, and to check the quota for \
                ConfigMaps in the webhook's namespace");
}

impl Reason {
    /// The first reason with this code.
    #[must_use]
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|reason| reason.code() == code)
    }
}

/// What `docs/reasons` says about one code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReasonPage {
    /// The code of a denial, or the reason of an Event about an admission.
    pub code: &'static str,
    /// The row of the table of checks; none for an admission's Event.
    pub row: Option<u8>,
    /// The page, in Markdown.
    pub text: &'static str,
}

impl ReasonPage {
    /// Every page, in the order of the table; those of Events about admissions come last.
    pub fn all() -> impl Iterator<Item = Self> {
        let page = |reason: &Reason| Self { code: reason.code(), row: Some(reason.row()), text: reason.page() };
        let first = |reason: &&Reason| Reason::from_code(reason.code()) == Some(**reason);
        Reason::ALL.iter().filter(first).map(page).chain(EVENTS)
    }

    /// What the code means, in one line: the first after the title.
    #[must_use]
    pub fn summary(&self) -> &'static str {
        self.text.lines().nth(2).unwrap_or_default()
    }
}

macro_rules! events {
    ($($code:literal)*) => {
        [$(ReasonPage {
            code: $code,
            row: None,
            text: include_str!(concat!("../../../../docs/reasons/", $code, ".md")),
        }),*]
    };
}

/// Reasons of Events about admissions that need an explanation.
const EVENTS: [ReasonPage; 3] = events! { "NotPersisted" "RollbackAdmitted" "BreakGlassAdmitted" };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_do_not_decrease_and_codes_stay_together() {
        assert!(Reason::ALL.is_sorted_by_key(|reason| reason.row()));
        assert!(Reason::ALL.is_sorted());
        // A list of codes drops repetitions of neighbours only. The two of MalformedApproval never meet in one envelope.
        let mut runs: Vec<&str> = Reason::ALL.iter().map(|reason| reason.code()).collect();
        runs.dedup();
        let codes: Vec<&str> = ReasonPage::all().filter(|page| page.row.is_some()).map(|page| page.code).collect();
        runs.remove(runs.iter().rposition(|code| *code == "MalformedApproval").unwrap());
        assert_eq!(runs, codes);
    }

    #[test]
    fn approvals_help_in_rows_2_to_13_and_after_a_use() {
        for reason in Reason::ALL {
            let expected = (2..=13).contains(&reason.row()) || reason.code() == "AlreadyUsed";
            assert_eq!(reason.approval_helps(), expected, "{reason:?}");
        }
    }
}
