//! Postures: the rules of one environment, validated and complete.
//!
//! Documents are found in texts by `gather`, have the shape of `document`, and become a [`Posture`] in `build`.
//! [`PostureSet`] holds the result for every environment. A posture is immutable; what it means for one request is
//! decided in `decide`.

mod build;
mod difference;
mod document;
mod document_text;
mod explain;
mod gather;
mod named_documents;
mod pipelines;
mod problems;
mod quorum;
mod reach;
mod remembered;
mod reviewers;
mod revocations;
pub(crate) mod rule;
mod schema;
mod set;
mod setting;
mod signers;
#[cfg(test)]
mod tests;
mod warnings;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::SignedDuration;
use schemars::JsonSchema;
use serde::Deserialize;

pub use crate::record::enforcement::{Durability, Enforcement};
pub use difference::{ChangeEffect, PostureChange};
pub use document_text::Document;
pub use explain::{ExplainedRow, Explanation};
pub use pipelines::Build;
pub use problems::PostureProblem;
pub use quorum::{QuorumEntry, describe_quorum};
pub use reach::UnreachableQuorum;
pub use reviewers::{Reviewer, ReviewerKey};
pub use revocations::{Revocation, Revocations};
pub use rule::CapabilityRule;
pub use schema::document_schemas;
pub use set::{PostureError, PostureSet};
pub use signers::SignatureState;

pub(crate) use gather::is_document_kind;
pub(crate) use quorum::{is_met, missing};
pub(crate) use signers::{SignatureBudget, UnverifiedEnvelope, VerifiedSigner};

use crate::{
    approval::action::Action, approval::capability::Capability, approval::key::KeyId, approval::statement::Approval,
    kube::image::ImagePatterns,
};

/// The rules of one environment.
///
/// Only [`PostureSet::assemble`] makes one, so a value proves that the posture is valid and complete.
#[derive(Clone, Debug)]
pub struct Posture {
    /// The environment: the value of the label `writgate.dev/environment` of its namespaces.
    pub environment: String,
    /// The name of the ConfigMap that holds the posture; `None` for a bare file. Events name the ConfigMap.
    pub config_map: Option<String>,
    /// The cluster that every approval must name; `None`: an approval must name no cluster.
    pub cluster: Option<String>,
    /// The namespaces that may claim the environment, each with its project; `None`: any namespace.
    pub namespaces: Option<BTreeMap<String, String>>,
    /// The reviewers of all sets in `reviewerSets`, in the order of the sets.
    pub reviewers: Arc<[Reviewer]>,
    /// The entries of all lists in `revocationLists`.
    pub revocations: Arc<Revocations>,
    /// How far the reviewers must differ from the requester and the initiator.
    pub separation_of_duties: SeparationOfDuties,
    /// The conditions that require further capabilities, in the order of the document.
    pub capability_rules: Vec<CapabilityRule>,
    /// Whether an object must carry a pipeline version, and its approval the same one.
    pub pipeline_version_required: bool,
    /// The builds of all sets in `pipelineSets`, by `<pipeline>@<version>`; `None`: the posture names no set, and
    /// builds are not checked.
    pub builds: Option<Arc<BTreeMap<String, Build>>>,
    /// The rule for a pod template's configuration; `None`: a config bundle is not required.
    pub config_bundle: Option<ConfigRule>,
    /// How images must be named.
    pub images: ImageRule,
    /// Which Jobs are replays, and which replays are dry runs.
    pub replay: ReplayRule,
    /// The rule for workloads that are neither Deployments nor replays.
    pub workloads: WorkloadRule,
    /// The rule for bare Pods, ephemeral containers and changed images of Pods.
    pub pods: PodRule,
    /// The rule for scaling from 0 replicas what was never approved.
    pub ungoverned: UngovernedRule,
    /// When a spec that was admitted before may run again without a valid approval; `None`: never.
    pub rollback: Option<RollbackRule>,
    /// What a break-glass approval requires; `None`: break-glass approvals are refused.
    pub break_glass: Option<BreakGlassRule>,
    /// The rule for exec, attach, port-forward and proxy.
    pub connect: ConnectRule,
    /// Whether an admission waits until its record is in the ledger.
    pub durability: Durability,
    /// `sha256:` and 64 hexadecimal digits: the digest of the posture and of all documents that it names. It does not
    /// depend on where the documents were found.
    pub version: String,
    actions: Actions,
    /// The position of each key: the reviewer's index in `reviewers`, and the key's index in that reviewer.
    keys: BTreeMap<KeyId, (usize, usize)>,
}

/// One rule for each action.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Actions {
    deploy: ActionRule,
    replay_execute: ActionRule,
    replay_dry_run: ActionRule,
}

impl Posture {
    /// The rule for `action`.
    #[must_use]
    pub fn rule(&self, action: Action) -> &ActionRule {
        match action {
            Action::Deploy => &self.actions.deploy,
            Action::ReplayExecute => &self.actions.replay_execute,
            Action::ReplayDryRun => &self.actions.replay_dry_run,
        }
    }

    /// The quorum of `approval`: how many reviewers must sign, of which groups.
    #[must_use]
    pub fn quorum_of(&self, approval: &Approval) -> &[QuorumEntry] {
        match &self.break_glass {
            Some(rule) if approval.break_glass => &rule.quorum,
            _ => &self.rule(approval.action).quorum,
        }
    }

