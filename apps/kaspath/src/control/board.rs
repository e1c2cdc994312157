//! What events have told of a program that runs, and its parts cannot be asked.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use kaspath_control::{CircuitStatus, Listed, RelayStatus, ReservationStatus, Status};
use kaspath_domain::{Observer, PeerAddress, PeerIdentity, clean, make_room};
use kaspath_transport_libp2p::{NetworkConfig, NetworkEvent, ReservationState};
use serde::Serialize;

/// Reservations, and pairs of peers with circuits, that are remembered.
const MAX_SERVED: usize = 16_384;
/// Bytes of a cause.
const MAX_CAUSE: usize = 200;

/// Cheap to clone; all clones are one.
#[derive(Clone)]
pub(crate) struct Board {
    begin: Instant,
    facts: Arc<Mutex<Facts>>,
}

impl Board {
    pub(super) fn new(config: &NetworkConfig) -> Self {
        Self { begin: Instant::now(), facts: Arc::new(Mutex::new(Facts::new(config))) }
    }

    fn facts(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The relays at which this node reserves.
    pub(super) fn relays(&self) -> Vec<PeerIdentity> {
        self.facts().relays.keys().cloned().collect()
    }

    /// Enters what is known here.
    pub(super) fn fill(&self, status: &mut Status) {
        status.uptime = self.begin.elapsed().as_secs_f64();
        self.facts().fill(status, self.begin.elapsed());
    }

    /// Enters what happens in the network.
    pub(crate) fn of_network(&self) -> Arc<dyn Observer<NetworkEvent>> {
        let board = self.clone();
        Arc::new(move |event: &NetworkEvent| board.facts().network(event, board.begin.elapsed()))
    }

    /// Counts events of one kind.
    pub(crate) fn counting<E: Serialize + 'static>(&self) -> Arc<dyn Observer<E>> {
        let board = self.clone();
        Arc::new(move |event: &E| board.facts().count(event))
    }
}

/// How it stands with a relay.
struct Relay {
    state: &'static str,
    since: Duration,
    cause: Option<String>,
    retry_at: Option<Duration>,
}

/// Times are since the program's start.
#[derive(Default)]
struct Facts {
    /// `None` if nothing was heard of a relay.
    relays: BTreeMap<PeerIdentity, Option<Relay>>,
    /// How long a reservation here holds without being renewed, and a circuit at most:
    /// what is older has ended.
    longest: [Duration; 2],
    /// When each peer's was granted or renewed.
    reservations: HashMap<PeerIdentity, Duration>,
    /// How many there are from a peer to another, and when the last one opened.
    circuits: HashMap<(PeerIdentity, PeerIdentity), (u64, Duration)>,
    counters: BTreeMap<String, u64>,
}

impl Facts {
    fn new(config: &NetworkConfig) -> Self {
        let relays = config.relays.iter().chain(&config.listen).filter_map(|locator| match &locator.address {
            PeerAddress::Relayed(relay) => Some(relay.relay.clone()),
            PeerAddress::Direct(_) => config.relays.contains(locator).then(|| locator.peer.clone()).flatten(),
        });
        let longest = config.relay_server.as_ref().map(|server| [server.reservation_duration, server.max_circuit_duration]);
        Self { relays: relays.map(|relay| (relay, None)).collect(), longest: longest.unwrap_or_default(), ..Self::default() }
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
        match event {
            NetworkEvent::Reservation { relay, state } => self.reservation(relay, state, now),
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

    fn reservation(&mut self, relay: &PeerIdentity, state: &ReservationState, now: Duration) {
        // Of a relay that the settings do not name there is none.
        let Some(entry) = self.relays.get_mut(relay) else { return };
        let new = |state| Relay { state, since: now, cause: None, retry_at: None };
        match state {
            ReservationState::Requested => *entry = Some(new("requested")),
            ReservationState::Confirmed => *entry = Some(new("confirmed")),
            // It has been so for longer.
            ReservationState::Renewed => {
                entry.get_or_insert_with(|| new("confirmed"));
            }
            ReservationState::Lost { cause, retry_in } => {
                let cause = Some(clean(cause, MAX_CAUSE));
                *entry = Some(Relay { cause, retry_at: retry_in.map(|delay| now + delay), ..new("lost") });
            }
        }
    }

    fn fill(&mut self, status: &mut Status, now: Duration) {
        let age = |since: Duration| now.saturating_sub(since).as_secs_f64();
        let relays = self.relays.iter().map(|(relay, known)| RelayStatus {
            relay: relay.clone(),
            state: known.as_ref().map_or("unknown", |known| known.state).to_owned(),
            age: known.as_ref().map(|known| age(known.since)),
            cause: known.as_ref().and_then(|known| known.cause.clone()),
            retry_in: known.as_ref().and_then(|known| known.retry_at).map(|at| at.saturating_sub(now).as_secs_f64()),
        });
        status.relays = Listed::of(relays);
        let [reservation, circuit] = self.longest;
        self.reservations.retain(|_, since| now.saturating_sub(*since) <= reservation);
        self.circuits.retain(|_, (_, since)| now.saturating_sub(*since) <= circuit);
        let mut reservations: Vec<_> = self.reservations.iter().map(|(peer, since)| (*since, peer)).collect();
        let mut circuits: Vec<_> = self.circuits.iter().map(|(pair, (count, since))| (*since, pair, *count)).collect();
        reservations.sort();
        circuits.sort();
        let reservations =
            reservations.into_iter().map(|(since, peer)| ReservationStatus { peer: peer.clone(), age: age(since) });
        let circuits = circuits.into_iter().map(|(since, (source, destination), count)| {
            let (source, destination) = (source.clone(), destination.clone());
            CircuitStatus { source, destination, count, age: age(since) }
        });
        status.reservations = Listed::of(reservations);
        status.circuits = Listed::of(circuits);
        status.counters = self.counters.clone();
    }
}

#[cfg(test)]
mod tests;
