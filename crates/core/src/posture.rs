//! The rules of one environment, as the decision reads them: validated, immutable, keys decoded once.
//!
//! What is written in YAML is `posture/document.rs`; how it becomes this, and what makes it invalid, is
//! `posture/build.rs` and its neighbours; where documents are found and what else is among them is `posture_set`.

mod build;
mod by_name;
mod document;
mod faults;
mod pipelines;
pub(crate) mod quorum;
mod reviewers;
mod revocations;
pub(crate) mod rule;
mod schema;
pub(crate) mod set;
mod sets;
pub(crate) mod signers;

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::Deserialize;

pub use crate::record::enforcement::{Durability, Enforcement};
pub use quorum::in_words as quorum_in_words;
pub use rule::CapabilityRule;
pub use schema::document_schemas;
pub use set::{Document, PostureError, PostureProblem, PostureSet, UnreachableQuorum};

pub(crate) use build::build_posture;
pub(crate) use pipelines::read_pipelines;
pub(crate) use reviewers::read_reviewers;
pub(crate) use revocations::read_revocations;
pub(crate) use sets::{Found, NamedDocuments, NamedSets};

use crate::{
    approval::action::Action, approval::capability::Capability, approval::capability::Grant, approval::key::KeyId,
    approval::key::PublicKey, approval::spec_hash::SpecHash, kube::image::ImagePatterns,
};

/// Whether an action needs an approval.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ApprovalRule {
    /// Nothing is admitted without a valid approval.
    Required,
    /// The action is free, but for what the object itself may not be (a revoked spec).
    None,
}

/// How far approver and requester must be different people.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SeparationOfDuties {
    /// Anybody may approve.
    Off,
    /// No reviewer that counts is the approval's `requestedBy` or the request's initiator.
    #[default]
    Claimed,
    /// As `claimed`, and the requester is proven: the initiator is the requester's own identity, or the envelope
    /// is also signed by the requester, or two reviewers count.
    Proven,
}

/// What happens to workloads that are neither Deployments nor replays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WorkloadRule {
    /// They need an approval, as a deploy.
    #[default]
    Approve,
    /// They are refused.
    Deny,
    /// They are admitted.
    Allow,
}

/// What happens to bare Pods, ephemeral containers and updates of a Pod's image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PodRule {
    /// They are refused; the API server writes random names into a Pod's spec, so it has no hash to approve.
    #[default]
    Deny,
    /// They are admitted.
    Allow,
}

/// What happens to exec, attach and port-forward into Pods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ConnectRule {
    /// They are none of our business.
    #[default]
    Allow,
    /// They are recorded.
    Audit,
    /// They are refused.
    Deny,
}

/// How images must be named.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ImageRule {
    /// In any way.
    #[default]
    Any,
    /// By digest.
    Digest,
}

/// So many reviewers, of a group where one is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuorumEntry {
    /// The group that they must belong to; none: anybody.
    pub group: Option<String>,
    /// How many different reviewers; at least one.
    pub count: usize,
}

/// What one action needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActionRule {
    /// Whether it needs an approval at all.
    pub approval: ApprovalRule,
    /// What the approval must name and each reviewer's grants must cover, without repetition.
    pub capabilities: Vec<Capability>,
    /// Who must have signed.
    pub quorum: Vec<QuorumEntry>,
    /// The longest validity an approval may have.
    pub max_lifetime: SignedDuration,
    /// Whether an approval is spent by its first use.
    pub single_use: bool,
    /// The action's own enforcement, else the posture's.
    pub enforcement: Enforcement,
}

/// How long what was admitted before may run again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RollbackRule {
    /// Since its last admission; half-open.
    pub within: SignedDuration,
    /// Among so many of the specs that were admitted last; at least one.
    pub revisions: usize,
}

/// What an approval for an emergency needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BreakGlassRule {
    /// What the approval must name and each reviewer's grants must cover, beside what rules require.
    pub capabilities: Vec<Capability>,
    /// Who must have signed.
    pub quorum: Vec<QuorumEntry>,
    /// The longest validity it may have.
    pub max_lifetime: SignedDuration,
}

/// What counts as a replay, and where its input may come from.
#[derive(Clone, Debug, Default)]
pub struct ReplayRule {
    /// A Job that runs one of these is a replay, labelled or not.
    pub images: ImagePatterns,
    /// The environments that a replay may read from; none: any.
    pub source_environments: Option<Vec<String>>,
    /// What a dry run may look like; none: there is no dry run.
    pub dry_run: Option<DryRunContract>,
}

/// The closed contract of a dry run: all of it and nothing beside it, or the Job counts as execute.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DryRunContract {
    /// The service accounts under which it may run.
    pub service_accounts: Vec<String>,
    /// Its environment variables: exactly these, once each, literal.
    pub env: BTreeMap<String, String>,
    /// The argument lists that it may have; `*` stands for one whole word without a leading dash.
    pub args: Vec<Vec<String>>,
}

/// What one version of a pipeline was built into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Build {
    /// The only spec that it is deployed with; none: any that runs its images.
    pub spec_hash: Option<SpecHash>,
    /// Its images in the one spelling that is compared: registry, repository and digest, without a tag.
    pub images: BTreeSet<String>,
}

/// Canonical builds by `<pipeline>@<version>`.
pub(crate) type Builds = BTreeMap<String, Build>;

/// That a pod template's configuration is bundles.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigRule {
    /// The Secrets that a pod template may refer to.
    pub secrets: BTreeSet<String>,
}

