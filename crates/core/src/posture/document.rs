//! The documents as they are written: one type for each kind, with the field names of the format.
//!
//! The types are strict, but strings stay strings: [`build`](super::build) and its neighbours check them and report
//! every problem, not only the first. The JSON Schemas in `docs/schema` are generated from these types, and so is the
//! output of `posture explain --field`. Every doc comment below appears there.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, de};
use serde_json::Value;

use super::{
    ApprovalRule, ConnectRule, Durability, Enforcement, ImageRule, PodRule, SeparationOfDuties, UngovernedRule,
    WorkloadRule,
};
use crate::encoding::strict::{ByFieldName, by_field_name};

/// The version of the document's format.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
pub(super) enum ApiVersion {
    /// The only version so far.
    #[serde(rename = "writgate.dev/v1")]
    V1,
}

/// The kind of a posture.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
pub(super) enum PostureKind {
    /// The only valid value.
    Posture,
}

/// The kind of a set of reviewers.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
pub(super) enum ReviewersKind {
    /// The only valid value.
    Reviewers,
}

/// The kind of a list of revocations.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
pub(super) enum RevocationsKind {
    /// The only valid value.
    Revocations,
}

/// The kind of a set of canonical builds.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
pub(super) enum PipelinesKind {
    /// The only valid value.
    Pipelines,
}

/// The rules of one environment.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(title = "Posture")]
pub(super) struct PostureDocument {
    #[serde(rename = "apiVersion")]
    pub(super) _api_version: ApiVersion,
    #[serde(rename = "kind")]
    pub(super) _kind: PostureKind,
    /// The environment: the value of the label `writgate.dev/environment` of its namespaces.
    pub(super) environment: String,
    /// The cluster that every approval must name. If absent, an approval must name no cluster.
    #[serde(default)]
    pub(super) cluster: Option<String>,
    /// The namespaces that may claim the environment, each with its project. If absent, any namespace may.
    #[serde(default)]
    pub(super) namespaces: Option<BTreeMap<String, String>>,
    /// What a failed check does to the request.
    #[serde(default)]
    pub(super) enforcement: Enforcement,
    /// What each action requires.
    #[serde(default, deserialize_with = "by_field_name")]
    pub(super) actions: ActionDocuments,
    /// Conditions in CEL that require further capabilities.
    #[serde(default)]
    #[schemars(length(max = 64))]
    pub(super) capability_rules: Vec<ByFieldName<CapabilityRuleDocument>>,
    /// The names of the sets of reviewers who may approve in this environment.
    #[serde(default)]
    pub(super) reviewer_sets: Vec<String>,
    /// The names of the lists of revocations that apply in this environment.
    #[serde(default)]
    pub(super) revocation_lists: Vec<String>,
    /// The names of the sets of canonical builds. If there is one, the pipeline version of an object must be in it.
    #[serde(default)]
    pub(super) pipeline_sets: Vec<String>,
    /// How far the reviewers must differ from the requester and the initiator.
    #[serde(default, deserialize_with = "off_or_word")]
    pub(super) separation_of_duties: SeparationOfDuties,
    /// Whether a workload must carry a pipeline version, and its approval the same one. If absent, a workload may carry
    /// one.
    #[serde(default)]
    pub(super) pipeline_version: Option<Presence>,
    /// Whether a workload must carry a config bundle, and its approval the same one. If required, a pod template may
    /// refer to no ConfigMap except config bundles. If absent, a workload may carry one.
    #[serde(default)]
    pub(super) config_bundle: Option<Presence>,
    /// The Secrets that pod templates may refer to. It has an effect only with `configBundle: required`. If absent, pod
    /// templates may refer to none.
    #[serde(default)]
    pub(super) secrets: Option<Vec<String>>,
    /// Which Jobs are replays, and which replays are dry runs.
    #[serde(default, deserialize_with = "by_field_name")]
    pub(super) replay: ReplayDocument,
    /// How images must be named.
    #[serde(default)]
    pub(super) images: ImageRule,
    /// What happens to workloads that are neither Deployments nor replays.
    #[serde(default)]
    pub(super) workloads: WorkloadRule,
    /// What happens to bare Pods, ephemeral containers and changed images of Pods.
    #[serde(default)]
    pub(super) pods: PodRule,
    /// What happens when a workload is scaled from 0 replicas that was never approved as it is.
    #[serde(default)]
    pub(super) ungoverned: UngovernedRule,
    /// When a spec that was admitted before may run again without a valid approval. If absent, it may not.
    #[serde(default)]
    pub(super) rollback: Option<ByFieldName<RollbackDocument>>,
    /// What happens to exec, attach, port-forward and proxy requests into Pods.
    #[serde(default)]
    pub(super) connect: ConnectRule,
    /// What a break-glass approval requires. If absent, break-glass approvals are refused.
    #[serde(default)]
    pub(super) break_glass: Option<ByFieldName<BreakGlassDocument>>,
    /// What the record of an admission requires.
    #[serde(default, deserialize_with = "by_field_name")]
    pub(super) audit: AuditDocument,
}

