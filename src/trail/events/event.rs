//! Renders a decision as an `events.k8s.io/v1` Event.
//!
//! The name is derived from the decision and its object, so the same decision creates one Event.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::core::ObjectMeta;
use sha2::{Digest, Sha256};
use writgate_cluster::event::{CONTROLLER, NOT_PERSISTED, RECORD_ANNOTATION};
use writgate_cluster::names;
use writgate_core::{
    encoding::hex,
    kube::WorkloadKind,
    record::{Basis, Decision, DecisionRecord, ObjectRecord, Outcome},
    text::{bounded, escape},
};

use crate::metrics::EventQueue;
use crate::trail::chain::Sealer;
use crate::trail::events::persisted::{StoredObject, Write};

/// The API's limit for `note`.
const MAX_NOTE: usize = 1024;
/// The API's limit for `reportingInstance`, `reason` and `action`.
const MAX_WORD: usize = 128;
/// The largest record in an Event, well below the API's 256 KiB for all annotations.
const MAX_RECORD: usize = 32 << 10;
/// The length of a signature in a record.
const SIGNATURE: usize = 192;
/// Hex digits of the digest in an Event's name: 128 bits.
const DIGEST_DIGITS: usize = 32;
/// The part of the object's name that fits into the Event's name.
pub(super) const MAX_PREFIX: usize = names::MAX_SUBDOMAIN - DIGEST_DIGITS - 1;

/// A decision, and the facts that its Event requires in addition.
#[derive(Clone, Debug)]
pub struct DecidedRequest {
    /// The decision.
    pub decision: Decision,
    /// The plural resource of the object, as in its URL.
    pub resource: String,
    /// The kind of workload, if the object is a workload.
    pub workload: Option<WorkloadKind>,
    /// The ConfigMap with the posture, if there is one.
    pub posture: Option<String>,
    /// The write that the request is, as its object's `managedFields` say.
    pub write: Option<Write>,
    /// The label that makes a Job a replay.
    pub replay: Option<String>,
}

/// What an Event reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventContent {
    /// The decision itself.
    Decision,
    /// The decision, whose object was seen as it was admitted.
    Persisted(StoredObject),
    /// The object was admitted and did not appear in the cluster. The text says what was found instead.
    NotPersisted(String),
}

impl DecidedRequest {
    /// Whether the decision has an Event. Admissions and denials in governed namespaces have one, and denials of guards. Dry
    /// runs have none.
    #[must_use]
    pub fn has_event(decision: &Decision) -> bool {
        let record = &decision.record;
        let has_namespace = record.object.as_ref().is_some_and(|object| names::is_label(event_namespace(object)));
        let governed = record.environment.as_ref().is_some_and(|environment| !environment.is_empty());
        // An admission's Event follows a read of the object, and objects that guards admit are not read.
        let is_reported = if record.change.is_some() { !decision.allowed() } else { governed };
        record.decision != Outcome::NotAnAction && !record.dry_run && is_reported && has_namespace
    }

    /// The queue of its Event. Neither denials nor connections leave an object that could be read back, so a caller can fake both.
    #[must_use]
    pub fn queue(&self) -> EventQueue {
        let record = &self.decision.record;
        match (self.decision.allowed(), &record.connection, record.basis) {
            (false, ..) => EventQueue::Denial,
            (true, Some(_), _) => EventQueue::Connection,
            (true, None, Some(Basis::BreakGlass)) => EventQueue::BreakGlass,
            (true, None, _) => EventQueue::Admission,
        }
    }

    /// Drops from the record what has no bound and is too large for an Event, as [`Self::record`] does, before it waits.
    pub(super) fn bound(&mut self) {
        let record = &mut self.decision.record;
        let Some(initiator) = &mut record.initiator else { return };
        if initiator.groups.iter().map(String::len).sum::<usize>() > MAX_RECORD {
            initiator.groups = vec!["…".to_owned()];
            (record.chain, record.signature) = (None, None);
        }
    }

    /// The first part of the Event's name: the object's name, so that a list sorted by name groups an object's Events.
    #[must_use]
    pub(super) fn name_prefix(&self) -> String {
        let object = self.decision.record.object.as_ref();
        let name = object.map_or("", |object| object.name.as_str());
        match name.get(..MAX_PREFIX).unwrap_or(name) {
            prefix if names::is_subdomain(name) => prefix.trim_end_matches(['-', '.']).to_owned(),
            _ => "writgate".to_owned(),
        }
    }

