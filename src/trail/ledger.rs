//! The webhook's ledger: uses of single-use approvals, earlier admissions, and records that a posture requires to be stored.
//!
//! Entries are ConfigMaps in the system namespace, so all replicas share them and tenants cannot write them. This file has the
//! lookups that a response waits for, each bounded in time and number. [`settle`], [`history`] and [`sweep`] work after the
//! response. [`entry`] says how an entry looks.

mod entry;
mod history;
mod key;
mod settle;
mod sweep;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{Api, PostParams};
use kube::{Client, Error, ResourceExt as _};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use writgate_cluster::bounded_request::{self, RequestError, RequestLimiter};
use writgate_cluster::clock;
use writgate_core::{
    decide::{Use, UseRecord},
    kube::WorkloadKinds,
    record::{DecisionRecord, History, ObjectRecord},
};

use crate::metrics::{Metrics, UseOutcome, WriteOutcome};
use key::{KeptKey, LedgerKey};
use settle::Reserved;

/// How long a lookup may take, including the wait for a permit. An API server usually waits 5 s for the response.
const PATIENCE: Duration = Duration::from_secs(2);
/// Lookups at once. This bounds what callers cost the API server.
const MAX_LOOKUPS: usize = 32;
/// Attempts to reserve a use. An existing entry may disappear or change before it is read.
const ATTEMPTS: u32 = 3;
/// Uses that are followed up at once. Each has a watch, mostly for milliseconds.
const MAX_WATCHES: usize = 256;
/// How long the release of a use may take after the wait. Denials name the sum as the latest time of release.
const SLACK: Duration = Duration::from_secs(10);
/// How long one response of the API server may take after the webhook's response was sent.
const ANSWER: Duration = Duration::from_secs(10);

/// The ledger in the cluster. Cheap to clone.
#[derive(Clone)]
pub struct Ledger(Arc<Shared>);

struct Shared {
    client: Client,
    kinds: WorkloadKinds,
    entries: Api<ConfigMap>,
    secrets: Api<Secret>,
    key: KeptKey,
    lookups: RequestLimiter,
    watches: Arc<Semaphore>,
    release_after: Duration,
    metrics: Metrics,
}

impl Ledger {
    /// The ledger in `namespace`, through `client`. A use is released if its object did not appear within `release_after`,
    /// which must be longer than the API server's longest request. `kinds` are the kinds of workload.
    #[must_use]
    pub fn new(
        client: Client,
        kinds: WorkloadKinds,
        namespace: &str,
        release_after: Duration,
        metrics: Metrics,
    ) -> Self {
        let entries = Api::namespaced(client.clone(), namespace);
        let secrets = Api::namespaced(client.clone(), namespace);
        let (lookups, watches) = (RequestLimiter::new(MAX_LOOKUPS, PATIENCE), Arc::new(Semaphore::new(MAX_WATCHES)));
        let key = KeptKey::default();
        Self(Arc::new(Shared { client, kinds, entries, secrets, key, lookups, watches, release_after, metrics }))
    }

    /// Reserves `wanted` for its object, or returns the use that exists. A dry run only reads, and returns `None` if there is
    /// no use.
    pub async fn use_of(&self, wanted: &Use, dry_run: bool, now: Timestamp) -> Result<Option<UseRecord>, String> {
        if dry_run {
            let Some(found) = self.look_up(self.0.entries.get_opt(&wanted.entry)).await? else { return Ok(None) };
            return self.in_time(self.authentic_use(&found)).await.map(Some);
        }
        if wanted.object.uid.is_none() {
            return Err("the object has no uid, so its use cannot be reserved".to_owned());
        }
        // In a separate task: a create that completes too late for this request is still followed up.
        let (ledger, record) = (self.clone(), UseRecord::new(wanted.clone(), now));
        let reserved = tokio::spawn(async move { ledger.reserve(record).await });
        let held = match timeout(PATIENCE, reserved).await {
            Ok(Ok(held)) => held,
            Ok(Err(defect)) => Err(format!("a task of the ledger failed: {defect}")),
            Err(_) => Err(slow()),
        };
        if held.is_err() {
            self.0.metrics.use_counted(UseOutcome::Failed);
        }
        held.map(Some)
    }

    /// The earlier admissions of `object`.
    pub async fn history(&self, object: &ObjectRecord) -> Result<History, String> {
        let found = self.look_up(self.0.entries.get_opt(&entry::history_name(object))).await?;
        let Some(found) = found else { return Ok(History::default()) };
        // Evidence that the webhook did not write is none: a rollback then requires an approval.
        if self.in_time(self.key_of(&found)).await?.is_none() {
            return Ok(History::default());
        }
        entry::history_in(&found)
    }

    /// Stores the signed record of an admission. After a timeout the record may be there although the result is an error. It
    /// then describes an admission that was not sent.
    pub async fn store_record(&self, record: &DecisionRecord) -> Result<(), String> {
        let (new, params) = (entry::of_record(record), PostParams::default());
        let stored = self.look_up(self.0.entries.create(&params, &new)).await.map(drop);
        self.0.metrics.record_stored(if stored.is_ok() { WriteOutcome::Written } else { WriteOutcome::Failed });
        stored
    }

    /// The MAC of what an Event's name stands for. All replicas compute the same, and nobody else can.
    pub async fn event_mac(&self, about: &str) -> Result<String, String> {
        // The name of an entry has no slash, so no MAC of an entry is one of an Event.
        Ok(self.key().await?.mac(&format!("event/{about}"), &BTreeMap::new()))
    }

