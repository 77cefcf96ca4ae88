//! The documents as they are written: one type for each kind, strict, with the field names of the contract.
//!
//! Texts stay texts here; `build` reads them further, so that every fault is told and not the first alone. The JSON
//! Schemas in `docs/schema` are generated from these types.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, de};
use serde_json::Value;

use super::{ApprovalRule, ConnectRule, Durability, Enforcement, ImageRule, PodRule, SeparationOfDuties, WorkloadRule};

/// The version of every document that this build reads.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
pub(crate) enum ApiVersion {
    /// The only one so far.
    #[serde(rename = "writgate.dev/v1")]
    V1,
}

/// The kind of a posture document.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
pub(crate) enum PostureKind {
    /// The only word that belongs here.
    Posture,
}

/// The kind of a document of reviewers.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
pub(crate) enum ReviewersKind {
    /// The only word that belongs here.
    Reviewers,
}

/// The kind of a document of revocations.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
pub(crate) enum RevocationsKind {
    /// The only word that belongs here.
    Revocations,
}

/// The kind of a document of canonical builds.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
pub(crate) enum PipelinesKind {
    /// The only word that belongs here.
    Pipelines,
}

/// The rules of one environment.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(title = "Posture")]
pub(crate) struct PostureDocument {
    #[serde(rename = "apiVersion")]
    pub(super) _api_version: ApiVersion,
    #[serde(rename = "kind")]
    pub(super) _kind: PostureKind,
    /// The environment, as the label `writgate.dev/environment` of its namespaces names it.
    pub(super) environment: String,
    /// The cluster that approvals must name. Absent: they may name none.
    #[serde(default)]
    pub(super) cluster: Option<String>,
    /// The namespaces that may claim the environment, each with its project. Absent: any.
    #[serde(default)]
    pub(super) namespaces: Option<BTreeMap<String, String>>,
    /// What a failed check does.
    #[serde(default)]
    pub(super) enforcement: Enforcement,
    /// What each action needs.
    #[serde(default)]
    pub(super) actions: ActionDocuments,
    /// What requires further capabilities, by conditions in CEL.
    #[serde(default)]
    #[schemars(length(max = 64))]
    pub(super) capability_rules: Vec<CapabilityRuleDocument>,
    /// The names of the documents of reviewers whose people may approve here.
    #[serde(default)]
    pub(super) reviewer_sets: Vec<String>,
    /// The names of the documents of revocations that count here.
    #[serde(default)]
    pub(super) revocation_lists: Vec<String>,
    /// The names of the documents of canonical builds. With one, a pipeline version that an object carries must be in
    /// it.
    #[serde(default)]
    pub(super) pipeline_sets: Vec<String>,
    /// How far approver and requester must be different people.
    #[serde(default, deserialize_with = "off_or_word")]
    pub(super) separation_of_duties: SeparationOfDuties,
    /// Whether workloads must carry a pipeline version, and their approvals the same. Absent: they may.
    #[serde(default)]
    pub(super) pipeline_version: Option<Presence>,
    /// Whether workloads must carry a config bundle, and their approvals the same, and refer to no other ConfigMaps
    /// than bundles. Absent: they may.
    #[serde(default)]
    pub(super) config_bundle: Option<Presence>,
    /// The Secrets that pod templates may refer to; only with `configBundle: required`. Absent: none.
    #[serde(default)]
    pub(super) secrets: Option<Vec<String>>,
    /// What a replay is, and what a dry run of one may look like.
    #[serde(default)]
    pub(super) replay: ReplayDocument,
    /// How images must be named.
    #[serde(default)]
    pub(super) images: ImageRule,
    /// What happens to workloads that are neither Deployments nor replays.
    #[serde(default)]
    pub(super) workloads: WorkloadRule,
    /// What happens to bare Pods, ephemeral containers and updates of a Pod's image.
    #[serde(default)]
    pub(super) pods: PodRule,
    /// How long what was admitted before may run again. Absent: only with a valid approval.
    #[serde(default)]
    pub(super) rollback: Option<RollbackDocument>,
    /// What happens to exec, attach and port-forward into Pods.
    #[serde(default)]
    pub(super) connect: ConnectRule,
    /// What an approval for an emergency needs. Absent: there are none.
    #[serde(default)]
    pub(super) break_glass: Option<BreakGlassDocument>,
    /// What an admission owes to its record.
    #[serde(default)]
    pub(super) audit: AuditDocument,
}

