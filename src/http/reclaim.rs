//! Which connection is closed for a newcomer when its share is refused.
//!
//! [Shares](super::shares) leave something to a newcomer only while few peers are greedy. About ten of them could hold every
//! connection. So a newcomer gets a connection of the peer that has the most of them, unless that would only turn the two
//! peers around. Peers that hold on to their connections end up with equal numbers.
//!
//! A connection may be closed while it is idle, or while its handshake, headers or body are unfinished. It is never closed while
//! a review is decided, because the decision would be recorded and its response lost. Nor is it closed if its client has shown a
//! certificate of the client CA: a newcomer has not shown one yet.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use futures::task::AtomicWaker;

use crate::http::shares::Peer;

/// The connection is idle, or its handshake, headers or body are unfinished.
const WAITING: u8 = 0;
/// A request of the connection is complete, and its response is not.
const ANSWERING: u8 = 1;
/// The client has shown a certificate of the client CA.
const AUTHENTICATED: u8 = 2;
/// The connection is being closed for another peer.
const RECLAIMED: u8 = 3;
/// The connection waits until the one that is closed for it has ended.
const CLAIMING: u8 = 4;

/// The most connections that wait for others to end. Each of them has an open file on top of those that are shared.
pub(crate) const MAX_CLAIMS: usize = 64;

/// One open connection.
pub(crate) struct Slot {
    peer: Peer,
    state: AtomicU8,
    /// The place of its opening, or of its last response, among all of them.
    since: AtomicU64,
    reader: AtomicWaker,
}

