//! All sessions, and the suppression of duplicates.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use kaspa_p2p_lib::pb::KaspadMessage;
use kaspath_domain::{AdmissionRequest, Candidate, Direction, MonotonicClock, PeerClass, PeerIdentity, RefuseReason, make_slot};
use uuid::Uuid;

use super::{Peer, PeerKey};
use crate::{CloseReason, HandshakeError, errors::EVICTED};

/// Sessions from both ends that begin within this time began at once: a handshake's time.
const CROSSING: Duration = Duration::from_secs(8);

/// The peers with which there are sessions, or will be.
#[derive(Clone, Debug)]
pub struct Hub {
    peers: Arc<Mutex<HashMap<Who, Arc<Peer>>>>,
    pub(crate) clock: MonotonicClock,
}

impl Default for Hub {
    fn default() -> Self {
        Self { peers: Arc::default(), clock: MonotonicClock::start() }
    }
}

/// The policy's decision on an inbound peer.
pub(crate) type Admit<'a> = &'a (dyn Fn(&AdmissionRequest) -> Result<(), RefuseReason> + Sync);

/// Who a peer is. The id in a Version message is public and anybody can send it, and
/// an identity with a given synthetic address is found in four million tries. So
/// they say who a peer is only where the transport proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Who {
    Proven(PeerIdentity),
    Claimed(PeerKey),
}

impl Who {
    fn of(peer: &Peer) -> Self {
        peer.identity().cloned().map_or_else(|| Self::Claimed(peer.key()), Self::Proven)
    }
}

/// A peer's slot in the hub, released on drop.
#[derive(Debug)]
pub(crate) struct HubSlot {
    hub: Hub,
    peer: Arc<Peer>,
}

impl Drop for HubSlot {
    fn drop(&mut self) {
        let mut peers = self.hub.lock();
        let who = Who::of(&self.peer);
        // Another session may have taken the slot meanwhile.
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

    /// Takes a slot for a peer. A peer that is here already keeps its session,
    /// unless that has ended, or the peer has restarted. Of two sessions with a proven peer that
    /// began at once both ends keep the one that was called by the smaller id; `local` is ours.
    /// An inbound peer comes with the policy's `admit`, which does not count the session that
    /// it replaces; when all slots are taken, the least useful session is evicted.
    pub(crate) fn enter(&self, peer: Arc<Peer>, local: Uuid, admit: Option<Admit<'_>>) -> Result<HubSlot, HandshakeError> {
        let mut peers = self.lock();
        let who = Who::of(&peer);
        if let Some(old) = peers.get(&who)
            && peer.key().id == old.key().id
            && !old.router.is_closed()
            && !(matches!(who, Who::Proven(_)) && replaces(&peer, old, local))
        {
            return Err(HandshakeError::Duplicate(peer.key()));
        }
        if let Some(admit) = admit {
            let class = PeerClass::of(peer.router.info(), &peer.router.path());
            let now = self.clock.now();
            let evicted = make_slot((peer.identity(), &class), Self::inbound_but(&peers, &who), now, admit);
            for evicted in evicted.map_err(|reason| HandshakeError::NotAdmitted(reason.to_string()))? {
                if let Some(evicted) = peers.remove(&evicted) {
                    evicted.router.reject(EVICTED.to_owned(), CloseReason::Evicted);
                }
            }
        }
        if let Some(old) = peers.insert(who, peer.clone()) {
            old.router.close(CloseReason::Superseded);
        }
        Ok(HubSlot { hub: self.clone(), peer })
    }

    /// The inbound sessions of others, without those that are ending already.
    fn inbound_but(peers: &HashMap<Who, Arc<Peer>>, who: &Who) -> Vec<Candidate<Who, PeerClass>> {
        let others = peers.iter().filter(|(other, peer)| *other != who && !peer.router.is_closed());
        let inbound = others.filter(|(_, peer)| peer.router.info().direction == Direction::Inbound);
        inbound.map(|(other, peer)| peer.router.candidate(other.clone())).collect()
    }

    /// Offers a message to every gossiping peer but `except`; how many took it.
    pub(crate) fn broadcast(&self, message: &KaspadMessage, except: Option<&Peer>) -> usize {
        let peers = self.peers();
        let to = peers.iter().filter(|peer| peer.gossips() && !except.is_some_and(|except| std::ptr::eq(&***peer, except)));
        to.filter(|peer| peer.router.offer(message.clone())).count()
    }
}

/// Whether both began at once, from both ends, and the new one is to be kept.
fn replaces(new: &Peer, old: &Peer, local: Uuid) -> bool {
    let kept = if local < new.key().id { Direction::Outbound } else { Direction::Inbound };
    let (direction, old_direction) = (new.router.info().direction, old.router.info().direction);
    direction == kept && old_direction != kept && old.router.age() < CROSSING
}
