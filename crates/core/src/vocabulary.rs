//! The names that Writgate gives to things in a cluster: labels, annotations, and the values of `writgate.dev/kind`.
//!
//! Each name and each list is here once. Other modules and other crates refer to it, so that a name cannot mean one
//! thing at admission and another on the command line.

/// The prefix of every label and annotation that means something to Writgate.
pub const DOMAIN: &str = "writgate.dev/";

/// The label of a Namespace that names its environment and makes it governed; of a config bundle, its environment.
pub const ENVIRONMENT_LABEL: &str = "writgate.dev/environment";
/// The label of a Namespace that names its project.
pub const PROJECT_LABEL: &str = "writgate.dev/project";
/// The label of a Job that makes it a replay: `execute` or `dry-run`.
pub const REPLAY_LABEL: &str = "writgate.dev/replay";

/// The label that says what a ConfigMap holds.
pub const KIND_LABEL: &str = "writgate.dev/kind";
/// The value of [`KIND_LABEL`] of a detached approval.
pub const APPROVAL_KIND: &str = "approval";
/// The value of [`KIND_LABEL`] of a posted request.
pub const REQUEST_KIND: &str = "request";
/// The value of [`KIND_LABEL`] of a rejection.
pub const REJECTION_KIND: &str = "rejection";
/// The value of [`KIND_LABEL`] of a config bundle.
pub const BUNDLE_KIND: &str = "config-bundle";

/// The annotation that holds an approval. Further approvals are in `writgate.dev/approval.<suffix>`.
pub const APPROVAL_ANNOTATION: &str = "writgate.dev/approval";
/// The annotation that names the ConfigMap of a detached approval.
pub const APPROVAL_REF: &str = "writgate.dev/approval-ref";
/// The key of a ConfigMap's `data` that holds a detached approval.
pub const APPROVAL_KEY: &str = "approval.json";
/// The key of a ConfigMap's `data` that holds a posted request.
pub const REQUEST_KEY: &str = "request.json";
/// The key of a ConfigMap's `data` that holds a rejection.
pub const REJECTION_KEY: &str = "rejection.json";
/// The annotation of an approval's ConfigMap that names the ConfigMap of its request.
pub const REQUEST_ANNOTATION: &str = "writgate.dev/request";

/// The pipeline version that an object was built from: `<pipeline>@<version>`.
pub const PIPELINE_VERSION: &str = "writgate.dev/pipeline-version";
/// The config bundle that an object runs with: `sha256:<hex>`.
pub const CONFIG_BUNDLE: &str = "writgate.dev/config-bundle";
/// The incident that a replay investigates.
pub const INCIDENT: &str = "writgate.dev/incident";
/// The spec hash of what ran during the incident: `sha256:<hex>`.
pub const INCIDENT_SPEC_HASH: &str = "writgate.dev/incident-spec-hash";
/// The environment that a replay reads from.
pub const SOURCE_ENVIRONMENT: &str = "writgate.dev/source-environment";
/// The digest of the artifact that a replay reads: `sha256:<hex>`.
pub const SOURCE_ARTIFACT: &str = "writgate.dev/source-artifact";

/// The annotations whose values an approval can bind. [`REPLAY_LABEL`] is bound as well.
pub const BOUND_ANNOTATIONS: [&str; 6] =
    [PIPELINE_VERSION, CONFIG_BUNDLE, INCIDENT, INCIDENT_SPEC_HASH, SOURCE_ENVIRONMENT, SOURCE_ARTIFACT];

/// Whether an annotation of this name holds an approval: [`APPROVAL_ANNOTATION`] itself, or with a suffix after a dot.
#[must_use]
pub fn is_approval(annotation: &str) -> bool {
    annotation.strip_prefix(APPROVAL_ANNOTATION).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_name_or_a_suffix_after_a_dot_holds_an_approval() {
        for name in ["writgate.dev/approval", "writgate.dev/approval.second", "writgate.dev/approval."] {
            assert!(is_approval(name), "{name}");
        }
        for name in ["writgate.dev/approval-ref", "writgate.dev/approvals", "writgate.dev/Approval", "approval"] {
            assert!(!is_approval(name), "{name}");
        }
    }

    #[test]
    fn every_name_is_in_the_domain() {
        for name in BOUND_ANNOTATIONS.iter().chain(&[APPROVAL_ANNOTATION, APPROVAL_REF, KIND_LABEL, REPLAY_LABEL]) {
            assert!(name.starts_with(DOMAIN), "{name}");
        }
    }
}
