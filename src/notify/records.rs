//! Notifications of decisions, from the Events that all replicas write.
//!
//! An Event is not evidence: whoever may write Events can write one that looks like the webhook's. The record in it has a
//! signature, and the key of its writer is in a checkpoint in the system namespace, where no tenant can write. An Event without
//! a record that verifies is not sent.

use std::collections::HashMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::events::v1::Event;
use kube::api::Api;
use kube::{Client, ResourceExt as _};
use tokio::time::Instant;
use uuid::Uuid;
use writgate_cluster::bounded_request;
use writgate_cluster::checkpoint;
use writgate_cluster::clock;
use writgate_cluster::event::{CONTROLLER, NOT_PERSISTED, RECORD_ANNOTATION};
use writgate_core::approval::PublicKey;
use writgate_core::record::{Basis, ChainVerifier, Checkpoint, DecisionRecord, LineOutcome, Outcome, VerifiedLine};

use crate::notify::inbox::{Sighting, Waiting};
use crate::notify::notification::{Notification, NotificationType, Place, code, codes};

/// The field selector of the webhook's Events.
pub(super) const SELECTOR: &str = "reportingController=writgate.dev/webhook";
/// How long the API server may take.
const ANSWER: Duration = Duration::from_secs(10);
/// The largest record in an Event, with room for its signature.
const MAX_RECORD: usize = 48 << 10;
/// Keys of writers that are remembered.
const MAX_WRITERS: usize = 1000;
/// About the size of the other fields of an Event.
const FIELDS: usize = 512;
/// The reason of the Event of a break-glass admission.
const BREAK_GLASS: &str = "BreakGlassAdmitted";
/// How much later than its decision an Event may be created. Otherwise somebody repeats an old record.
const MAX_DELAY: SignedDuration = SignedDuration::from_mins(10);
/// How long the first checkpoint of a writer may take.
const PATIENCE: SignedDuration = SignedDuration::from_secs(30);
/// How long it is not looked for again.
const ABSENT: Duration = Duration::from_secs(1);
/// Events of one namespace that may wait for checkpoints.
const MAX_EARLY: usize = 16;
/// Why an Event is not sent that has waited, or may not wait.
pub(super) const NO_CHECKPOINT: &str = "its writer has no checkpoint";

/// What is kept of an Event.
pub(super) struct SeenEvent {
    pub(super) namespace: String,
    pub(super) created: Timestamp,
    /// Whether its reason is that of a break-glass admission.
    says_break_glass: bool,
    record: Box<str>,
}

impl Sighting for SeenEvent {
    type Object = Event;

    /// An Event changes only when its denial is repeated.
    fn version(_: &Event) -> &'static str {
        ""
    }

    fn of(event: Event) -> Option<Self> {
        if event.reporting_controller.as_deref() != Some(CONTROLLER) {
            return None;
        }
        let created = event.creation_timestamp()?.0;
        let namespace = event.namespace()?;
        let record = event.metadata.annotations.and_then(|mut all| all.remove(RECORD_ANNOTATION))?;
        // Whoever writes an Event chooses the length of its reason, so it is not kept.
        let reason = event.reason.unwrap_or_default();
        if OTHER_REASONS.contains(&&*reason) || record.len() > MAX_RECORD {
            return None;
        }
        Some(Self { namespace, created, says_break_glass: reason == BREAK_GLASS, record: record.into_boxed_str() })
    }

    fn time(&self) -> Timestamp {
        self.created
    }

    /// An old denial says that a later one is a repetition.
    fn matters_since(&self, from: Timestamp) -> bool {
        self.created >= from || !self.says_break_glass
    }

    fn size(&self) -> usize {
        FIELDS + self.record.len()
    }
}

/// Reasons of Events of which nobody is notified. Most Events have one of them.
const OTHER_REASONS: [&str; 4] = ["Admitted", "RollbackAdmitted", "ConnectAdmitted", NOT_PERSISTED];

/// What came of an Event.
#[derive(Debug)]
pub(super) enum Read {
    Notification(Box<Notification>),
    /// It is about something of which nobody is notified.
    Nothing,
    /// Its record does not verify; why.
    Unverified(NotificationType, &'static str),
    /// The writer of its record has no checkpoint yet. A new replica writes its first one within seconds.
    Early(NotificationType),
}

/// Events that are read again, because their writers have no checkpoint yet. The others do not wait for them.
#[derive(Default)]
pub(super) struct EarlyEvents(Vec<Waiting<SeenEvent>>);

impl EarlyEvents {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Keeps an Event, unless too many of its namespace wait: anybody can make up a writer. Returns whether it waits.
    pub(super) fn add(&mut self, event: Waiting<SeenEvent>) -> bool {
        let namespace = &event.sighting.namespace;
        let has_room = self.0.iter().filter(|other| other.sighting.namespace == *namespace).count() < MAX_EARLY;
        if has_room {
            self.0.push(event);
        }
        has_room
    }

    /// Those that wait. None waits then.
    pub(super) fn take(&mut self) -> Vec<Waiting<SeenEvent>> {
        std::mem::take(&mut self.0)
    }
}

/// Verifies records by the checkpoints of their writers.
pub(super) struct RecordReader {
    config_maps: Api<ConfigMap>,
    writers: HashMap<Uuid, (Checkpoint, PublicKey)>,
    /// When a writer had no checkpoint.
    absent: HashMap<Uuid, Instant>,
}

impl RecordReader {
    pub(super) fn new(client: Client, system_namespace: &str) -> Self {
        Self { config_maps: Api::namespaced(client, system_namespace), writers: HashMap::new(), absent: HashMap::new() }
    }

