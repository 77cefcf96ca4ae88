//! Deletes posted requests that are older than a week, and rejections whose request is gone. Only the holder of the
//! [Lease](crate::lease) does so.
//!
//! Whoever may write ConfigMaps can post requests that nobody reviews, and nothing else removes them. The webhook deletes
//! in governed namespaces only, where its guard has checked what was posted; the policy `requests.writgate.dev` confines it
//! to that. A sweep reads metadata alone, one page at a time.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kube::api::{Api, DeleteParams, Preconditions};
use kube::{Client, Resource as _, ResourceExt as _};
use tokio::time::{Instant, sleep};
use writgate_cluster::bounded_request::{self, RequestError};
use writgate_cluster::clock;
use writgate_cluster::config_map::POSTED_SELECTOR;
use writgate_cluster::pages::{FIRST_OBJECTS, Pages};

use crate::lasting_failure::{FailureChange, LastingFailure};
use crate::lease::Holding;
use crate::metrics::{Metrics, ReloadOutcome};
use crate::state::requests::PostedObject;
use crate::state::store::Store;

/// How long the API server may take for one request.
const ANSWER: Duration = Duration::from_secs(15);
/// Pause between two deletions.
const PAUSE: Duration = Duration::from_millis(20);
/// The most deletions of one sweep. The next sweep continues.
const MAX_DELETED: usize = 10_000;
/// How soon a sweep is repeated that failed, unless the interval is shorter.
const AGAIN: Duration = Duration::from_mins(5);

/// What the sweep works with.
pub(crate) struct RequestSweep {
    client: Client,
    store: Arc<Store>,
    lifetime: SignedDuration,
    metrics: Metrics,
    failure: LastingFailure,
}

/// A ConfigMap that is old enough to be deleted.
#[derive(Debug)]
struct Outdated {
    namespace: String,
    name: String,
    if_unchanged: Preconditions,
    /// The hash of the request that the ConfigMap rejects, if it is a rejection.
    rejects: Option<u64>,
}

/// What a list of posted objects shows.
struct Found {
    hasher: RandomState,
    outdated: Vec<Outdated>,
    /// Hashes of the requests that stay.
    kept: HashSet<u64>,
}

impl Found {
    fn new() -> Self {
        Self { hasher: RandomState::new(), outdated: Vec::new(), kept: HashSet::new() }
    }

    fn add(&mut self, object: &PostedObject, now: Timestamp, lifetime: SignedDuration) {
        let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
        let is_old = object.creation_timestamp().is_some_and(|created| now.duration_since(created.0) > lifetime);
        let rejects = if object.is_rejection() {
            // `rejection-<digits of the request>-<digits of the rejection>`
            let digits = name.split('-').nth(1).unwrap_or_default();
            Some(self.hash(&namespace, &format!("request-{digits}")))
        } else {
            None
        };
        if object.meta().deletion_timestamp.is_some() {
            return; // Its finalizers delay the deletion. Another one would change nothing.
        }
        if !is_old {
            if rejects.is_none() {
                let hash = self.hash(&namespace, &name);
                self.kept.insert(hash);
            }
        } else if self.outdated.len() < MAX_DELETED {
            let if_unchanged = Preconditions { uid: object.uid(), resource_version: object.resource_version() };
            self.outdated.push(Outdated { namespace, name, if_unchanged, rejects });
        }
    }

    fn hash(&self, namespace: &str, name: &str) -> u64 {
        self.hasher.hash_one((namespace, name))
    }

    /// What is to be deleted: every old request, and every old rejection whose request does not stay.
    fn into_deletions(self) -> Vec<Outdated> {
        let Self { mut outdated, kept, .. } = self;
        outdated.retain(|one| one.rejects.is_none_or(|request| !kept.contains(&request)));
        outdated
    }
}

impl RequestSweep {
    /// A sweep of the governed namespaces that `store` knows.
    pub(crate) fn new(client: Client, store: Arc<Store>, lifetime: Duration, metrics: Metrics) -> Self {
        let lifetime = SignedDuration::try_from(lifetime).unwrap_or(SignedDuration::MAX);
        Self { client, store, lifetime, metrics, failure: LastingFailure::default() }
    }

    /// Sweeps every `interval` while this replica holds the Lease. Does not return.
    pub(crate) async fn keep(mut self, interval: Duration, mut holding: Holding) {
        loop {
            holding.wait().await;
            // A replica may hold the Lease before it has read the namespaces. /readyz says why it has not.
            if self.store.age(Instant::now()).is_none() {
                sleep(Duration::from_secs(1)).await;
                continue;
            }
            let swept = self.sweep(&holding, clock::now()).await;
            let pause = if swept.is_err() { interval.min(AGAIN) } else { interval };
            if holding.is_held() {
                self.report(swept);
            }
            sleep(pause).await;
        }
    }