    /// The digest of everything that distinguishes the review. The uid of the AdmissionReview is left out, because one request
    /// can cause several.
    pub(super) fn review_digest(&self) -> String {
        self.digest(&EventContent::NotPersisted(String::new()))
    }

    /// The digest of everything that distinguishes the Event. If the object was seen, the user is left out: the API server does not
    /// confirm the user, so a review with another user name is not another admission.
    pub(super) fn digest(&self, content: &EventContent) -> String {
        let record = &self.decision.record;
        let uid = self.identity();
        let approvals = record.approvals.iter().map(|approval| approval.id.as_str());
        let user = record.initiator.as_ref().map(|initiator| initiator.username.clone()).unwrap_or_default();
        let parts = [
            // A user who sees the name of an Event must not know the name of an equal one elsewhere.
            record.object.as_ref().map(|object| object.namespace.clone()).unwrap_or_default(),
            uid,
            self.decision.generation.to_string(),
            record.spec_hash.map(|hash| hash.to_string()).unwrap_or_default(),
            if matches!(content, EventContent::Persisted(_)) { String::new() } else { user },
            approvals.collect::<Vec<_>>().join("\n"),
            record.decision.as_str().to_owned(),
            record.reasons.join("\n"),
            record.change.clone().unwrap_or_default(),
            matches!(content, EventContent::NotPersisted(_)).to_string(),
            // The time of a denied request is not that of its repetition.
            self.write.as_ref().filter(|_| self.decision.allowed()).map(ToString::to_string).unwrap_or_default(),
        ];
        let mut digest = Sha256::new();
        for part in parts {
            // The length first, so that no two lists of parts are the same text.
            digest.update((part.len() as u64).to_be_bytes());
            digest.update(part);
        }
        hex::encode(&digest.finalize().into())
    }

    /// What identifies the object. An object whose creation was denied has a different uid at the next attempt, so its name
    /// identifies it.
    fn identity(&self) -> String {
        let record = &self.decision.record;
        match &record.object {
            Some(object) if !self.decision.allowed() && record.operation.as_deref() == Some("CREATE") => {
                format!("{}/{}/{}", object.api_version, object.kind, object.name)
            }
            object => object.as_ref().and_then(|object| object.uid.clone()).unwrap_or_else(|| record.id.to_string()),
        }
    }

    fn reason(&self, content: &EventContent) -> &str {
        match content {
            EventContent::NotPersisted(_) => NOT_PERSISTED,
            _ if self.decision.allowed() && self.decision.record.connection.is_some() => "ConnectAdmitted",
            _ if self.decision.allowed() => match self.decision.record.basis {
                Some(Basis::Rollback) => "RollbackAdmitted",
                Some(Basis::BreakGlass) => "BreakGlassAdmitted",
                _ => "Admitted",
            },
            _ => self.decision.headline().map_or("Denied", |denial| denial.code()),
        }
    }

    fn note(&self, content: &EventContent) -> String {
        let mut note = match content {
            EventContent::NotPersisted(found) => format!(
                "{}, but the admitted object did not appear within 10 s: {found}; another webhook, a quota or a conflict \
                 may have stopped the request, or the object was changed or deleted at once",
                self.decision.summary()
            ),
            EventContent::Decision if self.decision.denials.is_empty() => self.admission(),
            EventContent::Decision => self.decision.message(),
            EventContent::Persisted(stored) if self.decision.denials.is_empty() => {
                format!("{}\n{stored}", self.admission())
            }
            EventContent::Persisted(stored) => format!("{stored}\n{}", self.decision.message()),
        };
        let claimed = self.decision.record.claimed_initiators();
        if !claimed.is_empty() {
            note = format!("{note}\nclaimed initiator (not verified): {claimed}");
        }
        bounded(&escape(&note), MAX_NOTE)
    }

    /// The text about an admission: its approvals and their reviewers.
    fn admission(&self) -> String {
        let record = &self.decision.record;
        let mut lines = vec![self.decision.summary()];
        if let (Some(connection), Some(initiator)) = (&record.connection, &record.initiator) {
            let container = connection.container.as_deref();
            let into = container.map(|name| format!(", into container {name}")).unwrap_or_default();
            lines.push(format!("by {}{into}", initiator.username));
        }
        for approval in &record.approvals {
            let reviewers = approval.reviewers.join(", ");
            let capabilities = approval.capabilities.join(", ");
            lines.push(format!(
                "approval {} by {reviewers} for {capabilities}, until {}",
                approval.id, approval.expires_at
            ));
        }
        if let Some(hash) = record.spec_hash {
            lines.push(format!("spec hash: {hash}"));
        }
        lines.join("\n")
    }

