//! The request file: what an operator asks a reviewer to sign, in one file that can be sent by any way.
//!
//! Nothing in it is believed: it carries the objects themselves, so that whoever reviews it computes the hashes, asks the
//! posture and reads the diff anew, and what it claims beside them is compared. Written by `request`, read by `review`
//! and `approve`. It holds workloads alone: no Secret, no ConfigMap.

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

/// A request for one approval of all its workloads: of one environment, project and action.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct RequestFile {
    /// [`API_VERSION`]
    pub(crate) api_version: String,
    /// [`KIND`]
    pub(crate) kind: String,
    /// Who asks.
    pub(crate) requested_by: String,
    /// Why: a ticket, a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    /// When it was asked.
    pub(crate) requested_at: Timestamp,
    /// The posture's cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cluster: Option<String>,
    /// The namespaces' environment.
    pub(crate) environment: String,
    /// The namespaces' project.
    pub(crate) project: String,
    /// What would be done.
    pub(crate) action: Action,
    /// What is needed for all of it.
    pub(crate) capabilities: Vec<NeededCapability>,
    /// Whether the terms of an emergency are asked for.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) break_glass: bool,
    /// What needs the approval.
    pub(crate) workloads: Vec<RequestedWorkload>,
    /// What was in the manifests and needs none, for the reader: `Deployment payments/orders: nothing changes`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) not_needed: Vec<String>,
}

/// A capability that is needed, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct NeededCapability {
    /// `deploy.privileged`
    pub(crate) capability: String,
    /// The action itself, or the capability rules that match, each with what it matched on.
    pub(crate) because: Vec<String>,
}

impl NeededCapability {
    /// What is needed for all of `records`, each with its reason: the action's own, or the rules that matched.
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
        let own = match (posture.break_glass.as_ref().filter(|_| emergency), action) {
            (Some(rule), _) => Some((&rule.capabilities, "any emergency needs it".to_owned())),
            (None, Some(action)) => Some((&posture.rule(action).capabilities, format!("any {action} needs it"))),
            (None, None) => None,
        };
        for (capability, because) in own.iter().flat_map(|(own, why)| own.iter().map(move |one| (one, why))) {
            need(capability.as_str(), because.clone());
        }
        for rule in records.into_iter().flat_map(|record| &record.capability_rules) {
            let told = rule.message.as_ref().map(|message| format!(": {message}")).unwrap_or_default();
            for capability in &rule.require {
                need(capability, format!("rule {}{told}", rule.name));
            }
        }
        needed
    }
}

/// A workload that needs the approval.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct RequestedWorkload {
    /// Its namespace, which the object need not name.
    pub(crate) namespace: String,
    /// What the requester computed; whoever signs computes it anew.
    pub(crate) spec_hash: SpecHash,
    /// What would be applied, as it was read; absent in a request that was made from a denial alone. Then whoever reviews
    /// it needs the manifest from elsewhere, and it counts if it has this name and hash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) object: Option<Value>,
    /// `<group/version>/<kind>/<namespace>/<name>`, as an approval's subject has it.
    pub(crate) subject: String,
    /// What ran when it was asked, without status and managed fields; absent where nothing did, or no cluster was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) runs: Option<Value>,
}

impl RequestFile {
    /// Whether a document says that it is a request.
    pub(crate) fn is_one(document: &Value) -> bool {
        document.get("kind").and_then(Value::as_str) == Some(KIND)
    }

    /// Reads a request; the error says what was found and what was expected.
    pub(crate) fn read(document: Value) -> Result<Self, String> {
        let found = document.get("apiVersion").and_then(Value::as_str).unwrap_or_default();
        if found != API_VERSION {
            return Err(format!("it is a request of version {found:?}, expected {API_VERSION:?}"));
        }
        serde_json::from_value(document).map_err(|error| error.to_string())
    }

    /// The file's text: JSON, indented, since people read it too.
    pub(crate) fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("strings and numbers always serialise") + "\n"
    }
}
