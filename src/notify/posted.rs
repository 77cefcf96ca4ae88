//! Notifications of posted requests, their approvals and their rejections.
//!
//! Whoever may write ConfigMaps in a namespace can write each of these. So everything that a notification says as a fact is
//! computed from the request's objects and the posture, and each signature is verified with the posture's keys. The requester and
//! their reason stay claims.

mod seen;

use std::iter;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, ApiResource, DynamicObject};
use kube::{Client, ResourceExt as _};
use serde_json::{Value, json};
use writgate_cluster::bounded_request;
use writgate_cluster::clock;
use writgate_cluster::config_map;
use writgate_cluster::live::{ClaimedApprovals, KINDS, UnsentRequest, attached};
use writgate_cluster::names;
use writgate_cluster::namespace::NamespaceLabels;
use writgate_core::{
    approval::{Approval, Envelope, PostedRequest, Rejection, RequestDigest, RequestedWorkload, Subject},
    decide::{SignatureProgress, VerifiedRejection},
    kube::default_forward,
    posture::{Posture, PostureSet, describe_quorum},
    record::{Decision, Outcome},
};

use crate::notify::notification::{Notification, NotificationType, Place, code, codes};
use crate::reaudit::Rules;
use crate::reaudit::decider::{Decider, NamespaceRules};
use crate::state::store::Store;

use self::seen::PostedKind;
pub(super) use self::seen::{SELECTOR, SeenConfigMap};

/// How long the API server may take for one request.
const ANSWER: Duration = Duration::from_secs(10);

/// Verifies posted requests, and what reviewers have written about them.
pub(super) struct PostedReader {
    client: Client,
    decider: Decider,
}

/// A governed namespace at one moment.
struct Governed {
    name: String,
    labels: NamespaceLabels,
    postures: Arc<PostureSet>,
    now: Timestamp,
}

impl Governed {
    /// The namespace of a ConfigMap now. `None`: it is not governed.
    fn of(seen: &SeenConfigMap, store: &Store) -> Option<Self> {
        let labels = store.namespace(&seen.namespace).filter(|labels| labels.environment.is_some())?;
        Some(Self { name: seen.namespace.clone(), labels, postures: store.postures(), now: clock::now() })
    }

    fn posture(&self) -> Option<&Posture> {
        self.postures.environment(self.labels.environment.as_deref()?).ok()
    }

    /// The rejection of `request`, if a reviewer has signed it.
    fn rejection<'s>(
        &self,
        read: &(Envelope, Rejection),
        request: &RequestDigest,
        subjects: impl Iterator<Item = &'s Subject>,
    ) -> Option<VerifiedRejection> {
        let project = self.labels.project.as_deref().unwrap_or_default();
        VerifiedRejection::of(read, self.posture()?, project, request, subjects, self.now)
    }

    fn place(&self) -> Place<'_> {
        Place {
            namespace: &self.name,
            environment: self.labels.environment.as_deref().unwrap_or_default(),
            project: self.labels.project.as_deref(),
        }
    }
}

/// What a ConfigMap says, as far as that can be checked without a request to the API server.
pub(super) enum Checked {
    Request(PostedRequest),
    /// A key of the posture has signed it.
    Approval(Envelope, Approval),
    /// A reviewer has signed it.
    Rejection((Envelope, Rejection)),
}

/// What was computed of one workload of a request.
struct Computed {
    subject: Subject,
    decision: Decision,
}

impl PostedReader {
    pub(super) fn new(client: Client, rules: Rules) -> Self {
        Self { decider: Decider::new(client.clone(), rules), client }
    }

    /// Checks the form, the name and the signature of a ConfigMap, without a request to the API server. `None`: there is nothing
    /// of which people are notified. Whoever may write ConfigMaps can write any number without a reviewer's signature.
    pub(super) fn check(&self, seen: &SeenConfigMap, store: &Store) -> Option<Checked> {
        let governed = Governed::of(seen, store)?;
        match seen.kind {
            PostedKind::Request => seen.posted().map(Checked::Request),
            PostedKind::Approval => {
                let digits = seen.request.as_deref()?.strip_prefix("request-")?;
                if !self.decider.rules.detached_approvals || seen.name.strip_prefix("approval-")? != digits {
                    return None;
                }
                let envelope = Envelope::parse(&seen.text).ok()?;
                let approval = Approval::parse(envelope.payload()).ok()?;
                governed.posture()?.is_signed(&envelope).then_some(Checked::Approval(envelope, approval))
            }
            PostedKind::Rejection => {
                let read = Rejection::read(&seen.text).ok()?;
                let request = &read.1.request;
                if seen.name != request.rejection_name(&seen.text) {
                    return None;
                }
                governed.rejection(&read, request, iter::empty())?;
                Some(Checked::Rejection(read))
            }
        }
    }