/// `off` without quotes is false in the YAML that kubectl reads, and it is the word that people will write.
fn off_or_word<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SeparationOfDuties, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::Bool(false) => Ok(SeparationOfDuties::Off),
        word => SeparationOfDuties::deserialize(word).map_err(de::Error::custom),
    }
}

/// The actions that differ from their defaults.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct ActionDocuments {
    /// Something new runs in the environment.
    pub(super) deploy: ActionDocument,
    /// A Job runs a pipeline over incident data, with effects.
    pub(super) replay_execute: ActionDocument,
    /// A Job runs a pipeline over incident data under the dry-run contract.
    pub(super) replay_dry_run: ActionDocument,
}

/// What one action needs. What is absent is the action's default.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct ActionDocument {
    /// Whether it needs an approval. Absent: `required`, but `none` for a dry run.
    pub(super) approval: Option<ApprovalRule>,
    /// The capabilities that the approval must name and every counted reviewer must grant. Absent: the action's own.
    #[schemars(length(min = 1))]
    pub(super) capabilities: Option<Vec<String>>,
    /// Who must have signed. Absent: one person.
    #[schemars(length(min = 1))]
    pub(super) quorum: Option<Vec<QuorumDocument>>,
    /// The longest validity of an approval: Go's durations (`24h`, `1h30m`) or whole days (`30d`). Absent: `24h`.
    pub(super) max_lifetime: Option<String>,
    /// Whether an approval is spent by its first use. Absent: true for `replay-execute`, else false.
    pub(super) single_use: Option<bool>,
    /// The action's own enforcement. Absent: the posture's.
    pub(super) enforcement: Option<Enforcement>,
}

/// So many people, of a group where one is named.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct QuorumDocument {
    /// The group that they must belong to. Absent: anybody.
    #[serde(default)]
    pub(super) group: Option<String>,
    /// How many different people.
    #[schemars(range(min = 1, max = 32))]
    pub(super) count: i64,
}

/// A rule that requires further capabilities.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct CapabilityRuleDocument {
    /// The rule's name, once in a posture.
    pub(super) name: String,
    /// A condition in CEL over object, oldObject, pod, oldPod, containers and request.
    #[schemars(length(min = 1, max = 2048))]
    pub(super) when: String,
    /// The capabilities that are required where it holds.
    #[schemars(length(min = 1))]
    pub(super) require: Vec<String>,
    /// What people are told.
    #[serde(default)]
    pub(super) message: Option<String>,
}

/// That something must be there.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Presence {
    /// It must.
    Required,
}

/// What a replay is, and what a dry run of one may look like.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct ReplayDocument {
    /// Image patterns; a Job that runs one of these is a replay. A `*` stays within one path segment.
    pub(super) images: Vec<String>,
    /// The environments that a replay may read from. Absent: any.
    pub(super) source_environments: Option<Vec<String>>,
    /// The contract of a dry run. Absent: there is no dry run.
    pub(super) dry_run: Option<DryRunDocument>,
}

/// The closed contract of a dry run: all of it and nothing beside it, or the Job counts as execute.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct DryRunDocument {
    /// The service accounts under which it may run.
    pub(super) service_accounts: Vec<String>,
    /// Its environment variables, exactly.
    pub(super) env: BTreeMap<String, String>,
    /// The argument lists that it may have; `*` stands for one whole word without a leading dash.
    pub(super) args: Vec<Vec<String>>,
}

/// How long what was admitted before may run again.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct RollbackDocument {
    /// Since its last admission: Go's durations (`720h`) or whole days (`30d`).
    pub(super) within: String,
    /// Among so many of the specs that were admitted last, the one that runs included.
    #[schemars(range(min = 1, max = 64))]
    pub(super) revisions: i64,
}

/// What an approval for an emergency needs. What is absent has a default.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct BreakGlassDocument {
    /// The longest validity of such an approval. Absent: `1h`.
    pub(super) max_lifetime: Option<String>,
    /// The capabilities that it needs, beside those of rules. Absent: `break-glass`.
    #[schemars(length(min = 1))]
    pub(super) capabilities: Option<Vec<String>>,
    /// Who must have signed. Absent: one person.
    #[schemars(length(min = 1))]
    pub(super) quorum: Option<Vec<QuorumDocument>>,
}

/// What an admission owes to its record.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct AuditDocument {
    /// Whether an admission waits for its record.
    pub(super) durability: Durability,
}

