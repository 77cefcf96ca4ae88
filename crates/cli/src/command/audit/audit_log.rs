//! One line of the API server's audit log (audit.k8s.io/v1), with the annotations that the webhook added.
//!
//! The API server records who, when, what and the response. The decision is in annotations whose names begin with the
//! name of the webhook that made it. The object's own annotations may look the same, and are never read.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashSet},
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use writgate_core::encoding::unescaped;

use crate::command::audit::row::{ObjectName, Required, Row};

/// `version` of a line in `-o json`, which is not a decision record.
const VERSION: &str = "writgate.dev/audited/v1";
/// The annotation that every decision has, after the webhook's name.
const DECISION: &str = ".writgate.dev/decision";
/// Stages with complete annotations. A long request has the first two.
const STAGES: [&str; 3] = ["ResponseStarted", "ResponseComplete", "Panic"];
/// Subresources that are connections. The API server ignores `dryRun` for them.
const CONNECTIONS: [&str; 4] = ["exec", "attach", "portforward", "proxy"];
/// Levels of an audit policy that log a request's body.
const WITH_BODY: [&str; 2] = ["Request", "RequestResponse"];
/// The annotation of a line from which the API server removed the bodies, because it was too long.
const TRUNCATED: &str = "audit.k8s.io/truncated";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    #[serde(borrow)]
    api_version: Cow<'a, str>,
    #[serde(borrow, default)]
    level: Cow<'a, str>,
    #[serde(borrow, rename = "auditID")]
    audit_id: Cow<'a, str>,
    #[serde(borrow)]
    stage: Cow<'a, str>,
    #[serde(borrow, default, rename = "requestURI")]
    request_uri: Cow<'a, str>,
    #[serde(borrow, default)]
    verb: Cow<'a, str>,
    user: User,
    impersonated_user: Option<User>,
    #[serde(default)]
    object_ref: ObjectRef,
    response_status: Option<ResponseStatus>,
    request_received_timestamp: Timestamp,
    #[serde(borrow, default)]
    annotations: BTreeMap<Cow<'a, str>, Cow<'a, str>>,
}

#[derive(Clone, Deserialize, Serialize)]
struct User {
    #[serde(default)]
    username: String,
    #[serde(default)]
    uid: String,
    #[serde(default)]
    groups: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ObjectRef {
    resource: String,
    namespace: String,
    name: String,
    api_group: String,
    api_version: String,
    subresource: String,
}

/// The body of a line.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    request_object: Option<DeleteOptions>,
}

/// The body of a DELETE (meta/v1).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DeleteOptions {
    #[serde(default)]
    dry_run: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct ResponseStatus {
    code: Option<i32>,
}

/// What the audit log says about a decision. Stable: other programs read it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AuditedRequest {
    version: &'static str,
    id: String,
    time: Timestamp,
    #[serde(rename = "auditID")]
    audit_id: String,
    /// `None`: the audit log does not say.
    dry_run: Option<bool>,
    initiator: User,
    impersonated_by: Option<String>,
    requested_by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    initiated_by: Option<String>,
    verb: String,
    action: Option<String>,
    object: AuditedObject,
    environment: Option<String>,
    project: Option<String>,
    approval_required: Option<bool>,
    required_capabilities: Vec<String>,
    approvals: Vec<String>,
    reviewers: Vec<String>,
    spec_hash: Option<String>,
    decision: String,
    basis: Option<String>,
    reasons: Vec<String>,
    posture_version: Option<String>,
    response_code: Option<i32>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AuditedObject {
    api_version: String,
    resource: String,
    subresource: Option<String>,
    namespace: String,
    name: String,
}

/// Reads an audit log, line by line.
#[derive(Default)]
pub(super) struct AuditLog {
    /// Decisions that were reported when the response began, and that appear again when it ends: open connections into
    /// Pods. By the decision's id, since a client may choose the audit id of a request (header `Audit-ID`) and repeat it.
    begun: HashSet<String>,
}

