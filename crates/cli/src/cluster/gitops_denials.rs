//! Denials that Flux and Argo CD report in the status of their objects. Both begin with a dry run, which leaves no Event, so their
//! status is the only place that says so.
//!
//! Whoever may write such a status chooses the text. A reported denial is a claim: it is shown, and no check reads it.

use std::collections::BTreeSet;

use jiff::Timestamp;
use kube::{
    Api, ResourceExt as _,
    api::{ApiResource, DynamicObject, ListParams, ObjectList},
};
use serde::Serialize;
use serde_json::Value;
use writgate_cluster::{
    bounded_request::{self, RequestError},
    client, names,
};
use writgate_core::{
    approval::{Action, SpecHash},
    record::Reason,
    text::bounded,
};

use crate::{
    cluster::{Cluster, event_reader::NamespaceScope},
    terminal::output::shown,
};

/// Objects of each kind that are read, at most.
const MAX_OBJECTS: u32 = 500;
/// Denials that are kept, at most. Each one costs a read of the live object.
const MAX_DENIALS: usize = 500;
/// Bytes of a message that are read: the limit that the API server sets for a condition. Argo CD's messages have no limit.
const MAX_MESSAGE: usize = 32_768;
/// The entries of the webhook configuration that deny workloads for lack of an approval.
const ENTRIES: [&str; 2] = ["workloads.writgate.dev", "wake-ups.writgate.dev"];

/// The denials that were found, and notes about those that were not read.
#[derive(Default)]
pub(crate) struct ReportedDenials {
    pub(crate) denials: Vec<ReportedDenial>,
    pub(crate) notes: Vec<String>,
}

/// One spec that the webhook has denied, according to a status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReportedDenial {
    pub(crate) kind: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) spec_hash: SpecHash,
    pub(crate) action: Option<Action>,
    pub(crate) environment: Option<String>,
    pub(crate) report: DenialReport,
}

/// Which object's status says so. Stable as JSON: other programs read it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DenialReport {
    /// `Kustomization`, `HelmRelease` or `Application`.
    pub(crate) kind: &'static str,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) since: Timestamp,
    /// The reason codes of the denial.
    pub(crate) reasons: Vec<String>,
}

impl DenialReport {
    /// `Kustomization flux-system/apps`
    pub(crate) fn source(&self) -> String {
        format!("{} {}/{}", self.kind, shown(&self.namespace), shown(&self.name))
    }
}

/// A kind whose status reports denials.
struct Tool {
    group: &'static str,
    kind: &'static str,
    plural: &'static str,
    /// The messages of a status that may contain denials, each with its time.
    messages: fn(&Value) -> Vec<(&str, &str)>,
}

const TOOLS: [Tool; 3] = [
    Tool {
        group: "kustomize.toolkit.fluxcd.io",
        kind: "Kustomization",
        plural: "kustomizations",
        messages: failed_conditions,
    },
    Tool { group: "helm.toolkit.fluxcd.io", kind: "HelmRelease", plural: "helmreleases", messages: failed_conditions },
    Tool { group: "argoproj.io", kind: "Application", plural: "applications", messages: failed_operation },
];

