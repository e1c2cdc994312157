//! What a running program keeps of its events for `kaspath status`, because its parts cannot
//! be asked for it.

mod recent;
mod traffic;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use kaspath_control::{
    CircuitStatus, Listed, MappedStatus, ObservedStatus, RelayStatus, ReservationStatus, Status, TrafficStatus,
};
use kaspath_domain::{
    DiscoveryEvent, MapPurpose, MapRequest, Mapped, MappingEvent, Observer, PeerAddress, PeerIdentity, PeerLocator, Transport,
    clean, make_room,
};
use kaspath_gateway::GatewayEvent;
use kaspath_kaspa_adaptor::KaspaEvent;
use kaspath_node::{PoolChange, PoolEvent};
use kaspath_session::SessionEvent;
use kaspath_transport_libp2p::{NetworkConfig, NetworkEvent, ReservationState};
use kaspath_web::Changes;
use serde::Serialize;

use crate::settings::relay_addresses;
use recent::Recent;
pub(super) use recent::relay_reason;
use traffic::Traffic;
pub(super) use traffic::{Bytes, sum};

/// Reservations, and pairs of peers with circuits, that are remembered.
const MAX_SERVED: usize = 16_384;
/// Bytes of a cause.
const MAX_CAUSE: usize = 200;
/// Our own addresses, as relays see them, that are shown.
const MAX_OBSERVED: usize = 16;

/// Counters, reservations and circuits by the events so far. Cheap to clone; all clones
/// share them.
#[derive(Clone)]
pub(crate) struct Activity {
    begin: Instant,
    facts: Arc<Mutex<Facts>>,
    changes: Changes,
}

impl Activity {
    pub(super) fn new(config: &NetworkConfig) -> Self {
        Self { begin: Instant::now(), facts: Arc::new(Mutex::new(Facts::new(config))), changes: Changes::default() }
    }

    fn facts(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The relays at which this node reserves.
    pub(super) fn relays(&self) -> Vec<PeerIdentity> {
        self.facts().relays.keys().cloned().collect()
    }

    /// The status, but for what only the parts of the program know.
    pub(super) fn status(&self, peer: &PeerIdentity) -> Status {
        self.facts().status(peer, self.begin.elapsed())
    }

    /// Where the relays of the settings stand, by their states.
    pub(super) fn relay_states(&self) -> Vec<&'static str> {
        self.facts().relays.values().map(|known| state(known.as_ref())).collect()
    }

    /// Our own addresses, as relays see them.
    pub(super) fn observed(&self) -> Vec<ObservedStatus> {
        let facts = self.facts();
        let observed = facts.observed.iter().take(MAX_OBSERVED);
        observed.map(|((by, _), address)| ObservedStatus { address: address.clone(), by: by.clone() }).collect()
    }

    /// What sessions have moved, and those that are open of it.
    pub(super) fn traffic(&self, open: Bytes) -> TrafficStatus {
        self.facts().traffic.status(open)
    }

    /// Takes note of what the open sessions have moved by now.
    pub(super) fn sample(&self, open: Bytes) {
        self.facts().traffic.sample(open, self.begin.elapsed());
    }

    /// Notified of what a reader of the status should see at once.
    pub(super) fn changes(&self) -> Changes {
        self.changes.clone()
    }

    /// Records events of the network.
    pub(crate) fn of_network(&self) -> Arc<dyn Observer<NetworkEvent>> {
        self.recording(|facts, event: &NetworkEvent, now| {
            facts.network(event, now);
            true
        })
    }

    /// Records what the router forwards.
    pub(crate) fn of_mapping(&self) -> Arc<dyn Observer<MappingEvent>> {
        self.recording(|facts, event: &MappingEvent, _| {
            facts.count(event);
            match event {
                MappingEvent::Mapped(mapped) => drop(facts.mapped.insert(mapped.request, mapped.clone())),
                MappingEvent::Lost { mapped, .. } => drop(facts.mapped.remove(&mapped.request)),
                MappingEvent::Unavailable { .. } => {}
            }
            true
        })
    }

    /// Records what happens to sessions and their paths.
    pub(crate) fn of_sessions(&self) -> Arc<dyn Observer<SessionEvent>> {
        self.recording(|facts, event: &SessionEvent, now| {
            facts.count(event);
            facts.recent.session(event, now);
            true
        })
    }

    /// Records what happens to the relay pool.
    pub(crate) fn of_pool(&self) -> Arc<dyn Observer<PoolEvent>> {
        self.recording(|facts, event: &PoolEvent, _| {
            facts.count(event);
            if let PoolEvent::RelayPool { relay, change, .. } = event {
                facts.pooled(relay, *change);
            }
            true
        })
    }

