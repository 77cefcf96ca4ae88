//! What a watch has seen and nobody has looked at yet: a bounded channel that a watch can feed without waiting.
//!
//! What does not fit is not lost: the watch lists again, and offers it again.

use std::collections::HashSet;
use std::fmt::Debug;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

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
}

/// Offers what a watch sees to whoever holds the other end of the channel.
pub(super) struct Inbox<T> {
    sender: mpsc::Sender<T>,
    /// Hashes of what was offered, as long as it exists.
    seen: Mutex<HashSet<u64>>,
    is_behind: AtomicBool,
    hasher: RandomState,
}

/// A list in progress.
#[derive(Default)]
pub(super) struct Listed {
    seen: HashSet<u64>,
    is_behind: bool,
}

impl<T: Sighting> Inbox<T> {
    /// An inbox in which `capacity` sightings may wait.
    pub(super) fn new(capacity: usize) -> (Self, mpsc::Receiver<T>) {
        let (sender, receiver) = mpsc::channel(capacity);
        let inbox =
            Self { sender, seen: Mutex::default(), is_behind: AtomicBool::new(false), hasher: RandomState::new() };
        (inbox, receiver)
    }

    fn key(&self, object: &T::Object) -> u64 {
        let uid = object.uid().unwrap_or_default();
        self.hasher.hash_one((uid, T::version(object.meta())))
    }

    /// Returns whether it was taken.
    fn offer(&self, object: T::Object) -> Option<u64> {
        let key = self.key(&object);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.contains(&key) {
            return Some(key);
        }
        let taken = T::of(object).is_none_or(|sighting| self.sender.try_send(sighting).is_ok());
        taken.then(|| {
            seen.insert(key);
            key
        })
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