/// Reads the denials of workloads in `scope`. A tool that the cluster does not have costs no request.
pub(crate) fn list(cluster: &Cluster, scope: &NamespaceScope) -> ReportedDenials {
    let mut found = ReportedDenials::default();
    let groups = match ask(cluster, cluster.client.list_api_groups()) {
        Ok(groups) => groups.groups,
        Err(error) if error.status_code() == Some(404) => return found,
        Err(error) => {
            found
                .notes
                .push(format!("denials that Flux or Argo CD report are left out: {}", shown(&error.to_string())));
            return found;
        }
    };
    let (mut unread, mut elsewhere) = (Vec::new(), Vec::new());
    for tool in &TOOLS {
        let Some(group) = groups.iter().find(|group| group.name == tool.group) else { continue };
        let version = group.preferred_version.as_ref().or_else(|| group.versions.first());
        let Some(version) = version else { continue };
        let resource = client::api_resource(&version.group_version, tool.kind, tool.plural);
        match read(cluster, &resource, scope) {
            Ok((objects, is_everywhere)) => {
                if !is_everywhere {
                    elsewhere.push(tool.kind);
                }
                let is_cut = objects.metadata.continue_.as_ref().is_some_and(|token| !token.is_empty());
                if is_cut {
                    let left_out = objects.metadata.remaining_item_count.map(|count| format!(": {count} are left out"));
                    found.notes.push(format!(
                        "only the first {MAX_OBJECTS} objects of kind {} are read{}",
                        tool.kind,
                        left_out.unwrap_or_default()
                    ));
                }
                let in_scope = |denial: &ReportedDenial| match scope {
                    NamespaceScope::All => true,
                    NamespaceScope::Namespace(namespace) => denial.namespace == *namespace,
                };
                let denials = objects.items.iter().flat_map(|object| denials(tool, object));
                found.denials.extend(denials.filter(in_scope));
            }
            // The group has other kinds only.
            Err(error) if error.status_code() == Some(404) => {}
            Err(error) if error.status_code() == Some(403) => unread.push(tool.kind),
            Err(error) => found.notes.push(format!(
                "denials in the status of each {} are left out: {}",
                tool.kind,
                shown(&error.to_string())
            )),
        }
    }
    let permission = "you have no permission to list these";
    if !unread.is_empty() {
        let kinds = unread.join(", ");
        found.notes.push(format!("denials in the status of {kinds} are left out: {permission}"));
    }
    if let (false, NamespaceScope::Namespace(namespace)) = (elsewhere.is_empty(), scope) {
        let kinds = elsewhere.join(", ");
        found.notes.push(format!(
            "denials in the status of {kinds} are left out, except in namespace {namespace}: {permission} in all namespaces"
        ));
    }
    if found.denials.len() > MAX_DENIALS {
        found.notes.push(format!(
            "{} denials that Flux or Argo CD report are left out: at most {MAX_DENIALS} are shown",
            found.denials.len() - MAX_DENIALS
        ));
        found.denials.truncate(MAX_DENIALS);
    }
    found
}

fn ask<T>(cluster: &Cluster, question: impl Future<Output = Result<T, kube::Error>>) -> Result<T, RequestError> {
    cluster.run(bounded_request::send(cluster.patience, question))
}

/// The objects of all namespaces, because a tool's objects are seldom in the namespace of the workloads. Without the
/// permission, those of the namespace. Returns whether all namespaces were read.
fn read(
    cluster: &Cluster,
    resource: &ApiResource,
    scope: &NamespaceScope,
) -> Result<(ObjectList<DynamicObject>, bool), RequestError> {
    let params = ListParams::default().limit(MAX_OBJECTS);
    let everywhere: Api<DynamicObject> = Api::all_with(cluster.client.clone(), resource);
    match (ask(cluster, everywhere.list(&params)), scope) {
        (Err(error), NamespaceScope::Namespace(namespace)) if error.status_code() == Some(403) => {
            let one: Api<DynamicObject> = Api::namespaced_with(cluster.client.clone(), namespace, resource);
            Ok((ask(cluster, one.list(&params))?, false))
        }
        (read, _) => Ok((read?, true)),
    }
}

/// Each spec once that the object's status reports as denied.
fn denials(tool: &Tool, object: &DynamicObject) -> Vec<ReportedDenial> {
    let mut seen = BTreeSet::new();
    let mut denials = Vec::new();
    for (message, since) in (tool.messages)(&object.data["status"]) {
        let Ok(since) = since.parse() else { continue };
        let report = |reasons| DenialReport {
            kind: tool.kind,
            namespace: object.namespace().unwrap_or_default(),
            name: object.name_any(),
            since,
            reasons,
        };
        denials.extend(claims(message, report).filter(|denial| {
            seen.insert((denial.kind.clone(), denial.namespace.clone(), denial.name.clone(), denial.spec_hash))
        }));
    }
    denials
}

