//! An index of detached approvals, fed by a watch over the ConfigMaps of all namespaces.
//!
//! The index saves the API server a list for each admission. No denial rests on it: before a denial, the namespace is listed
//! live. So the index may be behind, full or empty. Anyone who can write ConfigMaps in a namespace decides what is indexed, so
//! the index is bounded, in each namespace and in total.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use tokio::time::Instant;
use writgate_cluster::clock;
use writgate_core::{
    approval::{DetachedApproval, DetachedQuery, MAX_ENVELOPE, SpecHash, claims_to_cover},
    vocabulary::APPROVAL_KEY,
};

use crate::metrics::{Metrics, SkippedApproval};
use crate::state::watch::Follower;

/// The largest cost of one namespace: about 500 approvals as `approve` writes them.
const MAX_IN_NAMESPACE: usize = 1 << 20;
/// The largest cost of all namespaces together.
const MAX_IN_ALL: usize = 32 << 20;
/// The cost of an approval in addition to its text, and the cost of each spec that it covers.
const ENTRY: usize = 512;
const HASH: usize = 128;

/// What the index holds of an approval.
#[derive(Debug)]
struct IndexedApproval {
    text: Arc<str>,
    hashes: Vec<SpecHash>,
    expires_at: Timestamp,
}

impl IndexedApproval {
    /// Reads what the index holds of a ConfigMap. The error says why the ConfigMap is not a current approval.
    fn of(object: &ConfigMap, now: Timestamp) -> Result<Self, SkippedApproval> {
        let text = object.data.as_ref().and_then(|data| data.get(APPROVAL_KEY));
        let text = text.filter(|text| text.len() <= MAX_ENVELOPE).ok_or(SkippedApproval::Unreadable)?;
        let (mut hashes, expires_at) = claims_to_cover(text).ok_or(SkippedApproval::Unreadable)?;
        hashes.sort_unstable();
        hashes.dedup();
        if expires_at <= now {
            Err(SkippedApproval::Expired)
        } else {
            Ok(Self { text: (**text).into(), hashes, expires_at })
        }
    }

    fn cost(&self) -> usize {
        ENTRY + self.text.len() + HASH * self.hashes.len()
    }
}

/// The approvals of one namespace.
#[derive(Debug, Default)]
struct NamespaceApprovals {
    by_name: BTreeMap<Arc<str>, IndexedApproval>,
    by_hash: HashMap<SpecHash, BTreeSet<Arc<str>>>,
    cost: usize,
}

impl NamespaceApprovals {
    fn insert(&mut self, name: Arc<str>, approval: IndexedApproval) {
        self.cost += approval.cost();
        for hash in &approval.hashes {
            self.by_hash.entry(*hash).or_default().insert(name.clone());
        }
        self.by_name.insert(name, approval);
    }

    fn remove(&mut self, name: &str) {
        let Some((name, approval)) = self.by_name.remove_entry(name) else { return };
        self.cost -= approval.cost();
        for hash in &approval.hashes {
            if let Some(names) = self.by_hash.get_mut(hash) {
                names.remove(&name);
                if names.is_empty() {
                    self.by_hash.remove(hash);
                }
            }
        }
    }

    fn remove_expired(&mut self, now: Timestamp) {
        let expired = self.by_name.iter().filter(|(_, approval)| approval.expires_at <= now);
        for name in expired.map(|(name, _)| name.clone()).collect::<Vec<_>>() {
            self.remove(&name);
        }
    }

    fn find(&self, query: &DetachedQuery) -> Vec<DetachedApproval> {
        let found = |name: &str| {
            let approval = self.by_name.get(name)?;
            Some(DetachedApproval { name: name.to_owned(), text: (*approval.text).to_owned() })
        };
        match query {
            DetachedQuery::Name(name) => found(name).into_iter().collect(),
            DetachedQuery::Hash(hash) => {
                self.by_hash.get(hash).into_iter().flatten().filter_map(|name| found(name)).collect()
            }
        }
    }
}

/// The indexed approvals of all namespaces, or a list of them that is still being read.
#[derive(Debug, Default)]
pub struct ApprovalIndex {
    by_namespace: HashMap<String, NamespaceApprovals>,
    cost: usize,
}

impl ApprovalIndex {
    fn insert(&mut self, object: &ConfigMap, now: Timestamp) -> Result<(), SkippedApproval> {
        let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
        self.remove(&namespace, &name);
        let approval = IndexedApproval::of(object, now)?;
        self.change(&namespace, |approvals, others| {
            if approvals.cost + approval.cost() > MAX_IN_NAMESPACE {
                approvals.remove_expired(now);
            }
            let room = MAX_IN_NAMESPACE.min(MAX_IN_ALL.saturating_sub(others));
            if approvals.cost + approval.cost() > room {
                return Err(SkippedApproval::Full);
            }
            approvals.insert(name.into(), approval);
            Ok(())
        })
    }

