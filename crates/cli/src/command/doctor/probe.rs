//! Server-side dry runs that the webhook must deny, whoever sends them. They show that the API server reaches the webhook and
//! trusts its certificate, entry by entry. A dry run creates nothing, and the webhook writes no Event for it.

use serde_json::{Value, json};
use writgate_core::{
    approval::Action,
    posture::{ApprovalRule, Enforcement},
    vocabulary::{ENVIRONMENT_LABEL, KIND_LABEL, PROJECT_LABEL},
};

use super::{
    expected::CONFIGURATION,
    reader::{Reader, request},
    report::{Examination, Finding},
    scope::RESTORE,
    selector::Selector,
    static_manifests,
};
use crate::failure::Failure;

/// The entry for workloads.
pub(super) const WORKLOADS: &str = "workloads.writgate.dev";
const NAMESPACES: &str = "namespaces.writgate.dev";
const DOCUMENTS: &str = "documents.writgate.dev";
/// The entries that dry runs show.
pub(super) const ENTRIES: [&str; 3] = [NAMESPACES, DOCUMENTS, WORKLOADS];

/// An image that exists nowhere, named by digest so that no rule about images denies it first.
const IMAGE: &str =
    "registry.invalid/writgate-doctor@sha256:0000000000000000000000000000000000000000000000000000000000000000";

/// How the API server answered a dry run.
#[derive(Debug)]
pub(super) enum Answer {
    /// This entry's webhook denied the request; the text has its reason codes.
    Denied(String),
    Admitted,
    /// The API server could not call this entry's webhook.
    NotCalled(String),
    /// The user may not send the request.
    Forbidden(String),
    /// Something else refused the request.
    Refused(String),
    /// There is no answer.
    None(Failure),
}

/// One dry run and its answer.
#[derive(Debug)]
pub(super) struct Probe {
    pub(super) entry: &'static str,
    /// The object of the dry run.
    what: String,
    /// The reason code with which the webhook must deny it.
    code: &'static str,
    /// Whether the posture is known to enforce. The rules of other probes do not depend on a posture.
    is_enforced: bool,
    pub(super) answer: Answer,
}

/// All dry runs.
#[derive(Debug)]
pub(super) struct Probes {
    pub(super) sent: Vec<Probe>,
    /// Why no Deployment was tried.
    skipped: Option<String>,
}

impl Probes {
    pub(super) fn send(reader: &Reader<'_>) -> Self {
        let system = reader.system();
        let mut sent = vec![namespace(reader), document(reader, system)];
        let mut skipped = None;
        match governed_namespace(reader) {
            Ok((name, is_enforced)) => sent.push(deployment(reader, &name, is_enforced)),
            Err(why) => skipped = Some(why),
        }
        Self { sent, skipped }
    }
}

/// The namespace of the dry run of a Deployment, and whether its posture is known to deny an unapproved one; otherwise why
/// there is none.
fn governed_namespace(reader: &Reader<'_>) -> Result<(String, bool), String> {
    let enforces = |environment: &str| {
        let posture = reader.postures().ok()?.environment(environment).ok()?;
        let rule = posture.rule(Action::Deploy);
        Some(rule.approval == ApprovalRule::Required && rule.enforcement == Enforcement::Enforce)
    };
    let namespaces = reader.namespaces();
    if let Some(name) = reader.namespace {
        let labels = namespaces.ok().and_then(|all| all.iter().find(|namespace| namespace.name == name));
        let environment = labels.and_then(super::scope::NamespaceEntry::environment);
        return Ok((name.to_owned(), environment.and_then(enforces).unwrap_or_default()));
    }
    let namespaces = namespaces.map_err(ToString::to_string)?;
    reader.postures().map_err(ToString::to_string)?;
    let checked = checked_namespaces(reader);
    let mut governed = namespaces.iter().filter(|namespace| checked.selects(&namespace.labels));
    let found = governed.find(|namespace| namespace.environment().and_then(enforces) == Some(true));
    found
        .map(|namespace| (namespace.name.clone(), true))
        .ok_or_else(|| "no namespace is governed by a posture that enforces".to_owned())
}

/// The namespaces whose workloads the chart's configuration sends to the webhook.
pub(super) fn checked_namespaces(reader: &Reader<'_>) -> Selector {
    let configuration = reader.expected.object("ValidatingWebhookConfiguration", CONFIGURATION);
    let entry = super::configuration::entries(configuration).find(|entry| entry["name"] == WORKLOADS);
    entry.map(|entry| Selector::of(&entry["namespaceSelector"])).unwrap_or_default()
}

fn namespace(reader: &Reader<'_>) -> Probe {
    let body = json!({"apiVersion": "v1", "kind": "Namespace",
        "metadata": {"generateName": "writgate-doctor-", "labels": {ENVIRONMENT_LABEL: "doctor"}}});
    let what = format!("a Namespace with the label {ENVIRONMENT_LABEL} and without {PROJECT_LABEL}");
    let answer = ask(reader, NAMESPACES, "/api/v1/namespaces", &body);
    Probe { entry: NAMESPACES, what, code: "GovernanceInvalid", is_enforced: true, answer }
}