/// Flux: the conditions that say why the object is not ready. After a remediation, a HelmRelease's `Ready` is about that, and
/// `Released` has the denial.
fn failed_conditions(status: &Value) -> Vec<(&str, &str)> {
    let conditions = status["conditions"].as_array().into_iter().flatten();
    let failed = conditions.filter(|condition| {
        matches!(condition["type"].as_str(), Some("Ready" | "Released")) && condition["status"] == "False"
    });
    failed.filter_map(|one| Some((one["message"].as_str()?, one["lastTransitionTime"].as_str()?))).collect()
}

/// Argo CD: the last operation's message, and those of the objects that it has applied.
fn failed_operation(status: &Value) -> Vec<(&str, &str)> {
    let state = &status["operationState"];
    let phase = state["phase"].as_str().unwrap_or_default();
    let Some(since) = state["finishedAt"].as_str().or_else(|| state["startedAt"].as_str()) else { return Vec::new() };
    let whole = matches!(phase, "Failed" | "Error").then(|| state["message"].as_str()).flatten();
    // While Argo CD retries, the phase is `Running`, and the objects have the messages of the last attempt.
    let objects = state["syncResult"]["resources"].as_array().filter(|_| phase != "Succeeded").into_iter().flatten();
    whole.into_iter().chain(objects.filter_map(|one| one["message"].as_str())).map(|message| (message, since)).collect()
}

/// The webhook's denials in a message that an approval could resolve. The tools put a prefix in front of each, and join several.
fn claims(message: &str, report: impl Fn(Vec<String>) -> DenialReport) -> impl Iterator<Item = ReportedDenial> {
    let message = bounded(message, MAX_MESSAGE);
    let texts: Vec<String> = message
        .split("admission webhook \"")
        .skip(1)
        .filter_map(|text| text.split_once("\" denied the request: "))
        .filter(|(entry, _)| ENTRIES.contains(entry))
        .map(|(_, text)| text.to_owned())
        .collect();
    texts.into_iter().filter_map(move |text| claim(&text, &report))
}

/// Reads `Decision::message`. Every part must have the form that the webhook writes, so no other text reaches the reader.
fn claim(text: &str, report: impl Fn(Vec<String>) -> DenialReport) -> Option<ReportedDenial> {
    let mut lines = text.lines();
    let (what, codes) = lines.next()?.strip_prefix("denied ")?.rsplit_once(": ")?;
    let (what, environment) = what.split_once(" in ").map_or((what, None), |(what, name)| (what, Some(name)));
    let (action, object) = match what.strip_prefix('(').and_then(|rest| rest.split_once(") ")) {
        Some((action, object)) => (Some(Action::ALL.into_iter().find(|known| known.as_str() == action)?), object),
        None => (None, what),
    };
    let (kind, path) = object.split_once(' ')?;
    let (namespace, name) = path.split_once('/')?;
    let is_kind = kind.len() <= 63 && kind.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let is_object = is_kind && names::is_label(namespace) && names::is_subdomain(name);
    if !is_object || !environment.is_none_or(names::is_label) {
        return None;
    }
    let reasons: Vec<Reason> = codes.split(", ").map(Reason::from_code).collect::<Option<_>>()?;
    if !reasons.iter().copied().any(Reason::approval_helps) {
        return None;
    }
    // A forged text may repeat a code any number of times.
    let mut codes: Vec<String> = Vec::new();
    for code in reasons.iter().map(|reason| reason.code()) {
        if !codes.iter().any(|known| known == code) {
            codes.push(code.to_owned());
        }
    }
    Some(ReportedDenial {
        kind: kind.to_owned(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        spec_hash: lines.find_map(|line| line.strip_prefix("spec hash: "))?.parse().ok()?,
        action,
        environment: environment.map(str::to_owned),
        report: report(codes),
    })
}

#[cfg(test)]
mod tests;