/// In the YAML that kubectl reads, `off` without quotes is false. People write it without quotes.
fn off_or_word<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SeparationOfDuties, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::Bool(false) => Ok(SeparationOfDuties::Off),
        word => SeparationOfDuties::deserialize(word).map_err(de::Error::custom),
    }
}

/// The actions. An absent action has its defaults.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(super) struct ActionDocuments {
    /// A new spec runs in the environment.
    #[serde(deserialize_with = "by_field_name")]
    pub(super) deploy: ActionDocument,
    /// A Job runs a pipeline over incident data, with effects.
    #[serde(deserialize_with = "by_field_name")]
    pub(super) replay_execute: ActionDocument,
    /// A Job runs a pipeline over incident data under the dry-run contract.
    #[serde(deserialize_with = "by_field_name")]
    pub(super) replay_dry_run: ActionDocument,
}

/// What one action requires. An absent field has the action's default.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct ActionDocument {
    /// Whether the action requires an approval. Default: `required`, but `none` for `replay-dry-run`.
    pub(super) approval: Option<ApprovalRule>,
    /// The capabilities that the approval must name and every counted reviewer must be allowed to grant. Default: the
    /// action's own capability.
    #[schemars(length(min = 1))]
    pub(super) capabilities: Option<Vec<String>>,
    /// How many reviewers must sign, and from which groups. Default: one reviewer.
    #[schemars(length(min = 1))]
    pub(super) quorum: Option<Vec<ByFieldName<QuorumDocument>>>,
    /// The longest validity of an approval, as a Go duration (`24h`, `1h30m`) or in whole days (`30d`). Default: `24h`.
    pub(super) max_lifetime: Option<String>,
    /// Whether each subject of an approval admits one object only. Default: true for `replay-execute`, otherwise false.
    pub(super) single_use: Option<bool>,
    /// What a failed check does to a request for this action. Default: the posture's `enforcement`.
    pub(super) enforcement: Option<Enforcement>,
}

/// A number of reviewers, from one group or from any.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct QuorumDocument {
    /// The group that the reviewers must belong to. If absent, any reviewer counts.
    #[serde(default)]
    pub(super) group: Option<String>,
    /// The number of different reviewers.
    #[schemars(range(min = 1, max = 32))]
    pub(super) count: i64,
}

/// A condition that requires further capabilities.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct CapabilityRuleDocument {
    /// The rule's name, unique in the posture.
    pub(super) name: String,
    /// The condition, in CEL over `object`, `oldObject`, `pod`, `oldPod`, `containers` and `request`.
    #[schemars(length(min = 1, max = 2048))]
    pub(super) when: String,
    /// The capabilities that are required if the condition is true.
    #[schemars(length(min = 1))]
    pub(super) require: Vec<String>,
    /// Why the capabilities are required, for the user, the reviewer and the record. If absent, the rule's name is
    /// shown.
    #[serde(default)]
    pub(super) message: Option<String>,
}

/// Whether something must be present.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Presence {
    /// It must be present.
    Required,
}

/// Which Jobs are replays, and which replays are dry runs.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct ReplayDocument {
    /// Image patterns. A Job that runs a matching image is a replay. A `*` matches within one path segment.
    pub(super) images: Vec<String>,
    /// The environments that a replay may read from. If absent, a replay may read from any.
    pub(super) source_environments: Option<Vec<String>>,
    /// The contract of a dry run. If absent, every replay counts as `replay-execute`.
    pub(super) dry_run: Option<ByFieldName<DryRunDocument>>,
}

/// The closed contract of a dry run. A Job that differs from it in any way counts as `replay-execute`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct DryRunDocument {
    /// The service accounts that the Job may run under.
    pub(super) service_accounts: Vec<String>,
    /// The environment variables of the Job: exactly these, with these values.
    pub(super) env: BTreeMap<String, String>,
    /// The argument lists that the Job may have. `*` matches one whole word that does not begin with a dash.
    pub(super) args: Vec<Vec<String>>,
}

/// When a spec that was admitted before may run again without a valid approval.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RollbackDocument {
    /// The longest time since the spec was last admitted, as a Go duration (`720h`) or in whole days (`30d`).
    pub(super) within: String,
    /// How many of the specs that were last admitted may run again, including the one that runs now.
    #[schemars(range(min = 1, max = 64))]
    pub(super) revisions: i64,
}

/// What a break-glass approval requires. An absent field has a default.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct BreakGlassDocument {
    /// The longest validity of a break-glass approval, as a Go duration or in whole days. Default: `1h`.
    pub(super) max_lifetime: Option<String>,
    /// The capabilities that are required, in addition to those of capability rules. Default: `break-glass`.
    #[schemars(length(min = 1))]
    pub(super) capabilities: Option<Vec<String>>,
    /// How many reviewers must sign, and from which groups. Default: one reviewer.
    #[schemars(length(min = 1))]
    pub(super) quorum: Option<Vec<ByFieldName<QuorumDocument>>>,
}

