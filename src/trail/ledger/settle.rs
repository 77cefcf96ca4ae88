//! Settles a reserved use: it is confirmed when its object is seen, and released if the object was never created.
//!
//! Only an unbroken watch proves that an object was never created. The watch begins at the version at which the use was
//! reserved, and lasts longer than any request can take to be stored, so it also sees an object that was created and deleted
//! in between (docs/adr/0008-ledger.md). If the watch breaks, the use stays spent.

use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, ListParams, PostParams, WatchEvent, WatchParams};
use kube::core::DynamicObject;
use kube::{Client, ResourceExt};
use tokio::time::{Instant, sleep, timeout};
use writgate_cluster::client::api_resource;
use writgate_cluster::{clock, names, retry};
use writgate_core::{
    approval::spec_hash,
    decide::{Use, UseRecord},
    kube::{WorkloadKind, WorkloadKinds},
    vocabulary::REPLAY_LABEL,
};

use crate::metrics::UseOutcome;
use crate::trail::ledger::sweep::if_unchanged;
use crate::trail::ledger::{ANSWER, Ledger, bounded, entry};

/// How long it may take after the end of the watch to prove that the watch is complete.
const GRACE: Duration = Duration::from_secs(30);
/// The duration of a watch that only has to be proved complete. The API server sends a bookmark two seconds before the end.
const PROOF_SECONDS: u32 = 3;
/// Pause after a watch that broke or reported nothing.
const PAUSE: Duration = Duration::from_millis(500);

/// A reserved use that is not settled: its entry as it was written.
pub(super) struct Reserved {
    pub(super) entry: ConfigMap,
    pub(super) record: UseRecord,
    /// The resource version after which the object may have been written.
    pub(super) since: u64,
}

/// What became of the object of a use.
enum UseFate {
    /// The object exists, or existed, as it was admitted.
    Seen,
    /// The object was never created.
    NeverCreated,
}

/// How one watch ended.
enum WatchEnd {
    Seen,
    /// The watch ended by itself, and reported everything until this version.
    Until(u64),
    /// The watch broke.
    Broken(String),
}

impl Ledger {
    /// Confirms or releases the use, in a separate task.
    pub(super) fn follow_up(&self, reserved: Reserved) {
        let Ok(permit) = self.0.watches.clone().try_acquire_owned() else {
            return self.leave_spent(&reserved.record, "too many uses are followed up at once");
        };
        let ledger = self.clone();
        tokio::spawn(async move {
            let _permit = permit;
            ledger.settle(reserved).await;
        });
    }

    async fn settle(&self, reserved: Reserved) {
        match self.fate(&reserved).await {
            Ok(UseFate::Seen) => {
                let confirmed = self.amend(reserved, |record| record.confirmed = Some(clock::now())).await;
                if confirmed {
                    self.0.metrics.use_counted(UseOutcome::Confirmed);
                }
            }
            Ok(UseFate::NeverCreated) => self.release(&reserved).await,
            Err(why) => {
                self.leave_spent(&reserved.record, &why);
                self.amend(reserved, |_| ()).await;
            }
        }
    }

    fn leave_spent(&self, record: &UseRecord, why: &str) {
        self.0.metrics.use_counted(UseOutcome::Spent);
        let (approval, entry) = (&record.used.approval, &record.used.entry);
        tracing::warn!(
            approval,
            entry,
            why,
            "approval stays used, because it is not known whether its object was created"
        );
    }

    /// Whether the object of a use was ever created. The error says why that cannot be known.
    async fn fate(&self, reserved: &Reserved) -> Result<UseFate, String> {
        let object = UsedObject::of(&self.0.client, &self.0.kinds, &reserved.record.used)?;
        let mut version = reserved.since;
        // A read after a write has at least the version of the write, unless the two resources are in different etcds.
        let latest = object.latest_version().await?;
        if latest < version {
            return Err(format!("{} are not stored in the etcd of the ledger ({latest} < {version})", object.resource));
        }
        let ready = Instant::now() + self.0.release_after;
        let mut all = None;
        loop {
            if all.is_none() && Instant::now() >= ready {
                all = object.latest_version().await.ok();
            }
            match all {
                Some(all) if version >= all => return Ok(UseFate::NeverCreated),
                _ if Instant::now() > ready + GRACE => {
                    return Err("the watch did not reach the latest version in time".to_owned());
                }
                _ => {}
            }
            let seconds = match all {
                Some(_) => PROOF_SECONDS,
                None => whole_seconds(ready.saturating_duration_since(Instant::now())).max(PROOF_SECONDS),
            };
            match object.watch(version, seconds).await? {
                WatchEnd::Seen => return Ok(UseFate::Seen),
                WatchEnd::Until(until) if until > version => version = until,
                // The next watch continues from the same version, so nothing is missed.
                WatchEnd::Until(_) => sleep(PAUSE).await,
                WatchEnd::Broken(why) => {
                    tracing::debug!(entry = reserved.record.used.entry, why, "watch broke");
                    sleep(PAUSE).await;
                }
            }
        }
    }

    /// Deletes the entry, unless it was renewed or confirmed meanwhile.
    async fn release(&self, reserved: &Reserved) {
        let params = if_unchanged(&reserved.entry);
        let used = &reserved.record.used;
        for pause in retry::pauses() {
            match bounded(self.0.entries.delete(&used.entry, &params)).await {
                Ok(_) => {
                    self.0.metrics.use_counted(UseOutcome::Released);
                    let (approval, object) = (&used.approval, &used.object.name);
                    return tracing::info!(approval, object, "use released: its object was never created");
                }
                // A further request has renewed the use, or another replica has released it.
                Err(failure) if matches!(failure.status_code(), Some(404 | 409)) => return,
                Err(failure) if !failure.is_retriable() => {
                    return self.leave_spent(&reserved.record, &failure.to_string());
                }
                Err(_) => sleep(pause).await,
            }
        }
        self.leave_spent(&reserved.record, "the entry could not be deleted");
    }

