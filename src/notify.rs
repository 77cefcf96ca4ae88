//! Notifications: the holder of the [Lease](crate::lease) tells people over HTTPS what happens in governed namespaces.
//!
//! It reads what exists already: the Events of all replicas, the posted requests with their approvals and rejections, and the
//! result of the re-audit. No review waits for it, and a decision never depends on it. [`records`] and [`posted`] verify what
//! a notification says, [`receiver`] delivers, and [`progress`] says what the next holder still has to send.

mod configuration;
mod inbox;
mod notification;
mod posted;
mod progress;
mod reaudited;
mod receiver;
mod records;
mod request;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::events::v1::Event;
use kube::Client;
use kube::api::{Api, ObjectMeta, PostParams};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};
use writgate_cluster::bounded_request;
use writgate_core::vocabulary::KIND_LABEL;

pub(crate) use self::notification::NotificationType;
pub(crate) use self::reaudited::NotificationSender;

use self::configuration::Configuration;
use self::inbox::{Backlog, Inbox, Waiting};
use self::notification::Notification;
use self::posted::{PostedReader, SeenConfigMap};
use self::progress::StoredProgress;
use self::receiver::{Pace, Receiver};
use self::records::{EarlyEvents, Read, RecordReader, SeenEvent};
use crate::lasting_failure::{FailureChange, LastingFailure};
use crate::lease::Holding;
use crate::metrics::{Metrics, NotificationOutcome, Watched};
use crate::reaudit::Rules;
use crate::state::store::Store;
use crate::state::watch::{self, Selectors};

/// The ConfigMap with the progress. It has the label of the ledger, because a policy lets only the webhook write such ones.
const PROGRESS: &str = "notifications";
/// How often changed progress is stored.
const STORE_EVERY: Duration = Duration::from_secs(2);
/// How long the API server may take.
const ANSWER: Duration = Duration::from_secs(10);
/// The bytes of Events, and of ConfigMaps, that may wait until they are verified.
const ROOM: usize = 8 << 20;
/// Notifications of the re-audit that may wait.
const MAX_OF_REAUDIT: usize = 1000;
/// The pause after each ConfigMap that was checked, so that whoever writes many does not occupy a processor.
const PAUSE: Duration = Duration::from_millis(20);
/// The pause after something could not be read, and how often it is tried.
const AGAIN: Duration = Duration::from_secs(2);
const ATTEMPTS: usize = 30;
/// How long the same denial of the same object counts as a repetition.
const REPETITION: SignedDuration = SignedDuration::from_hours(1);
/// Denials that are remembered.
const MAX_DENIALS: usize = 10_000;
/// Requests and denials of one namespace in one hour of which people are notified. Anybody can cause them.
const MAX_PER_HOUR: u32 = 60;
/// Approvals and rejections of one namespace in one hour that are verified. Anybody can touch one again and again.
const MAX_VERIFIED: u32 = 600;

/// What the notifier works with.
pub(crate) struct Notifier {
    client: Client,
    system_namespace: String,
    store: Arc<Store>,
    rules: Rules,
    configuration: Configuration,
    metrics: Metrics,
    of_reaudit: mpsc::Receiver<Notification>,
    expiries: Arc<Mutex<HashSet<String>>>,
    pace: Pace,
}

impl Notifier {
    /// A notifier with the configuration in `file`. `None` if it cannot be used: then nobody is notified, which a metric and the
    /// log say. Admission must not depend on the file.
    pub(crate) fn open(
        file: &Path,
        client: Client,
        system_namespace: &str,
        store: Arc<Store>,
        rules: Rules,
        metrics: Metrics,
    ) -> Option<(Self, NotificationSender)> {
        let configuration = Configuration::read(file);
        metrics.note_notifications(configuration.is_ok());
        let configuration = match configuration {
            Ok(configuration) => configuration,
            Err(why) => {
                tracing::error!(why, "nobody is notified: the configuration of notifications cannot be used");
                return None;
            }
        };
        let (sender, of_reaudit) = mpsc::channel(MAX_OF_REAUDIT);
        let expires_within = configuration.expires_within.0;
        let expiries: Arc<Mutex<HashSet<String>>> = Arc::default();
        let people = NotificationSender {
            sender,
            expires_within,
            expiries: expiries.clone(),
            store: store.clone(),
            metrics: metrics.clone(),
        };
        let notifier = Self {
            client,
            system_namespace: system_namespace.to_owned(),
            store,
            rules,
            configuration,
            metrics,
            of_reaudit,
            expiries,
            pace: Pace::default(),
        };
        Some((notifier, people))
    }

