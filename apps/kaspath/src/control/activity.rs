//! What a running program keeps of its events for `kaspath status`, because its parts cannot
//! be asked for it.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use kaspath_control::{CircuitStatus, Listed, RelayStatus, ReservationStatus, Status};
use kaspath_domain::{Observer, PeerIdentity, clean, make_room};
use kaspath_transport_libp2p::{NetworkConfig, NetworkEvent, ReservationState};
use serde::Serialize;

use crate::settings::relay_ids;

/// Reservations, and pairs of peers with circuits, that are remembered.
const MAX_SERVED: usize = 16_384;
/// Bytes of a cause.
const MAX_CAUSE: usize = 200;

/// Counters, reservations and circuits by the events so far. Cheap to clone; all clones
/// share them.
#[derive(Clone)]
pub(crate) struct Activity {
    begin: Instant,
    facts: Arc<Mutex<Facts>>,
}

impl Activity {
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

    /// The status, but for what only the parts of the program know.
    pub(super) fn status(&self, peer: &PeerIdentity) -> Status {
        self.facts().status(peer, self.begin.elapsed())
    }

    /// Records events of the network.
    pub(crate) fn of_network(&self) -> Arc<dyn Observer<NetworkEvent>> {
        let activity = self.clone();
        Arc::new(move |event: &NetworkEvent| activity.facts().network(event, activity.begin.elapsed()))
    }

    /// Counts events of one kind.
    pub(crate) fn counting<E: Serialize + 'static>(&self) -> Arc<dyn Observer<E>> {
        let activity = self.clone();
        Arc::new(move |event: &E| activity.facts().count(event))
    }
}

/// Times are since the program's start.
#[derive(Default)]
struct Facts {
    /// The reservation at each relay of the settings and since when it is so; `None` if
    /// there was no event.
    relays: BTreeMap<PeerIdentity, Option<(ReservationState, Duration)>>,
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
        let longest = config.relay_server.as_ref().map(|server| [server.reservation_duration, server.max_circuit_duration]);
        Self {
            relays: relay_ids(config).map(|relay| (relay, None)).collect(),
            longest: longest.unwrap_or_default(),
            ..Self::default()
        }
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
        use ReservationState::{Confirmed, Renewed};
        match (self.relays.get_mut(relay), state) {
            // A relay that the settings do not name has no entry, and a renewed
            // reservation has been confirmed for longer.
            (None, _) | (Some(Some((Confirmed | Renewed, _))), Renewed) => {}
            (Some(entry), state) => *entry = Some((state.clone(), now)),
        }
    }

    /// The status, but for what only the parts of the program know.
    fn status(&mut self, peer: &PeerIdentity, now: Duration) -> Status {
        let age = |since: Duration| now.saturating_sub(since).as_secs_f64();
        let [reservation, circuit] = self.longest;
        self.reservations.retain(|_, since| now.saturating_sub(*since) <= reservation);
        self.circuits.retain(|_, (_, since)| now.saturating_sub(*since) <= circuit);
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
            peers: Listed::of([]),
            relays: Listed::of(self.relays.iter().map(|(relay, known)| relay_status(relay, known.as_ref(), now))),
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

fn relay_status(relay: &PeerIdentity, known: Option<&(ReservationState, Duration)>, now: Duration) -> RelayStatus {
    let (state, cause, retry_in) = match known {
        None => ("unknown", None, None),
        Some((ReservationState::Requested, _)) => ("requested", None, None),
        Some((ReservationState::Confirmed | ReservationState::Renewed, _)) => ("confirmed", None, None),
        Some((ReservationState::Lost { cause, retry_in }, since)) => {
            let left = |delay: Duration| (*since + delay).saturating_sub(now).as_secs_f64();
            ("lost", Some(clean(cause, MAX_CAUSE)), retry_in.map(left))
        }
    };
    let age = known.map(|(_, since)| now.saturating_sub(*since).as_secs_f64());
    RelayStatus { relay: relay.clone(), state: state.to_owned(), age, cause, retry_in }
}

#[cfg(test)]
mod tests;
