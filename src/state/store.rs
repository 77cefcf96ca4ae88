//! The postures and namespaces of the cluster, or of a folder.
//!
//! The store is synchronous, and [`watch`](crate::state::watch) or [`folder`](crate::state::folder) feeds it, so it is tested
//! without either. A review takes a snapshot with [`Store::postures`] and makes one lookup with [`Store::namespace`]. Neither
//! waits for a writer.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::ResourceExt;
use kube::core::PartialObjectMeta;
use tokio::time::Instant;
use writgate_cluster::config_map::document;
use writgate_cluster::namespace::NamespaceLabels;
use writgate_core::posture::{Document, PostureSet};

use crate::metrics::Metrics;
use crate::state::watch::Follower;

/// The age at which the state is stale. A revocation may have been missed.
pub const STALE_AFTER: Duration = Duration::from_mins(1);

/// A source of the state, which a watch follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchedSource {
    /// The posture documents.
    Postures,
    /// The namespaces and their labels.
    Namespaces,
}

impl WatchedSource {
    const ALL: [Self; 2] = [Self::Postures, Self::Namespaces];

    fn what(self) -> &'static str {
        match self {
            Self::Postures => "postures",
            Self::Namespaces => "namespaces",
        }
    }
}

/// The postures and namespaces, and when they were last proved fresh.
pub struct Store {
    documents: Mutex<Documents>,
    postures: ArcSwap<PostureSet>,
    namespaces: RwLock<HashMap<String, NamespaceLabels>>,
    /// When each source was last proved complete and current, in the order of [`WatchedSource::ALL`].
    fresh: RwLock<[Option<Instant>; 2]>,
}

/// The posture documents.
#[derive(Default)]
struct Documents {
    /// By the name of their ConfigMap.
    by_name: BTreeMap<String, Arc<Document>>,
    /// Whether they have changed since the postures were assembled.
    is_changed: bool,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            documents: Mutex::default(),
            postures: ArcSwap::from_pointee(PostureSet::assemble(Vec::new())),
            namespaces: RwLock::default(),
            fresh: RwLock::default(),
        }
    }
}

impl Store {
    /// A snapshot of the postures. Later changes do not change it.
    #[must_use]
    pub fn postures(&self) -> Arc<PostureSet> {
        self.postures.load_full()
    }

    /// The labels of the namespace `name`, if it is known.
    #[must_use]
    pub fn namespace(&self, name: &str) -> Option<NamespaceLabels> {
        self.namespaces.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// The governed namespaces of each environment, by name.
    #[must_use]
    pub fn governed(&self) -> BTreeMap<String, Vec<String>> {
        let namespaces = self.namespaces.read().unwrap_or_else(PoisonError::into_inner);
        let mut governed: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, labels) in namespaces.iter() {
            if let Some(environment) = &labels.environment {
                governed.entry(environment.to_string()).or_default().push(name.clone());
            }
        }
        for names in governed.values_mut() {
            names.sort_unstable();
        }
        governed
    }

    /// Replaces the whole state with the documents of a folder. Its v1 Namespaces have the labels.
    pub fn replace(&self, documents: Vec<Document>, at: Instant) {
        let postures = self.postures().reassemble(documents.into_iter().map(Arc::new));
        let namespaces = postures.namespaces().iter().map(|(name, labels)| (name.clone(), NamespaceLabels::of(labels)));
        *self.namespaces.write().unwrap_or_else(PoisonError::into_inner) = namespaces.collect();
        self.publish(postures);
        self.prove_all_fresh(at);
    }

    /// Notes that the state includes every change until `at`.
    pub fn prove_all_fresh(&self, at: Instant) {
        for source in WatchedSource::ALL {
            self.prove_fresh(source, at);
        }
    }

    /// Notes that the state includes every change of `source` until `at`.
    pub fn prove_fresh(&self, source: WatchedSource, at: Instant) {
        let mut fresh = self.fresh.write().unwrap_or_else(PoisonError::into_inner);
        let proved = &mut fresh[source as usize];
        *proved = Some(proved.map_or(at, |earlier| earlier.max(at)));
    }

