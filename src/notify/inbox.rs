//! What a watch has seen and nobody has looked at yet: a channel with a bound in bytes that a watch can feed without waiting.
//!
//! What does not fit is not lost: the watch lists again, and offers it again.

use std::collections::HashSet;
use std::fmt::Debug;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Resource, ResourceExt as _};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::state::watch::Follower;

/// What is kept of an object until somebody looks at it.
pub(super) trait Sighting: Sized + Send {
    /// The object.
    type Object: Resource<DynamicType = ()> + Clone + Debug;

    /// What distinguishes this state of the object from those that nobody has to look at again.
    fn version(metadata: &ObjectMeta) -> &str;

    /// `None`: nobody has to look at it.
    fn of(object: Self::Object) -> Option<Self>;

    /// Whether somebody who was notified of everything before `from` has to look at it.
    fn matters_since(&self, from: Timestamp) -> bool;

    /// About how many bytes it takes.
    fn size(&self) -> usize;
}

/// Offers what a watch sees to whoever holds the other end of the channel.
pub(super) struct Inbox<T> {
    sender: mpsc::UnboundedSender<Waiting<T>>,
    /// The bytes that may still wait.
    room: Arc<AtomicUsize>,
    from: Timestamp,
    /// Hashes of what was offered, as long as it exists.
    seen: Mutex<HashSet<u64>>,
    is_behind: AtomicBool,
    hasher: RandomState,
}

/// A sighting that occupies room in the inbox until it is dropped.
pub(super) struct Waiting<T> {
    pub(super) sighting: T,
    size: usize,
    room: Arc<AtomicUsize>,
}

impl<T> Drop for Waiting<T> {
    fn drop(&mut self) {
        self.room.fetch_add(self.size, Ordering::Relaxed);
    }
}

/// A list in progress.
#[derive(Default)]
pub(super) struct Listed {
    seen: HashSet<u64>,
    is_behind: bool,
}

impl<T: Sighting> Inbox<T> {
    /// An inbox in which sightings of `room` bytes may wait, for somebody who was notified of everything before `from`.
    pub(super) fn new(room: usize, from: Timestamp) -> (Self, mpsc::UnboundedReceiver<Waiting<T>>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let inbox = Self {
            sender,
            room: Arc::new(AtomicUsize::new(room)),
            from,
            seen: Mutex::default(),
            is_behind: AtomicBool::new(false),
            hasher: RandomState::new(),
        };
        (inbox, receiver)
    }

    fn key(&self, object: &T::Object) -> u64 {
        let uid = object.uid().unwrap_or_default();
        self.hasher.hash_one((uid, T::version(object.meta())))
    }

    /// Returns the key of the object, unless there was no room for it.
    fn offer(&self, object: T::Object) -> Option<u64> {
        let key = self.key(&object);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.contains(&key) || self.take(object) {
            seen.insert(key);
            return Some(key);
        }
        None
    }

    /// Passes an object on. Returns whether there was room for it.
    fn take(&self, object: T::Object) -> bool {
        let Some(sighting) = T::of(object).filter(|sighting| sighting.matters_since(self.from)) else { return true };
        let size = sighting.size();
        let less = |room: usize| room.checked_sub(size);
        if self.room.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_err() {
            return false;
        }
        // Nobody holds the other end any more only when this end is dropped too.
        let _ = self.sender.send(Waiting { sighting, size, room: self.room.clone() });
        true
    }
}

impl<T: Sighting> Follower<T::Object> for Inbox<T> {
    type Listed = Listed;

    fn list(&self, listed: &mut Listed, page: Vec<T::Object>) {
        for object in page {
            match self.offer(object) {
                Some(key) => drop(listed.seen.insert(key)),
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
        let key = self.key(&object);
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
    }

    fn wants_another_list(&self) -> bool {
        self.is_behind.load(Ordering::Relaxed)
    }

    fn fresh(&self, _: Instant) {}
}