    /// Records what happens in Kaspa sessions.
    pub(crate) fn of_kaspa(&self) -> Arc<dyn Observer<KaspaEvent>> {
        self.recording(|facts, event: &KaspaEvent, _| {
            facts.count(event);
            if let KaspaEvent::PeerLeft { received, sent, .. } = event {
                facts.traffic.ended([*received, *sent]);
            }
            // Blocks, transactions and pings are many, and change little that is shown.
            matches!(event, KaspaEvent::PeerReady { .. } | KaspaEvent::PathChanged { .. } | KaspaEvent::PeerLeft { .. })
        })
    }

    /// Records what comes of looking for peers.
    pub(crate) fn of_discovery(&self) -> Arc<dyn Observer<DiscoveryEvent>> {
        self.recording(|facts, event: &DiscoveryEvent, _| {
            facts.count(event);
            matches!(event, DiscoveryEvent::DiscoveredPeer { .. })
        })
    }

    /// Records what happens at a gateway.
    pub(crate) fn of_gateway(&self) -> Arc<dyn Observer<GatewayEvent>> {
        self.recording(|facts, event: &GatewayEvent, _| {
            facts.count(event);
            if let GatewayEvent::GatewayClosed { to_kaspad, to_peer, .. } = event {
                facts.traffic.ended([*to_kaspad, *to_peer]);
            }
            true
        })
    }

    /// `record` takes note of an event, and says whether a reader should see that at once.
    fn recording<E: 'static>(
        &self,
        record: impl Fn(&mut Facts, &E, Duration) -> bool + Send + Sync + 'static,
    ) -> Arc<dyn Observer<E>> {
        let activity = self.clone();
        Arc::new(move |event: &E| {
            let is_news = record(&mut activity.facts(), event, activity.begin.elapsed());
            if is_news {
                activity.changes.notify();
            }
        })
    }
}

/// Times are since the program's start.
#[derive(Default)]
struct Facts {
    /// The reservation at each relay of the settings, and at each that the pool uses, and
    /// since when it is so; `None` if there was no event.
    relays: BTreeMap<PeerIdentity, Option<(ReservationState, Duration)>>,
    /// Where the settings say that each is.
    addresses: BTreeMap<PeerIdentity, Vec<PeerLocator>>,
    /// Our own address, as each of these relays sees it over each transport.
    observed: BTreeMap<(PeerIdentity, Transport), PeerLocator>,
    /// What the router forwards.
    mapped: BTreeMap<MapRequest, Mapped>,
    recent: Recent,
    traffic: Traffic,
    /// When each peer's was granted or renewed.
    reservations: HashMap<PeerIdentity, Duration>,
    /// How many there are from a peer to another, and when the last one opened.
    circuits: HashMap<(PeerIdentity, PeerIdentity), (u64, Duration)>,
    counters: BTreeMap<String, u64>,
}

impl Facts {
    fn new(config: &NetworkConfig) -> Self {
        let mut addresses: BTreeMap<PeerIdentity, Vec<PeerLocator>> = BTreeMap::new();
        for (relay, address) in relay_addresses(config) {
            addresses.entry(relay).or_default().push(address);
        }
        Self { relays: addresses.keys().map(|relay| (relay.clone(), None)).collect(), addresses, ..Self::default() }
    }

    /// Counts an event under its name, with which its JSON begins. The rest of it is not
    /// written: there are many events.
    fn count(&mut self, event: &impl Serialize) {
        let mut begin = [0; 64];
        // It ends with an error as soon as the buffer is full.
        let _ = serde_json::to_writer(&mut begin[..], event);
        let name = begin.split(|byte| *byte == b'"').nth(3).and_then(|name| std::str::from_utf8(name).ok());
        let Some(name) = name else { return };
        match self.counters.get_mut(name) {
            Some(count) => *count += 1,
            None => drop(self.counters.insert(name.to_owned(), 1)),
        }
    }

    fn network(&mut self, event: &NetworkEvent, now: Duration) {
        self.count(event);
        self.recent.network(event, now);
        match event {
            NetworkEvent::Reservation { relay, state } => self.reservation(relay, state, now),
            // What others say of our address is not shown: anybody could say anything.
            NetworkEvent::CandidateObserved { address, by } if self.relays.contains_key(by) => {
                if let PeerAddress::Direct(direct) = &address.address {
                    self.observed.insert((by.clone(), direct.transport), address.clone());
                }
            }
            NetworkEvent::RelayReservationAccepted { peer, .. } => {
                make_room(&mut self.reservations, peer, MAX_SERVED, |since| *since);
                self.reservations.insert(peer.clone(), now);
            }
            NetworkEvent::RelayReservationEnded { peer } => {
                self.reservations.remove(peer);
            }
            NetworkEvent::RelayCircuitOpened { source, destination } => {
                let pair = (source.clone(), destination.clone());
                make_room(&mut self.circuits, &pair, MAX_SERVED, |(_, since)| *since);
                let (count, since) = self.circuits.entry(pair).or_default();
                (*count, *since) = (*count + 1, now);
            }
            NetworkEvent::RelayCircuitClosed { source, destination, from_source, from_destination, .. } => {
                let bytes = self.counters.entry("circuit-bytes".to_owned()).or_default();
                *bytes = bytes.saturating_add(*from_source).saturating_add(*from_destination);
                let pair = (source.clone(), destination.clone());
                if let Some((count, _)) = self.circuits.get_mut(&pair) {
                    *count -= 1;
                    if *count == 0 {
                        self.circuits.remove(&pair);
                    }
                }
            }
            _ => {}
        }
    }

