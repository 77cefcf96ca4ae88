//! Removes what is no longer required: uses of expired approvals, old histories and records, and checkpoints of ended chains.
//!
//! Every replica sweeps, at times of its own. If another replica has changed or removed an entry first, the entry is left
//! alone.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt as _;
use kube::api::{DeleteParams, ListParams, Preconditions};
use tokio::time::sleep;
use writgate_cluster::{checkpoint, clock};

use crate::trail::ledger::{Ledger, bounded, entry};

/// How long a use outlives its approval. Clocks differ, and people look at what happened the day before.
const AFTER_EXPIRY: SignedDuration = SignedDuration::from_hours(24);
/// How long a history outlives its last admission: more than a year, which is longer than a rollback should reach.
const AFTER_ADMISSION: SignedDuration = SignedDuration::from_hours(400 * 24);
/// How long a stored record is kept. A log store has the record by then.
const AFTER_DECISION: SignedDuration = SignedDuration::from_hours(30 * 24);
/// How long a checkpoint outlives its chain.
const AFTER_HEAD: SignedDuration = SignedDuration::from_hours(30 * 24);
/// The largest number of checkpoints. A replica that restarts again and again starts as many chains.
const MAX_CHECKPOINTS: usize = 1000;
/// The shortest time between two sweeps. The longest is twice that, so that replicas do not sweep at the same time.
const PERIOD: Duration = Duration::from_mins(40);
/// Entries in one page of a list.
const PAGE: u32 = 250;
/// Pause between two deletions.
const PAUSE: Duration = Duration::from_millis(20);

impl Ledger {
    /// Sweeps periodically. Does not return.
    pub async fn keep_swept(self) {
        loop {
            sleep(PERIOD + PERIOD.mul_f64(share())).await;
            match self.sweep(clock::now()).await {
                Ok(0) => {}
                Ok(removed) => tracing::info!(removed, "ledger swept"),
                Err(why) => tracing::warn!(why, "ledger not swept; retried after the usual time"),
            }
        }
    }

    /// Removes outdated entries and checkpoints. Returns how many were removed.
    pub async fn sweep(&self, now: Timestamp) -> Result<usize, String> {
        let mut outdated = Vec::new();
        self.each(entry::SELECTOR, |found| {
            outdated.extend(is_outdated(&found, now).then(|| EntryIdentity::of(&found)));
        })
        .await?;
        let mut checkpoints = Vec::new();
        let read = |found: ConfigMap| {
            let checkpoint = checkpoint::in_config_map(&found).ok();
            checkpoints.extend(checkpoint.map(|checkpoint| (checkpoint.head.time, EntryIdentity::of(&found))));
        };
        self.each(checkpoint::SELECTOR, read).await?;
        checkpoints.sort_by_key(|(head, _)| std::cmp::Reverse(*head));
        let ended = |(index, (head, found)): (usize, (Timestamp, EntryIdentity))| {
            (index >= MAX_CHECKPOINTS || now.duration_since(head) > AFTER_HEAD).then_some(found)
        };
        outdated.extend(checkpoints.into_iter().enumerate().filter_map(ended));
        let mut removed = 0;
        for found in outdated {
            removed += usize::from(self.remove(&found).await);
            sleep(PAUSE).await;
        }
        Ok(removed)
    }

    /// Reads all ConfigMaps that match `selector`, page by page.
    async fn each(&self, selector: &str, mut see: impl FnMut(ConfigMap)) -> Result<(), String> {
        let mut params = ListParams::default().labels(selector).limit(PAGE);
        loop {
            let page = bounded(self.0.entries.list(&params)).await.map_err(|failure| failure.to_string())?;
            page.items.into_iter().for_each(&mut see);
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params = params.continue_token(&token),
                None => return Ok(()),
            }
        }
    }

    async fn remove(&self, found: &EntryIdentity) -> bool {
        match bounded(self.0.entries.delete(&found.name, &found.if_unchanged)).await {
            Ok(_) => true,
            Err(failure) => {
                tracing::debug!(entry = found.name, why = %failure, "ledger entry not removed");
                false
            }
        }
    }
}

/// The name and the version of an entry that is to be removed.
struct EntryIdentity {
    name: String,
    if_unchanged: DeleteParams,
}

impl EntryIdentity {
    fn of(found: &ConfigMap) -> Self {
        Self { name: found.name_any(), if_unchanged: if_unchanged(found) }
    }
}

/// A deletion that fails if the entry has changed since it was `found`.
pub(super) fn if_unchanged(found: &ConfigMap) -> DeleteParams {
    let unchanged = Preconditions { uid: found.uid(), resource_version: found.resource_version() };
    DeleteParams { preconditions: Some(unchanged), ..DeleteParams::default() }
}

/// Whether an entry is outdated at `now`. An entry that cannot be read stays, so that a person can look at it.
fn is_outdated(found: &ConfigMap, now: Timestamp) -> bool {
    // By its name, by which it is read: another field of the entry means nothing.
    let outdated = match found.name_any().split_once('-') {
        Some(("use", _)) => {
            entry::use_in(found).map(|record| now.duration_since(record.used.expires_at) > AFTER_EXPIRY).ok()
        }
        Some(("record", _)) => {
            entry::record_time_in(found).map(|decided| now.duration_since(decided) > AFTER_DECISION).ok()
        }
        Some(("history", _)) => entry::history_in(found).ok().and_then(|history| {
            history.admissions().first().map(|last| now.duration_since(last.time) > AFTER_ADMISSION)
        }),
        _ => None,
    };
    outdated.unwrap_or_default()
}

/// A random number from 0 to 1. Without randomness, 0.
fn share() -> f64 {
    let mut byte = [0];
    let _ = getrandom::fill(&mut byte);
    f64::from(byte[0]) / 255.0
}
