//! The spec hash: the digest of what would run, which an approval names.
//!
//! The hash is taken of raw JSON. Decoding into a typed struct would drop the fields that this build does not know, and
//! a dropped field would be an unapproved change. `projection` says which fields are covered.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::{
    approval::projection::Projection,
    encoding::canonical::{self, CanonicalError},
    encoding::hex,
    kube::defaults::{DefaultError, default_forward},
    kube::workload::WorkloadKind,
};

/// The SHA-256 digest of the canonical `{"apiVersion", "kind", "spec"}` of what would run. Its text is `sha256:` and 64
/// lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpecHash([u8; 32]);

impl SpecHash {
    /// The 64 lower-case hexadecimal digits, as an in-toto subject's digest has them.
    #[must_use]
    pub fn hex(&self) -> String {
        hex::encode(&self.0)
    }

    /// Parses 64 lower-case hexadecimal digits. `None` for anything else. Upper case is refused, so that a hash has one
    /// spelling.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        hex::decode(text).map(Self)
    }
}

impl fmt::Display for SpecHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl fmt::Debug for SpecHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not `sha256:` and 64 lower-case hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is not a spec hash: expected sha256: and 64 lower-case hexadecimal digits")]
pub struct SpecHashError {
    found: String,
}

impl FromStr for SpecHash {
    type Err = SpecHashError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.strip_prefix("sha256:")
            .and_then(Self::from_hex)
            .ok_or_else(|| SpecHashError { found: text.chars().take(80).collect() })
    }
}

impl Serialize for SpecHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SpecHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// The hash of a spec that the API server sent. `spec` is the raw JSON text of the object's `.spec`.
///
/// This function fills in no defaults, because the API server has filled them in before admission. For a manifest from
/// a file, use [`manifest_hash`].
///
/// # Errors
///
/// The spec has no canonical form.
pub fn spec_hash(kind: WorkloadKind, spec: &str) -> Result<SpecHash, CanonicalError> {
    #[cfg(test)]
    crate::work::count(crate::work::Work::SpecHash);
    let mut bytes = Vec::with_capacity(spec.len() + 64);
    // The three members are written in canonical order.
    bytes.extend_from_slice(b"{\"apiVersion\":\"");
    bytes.extend_from_slice(kind.api_version().as_bytes());
    bytes.extend_from_slice(b"\",\"kind\":\"");
    bytes.extend_from_slice(kind.kind().as_bytes());
    bytes.extend_from_slice(b"\",\"spec\":");
    canonical::append(&mut bytes, spec, Projection::of(kind))?;
    bytes.push(b'}');
    Ok(SpecHash(Sha256::digest(&bytes).into()))
}

