//! What the cluster, or a folder, says about postures and namespaces: the state that reviews are judged by.
//!
//! Synchronous, and fed by [`watch`](crate::watch) or [`posture_dir`](crate::posture_dir), so it is tested without
//! either. A review takes a snapshot with [`Store::postures`] and one lookup with [`Store::namespace`]; neither
//! waits for a writer's work. What a posture means is core's; what is asked live is `namespace_reader`'s.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::ResourceExt;
use kube::core::PartialObjectMeta;
use tokio::time::Instant;
use writgate_core::{Document, PostureSet};

use crate::metrics::Metrics;
use crate::watch::Follower;

/// Label of a namespace: its environment. With it the namespace is governed.
pub const ENVIRONMENT_LABEL: &str = "writgate.dev/environment";
/// Label of a namespace: its project.
pub const PROJECT_LABEL: &str = "writgate.dev/project";
/// The ConfigMaps that make up postures, as a label selector.
pub const POSTURE_SELECTOR: &str = "writgate.dev/kind in (posture,reviewers,revocations,pipelines)";
/// Age at which what is known no longer counts as known: a revocation may have been missed.
pub const STALE_AFTER: Duration = Duration::from_secs(60);

/// What a namespace's labels say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamespaceLabels {
    /// Its environment; absent where it is not governed.
    pub environment: Option<Arc<str>>,
    /// Its project.
    pub project: Option<Arc<str>>,
}

impl NamespaceLabels {
    /// Picks ours out of all labels.
    #[must_use]
    pub fn of(labels: &BTreeMap<String, String>) -> Self {
        let label = |key| labels.get(key).map(|value| Arc::from(value.as_str()));
        Self { environment: label(ENVIRONMENT_LABEL), project: label(PROJECT_LABEL) }
    }
}

/// One of the two things that are followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The documents of the postures.
    Postures,
    /// The namespaces and their labels.
    Namespaces,
}

impl Source {
    const ALL: [Self; 2] = [Self::Postures, Self::Namespaces];

    fn what(self) -> &'static str {
        match self {
            Self::Postures => "postures",
            Self::Namespaces => "namespaces",
        }
    }
}

/// See the module.
pub struct Store {
    /// Documents by the ConfigMap that holds them.
    documents: Mutex<BTreeMap<String, Vec<Document>>>,
    postures: ArcSwap<PostureSet>,
    namespaces: RwLock<HashMap<String, NamespaceLabels>>,
    /// When each source was last proved complete and current; in the order of [`Source::ALL`].
    fresh: RwLock<[Option<Instant>; 2]>,
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
    /// The postures as they are now. Later changes do not show in it.
    #[must_use]
    pub fn postures(&self) -> Arc<PostureSet> {
        self.postures.load_full()
    }

