//! The postures and namespaces of the cluster, or of a folder.
//!
//! The store is synchronous, and [`watch`](crate::state::watch) or [`folder`](crate::state::folder) feeds it, so it is tested
//! without either. A review takes a snapshot with [`Store::postures`] and makes one lookup with [`Store::namespace`]. Neither
//! waits for a writer.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use tokio::time::Instant;
use writgate_cluster::names::CANARY_NAMESPACE;
use writgate_cluster::namespace::NamespaceLabels;
use writgate_core::posture::{Document, PostureError, PostureProblem, PostureSet};

use crate::metrics::Metrics;
use crate::state::documents::Documents;
use crate::state::namespaces::WatchedNamespace;
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
    followed: Mutex<Followed>,
    postures: ArcSwap<PostureSet>,
    namespaces: RwLock<HashMap<String, NamespaceLabels>>,
    /// When each source was last proved complete and current, in the order of [`WatchedSource::ALL`].
    fresh: RwLock<[Option<Instant>; 2]>,
    /// Why each source cannot be followed, if the last attempt failed.
    failures: Mutex<[Option<String>; 2]>,
}

/// The posture documents of the cluster, and whether they have changed since the postures were assembled.
#[derive(Default)]
struct Followed {
    documents: Documents,
    is_changed: bool,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            followed: Mutex::default(),
            postures: ArcSwap::from_pointee(PostureSet::assemble(Vec::new())),
            namespaces: RwLock::default(),
            fresh: RwLock::default(),
            failures: Mutex::default(),
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
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)[source as usize] = None;
    }

    /// Notes why `source` cannot be followed.
    pub fn note_failure(&self, source: WatchedSource, why: &str) {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)[source as usize] = Some(why.to_owned());
    }

    /// Why a source cannot be followed.
    fn failure(&self) -> Option<String> {
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        WatchedSource::ALL.into_iter().find_map(|source| {
            let why = failures[source as usize].as_ref()?;
            Some(format!("{}: {why}", source.what()))
        })
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
        let failure = || self.failure().unwrap_or_else(|| "the webhook cannot reach the API server".to_owned());
        match self.age(now) {
            Some(age) if age < STALE_AFTER => None,
            Some(age) => Some(format!(
                "the webhook's state is too old to decide: postures and namespaces were last proved current {} s ago, \
                 more than the {} s that a decision may rely on; {}",
                age.as_secs(),
                STALE_AFTER.as_secs(),
                failure()
            )),
            None => Some(self.failure().map_or_else(
                || {
                    "the postures have not been read yet: the webhook is starting, or cannot reach the API server"
                        .to_owned()
                },
                |why| format!("the postures and namespaces have not been read yet; {why}"),
            )),
        }
    }

    /// Why this state is not ready. Empty if it is ready.
    #[must_use]
    pub fn missing(&self) -> Vec<String> {
        let fresh = *self.fresh.read().unwrap_or_else(PoisonError::into_inner);
        let unread = WatchedSource::ALL.into_iter().filter(|source| fresh[*source as usize].is_none());
        let unread: Vec<_> = unread.map(|source| format!("{} not listed yet", source.what())).collect();
        if unread.is_empty() {
            return self.staleness(Instant::now()).into_iter().collect();
        }
        unread.into_iter().chain(self.failure()).collect()
    }

    /// Updates the gauges that describe this state.
    pub fn observe(&self, metrics: &Metrics) {
        // Before the first list there is no age. Infinity fires any alert on the age.
        metrics.posture_age.set(self.age(Instant::now()).map_or(f64::INFINITY, |age| age.as_secs_f64()));
        let postures = self.postures();
        let unlisted = postures.unlisted_revocations().map(|(_, revoked)| revoked.len()).sum::<usize>();
        metrics.posture_problems.set(i64::try_from(postures.problems().len()).unwrap_or(i64::MAX));
        let documents = postures.documents();
        let left_out = documents.filter(|document| document.is_left_out()).count();
        metrics.documents_left_out.set(i64::try_from(left_out).unwrap_or(i64::MAX));
        metrics.unlisted_revocations.set(i64::try_from(unlisted).unwrap_or(i64::MAX));
        let governed = self.governed();
        let is_missing = |(environment, namespaces): &(&String, &Vec<String>)| {
            // No posture is for the namespace of the canary.
            namespaces.iter().any(|namespace| namespace != CANARY_NAMESPACE)
                && matches!(postures.environment(environment), Err(PostureError::Missing { .. }))
        };
        let missing = governed.iter().filter(is_missing).count();
        metrics.environments_without_posture.set(i64::try_from(missing).unwrap_or(i64::MAX));
        metrics.note_postures(postures.environments().map(|(environment, posture)| (environment, posture.is_ok())));
    }

    /// Changes the documents. [`Store::settle`] puts the change in force. `change` says whether it changed anything.
    fn change(&self, change: impl FnOnce(&mut Documents) -> bool) {
        let mut followed = self.followed.lock().unwrap_or_else(PoisonError::into_inner);
        followed.is_changed |= change(&mut followed.documents);
    }

    /// Assembles the postures that later reviews see, if documents have changed.
    fn settle(&self) {
        let mut followed = self.followed.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::take(&mut followed.is_changed) {
            let known = self.postures();
            let postures = known.reassemble(followed.documents.iter().cloned());
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
        // Sorted: comparing each with each would take the square of their number.
        let is_new = |problem: &&PostureProblem| known.problems().binary_search(problem).is_err();
        for problem in postures.problems().iter().filter(is_new) {
            tracing::error!(source = problem.source, path = problem.path, "invalid posture: {}", problem.message);
        }
        self.postures.store(Arc::new(postures));
    }
}