    /// Reads what `checked` is about. `None`: there is nothing of which people are notified. The error says why it could not be
    /// read now.
    pub(super) async fn read(
        &self,
        seen: &SeenConfigMap,
        checked: &Checked,
        store: &Store,
    ) -> Result<Option<Notification>, String> {
        let Some(governed) = Governed::of(seen, store) else { return Ok(None) };
        match checked {
            Checked::Request(request) => self.requested(&governed, seen, request).await.map(Some),
            Checked::Approval(envelope, approval) => self.approved(governed, seen, envelope, approval).await,
            Checked::Rejection(read) => self.rejected(&governed, seen, read).await,
        }
    }

    async fn requested(
        &self,
        governed: &Governed,
        seen: &SeenConfigMap,
        request: &PostedRequest,
    ) -> Result<Notification, String> {
        let (computed, left_out) = self.compute(governed, request, None).await?;
        let place = governed.place();
        let PostedRequest { digest, file } = request;
        let identity = [&*seen.namespace, &digest.to_string()];
        let subject = format!("{}/{}", seen.namespace, seen.name);
        let kind = NotificationType::Requested;
        let mut made = Notification::new(kind, &identity, seen.changed, &place, &subject)
            .fact("request", &seen.name)
            .fact("digest", &digest.to_string())
            .claim("requestedBy", &file.requested_by);
        let actions: Vec<_> = computed.iter().map(|one| one.decision.record.action).collect();
        let action = actions.first().copied().flatten().filter(|first| actions.iter().all(|one| *one == Some(*first)));
        let mut text = format!("An approval is requested{}: request {}", place.sentence_part(), code(&subject));
        if let Some(action) = action {
            made = made.fact("action", action.as_str());
            text = format!("{text}, {} of", code(action.as_str()));
        } else {
            text = format!("{text} for");
        }
        if !computed.is_empty() {
            made = made.fact_json("workloads", workloads(&computed));
            text = format!("{text} {}", codes(computed.iter().map(|one| one.subject.name.as_str())));
        }
        if !left_out.is_empty() {
            let names = || left_out.iter().map(|workload| workload.subject.as_str());
            made = made.claim("workloads", &names().collect::<Vec<_>>().join(", "));
            let and = if computed.is_empty() { "" } else { " and" };
            text = format!("{text}{and} what it calls {}, which could not be checked", codes(names()));
        }
        if let (Some(posture), Some(action)) = (governed.posture(), action) {
            let quorum = match &posture.break_glass {
                Some(rule) if file.break_glass => &rule.quorum,
                _ => &posture.rule(action).quorum,
            };
            made = made.fact("quorum", &describe_quorum(quorum));
        }
        text = format!("{text}. It claims to be by {}", code(&file.requested_by));
        if file.break_glass {
            made = made.claim("breakGlass", "true");
            text = format!("{text}, asks for break-glass");
        }
        if let Some(reason) = &file.reason {
            made = made.claim("reason", reason);
            text = format!("{text}, with the reason {}", code(reason));
        }
        // Both are names of Kubernetes, and the command must not be cut.
        let command = format!("kubectl writgate approve {} -n {}", seen.name, seen.namespace);
        Ok(made.say(&format!("{text}.")).say(&format!("Review it with `{command}`.")))
    }

