//! A bounded queue that is fair: a user, a namespace or an object that floods it loses only its own entries.
//!
//! An entry may return to the queue to be served again later. Entries that were served less often come first, then users in
//! turn. A full queue drops an entry of whoever has the most, and never just the newest.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// The namespace, the requester and the object of an entry, as hashes: the texts come from requests and have no bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Party {
    namespace: u64,
    requester: u64,
    object: u64,
}

/// What an entry is ordered by when it waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    served: u32,
    /// The turn among the requesters of all namespaces.
    turn: u64,
    /// The order of arrival.
    number: u64,
}

struct Waiting<T> {
    due: Instant,
    party: Party,
    entry: T,
}

/// An entry that is served, and may return.
pub(crate) struct Served<T> {
    pub(crate) entry: T,
    /// How often it was served before.
    pub(crate) before: u32,
    party: Party,
}

struct State<T> {
    waiting: BTreeMap<Rank, Waiting<T>>,
    /// The entries of each namespace, requester and object.
    namespaces: HashMap<u64, usize>,
    requesters: HashMap<u64, usize>,
    objects: HashMap<u64, usize>,
    /// The last turn that a requester in a namespace was given, while it has entries.
    turns: HashMap<(u64, u64), (u64, usize)>,
    turn: u64,
    number: u64,
    closed: bool,
}

/// The queue. One task takes entries out.
pub(crate) struct FairQueue<T> {
    state: Mutex<State<T>>,
    changed: Notify,
    hasher: RandomState,
    capacity: usize,
    per_object: usize,
}

impl<T> FairQueue<T> {
    /// A queue of at most `capacity` entries, and at most `per_object` of one object. Queues whose entries move from one to the
    /// other share their hasher.
    pub(crate) fn new(capacity: usize, per_object: usize, hasher: RandomState) -> Self {
        let state = State {
            waiting: BTreeMap::new(),
            namespaces: HashMap::new(),
            requesters: HashMap::new(),
            objects: HashMap::new(),
            turns: HashMap::new(),
            turn: 0,
            number: 0,
            closed: false,
        };
        Self { state: Mutex::new(state), changed: Notify::new(), hasher, capacity, per_object }
    }

    /// Adds an entry of `requester` about the object `name` of `kind` in `namespace`, to be served at `due` or later. Returns the
    /// entry that is dropped for it, if the queue is full.
    pub(crate) fn add(&self, entry: T, [namespace, requester, kind, name]: [&str; 4], due: Instant) -> Option<T> {
        let party = Party {
            namespace: self.hasher.hash_one(namespace),
            requester: self.hasher.hash_one(requester),
            object: self.hasher.hash_one((namespace, kind, name)),
        };
        self.insert(Served { entry, before: 0, party }, due)
    }

    /// Returns an entry that was served, to be served again at `due` or later.
    pub(crate) fn again(&self, served: Served<T>, due: Instant) -> Option<T> {
        self.insert(Served { before: served.before.saturating_add(1), ..served }, due)
    }

    /// Adds an entry that another queue served.
    pub(crate) fn adopt(&self, served: Served<T>, due: Instant) -> Option<T> {
        self.insert(Served { before: 0, ..served }, due)
    }

    fn insert(&self, Served { entry, before, party }: Served<T>, due: Instant) -> Option<T> {
        let mut state = self.state();
        state.insert(before, Waiting { due, party, entry });
        let dropped = state.victim(&party, self.capacity, self.per_object).map(|rank| state.remove(rank).entry);
        drop(state);
        self.changed.notify_one();
        dropped
    }

