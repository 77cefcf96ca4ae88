//! How many requests and rejections are posted in each namespace, fed by a watch over the metadata of their ConfigMaps.
//!
//! Only the creation of a request or a rejection depends on this state. The state may be some milliseconds old, so many
//! creations at the same moment may exceed the limit. Anyone who can write ConfigMaps decides what is counted, so a
//! namespace costs a bounded amount of memory, and nothing of an object is kept but a hash of its name.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;
use kube::api::ObjectMeta;
use serde::Deserialize;
use tokio::time::Instant;
use writgate_core::{
    guard::{MAX_POSTED, PostedCounts, PostedRequests},
    vocabulary::{KIND_LABEL, REJECTION_KIND},
};

use crate::metrics::Metrics;
use crate::state::metadata_only::MetadataOnly;
use crate::state::store::STALE_AFTER;
use crate::state::watch::Follower;

/// A posted request or a rejection with the metadata that the webhook uses, and nothing else.
pub type PostedObject = MetadataOnly<ConfigMap, PostedMetadata>;

impl PostedObject {
    /// Whether it is a rejection, and not a request.
    pub(crate) fn is_rejection(&self) -> bool {
        self.labels().get(KIND_LABEL).is_some_and(|kind| kind == REJECTION_KIND)
    }
}

/// The metadata of a posted request or a rejection that is kept.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PostedMetadata {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    creation_timestamp: Option<Time>,
    deletion_timestamp: Option<Time>,
    labels: Option<Labels>,
}

/// The label that says what the ConfigMap holds; others are skipped.
#[derive(Clone, Debug, Deserialize)]
struct Labels {
    #[serde(rename = "writgate.dev/kind")]
    kind: Option<String>,
}

impl From<PostedMetadata> for ObjectMeta {
    fn from(metadata: PostedMetadata) -> Self {
        let PostedMetadata { name, namespace, uid, resource_version, creation_timestamp, deletion_timestamp, labels } =
            metadata;
        let kind = labels.and_then(|labels| labels.kind);
        let labels = kind.map(|kind| [(KIND_LABEL.to_owned(), kind)].into());
        Self {
            name,
            namespace,
            uid,
            resource_version,
            creation_timestamp,
            deletion_timestamp,
            labels,
            ..Self::default()
        }
    }
}

/// The ConfigMaps of one kind in one namespace, as hashes of their names.
#[derive(Debug, Default)]
struct PostedNames {
    hashes: HashSet<u64>,
    /// Whether more exist than the set holds.
    is_cut: bool,
}

impl PostedNames {
    fn insert(&mut self, hash: u64) {
        if self.hashes.len() < MAX_POSTED || self.hashes.contains(&hash) {
            self.hashes.insert(hash);
        } else {
            self.is_cut = true;
        }
    }

    fn is_empty(&self) -> bool {
        self.hashes.is_empty() && !self.is_cut
    }

    /// Whether a list would find room for what was left out.
    fn has_room(&self) -> bool {
        self.is_cut && self.hashes.len() < MAX_POSTED
    }
}

/// What is posted in one namespace.
#[derive(Debug, Default)]
struct PostedIn {
    requests: PostedNames,
    rejections: PostedNames,
}

impl PostedIn {
    fn counts(&self) -> PostedCounts {
        PostedCounts { requests: self.requests.hashes.len(), rejections: self.rejections.hashes.len() }
    }
}

/// The requests and rejections of all namespaces, or a list of them that is still being read.
#[derive(Debug, Default)]
pub struct PostedIndex(HashMap<String, PostedIn>);

impl PostedIndex {
    fn insert(&mut self, object: &PostedObject, hasher: &RandomState) {
        let posted = self.0.entry(object.namespace().unwrap_or_default()).or_default();
        let names = if object.is_rejection() { &mut posted.rejections } else { &mut posted.requests };
        names.insert(hasher.hash_one(object.name_any()));
    }