    /// Sends one request before the response.
    async fn look_up<T>(&self, request: impl Future<Output = Result<T, Error>>) -> Result<T, String> {
        self.0.lookups.send(request).await.map_err(|unanswered| match unanswered {
            RequestError::Timeout(_) => slow(),
            failed @ RequestError::Failed(_) => failed.to_string(),
        })
    }

    /// Creates the entry of `record`, or returns the use in the entry that exists.
    async fn reserve(&self, mut record: UseRecord) -> Result<UseRecord, String> {
        let Shared { entries, lookups, metrics, .. } = &*self.0;
        let _permit = lookups.permit().await;
        record.free_at = Some(self.free_at());
        let key = self.key().await?;
        let new = entry::of_use(&record, &key);
        for _ in 0..ATTEMPTS {
            match bounded(entries.create(&PostParams::default(), &new)).await {
                Ok(entry) => {
                    metrics.use_counted(UseOutcome::Reserved);
                    self.settle_later(entry, record.clone());
                    return Ok(record);
                }
                Err(failure) if failure.status_code() == Some(409) => {}
                Err(failure) => return Err(failure.to_string()),
            }
            let found = bounded(entries.get_opt(&record.used.entry)).await.map_err(|failure| failure.to_string())?;
            let Some(found) = found else { continue };
            let held = self.authentic_use(&found).await?;
            if held.free_at.is_none() || !held.is_by_the_same(&record.used) {
                return Ok(held);
            }
            if let Some(renewed) = self.renew(found, held).await? {
                return Ok(renewed);
            }
        }
        Err(format!("ledger entry {} changed during all {ATTEMPTS} attempts; try again", record.used.entry))
    }

    /// Renews a use that may still be released, for a further request by the same object. The pending release then fails,
    /// because the entry has another version. `None` if the entry was changed meanwhile.
    async fn renew(&self, mut entry: ConfigMap, mut held: UseRecord) -> Result<Option<UseRecord>, String> {
        let now = clock::now();
        // A use whose time has passed should have been released. The reason why it was not is unknown, so it stays spent.
        held.free_at = if held.free_at.is_some_and(|free_at| free_at > now) { Some(self.free_at()) } else { None };
        entry::keep_since(&mut entry);
        let key = self.key().await?;
        entry::put_use(&mut entry, &held, &key);
        match bounded(self.0.entries.replace(&held.used.entry, &PostParams::default(), &entry)).await {
            Ok(entry) => {
                if held.free_at.is_some() {
                    self.settle_later(entry, held.clone());
                }
                Ok(Some(held))
            }
            Err(failure) if matches!(failure.status_code(), Some(404 | 409)) => Ok(None),
            Err(failure) => Err(failure.to_string()),
        }
    }

    /// The key of new entries.
    async fn key(&self) -> Result<Arc<LedgerKey>, String> {
        self.0.key.get(&self.0.secrets).await
    }

    /// Waits as long as a response can.
    async fn in_time<T>(&self, work: impl Future<Output = Result<T, String>>) -> Result<T, String> {
        timeout(PATIENCE, work).await.unwrap_or_else(|_| Err(slow()))
    }

    /// The key with which the webhook wrote `entry` as it is. `None`: the webhook did not write it, which is an attempt to
    /// deceive it, or wrote it with a key that was replaced. Another replica may have started with a new key, so the key is
    /// read again before an entry is rejected.
    async fn key_of(&self, entry: &ConfigMap) -> Result<Option<Arc<LedgerKey>>, String> {
        let Shared { key: kept, secrets, metrics, .. } = &*self.0;
        let key = kept.get(secrets).await?;
        if entry::is_authentic(entry, &key) {
            return Ok(Some(key));
        }
        if let Some(new) = kept.replacement(&key, secrets).await {
            metrics.ledger_key_changes.inc();
            if entry::is_authentic(entry, &new) {
                return Ok(Some(new));
            }
        }
        metrics.ledger_entries_rejected.inc();
        tracing::error!(entry = entry.name_any(), "ledger entry rejected: the webhook did not write it as it is");
        Ok(None)
    }

    /// The use that `entry` holds. Fails if the webhook did not write it: whether the approval is used is unknown then.
    async fn authentic_use(&self, entry: &ConfigMap) -> Result<UseRecord, String> {
        if self.key_of(entry).await?.is_some() {
            return entry::use_in(entry);
        }
        let name = entry.name_any();
        Err(format!(
            "ledger entry {name} was not written by the webhook, or the key in Secret writgate-ledger has changed since; request \
             another approval"
        ))
    }

    fn settle_later(&self, entry: ConfigMap, record: UseRecord) {
        match settle::version(entry::since(&entry)) {
            Ok(since) => self.follow_up(Reserved { entry, record, since }),
            Err(why) => {
                tracing::warn!(entry = record.used.entry, why, "ledger entry not followed up; its use stays spent");
            }
        }
    }

    /// The latest time of release of a use that is reserved now.
    fn free_at(&self) -> Timestamp {
        let wait = SignedDuration::try_from(self.0.release_after + SLACK).unwrap_or(SignedDuration::MAX);
        clock::now().checked_add(wait).unwrap_or(Timestamp::MAX)
    }
}

async fn bounded<T>(request: impl Future<Output = Result<T, Error>>) -> Result<T, RequestError> {
    bounded_request::send(ANSWER, request).await
}

fn slow() -> String {
    format!("the ledger did not answer within {PATIENCE:?}")
}
