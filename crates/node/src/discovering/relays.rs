//! Which relays there are to ask, and which hold a reservation.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use kaspath_domain::{
    Direction, Groups, Observer, Path, PeerAddress, PeerIdentity, PeerLocator, RelayAddress, Timestamp, Told, TransportAddress,
    wall_clock,
};
use kaspath_policy::{Askable, RelayCandidate, RelaySource};
use kaspath_transport_libp2p::{NetworkEvent, RelayService, ReservationState};
use tokio::sync::watch;

use crate::{Relays, lock};

/// The relays that a node knows, from whomever.
pub trait KnownRelays: Send + Sync {
    /// All of them. Any may be asked for peers.
    fn known(&self) -> Vec<KnownRelay>;

    /// Whether as many reservations are held as are wanted.
    fn is_served(&self) -> bool;

    /// Whether relays that are only told of are used: else nobody is asked for them, and no peer
    /// is dialled through them.
    fn takes_strangers(&self) -> bool {
        true
    }

    /// Somebody has told of this one.
    fn told(&self, told: &Told, by: RelaySource);

    /// A relay has answered a question, or does not although others do.
    fn answered(&self, relay: &PeerIdentity, answers: bool);
}

/// Whether a peer may be dialled there: not through a relay of a stranger where these are not used.
pub(crate) fn may_dial(relays: &dyn KnownRelays, at: &PeerLocator) -> bool {
    let PeerAddress::Relayed(by) = &at.address else { return true };
    relays.takes_strangers() || relays.known().iter().any(|known| known.relay.relay == by.relay)
}

/// A relay, and whose choice it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownRelay {
    /// The relay.
    pub relay: RelayAddress,
    /// This node's user has named it, by itself or in a list.
    pub is_configured: bool,
    /// The strangers who told of it.
    pub tellers: Vec<PeerIdentity>,
}

impl KnownRelay {
    pub(super) fn askable(&self, held: &BTreeSet<PeerIdentity>) -> Askable {
        Askable {
            relay: self.relay.relay.clone(),
            group: Groups::of_relay(&self.relay),
            is_ours: self.is_configured || held.contains(&self.relay.relay),
            tellers: self.tellers.clone(),
        }
    }
}

/// The relays of the settings, and no others.
pub struct ConfiguredRelays(pub Vec<RelayAddress>);

impl KnownRelays for ConfiguredRelays {
    fn known(&self) -> Vec<KnownRelay> {
        let mut known: Vec<KnownRelay> = Vec::with_capacity(self.0.len());
        for relay in &self.0 {
            if known.iter().all(|other| other.relay.relay != relay.relay) {
                known.push(KnownRelay { relay: relay.clone(), is_configured: true, tellers: Vec::new() });
            }
        }
        known
    }

    fn is_served(&self) -> bool {
        true
    }

    fn told(&self, _: &Told, _: RelaySource) {}

    fn answered(&self, _: &PeerIdentity, _: bool) {}
}

impl KnownRelays for Relays {
    fn known(&self) -> Vec<KnownRelay> {
        let view = self.view();
        // A node that is given no relay looks for nobody: its book may know relays all the same.
        let relays = view.relays.into_iter().filter(|_| view.reservations > 0);
        let known = relays.filter_map(|pooled| {
            let via = pooled.addresses.into_iter().next()?;
            let is_configured = pooled.sources.iter().any(RelaySource::is_given);
            let tellers = pooled.sources.iter().filter_map(RelaySource::teller).cloned().collect();
            Some(KnownRelay { relay: RelayAddress { relay: pooled.relay, via }, is_configured, tellers })
        });
        known.collect()
    }

    fn is_served(&self) -> bool {
        Relays::is_served(self)
    }

    fn takes_strangers(&self) -> bool {
        Relays::takes_strangers(self)
    }

    fn told(&self, told: &Told, by: RelaySource) {
        let record = told.record.record();
        self.offer(RelayCandidate {
            relay: record.peer.clone(),
            addresses: record.candidates.clone(),
            source: by,
            load: record.load,
        });
    }

    fn answered(&self, relay: &PeerIdentity, answers: bool) {
        Relays::answered(self, relay, answers);
    }
}

/// Peers that may be relays, whose addresses are remembered.
const MAX: usize = 256;

/// The relays that hold a reservation now, and where they are. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct HeldRelays {
    held: watch::Sender<BTreeSet<PeerIdentity>>,
    /// Of a relay that is known by a name: where it was connected to.
    at: Arc<Mutex<HashMap<PeerIdentity, (Timestamp, TransportAddress)>>>,
    /// This node serves as a relay itself.
    serves: Arc<AtomicBool>,
}

impl HeldRelays {
    /// Of a node that serves from the start on, or not yet.
    pub(crate) fn of(serves: bool) -> Self {
        Self { serves: Arc::new(serves.into()), ..Self::default() }
    }

    pub(super) fn watch(&self) -> watch::Receiver<BTreeSet<PeerIdentity>> {
        self.held.subscribe()
    }

    /// Whether this node serves as a relay.
    pub(super) fn serves(&self) -> bool {
        self.serves.load(Ordering::Relaxed)
    }

    /// The relay with an address that needs no resolver, if there is one.
    pub(super) fn literal(&self, relay: &RelayAddress) -> Option<RelayAddress> {
        if relay.via.ip().is_some() {
            return Some(relay.clone());
        }
        let at = lock(&self.at);
        at.get(&relay.relay).map(|(_, via)| RelayAddress { relay: relay.relay.clone(), via: via.clone() })
    }
}

impl Observer<NetworkEvent> for HeldRelays {
    fn observe(&self, event: &NetworkEvent) {
        match event {
            NetworkEvent::Reservation { relay, state } => {
                self.held.send_if_modified(|held| match state {
                    ReservationState::Confirmed | ReservationState::Renewed => held.insert(relay.clone()),
                    ReservationState::Lost { .. } => held.remove(relay),
                    ReservationState::Requested => false,
                });
            }
            NetworkEvent::Serving { state } => self.serves.store(*state == RelayService::Open, Ordering::Relaxed),
            NetworkEvent::Connected { peer, direction: Direction::Outbound, path: Path::Direct { .. }, remote } => {
                let PeerAddress::Direct(via) = &remote.address else { return };
                let mut at = lock(&self.at);
                // Those that are held stay: this node names them as long as it holds them.
                if at.len() >= MAX && !at.contains_key(peer) {
                    let held = self.held.borrow();
                    let others = at.iter().filter(|(other, _)| !held.contains(other));
                    let oldest = others.min_by_key(|(_, (since, _))| *since).map(|(other, _)| other.clone());
                    let Some(oldest) = oldest else { return };
                    at.remove(&oldest);
                }
                at.insert(peer.clone(), (wall_clock(), via.clone()));
            }
            _ => {}
        }
    }
}