    /// Takes the next entry that is due, and waits for it. `None`: the queue is closed and empty. If the future is dropped, no
    /// entry is lost.
    pub(crate) async fn next(&self) -> Option<Served<T>> {
        loop {
            let wake = {
                let mut state = self.state();
                let now = Instant::now();
                let due = state.waiting.iter().find(|(_, waiting)| waiting.due <= now).map(|(rank, _)| *rank);
                if let Some(rank) = due {
                    let Waiting { party, entry, .. } = state.remove(rank);
                    state.turn = state.turn.max(rank.turn);
                    return Some(Served { entry, before: rank.served, party });
                }
                if state.closed && state.waiting.is_empty() {
                    return None;
                }
                state.waiting.values().map(|waiting| waiting.due).min()
            };
            let changed = self.changed.notified();
            match wake {
                Some(wake) => tokio::select! { () = changed => {}, () = sleep_until(wake) => {} },
                None => changed.await,
            }
        }
    }

    /// Lets `next` end once the queue is empty.
    pub(crate) fn close(&self) {
        self.state().closed = true;
        self.changed.notify_one();
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> State<T> {
    fn insert(&mut self, served: u32, waiting: Waiting<T>) {
        let Party { namespace, requester, object } = waiting.party;
        *self.namespaces.entry(namespace).or_default() += 1;
        *self.requesters.entry(requester).or_default() += 1;
        *self.objects.entry(object).or_default() += 1;
        let (turn, entries) = self.turns.entry((namespace, requester)).or_default();
        *turn = (*turn).max(self.turn) + 1;
        *entries += 1;
        let rank = Rank { served, turn: *turn, number: self.number };
        self.number += 1;
        self.waiting.insert(rank, waiting);
    }

    fn remove(&mut self, rank: Rank) -> Waiting<T> {
        let waiting = self.waiting.remove(&rank).expect("the rank was found under the same lock");
        let Party { namespace, requester, object } = waiting.party;
        for (shares, share) in
            [(&mut self.namespaces, namespace), (&mut self.requesters, requester), (&mut self.objects, object)]
        {
            if let Some(count) = shares.get_mut(&share) {
                *count -= 1;
                if *count == 0 {
                    shares.remove(&share);
                }
            }
        }
        if let Some((_, entries)) = self.turns.get_mut(&(namespace, requester)) {
            *entries -= 1;
            if *entries == 0 {
                self.turns.remove(&(namespace, requester));
            }
        }
        waiting
    }

    /// The entry to drop after one of `newest` was added.
    fn victim(&self, newest: &Party, capacity: usize, per_object: usize) -> Option<Rank> {
        if self.objects.get(&newest.object).is_some_and(|count| *count > per_object) {
            return self.most_of(|party| party.object == newest.object, |party| party.requester);
        }
        if self.waiting.len() <= capacity {
            return None;
        }
        let biggest = |shares: &HashMap<u64, usize>| shares.iter().map(|(share, count)| (*count, *share)).max();
        let (namespace, requester) = (biggest(&self.namespaces)?, biggest(&self.requesters)?);
        if namespace.0 > requester.0 {
            self.most_of(|party| party.namespace == namespace.1, |party| party.requester)
        } else {
            self.most_of(|party| party.requester == requester.1, |party| party.namespace)
        }
    }

    /// Among the entries that `is_among` accepts, one of the largest `share`: the one that was served most often, and of those the
    /// one that waits longest.
    fn most_of(&self, is_among: impl Fn(&Party) -> bool, share: impl Fn(&Party) -> u64) -> Option<Rank> {
        let among = || self.waiting.iter().filter(|(_, waiting)| is_among(&waiting.party));
        let mut counts: HashMap<u64, usize> = HashMap::new();
        for (_, waiting) in among() {
            *counts.entry(share(&waiting.party)).or_default() += 1;
        }
        let count = |party: &Party| counts.get(&share(party)).copied().unwrap_or_default();
        let most = among().max_by_key(|(rank, waiting)| {
            // Of equal shares, all entries compete by age, so that no share is preferred by its hash.
            (count(&waiting.party), rank.served, std::cmp::Reverse(rank.number))
        });
        most.map(|(rank, _)| *rank)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn queue(capacity: usize, per_object: usize) -> FairQueue<String> {
        FairQueue::new(capacity, per_object, RandomState::new())
    }

    /// Adds an entry with the text `namespace/requester/name`. Returns what was dropped.
    fn add(queue: &FairQueue<String>, namespace: &str, requester: &str, name: &str) -> Option<String> {
        let entry = format!("{namespace}/{requester}/{name}");
        queue.add(entry, [namespace, requester, "Deployment", name], Instant::now())
    }

    async fn drain(queue: &FairQueue<String>) -> Vec<String> {
        queue.close();
        let mut served = Vec::new();
        while let Some(next) = queue.next().await {
            served.push(next.entry);
        }
        served
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_by_one_user_costs_that_user_and_not_the_newcomer() {
        let queue = queue(4, 4);
        for n in 0..4 {
            assert_eq!(add(&queue, "a", "mallory", &n.to_string()), None);
        }
        assert_eq!(add(&queue, "a", "alice", "orders").as_deref(), Some("a/mallory/0"));
        assert_eq!(add(&queue, "b", "mallory", "5").as_deref(), Some("a/mallory/1"));
        assert!(drain(&queue).await.contains(&"a/alice/orders".to_owned()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_in_one_namespace_under_many_names_costs_that_namespace() {
        let queue = queue(4, 4);
        add(&queue, "b", "bob", "orders");
        for n in 0..20 {
            let dropped = add(&queue, "a", &format!("user-{n}"), &n.to_string());
            assert!(dropped.is_none_or(|dropped| dropped.starts_with("a/")));
        }
        assert!(drain(&queue).await.contains(&"b/bob/orders".to_owned()));
    }

    #[tokio::test(start_paused = true)]
    async fn one_user_in_many_namespaces_is_one_user() {
        let queue = queue(4, 4);
        add(&queue, "a", "alice", "orders");
        add(&queue, "a", "bob", "orders");
        for n in 0..20 {
            let dropped = add(&queue, &n.to_string(), "mallory", "x");
            assert!(dropped.is_none_or(|dropped| dropped.contains("mallory")));
        }
        let left = drain(&queue).await;
        assert_eq!(left.iter().filter(|entry| entry.starts_with("a/")).count(), 2, "{left:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_object_has_a_bound_of_its_own() {
        let queue = queue(100, 2);
        assert_eq!(add(&queue, "a", "alice", "orders"), None);
        assert_eq!(add(&queue, "a", "mallory", "orders"), None);
        assert_eq!(add(&queue, "a", "alice", "other"), None, "another object");
        assert_eq!(add(&queue, "a", "mallory", "orders").as_deref(), Some("a/mallory/orders"));
    }

    #[tokio::test(start_paused = true)]
    async fn an_entry_that_was_served_often_is_dropped_before_a_new_one_and_served_after_it() {
        let queue = queue(2, 2);
        add(&queue, "a", "alice", "old");
        let old = queue.next().await.expect("an entry");
        assert_eq!(old.before, 0);
        queue.again(old, Instant::now());
        add(&queue, "a", "alice", "new");
        let first = queue.next().await.expect("an entry");
        assert_eq!((first.entry.as_str(), first.before), ("a/alice/new", 0));
        queue.again(first, Instant::now());
        assert_eq!(add(&queue, "a", "alice", "newest").as_deref(), Some("a/alice/old"));
    }

    #[tokio::test(start_paused = true)]
    async fn requesters_take_turns() {
        let queue = queue(10, 10);
        for n in 0..3 {
            add(&queue, "a", "mallory", &n.to_string());
        }
        add(&queue, "a", "alice", "orders");
        assert_eq!(drain(&queue).await, ["a/mallory/0", "a/alice/orders", "a/mallory/1", "a/mallory/2"]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_entry_that_is_not_due_delays_no_other() {
        let queue = queue(10, 10);
        let (begun, later) = (Instant::now(), Instant::now() + Duration::from_secs(5));
        queue.add("later".to_owned(), ["a", "alice", "Deployment", "orders"], later);
        add(&queue, "a", "alice", "now");
        assert_eq!(drain(&queue).await, ["a/alice/now", "later"]);
        assert_eq!(begun.elapsed(), Duration::from_secs(5));
    }
}