/// A named set of reviewers.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(title = "Reviewers")]
pub(crate) struct ReviewersDocument {
    #[serde(rename = "apiVersion")]
    pub(super) _api_version: ApiVersion,
    #[serde(rename = "kind")]
    pub(super) _kind: ReviewersKind,
    /// The set's name. In a ConfigMap it may be absent: the ConfigMap's name.
    #[serde(rename = "name", default)]
    pub(super) _name: Option<String>,
    /// The people.
    pub(super) reviewers: Vec<ReviewerDocument>,
}

/// A person who may approve.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ReviewerDocument {
    /// What the person is called, as `requestedBy` would name them. Compared without ASCII case.
    pub(super) name: String,
    /// The groups that count for quorums.
    #[serde(default)]
    pub(super) groups: Vec<String>,
    /// The projects in which the person's signature counts. Absent: all.
    #[serde(default)]
    pub(super) projects: Option<Vec<String>>,
    /// What the person may grant: capabilities, or all below a name (`deploy.*`).
    #[schemars(length(min = 1))]
    pub(super) capabilities: Vec<String>,
    /// API user names that are this person. Compared without ASCII case.
    #[serde(default)]
    pub(super) identities: Vec<String>,
    /// The person's keys.
    #[schemars(length(min = 1))]
    pub(super) keys: Vec<KeyDocument>,
}

/// A key, and when it is valid: from `notBefore` up to `notAfter`, which is no longer in it.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct KeyDocument {
    /// An Ed25519 public key in PEM, as OpenSSL writes it.
    pub(super) public_key: String,
    /// RFC 3339 with `Z` and whole seconds. Absent: since ever.
    #[serde(default)]
    pub(super) not_before: Option<String>,
    /// RFC 3339 with `Z` and whole seconds. Absent: for ever.
    #[serde(default)]
    pub(super) not_after: Option<String>,
}

/// A named list of revocations, in force whatever the signing time.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(title = "Revocations")]
pub(crate) struct RevocationsDocument {
    #[serde(rename = "apiVersion")]
    pub(super) _api_version: ApiVersion,
    #[serde(rename = "kind")]
    pub(super) _kind: RevocationsKind,
    /// The list's name. In a ConfigMap it may be absent: the ConfigMap's name.
    #[serde(rename = "name", default)]
    pub(super) _name: Option<String>,
    /// Approvals, by their id.
    #[serde(default)]
    pub(super) approvals: Vec<RevokedId>,
    /// Keys, by their key id.
    #[serde(default)]
    pub(super) keys: Vec<RevokedId>,
    /// Specs, by their hash.
    #[serde(default)]
    pub(super) specs: Vec<RevokedSpec>,
}

/// A revoked approval or key.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct RevokedId {
    /// An approval's id (a version 7 UUID), or a key id (64 lower-case hex digits).
    pub(super) id: String,
    /// In force from this time (RFC 3339 with `Z` and whole seconds). Absent: at once.
    #[serde(default)]
    pub(super) at: Option<String>,
    /// The reason.
    #[serde(default)]
    pub(super) why: Option<String>,
}

/// A revoked spec.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct RevokedSpec {
    /// A spec hash: `sha256:` and 64 lower-case hex digits.
    pub(super) hash: String,
    /// In force from this time (RFC 3339 with `Z` and whole seconds). Absent: at once.
    #[serde(default)]
    pub(super) at: Option<String>,
    /// The reason.
    #[serde(default)]
    pub(super) why: Option<String>,
}

/// A named set of canonical builds.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(title = "Pipelines")]
pub(crate) struct PipelinesDocument {
    #[serde(rename = "apiVersion")]
    pub(super) _api_version: ApiVersion,
    #[serde(rename = "kind")]
    pub(super) _kind: PipelinesKind,
    /// The set's name. In a ConfigMap it may be absent: the ConfigMap's name.
    #[serde(rename = "name", default)]
    pub(super) _name: Option<String>,
    /// The builds, by pipeline and version.
    pub(super) pipelines: BTreeMap<String, BTreeMap<String, BuildDocument>>,
}

/// What one version of a pipeline was built into.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct BuildDocument {
    /// The only spec that this version is deployed with: `sha256:` and 64 lower-case hex digits. Absent: any spec that
    /// runs its images.
    #[serde(default)]
    pub(super) spec_hash: Option<String>,
    /// Its images, by digest (`…@sha256:…`).
    #[schemars(length(min = 1))]
    pub(super) images: Vec<String>,
}