    fn remove(&mut self, object: &PostedObject, hasher: &RandomState) {
        let namespace = object.namespace().unwrap_or_default();
        let Some(posted) = self.0.get_mut(&namespace) else { return };
        // The watch may report the deletion of an object that has lost its label.
        let hash = hasher.hash_one(object.name_any());
        posted.requests.hashes.remove(&hash);
        posted.rejections.hashes.remove(&hash);
        if posted.requests.is_empty() && posted.rejections.is_empty() {
            self.0.remove(&namespace);
        }
    }
}

#[derive(Default)]
struct State {
    index: PostedIndex,
    /// When the index was last proved complete and current.
    fresh: Option<Instant>,
    /// Why it cannot be followed, if the last attempt failed.
    failure: Option<String>,
}

/// The counts, shared between their watch and the reviews.
#[derive(Clone)]
pub struct PostedStore {
    state: Arc<Mutex<State>>,
    hasher: RandomState,
    metrics: Metrics,
}

impl PostedStore {
    /// A store that has counted nothing yet.
    #[must_use]
    pub fn new(metrics: Metrics) -> Self {
        Self { state: Arc::default(), hasher: RandomState::new(), metrics }
    }

    /// The counts of a namespace. The error says why they are not known.
    fn counts(&self, namespace: &str) -> Result<PostedCounts, String> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match state.fresh {
            Some(at) if at.elapsed() < STALE_AFTER => {
                Ok(state.index.0.get(namespace).map(PostedIn::counts).unwrap_or_default())
            }
            _ => Err(state.failure.clone().unwrap_or_else(|| "they have not been read yet".to_owned())),
        }
    }

    fn change(&self, change: impl FnOnce(&mut PostedIndex)) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut state.index);
    }

    /// Updates the gauge of this state.
    fn observe(&self) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let all = state.index.0.values().map(PostedIn::counts);
        let total: usize = all.map(|counts| counts.requests + counts.rejections).sum();
        self.metrics.posted_requests.set(i64::try_from(total).unwrap_or(i64::MAX));
    }
}

impl Follower<PostedObject> for PostedStore {
    type Listed = PostedIndex;

    fn list(&self, listed: &mut PostedIndex, page: Vec<PostedObject>) {
        for object in &page {
            listed.insert(object, &self.hasher);
        }
    }

    fn reset(&self, listed: PostedIndex) {
        self.change(|index| *index = listed);
        self.observe();
    }

    fn apply(&self, object: PostedObject) {
        self.change(|index| {
            index.remove(&object, &self.hasher);
            index.insert(&object, &self.hasher);
        });
    }

    fn delete(&self, object: PostedObject) {
        self.change(|index| index.remove(&object, &self.hasher));
    }

    fn settle(&self) {
        self.observe();
    }

    fn fresh(&self, at: Instant) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        (state.fresh, state.failure) = (Some(at), None);
    }

    fn wants_another_list(&self) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.index.0.values().any(|posted| posted.requests.has_room() || posted.rejections.has_room())
    }

    fn failed(&self, why: &str) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).failure = Some(why.to_owned());
    }
}

/// Where the number of posted requests is known from.
#[derive(Clone, Default)]
pub enum PostedSource {
    /// There is no cluster, so none exist.
    #[default]
    Folder,
    /// From a watch over the cluster.
    Cluster(PostedStore),
    /// The installation accepts none.
    NotAccepted,
}

impl PostedSource {
    /// The counts of a namespace; `Ok(None)` if the installation accepts none. The error says why they are not known.
    pub(crate) fn counts(&self, namespace: &str) -> Result<Option<PostedCounts>, String> {
        match self {
            Self::Folder => Ok(Some(PostedCounts::default())),
            Self::Cluster(store) => store.counts(namespace).map(Some),
            Self::NotAccepted => Ok(None),
        }
    }
}

