//! Who has a reservation, which circuits there are, and who gets another one. Pure:
//! time comes as a parameter, and peers and connections are whatever names them.
//!
//! Everything is counted anew at each request instead of kept in counters: there are
//! hundreds of entries, and what is not recorded cannot be lost.
//! Rates come before the counting, so that asking often costs little.

mod change;
mod room;

use std::{collections::HashMap, hash::Hash, time::Duration};

use kaspath_domain::{IpPrefix, Moment, Rates};

use super::{denial::Denial, origin::Origin};
use crate::{CircuitEnd, RelayServerConfig};

/// A pending circuit is given up after this time, whatever became of its exchange;
/// longer than the exchange's own timeouts together.
pub(super) const PENDING_TIMEOUT: Duration = Duration::from_secs(30);
/// Circuits from one host to one destination that are still being made. libp2p's client
/// takes ten at once and drops more, so four hosts must not fill that.
const PENDING_PER_HOST: usize = 2;
/// A peer with a reservation opens one circuit more a second, however many its address asked for.
const KNOWN_PEER_REFILL: Duration = Duration::from_secs(1);
/// Peers and hosts whose rate is remembered, of each kind.
const MAX_REMEMBERED: usize = 4096;

/// The number of a circuit, never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct CircuitId(u64);

/// A connection over which a peer has asked for its reservation.
#[derive(Clone, Debug)]
struct Link<C> {
    connection: C,
    origin: Origin,
    expires: Moment,
}

/// A circuit, or the request for one.
#[derive(Clone, Debug)]
pub(super) struct Circuit<P, C> {
    pub(super) source: P,
    pub(super) destination: P,
    source_connection: C,
    destination_connection: C,
    pub(super) origin: Origin,
    pub(super) destination_origin: Origin,
    /// When it was opened; `None` while the destination has not agreed.
    pub(super) opened: Option<Moment>,
    /// When it was asked for.
    asked: Moment,
    last_active: Moment,
}

/// A circuit that is out of the table, and why.
#[derive(Clone, Debug)]
pub(super) struct Ended<P, C> {
    pub(super) id: CircuitId,
    pub(super) circuit: Circuit<P, C>,
    pub(super) reason: CircuitEnd,
}

/// A reservation was granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Granted<C> {
    /// The peer had one already.
    pub(super) renewed: bool,
    /// An older connection that no longer holds it.
    pub(super) released: Option<C>,
    /// Circuits to the peer that wait for its answer on an older connection, which may be
    /// dead: it is asked over this one too.
    pub(super) unanswered: Vec<CircuitId>,
}

/// A circuit may be made.
#[derive(Clone, Debug)]
pub(super) struct Accepted<P, C> {
    pub(super) id: CircuitId,
    /// Over which the destination is to be asked.
    pub(super) destination: C,
    /// What made room for it.
    pub(super) evicted: Option<Ended<P, C>>,
}

/// What came to its end.
#[derive(Clone, Debug)]
pub(super) struct Changes<P, C> {
    /// Peers without reservation from now on.
    pub(super) reservations: Vec<P>,
    /// Connections that hold none any more, with their peers.
    pub(super) released: Vec<(P, C)>,
    pub(super) circuits: Vec<Ended<P, C>>,
}

pub(super) struct Table<P, C> {
    config: RelayServerConfig,
    /// Those that are open: a request may be read after its connection has closed, and
    /// nothing would ever end what it was given then.
    connections: HashMap<C, P>,
    /// The connection that asked last is the last one.
    reservations: HashMap<P, Vec<Link<C>>>,
    circuits: HashMap<CircuitId, Circuit<P, C>>,
    next_id: u64,
    /// Nothing ends before that.
    next_end: Option<Moment>,
    reserving_peers: Rates<P>,
    reserving_hosts: Rates<IpPrefix>,
    connecting_peers: Rates<P>,
    connecting_hosts: Rates<IpPrefix>,
    known_peers: Rates<P>,
}

/// At least one at once: a rate that allows nothing would only look like a full relay.
fn rates<K: Clone + Eq + Hash>(burst: u32, every: Duration) -> Rates<K> {
    Rates::new(burst.max(1), every, MAX_REMEMBERED)
}

/// Of reservations, of circuits, and of circuits of peers that have a reservation.
fn peer_rates<P: Clone + Eq + Hash>(config: &RelayServerConfig) -> [Rates<P>; 3] {
    // However short a reservation is, its renewals come slower than this.
    let renewals = config.refill.min(config.reservation_duration / 4);
    [
        rates(config.reservations_per_peer_burst, renewals),
        rates(config.circuits_per_peer_burst, config.refill),
        rates(config.circuits_per_peer_burst, config.refill.min(KNOWN_PEER_REFILL)),
    ]
}

/// Of reservations and of circuits.
fn host_rates(config: &RelayServerConfig) -> [Rates<IpPrefix>; 2] {
    [rates(config.reservations_per_ip_burst, config.refill), rates(config.circuits_per_ip_burst, config.refill)]
}