/// Feeds the store with the ConfigMaps that have posture documents.
pub struct PostureFollower(pub Arc<Store>);

impl Follower<ConfigMap> for PostureFollower {
    type Listed = Documents;

    fn list(&self, listed: &mut Self::Listed, page: Vec<ConfigMap>) {
        let postures = self.0.postures();
        for object in page {
            listed.insert(&object, &postures);
        }
    }

    fn reset(&self, listed: Self::Listed) {
        self.0.change(|documents| documents.replace(listed));
        self.0.settle();
    }

    fn apply(&self, object: ConfigMap) {
        let postures = self.0.postures();
        self.0.change(|documents| documents.insert(&object, &postures));
    }

    /// There may be room by now for documents that were left out. A first list also does not know which documents the
    /// postures name, and a second one does.
    fn wants_another_list(&self) -> bool {
        let postures = self.0.postures();
        let followed = self.0.followed.lock().unwrap_or_else(PoisonError::into_inner);
        followed.documents.has_room_for_left_out(&postures)
    }

    fn delete(&self, object: ConfigMap) {
        self.0.change(|documents| documents.remove(&object.name_any()));
    }

    fn settle(&self) {
        self.0.settle();
    }

    fn fresh(&self, at: Instant) {
        self.0.prove_fresh(WatchedSource::Postures, at);
    }

    fn failed(&self, why: &str) {
        self.0.note_failure(WatchedSource::Postures, why);
    }
}

/// Feeds the store with namespaces.
pub struct NamespaceFollower(pub Arc<Store>);

impl NamespaceFollower {
    fn change(&self, change: impl FnOnce(&mut HashMap<String, NamespaceLabels>)) {
        change(&mut self.0.namespaces.write().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Follower<WatchedNamespace> for NamespaceFollower {
    type Listed = HashMap<String, NamespaceLabels>;

    fn list(&self, listed: &mut Self::Listed, page: Vec<WatchedNamespace>) {
        listed.extend(page.iter().map(|object| (object.name_any(), NamespaceLabels::of(object.labels()))));
    }

    fn reset(&self, listed: Self::Listed) {
        self.change(|namespaces| *namespaces = listed);
    }

    fn apply(&self, object: WatchedNamespace) {
        self.change(|namespaces| {
            namespaces.insert(object.name_any(), NamespaceLabels::of(object.labels()));
        });
    }

    fn delete(&self, object: WatchedNamespace) {
        self.change(|namespaces| {
            namespaces.remove(&object.name_any());
        });
    }

    fn fresh(&self, at: Instant) {
        self.0.prove_fresh(WatchedSource::Namespaces, at);
    }

    fn failed(&self, why: &str) {
        self.0.note_failure(WatchedSource::Namespaces, why);
    }
}