    /// Whether `action` requires a config bundle. A dry run does not: its contract permits no reference to a ConfigMap.
    #[must_use]
    pub fn bundle_required(&self, action: Action) -> bool {
        self.config_bundle.is_some() && action != Action::ReplayDryRun
    }

    /// The key with this id and its reviewer, whether or not the key is valid at the moment.
    #[must_use]
    pub fn key(&self, id: &KeyId) -> Option<(&Reviewer, &ReviewerKey)> {
        let &(reviewer, key) = self.keys.get(id)?;
        let reviewer = self.reviewers.get(reviewer)?;
        Some((reviewer, reviewer.keys.get(key)?))
    }

    /// Every key with its reviewer, in the order of `reviewers`.
    pub fn keys(&self) -> impl Iterator<Item = (&Reviewer, &ReviewerKey)> {
        self.reviewers.iter().flat_map(|reviewer| reviewer.keys.iter().map(move |key| (reviewer, key)))
    }
}

/// What one action requires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActionRule {
    /// Whether the action requires an approval. If not, the other fields have no effect, except `enforcement`.
    pub approval: ApprovalRule,
    /// The capabilities that the approval must name and each counted reviewer must be allowed to grant, without
    /// duplicates.
    pub capabilities: Vec<Capability>,
    /// How many reviewers must sign, and from which groups.
    pub quorum: Vec<QuorumEntry>,
    /// The longest time from an approval's `notBefore` to its `expiresAt`; 24 hours by default.
    pub max_lifetime: SignedDuration,
    /// Whether each subject of an approval admits one object only.
    pub single_use: bool,
    /// What a failed check does: the action's own `enforcement`, or else the posture's.
    pub enforcement: Enforcement,
}

/// When a spec that was admitted before may run again without a valid approval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RollbackRule {
    /// The time since the spec was last admitted must be shorter than this.
    pub within: SignedDuration,
    /// The spec must be among this many specs that were last admitted for the object; 1 to 64.
    pub revisions: usize,
}

/// What a break-glass approval requires, in place of the action's rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BreakGlassRule {
    /// The capabilities that the approval must name and each counted reviewer must be allowed to grant, in addition to
    /// those that capability rules require.
    pub capabilities: Vec<Capability>,
    /// How many reviewers must sign, and from which groups.
    pub quorum: Vec<QuorumEntry>,
    /// The longest time from the approval's `notBefore` to its `expiresAt`; 1 hour by default.
    pub max_lifetime: SignedDuration,
}

/// Which Jobs are replays, and where the data of a replay may come from.
#[derive(Clone, Debug, Default)]
pub struct ReplayRule {
    /// A Job that runs one of these images is a replay, with or without the replay label.
    pub images: ImagePatterns,
    /// The environments that a replay may read from; `None`: any.
    pub source_environments: Option<Vec<String>>,
    /// What a dry run must look like; `None`: every replay counts as `replay-execute`.
    pub dry_run: Option<DryRunContract>,
}

/// The closed contract of a dry run. A Job that differs from it in any way counts as `replay-execute`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DryRunContract {
    /// The service accounts that the Job may run under.
    pub service_accounts: Vec<String>,
    /// The environment variables that the Job must have: exactly these, once each, with literal values.
    pub env: BTreeMap<String, String>,
    /// The argument lists that the Job may have. `*` matches one whole word that does not begin with a dash.
    pub args: Vec<Vec<String>>,
}

/// The rule for a pod template's configuration if config bundles are required.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigRule {
    /// The names of the Secrets that a pod template may refer to.
    pub secrets: BTreeSet<String>,
}

/// Whether an action requires an approval.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ApprovalRule {
    /// The action requires a valid approval.
    Required,
    /// The action requires no approval. The checks of the object itself still apply, such as revoked specs.
    None,
}

/// How far the reviewers must differ from the requester and the initiator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SeparationOfDuties {
    /// Anybody may approve.
    Off,
    /// A reviewer does not count if they are the approval's `requestedBy` or the initiator of the request.
    #[default]
    Claimed,
    /// As `claimed`, and the requester is proven: the initiator is one of the requester's own identities, or the
    /// requester also signed the envelope, or two reviewers count.
    Proven,
}

/// The rule for workloads that are neither Deployments nor replays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WorkloadRule {
    /// They require an approval, as a deploy does.
    #[default]
    Approve,
    /// They are denied.
    Deny,
    /// They are admitted.
    Allow,
}

/// The rule for bare Pods, ephemeral containers and changed images of Pods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PodRule {
    /// They are denied. The API server writes random names into a Pod's spec, so no approval can name its hash.
    #[default]
    Deny,
    /// They are admitted.
    Allow,
}

/// The rule for scaling a workload from 0 replicas that was never approved as it is, as one from before its namespace was
/// governed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum UngovernedRule {
    /// It is scaled like any other workload. An approval that can no longer be found stops nobody.
    #[default]
    Allow,
    /// It is denied until it is approved.
    Deny,
}

/// The rule for exec, attach, port-forward and proxy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ConnectRule {
    /// They are admitted and not recorded.
    #[default]
    Allow,
    /// They are admitted and recorded.
    Audit,
    /// They are denied.
    Deny,
}

/// How images must be named.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ImageRule {
    /// In any way.
    #[default]
    Any,
    /// By digest: every container image and image volume.
    Digest,
}