    fn remove(&mut self, namespace: &str, name: &str) {
        if self.by_namespace.contains_key(namespace) {
            self.change(namespace, |approvals, _| approvals.remove(name));
        }
    }

    /// Changes the approvals of one namespace. `how` also receives the cost of all other namespaces.
    fn change<T>(&mut self, namespace: &str, how: impl FnOnce(&mut NamespaceApprovals, usize) -> T) -> T {
        let one = self.by_namespace.entry(namespace.to_owned()).or_default();
        let others = self.cost - one.cost;
        let changed = how(one, others);
        self.cost = others + one.cost;
        if one.by_name.is_empty() {
            self.by_namespace.remove(namespace);
        }
        changed
    }

    fn number(&self) -> usize {
        self.by_namespace.values().map(|approvals| approvals.by_name.len()).sum()
    }
}

/// The index, shared between its watch and the reviews. The module comment says why it is bounded.
#[derive(Clone)]
pub struct ApprovalStore {
    index: Arc<RwLock<ApprovalIndex>>,
    metrics: Metrics,
}

impl ApprovalStore {
    /// An empty index.
    #[must_use]
    pub fn new(metrics: Metrics) -> Self {
        Self { index: Arc::default(), metrics }
    }

    /// The approvals of a namespace that match `query`.
    #[must_use]
    pub fn find(&self, namespace: &str, query: &DetachedQuery) -> Vec<DetachedApproval> {
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        index.by_namespace.get(namespace).map(|approvals| approvals.find(query)).unwrap_or_default()
    }

    fn insert(&self, index: &mut ApprovalIndex, object: &ConfigMap) {
        if let Err(why) = index.insert(object, clock::now()) {
            self.metrics.approval_skipped(why);
        }
    }

    fn change(&self, change: impl FnOnce(&mut ApprovalIndex)) {
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        change(&mut index);
        self.metrics.approvals_cached.set(i64::try_from(index.number()).unwrap_or(i64::MAX));
    }
}

impl Follower<ConfigMap> for ApprovalStore {
    type Listed = ApprovalIndex;

    fn list(&self, listed: &mut ApprovalIndex, page: Vec<ConfigMap>) {
        for object in &page {
            self.insert(listed, object);
        }
    }

    fn reset(&self, listed: ApprovalIndex) {
        self.change(|index| *index = listed);
    }

    fn apply(&self, object: ConfigMap) {
        self.change(|index| self.insert(index, &object));
    }

    fn delete(&self, object: ConfigMap) {
        self.change(|index| index.remove(&object.namespace().unwrap_or_default(), &object.name_any()));
    }

    fn fresh(&self, _: Instant) {}
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use writgate_core::approval::{Action, Approval, Envelope, Subject};

    use super::*;

    fn hash(digit: u32) -> SpecHash {
        format!("sha256:{digit:064}").parse().expect("a hash")
    }

    /// An unsigned approval of the specs with these numbers.
    fn envelope(specs: std::ops::Range<u32>, expires_at: &str, padding: usize) -> String {
        let subject = |spec| Subject { name: format!("apps/v1/Deployment/payments/a{spec}"), hash: hash(spec) };
        let approval = Approval {
            subjects: specs.map(subject).collect(),
            id: "01935a00-0000-7000-8000-000000000001".to_owned(),
            action: Action::Deploy,
            cluster: None,
            clusters: Vec::new(),
            environment: "production".to_owned(),
            project: "payments".to_owned(),
            capabilities: vec!["deploy".to_owned()],
            pipeline_version: None,
            config_bundle: None,
            replay: None,
            break_glass: false,
            requested_by: "alice@acme.example".to_owned(),
            reason: None,
            not_before: "2026-11-22T10:00:00Z".parse().expect("a time"),
            expires_at: expires_at.parse().expect("a time"),
        };
        // `Envelope::to_json` writes no invalid signature, and the reader requires a signature.
        let mut envelope: serde_json::Value =
            serde_json::from_str(&Envelope::new(approval.to_payload()).to_json()).expect("JSON");
        envelope["signatures"] = json!([{"keyid": "", "sig": format!("{}==", "A".repeat(86))}]);
        envelope["padding"] = "x".repeat(padding).into();
        envelope.to_string()
    }

    const LATER: &str = "2999-01-01T00:00:00Z";

    fn config_map(namespace: &str, name: &str, text: &str) -> ConfigMap {
        let object = json!({"metadata": {"namespace": namespace, "name": name}, "data": {APPROVAL_KEY: text}});
        serde_json::from_value(object).expect("a ConfigMap")
    }

    fn store() -> ApprovalStore {
        ApprovalStore::new(Metrics::default())
    }

