//! Creates one Event, and finds out what it means that its name is taken.
//!
//! The name ends with a MAC by the ledger's key. All replicas compute the same name, so a repeated denial finds its Event. A
//! tenant cannot compute it, so they cannot take the name before the webhook does. They can still read the name of an Event, wait
//! until the Event expires, and take the name then.

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use kube::Client;
use kube::api::{Api, PostParams};
use sha2::{Digest as _, Sha256};
use writgate_cluster::bounded_request::{self, RequestError};
use writgate_cluster::event::CONTROLLER;
use writgate_core::encoding::hex;

use crate::metrics::Metrics;
use crate::trail::chain::Sealer;
use crate::trail::events::event::{self, DecidedRequest, EventContent, Reporter};
use crate::trail::events::{ANSWER, series};
use crate::trail::ledger::Ledger;

/// Names that are tried. All but the last one are the same for every replica and every repetition.
const NAMES: u32 = 4;

/// An Event that is not created yet.
pub(super) struct NewEvent {
    /// The Event, with the name of the last attempt.
    pub(super) event: Event,
    prefix: String,
    /// The digest of what the Event reports.
    digest: String,
    /// The id of the decision.
    id: String,
    /// Whether a repetition is counted in the Event.
    has_series: bool,
    /// Names that somebody else's Events have.
    taken: u32,
    /// Whether the record in the Event has its signature.
    is_signed: bool,
}

/// How an attempt to create an Event ended.
pub(super) enum Attempt {
    /// The Event exists.
    Written,
    /// Another attempt with another name may succeed.
    NameTaken,
    /// Another attempt may succeed later.
    Failed(String),
    /// Every further attempt would fail.
    Refused(String),
}

impl NewEvent {
    pub(super) fn new(reporter: &Reporter, decided: &DecidedRequest, content: &EventContent) -> Self {
        Self {
            event: reporter.event(decided, content),
            prefix: decided.name_prefix(),
            digest: decided.digest(content),
            id: decided.decision.record.id.to_string(),
            has_series: !decided.decision.allowed() || decided.decision.record.connection.is_some(),
            taken: 0,
            is_signed: false,
        }
    }

    /// The id of the decision.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// What the name of the next attempt stands for.
    fn subject(&self) -> String {
        match self.taken {
            0 => self.digest.clone(),
            taken if taken + 1 < NAMES => format!("{}/{taken}", self.digest),
            _ => format!("{}/{}", self.digest, self.id),
        }
    }

    /// Whether `found`, which has the same name, reports the same. A denied creation has another uid at each attempt.
    fn is_reported_by(&self, found: &Event) -> bool {
        let about = |event: &Event| {
            let regarding = event.regarding.clone().unwrap_or_default();
            let ObjectReference { api_version, kind, namespace, name, .. } = regarding;
            (api_version, kind, namespace, name, event.reason.clone(), event.action.clone(), event.type_.clone())
        };
        // Only the webhook may write an Event of this reporter (policy events.writgate.dev).
        found.reporting_controller.as_deref() == Some(CONTROLLER) && about(found) == about(&self.event)
    }
}

/// Creates Events.
pub(super) struct EventCreator {
    pub(super) client: Client,
    pub(super) reporter: Reporter,
    pub(super) ledger: Ledger,
    pub(super) sealer: Sealer,
    pub(super) metrics: Metrics,
}

impl EventCreator {
    /// Sends the requests of one attempt to create `new`.
    pub(super) async fn attempt(&self, new: &mut NewEvent) -> Attempt {
        if !new.is_signed {
            // Here and not when the Event is queued, because a response waits for that.
            event::sign(&mut new.event, &self.sealer);
            new.is_signed = true;
        }
        let namespace = new.event.metadata.namespace.as_deref().unwrap_or_default();
        let events: Api<Event> = Api::namespaced(self.client.clone(), namespace);
        new.event.metadata.name = Some(event::name(&new.prefix, &self.tag(&new.subject()).await));
        match bounded_request::send(ANSWER, events.create(&PostParams::default(), &new.event)).await {
            Ok(_) => Attempt::Written,
            Err(error) if error.status_code() == Some(409) => self.conflict(&events, new).await,
            Err(error) => failed(&error),
        }
    }

    /// Reads the Event that has the name of `new`.
    async fn conflict(&self, events: &Api<Event>, new: &mut NewEvent) -> Attempt {
        let name = new.event.metadata.name.as_deref().unwrap_or_default();
        let found = match bounded_request::send(ANSWER, events.get_opt(name)).await {
            Ok(Some(found)) => found,
            Ok(None) => return Attempt::Failed("the Event of this name was deleted meanwhile".to_owned()),
            Err(error) => return failed(&error),
        };
        if new.is_reported_by(&found) {
            if new.has_series {
                series::add(events, &new.event).await;
            }
            return Attempt::Written;
        }
        self.metrics.event_names_taken.inc();
        let (namespace, reporter) = (found.metadata.namespace.as_deref(), found.reporting_controller.as_deref());
        tracing::warn!(namespace, name, reporter, decision = new.id, "another Event has the name of this one");
        new.taken += 1;
        if new.taken < NAMES {
            Attempt::NameTaken
        } else {
            Attempt::Refused(format!("other Events have all {NAMES} names of this one"))
        }
    }

    /// The last part of a name. Without the ledger's key it is a digest, which a tenant can compute: an Event that they can
    /// prevent is better than none.
    async fn tag(&self, subject: &str) -> String {
        self.ledger.event_mac(subject).await.unwrap_or_else(|why| {
            tracing::warn!(why, "the name of an Event is predictable, because the ledger has no key");
            hex::encode(&Sha256::digest(subject).into())
        })
    }
}

fn failed(error: &RequestError) -> Attempt {
    if error.is_retriable() { Attempt::Failed(error.to_string()) } else { Attempt::Refused(error.to_string()) }
}
