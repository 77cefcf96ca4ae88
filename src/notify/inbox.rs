//! What a watch has seen and nobody has looked at yet: a channel with a bound in bytes that a watch can feed without waiting.
//!
//! What does not fit is not lost: the watch lists again, and offers it again.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::{SignedDuration, Timestamp};
use kube::{Resource, ResourceExt as _};
use tokio::sync::mpsc;
use tokio::time::Instant;
use writgate_cluster::clock;

use crate::state::watch::Follower;

/// What is kept of an object until somebody looks at it.
pub(super) trait Sighting: Sized + Send {
    /// The object.
    type Object: Resource<DynamicType = ()> + Clone + Debug;

    /// What distinguishes this state of the object from the last one, if somebody has to look at it again.
    fn version(object: &Self::Object) -> &str;

    /// `None`: nobody has to look at it.
    fn of(object: Self::Object) -> Option<Self>;

    /// When it happened, by the API server's clock.
    fn time(&self) -> Timestamp;

    /// Whether somebody who was notified of everything before `from` has to look at it.
    fn matters_since(&self, from: Timestamp) -> bool;

    /// About how many bytes it takes: no part that a stranger may choose the length of is left out.
    fn size(&self) -> usize;
}

/// The hash of the last version that was offered, by the hash of the object's uid. Of an object that changes again and again,
/// only one is kept.
type Offered = HashMap<u64, u64>;

/// Offers what a watch sees to whoever holds the other end of the channel.
pub(super) struct Inbox<T> {
    sender: mpsc::UnboundedSender<Waiting<T>>,
    backlog: Arc<Backlog>,
    from: Timestamp,
    /// What was offered last of each object that exists.
    seen: Mutex<Offered>,
    is_behind: AtomicBool,
    hasher: RandomState,
}

/// A sighting that occupies room in the inbox until it is dropped.
pub(super) struct Waiting<T> {
    pub(super) sighting: T,
    size: usize,
    time: Timestamp,
    backlog: Arc<Backlog>,
}

impl<T> Drop for Waiting<T> {
    fn drop(&mut self) {
        self.backlog.leave(self.size, self.time);
    }
}

/// What was not looked at yet. Until everything was, the progress of the receivers must not pass it.
pub(super) struct Backlog(Mutex<BacklogState>);

struct BacklogState {
    /// The bytes that may still wait.
    room: usize,
    /// How many sightings of each time wait.
    waiting: BTreeMap<Timestamp, usize>,
    /// Everything before this time was seen.
    seen_until: Timestamp,
}

impl Backlog {
    /// The time before which everything was looked at.
    pub(super) fn looked_at_until(&self) -> Timestamp {
        let state = self.state();
        state.waiting.keys().next().map_or(state.seen_until, |oldest| state.seen_until.min(*oldest))
    }

    /// Takes room for a sighting, if there is enough.
    fn enter(&self, size: usize, time: Timestamp) -> bool {
        let mut state = self.state();
        let Some(left) = state.room.checked_sub(size) else { return false };
        state.room = left;
        *state.waiting.entry(time).or_default() += 1;
        true
    }

    fn leave(&self, size: usize, time: Timestamp) {
        let mut state = self.state();
        state.room += size;
        if let Some(count) = state.waiting.get_mut(&time) {
            *count -= 1;
            if *count == 0 {
                state.waiting.remove(&time);
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, BacklogState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A list in progress.
#[derive(Default)]
pub(super) struct Listed {
    seen: Offered,
    is_behind: bool,
}

impl<T: Sighting> Inbox<T> {
    /// An inbox in which sightings of `room` bytes may wait, for somebody who was notified of everything before `from`.
    /// Nothing was seen yet.
    pub(super) fn new(room: usize, from: Timestamp) -> (Self, mpsc::UnboundedReceiver<Waiting<T>>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let state = BacklogState { room, waiting: BTreeMap::new(), seen_until: from };
        let inbox = Self {
            sender,
            backlog: Arc::new(Backlog(Mutex::new(state))),
            from,
            seen: Mutex::default(),
            is_behind: AtomicBool::new(false),
            hasher: RandomState::new(),
        };
        (inbox, receiver)
    }

    /// Of how many objects something is remembered.
    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// What was not looked at yet.
    pub(super) fn backlog(&self) -> Arc<Backlog> {
        self.backlog.clone()
    }

    fn uid(&self, object: &T::Object) -> u64 {
        self.hasher.hash_one(object.uid().unwrap_or_default())
    }

    /// Returns the hashes of the object's uid and version, unless there was no room for it.
    fn offer(&self, object: T::Object) -> Option<(u64, u64)> {
        let (uid, version) = (self.uid(&object), self.hasher.hash_one(T::version(&object)));
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.get(&uid) == Some(&version) || self.take(object) {
            seen.insert(uid, version);
            return Some((uid, version));
        }
        None
    }

    /// Passes an object on. Returns whether there was room for it.
    fn take(&self, object: T::Object) -> bool {
        let Some(sighting) = T::of(object).filter(|sighting| sighting.matters_since(self.from)) else { return true };
        // What is older says only that something later is a repetition.
        let (size, time) = (sighting.size(), sighting.time().max(self.from));
        let has_room = self.backlog.enter(size, time);
        if has_room {
            // The other end is dropped together with this one.
            let _ = self.sender.send(Waiting { sighting, size, time, backlog: self.backlog.clone() });
        }
        has_room
    }
}

impl<T: Sighting> Follower<T::Object> for Inbox<T> {
    type Listed = Listed;

    fn list(&self, listed: &mut Listed, page: Vec<T::Object>) {
        for object in page {
            match self.offer(object) {
                Some((uid, version)) => drop(listed.seen.insert(uid, version)),
                None => listed.is_behind = true,
            }
        }
    }

    fn reset(&self, listed: Listed) {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = listed.seen;
        self.is_behind.store(listed.is_behind, Ordering::Relaxed);
    }

    fn apply(&self, object: T::Object) {
        if self.offer(object).is_none() {
            self.is_behind.store(true, Ordering::Relaxed);
        }
    }

    fn delete(&self, object: T::Object) {
        let uid = self.uid(&object);
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).remove(&uid);
    }

    fn wants_another_list(&self) -> bool {
        self.is_behind.load(Ordering::Relaxed)
    }

    fn fresh(&self, at: Instant) {
        // What did not fit was not seen.
        if !self.wants_another_list() {
            let now = clock::now();
            let age = SignedDuration::try_from(at.elapsed()).unwrap_or_default();
            self.backlog.state().seen_until = now.checked_sub(age).unwrap_or(now);
        }
    }
}
