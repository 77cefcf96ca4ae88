//! The webhook's ledger: who used an approval that may be used once, and what was admitted before.
//!
//! Entries are ConfigMaps of the system namespace, so that every replica reads and writes the same ones, and no tenant
//! any. How an entry looks is [`entry`]'s. Here are the lookups on the way of an answer, each within bounds of time and
//! number; what follows behind it (confirming a use or giving it back, noting an admission, sweeping) is in the other
//! files. Called by `lookups` and `events`, in a cluster only.

mod entry;
mod history;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, PostParams};
use kube::{Client, Error};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use writgate_core::{History, ObjectRecord, Use, UseRecord};

use crate::cluster;
use crate::metrics::{Metrics, UseOutcome};

/// How long a lookup may take, waiting included: most of the patience of an API server that waits 5 s.
const PATIENCE: Duration = Duration::from_secs(2);
/// Lookups at once: what callers can cost the API server.
const MAX_LOOKUPS: usize = 32;
/// Longest wait for one answer of the API server behind an answer of ours.
const ANSWER: Duration = Duration::from_secs(10);

/// The ledger in the cluster. Cheap to clone.
#[derive(Clone)]
pub struct Ledger(Arc<Shared>);

struct Shared {
    entries: Api<ConfigMap>,
    lookups: Semaphore,
    metrics: Metrics,
}

impl Ledger {
    /// The ledger in `namespace`, through `client`.
    #[must_use]
    pub fn new(client: Client, namespace: &str, metrics: Metrics) -> Self {
        let entries = Api::namespaced(client, namespace);
        Self(Arc::new(Shared { entries, lookups: Semaphore::new(MAX_LOOKUPS), metrics }))
    }

    /// Reserves `wanted` for its object, or tells who has it. In a dry run only looks: `None` is nobody.
    pub async fn use_of(&self, wanted: &Use, dry_run: bool, now: Timestamp) -> Result<Option<UseRecord>, String> {
        if dry_run {
            let found = self.look(self.0.entries.get_opt(&wanted.entry)).await?;
            return found.map(|found| entry::use_in(&found)).transpose();
        }
        if wanted.object.uid.is_none() {
            return Err("the object has no uid by which it could be told from another".to_owned());
        }
        // In a task of its own: a create whose answer comes too late for this request is still followed up.
        let (ledger, record) = (self.clone(), UseRecord::new(wanted.clone(), now));
        let reserved = tokio::spawn(async move { ledger.reserve(record).await });
        let held = match timeout(PATIENCE, reserved).await {
            Ok(Ok(held)) => held,
            Ok(Err(defect)) => Err(format!("the ledger failed: {defect}")),
            Err(_) => Err(slow()),
        };
        if held.is_err() {
            self.0.metrics.use_counted(UseOutcome::Failed);
        }
        held.map(Some)
    }

    /// The earlier admissions of `object`.
    pub async fn history(&self, object: &ObjectRecord) -> Result<History, String> {
        let found = self.look(self.0.entries.get_opt(&entry::history_name(object))).await?;
        found.map_or_else(|| Ok(History::default()), |found| entry::history_in(&found))
    }

    /// One read on the way of an answer.
    async fn look<T>(&self, read: impl Future<Output = Result<T, Error>>) -> Result<T, String> {
        let read = async {
            let _turn = self.0.lookups.acquire().await;
            read.await
        };
        timeout(PATIENCE, read).await.map_err(|_| slow())?.map_err(|error| cluster::why(&error))
    }

    /// Creates the entry of `record`, or returns the one that is there.
    async fn reserve(&self, record: UseRecord) -> Result<UseRecord, String> {
        let Shared { entries, lookups, metrics } = &*self.0;
        let _turn = lookups.acquire().await;
        let (name, new) = (&record.used.entry, entry::of_use(&record));
        // Twice, since an entry that stopped this one may be gone when it is looked at.
        for _ in 0..2 {
            match bounded(entries.create(&PostParams::default(), &new)).await {
                Ok(_) => {
                    metrics.use_counted(UseOutcome::Reserved);
                    return Ok(record);
                }
                Err(Failure::Api(Error::Api(status))) if status.is_already_exists() => {}
                Err(failure) => return Err(failure.to_string()),
            }
            if let Some(found) = bounded(entries.get_opt(name)).await.map_err(|failure| failure.to_string())? {
                return entry::use_in(&found);
            }
        }
        Err(format!("ledger entry {name} comes and goes; try again"))
    }
}

/// Why a request to the API server came to nothing.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("no answer within {ANSWER:?}")]
    Slow,
    #[error("{}", cluster::why(.0))]
    Api(#[from] Error),
}

impl Failure {
    /// The HTTP status, where there is one.
    fn code(&self) -> Option<u16> {
        match self {
            Self::Api(Error::Api(status)) => Some(status.code),
            _ => None,
        }
    }
}

async fn bounded<T>(request: impl Future<Output = Result<T, Error>>) -> Result<T, Failure> {
    Ok(timeout(ANSWER, request).await.map_err(|_| Failure::Slow)??)
}

fn slow() -> String {
    format!("the ledger did not answer within {PATIENCE:?}")
}