impl<P: Clone + Eq + Hash, C: Copy + Eq + Hash> Table<P, C> {
    pub(super) fn new(config: RelayServerConfig) -> Self {
        let [reserving_peers, connecting_peers, known_peers] = peer_rates(&config);
        let [reserving_hosts, connecting_hosts] = host_rates(&config);
        Self {
            connections: HashMap::new(),
            reservations: HashMap::new(),
            circuits: HashMap::new(),
            next_id: 0,
            next_end: None,
            reserving_peers,
            reserving_hosts,
            connecting_peers,
            connecting_hosts,
            known_peers,
            config,
        }
    }

    /// A connection opened.
    pub(super) fn connected(&mut self, connection: C, peer: P) {
        self.connections.insert(connection, peer);
    }

    /// The open connections, and whose they are.
    pub(super) fn connections(&self) -> impl Iterator<Item = (C, &P)> {
        self.connections.iter().map(|(connection, peer)| (*connection, peer))
    }

    /// `peer` asks for a reservation over `connection`. One peer counts once, however
    /// many connections it asks over; those of the last few are kept, so that it can be
    /// reached over an older one when the newest closes. Who has a reservation keeps it:
    /// to renew it, or to move it to another connection of its host, takes no new slot.
    pub(super) fn reserve(&mut self, peer: &P, connection: C, origin: Origin, now: Moment) -> Result<Granted<C>, Denial> {
        if !self.connections.contains_key(&connection) {
            return Err(Denial::SourceGone);
        }
        let mut links: Vec<_> = self.links(peer, now).cloned().collect();
        let renewed = !links.is_empty();
        let may_ask = self.reserving_peers.take(peer, now).is_ok();
        if !may_ask || !(renewed || self.reserving_hosts.take(&origin.host, now).is_ok()) {
            return Err(Denial::ReservingTooFast);
        }
        if !renewed && self.reservations.len() >= self.config.max_reservations {
            return Err(Denial::TooManyReservations);
        }
        if !links.iter().any(|link| link.origin.host == origin.host) {
            let from = |same: &dyn Fn(&Origin) -> bool| {
                let others = self.reservations.iter().filter(|(other, _)| *other != peer);
                others.filter(|(_, links)| links.iter().any(|link| same(&link.origin))).count()
            };
            if from(&|other| other.host == origin.host) >= self.config.max_reservations_per_ip {
                return Err(Denial::TooManyReservationsOfAddress);
            }
            if from(&|other| other.prefix == origin.prefix) >= self.config.max_reservations_per_prefix {
                return Err(Denial::TooManyReservationsOfPrefix);
            }
        }
        let expires = now + self.config.reservation_duration;
        let is_new = !links.iter().any(|link| link.connection == connection);
        let is_unanswered = |circuit: &Circuit<P, C>| is_new && circuit.opened.is_none() && circuit.destination == *peer;
        let unanswered = self.circuits.iter().filter(|(_, circuit)| is_unanswered(circuit)).map(|(id, _)| *id).collect();
        links.retain(|link| link.connection != connection);
        links.push(Link { connection, origin, expires });
        let released = (links.len() > self.config.max_reservations_per_peer.max(1)).then(|| links.remove(0).connection);
        self.reservations.insert(peer.clone(), links);
        self.ends_at(expires);
        Ok(Granted { renewed, released, unanswered })
    }

    /// `source` asks for a circuit to `destination`. If it may have one, it counts from now on.
    pub(super) fn connect(
        &mut self,
        source: &P,
        source_connection: C,
        origin: Origin,
        destination: &P,
        now: Moment,
    ) -> Result<Accepted<P, C>, Denial> {
        if !self.connections.contains_key(&source_connection) {
            return Err(Denial::SourceGone);
        }
        if source == destination {
            return Err(Denial::ToItself);
        }
        let known = self.links(source, now).next().is_some();
        let in_time = match known {
            true => self.known_peers.take(source, now).is_ok(),
            false => self.connecting_peers.take(source, now).is_ok() && self.connecting_hosts.take(&origin.host, now).is_ok(),
        };
        if !in_time {
            return Err(Denial::ConnectingTooFast);
        }
        let is_pending = |circuit: &&Circuit<P, C>| {
            circuit.opened.is_none() && circuit.destination == *destination && circuit.origin.host == origin.host
        };
        if self.circuits.values().filter(is_pending).count() >= PENDING_PER_HOST {
            return Err(Denial::ConnectingTooFast);
        }
        let link = self.links(destination, now).last().map(|link| (link.connection, link.origin));
        let (destination_connection, destination_origin) = link.ok_or(Denial::NoReservation)?;
        let evicted = self.make_room(source, origin, destination, now)?;
        let id = CircuitId(self.next_id);
        self.next_id += 1;
        let circuit = Circuit {
            source: source.clone(),
            destination: destination.clone(),
            source_connection,
            destination_connection,
            origin,
            destination_origin,
            opened: None,
            asked: now,
            last_active: now,
        };
        self.ends_at(self.end_of(&circuit).0);
        self.circuits.insert(id, circuit);
        Ok(Accepted { id, destination: destination_connection, evicted })
    }