    /// Deletes what is outdated at `now`. Returns how many ConfigMaps were deleted.
    async fn sweep(&self, holding: &Holding, now: Timestamp) -> Result<usize, String> {
        if let Some(why) = self.store.staleness(Instant::now()) {
            return Err(why);
        }
        let governed: HashSet<String> = self.store.governed().into_values().flatten().collect();
        let mut found = Found::new();
        let all: Api<PostedObject> = Api::all(self.client.clone());
        let mut pages = Pages::of(&all, POSTED_SELECTOR, FIRST_OBJECTS);
        while let Some(page) =
            bounded_request::send(ANSWER, pages.next::<PostedObject>()).await.map_err(|error| error.to_string())?
        {
            for object in page.items.iter().filter(|one| one.namespace().is_some_and(|name| governed.contains(&name))) {
                found.add(object, now, self.lifetime);
            }
        }
        let (mut deleted, mut failure) = (0, None);
        for outdated in found.into_deletions() {
            if !holding.is_held() {
                break;
            }
            match self.delete(outdated).await {
                Ok(is_deleted) => deleted += usize::from(is_deleted),
                // One namespace in which something prevents deletions must not keep the requests of the others.
                Err(why) => failure = failure.or(Some(why)),
            }
            sleep(PAUSE).await;
        }
        failure.map_or(Ok(deleted), Err)
    }

    /// Deletes a ConfigMap unless it has changed. Returns whether it was deleted.
    async fn delete(&self, outdated: Outdated) -> Result<bool, String> {
        let Outdated { namespace, name, if_unchanged, .. } = outdated;
        let api: Api<PostedObject> = Api::namespaced(self.client.clone(), &namespace);
        let params = DeleteParams { preconditions: Some(if_unchanged), ..DeleteParams::default() };
        match bounded_request::send(ANSWER, api.delete(&name, &params)).await {
            Ok(_) => {
                self.metrics.posted_requests_swept.inc();
                Ok(true)
            }
            // Somebody else deleted or changed it.
            Err(error) if matches!(error.status_code(), Some(404 | 409)) => Ok(false),
            Err(error) => Err(failed(&namespace, &name, &error)),
        }
    }

    fn report(&mut self, swept: Result<usize, String>) {
        let outcome = if swept.is_err() { ReloadOutcome::Failed } else { ReloadOutcome::Ok };
        self.metrics.requests_swept(outcome);
        if let Ok(deleted @ 1..) = swept {
            tracing::info!(deleted, "old requests and rejections deleted");
        }
        match self.failure.note(swept.err()) {
            Some(FailureChange::Failed(why)) => {
                tracing::warn!(%why, "old requests were not deleted; decisions do not depend on it");
            }
            Some(FailureChange::Recovered) => tracing::info!("old requests can be deleted again"),
            None => {}
        }
    }
}

fn failed(namespace: &str, name: &str, error: &RequestError) -> String {
    format!("ConfigMap {namespace}/{name} cannot be deleted: {error}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: &str = "2026-11-22T10:00:00Z";
    const WEEK: SignedDuration = SignedDuration::from_hours(7 * 24);

    fn deleted(objects: &[(&str, &str, &str, &str)]) -> Vec<String> {
        let mut found = Found::new();
        for (namespace, name, kind, created) in objects {
            let object = json!({"metadata": {"namespace": namespace, "name": name, "uid": "u",
                "creationTimestamp": created, "labels": {"writgate.dev/kind": kind}}});
            let object = serde_json::from_value(object).expect("metadata");
            found.add(&object, NOW.parse().expect("a time"), WEEK);
        }
        let deletions = found.into_deletions().into_iter();
        deletions.map(|one| format!("{}/{}", one.namespace, one.name)).collect()
    }

    #[test]
    fn an_object_that_is_being_deleted_is_not_deleted_again() {
        let mut found = Found::new();
        let object = json!({"metadata": {"namespace": "payments", "name": "request-1", "uid": "u",
            "creationTimestamp": OLD, "deletionTimestamp": NOW, "labels": {"writgate.dev/kind": "request"}}});
        found.add(&serde_json::from_value(object).expect("metadata"), NOW.parse().expect("a time"), WEEK);
        // Its rejections go with it.
        let rejection = json!({"metadata": {"namespace": "payments", "name": "rejection-1-84f584f5", "uid": "u",
            "creationTimestamp": OLD, "labels": {"writgate.dev/kind": "rejection"}}});
        found.add(&serde_json::from_value(rejection).expect("metadata"), NOW.parse().expect("a time"), WEEK);
        let names: Vec<String> = found.into_deletions().into_iter().map(|one| one.name).collect();
        assert_eq!(names, ["rejection-1-84f584f5"]);
    }

    const NEW: &str = "2026-11-15T10:00:00Z";
    const OLD: &str = "2026-11-15T09:59:59Z";

    #[test]
    fn a_request_is_deleted_when_it_is_older_than_a_week() {
        let requests = [("payments", "request-1", "request", NEW), ("payments", "request-2", "request", OLD)];
        assert_eq!(deleted(&requests), ["payments/request-2"]);
    }

    #[test]
    fn a_rejection_stays_while_its_request_exists_and_for_a_week_after_it_was_made() {
        let rejection = |created| ("payments", "rejection-1-84f584f5", "rejection", created);
        assert_eq!(deleted(&[rejection(NEW)]), [""; 0]);
        assert_eq!(deleted(&[rejection(OLD)]), ["payments/rejection-1-84f584f5"]);
        assert_eq!(deleted(&[rejection(OLD), ("payments", "request-1", "request", NEW)]), [""; 0]);
        // Neither another request nor the same name in another namespace keeps it.
        for other in [("payments", "request-2", "request", NEW), ("ledger", "request-1", "request", NEW)] {
            assert_eq!(deleted(&[other, rejection(OLD)]), ["payments/rejection-1-84f584f5"]);
        }
        let both = [rejection(OLD), ("payments", "request-1", "request", OLD)];
        assert_eq!(deleted(&both), ["payments/rejection-1-84f584f5", "payments/request-1"]);
    }
}