    /// The labels of the namespace `name`, if it is known.
    #[must_use]
    pub fn namespace(&self, name: &str) -> Option<NamespaceLabels> {
        self.namespaces.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// Replaces everything with what a folder holds; its v1 Namespaces give the labels.
    pub fn replace(&self, documents: Vec<Document>, at: Instant) {
        let postures = PostureSet::assemble(documents);
        let namespaces = postures.namespaces().iter().map(|(name, labels)| (name.clone(), NamespaceLabels::of(labels)));
        *self.namespaces.write().unwrap_or_else(PoisonError::into_inner) = namespaces.collect();
        self.publish(postures);
        self.prove_all_fresh(at);
    }

    /// Everything that happened until `at` is known here.
    pub fn prove_all_fresh(&self, at: Instant) {
        Source::ALL.into_iter().for_each(|source| self.prove_fresh(source, at));
    }

    /// Everything that happened to `source` until `at` is known here.
    pub fn prove_fresh(&self, source: Source, at: Instant) {
        let mut fresh = self.fresh.write().unwrap_or_else(PoisonError::into_inner);
        let proved = &mut fresh[source as usize];
        *proved = Some(proved.map_or(at, |earlier| earlier.max(at)));
    }

    /// Time since the older of the two sources was proved fresh; `None` before both were seen.
    #[must_use]
    pub fn age(&self, now: Instant) -> Option<Duration> {
        let fresh = *self.fresh.read().unwrap_or_else(PoisonError::into_inner);
        let oldest = fresh.into_iter().collect::<Option<Vec<_>>>()?.into_iter().min()?;
        Some(now.saturating_duration_since(oldest))
    }

    /// Why nothing can be judged by this state, if so; for the answer, the record and readiness.
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

    /// What stands between this state and readiness; empty when nothing does.
    #[must_use]
    pub fn missing(&self) -> Vec<String> {
        let fresh = *self.fresh.read().unwrap_or_else(PoisonError::into_inner);
        let unread = Source::ALL.into_iter().filter(|source| fresh[*source as usize].is_none());
        let unread: Vec<_> = unread.map(|source| format!("{} not listed yet", source.what())).collect();
        if unread.is_empty() { self.staleness(Instant::now()).into_iter().collect() } else { unread }
    }

    /// Brings the gauges that describe this state up to date.
    pub fn observe(&self, metrics: &Metrics) {
        // Before the first list there is no age; infinity makes any alert on it fire.
        metrics.posture_age.set(self.age(Instant::now()).map_or(f64::INFINITY, |age| age.as_secs_f64()));
        metrics.posture_problems.set(i64::try_from(self.postures().problems().len()).unwrap_or(i64::MAX));
    }

    /// Changes the documents, and with them the postures that later reviews see.
    fn change(&self, change: impl FnOnce(&mut BTreeMap<String, Vec<Document>>)) {
        let mut documents = self.documents.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut documents);
        let postures = PostureSet::assemble(documents.values().flatten().cloned().collect());
        self.publish(postures);
    }

    fn publish(&self, postures: PostureSet) {
        let known = self.postures();
        for problem in postures.problems().iter().filter(|problem| !known.problems().contains(problem)) {
            tracing::error!(source = problem.source, path = problem.path, "invalid posture: {}", problem.message);
        }
        self.postures.store(Arc::new(postures));
    }
}

/// The store as follower of the ConfigMaps that make up postures.
pub struct Postures(pub Arc<Store>);

impl Follower<ConfigMap> for Postures {
    fn reset(&self, objects: Vec<ConfigMap>) {
        let objects = objects.into_iter().map(|object| (object.name_any(), documents(object))).collect();
        self.0.change(|documents| *documents = objects);
    }

    fn apply(&self, object: ConfigMap) {
        self.0.change(|all| {
            all.insert(object.name_any(), documents(object));
        });
    }

    fn delete(&self, object: ConfigMap) {
        self.0.change(|documents| {
            documents.remove(&object.name_any());
        });
    }

    fn fresh(&self, at: Instant) {
        self.0.prove_fresh(Source::Postures, at);
    }
}

/// The store as follower of the namespaces.
pub struct Namespaces(pub Arc<Store>);

impl Namespaces {
    fn change(&self, change: impl FnOnce(&mut HashMap<String, NamespaceLabels>)) {
        change(&mut self.0.namespaces.write().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Follower<PartialObjectMeta<Namespace>> for Namespaces {
    fn reset(&self, objects: Vec<PartialObjectMeta<Namespace>>) {
        let objects =
            objects.into_iter().map(|object| (object.name_any(), NamespaceLabels::of(object.labels()))).collect();
        self.change(|namespaces| *namespaces = objects);
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
        self.0.prove_fresh(Source::Namespaces, at);
    }
}

/// The documents in a ConfigMap, one per key.
fn documents(object: ConfigMap) -> Vec<Document> {
    let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
    let document = |(key, text): (String, String)| Document {
        source: format!("ConfigMap {namespace}/{name}, data[{key:?}]"),
        name: Some(name.clone()),
        text,
    };
    object.data.unwrap_or_default().into_iter().map(document).collect()
}