    async fn approved(
        &self,
        mut governed: Governed,
        seen: &SeenConfigMap,
        envelope: &Envelope,
        approval: &Approval,
    ) -> Result<Option<Notification>, String> {
        let Some(name) = &seen.request else { return Ok(None) };
        // A reviewer's clock may be ahead.
        governed.now = governed.now.max(approval.not_before);
        let Some(request) = self.request(&seen.namespace, name).await? else { return Ok(None) };
        if request.digest.approval_name() != seen.name || request.file.requested_by != approval.requested_by {
            return Ok(None);
        }
        let (computed, left_out) = self.compute(&governed, &request, Some(&envelope.to_json())).await?;
        let Some(posture) = governed.posture().filter(|_| left_out.is_empty()) else { return Ok(None) };
        let decisions: Vec<Decision> = computed.iter().map(|one| one.decision.clone()).collect();
        let project = governed.labels.project.as_deref().unwrap_or_default();
        let Some(progress) = SignatureProgress::of(posture, project, envelope, &decisions, governed.now) else {
            return Ok(None);
        };
        let place = governed.place();
        let mut signers: Vec<&str> = progress.signed.iter().map(String::as_str).collect();
        let subject = format!("{}/{name}", seen.namespace);
        let quorum = describe_quorum(posture.quorum_of(approval));
        let text = match progress.missing {
            0 => format!(
                "Request {}{} is approved by {}, until {}.",
                code(&subject),
                place.sentence_part(),
                codes(signers.iter().copied()),
                approval.expires_at
            ),
            missing => format!(
                "Request {}{} is signed by {}. It requires {missing} more: the posture requires {}.",
                code(&subject),
                place.sentence_part(),
                codes(signers.iter().copied()),
                code(&quorum)
            ),
        };
        signers.sort_unstable();
        let digest = request.digest.to_string();
        let identity = [&[&*seen.namespace, &digest, &approval.id], &signers[..]].concat();
        Ok(Some(
            Notification::new(NotificationType::Approved, &identity, seen.changed, &place, &subject)
                .fact("request", name)
                .fact("digest", &digest)
                .fact("approval", &approval.id)
                .fact("expiresAt", &approval.expires_at.to_string())
                .facts("signedBy", progress.signed.iter().map(String::as_str))
                .fact_json("missing", progress.missing.into())
                .fact("quorum", &quorum)
                .fact_json("breakGlass", approval.break_glass.into())
                .fact_json("workloads", workloads(&computed))
                .say(&text),
        ))
    }

    async fn rejected(
        &self,
        governed: &Governed,
        seen: &SeenConfigMap,
        read: &(Envelope, Rejection),
    ) -> Result<Option<Notification>, String> {
        let (_, signed) = read;
        let request = self.request(&seen.namespace, &signed.request.request_name()).await?;
        let Some(request) = request.filter(|request| request.digest == signed.request) else { return Ok(None) };
        let (computed, left_out) = self.compute(governed, &request, None).await?;
        if !left_out.is_empty() {
            return Ok(None);
        }
        let rejection = governed.rejection(read, &request.digest, computed.iter().map(|one| &one.subject));
        let Some(VerifiedRejection { by, reason, at }) = rejection else { return Ok(None) };
        let place = governed.place();
        let name = request.digest.request_name();
        let subject = format!("{}/{name}", seen.namespace);
        let identity = [&*seen.namespace, &request.digest.to_string(), &by, &reason, &at.to_string()];
        let text = format!(
            "Request {}{} is rejected by {}, with the reason {}.",
            code(&subject),
            place.sentence_part(),
            code(&by),
            code(&reason)
        );
        Ok(Some(
            Notification::new(NotificationType::Rejected, &identity, seen.changed, &place, &subject)
                .fact("request", &name)
                .fact("digest", &request.digest.to_string())
                .fact("rejectedBy", &by)
                .fact("reason", &reason)
                .fact_json("workloads", workloads(&computed))
                .say(&text),
        ))
    }