    /// Notifies while this replica holds the Lease. Does not return.
    pub(crate) async fn keep(mut self, mut holding: Holding) {
        let mut failure = LastingFailure::default();
        loop {
            holding.wait().await;
            // A replica may hold the Lease before it has read the postures. /readyz says why it has not.
            if self.store.age(Instant::now()).is_none() {
                sleep(Duration::from_secs(1)).await;
                continue;
            }
            let stored = self.stored().await;
            match failure.note(stored.as_ref().err().cloned()) {
                Some(FailureChange::Failed(why)) => {
                    tracing::warn!(why, "nobody is notified: the progress of notifications cannot be read");
                }
                Some(FailureChange::Recovered) => tracing::info!("the progress of notifications can be read again"),
                None => {}
            }
            match stored {
                Ok(stored) => {
                    tokio::select! {
                        () = self.notify(stored) => {}
                        () = ended(&holding) => {}
                    }
                    self.metrics.notifications_ended();
                }
                Err(_) => sleep(AGAIN).await,
            }
        }
    }

    /// Notifies from where the last holder stopped. Does not return.
    async fn notify(&mut self, mut stored: BTreeMap<String, StoredProgress>) {
        let Self { client, system_namespace, store, rules, configuration, metrics, of_reaudit, expiries, pace } = self;
        expiries.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let receivers = configuration.receivers.iter().map(|receiver| {
            let stored = stored.remove(&receiver.name);
            Receiver::new(receiver.clone(), &configuration.source, stored, metrics.clone(), *pace)
        });
        let people = People::new(receivers.collect(), metrics.clone());
        let (events, seen_events) = Inbox::<SeenEvent>::new(ROOM, people.from());
        let (config_maps, seen_config_maps) = Inbox::<SeenConfigMap>::new(ROOM, people.from());
        let backlogs = [events.backlog(), config_maps.backlog()];
        let watch_events = watch::follow(
            Watched::Events,
            Api::<Event>::all(client.clone()),
            Selectors { labels: "", fields: Some(records::SELECTOR) },
            &events,
            metrics,
        );
        let watch_config_maps = watch::follow(
            Watched::Posted,
            Api::<ConfigMap>::all(client.clone()),
            posted::SELECTOR,
            &config_maps,
            metrics,
        );
        let records = RecordReader::new(client.clone(), system_namespace);
        let posted = PostedReader::new(client.clone(), rules.clone());
        let progress = ProgressWriter { config_maps: Api::namespaced(client.clone(), system_namespace) };
        tokio::join!(
            watch_events,
            watch_config_maps,
            people.read_events(records, store, system_namespace, seen_events),
            people.read_config_maps(posted, store, seen_config_maps),
            people.pass_on(of_reaudit),
            progress.keep(&people.receivers, &backlogs),
            join_all(people.receivers.iter().map(Receiver::deliver)),
        );
    }

    async fn stored(&self) -> Result<BTreeMap<String, StoredProgress>, String> {
        let config_maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), &self.system_namespace);
        let found = bounded_request::send(ANSWER, config_maps.get_opt(PROGRESS)).await;
        let found = found.map_err(|error| format!("ConfigMap {PROGRESS} cannot be read: {error}"))?;
        let data = found.and_then(|found| found.data).unwrap_or_default();
        let parsed = |(name, text): (String, String)| Some((name, serde_json::from_str(&text).ok()?));
        Ok(data.into_iter().filter_map(parsed).collect())
    }
}

/// Waits until this replica does not hold the Lease any more.
async fn ended(holding: &Holding) {
    while holding.is_held() {
        sleep(Duration::from_secs(1)).await;
    }
}

/// Writes the progress of the receivers.
struct ProgressWriter {
    config_maps: Api<ConfigMap>,
}

