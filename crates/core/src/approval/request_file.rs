//! The request file: what an operator asks a reviewer to sign, in one JSON document.
//!
//! The file is not trusted. It contains the objects, so that the reviewer's command computes the hashes, decides by the
//! posture and shows the changes itself, and compares the file's claims with the results. It contains only workloads,
//! never a Secret or a ConfigMap. `posted_request` says how a ConfigMap holds one.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    approval::{action::Action, spec_hash::SpecHash, statement::MAX_CLUSTERS},
    encoding::strict,
};

/// `apiVersion` of a request file.
pub const REQUEST_FILE_API_VERSION: &str = "writgate.dev/v1";
/// `kind` of a request file.
pub const REQUEST_FILE_KIND: &str = "ApprovalRequest";

/// A request for one approval of all its workloads, which share an environment, a project and an action.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RequestFile {
    /// [`REQUEST_FILE_API_VERSION`]
    pub api_version: String,
    /// [`REQUEST_FILE_KIND`]
    pub kind: String,
    /// The requester. In a posted request, the API user name of the user who created the ConfigMap.
    pub requested_by: String,
    /// The reason: a ticket or a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The time of the request.
    pub requested_at: Timestamp,
    /// The posture's cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// The clusters of a request for several, each once. Then `cluster` is absent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clusters: Vec<String>,
    /// The namespaces' environment.
    pub environment: String,
    /// The namespaces' project.
    pub project: String,
    /// The requested action.
    pub action: Action,
    /// The capabilities that all of the workloads require.
    pub capabilities: Vec<RequiredCapability>,
    /// Whether a break-glass approval is requested.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub break_glass: bool,
    /// The workloads that require the approval.
    pub workloads: Vec<RequestedWorkload>,
    /// Objects of the manifests that require no approval, for the reader: `Deployment payments/orders: nothing
    /// changes`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_needed: Vec<String>,
}

/// A required capability, and why it is required.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RequiredCapability {
    /// `deploy.privileged`
    pub capability: String,
    /// The action itself, or the capability rules that match, each with its message.
    pub because: Vec<String>,
}

/// A workload that requires the approval.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RequestedWorkload {
    /// Its namespace, which the object may leave out.
    pub namespace: String,
    /// The hash that the requester computed. The reviewer's command computes it again.
    pub spec_hash: SpecHash,
    /// The object that would be applied; absent in a request that was made from a denial alone. Then the reviewer adds
    /// the manifest, which must have this name and hash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<Value>,
    /// Whether the live object of this name will be deleted first, so that its creation requires an approval even if it
    /// has the same spec.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub recreate: bool,
    /// `<group/version>/<kind>/<namespace>/<name>`, as in an approval's subject.
    pub subject: String,
    /// The live object at the time of the request, without status and managed fields; absent if there was none, or no
    /// cluster was contacted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runs: Option<Value>,
}

/// Why a document is not a request file that this version reads.
#[derive(Debug, thiserror::Error)]
pub enum RequestFileError {
    /// The text is not strict JSON.
    #[error("it is {0}")]
    NotJson(String),
    /// The document has another `kind`.
    #[error("its kind is {0:?}, expected {REQUEST_FILE_KIND:?}")]
    OtherKind(String),
    /// The document has another `apiVersion`.
    #[error("its apiVersion is {0:?}, expected {REQUEST_FILE_API_VERSION:?}")]
    OtherVersion(String),
    /// The clusters are not those of one request.
    #[error("its clusters are not an array of 1 to {MAX_CLUSTERS} names, each once, without a member cluster")]
    Clusters,
    /// A member is missing, unknown or has another type.
    #[error(transparent)]
    Invalid(#[from] serde_json::Error),
}

impl RequestFile {
    /// Whether a document is a request file.
    #[must_use]
    pub fn is_one(document: &Value) -> bool {
        document.get("kind").and_then(Value::as_str) == Some(REQUEST_FILE_KIND)
    }

    /// Reads a request file.
    ///
    /// # Errors
    ///
    /// The `kind` or the `apiVersion` is another one, a member is missing, unknown or has another type, or the clusters are
    /// not those of one request.
    pub fn read(document: Value) -> Result<Self, RequestFileError> {
        let text = |member| document.get(member).and_then(Value::as_str).unwrap_or_default().to_owned();
        if !Self::is_one(&document) {
            return Err(RequestFileError::OtherKind(text("kind")));
        }
        let found = text("apiVersion");
        if found != REQUEST_FILE_API_VERSION {
            return Err(RequestFileError::OtherVersion(found));
        }
        let lists_clusters = document.get("clusters").is_some();
        let file: Self = serde_json::from_value(document)?;
        let distinct: BTreeSet<&String> = file.clusters.iter().collect();
        let is_valid = distinct.len() == file.clusters.len()
            && (1..=MAX_CLUSTERS).contains(&file.clusters.len())
            && file.cluster.is_none();
        if lists_clusters && !is_valid { Err(RequestFileError::Clusters) } else { Ok(file) }
    }