    /// The pool uses a relay that the settings do not name, or has given it back.
    fn pooled(&mut self, relay: &PeerIdentity, change: PoolChange) {
        if self.addresses.contains_key(relay) {
            return;
        }
        match change {
            PoolChange::Used => {
                self.relays.entry(relay.clone()).or_default();
            }
            PoolChange::Released => {
                self.relays.remove(relay);
            }
        }
    }

    fn reservation(&mut self, relay: &PeerIdentity, state: &ReservationState, now: Duration) {
        use ReservationState::{Confirmed, Renewed};
        match (self.relays.get_mut(relay), state) {
            // A relay that is not used has no entry, and a renewed
            // reservation has been confirmed for longer.
            (None, _) | (Some(Some((Confirmed | Renewed, _))), Renewed) => {}
            (Some(entry), state) => *entry = Some((state.clone(), now)),
        }
    }

    /// The status, but for what only the parts of the program know.
    fn status(&self, peer: &PeerIdentity, now: Duration) -> Status {
        let age = |since: Duration| now.saturating_sub(since).as_secs_f64();
        let mut reservations: Vec<_> = self.reservations.iter().collect();
        reservations.sort_by_key(|(peer, since)| (**since, *peer));
        let mut circuits: Vec<_> = self.circuits.iter().collect();
        circuits.sort_by_key(|(pair, (_, since))| (*since, *pair));
        Status {
            role: String::new(),
            program: env!("CARGO_PKG_VERSION").to_owned(),
            peer: peer.clone(),
            uptime: now.as_secs_f64(),
            listening: Vec::new(),
            announced: Vec::new(),
            mapped: self.mapped.values().map(mapped_status).collect(),
            reachability: Vec::new(),
            nat: None,
            traffic: None,
            pool: None,
            peers: Listed::of([]),
            relays: Listed::of(self.relays.iter().map(|(relay, known)| {
                let addresses = self.addresses.get(relay).cloned().unwrap_or_default();
                RelayStatus { addresses, ..relay_status(relay, known.as_ref(), now) }
            })),
            punches: self.recent.punches(now),
            moves: self.recent.moves(now),
            discovered: Listed::default(),
            search: None,
            reservations: Listed::of(
                reservations.into_iter().map(|(peer, since)| ReservationStatus { peer: peer.clone(), age: age(*since) }),
            ),
            circuits: Listed::of(circuits.into_iter().map(|((source, destination), (count, since))| {
                let (source, destination) = (source.clone(), destination.clone());
                CircuitStatus { source, destination, count: *count, age: age(*since) }
            })),
            counters: self.counters.clone(),
        }
    }
}

fn mapped_status(mapped: &Mapped) -> MappedStatus {
    let Mapped { request, external, by, .. } = mapped;
    MappedStatus {
        external: *external,
        protocol: request.protocol.to_string(),
        port: request.port,
        kaspad: request.purpose == MapPurpose::Kaspad,
        method: by.name().to_owned(),
    }
}

fn relay_status(relay: &PeerIdentity, known: Option<&(ReservationState, Duration)>, now: Duration) -> RelayStatus {
    let (cause, retry_in) = match known {
        Some((ReservationState::Lost { cause, retry_in, .. }, since)) => {
            let left = |delay: Duration| (*since + delay).saturating_sub(now).as_secs_f64();
            (Some(clean(cause, MAX_CAUSE)), retry_in.map(left))
        }
        _ => (None, None),
    };
    let age = known.map(|(_, since)| now.saturating_sub(*since).as_secs_f64());
    let state = state(known).to_owned();
    RelayStatus {
        relay: relay.clone(),
        state,
        age,
        cause,
        retry_in,
        addresses: Vec::new(),
        round_trip: None,
        source: None,
        score: None,
    }
}

fn state(known: Option<&(ReservationState, Duration)>) -> &'static str {
    match known.map(|(state, _)| state) {
        None => "unknown",
        Some(ReservationState::Requested) => "requested",
        Some(ReservationState::Confirmed | ReservationState::Renewed) => "confirmed",
        Some(ReservationState::Lost { .. }) => "lost",
    }
}

#[cfg(test)]
mod tests;
