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
    peers: Arc<Mutex<HashMap<Who, Arc<Peer>>>>,
}

/// Who a peer is. The id in a Version message is public and anybody can send it, and
/// an identity with a given synthetic address is found in four million tries. So
/// they say who a peer is only where the transport proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Who {
    Proven(PeerIdentity),
    Claimed(PeerKey),
}

impl Who {
    fn of(peer: &Peer) -> Self {
        peer.identity().cloned().map_or_else(|| Self::Claimed(peer.key()), Self::Proven)
    }
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
        let who = Who::of(&self.peer);
        // A better session may have taken the place meanwhile.
        if peers.get(&who).is_some_and(|peer| Arc::ptr_eq(peer, &self.peer)) {
            peers.remove(&who);
        }
    }
}

impl Hub {
    fn lock(&self) -> MutexGuard<'_, HashMap<Who, Arc<Peer>>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The peers now.
    pub fn peers(&self) -> Vec<Arc<Peer>> {
        self.lock().values().cloned().collect()
    }

    /// A peer by its identity.
    pub fn by_identity(&self, identity: &PeerIdentity) -> Option<Arc<Peer>> {
        self.lock().get(&Who::Proven(identity.clone())).cloned()
    }

    /// Takes a place for a peer. A peer that is here already keeps its session,
    /// unless the new one is better: direct instead of relayed, or the peer has
    /// restarted, so that the old one is dead.
    pub(crate) fn enter(&self, peer: Arc<Peer>) -> Result<Place, HandshakeError> {
        let mut peers = self.lock();
        let who = Who::of(&peer);
        if let Some(old) = peers.get(&who) {
            if !supersedes(&peer, old) {
                return Err(HandshakeError::Duplicate(peer.key()));
            }
            old.router.close(CloseReason::Superseded);
        }
        peers.insert(who, peer.clone());
        Ok(Place { hub: self.clone(), peer })
    }

    /// The classes of the inbound peers.
    pub(crate) fn inbound(&self) -> Vec<PeerClass> {
        let peers = self.lock();
        let inbound = peers.values().filter(|peer| peer.router.info().direction == Direction::Inbound);
        inbound.map(|peer| PeerClass::of(peer.router.info(), &peer.router.path())).collect()
    }

    /// Offers a message to every gossiping peer but `except`; how many took it.
    pub(crate) fn broadcast(&self, message: &KaspadMessage, except: Option<&Peer>) -> usize {
        let peers = self.peers();
        let to = peers.iter().filter(|peer| peer.gossips() && !except.is_some_and(|except| std::ptr::eq(&***peer, except)));
        to.filter(|peer| peer.router.offer(message.clone())).count()
    }
}

fn supersedes(new: &Peer, old: &Peer) -> bool {
    let restarted = new.key().id != old.key().id;
    let better = old.router.path().is_relayed() && !new.router.path().is_relayed();
    restarted || better || old.router.is_closed()
}