    /// Reads the text of a request file, which is strict JSON.
    ///
    /// # Errors
    ///
    /// The text is not strict JSON, or [`RequestFile::read`] fails.
    pub fn parse(text: &str) -> Result<Self, RequestFileError> {
        Self::read(strict::parse(text.as_bytes()).map_err(RequestFileError::NotJson)?)
    }

    /// The file's text: JSON, indented for readers. Strings and numbers always serialise.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }

    /// The file's text in a ConfigMap: JSON on one line, since its size is limited.
    #[must_use]
    pub fn to_compact_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Whether both request the same, whenever they were written and whatever they say for readers alone.
    #[must_use]
    pub fn requests_the_same(&self, other: &Self) -> bool {
        let without_notes = |file: &Self| {
            let mut file = Self { requested_at: Timestamp::UNIX_EPOCH, not_needed: Vec::new(), ..file.clone() };
            file.workloads.iter_mut().for_each(|workload| workload.runs = None);
            file
        };
        without_notes(self) == without_notes(other)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;

    /// A change and its description.
    type Change = (&'static str, fn(&mut Value));

    pub(crate) fn file() -> RequestFile {
        let object = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "orders"}, "spec": {}});
        RequestFile::read(json!({
            "apiVersion": "writgate.dev/v1", "kind": "ApprovalRequest", "requestedBy": "alice", "reason": "CHG-1234",
            "requestedAt": "2026-11-22T10:00:00Z", "cluster": "prod-eu-1", "environment": "production",
            "project": "payments", "action": "deploy",
            "capabilities": [{"capability": "deploy", "because": ["required by every deploy"]}],
            "workloads": [{"namespace": "payments", "specHash": format!("sha256:{}", "0".repeat(64)),
                "subject": "apps/v1/Deployment/payments/orders", "object": object}],
        }))
        .expect("a request file")
    }

    #[test]
    fn reads_what_it_writes() {
        let file = file();
        for text in [file.to_json(), file.to_compact_json()] {
            assert_eq!(RequestFile::parse(&text).expect("a request file"), file);
        }
    }

    #[test]
    fn refuses_a_file_with_one_thing_wrong() {
        let whole = serde_json::to_value(file()).expect("JSON");
        let changes: [Change; 7] = [
            ("kind", |v| v["kind"] = "Approval".into()),
            ("version", |v| v["apiVersion"] = "writgate.dev/v2".into()),
            ("unknown", |v| v["approved"] = true.into()),
            ("unknown in a workload", |v| v["workloads"][0]["approved"] = true.into()),
            ("action", |v| v["action"] = "everything".into()),
            ("hash", |v| v["workloads"][0]["specHash"] = "sha256:00".into()),
            ("no requester", |v| v["requestedBy"] = Value::Null),
        ];
        assert!(RequestFile::read(whole.clone()).is_ok());
        for (what, change) in changes {
            let mut value = whole.clone();
            change(&mut value);
            assert!(RequestFile::read(value).is_err(), "{what}");
        }
        let twice = file().to_compact_json().replacen('{', "{\"requestedBy\":\"bob\",", 1);
        assert!(RequestFile::parse(&twice).is_err_and(|why| why.to_string().contains("twice")));
    }

    #[test]
    fn a_request_may_be_for_several_clusters() {
        let of = |clusters: Value| {
            let mut value = serde_json::to_value(file()).expect("JSON");
            value.as_object_mut().expect("an object").remove("cluster");
            value["clusters"] = clusters;
            value
        };
        let several = of(json!(["prod-eu-1", "prod-us-1"]));
        let read = RequestFile::read(several.clone()).expect("a request file");
        assert_eq!(serde_json::to_value(&read).expect("JSON"), several);
        let many: Vec<String> = (0..65).map(|number| number.to_string()).collect();
        for wrong in [json!([]), json!(["a", "a"]), json!(["a", 1]), json!("a"), json!(many), Value::Null] {
            assert!(RequestFile::read(of(wrong.clone())).is_err(), "{wrong}");
        }
        let mut both = several;
        both["cluster"] = "prod-eu-1".into();
        assert!(RequestFile::read(both).is_err());
    }

    #[test]
    fn the_same_request_at_another_time_is_the_same() {
        let mut later = RequestFile { requested_at: Timestamp::MAX, not_needed: vec!["x".into()], ..file() };
        later.workloads[0].runs = Some(json!({}));
        assert!(file().requests_the_same(&later));
        later.reason = None;
        assert!(!file().requests_the_same(&later));
    }
}