    /// Changes the use in the entry, which is not released after that. Returns whether the entry was written.
    async fn amend(&self, reserved: Reserved, change: impl Fn(&mut UseRecord)) -> bool {
        let Reserved { mut entry, mut record, .. } = reserved;
        let name = record.used.entry.clone();
        for pause in retry::pauses() {
            record.free_at = None;
            change(&mut record);
            let Ok(key) = self.key().await else { return false };
            entry::put_use(&mut entry, &record, &key);
            let replaced = bounded(self.0.entries.replace(&name, &PostParams::default(), &entry)).await;
            let Err(failure) = replaced else { return true };
            if failure.status_code() == Some(409) {
                // The use may have been renewed meanwhile, and then has a later version.
                let Ok(Some(found)) = bounded(self.0.entries.get_opt(&name)).await else { continue };
                match self.authentic_use(&found).await {
                    Ok(held) if held.is_by_the_same(&record.used) => (entry, record) = (found, held),
                    _ => return false,
                }
            } else if failure.is_retriable() {
                sleep(pause).await;
            } else {
                break;
            }
        }
        self.0.metrics.use_counted(UseOutcome::Failed);
        tracing::warn!(entry = name, "ledger entry not updated; the use stays spent");
        false
    }
}

/// Where to find the object of a use in the cluster.
struct UsedObject<'a> {
    api: Api<DynamicObject>,
    resource: &'static str,
    kind: WorkloadKind,
    used: &'a Use,
    selector: String,
}

impl<'a> UsedObject<'a> {
    fn of(client: &Client, kinds: &WorkloadKinds, used: &'a Use) -> Result<Self, String> {
        let object = &used.object;
        // Only workloads have approvals. The resource follows from the kind, and never from the request.
        let is_named = names::is_label(&object.namespace) && names::is_subdomain(&object.name);
        let kind = if is_named { kinds.find(&object.api_version, &object.kind) } else { None };
        let kind = kind.ok_or_else(|| {
            format!("{} {}/{} is not a workload with a valid name", object.kind, object.namespace, object.name)
        })?;
        let resource = api_resource(kind.api_version(), kind.kind(), kind.resource());
        let api = Api::namespaced_with(client.clone(), &object.namespace, &resource);
        Ok(Self { api, resource: kind.resource(), kind, used, selector: format!("metadata.name={}", object.name) })
    }

    /// A resource version that includes every write until now. A list without `resourceVersion` is never from an old cache.
    async fn latest_version(&self) -> Result<u64, String> {
        let list = bounded(self.api.list_metadata(&ListParams::default().fields(&self.selector))).await;
        let list = list.map_err(|failure| format!("{} cannot be listed: {failure}", self.resource))?;
        version(list.metadata.resource_version.as_deref())
    }

    /// Watches from `since`. An error means that something may have been missed.
    async fn watch(&self, since: u64, seconds: u32) -> Result<WatchEnd, String> {
        let end = Instant::now() + Duration::from_secs(seconds.into()) + ANSWER;
        let params = WatchParams::default().fields(&self.selector).timeout(seconds);
        let mut until = since;
        let events = match bounded(self.api.watch(&params, &since.to_string())).await {
            Ok(events) => events,
            Err(failure) if failure.status_code() == Some(410) => return Err(failure.to_string()),
            Err(failure) => return Ok(WatchEnd::Broken(failure.to_string())),
        };
        let mut events = events.boxed();
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let Ok(Some(event)) = timeout(left, events.next()).await else { return Ok(WatchEnd::Until(until)) };
            match event {
                Ok(WatchEvent::Added(object) | WatchEvent::Modified(object) | WatchEvent::Deleted(object)) => {
                    if self.is_in(&object)? {
                        return Ok(WatchEnd::Seen);
                    }
                    until = version(object.metadata.resource_version.as_deref())?;
                }
                Ok(WatchEvent::Bookmark(bookmark)) => until = version(Some(&bookmark.metadata.resource_version))?,
                Ok(WatchEvent::Error(status)) if status.code == 410 => return Err(status.message),
                Ok(WatchEvent::Error(status)) => return Ok(WatchEnd::Broken(status.message)),
                Err(error) => return Ok(WatchEnd::Broken(error.to_string())),
            }
        }
    }

    /// Whether `object` is the admitted object of the use. The watch reports every version of the object, so an object of this uid
    /// with another spec or another replay label is another one, such as a dry run whose uid a caller without the API server
    /// has named.
    fn is_in(&self, object: &DynamicObject) -> Result<bool, String> {
        let generation = object.metadata.generation.unwrap_or_default();
        let replay = object.labels().get(REPLAY_LABEL);
        if object.uid() != self.used.object.uid
            || generation < self.used.generation
            || replay != self.used.replay.as_ref()
        {
            return Ok(false);
        }
        let spec = object.data.get("spec").map_or_else(|| "{}".to_owned(), ToString::to_string);
        match spec_hash(self.kind, &spec) {
            Ok(hash) => Ok(hash == self.used.spec_hash),
            Err(error) => Err(format!("the spec of its object cannot be hashed: {error}")),
        }
    }
}

/// Resource versions of one resource are numbers that grow (KEP-5504).
pub(super) fn version(text: Option<&str>) -> Result<u64, String> {
    let text = text.unwrap_or_default();
    text.parse().map_err(|_| format!("resource version {text:?} is not a number"))
}

fn whole_seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis().div_ceil(1000)).unwrap_or(u32::MAX)
}