/// A person who may approve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reviewer {
    /// What the person is called; compared without ASCII case.
    pub name: String,
    /// The groups that count for quorum entries.
    pub groups: Vec<String>,
    /// The projects in which the person's signature counts; none: all.
    pub projects: Option<Vec<String>>,
    /// What the person may grant.
    pub capabilities: Vec<Grant>,
    /// API user names that are this person; compared without ASCII case.
    pub identities: Vec<String>,
    /// The person's keys.
    pub keys: Vec<ReviewerKey>,
}

impl Reviewer {
    /// Whether `user`, a name or an API user name, is this person.
    #[must_use]
    pub fn is(&self, user: &str) -> bool {
        self.name.eq_ignore_ascii_case(user) || self.identities.iter().any(|own| own.eq_ignore_ascii_case(user))
    }
}

/// A reviewer's key and its validity, half-open: `[not_before, not_after)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReviewerKey {
    /// The key's id, by which signatures hint at it.
    pub id: KeyId,
    /// The key itself.
    pub key: PublicKey,
    /// Its first second; none: since ever.
    pub not_before: Option<Timestamp>,
    /// The second at which it is no longer valid; none: for ever.
    pub not_after: Option<Timestamp>,
}

/// When a revocation began, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Revocation {
    /// In force from here; none: at once.
    pub at: Option<Timestamp>,
    /// The reason that was given.
    pub why: Option<String>,
}

impl Revocation {
    /// Whether it counts at `now`, whatever the signing time.
    #[must_use]
    pub fn in_force(&self, now: Timestamp) -> bool {
        self.at.is_none_or(|at| at <= now)
    }

    /// What begins earlier of the two; one without a time was always there.
    fn earlier(self, other: Self) -> Self {
        if other.at < self.at { other } else { self }
    }
}

/// Everything that the environment's lists revoke.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Revocations {
    /// By approval id, in the lower-case hyphenated form of a UUID.
    pub approvals: BTreeMap<String, Revocation>,
    /// By key id.
    pub keys: BTreeMap<KeyId, Revocation>,
    /// By spec hash.
    pub specs: BTreeMap<SpecHash, Revocation>,
}

/// The rules of one environment.
///
/// Only [`crate::posture::set::PostureSet::assemble`] makes one, so holding one proves that it is valid and whole.
#[derive(Clone, Debug)]
pub struct Posture {
    /// Its environment, as a namespace's label names it.
    pub environment: String,
    /// The ConfigMap that holds it; none for a bare file. An Event names it as related.
    pub config_map: Option<String>,
    /// The cluster that approvals must name; none: they may name none.
    pub cluster: Option<String>,
    /// The pin, namespace to project; none: any namespace that claims the environment.
    pub namespaces: Option<BTreeMap<String, String>>,
    /// The reviewers of all named sets.
    pub reviewers: Vec<Reviewer>,
    /// All named lists together.
    pub revocations: Revocations,
    /// How far approver and requester must differ.
    pub separation_of_duties: SeparationOfDuties,
    /// What requires further capabilities, in the document's order.
    pub capability_rules: Vec<CapabilityRule>,
    /// Whether an object must carry a pipeline version, and its approval the same.
    pub pipeline_version_required: bool,
    /// The canonical builds of all named sets; none where no set is named, so that nobody says which they are.
    pub builds: Option<Builds>,
    /// That an object must carry a config bundle, and its approval the same; none: it may.
    pub config_bundle: Option<ConfigRule>,
    /// How images must be named.
    pub images: ImageRule,
    /// Replays.
    pub replay: ReplayRule,
    /// Other workloads.
    pub workloads: WorkloadRule,
    /// Bare Pods.
    pub pods: PodRule,
    /// What was admitted before; none: it needs an approval like everything else.
    pub rollback: Option<RollbackRule>,
    /// Emergencies; none: there are none.
    pub break_glass: Option<BreakGlassRule>,
    /// Exec, attach and port-forward.
    pub connect: ConnectRule,
    /// Where an admission's record must be before the answer.
    pub durability: Durability,
    /// `sha256:<hex>` over the documents it was made of: the same in a cluster, a folder and the command line.
    pub version: String,
    actions: Actions,
    /// Where a key is: the reviewer's index and the key's index in it.
    keys: BTreeMap<KeyId, (usize, usize)>,
}

/// The three rules, one for each action.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Actions {
    deploy: ActionRule,
    replay_execute: ActionRule,
    replay_dry_run: ActionRule,
}

impl Posture {
    /// What `action` needs here.
    #[must_use]
    pub fn rule(&self, action: Action) -> &ActionRule {
        match action {
            Action::Deploy => &self.actions.deploy,
            Action::ReplayExecute => &self.actions.replay_execute,
            Action::ReplayDryRun => &self.actions.replay_dry_run,
        }
    }

    /// Whether `action` needs a config bundle: a dry run, whose contract permits no reference to a ConfigMap, has none.
    #[must_use]
    pub fn bundle_required(&self, action: Action) -> bool {
        self.config_bundle.is_some() && action != Action::ReplayDryRun
    }

    /// The key with this id and whose it is, valid at the moment or not.
    #[must_use]
    pub fn key(&self, id: &KeyId) -> Option<(&Reviewer, &ReviewerKey)> {
        let &(reviewer, key) = self.keys.get(id)?;
        let reviewer = self.reviewers.get(reviewer)?;
        Some((reviewer, reviewer.keys.get(key)?))
    }

    /// Every key of the environment, in the order of the reviewers.
    pub fn keys(&self) -> impl Iterator<Item = (&Reviewer, &ReviewerKey)> {
        self.reviewers.iter().flat_map(|reviewer| reviewer.keys.iter().map(move |key| (reviewer, key)))
    }
}
