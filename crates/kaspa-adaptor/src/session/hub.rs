//! All sessions, and the suppression of duplicates.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use kaspa_p2p_lib::pb::KaspadMessage;
use kaspath_domain::{Direction, PeerClass, PeerIdentity};

use super::{Peer, PeerKey};
use crate::{CloseReason, HandshakeError};

/// The peers with whom sessions stand or are about to.
#[derive(Clone, Debug, Default)]
pub struct Hub {
    peers: Arc<Mutex<HashMap<PeerKey, Arc<Peer>>>>,
}

/// A peer's place in the hub, given back on drop.
#[derive(Debug)]
pub(crate) struct Place {
    hub: Hub,
    peer: Arc<Peer>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut peers = self.hub.lock();
        // A better session may have taken the place meanwhile.
        if peers.get(&self.peer.key()).is_some_and(|peer| Arc::ptr_eq(peer, &self.peer)) {
            peers.remove(&self.peer.key());
        }
    }
}

impl Hub {
    fn lock(&self) -> MutexGuard<'_, HashMap<PeerKey, Arc<Peer>>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The peers now.
    pub fn peers(&self) -> Vec<Arc<Peer>> {
        self.lock().values().cloned().collect()
    }

    /// A peer by its identity.
    pub fn by_identity(&self, identity: &PeerIdentity) -> Option<Arc<Peer>> {
        self.lock().values().find(|peer| peer.identity() == Some(identity)).cloned()
    }

    /// Takes a place for a peer. A peer that is here already keeps its session,
    /// unless the new one is better: direct instead of relayed, or the peer has
    /// restarted, so that the old one is dead.
    pub(crate) fn enter(&self, peer: Arc<Peer>) -> Result<Place, HandshakeError> {
        let mut peers = self.lock();
        let same = |other: &Peer| other.key() == peer.key() || (peer.identity().is_some() && other.identity() == peer.identity());
        let old: Vec<Arc<Peer>> = peers.values().filter(|other| same(other)).cloned().collect();
        if old.iter().any(|old| !supersedes(&peer, old)) {
            return Err(HandshakeError::Duplicate(peer.key()));
        }
        for old in old {
            peers.remove(&old.key());
            old.router.close(CloseReason::Superseded);
        }
        peers.insert(peer.key(), peer.clone());
        Ok(Place { hub: self.clone(), peer })
    }

    /// The classes of the inbound peers.
    pub(crate) fn inbound(&self) -> Vec<PeerClass> {
        let peers = self.lock();
        let inbound = peers.values().filter(|peer| peer.router.info().direction == Direction::Inbound);
        inbound.map(|peer| PeerClass::of(peer.router.info(), &peer.router.path())).collect()
    }

    /// Offers a message to every gossiping peer but `except`; how many took it.
    pub(crate) fn broadcast(&self, message: &KaspadMessage, except: Option<&PeerKey>) -> usize {
        let peers = self.peers();
        let to = peers.iter().filter(|peer| peer.gossips() && Some(&peer.key()) != except);
        to.filter(|peer| peer.router.offer(message.clone())).count()
    }
}

fn supersedes(new: &Peer, old: &Peer) -> bool {
    let restarted = new.key().id != old.key().id;
    let better = old.router.path().is_relayed() && !new.router.path().is_relayed();
    restarted || better || old.router.is_closed()
}