impl Slot {
    fn change(&self, from: u8, to: u8) -> bool {
        self.state.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// The client has shown a certificate of the client CA.
    pub(crate) fn authenticated(&self) {
        self.change(WAITING, AUTHENTICATED);
    }

    /// A request is complete. `false` if the connection is being closed, and the request must not be decided.
    pub(crate) fn begin(&self) -> bool {
        self.change(WAITING, ANSWERING) || !self.is_reclaimed()
    }

    /// The response to the request is known.
    pub(crate) fn end(&self, open: &OpenConnections) {
        if self.state.load(Ordering::Acquire) == ANSWERING {
            // Before the state: until then, no one may take the old place for the place of an idle connection.
            self.since.store(open.next_place(), Ordering::Release);
            self.change(ANSWERING, WAITING);
        }
    }

    /// The connection that was closed for this one has ended.
    pub(crate) fn claimed(&self) {
        self.change(CLAIMING, WAITING);
    }

    pub(crate) fn is_reclaimed(&self) -> bool {
        self.state.load(Ordering::Acquire) == RECLAIMED
    }

    /// Ready when the connection must be closed.
    pub(crate) fn poll_reclaimed(&self, context: &Context<'_>) -> Poll<()> {
        if self.is_reclaimed() {
            return Poll::Ready(());
        }
        self.reader.register(context.waker());
        // It may have been reclaimed before the waker was there.
        if self.is_reclaimed() { Poll::Ready(()) } else { Poll::Pending }
    }
}

/// The open connections of a port.
#[derive(Default)]
pub(crate) struct OpenConnections {
    places: AtomicU64,
    slots: Mutex<BTreeMap<u64, Arc<Slot>>>,
}

impl OpenConnections {
    fn slots(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Slot>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next_place(&self) -> u64 {
        self.places.fetch_add(1, Ordering::Relaxed)
    }

    /// Adds a connection, and returns its key for [`remove`](Self::remove). `claims`: another one is being closed for it.
    pub(crate) fn add(&self, peer: Peer, claims: bool) -> (u64, Arc<Slot>) {
        let place = self.next_place();
        let state = if claims { CLAIMING } else { WAITING };
        let slot = Slot { peer, state: state.into(), since: place.into(), reader: AtomicWaker::new() };
        let slot = Arc::new(slot);
        self.slots().insert(place, slot.clone());
        (place, slot)
    }

    pub(crate) fn remove(&self, key: u64) {
        self.slots().remove(&key);
    }

    /// Has one connection closed for `newcomer`. Returns its peer. `None` if no peer has two more than `newcomer`, of those that
    /// may be closed, or if too many newcomers wait already.
    pub(crate) fn reclaim(&self, newcomer: Peer) -> Option<Peer> {
        let slots = self.slots();
        if slots.values().filter(|slot| slot.state.load(Ordering::Acquire) == CLAIMING).count() >= MAX_CLAIMS {
            return None;
        }
        let own = slots.values().filter(|slot| slot.peer == newcomer).count();
        let mut holders: HashMap<Peer, (usize, &Arc<Slot>)> = HashMap::new();
        let since = |slot: &Slot| slot.since.load(Ordering::Acquire);
        for slot in slots.values().filter(|slot| slot.state.load(Ordering::Acquire) == WAITING) {
            let (count, oldest) = holders.entry(slot.peer).or_insert((0, slot));
            *count += 1;
            if since(slot) < since(oldest) {
                *oldest = slot;
            }
        }
        let (count, oldest) = holders.into_values().max_by_key(|(count, oldest)| (*count, u64::MAX - since(oldest)))?;
        if count < own + 2 || !oldest.change(WAITING, RECLAIMED) {
            return None;
        }
        oldest.reader.wake();
        Some(oldest.peer)
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    fn peer(last: u8) -> Peer {
        SocketAddr::from(([10, 0, 0, last], 1)).into()
    }

    fn open<const N: usize>(peers: [u8; N]) -> (OpenConnections, [Arc<Slot>; N]) {
        let open = OpenConnections::default();
        let slots = peers.map(|last| open.add(peer(last), false).1);
        (open, slots)
    }

    #[test]
    fn the_oldest_connection_of_the_largest_holder_is_closed() {
        let (open, slots) = open([1, 2, 2, 2, 1]);
        assert!(slots[1].begin(), "the oldest has a request");
        slots[1].end(&open);
        assert_eq!(open.reclaim(peer(9)), Some(peer(2)));
        assert_eq!(slots.each_ref().map(|slot| slot.is_reclaimed()), [false, false, true, false, false]);
        assert!(!slots[2].begin(), "its next request is not decided");
    }

    #[test]
    fn a_newcomer_gets_no_connection_of_a_peer_that_has_one_more() {
        let (open, _slots) = open([1, 1, 2]);
        assert_eq!(open.reclaim(peer(2)), None);
        assert_eq!(open.reclaim(peer(1)), None, "a peer takes nothing from itself");
        assert_eq!(open.reclaim(peer(9)), Some(peer(1)), "near miss: it has none");
    }

    #[test]
    fn a_newcomer_that_waits_counts_as_a_holder_and_keeps_its_turn() {
        let (open, _slots) = open([1, 1, 1]);
        assert_eq!(open.reclaim(peer(9)), Some(peer(1)));
        let (_, first) = open.add(peer(9), true);
        assert_eq!(open.reclaim(peer(9)), None, "it would have two, and the other peer one");
        let _others = [8, 8, 8].map(|last| open.add(peer(last), true));
        assert_eq!(open.reclaim(peer(7)), Some(peer(1)), "those that wait are not closed, however many a peer has");
        first.claimed();
        assert!(first.begin(), "it is served like every other connection");
    }

    #[test]
    fn only_so_many_newcomers_wait() {
        let (open, _slots) = open([1; MAX_CLAIMS + 2]);
        for last in 0..MAX_CLAIMS {
            let newcomer = peer(u8::try_from(last).expect("a few") + 2);
            assert_eq!(open.reclaim(newcomer), Some(peer(1)));
            open.add(newcomer, true);
        }
        assert_eq!(open.reclaim(peer(200)), None);
        open.remove(u64::try_from(MAX_CLAIMS + 2).expect("the first newcomer's place"));
        assert_eq!(open.reclaim(peer(200)), Some(peer(1)), "near miss: one fewer");
    }

    #[test]
    fn a_connection_with_a_request_or_a_client_certificate_is_not_closed() {
        let (open, slots) = open([1, 1, 1]);
        assert!(slots[0].begin());
        slots[1].authenticated();
        assert_eq!(open.reclaim(peer(9)), None, "one remains that may be closed");
        slots[0].end(&open);
        assert!(slots[1].begin(), "an authenticated connection is served");
        slots[1].end(&open);
        assert_eq!(open.reclaim(peer(9)), Some(peer(1)));
        assert!(slots[2].is_reclaimed());
    }
}
