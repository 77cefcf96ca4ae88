//! The Events that the webhook writes in the cluster, listed page by page, and watched.
//!
//! Events expire after an hour and are not evidence; the webhook's log is.

use std::collections::HashSet;

use futures::StreamExt as _;
use jiff::Timestamp;
use k8s_openapi::api::events::v1::Event;
use kube::{
    Api, ResourceExt as _,
    api::{ListParams, WatchEvent, WatchParams},
};
use writgate_cluster::{
    client::why,
    event::{CANARY_ACTION, CONTROLLER, NOT_PERSISTED, REAUDIT_ACTION, RECORD_ANNOTATION},
    names,
};
use writgate_core::record::{DecisionRecord, LogLine};

use crate::{cluster::Cluster, failure::Failure, terminal::output::shown};

/// Events per page of a list.
const PAGE: u32 = 500;
/// Duration of one watch in seconds. Then a new watch starts.
const WATCH: u32 = 290;

/// One Event of the webhook.
pub(crate) struct ReportedEvent {
    /// Its name, for messages: `Event payments/orders.1f2e`.
    pub(crate) name: String,
    /// The decision record in the Event, or why it cannot be read.
    pub(crate) record: Result<DecisionRecord, String>,
    /// The text of the record.
    pub(crate) json: String,
    /// Whether the admitted object was never seen in the cluster.
    pub(crate) not_persisted: bool,
    /// How often the same decision was made.
    pub(crate) times: i32,
    /// Time of the latest of these decisions.
    pub(crate) last: Timestamp,
}

/// Which namespaces to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NamespaceScope {
    All,
    Namespace(String),
}

/// The namespace, selected with kubectl's own flags.
#[derive(clap::Args, Clone, Debug, Default)]
pub(crate) struct NamespaceScopeFlags {
    /// Include only this namespace [default: the context's]
    #[arg(short, long, value_parser = clap::builder::NonEmptyStringValueParser::new(), conflicts_with = "all_namespaces")]
    pub(crate) namespace: Option<String>,
    /// Include all namespaces
    #[arg(short = 'A', long)]
    pub(crate) all_namespaces: bool,
}

impl NamespaceScopeFlags {
    pub(crate) fn of(&self, cluster: &Cluster) -> Result<NamespaceScope, Failure> {
        if self.all_namespaces {
            return Ok(NamespaceScope::All);
        }
        let namespace = self.namespace.as_ref().unwrap_or(&cluster.namespace);
        if !names::is_label(namespace) {
            return Err(Failure::Misuse(format!("{namespace:?} is not a valid namespace name")));
        }
        Ok(NamespaceScope::Namespace(namespace.clone()))
    }
}

/// Reads the webhook's Events in one namespace or in all.
pub(crate) struct EventReader<'a> {
    cluster: &'a Cluster,
    events: Api<Event>,
    scope: NamespaceScope,
    selector: String,
    seen: HashSet<(String, String)>,
}

impl<'a> EventReader<'a> {
    pub(crate) fn new(cluster: &'a Cluster, scope: NamespaceScope) -> Self {
        let events = match &scope {
            NamespaceScope::All => Api::all(cluster.client.clone()),
            NamespaceScope::Namespace(namespace) => Api::namespaced(cluster.client.clone(), namespace),
        };
        let selector = format!("reportingController={CONTROLLER}");
        Self { cluster, events, scope, selector, seen: HashSet::new() }
    }

    /// The namespaces that are read, for messages.
    pub(crate) fn place(&self) -> String {
        match &self.scope {
            NamespaceScope::All => "all namespaces".to_owned(),
            NamespaceScope::Namespace(namespace) => format!("namespace {namespace}"),
        }
    }

    /// Events that no earlier call returned, the oldest first, and the version from which a watch can continue.
    pub(crate) fn list(&mut self) -> Result<(Vec<ReportedEvent>, String), Failure> {
        let (events, version) = self.pages()?;
        let key = |event: &Event| (event.uid().unwrap_or_default(), event.resource_version().unwrap_or_default());
        let seen = std::mem::replace(&mut self.seen, events.iter().map(key).collect());
        let mut new: Vec<ReportedEvent> =
            events.iter().filter(|event| !seen.contains(&key(event))).map(reported).collect();
        new.sort_by_key(|event| event.last);
        Ok((new, version))
    }

    fn pages(&self) -> Result<(Vec<Event>, String), Failure> {
        let what = format!("list Events in {}", self.place());
        let mut events = Vec::new();
        let mut params = ListParams::default().fields(&self.selector).limit(PAGE);
        loop {
            let page = self.cluster.ask(&what, self.events.list(&params))?;
            events.extend(page.items.into_iter().filter(is_writgates));
            params.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
            if params.continue_token.is_none() {
                return Ok((events, page.metadata.resource_version.unwrap_or_default()));
            }
        }
    }

    /// Passes each Event after `version` to `report`, until the watch ends, which it does regularly, or `report` fails.
    pub(crate) fn watch(
        &mut self,
        version: &str,
        mut report: impl FnMut(ReportedEvent) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let params = WatchParams { timeout: Some(WATCH), ..WatchParams::default() }.fields(&self.selector);
        let place = self.place();
        let cannot = |why: &str| Failure::Undetermined(format!("cannot watch Events in {place}: {}", shown(why)));
        let Self { cluster, events, seen, .. } = self;
        cluster.run(async {
            let mut events = events.watch(&params, version).await.map_err(|e| cannot(&why(&e)))?.boxed();
            while let Some(event) = events.next().await {
                match event {
                    Ok(WatchEvent::Added(event) | WatchEvent::Modified(event)) if is_writgates(&event) => {
                        seen.insert((event.uid().unwrap_or_default(), event.resource_version().unwrap_or_default()));
                        report(reported(&event))?;
                    }
                    // The version is too old after a pause. The next list returns what the watch missed.
                    Ok(WatchEvent::Error(status)) if status.code != 410 => return Err(cannot(&status.message)),
                    Ok(WatchEvent::Error(_)) | Err(_) => return Ok(()),
                    Ok(_) => {}
                }
            }
            Ok(())
        })
    }
}

/// Whether the Event is about a decision of Writgate. Its reporter is checked again here, in case the API server ignores the field
/// selector.
fn is_writgates(event: &Event) -> bool {
    let is_notice = matches!(event.action.as_deref(), Some(CANARY_ACTION | REAUDIT_ACTION));
    event.reporting_controller.as_deref() == Some(CONTROLLER)
        && (!is_notice || event.annotations().contains_key(RECORD_ANNOTATION))
}

fn reported(event: &Event) -> ReportedEvent {
    let name = format!("Event {}/{}", event.namespace().unwrap_or_default(), event.name_any());
    let json = event.annotations().get(RECORD_ANNOTATION).cloned().unwrap_or_default();
    let record = match LogLine::read(json.as_bytes()) {
        LogLine::NotARecord => Err("the Event contains no record".to_owned()),
        LogLine::Unreadable(why) => Err(why),
        LogLine::Claimed(line) => line
            .record()
            .and_then(|record| record.ok_or_else(|| "the Event contains a start link, expected a record".to_owned())),
    };
    let first = event.event_time.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0);
    let (times, last) = event.series.as_ref().map_or((1, first), |series| (series.count, series.last_observed_time.0));
    ReportedEvent { name, record, json, not_persisted: event.reason.as_deref() == Some(NOT_PERSISTED), times, last }
}