/// What the record of an admission requires.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct AuditDocument {
    /// Whether the webhook admits a request only after its record is in the ledger.
    pub(super) durability: Durability,
}

/// A set of reviewers, which postures refer to by name.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(title = "Reviewers")]
pub(super) struct ReviewersDocument {
    #[serde(rename = "apiVersion")]
    pub(super) _api_version: ApiVersion,
    #[serde(rename = "kind")]
    pub(super) _kind: ReviewersKind,
    /// The set's name. In a ConfigMap the field may be absent, and the name is the ConfigMap's.
    #[serde(rename = "name", default)]
    pub(super) _name: Option<String>,
    /// The people who may approve.
    pub(super) reviewers: Vec<ByFieldName<ReviewerDocument>>,
}

/// A person who may approve.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ReviewerDocument {
    /// The person's name, as approvals name them in `requestedBy`. Compared without ASCII case.
    pub(super) name: String,
    /// The groups for which the person counts in a quorum.
    #[serde(default)]
    pub(super) groups: Vec<String>,
    /// The projects in which the person's signature counts. If absent, it counts in all projects.
    #[serde(default)]
    pub(super) projects: Option<Vec<String>>,
    /// What the person may grant: capabilities, or all capabilities below a prefix (`deploy.*`).
    #[schemars(length(min = 1))]
    pub(super) capabilities: Vec<String>,
    /// The API user names of the person. Without them, the person is recognised only under their name. Compared without
    /// ASCII case.
    #[serde(default)]
    pub(super) identities: Vec<String>,
    /// The person's keys.
    #[schemars(length(min = 1))]
    pub(super) keys: Vec<ByFieldName<KeyDocument>>,
}

/// A key, and when it is valid: from `notBefore` until just before `notAfter`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct KeyDocument {
    /// An Ed25519 public key in PEM, as OpenSSL writes it.
    pub(super) public_key: String,
    /// The first second at which the key is valid, in RFC 3339 with `Z` and whole seconds. If absent, there is no lower
    /// bound.
    #[serde(default)]
    pub(super) not_before: Option<String>,
    /// The first second at which the key is no longer valid, in RFC 3339 with `Z` and whole seconds. If absent, there
    /// is no upper bound.
    #[serde(default)]
    pub(super) not_after: Option<String>,
}

/// A list of revocations, which postures refer to by name. When an approval was signed does not matter.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(title = "Revocations")]
pub(super) struct RevocationsDocument {
    #[serde(rename = "apiVersion")]
    pub(super) _api_version: ApiVersion,
    #[serde(rename = "kind")]
    pub(super) _kind: RevocationsKind,
    /// The list's name. In a ConfigMap the field may be absent, and the name is the ConfigMap's.
    #[serde(rename = "name", default)]
    pub(super) _name: Option<String>,
    /// Revoked approvals, by id.
    #[serde(default)]
    pub(super) approvals: Vec<ByFieldName<RevokedId>>,
    /// Revoked keys, by key id.
    #[serde(default)]
    pub(super) keys: Vec<ByFieldName<RevokedId>>,
    /// Revoked specs, by spec hash.
    #[serde(default)]
    pub(super) specs: Vec<ByFieldName<RevokedSpec>>,
}

/// A revoked approval or key.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RevokedId {
    /// The id of an approval (a version 7 UUID) or of a key (64 lower-case hexadecimal digits).
    pub(super) id: String,
    /// When the revocation begins, in RFC 3339 with `Z` and whole seconds. If absent, it applies at once.
    #[serde(default)]
    pub(super) at: Option<String>,
    /// The reason, for people.
    #[serde(default)]
    pub(super) why: Option<String>,
}

/// A revoked spec.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RevokedSpec {
    /// The spec hash: `sha256:` and 64 lower-case hexadecimal digits.
    pub(super) hash: String,
    /// When the revocation begins, in RFC 3339 with `Z` and whole seconds. If absent, it applies at once.
    #[serde(default)]
    pub(super) at: Option<String>,
    /// The reason, for people.
    #[serde(default)]
    pub(super) why: Option<String>,
}

/// A set of canonical builds, which postures refer to by name.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(title = "Pipelines")]
pub(super) struct PipelinesDocument {
    #[serde(rename = "apiVersion")]
    pub(super) _api_version: ApiVersion,
    #[serde(rename = "kind")]
    pub(super) _kind: PipelinesKind,
    /// The set's name. In a ConfigMap the field may be absent, and the name is the ConfigMap's.
    #[serde(rename = "name", default)]
    pub(super) _name: Option<String>,
    /// The builds, by pipeline and version.
    pub(super) pipelines: BTreeMap<String, BTreeMap<String, ByFieldName<BuildDocument>>>,
}

/// What one version of a pipeline was built into.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct BuildDocument {
    /// The only spec that may be deployed with this version: `sha256:` and 64 lower-case hexadecimal digits. If absent,
    /// any spec that runs the images may be.
    #[serde(default)]
    pub(super) spec_hash: Option<String>,
    /// The images, by digest (`…@sha256:…`).
    #[schemars(length(min = 1))]
    pub(super) images: Vec<String>,
}