    /// The time since the older of the two sources was proved fresh. `None` until both have been read.
    #[must_use]
    pub fn age(&self, now: Instant) -> Option<Duration> {
        let fresh = *self.fresh.read().unwrap_or_else(PoisonError::into_inner);
        let oldest = fresh.into_iter().collect::<Option<Vec<_>>>()?.into_iter().min()?;
        Some(now.saturating_duration_since(oldest))
    }

    /// Why no decision may rely on this state. `None` if the state is fresh. The text is for the response, the record and
    /// `/readyz`.
    #[must_use]
    pub fn staleness(&self, now: Instant) -> Option<String> {
        match self.age(now) {
            Some(age) if age < STALE_AFTER => None,
            Some(age) => Some(format!(
                "the postures were last proved current {} s ago, more than the {} s that a decision may rely on: the \
                 webhook cannot reach the API server",
                age.as_secs(),
                STALE_AFTER.as_secs()
            )),
            None => Some(
                "the postures have not been read yet: the webhook is starting, or cannot reach the API server"
                    .to_owned(),
            ),
        }
    }

    /// Why this state is not ready. Empty if it is ready.
    #[must_use]
    pub fn missing(&self) -> Vec<String> {
        let fresh = *self.fresh.read().unwrap_or_else(PoisonError::into_inner);
        let unread = WatchedSource::ALL.into_iter().filter(|source| fresh[*source as usize].is_none());
        let unread: Vec<_> = unread.map(|source| format!("{} not listed yet", source.what())).collect();
        if unread.is_empty() { self.staleness(Instant::now()).into_iter().collect() } else { unread }
    }

    /// Updates the gauges that describe this state.
    pub fn observe(&self, metrics: &Metrics) {
        // Before the first list there is no age. Infinity fires any alert on the age.
        metrics.posture_age.set(self.age(Instant::now()).map_or(f64::INFINITY, |age| age.as_secs_f64()));
        let postures = self.postures();
        let unlisted = postures.unlisted_revocations().map(|(_, revoked)| revoked.len()).sum::<usize>();
        metrics.posture_problems.set(i64::try_from(postures.problems().len()).unwrap_or(i64::MAX));
        metrics.unlisted_revocations.set(i64::try_from(unlisted).unwrap_or(i64::MAX));
    }

    /// Changes the documents. [`Store::settle`] puts the change in force.
    ///
    /// `change` says whether it changed anything. Many may write annotations, and a write that leaves the documents as they
    /// are must not cost anything.
    fn change(&self, change: impl FnOnce(&mut BTreeMap<String, Arc<Document>>) -> bool) {
        let mut documents = self.documents.lock().unwrap_or_else(PoisonError::into_inner);
        documents.is_changed |= change(&mut documents.by_name);
    }

    /// Assembles the postures that later reviews see, if documents have changed.
    fn settle(&self) {
        let mut documents = self.documents.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::take(&mut documents.is_changed) {
            let known = self.postures();
            let postures = known.reassemble(documents.by_name.values().cloned());
            let postures = postures.remembering(&known, &self.governed());
            for (environment, revoked) in postures.unlisted_revocations() {
                tracing::error!(
                    environment,
                    revocations = revoked.len(),
                    "revocations that are in force are in no list any more; add them again before the webhook restarts"
                );
            }
            self.publish(postures);
        }
    }

    fn publish(&self, postures: PostureSet) {
        let known = self.postures();
        for problem in postures.problems().iter().filter(|problem| !known.problems().contains(problem)) {
            tracing::error!(source = problem.source, path = problem.path, "invalid posture: {}", problem.message);
        }
        self.postures.store(Arc::new(postures));
    }
}

/// Feeds the store with the ConfigMaps that have posture documents.
pub struct PostureFollower(pub Arc<Store>);

impl Follower<ConfigMap> for PostureFollower {
    /// Each ConfigMap may have 1 MiB of text, which takes up to 6 MiB in JSON.
    const PAGE: u32 = 16;
    type Listed = BTreeMap<String, Arc<Document>>;

    fn list(&self, listed: &mut Self::Listed, page: Vec<ConfigMap>) {
        listed.extend(page.iter().map(|object| (object.name_any(), Arc::new(document(object)))));
    }

