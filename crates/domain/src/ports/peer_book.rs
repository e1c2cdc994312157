use std::net::Ipv4Addr;

use crate::{PeerBookError, PeerChange, PeerIdentity, PeerRecord, Timestamp};

/// The one owner of what is known of peers: addresses, how dials ended, bans, loopback
/// addresses. It holds a bounded number of peers. When it is full, the one heard of
/// longest ago makes room that is neither pinned nor banned.
///
/// No call waits for anything but memory. Times are wall time.
#[cfg_attr(feature = "mocks", mockall::automock)]
pub trait PeerBook: Send + Sync {
    /// What is known of a peer.
    fn get(&self, peer: &PeerIdentity) -> Option<PeerRecord>;

    /// Whether a peer is banned now.
    fn is_banned(&self, peer: &PeerIdentity, now: Timestamp) -> bool {
        self.get(peer).is_some_and(|record| record.is_banned(now))
    }

    /// Notes what was learnt of a peer. One that is not in the book is added only if
    /// the change [introduces](PeerChange::introduces) it. Whether it said anything
    /// new; fails only if a new peer finds no room.
    fn update(&self, peer: &PeerIdentity, change: PeerChange, now: Timestamp) -> Result<bool, PeerBookError>;

    /// Up to `limit` peers, those heard of last first.
    fn recent(&self, limit: usize) -> Vec<PeerRecord>;

    /// All of them, those heard of last first.
    fn all(&self) -> Vec<PeerRecord> {
        self.recent(usize::MAX)
    }

    /// Forgets a peer; whether it was known. Of one that is pinned the loopback address
    /// stays, for it may be in use.
    fn forget(&self, peer: &PeerIdentity) -> bool;

    /// From now on the peer is not evicted, whether it is in the book yet or not, until
    /// it is unpinned as often as it was pinned. Pins do not outlast the program.
    fn pin(&self, peer: &PeerIdentity);

    /// Takes one pin back.
    fn unpin(&self, peer: &PeerIdentity);

    /// The peer's loopback address, which no other peer in the book has. A peer that
    /// has none, or is not in the book, gets one, and keeps it.
    fn loopback(&self, peer: &PeerIdentity, now: Timestamp) -> Result<Ipv4Addr, PeerBookError>;

    /// Gives a peer a certain loopback address, as an earlier version remembered it. A
    /// peer that has it now loses it, unless that one is pinned.
    fn set_loopback(&self, peer: &PeerIdentity, address: Ipv4Addr, now: Timestamp) -> Result<(), PeerBookError>;

    /// Whose loopback address it is.
    fn peer_at(&self, address: Ipv4Addr) -> Option<PeerIdentity>;
}