    /// The posted request `name`. `None`: there is none that can be read.
    async fn request(&self, namespace: &str, name: &str) -> Result<Option<PostedRequest>, String> {
        if !names::is_label(namespace) || !names::is_subdomain(name) {
            return Ok(None);
        }
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), namespace);
        let found = bounded_request::send(ANSWER, api.get_opt(name)).await;
        let found = found.map_err(|error| format!("request {namespace}/{name} cannot be read: {error}"))?;
        Ok(found.as_ref().and_then(posted))
    }

    /// Decides about each workload of a request, with the approval `envelope` alone. Also returns the workloads that cannot be
    /// decided, or are not what the request calls them.
    async fn compute<'r>(
        &self,
        governed: &Governed,
        request: &'r PostedRequest,
        envelope: Option<&str>,
    ) -> Result<(Vec<Computed>, Vec<&'r RequestedWorkload>), String> {
        let (mut computed, mut left_out) = (Vec::new(), Vec::new());
        for workload in &request.file.workloads {
            match self.compute_one(governed, workload, &request.file.requested_by, envelope).await? {
                Some(one) => computed.push(one),
                None => left_out.push(workload),
            }
        }
        Ok((computed, left_out))
    }

    async fn compute_one(
        &self,
        governed: &Governed,
        workload: &RequestedWorkload,
        requested_by: &str,
        envelope: Option<&str>,
    ) -> Result<Option<Computed>, String> {
        let Some(object) = &workload.object else { return Ok(None) };
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let (api_version, kind_name, name) = (text("/apiVersion"), text("/kind"), text("/metadata/name"));
        let (generated, is_generated) = (text("/metadata/generateName"), name.is_empty());
        let in_subject = if is_generated { format!("{generated}*") } else { name.to_owned() };
        let subject = format!("{api_version}/{kind_name}/{}/{in_subject}", governed.name);
        let has_name = if is_generated { names::is_subdomain_prefix(generated) } else { names::is_subdomain(name) };
        if workload.subject != subject || !has_name {
            return Ok(None);
        }
        let further = self.decider.rules.further.iter().copied();
        let kind =
            KINDS.into_iter().chain(further).find(|one| one.api_version() == api_version && one.kind() == kind_name);
        let resource = match kind {
            Some(kind) => kind.resource(),
            None if (api_version, kind_name) == ("v1", "Pod") => "pods",
            None => return Ok(None),
        };
        let mut object = attached(object, envelope.as_slice());
        object["metadata"]["namespace"] = governed.name.as_str().into();
        if kind.is_some_and(|kind| default_forward(kind, &mut object).is_err()) {
            return Ok(None);
        }
        let live = match name {
            "" => None,
            name => self.live(governed, api_version, kind_name, resource, name).await?,
        };
        let none = ClaimedApprovals::default();
        let rules = NamespaceRules { labels: &governed.labels, postures: &governed.postures };
        let decide = |old_object: Option<&Value>| {
            let uid = clock::decision_id(governed.now).to_string();
            let request = UnsentRequest {
                uid: &uid,
                namespace: &governed.name,
                name,
                // With `separationOfDuties: proven`, it matters that the requester applies the change.
                user: requested_by,
                api_version,
                kind: kind_name,
                resource,
                old_object,
            };
            let review = request.review(&object);
            self.decider.with_config_maps(&governed.name, &none, move |answers| {
                Ok(self.decider.decide(&review, &rules, governed.now, answers))
            })
        };
        let mut decision = decide(live.as_ref()).await?;
        // The live object has the requested spec already.
        if live.is_some() && decision.record.decision == Outcome::NotAnAction {
            decision = decide(None).await?;
        }
        Ok(decision.record.spec_hash.map(|hash| Computed { subject: Subject { name: subject, hash }, decision }))
    }

    async fn live(
        &self,
        governed: &Governed,
        api_version: &str,
        kind: &str,
        resource: &str,
        name: &str,
    ) -> Result<Option<Value>, String> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let resource = ApiResource {
            group: group.to_owned(),
            version: version.to_owned(),
            api_version: api_version.to_owned(),
            kind: kind.to_owned(),
            plural: resource.to_owned(),
        };
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &governed.name, &resource);
        let found = bounded_request::send(ANSWER, api.get_opt(name)).await;
        let found = found.map_err(|error| format!("{kind} {}/{name} cannot be read: {error}", governed.name))?;
        let value = found.map(serde_json::to_value).transpose().map_err(|error| error.to_string())?;
        Ok(value.map(|mut value| {
            if let Some(fields) = value.as_object_mut() {
                fields.remove("status");
            }
            value
        }))
    }
}

/// The request that a ConfigMap of the API server holds, if it keeps the rules of one.
fn posted(object: &ConfigMap) -> Option<PostedRequest> {
    let content = config_map::content(object).ok()?;
    PostedRequest::of(&object.namespace()?, &object.name_any(), &content).ok()
}

fn workloads(computed: &[Computed]) -> Value {
    let one = |one: &Computed| json!({"subject": one.subject.name, "specHash": one.subject.hash.to_string()});
    computed.iter().map(one).collect::<Vec<_>>().into()
}

#[cfg(test)]
mod tests;