    /// The record as JSON. A record that is too large is written without the initiator's groups, which nothing else bounds,
    /// and without its place in the chain, which requires them. The log has the complete record.
    fn record(&self) -> Option<String> {
        let json = serde_json::to_string(&self.decision.record).ok()?;
        if json.len() + SIGNATURE <= MAX_RECORD {
            return Some(json);
        }
        let mut record = DecisionRecord { chain: None, signature: None, ..self.decision.record.clone() };
        if let Some(initiator) = &mut record.initiator {
            initiator.groups = vec!["…".to_owned()];
        }
        serde_json::to_string(&record).ok().filter(|json| json.len() <= MAX_RECORD)
    }
}

/// Signs the record in `event` by itself, since an Event has no seal. A record without a place in the chain is not signed.
pub(super) fn sign(event: &mut Event, sealer: &Sealer) {
    let Some(text) = event.metadata.annotations.as_mut().and_then(|all| all.get_mut(RECORD_ANNOTATION)) else { return };
    let Ok(mut record) = serde_json::from_str::<DecisionRecord>(text) else { return };
    if record.chain.is_none() {
        return;
    }
    sealer.sign(&mut record);
    if let Ok(signed) = serde_json::to_string(&record) {
        *text = signed;
    }
}

/// The name of an Event whose [prefix](DecidedRequest::name_prefix) and last part, in hexadecimal digits, are known.
pub(super) fn name(prefix: &str, tag: &str) -> String {
    format!("{prefix}.{}", tag.get(..DIGEST_DIGITS).unwrap_or(tag))
}

/// The namespace of an object's Events. The API server accepts Events of cluster-scoped objects in `default`.
fn event_namespace(object: &ObjectRecord) -> &str {
    if object.namespace.is_empty() { "default" } else { &object.namespace }
}

/// The replica that writes Events, and the namespace of the postures.
#[derive(Clone, Debug)]
pub struct Reporter {
    instance: String,
    system_namespace: String,
}

impl Reporter {
    /// The reporter of this replica.
    #[must_use]
    pub fn new(instance: &str, system_namespace: &str) -> Self {
        let instance = if instance.is_empty() { "writgate-webhook" } else { instance };
        Self { instance: bounded(&escape(instance), MAX_WORD), system_namespace: system_namespace.to_owned() }
    }

    /// The name of the replica.
    pub(super) fn instance(&self) -> &str {
        &self.instance
    }

    /// The Event that reports `content` about `decided`, without a name.
    #[must_use]
    pub fn event(&self, decided: &DecidedRequest, content: &EventContent) -> Event {
        let record = &decided.decision.record;
        let object = record.object.as_ref();
        let annotations = decided.record().map(|record| BTreeMap::from([(RECORD_ANNOTATION.to_owned(), record)]));
        let normal = !matches!(content, EventContent::NotPersisted(_))
            && decided.decision.allowed()
            && record.basis != Some(Basis::BreakGlass);
        Event {
            metadata: ObjectMeta {
                namespace: object.map(|object| event_namespace(object).to_owned()),
                annotations,
                ..ObjectMeta::default()
            },
            event_time: Some(MicroTime(record.time)),
            type_: Some(if normal { "Normal" } else { "Warning" }.to_owned()),
            reason: Some(bounded(decided.reason(content), MAX_WORD)),
            action: Some(bounded(action(record), MAX_WORD)),
            note: Some(decided.note(content)),
            regarding: object.map(|object| ObjectReference {
                api_version: Some(object.api_version.clone()),
                kind: Some(object.kind.clone()),
                namespace: (!object.namespace.is_empty()).then(|| object.namespace.clone()),
                name: Some(object.name.clone()),
                uid: object.uid.clone(),
                ..ObjectReference::default()
            }),
            related: decided.posture.as_ref().map(|name| ObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("ConfigMap".to_owned()),
                namespace: Some(self.system_namespace.clone()),
                name: Some(name.clone()),
                ..ObjectReference::default()
            }),
            reporting_controller: Some(CONTROLLER.to_owned()),
            reporting_instance: Some(self.instance.clone()),
            ..Event::default()
        }
    }
}

/// The requested action. The API requires a value.
fn action(record: &DecisionRecord) -> &str {
    if record.deed().is_empty() { "unknown" } else { record.deed() }
}

#[cfg(test)]
pub(super) mod tests;