impl ProgressWriter {
    /// Does not return.
    async fn keep(&self, receivers: &[Receiver], backlogs: &[Arc<Backlog>]) {
        let mut written = BTreeMap::new();
        let mut failure = LastingFailure::default();
        loop {
            let until = backlogs.iter().map(|backlog| backlog.looked_at_until()).min().unwrap_or_default();
            let now = receivers.iter().map(|receiver| {
                let json = serde_json::to_string(&receiver.stored(until)).unwrap_or_default();
                (receiver.name().to_owned(), json)
            });
            let now: BTreeMap<String, String> = now.collect();
            if now != written {
                let result = self.write(&now).await;
                if result.is_ok() {
                    written = now;
                }
                match failure.note(result.err()) {
                    Some(FailureChange::Failed(why)) => {
                        tracing::warn!(
                            why,
                            "the progress of notifications is not stored; the next holder may repeat some"
                        );
                    }
                    Some(FailureChange::Recovered) => tracing::info!("the progress of notifications is stored again"),
                    None => {}
                }
            }
            sleep(STORE_EVERY).await;
        }
    }

    async fn write(&self, data: &BTreeMap<String, String>) -> Result<(), String> {
        let found = bounded_request::send(ANSWER, self.config_maps.get_opt(PROGRESS)).await;
        let found = found.map_err(|error| error.to_string())?;
        let is_new = found.is_none();
        let metadata = ObjectMeta {
            name: Some(PROGRESS.to_owned()),
            labels: Some([(KIND_LABEL.to_owned(), "ledger".to_owned())].into()),
            resource_version: found.and_then(|found| found.metadata.resource_version),
            ..ObjectMeta::default()
        };
        let object = ConfigMap { metadata, data: Some(data.clone()), ..ConfigMap::default() };
        let params = PostParams::default();
        let written = async {
            if is_new {
                self.config_maps.create(&params, &object).await
            } else {
                self.config_maps.replace(PROGRESS, &params, &object).await
            }
        };
        bounded_request::send(ANSWER, written).await.map(drop).map_err(|error| error.to_string())
    }
}

/// The receivers, and what they were notified of.
struct People {
    receivers: Vec<Receiver>,
    metrics: Metrics,
    limits: Mutex<HashMap<(NotificationType, String), (Instant, u32)>>,
}

impl People {
    fn new(receivers: Vec<Receiver>, metrics: Metrics) -> Self {
        Self { receivers, metrics, limits: Mutex::default() }
    }

    /// The time before which nobody requires anything.
    fn from(&self) -> Timestamp {
        self.receivers.iter().map(Receiver::from).min().unwrap_or(Timestamp::MAX)
    }

    fn send(&self, notification: Notification) {
        let notification = Arc::new(notification);
        for receiver in &self.receivers {
            receiver.offer(&notification);
        }
    }

    /// Whether the limit for what anybody can cause permits one more. Counts it if not.
    fn permits(&self, kind: NotificationType, namespace: &str) -> bool {
        let mut limits = self.limits.lock().unwrap_or_else(PoisonError::into_inner);
        let hour = Duration::from_hours(1);
        limits.retain(|_, (begun, _)| begun.elapsed() < hour);
        let (_, count) = limits.entry((kind, namespace.to_owned())).or_insert((Instant::now(), 0));
        *count = count.saturating_add(1);
        let most = match kind {
            NotificationType::Approved | NotificationType::Rejected => MAX_VERIFIED,
            _ => MAX_PER_HOUR,
        };
        if *count == most + 1 {
            let kind = kind.as_str();
            tracing::warn!(
                namespace,
                kind,
                most,
                "a namespace causes more notifications in one hour than are sent; further ones are counted"
            );
        }
        let permits = *count <= most;
        if !permits {
            self.metrics.notification(kind, NotificationOutcome::Dropped);
        }
        permits
    }

    /// Reads Events until there are no more.
    async fn read_events(
        &self,
        mut records: RecordReader,
        store: &Store,
        system_namespace: &str,
        mut seen: mpsc::UnboundedReceiver<Waiting<SeenEvent>>,
    ) {
        let mut state = ReadEvents::default();
        let mut again = Instant::now();
        // Decisions about what governs are in the Events of these two.
        let is_watched = |namespace: &str| {
            let is_governed = store.namespace(namespace).is_some_and(|labels| labels.environment.is_some());
            is_governed || namespace == system_namespace || namespace == "default"
        };
        loop {
            let batch = tokio::select! {
                biased;
                () = sleep_until(again), if !state.early.is_empty() => state.early.take(),
                waiting = seen.recv() => match waiting {
                    Some(waiting) => vec![waiting],
                    None => return,
                },
            };
            let had_early = !state.early.is_empty();
            for waiting in batch {
                self.read_event(&mut records, &mut state, waiting, is_watched).await;
            }
            if !had_early {
                again = Instant::now() + AGAIN;
            }
        }
    }