impl AuditLog {
    /// Whether a line may contain a decision, however it is escaped. Few do; other lines are not parsed.
    pub(super) fn may_tell(line: &[u8]) -> bool {
        memchr::memmem::find(&unescaped(line), DECISION.as_bytes()).is_some()
    }

    /// The decisions of one line: usually none or one, and several if several webhooks decided. `Err` says why a line
    /// with a decision cannot be read.
    pub(super) fn read(&mut self, json: &[u8]) -> Result<Vec<AuditedRequest>, String> {
        if !Self::may_tell(json) {
            return Ok(Vec::new());
        }
        let line: Line<'_> = serde_json::from_slice(json).map_err(|error| error.to_string())?;
        if line.api_version != "audit.k8s.io/v1" {
            return Err(format!("its apiVersion is {:?}, expected audit.k8s.io/v1", line.api_version));
        }
        let webhooks: Vec<&str> = line.annotations.keys().filter_map(|key| key.strip_suffix(DECISION)).collect();
        if webhooks.is_empty() || line.stage == "RequestReceived" {
            return Ok(Vec::new());
        }
        if !STAGES.contains(&&*line.stage) {
            return Err(format!("its stage is {:?}, expected one of {}", line.stage, STAGES.join(", ")));
        }
        let dry_run = is_dry_run(&line, json);
        let decisions = webhooks.into_iter().map(|webhook| audited(&line, webhook, dry_run));
        Ok(decisions.filter(|decision| self.is_first(&line.stage, &decision.id)).collect())
    }

    fn is_first(&mut self, stage: &str, id: &str) -> bool {
        if id.is_empty() {
            return true;
        }
        if stage == "ResponseStarted" { self.begun.insert(id.to_owned()) } else { !self.begun.remove(id) }
    }
}

/// `dry_run`: whether the request was a dry run, if the webhook did not write it.
fn audited(line: &Line<'_>, webhook: &str, dry_run: Option<bool>) -> AuditedRequest {
    let annotation =
        |key: &str| line.annotations.get(&*format!("{webhook}.writgate.dev/{key}")).map(ToString::to_string);
    // The webhook joins the values with commas. Only a person's name may contain one.
    let list = |key: &str| annotation(key).map_or(Vec::new(), |text| text.split(',').map(str::to_owned).collect());
    let object = &line.object_ref;
    let group = if object.api_group.is_empty() { String::new() } else { format!("{}/", object.api_group) };
    AuditedRequest {
        version: VERSION,
        id: annotation("decision-id").unwrap_or_default(),
        time: line.request_received_timestamp,
        audit_id: line.audit_id.to_string(),
        dry_run: annotation("dry-run").and_then(|text| text.parse().ok()).or(dry_run),
        // Webhooks, and therefore the record, see only the impersonated user.
        initiator: line.impersonated_user.as_ref().unwrap_or(&line.user).clone(),
        impersonated_by: line.impersonated_user.as_ref().map(|_| line.user.username.clone()),
        requested_by: annotation("requested-by"),
        initiated_by: annotation("initiated-by"),
        verb: line.verb.to_string(),
        action: annotation("action"),
        object: AuditedObject {
            api_version: format!("{group}{}", object.api_version),
            resource: object.resource.clone(),
            subresource: Some(object.subresource.clone()).filter(|name| !name.is_empty()),
            namespace: object.namespace.clone(),
            name: object.name.clone(),
        },
        environment: annotation("environment"),
        project: annotation("project"),
        approval_required: annotation("approval-required").and_then(|text| text.parse().ok()),
        required_capabilities: list("required-capabilities"),
        approvals: list("approvals"),
        reviewers: list("reviewers"),
        spec_hash: annotation("spec-hash"),
        decision: annotation("decision").unwrap_or_default(),
        basis: annotation("basis"),
        reasons: list("reasons"),
        posture_version: annotation("posture-version"),
        response_code: line.response_status.as_ref().and_then(|status| status.code),
    }
}