/// The counts as a guard reads them.
pub(crate) fn as_guard_reads(counts: &Result<Option<PostedCounts>, String>) -> PostedRequests<'_> {
    match counts {
        Ok(Some(counts)) => PostedRequests::Counted(*counts),
        Ok(None) => PostedRequests::NotAccepted,
        Err(why) => PostedRequests::Unknown(why),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(namespace: &str, name: &str, kind: &str) -> PostedObject {
        let object = json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": {
            "name": name, "namespace": namespace, "uid": "u", "resourceVersion": "7",
            "creationTimestamp": "2026-11-22T10:00:00Z", "annotations": {"a": "b"}, "managedFields": [{}],
            "labels": {"team": "x", "writgate.dev/kind": kind}}});
        serde_json::from_value(object).expect("metadata")
    }

    fn request(name: &str) -> PostedObject {
        object("payments", name, "request")
    }

    fn store() -> PostedStore {
        let store = PostedStore::new(Metrics::default());
        store.reset(PostedIndex::default());
        store.fresh(Instant::now());
        store
    }

    fn counts(store: &PostedStore, namespace: &str) -> (usize, usize) {
        let counts = store.counts(namespace).expect("counts");
        (counts.requests, counts.rejections)
    }

    #[test]
    fn keeps_only_what_the_webhook_uses() {
        let object = request("request-1");
        assert_eq!((object.name_any(), object.namespace()), ("request-1".to_owned(), Some("payments".to_owned())));
        assert!(object.creation_timestamp().is_some() && object.uid().is_some() && object.resource_version().is_some());
        assert_eq!(object.labels().len(), 1);
        assert!(object.annotations().is_empty() && object.managed_fields().is_empty());
        for bare in [json!({"metadata": {"name": "a"}}), json!({"metadata": {"name": "a", "labels": null}})] {
            assert!(serde_json::from_value::<PostedObject>(bare).is_ok_and(|object| object.labels().is_empty()));
        }
    }

    #[tokio::test]
    async fn counts_each_kind_in_its_namespace_until_it_is_deleted() {
        let store = store();
        store.apply(request("request-1"));
        store.apply(request("request-1"));
        store.apply(request("request-2"));
        store.apply(object("payments", "rejection-1", "rejection"));
        store.apply(object("ledger", "request-1", "request"));
        assert_eq!((counts(&store, "payments"), counts(&store, "ledger")), ((2, 1), (1, 0)));
        store.settle();
        assert_eq!(store.metrics.posted_requests.get(), 4);
        // With another label, and without one.
        store.apply(object("payments", "request-2", "rejection"));
        assert_eq!(counts(&store, "payments"), (1, 2));
        store.delete(object("payments", "request-2", ""));
        store.delete(request("request-1"));
        assert_eq!(counts(&store, "payments"), (0, 1));
        store.reset(PostedIndex::default());
        assert_eq!(counts(&store, "payments"), (0, 0));
    }

    #[tokio::test]
    async fn a_namespace_with_too_many_is_full_until_a_list_shows_that_it_is_not() {
        let store = store();
        for number in 0..=MAX_POSTED {
            store.apply(request(&format!("request-{number}")));
        }
        assert_eq!(counts(&store, "payments"), (MAX_POSTED, 0));
        assert!(!store.wants_another_list(), "a list would keep no more");
        store.delete(request("request-0"));
        assert!(store.wants_another_list());
        let mut listed = PostedIndex::default();
        store.list(&mut listed, (1..=MAX_POSTED).map(|number| request(&format!("request-{number}"))).collect());
        store.reset(listed);
        assert_eq!(counts(&store, "payments"), (MAX_POSTED, 0));
        assert!(!store.wants_another_list());
    }

    #[tokio::test(start_paused = true)]
    async fn counts_are_known_only_while_they_are_proved_fresh() {
        let store = PostedStore::new(Metrics::default());
        assert_eq!(store.counts("payments"), Err("they have not been read yet".to_owned()));
        store.failed("no right");
        assert_eq!(store.counts("payments"), Err("no right".to_owned()));
        store.fresh(Instant::now());
        assert_eq!(counts(&store, "payments"), (0, 0));
        store.failed("the API server is down");
        assert_eq!(counts(&store, "payments"), (0, 0), "a short failure changes nothing");
        tokio::time::advance(STALE_AFTER).await;
        assert_eq!(store.counts("payments"), Err("the API server is down".to_owned()));
    }
}