    /// Reads an Event. The error says why it could not be read now.
    pub(super) async fn read(&mut self, event: &SeenEvent) -> Result<Read, String> {
        // The claimed record says only whose key to read, and whether it is of interest.
        let Ok(claimed) = serde_json::from_str::<DecisionRecord>(&event.record) else { return Ok(Read::Nothing) };
        let Some(kind) = kind(&claimed, event.says_break_glass) else { return Ok(Read::Nothing) };
        let Some(link) = claimed.chain.filter(|_| claimed.signature.is_some()) else {
            return Ok(Read::Unverified(kind, "its record has no signature"));
        };
        let Some((checkpoint, key)) = self.writer(link.writer).await? else {
            if clock::now().duration_since(event.created) < PATIENCE {
                return Ok(Read::Early(kind));
            }
            return Ok(Read::Unverified(kind, NO_CHECKPOINT));
        };
        let Some(record) = verified(&event.record, &checkpoint, key) else {
            return Ok(Read::Unverified(kind, "its record does not verify"));
        };
        Ok(match notification(&record, event, kind) {
            Ok(notification) => Read::Notification(Box::new(notification)),
            Err(why) => Read::Unverified(kind, why),
        })
    }

    /// The checkpoint of a writer. `None`: there is none.
    async fn writer(&mut self, writer: Uuid) -> Result<Option<(Checkpoint, PublicKey)>, String> {
        if let Some(known) = self.writers.get(&writer) {
            return Ok(Some(known.clone()));
        }
        if self.absent.get(&writer).is_some_and(|since| since.elapsed() < ABSENT) {
            return Ok(None);
        }
        let name = format!("audit-{writer}");
        let found = bounded_request::send(ANSWER, self.config_maps.get_opt(&name)).await;
        let found = found.map_err(|error| format!("checkpoint {name} cannot be read: {error}"))?;
        let Some(checkpoint) = found.and_then(|found| checkpoint::in_config_map(&found).ok()) else {
            self.absent.retain(|_, since| since.elapsed() < ABSENT);
            self.absent.insert(writer, Instant::now());
            return Ok(None);
        };
        let Ok(key) = PublicKey::from_pem(&checkpoint.public_key) else { return Ok(None) };
        if self.writers.len() >= MAX_WRITERS {
            self.writers.clear();
        }
        self.writers.insert(writer, (checkpoint.clone(), key.clone()));
        Ok(Some((checkpoint, key)))
    }
}

/// The record in `text`, if the key of its writer has signed it.
fn verified(text: &str, checkpoint: &Checkpoint, key: PublicKey) -> Option<DecisionRecord> {
    let mut verifier = ChainVerifier::new([]).with_checkpoint(checkpoint, key);
    match verifier.add(text) {
        LineOutcome::Verified(VerifiedLine::Record(record)) => Some(record.into_record()),
        _ => None,
    }
}

/// Of what people are notified because of a decision. `says_break_glass`: whether the reason of its Event does. Nobody signs the
/// reason, so only the policy on Events prevents a copy with another one.
fn kind(record: &DecisionRecord, says_break_glass: bool) -> Option<NotificationType> {
    if record.dry_run {
        return None;
    }
    match (record.decision, record.basis) {
        (Outcome::Denied, _) => Some(NotificationType::Denied),
        // Another reason says that the object did not appear.
        (Outcome::Admitted, Some(Basis::BreakGlass)) if says_break_glass => Some(NotificationType::BreakGlass),
        _ => None,
    }
}

fn notification(
    record: &DecisionRecord,
    event: &SeenEvent,
    kind: NotificationType,
) -> Result<Notification, &'static str> {
    let object = record.object.as_ref().ok_or("its record names no object")?;
    let namespace = if object.namespace.is_empty() { "default" } else { &object.namespace };
    if namespace != event.namespace {
        return Err("its record is about another namespace");
    }
    if event.created.duration_since(record.time).abs() > MAX_DELAY {
        return Err("its record is older than the Event");
    }
    let place = Place {
        namespace: &object.namespace,
        environment: record.environment.as_deref().unwrap_or_default(),
        project: record.project.as_deref(),
    };
    let subject = object.subject();
    let decision = record.id.to_string();
    // Not the Event: whoever may write Events can copy one any number of times.
    let made = Notification::new(kind, &[&decision], event.created, &place, &subject)
        .fact("decision", &decision)
        .fact("object", &subject)
        .fact("request", record.deed());
    // The API server says who sent the request, and does not prove to the webhook that it is the API server.
    let user = record.initiator.as_ref().map(|initiator| initiator.username.as_str());
    let made = match user {
        Some(user) => made.claim("initiator", user),
        None => made,
    };
    let by = user.map(|user| format!(" The review names the user {}.", code(user))).unwrap_or_default();
    let what = format!("{} of {}{}", code(record.deed()), code(&subject), place.sentence_part());
    if kind != NotificationType::BreakGlass {
        let reasons = record.reasons.iter().map(String::as_str);
        let text = format!("Denied: {what}, because of {}.{by}", codes(reasons.clone()));
        return Ok(made.facts("reasons", reasons).say(&text));
    }
    let signers: Vec<&str> =
        record.approvals.iter().flat_map(|approval| &approval.reviewers).map(String::as_str).collect();
    let ids = record.approvals.iter().map(|approval| approval.id.as_str());
    let mut text = format!("Break-glass was used: {what}, signed by {}.{by}", codes(signers.iter().copied()));
    let mut made = made.facts("approvals", ids).facts("signedBy", signers.iter().copied());
    if let Some(reason) = record.approvals.iter().find_map(|approval| approval.reason.as_deref()) {
        text = format!("{text} The approval gives the reason {}.", code(reason));
        made = made.fact("approvalReason", reason);
    }
    Ok(made.say(&text))
}

#[cfg(test)]
mod tests;