/// Whether the API server took the request for a dry run. It reads the query, except of a DELETE with a body, of which it
/// reads the body alone. `None`: the line does not say whether there was a body.
fn is_dry_run(line: &Line<'_>, json: &[u8]) -> Option<bool> {
    if CONNECTIONS.contains(&&*line.object_ref.subresource) {
        return Some(false);
    }
    let in_query = has_dry_run(&line.request_uri);
    if !matches!(&*line.verb, "delete" | "deletecollection") {
        return Some(in_query);
    }
    let Body { request_object } = serde_json::from_slice(json).ok()?;
    match request_object {
        Some(options) => Some(options.dry_run.is_some_and(|stages| !stages.is_empty())),
        None if !WITH_BODY.contains(&&*line.level) || line.annotations.contains_key(TRUNCATED) => None,
        None => Some(in_query),
    }
}

/// Whether the query has the parameter `dryRun`, as the API server reads it: decoded once, in this case, and with any
/// value. The API server refuses a request whose value is not `All`, before it asks a webhook.
fn has_dry_run(uri: &str) -> bool {
    let query = uri.split_once('?').map_or("", |(_, query)| query);
    let pairs = query.split('&').filter(|pair| is_read_by_go(pair));
    pairs.flat_map(|pair| form_urlencoded::parse(pair.as_bytes())).any(|(name, _)| name == "dryRun")
}

/// Whether Go's `url.ParseQuery` reads the parameter. It skips one with a semicolon or an incomplete escape.
fn is_read_by_go(pair: &str) -> bool {
    let is_escape = |escape: &str| escape.bytes().take(2).filter(u8::is_ascii_hexdigit).count() == 2;
    !pair.contains(';') && pair.split('%').skip(1).all(is_escape)
}

impl From<&AuditedRequest> for Row {
    fn from(audited: &AuditedRequest) -> Self {
        let own = |text: &Option<String>| text.clone().unwrap_or_default();
        let basis = audited.basis.clone().filter(|basis| matches!(&**basis, "break-glass" | "rollback"));
        let dry_run = match audited.dry_run {
            Some(dry_run) => dry_run.then(|| "dry run".to_owned()),
            None => Some("dry run?".to_owned()),
        };
        // Something else stopped the admitted request: another webhook, a quota, a conflict.
        let refused = audited.response_code.filter(|code| *code >= 400 && audited.decision == "admitted");
        let refused = refused.map(|code| format!("but answered {code}"));
        Self {
            context: String::new(),
            time: audited.time,
            id: audited.id.clone(),
            decision: audited.decision.clone(),
            remarks: [basis, dry_run, refused].into_iter().flatten().collect(),
            initiator: audited.initiator.username.clone(),
            impersonator: own(&audited.impersonated_by),
            requested_by: own(&audited.requested_by),
            claimed_initiators: own(&audited.initiated_by),
            operation: audited.verb.clone(),
            action: audited.action.clone().or_else(|| audited.object.subresource.clone()).unwrap_or_default(),
            object: ObjectName {
                api_version: audited.object.api_version.clone(),
                kind: audited.object.resource.clone(),
                namespace: audited.object.namespace.clone(),
                name: audited.object.name.clone(),
            },
            cluster: String::new(),
            environment: own(&audited.environment),
            project: own(&audited.project),
            required: audited.approval_required.map_or(Required::Unknown, |required| Required::of(Some(required))),
            approvals: audited.approvals.clone(),
            reviewers: audited.reviewers.clone(),
            capabilities: audited.required_capabilities.clone(),
            reasons: audited.reasons.clone(),
            times: None,
            basis: own(&audited.basis),
            enforcement: String::new(),
            spec_hash: own(&audited.spec_hash),
            posture_version: own(&audited.posture_version),
            verified: None,
        }
    }
}

#[cfg(test)]
mod tests;
