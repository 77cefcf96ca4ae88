//! A limited resource that peers share: connections, memory for bodies, decisions in progress.
//!
//! A peer may hold at most as much as then remains free, so one greedy peer gets half of the resource. Switches divide their
//! packet buffers in this way (Choudhury and Hahne, "Dynamic Queue Length Thresholds"). A fixed share for each peer would be too
//! large for many attackers or too small for a single API server. Nothing is taken away here from peers that never return
//! anything: each gets half of what the earlier ones left, so about ten of them exhaust a resource of a thousand.
//! [Connections are reclaimed](super::reclaim), and bodies and decisions have a deadline.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::extract::ConnectInfo;
use axum::http::Extensions;
use tokio::sync::Notify;

/// The address of a client, without its port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Peer(IpAddr);

impl Peer {
    pub(crate) fn address(self) -> IpAddr {
        self.0
    }

    /// The peer that sent a request. Requests without a connection, as in tests, share the unspecified address.
    pub(crate) fn of(extensions: &Extensions) -> Self {
        let address = extensions.get::<ConnectInfo<SocketAddr>>();
        address.map_or(Self(Ipv4Addr::UNSPECIFIED.into()), |ConnectInfo(address)| (*address).into())
    }
}

impl From<SocketAddr> for Peer {
    fn from(address: SocketAddr) -> Self {
        // A listener on [::] shows IPv4 clients as ::ffff:a.b.c.d.
        Self(address.ip().to_canonical())
    }
}

/// What is shared, and what each peer holds of it.
pub(crate) struct Shares {
    total: usize,
    held: Mutex<Held>,
    returned: Notify,
}

#[derive(Default)]
struct Held {
    sum: usize,
    by_peer: HashMap<Peer, usize>,
}

/// A part of the resource, which its drop returns.
pub(crate) struct Share {
    shares: Arc<Shares>,
    peer: Peer,
    amount: usize,
}

impl Shares {
    pub(crate) fn new(total: usize) -> Arc<Self> {
        Arc::new(Self { total, held: Mutex::default(), returned: Notify::new() })
    }

    /// Takes `amount` for `peer`. `None` if the peer would then hold more than remains free.
    pub(crate) fn try_take(self: &Arc<Self>, peer: Peer, amount: usize) -> Option<Share> {
        self.take_if(peer, amount, |own, free| own <= free)
    }

    /// Takes `amount` for `peer` if that much is free, and if `may` permits what `peer` would then hold and what would be free.
    fn take_if(self: &Arc<Self>, peer: Peer, amount: usize, may: impl Fn(usize, usize) -> bool) -> Option<Share> {
        let mut held = self.held();
        let own = held.by_peer.get(&peer).copied().unwrap_or_default() + amount;
        let free = self.total.checked_sub(held.sum + amount)?;
        if !may(own, free) {
            return None;
        }
        held.sum += amount;
        held.by_peer.insert(peer, own);
        Some(Share { shares: self.clone(), peer, amount })
    }

    /// Takes `amount` for `peer`, as soon as that is possible.
    pub(crate) async fn take(self: &Arc<Self>, peer: Peer, amount: usize) -> Share {
        self.wait(|| self.try_take(peer, amount)).await
    }

    /// Takes `amount` for `peer` as soon as it is free, even if `peer` then holds more than remains.
    pub(crate) async fn take_free(self: &Arc<Self>, peer: Peer, amount: usize) -> Share {
        self.wait(|| self.take_if(peer, amount, |_, _| true)).await
    }

    async fn wait(&self, attempt: impl Fn() -> Option<Share>) -> Share {
        loop {
            let mut returned = pin!(self.returned.notified());
            // Before the attempt: a share that is returned between the attempt and the wait must end the wait.
            returned.as_mut().enable();
            if let Some(share) = attempt() {
                return share;
            }
            returned.await;
        }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().expect("no thread panics while it holds the lock")
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut held = self.shares.held();
        held.sum -= self.amount;
        if let Some(own) = held.by_peer.get_mut(&self.peer) {
            *own -= self.amount;
            if *own == 0 {
                held.by_peer.remove(&self.peer);
            }
        }
        drop(held);
        self.shares.returned.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(last: u8) -> Peer {
        Peer(IpAddr::from([10, 0, 0, last]))
    }

    /// Takes ones until nothing more is given.
    fn greedy(shares: &Arc<Shares>, who: u8) -> Vec<Share> {
        std::iter::from_fn(|| shares.try_take(peer(who), 1)).collect()
    }

    #[test]
    fn one_peer_gets_at_most_half_and_the_next_one_a_part_of_the_rest() {
        let shares = Shares::new(100);
        let first = greedy(&shares, 1);
        assert_eq!(first.len(), 50);
        assert_eq!(greedy(&shares, 2).len(), 25);
        drop(first);
        assert_eq!(greedy(&shares, 2).len(), 50, "what was returned is free again");
        assert!(shares.held().by_peer.is_empty(), "a peer that holds nothing leaves no entry");
    }

    #[test]
    fn a_new_peer_gets_something_however_many_are_greedy() {
        let shares = Shares::new(100);
        let all: Vec<_> = (1..=20).flat_map(|who| greedy(&shares, who)).collect();
        assert!(all.len() < 100);
        let (small, large) = (Shares::new(100), Shares::new(100));
        let _held: Vec<_> = (1..=5).flat_map(|who| greedy(&small, who)).collect();
        assert!(small.try_take(peer(9), 1).is_some());
        assert!(large.try_take(peer(9), 51).is_none(), "more than what would remain");
        assert!(large.try_take(peer(9), usize::MAX >> 1).is_none());
    }

    #[tokio::test]
    async fn a_wait_ends_when_a_share_is_returned() {
        let shares = Shares::new(100);
        let first = shares.try_take(peer(1), 50).expect("a half");
        let waiting = tokio::spawn({
            let shares = shares.clone();
            async move { drop(shares.take(peer(1), 1).await) }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(first);
        waiting.await.expect("it ends");
    }

    #[test]
    fn an_ipv4_client_of_an_ipv6_listener_is_the_same_peer() {
        let mapped: SocketAddr = "[::ffff:10.0.0.1]:4711".parse().expect("an address");
        assert_eq!(Peer::from(mapped), peer(1));
    }
}