fn document(reader: &Reader<'_>, system: &str) -> Probe {
    let body = json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"generateName": "writgate-doctor-", "namespace": system, "labels": {KIND_LABEL: "posture"}},
        "data": {"posture.yaml": "doctor: true\n"}});
    let what = format!("an invalid posture in namespace {system}");
    let answer = ask(reader, DOCUMENTS, &format!("/api/v1/namespaces/{system}/configmaps"), &body);
    Probe { entry: DOCUMENTS, what, code: "PostureInvalid", is_enforced: true, answer }
}

fn deployment(reader: &Reader<'_>, namespace: &str, is_enforced: bool) -> Probe {
    let labels = json!({"app": "writgate-doctor"});
    let body = json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"generateName": "writgate-doctor-", "namespace": namespace},
        "spec": {"replicas": 0, "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "doctor", "image": IMAGE}]}}}});
    let what = format!("a Deployment without an approval in namespace {namespace}");
    let answer = ask(reader, WORKLOADS, &format!("/apis/apps/v1/namespaces/{namespace}/deployments"), &body);
    Probe { entry: WORKLOADS, what, code: "ApprovalRequired", is_enforced, answer }
}

pub(super) fn ask(reader: &Reader<'_>, entry: &str, path: &str, body: &Value) -> Answer {
    let path = format!("{path}?dryRun=All&fieldManager=kubectl-writgate-doctor");
    let asked = reader.cluster.ask("send a dry run", async {
        match reader.cluster.client.request::<Value>(request("POST", &path, Some(body))).await {
            Ok(_) => Ok(Ok(())),
            Err(kube::Error::Api(status)) => Ok(Err(status)),
            Err(error) => Err(error),
        }
    });
    match asked {
        Err(failure) => Answer::None(failure),
        Ok(Ok(())) => Answer::Admitted,
        Ok(Err(status)) => {
            let message = status.message;
            let denied = format!("admission webhook \"{entry}\" denied the request: ");
            let called = format!("failed calling webhook \"{entry}\": ");
            let after = |prefix: &str| message.split_once(prefix).map(|(_, rest)| rest.to_owned());
            if let Some(why) = after(&denied) {
                Answer::Denied(why)
            } else if let Some(why) = after(&called) {
                Answer::NotCalled(why)
            } else if status.code == 403 && message.contains("cannot create resource") {
                Answer::Forbidden(message)
            } else {
                Answer::Refused(message)
            }
        }
    }
}

pub(super) fn examine(reader: &Reader<'_>) -> Examination {
    let Probes { sent, skipped } = reader.probes();
    let restore = if reader.has_static_manifests() { static_manifests::RESTORE } else { RESTORE };
    let findings: Vec<Finding> = sent.iter().filter_map(|probe| probe.finding(restore)).collect();
    let denied: Vec<&str> = sent.iter().map(|probe| probe.what.as_str()).collect();
    let mut summary = format!("the webhook denied {}", denied.join("; "));
    if let Some(why) = skipped {
        summary = format!("{summary}; no Deployment was tried: {why}");
    }
    Examination::new(summary, findings)
}

impl Probe {
    fn finding(&self, restore: &str) -> Option<Finding> {
        let Self { entry, what, code, is_enforced, answer } = self;
        match answer {
            Answer::Denied(why) if why.lines().any(|line| line.starts_with(&format!("{code}:"))) => None,
            Answer::Denied(why) => {
                let reason = why.lines().find(|line| !line.starts_with(char::is_lowercase) && line.contains(": "));
                let found = reason.and_then(|line| line.split(':').next()).unwrap_or("no reason code");
                Some(Finding::failed(
                    format!("the webhook denied {what} with {found}, expected {code}"),
                    format!("see what it means: kubectl writgate explain {found}"),
                ))
            }
            Answer::Admitted if *is_enforced => Some(Finding::failed(
                format!("the API server admitted {what}; it did not call {entry}, or another server answered"),
                restore,
            )),
            Answer::Admitted => Some(Finding::unknown(
                format!("the API server admitted {what}, and whether its posture enforces could not be read"),
                "pass a namespace whose posture enforces, or run doctor as a user who may read postures and namespaces",
            )),
            Answer::NotCalled(why) => {
                Some(Finding::failed(format!("the API server could not call {entry}: {why}"), remedy(why)))
            }
            Answer::Forbidden(why) => Some(Finding::unknown(
                format!("RBAC denied {what}: {why}"),
                "run doctor as a user who may create it, or pass a namespace where you may: -n NAMESPACE",
            )),
            Answer::Refused(why) => Some(Finding::unknown(
                format!("something else than the webhook refused {what}: {why}"),
                "pass another namespace with -n, or see which admission plugin refused it",
            )),
            Answer::None(failure) => Some(failure.clone().into()),
        }
    }
}

/// What to do about a call that failed. The words are those of Go's TLS and of the API server.
fn remedy(why: &str) -> &'static str {
    if is_about_certificates(why) {
        "correct caBundle or the serving certificate; `kubectl writgate doctor --only ca-bundle,certificate` says which"
    } else if why.contains("no endpoints available") || why.contains("not found") {
        "see why no Pod is ready; `kubectl writgate doctor --only service,pods` says what was found"
    } else {
        "make sure that the API server reaches the webhook's port: see its NetworkPolicy, firewall and Pods"
    }
}

/// Whether a call failed because the API server does not trust the webhook.
pub(super) fn is_about_certificates(why: &str) -> bool {
    why.contains("x509: ")
        || why.contains("tls: failed to verify certificate")
        || why.contains("unable to load root certificates")
}