    fn names(store: &ApprovalStore, namespace: &str, spec: u32) -> Vec<String> {
        let found = store.find(namespace, &DetachedQuery::Hash(hash(spec)));
        found.into_iter().map(|found| found.name).collect()
    }

    fn skipped(store: &ApprovalStore) -> [u64; 3] {
        SkippedApproval::ALL.map(|why| store.metrics.approvals_skipped.get_or_create(&why.labels()).get())
    }

    #[test]
    fn approvals_are_found_by_spec_or_name_in_their_namespace_until_they_are_deleted() {
        let store = store();
        store.apply(config_map("payments", "a", &envelope(0..2, LATER, 0)));
        store.apply(config_map("payments", "b", &envelope(1..3, LATER, 0)));
        store.apply(config_map("ledger", "c", &envelope(1..2, LATER, 0)));
        assert_eq!(names(&store, "payments", 1), ["a", "b"]);
        assert_eq!(names(&store, "payments", 0), ["a"]);
        assert_eq!(names(&store, "payments", 3), Vec::<String>::new());
        assert_eq!(store.find("payments", &DetachedQuery::Name("c".to_owned())), []);
        let found = store.find("ledger", &DetachedQuery::Name("c".to_owned()));
        assert_eq!(found[0].text, envelope(1..2, LATER, 0));
        // The changed approval covers another spec.
        store.apply(config_map("payments", "a", &envelope(4..5, LATER, 0)));
        assert_eq!((names(&store, "payments", 1), names(&store, "payments", 4)), (vec!["b".into()], vec!["a".into()]));
        store.delete(config_map("payments", "b", ""));
        assert_eq!(names(&store, "payments", 1), Vec::<String>::new());
        assert_eq!(store.metrics.approvals_cached.get(), 2);
    }

    #[test]
    fn a_text_that_cannot_be_an_approval_is_skipped_and_removes_the_earlier_approval() {
        let store = store();
        let good = config_map("payments", "a", &envelope(0..1, LATER, 0));
        for text in ["", "junk", &envelope(0..1, LATER, MAX_ENVELOPE)] {
            store.apply(good.clone());
            store.apply(config_map("payments", "a", text));
            assert_eq!(names(&store, "payments", 0), Vec::<String>::new());
        }
        store.apply(config_map("payments", "a", &envelope(0..1, "2026-11-22T12:00:00Z", 0)));
        assert_eq!(skipped(&store), [3, 1, 0]);
        let index = store.index.read().expect("no panic");
        assert!(index.by_namespace.is_empty() && index.cost == 0, "{index:?}");
    }

    #[test]
    fn a_new_list_replaces_the_whole_index() {
        let store = store();
        store.apply(config_map("payments", "a", &envelope(0..1, LATER, 0)));
        let mut listed = ApprovalIndex::default();
        store.list(&mut listed, vec![config_map("payments", "b", &envelope(0..1, LATER, 0))]);
        store.list(&mut listed, vec![config_map("ledger", "c", &envelope(0..1, LATER, 0))]);
        assert_eq!(names(&store, "payments", 0), ["a"], "until the list is complete");
        store.reset(listed);
        assert_eq!((names(&store, "payments", 0), names(&store, "ledger", 0)), (vec!["b".into()], vec!["c".into()]));
    }

    #[test]
    fn a_full_namespace_takes_no_room_from_another() {
        let store = store();
        let large = envelope(0..1, LATER, MAX_ENVELOPE - 2000);
        for number in 0..100 {
            store.apply(config_map("greedy", &format!("a{number}"), &large));
        }
        let approval = names(&store, "greedy", 0).len();
        assert!((20..40).contains(&approval), "{approval}");
        assert_eq!(skipped(&store), [0, 0, 100 - u64::try_from(approval).expect("few")]);
        store.apply(config_map("payments", "a", &large));
        assert_eq!(names(&store, "payments", 0), ["a"]);
        // A deletion makes room for another approval.
        store.delete(config_map("greedy", "a0", ""));
        store.apply(config_map("greedy", "new", &large));
        assert_eq!(store.find("greedy", &DetachedQuery::Name("new".to_owned())).len(), 1);
    }

    #[test]
    fn many_namespaces_together_stay_within_the_limit() {
        let store = store();
        let large = envelope(0..1, LATER, MAX_ENVELOPE - 2000);
        for number in 0..1500 {
            store.apply(config_map(&format!("n{}", number % 60), &format!("a{number}"), &large));
        }
        let index = store.index.read().expect("no panic");
        assert!(index.cost <= MAX_IN_ALL && index.cost > MAX_IN_ALL - 2 * MAX_ENVELOPE, "{}", index.cost);
        assert_eq!(index.cost, index.by_namespace.values().map(|approvals| approvals.cost).sum::<usize>());
    }
}
