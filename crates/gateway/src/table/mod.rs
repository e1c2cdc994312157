//! The peer book as the gateway needs it: which peer has which loopback address, and
//! kaspad's bans, which are of addresses.

mod earlier;

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::Duration,
};

use kaspath_domain::{BanSource, PeerBook, PeerBookError, PeerChange, PeerIdentity, Timestamp};

#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub use earlier::fuzz_file;
pub use earlier::{EarlierTable, TableError};

/// How long kaspad's bans hold, and so ours.
const KASPAD_BAN: Duration = Duration::from_secs(24 * 3600);

/// A view of the peer book.
pub(crate) struct PeerTable {
    book: Arc<dyn PeerBook>,
}

/// A peer's address, which cannot pass to another peer while this is held.
pub(crate) struct Hold {
    book: Arc<dyn PeerBook>,
    peer: PeerIdentity,
    address: Ipv4Addr,
}

impl Hold {
    /// The peer.
    pub(crate) fn peer(&self) -> &PeerIdentity {
        &self.peer
    }

    /// The address by which kaspad knows it.
    pub(crate) fn address(&self) -> Ipv4Addr {
        self.address
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.book.unpin(&self.peer);
    }
}

impl PeerTable {
    pub(crate) fn new(book: Arc<dyn PeerBook>) -> Self {
        Self { book }
    }

    /// The peer's address; a peer that is new gets one.
    pub(crate) fn hold(&self, peer: &PeerIdentity, now: Timestamp) -> Result<Hold, PeerBookError> {
        // First, so that nothing can evict it in between.
        self.book.pin(peer);
        match self.book.loopback(peer, now) {
            Ok(address) => Ok(Hold { book: self.book.clone(), peer: peer.clone(), address }),
            Err(error) => {
                self.book.unpin(peer);
                Err(error)
            }
        }
    }

    /// Whether the peer has an address already.
    pub(crate) fn knows(&self, peer: &PeerIdentity) -> bool {
        self.book.get(peer).is_some_and(|record| record.loopback.is_some())
    }

    /// Whose address it is.
    pub(crate) fn peer_at(&self, address: IpAddr) -> Option<PeerIdentity> {
        let IpAddr::V4(address) = address.to_canonical() else { return None };
        self.book.peer_at(address)
    }

    /// Notes that kaspad has banned the peer that has this address, for 24 hours from
    /// the first time it is noted; who it is, if this is the first time.
    pub(crate) fn ban(&self, address: IpAddr, now: Timestamp) -> Option<PeerIdentity> {
        let change = PeerChange::Ban { source: BanSource::Kaspad, until: now + KASPAD_BAN };
        self.change(address, change, now)
    }

    /// Notes that kaspad bans the peer that has this address no more; who it is, if it
    /// did. A ban of this node's user remains.
    pub(crate) fn unban(&self, address: IpAddr, now: Timestamp) -> Option<PeerIdentity> {
        self.change(address, PeerChange::Unban { source: BanSource::Kaspad }, now)
    }

    /// kaspad answers again, and lists these: an ended ban that it does not list was
    /// lifted meanwhile, or lost with kaspad's data. The next one counts from its start.
    pub(crate) fn lists(&self, banned: &[IpAddr], now: Timestamp) {
        let is_listed = |address: &Ipv4Addr| banned.iter().any(|listed| listed.to_canonical() == IpAddr::V4(*address));
        for record in self.book.all() {
            let has_ended = record.kaspad_ban.is_some_and(|until| until <= now);
            if has_ended && !record.loopback.as_ref().is_some_and(is_listed) {
                let _ = self.book.update(&record.peer, PeerChange::Unban { source: BanSource::Kaspad }, now);
            }
        }
    }

    fn change(&self, address: IpAddr, change: PeerChange, now: Timestamp) -> Option<PeerIdentity> {
        let peer = self.peer_at(address)?;
        self.book.update(&peer, change, now).is_ok_and(|is_new| is_new).then_some(peer)
    }

    /// Whether the peer is banned now, by whomever.
    pub(crate) fn is_banned(&self, peer: &PeerIdentity, now: Timestamp) -> bool {
        self.book.is_banned(peer, now)
    }
}

#[cfg(test)]
mod tests;
