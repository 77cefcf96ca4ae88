//! The guards: who may change the objects that governance depends on.
//!
//! These are postures and the documents that they name, the labels that govern a namespace, config bundles, posted
//! requests and rejections, and metadata that is written through a status subresource, which the webhook does not check
//! otherwise. Each has its own entry in the webhook configuration, and its own file in this folder. No approval is required and no posture softens a guard:
//! what a guard denies would make later decisions wrong, or would open a namespace without a record.

mod bundles;
mod documents;
mod metadata;
mod namespaces;
mod requests;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;

pub use requests::{MAX_POSTED, PostedCounts, PostedRequests};

use crate::{
    decide::{
        driver::Step,
        facts::{Facts, Governance},
        verdict::{DecisionDraft, Verdict},
    },
    kube::config_map::ConfigMapContent,
    posture::PostureSet,
    record::{decision::Basis, denial::Denial},
    request::{
        admission_review::{Object, Operation, Request},
        change::unsupported_kind,
    },
};

/// What is known of the cluster when a guard decides.
#[derive(Clone, Copy, Debug)]
pub struct GuardContext<'a> {
    /// The namespace of postures and the documents that they name.
    pub system_namespace: &'a str,
    /// The postures of the documents there, each with the name of its ConfigMap. `Err` says why they are not known.
    pub postures: Result<&'a PostureSet, &'a str>,
    /// The governed namespaces, by environment.
    pub governed: &'a BTreeMap<String, Vec<String>>,
    /// The governance of the request's namespace; not used for objects in the system namespace.
    pub governance: Governance<'a>,
    /// The posted requests and rejections in the request's namespace.
    pub posted: PostedRequests<'a>,
}

/// Begins to decide a request that may change what governance depends on, and stops at the first lookup that the
/// decision depends on.
pub fn start<'a>(request: &'a Request<'a>, context: &GuardContext<'a>, facts: &Facts<'_>, now: Timestamp) -> Step<'a> {
    let draft = DecisionDraft::new(request, facts.decision_id, now);
    let api_version = request.kind.api_version();
    match (&*api_version, &*request.kind.kind, &*request.sub_resource) {
        _ if request.operation == Operation::Connect => unsupported(request, draft),
        ("v1", "Namespace", "" | "status" | "finalize") => namespaces::check(request, context, draft),
        ("v1", "ConfigMap", "") if request.namespace == context.system_namespace => {
            documents::check(request, *context, draft)
        }
        ("v1", "ConfigMap", "") if requests::concerns(request) => requests::check(request, context, draft),
        ("v1", "ConfigMap", "") => bundles::check(request, context, draft),
        (_, _, "status") => metadata::check(request, context, draft),
        _ => unsupported(request, draft),
    }
}

fn unsupported<'a>(request: &Request<'_>, draft: DecisionDraft) -> Step<'a> {
    draft.decided(verdict_of(vec![unsupported_kind(request)]))
}

/// The verdict on a change to what is guarded: admitted if no check failed.
fn verdict_of(denials: Vec<Denial>) -> Verdict {
    Verdict { denials, ..Verdict::admitted(Basis::Guard) }
}

/// What a ConfigMap holds. The error says what cannot be read.
fn content(object: &Object<'_>) -> Result<ConfigMapContent, String> {
    let labels = object.metadata.labels.iter().map(|(key, value)| (key.to_owned(), value.to_owned()));
    Ok(ConfigMapContent {
        labels: labels.collect(),
        immutable: read("immutable", object.immutable)?,
        data: read::<BTreeMap<_, _>>("data", object.data)?,
        binary_data: read::<BTreeMap<_, _>>("binaryData", object.binary_data)?,
    })
}

fn read<'a, T: Deserialize<'a> + Default>(field: &str, text: Option<&'a RawValue>) -> Result<T, String> {
    let Some(text) = text else { return Ok(T::default()) };
    serde_json::from_str(text.get()).map_err(|error| format!("its {field} cannot be read: {error}"))
}
