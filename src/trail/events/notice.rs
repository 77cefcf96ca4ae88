//! Events that report no decision: what the holder of the [Lease](crate::lease) has found. They carry no record.

use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Client;
use kube::api::{Api, ObjectMeta, PostParams};
use writgate_cluster::event::CONTROLLER;
use writgate_cluster::{bounded_request, clock, names};
use writgate_core::text::{bounded, escape};

use crate::trail::events::event::{self, Reporter};
use crate::trail::ledger::Ledger;

/// How long the API server may take.
const ANSWER: Duration = Duration::from_secs(10);
/// The API's limit for `note`.
const MAX_NOTE: usize = 1024;

/// What an Event says.
pub struct Notice {
    /// The object that it is about.
    pub regarding: ObjectReference,
    /// The reason, in upper camel case.
    pub reason: &'static str,
    /// The API requires a value.
    pub action: &'static str,
    /// Whether the Event is a warning.
    pub is_warning: bool,
    /// The text. Text of others in it is escaped here.
    pub note: String,
    /// What the name stands for. Two notices with the same subject are one Event.
    pub subject: String,
}

/// Writes notices to the cluster. Cheap to clone.
#[derive(Clone)]
pub struct NoticeWriter {
    client: Client,
    reporter: Reporter,
    ledger: Ledger,
}

impl NoticeWriter {
    /// `ledger` has the key of the names, which nobody else can compute.
    #[must_use]
    pub fn new(client: Client, reporter: Reporter, ledger: Ledger) -> Self {
        Self { client, reporter, ledger }
    }

    /// Writes a notice. An Event that has its name already counts as this one. The error says why it was not written.
    ///
    /// # Errors
    ///
    /// Fails if the API server does not store the Event, or if the ledger has no key.
    pub async fn write(&self, notice: &Notice) -> Result<(), String> {
        let namespace = notice.regarding.namespace.as_deref().filter(|name| names::is_label(name)).unwrap_or("default");
        let prefix = notice.regarding.name.as_deref().filter(|name| names::is_subdomain(name)).unwrap_or("writgate");
        let prefix = prefix.get(..event::MAX_PREFIX).unwrap_or(prefix).trim_end_matches(['-', '.']);
        let tag = self.ledger.event_mac(&format!("notice/{}", notice.subject)).await?;
        let event = Event {
            metadata: ObjectMeta {
                name: Some(event::name(prefix, &tag)),
                namespace: Some(namespace.to_owned()),
                ..ObjectMeta::default()
            },
            event_time: Some(MicroTime(clock::now())),
            type_: Some(if notice.is_warning { "Warning" } else { "Normal" }.to_owned()),
            reason: Some(notice.reason.to_owned()),
            action: Some(notice.action.to_owned()),
            note: Some(bounded(&escape(&notice.note), MAX_NOTE)),
            regarding: Some(notice.regarding.clone()),
            reporting_controller: Some(CONTROLLER.to_owned()),
            reporting_instance: Some(self.reporter.instance().to_owned()),
            ..Event::default()
        };
        let events: Api<Event> = Api::namespaced(self.client.clone(), namespace);
        match bounded_request::send(ANSWER, events.create(&PostParams::default(), &event)).await {
            Ok(_) => Ok(()),
            Err(error) if error.status_code() == Some(409) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }
}