    fn reset(&self, listed: Self::Listed) {
        self.0.change(|documents| {
            let is_changed = *documents != listed;
            *documents = listed;
            is_changed
        });
        self.0.settle();
    }

    fn apply(&self, object: ConfigMap) {
        let document = Arc::new(document(&object));
        self.0.change(|documents| match documents.entry(object.name_any()) {
            Entry::Occupied(known) if *known.get() == document => false,
            entry => {
                entry.insert_entry(document);
                true
            }
        });
    }

    fn delete(&self, object: ConfigMap) {
        self.0.change(|documents| documents.remove(&object.name_any()).is_some());
    }

    fn settle(&self) {
        self.0.settle();
    }

    fn fresh(&self, at: Instant) {
        self.0.prove_fresh(WatchedSource::Postures, at);
    }
}

/// Feeds the store with namespaces.
pub struct NamespaceFollower(pub Arc<Store>);

impl NamespaceFollower {
    fn change(&self, change: impl FnOnce(&mut HashMap<String, NamespaceLabels>)) {
        change(&mut self.0.namespaces.write().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Follower<PartialObjectMeta<Namespace>> for NamespaceFollower {
    /// Each Namespace may have more than 1 MiB of labels and annotations.
    const PAGE: u32 = 100;
    type Listed = HashMap<String, NamespaceLabels>;

    fn list(&self, listed: &mut Self::Listed, page: Vec<PartialObjectMeta<Namespace>>) {
        listed.extend(page.iter().map(|object| (object.name_any(), NamespaceLabels::of(object.labels()))));
    }

    fn reset(&self, listed: Self::Listed) {
        self.change(|namespaces| *namespaces = listed);
    }

    fn apply(&self, object: PartialObjectMeta<Namespace>) {
        self.change(|namespaces| {
            namespaces.insert(object.name_any(), NamespaceLabels::of(object.labels()));
        });
    }

    fn delete(&self, object: PartialObjectMeta<Namespace>) {
        self.change(|namespaces| {
            namespaces.remove(&object.name_any());
        });
    }

    fn fresh(&self, at: Instant) {
        self.0.prove_fresh(WatchedSource::Namespaces, at);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use writgate_core::vocabulary::ENVIRONMENT_LABEL;

    use super::*;

    fn config_map(name: &str, kind: &str, text: &str) -> ConfigMap {
        serde_json::from_value(json!({
            "metadata": {"name": name, "namespace": "writgate-system", "labels": {"writgate.dev/kind": kind}},
            "data": {format!("{kind}.yaml"): text},
        }))
        .expect("a ConfigMap")
    }

    fn listed(objects: &[ConfigMap]) -> BTreeMap<String, Arc<Document>> {
        objects.iter().map(|object| (object.name_any(), Arc::new(document(object)))).collect()
    }

    fn posture(environment: &str) -> ConfigMap {
        let text = format!("apiVersion: writgate.dev/v1\nkind: Posture\nenvironment: {environment}\n");
        config_map(&format!("posture-{environment}"), "posture", &text)
    }

    fn namespace(name: &str, environment: Option<&str>) -> PartialObjectMeta<Namespace> {
        let labels = environment.map(|environment| json!({ENVIRONMENT_LABEL: environment, "app": "x"}));
        let object = json!({"metadata": {"name": name, "labels": labels}});
        serde_json::from_value(object).expect("a Namespace")
    }

    fn code(store: &Store, environment: &str) -> &'static str {
        match store.postures().environment(environment) {
            Ok(_) => "valid",
            Err(writgate_core::posture::PostureError::Missing { .. }) => "missing",
            Err(_) => "invalid",
        }
    }

    #[test]
    fn a_posture_is_in_force_from_its_apply_to_its_delete() {
        let postures = PostureFollower(Arc::default());
        postures.apply(posture("production"));
        postures.settle();
        assert_eq!(code(&postures.0, "production"), "valid");
        assert_eq!(code(&postures.0, "staging"), "missing");
        postures.delete(posture("production"));
        postures.settle();
        assert_eq!(code(&postures.0, "production"), "missing");
    }

    #[test]
    fn changes_that_arrive_together_are_in_force_together() {
        let postures = PostureFollower(Arc::default());
        postures.apply(posture("production"));
        postures.apply(posture("staging"));
        assert_eq!((code(&postures.0, "production"), code(&postures.0, "staging")), ("missing", "missing"));
        postures.settle();
        assert_eq!((code(&postures.0, "production"), code(&postures.0, "staging")), ("valid", "valid"));
        let before = postures.0.postures();
        let mut annotated = posture("production");
        annotated.annotations_mut().insert("touched".to_owned(), "again".to_owned());
        postures.apply(annotated);
        postures.settle();
        assert!(Arc::ptr_eq(&before, &postures.0.postures()), "the documents are the same");
    }

    #[test]
    fn a_new_list_replaces_the_known_postures() {
        let postures = PostureFollower(Arc::default());
        postures.reset(listed(&[posture("production"), posture("staging")]));
        postures.reset(listed(&[posture("staging")]));
        assert_eq!((code(&postures.0, "production"), code(&postures.0, "staging")), ("missing", "valid"));
    }

    #[test]
    fn an_invalid_change_leaves_no_older_trust_in_force() {
        let postures = PostureFollower(Arc::default());
        postures.reset(listed(&[posture("production"), posture("staging")]));
        postures.apply(config_map(
            "posture-production",
            "posture",
            "environment: production\nkind: Posture\nquorum: [",
        ));
        postures.settle();
        assert_eq!((code(&postures.0, "production"), code(&postures.0, "staging")), ("invalid", "valid"));
    }

    #[test]
    fn a_snapshot_does_not_change_under_a_review() {
        let postures = PostureFollower(Arc::default());
        postures.apply(posture("production"));
        postures.settle();
        let snapshot = postures.0.postures();
        postures.delete(posture("production"));
        postures.settle();
        assert!(snapshot.environment("production").is_ok());
    }

    #[test]
    fn the_same_documents_have_one_version_in_a_cluster_and_in_a_folder() {
        let postures = PostureFollower(Arc::default());
        let object = posture("production");
        postures.apply(object.clone());
        postures.settle();
        let bare = Store::default();
        let text = object.data.expect("data")["posture.yaml"].clone();
        bare.replace(vec![Document { source: "a.yaml".into(), name: None, text }], Instant::now());
        let version = |store: &Store| store.postures().environment("production").expect("valid").version.clone();
        assert_eq!(version(&postures.0), version(&bare));
        let named = postures.0.postures();
        assert_eq!(named.environment("production").expect("valid").config_map.as_deref(), Some("posture-production"));
    }

    #[test]
    fn namespaces_follow_their_labels() {
        let namespaces = NamespaceFollower(Arc::default());
        namespaces.reset(
            [namespace("payments", Some("production")), namespace("default", None)]
                .iter()
                .map(|object| (object.name_any(), NamespaceLabels::of(object.labels())))
                .collect(),
        );
        let environment =
            |name| namespaces.0.namespace(name).map(|labels| labels.environment.as_deref().map(str::to_owned));
        assert_eq!(environment("payments"), Some(Some("production".to_owned())));
        assert_eq!(environment("default"), Some(None));
        assert_eq!(environment("unknown"), None);
        namespaces.apply(namespace("payments", Some("staging")));
        assert_eq!(environment("payments"), Some(Some("staging".to_owned())));
        namespaces.delete(namespace("payments", None));
        assert_eq!(environment("payments"), None);
    }

    #[test]
    fn state_is_stale_when_either_source_was_not_proved_fresh_for_a_minute() {
        let store = Store::default();
        let begun = Instant::now();
        assert!(store.staleness(begun).is_some_and(|why| why.contains("not been read yet")));
        store.prove_fresh(WatchedSource::Postures, begun);
        assert!(store.staleness(begun).is_some(), "the namespaces are still unknown");
        store.prove_fresh(WatchedSource::Namespaces, begun + Duration::from_secs(30));
        assert_eq!(store.staleness(begun + Duration::from_secs(59)), None);
        assert!(store.staleness(begun + STALE_AFTER).is_some_and(|why| why.contains("60 s")));
        store.prove_fresh(WatchedSource::Postures, begun + Duration::from_secs(50));
        store.prove_fresh(WatchedSource::Postures, begun);
        assert_eq!(store.age(begun + Duration::from_secs(50)), Some(Duration::from_secs(20)));
    }
}