/// The manifest has no hash.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestHashError {
    /// It is not a workload.
    #[error("{found} has no spec that runs something")]
    NotAWorkload {
        /// The manifest's API version and kind.
        found: String,
    },
    /// The API server would refuse it.
    #[error(transparent)]
    Default(#[from] DefaultError),
    /// The spec that the API server would store has no canonical form.
    #[error("spec: {0}")]
    Canonical(#[from] CanonicalError),
}

/// The hash that the spec of `manifest` will have at admission, after the API server has filled in its defaults.
///
/// # Errors
///
/// It is not a workload of Kubernetes' own, the API server would refuse it, or its spec has no canonical form.
pub fn manifest_hash(manifest: &Value) -> Result<(WorkloadKind, SpecHash), ManifestHashError> {
    let text = |field| manifest.get(field).and_then(Value::as_str).unwrap_or_default();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    let Some(workload) = WorkloadKind::from_gvk(api_version, kind) else {
        return Err(ManifestHashError::NotAWorkload { found: format!("{api_version} {kind}") });
    };
    Ok((workload, manifest_hash_as(workload, manifest)?))
}

/// The hash that the spec of `manifest`, an object of `kind`, will have at admission.
///
/// The defaults of a further kind are not known here. Its manifest must contain what its `CustomResourceDefinition`
/// would fill in.
///
/// # Errors
///
/// The API server would refuse the manifest, or its spec has no canonical form.
pub fn manifest_hash_as(kind: WorkloadKind, manifest: &Value) -> Result<SpecHash, ManifestHashError> {
    let mut object = manifest.clone();
    default_forward(kind, &mut object)?;
    let spec = object.get("spec").unwrap_or(&Value::Null).to_string();
    Ok(spec_hash(kind, &spec)?)
}

/// The canonical text of the part of a spec that the hash covers. Compare two to see where specs differ.
pub fn projected(kind: WorkloadKind, spec: &str) -> Result<Vec<u8>, CanonicalError> {
    let mut bytes = Vec::with_capacity(spec.len());
    canonical::append(&mut bytes, spec, Projection::of(kind))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEPLOYMENT: &str =
        r#"{"replicas":2,"template":{"metadata":{"labels":{"app":"a"}},"spec":{"containers":[{"name":"c"}]}}}"#;

    fn hash(kind: WorkloadKind, spec: &str) -> SpecHash {
        spec_hash(kind, spec).expect("a well-formed spec")
    }

    #[test]
    fn leaves_out_how_many_replicas_run_and_how_fast_they_roll_out() {
        let other = DEPLOYMENT.replace("\"replicas\":2", "\"replicas\":9,\"paused\":true,\"strategy\":{\"type\":\"Recreate\"},\"minReadySeconds\":3,\"progressDeadlineSeconds\":1,\"revisionHistoryLimit\":0");
        assert_eq!(hash(WorkloadKind::Deployment, DEPLOYMENT), hash(WorkloadKind::Deployment, &other));
    }

    #[test]
    fn kinds_with_one_spec_have_different_hashes() {
        assert_ne!(hash(WorkloadKind::Deployment, DEPLOYMENT), hash(WorkloadKind::ReplicaSet, DEPLOYMENT));
    }

    #[test]
    fn covers_the_update_strategy_of_a_stateful_set() {
        let other = DEPLOYMENT.replace("\"replicas\":2", "\"updateStrategy\":{\"rollingUpdate\":{\"partition\":1}}");
        assert_ne!(hash(WorkloadKind::StatefulSet, DEPLOYMENT), hash(WorkloadKind::StatefulSet, &other));
        assert_eq!(hash(WorkloadKind::DaemonSet, DEPLOYMENT), hash(WorkloadKind::DaemonSet, &other));
    }

    #[test]
    fn leaves_out_a_restart_only_if_it_is_a_time() {
        let with = |value: &str| {
            DEPLOYMENT.replace(
                "{\"labels\":",
                &format!("{{\"annotations\":{{\"kubectl.kubernetes.io/restartedAt\":\"{value}\"}},\"labels\":"),
            )
        };
        let plain = hash(WorkloadKind::Deployment, DEPLOYMENT);
        for time in [
            "2026-11-22T10:00:00Z",
            "2026-11-22T10:00:00+01:00",
            "2026-11-22T10:00:00-23:59",
            "2026-11-22T10:00:00.5Z",
            "2026-11-22T10:00:00.123Z",
            "2026-11-22T10:00:00.123+01:00",
            "2028-02-29T23:59:59Z",
        ] {
            assert_eq!(plain, hash(WorkloadKind::Deployment, &with(time)), "{time:?}");
        }
        for smuggled in [
            "2026-11-22T10:00:00.1234Z",
            "2026-11-22T10:00:00.Z",
            "2026-11-22T10:00:00,5Z",
            "2026-11-22T10:00:00",
            "2026-11-22T10:00:00.123",
            "2026-11-22T10:00:00z",
            "2026-11-22t10:00:00Z",
            "2026-11-22 10:00:00Z",
            "2026-11-22T10:00:00+0100",
            "2026-11-22T10:00:00+24:00",
            "2026-11-22T10:00:00ZZ",
            "2026-11-22T24:00:00Z",
            "2026-11-22T10:60:00Z",
            "2026-11-22T10:00:60Z",
            "2026-13-22T10:00:00Z",
            "2026-02-29T10:00:00Z",
            "2026-11-00T10:00:00Z",
            "+026-11-22T10:00:00Z",
            "run evil",
            "",
        ] {
            assert_ne!(plain, hash(WorkloadKind::Deployment, &with(smuggled)), "{smuggled:?}");
        }
    }

    #[test]
    fn refuses_a_text_that_stands_for_any_bytes() {
        let with = |text: &str| spec_hash(WorkloadKind::Deployment, &DEPLOYMENT.replace("\"c\"", text));
        for refused in ["\"a\u{fffd}\"", r#""\ufffd""#, r#""\uFFfD""#, "\"a\",\"\u{fffd}\":1"] {
            assert_eq!(with(refused), Err(CanonicalError::ReplacementCharacter), "{refused}");
        }
        for kept in ["\"a\u{fffc}\"", r#""\\ufffd""#, "\"\u{1f600}\""] {
            assert!(with(kept).is_ok(), "{kept}");
        }
        // What is left out is not hashed.
        let paused = DEPLOYMENT.replace("\"replicas\":2", "\"strategy\":{\"type\":\"\u{fffd}\"}");
        assert_eq!(hash(WorkloadKind::Deployment, &paused), hash(WorkloadKind::Deployment, DEPLOYMENT));
    }

    #[test]
    fn covers_the_selector() {
        let with = |selector: &str| DEPLOYMENT.replace("\"replicas\":2", &format!("\"selector\":{selector}"));
        for kind in [
            WorkloadKind::Deployment,
            WorkloadKind::ReplicaSet,
            WorkloadKind::DaemonSet,
            WorkloadKind::StatefulSet,
            WorkloadKind::ReplicationController,
        ] {
            let own = hash(kind, &with(r#"{"matchLabels":{"app":"a"}}"#));
            assert_ne!(own, hash(kind, &with(r#"{"matchLabels":{"app":"b"}}"#)), "{kind:?}");
            assert_ne!(own, hash(kind, &with(r#"{"matchLabels":{"app":"a"},"matchExpressions":[]}"#)), "{kind:?}");
        }
    }

    #[test]
    fn leaves_out_only_the_template_hash_of_a_replica_sets_selector() {
        let with = |selector: &str| DEPLOYMENT.replace("\"replicas\":2", &format!("\"selector\":{selector}"));
        let same = |kind, a: &str, b: &str| hash(kind, &with(a)) == hash(kind, &with(b));
        let generated = r#"{"matchLabels":{"pod-template-hash":"7979dcbbdc"}}"#;
        assert!(same(
            WorkloadKind::ReplicaSet,
            r#"{"matchLabels":{"app":"a"}}"#,
            r#"{"matchLabels":{"app":"a","pod-template-hash":"7979dcbbdc"}}"#
        ));
        assert!(same(WorkloadKind::ReplicaSet, "{}", generated));
        assert!(!same(WorkloadKind::ReplicaSet, "{}", r#"{"matchLabels":{}}"#));
        assert!(!same(WorkloadKind::ReplicaSet, "{}", r#"{"matchLabels":{"pod-template-hash":"7979dcbbdcc"}}"#));
        let expression = r#"{"matchExpressions":[{"key":"pod-template-hash","operator":"Exists"}]}"#;
        assert!(!same(WorkloadKind::ReplicaSet, "{}", expression));
        assert!(!same(WorkloadKind::Deployment, "{}", generated));
    }

    #[test]
    fn leaves_out_the_max_unavailable_of_a_stateful_set_only_if_it_is_the_default() {
        let with = |rolling: &str| {
            let strategy = format!("\"updateStrategy\":{{\"rollingUpdate\":{rolling}}}");
            hash(WorkloadKind::StatefulSet, &DEPLOYMENT.replace("\"replicas\":2", &strategy))
        };
        assert_eq!(with(r#"{"partition":0,"maxUnavailable":1}"#), with(r#"{"partition":0}"#));
        assert_eq!(with(r#"{"maxUnavailable":1}"#), with("{}"));
        for other in ["2", "\"1\"", "\"100%\"", "null", "10"] {
            let rolling = format!("{{\"partition\":0,\"maxUnavailable\":{other}}}");
            assert_ne!(with(&rolling), with(r#"{"partition":0}"#), "{other}");
        }
    }

    #[test]
    fn leaves_out_a_creation_timestamp_wherever_it_is_null() {
        let with = |claim: &str| {
            let claims = format!("\"volumeClaimTemplates\":[{claim}]");
            hash(WorkloadKind::StatefulSet, &DEPLOYMENT.replace("\"replicas\":2", &claims))
        };
        let plain = with(r#"{"metadata":{"name":"data"}}"#);
        assert_eq!(plain, with(r#"{"metadata":{"name":"data","creationTimestamp":null}}"#));
        assert_ne!(plain, with(r#"{"metadata":{"name":"data","creationTimestamp":"2026-11-22T10:00:00Z"}}"#));
        assert_ne!(plain, with(r#"{"metadata":{"name":"data","deletionTimestamp":null}}"#));
    }

    #[test]
    fn leaves_out_a_replica_sets_template_hash_only_in_the_controllers_form() {
        let with = |value: &str| {
            DEPLOYMENT.replace("\"app\":\"a\"", &format!("\"app\":\"a\",\"pod-template-hash\":\"{value}\""))
        };
        let plain = hash(WorkloadKind::ReplicaSet, DEPLOYMENT);
        assert_eq!(plain, hash(WorkloadKind::ReplicaSet, &with("7979dcbbdc")));
        assert_ne!(plain, hash(WorkloadKind::ReplicaSet, &with("7979dcbbdcc")));
        assert_ne!(plain, hash(WorkloadKind::ReplicaSet, &with("A")));
        assert_ne!(hash(WorkloadKind::Deployment, DEPLOYMENT), hash(WorkloadKind::Deployment, &with("7979dcbbdc")));
    }

    #[test]
    fn leaves_out_what_the_api_server_generates_for_a_job_unless_the_selector_is_manual() {
        let plain = r#"{"template":{"metadata":{},"spec":{}}}"#;
        let generated = r#"{"manualSelector":false,"suspend":true,"selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":{"controller-uid":"x","job-name":"y","batch.kubernetes.io/controller-uid":"x","batch.kubernetes.io/job-name":"y"}},"spec":{}}}"#;
        let manual = generated.replace("\"manualSelector\":false", "\"manualSelector\":true");
        assert_eq!(hash(WorkloadKind::Job, plain), hash(WorkloadKind::Job, generated));
        assert_ne!(hash(WorkloadKind::Job, plain), hash(WorkloadKind::Job, &manual));
        let cron = |job: &str| format!(r#"{{"schedule":"* * * * *","suspend":true,"jobTemplate":{{"spec":{job}}}}}"#);
        assert_eq!(hash(WorkloadKind::CronJob, &cron(plain)), hash(WorkloadKind::CronJob, &cron(generated)));
    }

    #[test]
    fn covers_labels_that_are_empty_in_the_text() {
        let empty = r#"{"template":{"metadata":{"labels":{}},"spec":{}}}"#;
        let absent = r#"{"template":{"metadata":{},"spec":{}}}"#;
        assert_ne!(hash(WorkloadKind::Job, empty), hash(WorkloadKind::Job, absent));
    }

    #[test]
    fn a_hash_has_one_spelling() {
        let hash = hash(WorkloadKind::Deployment, DEPLOYMENT);
        assert_eq!(hash.to_string().parse(), Ok(hash));
        assert!(hash.to_string().to_uppercase().parse::<SpecHash>().is_err());
        assert!(hash.hex().parse::<SpecHash>().is_err());
        assert_eq!(SpecHash::from_hex(&hash.hex()), Some(hash));
    }
}