    async fn read_event(
        &self,
        records: &mut RecordReader,
        state: &mut ReadEvents,
        waiting: Waiting<SeenEvent>,
        is_watched: impl Fn(&str) -> bool,
    ) {
        let event = &waiting.sighting;
        let created = event.created;
        let mut read = records.read(event).await;
        for _ in 1..ATTEMPTS {
            if read.is_ok() {
                break;
            }
            sleep(AGAIN).await;
            read = records.read(event).await;
        }
        let (kind, why) = match read {
            Ok(Read::Notification(notification)) => {
                state.failure.note(None);
                let Notification { kind, namespace, .. } = &*notification;
                let is_denial = *kind == NotificationType::Denied;
                // Old ones are noted too, so that a repetition is recognised.
                let is_first = !is_denial || state.denials.is_first(&notification);
                if is_first && created >= self.from() && (!is_denial || self.permits(*kind, namespace)) {
                    self.send(*notification);
                }
                return;
            }
            Ok(Read::Nothing) => return,
            Ok(Read::Unverified(kind, why)) => (kind, why),
            Ok(Read::Early(kind)) => {
                if is_watched(&event.namespace) && state.early.add(waiting) {
                    return;
                }
                (kind, records::NO_CHECKPOINT)
            }
            Err(why) => {
                self.metrics.notification(NotificationType::Denied, NotificationOutcome::Unverified);
                tracing::warn!(why, "an Event could not be verified, and nobody was notified of it");
                return;
            }
        };
        if created >= self.from() {
            self.metrics.notification(kind, NotificationOutcome::Unverified);
            if let Some(FailureChange::Failed(why)) = state.failure.note(Some(why.to_owned())) {
                tracing::warn!(why, "an Event that looks like the webhook's was not sent");
            }
        }
    }

    /// Reads ConfigMaps until there are no more.
    async fn read_config_maps(
        &self,
        posted: PostedReader,
        store: &Store,
        mut seen: mpsc::UnboundedReceiver<Waiting<SeenConfigMap>>,
    ) {
        while let Some(waiting) = seen.recv().await {
            let config_map = &waiting.sighting;
            let kind = config_map.kind.notification();
            let is_governed = store.namespace(&config_map.namespace).is_some_and(|labels| labels.environment.is_some());
            if !is_governed {
                continue;
            }
            // Only what could be sent counts, and nothing is read before it counts.
            let checked = posted.check(config_map, store);
            let Some(checked) = checked.filter(|_| self.permits(kind, &config_map.namespace)) else {
                sleep(PAUSE).await;
                continue;
            };
            let mut read = posted.read(config_map, &checked, store).await;
            for _ in 1..ATTEMPTS {
                if read.is_ok() {
                    break;
                }
                sleep(AGAIN).await;
                read = posted.read(config_map, &checked, store).await;
            }
            match read {
                Ok(Some(notification)) => self.send(notification),
                Ok(None) => {}
                Err(why) => {
                    self.metrics.notification(kind, NotificationOutcome::Unverified);
                    tracing::warn!(why, "a ConfigMap could not be verified, and nobody was notified of it");
                }
            }
            sleep(PAUSE).await;
        }
    }

    /// Passes on the notifications of the re-audit.
    async fn pass_on(&self, of_reaudit: &mut mpsc::Receiver<Notification>) {
        while let Some(notification) = of_reaudit.recv().await {
            self.send(notification);
        }
    }
}

/// What is remembered between Events.
#[derive(Default)]
struct ReadEvents {
    denials: FirstDenials,
    failure: LastingFailure,
    early: EarlyEvents,
}

/// The denials of the last hour, by object and reason.
#[derive(Default)]
struct FirstDenials(HashMap<String, Timestamp>);

impl FirstDenials {
    /// Whether this denial is not a repetition. A repetition prolongs the hour.
    fn is_first(&mut self, notification: &Notification) -> bool {
        let time = notification.time;
        if self.0.len() >= MAX_DENIALS {
            self.0.retain(|_, last| time.duration_since(*last) < REPETITION);
        }
        if self.0.len() >= MAX_DENIALS {
            // A crowd of other denials must not hide this one.
            self.0.clear();
        }
        let key = format!("{} {}", notification.subject, notification.headline());
        let before = self.0.insert(key, time);
        before.is_none_or(|before| time.duration_since(before).abs() >= REPETITION)
    }
}

#[cfg(test)]
mod tests;
