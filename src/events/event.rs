//! A decision as an `events.k8s.io/v1` Event: pure rendering.
//!
//! The name is a digest of what was decided of what, so that telling it twice creates one Event. When an Event is
//! written, and whether at all, is [`events`](super)'s.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::core::ObjectMeta;
use sha2::{Digest, Sha256};
use writgate_core::{Decision, Outcome};

use crate::metrics::Lane;
use crate::names;
use crate::text::{bounded, visible};

/// Who reports: the value of `reportingController` in every Event of ours.
pub const CONTROLLER: &str = "writgate.dev/webhook";
/// Annotation that holds the decision record.
pub const RECORD_ANNOTATION: &str = "writgate.dev/decision";

/// The API's bound on `note`.
const MAX_NOTE: usize = 1024;
/// The API's bound on `reportingInstance`, `reason` and `action`.
const MAX_WORD: usize = 128;
/// Bound on the record in an Event, so that its 256 KiB for all annotations are never reached.
const MAX_RECORD: usize = 32 << 10;
/// Hex digits of the digest in an Event's name: 128 bits.
const DIGEST_DIGITS: usize = 32;

/// A decision on its way to an Event.
#[derive(Clone, Debug)]
pub struct Decided {
    /// What was decided.
    pub decision: Decision,
    /// Plural resource of the object, as in the path of its URL.
    pub resource: String,
    /// The ConfigMap that holds the posture, where there is one.
    pub posture: Option<String>,
}

/// What there is to tell of a decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// The decision itself.
    Decided,
    /// The object was admitted, and did not appear; and what was seen instead.
    NotPersisted(String),
}

impl Decided {
    /// Whether an Event is due: for admissions and denials in governed namespaces, except of dry runs.
    #[must_use]
    pub fn is_told(decision: &Decision) -> bool {
        let record = &decision.record;
        let place = record.object.as_ref().is_some_and(|object| names::is_label(&object.namespace));
        record.decision != Outcome::NotAnAction && !record.dry_run && record.environment.is_some() && place
    }

    /// The queue it waits in.
    #[must_use]
    pub fn lane(&self) -> Lane {
        if self.decision.allowed() { Lane::Admission } else { Lane::Denial }
    }

    /// The Event's name: begins with the object's, so that a list sorted by name groups an object's Events.
    #[must_use]
    pub fn event_name(&self, told: &Told) -> String {
        let record = &self.decision.record;
        let object = record.object.as_ref();
        let name = object.map_or("", |object| object.name.as_str());
        let mut prefix = &name[..name.len().min(names::MAX_SUBDOMAIN - DIGEST_DIGITS - 1)];
        prefix = prefix.trim_end_matches(['-', '.']);
        if !names::is_subdomain(name) {
            prefix = "writgate";
        }
        format!("{prefix}.{}", &self.digest(told)[..DIGEST_DIGITS])
    }

    /// Of all that makes it another decision. The review's uid is not in it: one request can cause several.
    fn digest(&self, told: &Told) -> String {
        let record = &self.decision.record;
        let object = record.object.as_ref();
        let uid = object.and_then(|object| object.uid.clone()).unwrap_or_else(|| record.id.to_string());
        let approvals = record.approvals.iter().map(|approval| approval.id.as_str());
        let parts = [
            uid,
            self.decision.generation.to_string(),
            record.spec_hash.map(|hash| hash.to_string()).unwrap_or_default(),
            record.initiator.as_ref().map(|initiator| initiator.username.clone()).unwrap_or_default(),
            approvals.collect::<Vec<_>>().join("\n"),
            record.decision.as_str().to_owned(),
            record.reasons.join("\n"),
            matches!(told, Told::NotPersisted(_)).to_string(),
        ];
        let mut digest = Sha256::new();
        for part in parts {
            // The length first, so that no two lists of parts are the same text.
            digest.update((part.len() as u64).to_be_bytes());
            digest.update(part);
        }
        let mut hex = String::with_capacity(64);
        for byte in digest.finalize() {
            let _ = write!(hex, "{byte:02x}");
        }
        hex
    }

    fn reason(&self, told: &Told) -> &str {
        match told {
            Told::NotPersisted(_) => "NotPersisted",
            Told::Decided if self.decision.allowed() => "Admitted",
            Told::Decided => self.decision.headline().map_or("Denied", |denial| denial.code()),
        }
    }

    fn note(&self, told: &Told) -> String {
        let note = match told {
            Told::NotPersisted(seen) => format!(
                "{}, but the object did not appear ({seen}): another webhook, a quota or a conflict stopped it",
                self.decision.summary()
            ),
            Told::Decided if self.decision.denials.is_empty() => self.admission(),
            Told::Decided => self.decision.message(),
        };
        bounded(&visible(&note), MAX_NOTE)
    }

    /// What there is to say of an admission: by whose approval.
    fn admission(&self) -> String {
        let record = &self.decision.record;
        let mut lines = vec![self.decision.summary()];
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

    /// The record as JSON. One that is out of all bounds loses the initiator's groups, which nothing else bounds.
    fn record(&self) -> Option<String> {
        let json = serde_json::to_string(&self.decision.record).ok()?;
        if json.len() <= MAX_RECORD {
            return Some(json);
        }
        let mut record = self.decision.record.clone();
        if let Some(initiator) = &mut record.initiator {
            initiator.groups = vec!["…".to_owned()];
        }
        serde_json::to_string(&record).ok().filter(|json| json.len() <= MAX_RECORD)
    }
}

/// Who writes the Events, and where the postures are.
#[derive(Clone, Debug)]
pub struct Reporter {
    instance: String,
    system_namespace: String,
}

impl Reporter {
    /// This replica.
    #[must_use]
    pub fn new(instance: &str, system_namespace: &str) -> Self {
        let instance = if instance.is_empty() { "writgate-webhook" } else { instance };
        Self { instance: bounded(&visible(instance), MAX_WORD), system_namespace: system_namespace.to_owned() }
    }

    /// The Event that tells of `decided`.
    #[must_use]
    pub fn event(&self, decided: &Decided, told: &Told) -> Event {
        let record = &decided.decision.record;
        let object = record.object.as_ref();
        let annotations = decided.record().map(|record| BTreeMap::from([(RECORD_ANNOTATION.to_owned(), record)]));
        let normal = *told == Told::Decided && decided.decision.allowed();
        Event {
            metadata: ObjectMeta {
                name: Some(decided.event_name(told)),
                namespace: object.map(|object| object.namespace.clone()),
                annotations,
                ..ObjectMeta::default()
            },
            event_time: Some(MicroTime(record.time)),
            type_: Some(if normal { "Normal" } else { "Warning" }.to_owned()),
            reason: Some(bounded(decided.reason(told), MAX_WORD)),
            action: Some(record.action.map_or("unknown", |action| action.as_str()).to_owned()),
            note: Some(decided.note(told)),
            regarding: object.map(|object| ObjectReference {
                api_version: Some(object.api_version.clone()),
                kind: Some(object.kind.clone()),
                namespace: Some(object.namespace.clone()),
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