    /// Both sides of a circuit agree, the destination over that connection. None if the
    /// circuit or the connection is gone, or it is another connection than the one asked first
    /// and holds no reservation now: [`Table::revoke`] looks only at the first.
    pub(super) fn opened(&mut self, id: CircuitId, over: C, now: Moment) -> Option<&Circuit<P, C>> {
        let circuit = self.circuits.get_mut(&id)?;
        if !self.connections.contains_key(&over) {
            return None;
        }
        if over != circuit.destination_connection {
            let mut links = self.reservations.get(&circuit.destination).into_iter().flatten();
            circuit.destination_origin = links.find(|link| link.connection == over)?.origin;
            circuit.destination_connection = over;
        }
        (circuit.opened, circuit.last_active) = (Some(now), now);
        let (end, _) = self.end_of(self.circuits.get(&id)?);
        self.ends_at(end);
        self.circuits.get(&id)
    }

    /// Bytes went through a circuit, the last ones then.
    pub(super) fn active(&mut self, id: CircuitId, at: Moment) {
        if let Some(circuit) = self.circuits.get_mut(&id) {
            circuit.last_active = circuit.last_active.max(at);
        }
    }

    /// A circuit ended, or was never made. Gives what it was, unless that is known already.
    pub(super) fn remove(&mut self, id: CircuitId) -> Option<Circuit<P, C>> {
        self.circuits.remove(&id)
    }

    /// A connection closed, and with it all that was on it. A request whose destination
    /// is gone stays until its exchange has failed, which answers the source.
    pub(super) fn connection_closed(&mut self, peer: &P, connection: C) -> Changes<P, C> {
        self.connections.remove(&connection);
        let mut reservations = Vec::new();
        if let Some(links) = self.reservations.get_mut(peer) {
            links.retain(|link| link.connection != connection);
            if links.is_empty() {
                self.reservations.remove(peer);
                reservations.push(peer.clone());
            }
        }
        let circuits = self.end_circuits(|circuit| {
            let source_gone = circuit.source_connection == connection;
            let destination_gone = circuit.destination_connection == connection && circuit.opened.is_some();
            (source_gone || destination_gone).then_some(CircuitEnd::ConnectionLost)
        });
        Changes { reservations, released: Vec::new(), circuits }
    }

    /// When [`Table::expire`] may have something to do.
    pub(super) fn next_end(&self) -> Option<Moment> {
        self.next_end
    }

    /// Ends what is over: reservations, circuits that are idle or old, and requests
    /// that came to nothing. Activity has to be reported to it first, as to [`Table::connect`].
    pub(super) fn expire(&mut self, now: Moment) -> Changes<P, C> {
        let (mut reservations, mut released) = (Vec::new(), Vec::new());
        self.reservations.retain(|peer, links| {
            released.extend(links.extract_if(.., |link| link.expires <= now).map(|link| (peer.clone(), link.connection)));
            if links.is_empty() {
                reservations.push(peer.clone());
            }
            !links.is_empty()
        });
        let ended: Vec<_> = self.circuits.iter().map(|(id, circuit)| (*id, self.end_of(circuit))).collect();
        let over: HashMap<_, _> = ended.into_iter().filter(|(_, (at, _))| *at <= now).map(|(id, (_, why))| (id, why)).collect();
        let circuits = self.end_circuits_by_id(over);
        let links = self.reservations.values().flatten().map(|link| link.expires);
        self.next_end = links.chain(self.circuits.values().map(|circuit| self.end_of(circuit).0)).min();
        Changes { reservations, released, circuits }
    }

    fn links(&self, peer: &P, now: Moment) -> impl Iterator<Item = &Link<C>> {
        self.reservations.get(peer).into_iter().flatten().filter(move |link| link.expires > now)
    }

    fn ends_at(&mut self, at: Moment) {
        self.next_end = Some(self.next_end.map_or(at, |next| next.min(at)));
    }

    fn end_of(&self, circuit: &Circuit<P, C>) -> (Moment, CircuitEnd) {
        match circuit.opened {
            None => (circuit.asked + PENDING_TIMEOUT, CircuitEnd::Closed),
            Some(opened) => {
                let idle = circuit.last_active + self.config.circuit_idle_timeout;
                let old = opened + self.config.max_circuit_duration;
                if idle < old { (idle, CircuitEnd::Idle) } else { (old, CircuitEnd::Lifetime) }
            }
        }
    }

    fn end_circuits(&mut self, why: impl Fn(&Circuit<P, C>) -> Option<CircuitEnd>) -> Vec<Ended<P, C>> {
        let over = self.circuits.iter().filter_map(|(id, circuit)| Some((*id, why(circuit)?))).collect();
        self.end_circuits_by_id(over)
    }

    fn end_circuits_by_id(&mut self, over: HashMap<CircuitId, CircuitEnd>) -> Vec<Ended<P, C>> {
        let end = |(id, reason)| Some(Ended { id, circuit: self.circuits.remove(&id)?, reason });
        over.into_iter().filter_map(end).collect()
    }
}

#[cfg(test)]
mod tests;
