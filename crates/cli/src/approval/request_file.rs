//! The request file: what an operator asks a reviewer to sign, in one file that can be sent by any channel.
//!
//! The file is not trusted. It contains the objects, so that the reviewer's command computes the hashes, decides by the
//! posture and shows the changes itself, and compares the file's claims with the results. It contains only workloads,
//! never a Secret or a ConfigMap.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use writgate_core::{
    approval::{Action, SpecHash},
    posture::Posture,
    record::DecisionRecord,
};

/// `apiVersion` of the file.
pub(crate) const API_VERSION: &str = "writgate.dev/v1";
/// `kind` of the file.
pub(crate) const KIND: &str = "ApprovalRequest";

/// A request for one approval of all its workloads, which share an environment, a project and an action.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct RequestFile {
    /// [`API_VERSION`]
    pub(crate) api_version: String,
    /// [`KIND`]
    pub(crate) kind: String,
    /// The requester.
    pub(crate) requested_by: String,
    /// The reason: a ticket or a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    /// The time of the request.
    pub(crate) requested_at: Timestamp,
    /// The posture's cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cluster: Option<String>,
    /// The namespaces' environment.
    pub(crate) environment: String,
    /// The namespaces' project.
    pub(crate) project: String,
    /// The requested action.
    pub(crate) action: Action,
    /// The capabilities that all of the workloads require.
    pub(crate) capabilities: Vec<RequiredCapability>,
    /// Whether a break-glass approval is requested.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) break_glass: bool,
    /// The workloads that require the approval.
    pub(crate) workloads: Vec<RequestedWorkload>,
    /// Objects of the manifests that require no approval, for the reader: `Deployment payments/orders: nothing
    /// changes`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) not_needed: Vec<String>,
}

/// A required capability, and why it is required.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct RequiredCapability {
    /// `deploy.privileged`
    pub(crate) capability: String,
    /// The action itself, or the capability rules that match, each with its message.
    pub(crate) because: Vec<String>,
}

impl RequiredCapability {
    /// The capabilities that `records` require, each with its reason: the action, or the rules that match.
    pub(crate) fn of<'r>(
        posture: &Posture,
        action: Option<Action>,
        emergency: bool,
        records: impl IntoIterator<Item = &'r DecisionRecord>,
    ) -> Vec<Self> {
        let mut needed: Vec<Self> = Vec::new();
        let mut need =
            |capability: &str, because: String| match needed.iter_mut().find(|known| known.capability == capability) {
                Some(known) if known.because.contains(&because) => {}
                Some(known) => known.because.push(because),
                None => needed.push(Self { capability: capability.to_owned(), because: vec![because] }),
            };
        let own = match (&posture.break_glass, action) {
            (Some(rule), _) if emergency => {
                Some((&rule.capabilities, "required by every break-glass approval".to_owned()))
            }
            (_, Some(action)) => Some((&posture.rule(action).capabilities, format!("required by every {action}"))),
            (_, None) => None,
        };
        for (capability, because) in own.iter().flat_map(|(own, why)| own.iter().map(move |one| (one, why))) {
            need(capability.as_str(), because.clone());
        }
        for rule in records.into_iter().flat_map(|record| &record.capability_rules) {
            let why = rule.message.as_ref().map(|message| format!(": {message}")).unwrap_or_default();
            for capability in &rule.require {
                need(capability, format!("rule {}{why}", rule.name));
            }
        }
        needed
    }
}

/// A workload that requires the approval.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct RequestedWorkload {
    /// Its namespace, which the object may leave out.
    pub(crate) namespace: String,
    /// The hash that the requester computed. The reviewer's command computes it again.
    pub(crate) spec_hash: SpecHash,
    /// The object that would be applied; absent in a request that was made from a denial alone. Then the reviewer adds
    /// the manifest, which must have this name and hash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) object: Option<Value>,
    /// `<group/version>/<kind>/<namespace>/<name>`, as in an approval's subject.
    pub(crate) subject: String,
    /// The live object at the time of the request, without status and managed fields; absent if there was none, or no
    /// cluster was contacted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) runs: Option<Value>,
}

/// Why a document is not a request file that this version reads.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestFileError {
    #[error("its apiVersion is {0:?}, expected {API_VERSION:?}")]
    OtherVersion(String),
    #[error(transparent)]
    Invalid(#[from] serde_json::Error),
}

impl RequestFile {
    /// Whether a document is a request file.
    pub(crate) fn is_one(document: &Value) -> bool {
        document.get("kind").and_then(Value::as_str) == Some(KIND)
    }

    /// Reads a request file.
    pub(crate) fn read(document: Value) -> Result<Self, RequestFileError> {
        let found = document.get("apiVersion").and_then(Value::as_str).unwrap_or_default();
        if found != API_VERSION {
            return Err(RequestFileError::OtherVersion(found.to_owned()));
        }
        Ok(serde_json::from_value(document)?)
    }

    /// The file's text: JSON, indented for readers.
    pub(crate) fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("strings and numbers always serialise") + "\n"
    }
}
