use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use kaspath_domain::{Candidate, Counts, Eviction, IpPrefix, Moment, Rates, TokenBucket, Transport};
use libp2p::{PeerId, swarm::ConnectionId};

use super::{
    ConnectionLimits,
    entry::{Entry, Stage, Way},
    origin::Origin,
    refusal::{Class, Refusal, Room},
};
use crate::streams::Traffic;

/// A connection without data for so long, on which no reservation and no circuit
/// depends, is silent. Kaspa's own pings are two minutes apart.
const SILENT_AFTER: Duration = Duration::from_secs(180);
/// One without a stream, a reservation or a circuit is unused after that time: punches
/// are over by then.
const UNUSED_AFTER: Duration = Duration::from_secs(20);
/// Slots that are freed at once, and the time until one more is. A choice looks at
/// every connection, which takes less than a millisecond. Few addresses cannot use
/// this up: each begins 8 connections a second.
const EVICTIONS: u32 = 256;
const EVICTION_EVERY: Duration = Duration::from_millis(5);
/// Hosts and networks whose rate of new TCP connections is remembered, each.
const MAX_REMEMBERED: usize = 4096;

fn limit(limits: &ConnectionLimits, room: Room) -> u32 {
    match room {
        Room::Pending(_) => limits.pending_inbound,
        Room::PendingFromHost(..) => limits.pending_inbound_per_address,
        Room::PendingFromNetwork(..) => limits.pending_inbound_per_prefix,
        Room::PendingCircuits => limits.inbound_circuits.div_ceil(2),
        Room::PendingThrough(_) => limits.inbound_circuits_per_relay.div_ceil(2),
        Room::Inbound => limits.inbound,
        Room::FromHost(_) => limits.inbound_per_address,
        Room::FromNetwork(_) => limits.inbound_per_prefix,
        Room::Circuits => limits.inbound_circuits,
        Room::Through(_) => limits.inbound_circuits_per_relay,
        Room::Dialling(Class::Peer) => limits.pending_outbound,
        Room::Dialling(Class::Relay) => limits.pending_relays,
        Room::Dialling(Class::Circuit) => limits.pending_outbound_circuits,
        Room::Dialling(Class::Punch) => limits.pending_punches,
        Room::Dialled(Class::Peer) => limits.outbound,
        Room::Dialled(Class::Relay) => limits.relays,
        Room::Dialled(Class::Circuit) => limits.outbound_circuits,
        Room::Dialled(Class::Punch) => limits.punched,
        Room::WithPeer(_) => limits.per_peer,
        Room::CircuitsWithPeer(_) => limits.circuits_per_peer,
        Room::Closing => limits.closing(),
    }
}

/// Every connection with the room that it takes. No clock and no I/O.
pub(crate) struct Table {
    limits: ConnectionLimits,
    entries: HashMap<ConnectionId, Entry>,
    counts: Counts<Room>,
    /// Reservations and circuits at our relay. Whoever has one uses its connections.
    pub(super) served: Counts<PeerId>,
    /// At what rate hosts and networks may begin TCP connections.
    hosts: Rates<IpPrefix>,
    networks: Rates<IpPrefix>,
    eviction: Eviction,
    evictions: TokenBucket,
    /// To be closed.
    pub(super) evicted: VecDeque<(ConnectionId, PeerId)>,
}

impl Table {
    pub(crate) fn new(limits: ConnectionLimits) -> Self {
        Self {
            hosts: Rates::new(limits.burst_per_address, limits.refill, MAX_REMEMBERED),
            networks: Rates::new(limits.burst_per_prefix, limits.refill / 4, MAX_REMEMBERED),
            limits,
            entries: HashMap::new(),
            counts: Counts::default(),
            served: Counts::default(),
            eviction: Eviction { silent_after: SILENT_AFTER, ..Eviction::default() },
            evictions: TokenBucket::new(EVICTIONS, EVICTION_EVERY),
            evicted: VecDeque::new(),
        }
    }

    /// Somebody connects: decided before any work on the handshake.
    pub(crate) fn pending_inbound(&mut self, id: ConnectionId, origin: Origin, now: Moment) -> Result<(), Refusal> {
        if let Origin::Direct { transport, host, network } = origin {
            // QUIC has a pace of its own, which knows forged addresses from real ones.
            if transport == Transport::Tcp {
                // A host that begins too many does not use up what its network may.
                for (rates, from) in [(&mut self.hosts, host), (&mut self.networks, network)] {
                    rates.take(&from, now).map_err(|_| Refusal::TooFast { from })?;
                }
            }
            // A handshake that must end in a refusal is not begun.
            for room in [Room::FromHost(host), Room::FromNetwork(network)] {
                if self.is_full(room) && self.useless(room, now).is_none() {
                    return Err(self.refusal(room));
                }
            }
        }
        self.enter(id, Entry::new(Way::In, origin, Stage::Pending, now))
    }

    /// We are about to dial.
    pub(crate) fn pending_outbound(&mut self, id: ConnectionId, class: Class, now: Moment) -> Result<(), Refusal> {
        // Where it leads is known when it is established.
        self.enter(id, Entry::new(Way::Out(class), Origin::Circuit { relay: None }, Stage::Pending, now))
    }

    /// A connection is through its handshake. Slots that others deserve less are freed
    /// for it: see [`Table::evicted`].
    pub(crate) fn established(&mut self, id: ConnectionId, peer: PeerId, origin: Origin, now: Moment) -> Result<(), Refusal> {
        let way = self.remove(id).map_or(Way::Out(Class::Peer), |pending| pending.way);
        let entry = Entry::new(way, origin, Stage::Established(peer), now);
        // Each iteration frees one slot, at most one in each of the entry's rooms.
        for _ in entry.rooms() {
            let Some(room) = self.full_room(&entry) else { break };
            if self.is_full(Room::Closing) {
                return Err(self.refusal(Room::Closing));
            }
            let chosen = match room {
                Room::FromHost(_) | Room::FromNetwork(_) | Room::Through(_) => self.useless(room, now),
                Room::Inbound | Room::Circuits | Room::Dialled(Class::Punch) => self.least_useful(room, &entry, now),
                _ => None,
            };
            match chosen {
                Some(chosen) if self.evictions.take(now).is_ok() => self.evict(chosen),
                _ => return Err(self.refusal(room)),
            }
        }
        self.enter(id, entry)
    }

    /// A connection is gone, or did not come about.
    pub(crate) fn remove(&mut self, id: ConnectionId) -> Option<Entry> {
        let entry = self.entries.remove(&id)?;
        entry.rooms().for_each(|room| self.counts.remove(&room));
        Some(entry)
    }

    /// What moves on an established connection.
    pub(crate) fn watch(&mut self, id: ConnectionId, traffic: Arc<Traffic>) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.traffic = traffic;
        }
    }

    /// A ping was answered after that time; a moment to look at how the connection is used.
    pub(crate) fn round_trip(&mut self, id: ConnectionId, measured: Duration, now: Moment) {
        if let Some(entry) = self.entries.get_mut(&id)
            && let Stage::Established(peer) = entry.stage
        {
            entry.round_trip = Some(entry.round_trip.map_or(measured, |least| least.min(measured)));
            entry.observe(self.served.of(&peer) > 0, now);
        }
    }

    fn is_full(&self, room: Room) -> bool {
        self.counts.of(&room) >= limit(&self.limits, room) as usize
    }

    fn refusal(&self, room: Room) -> Refusal {
        Refusal::Full { room, limit: limit(&self.limits, room) }
    }

    fn full_room(&self, entry: &Entry) -> Option<Room> {
        entry.rooms().find(|room| self.is_full(*room))
    }

    fn insert(&mut self, id: ConnectionId, entry: Entry) {
        self.remove(id);
        entry.rooms().for_each(|room| self.counts.add(room));
        self.entries.insert(id, entry);
    }

    fn enter(&mut self, id: ConnectionId, entry: Entry) -> Result<(), Refusal> {
        if let Some(room) = self.full_room(&entry) {
            return Err(self.refusal(room));
        }
        self.insert(id, entry);
        Ok(())
    }

    /// The candidates of a room, with what is known of them now.
    fn candidates(&mut self, room: Room, now: Moment) -> Vec<Candidate<ConnectionId, Room>> {
        let mut candidates = Vec::new();
        for (id, entry) in &mut self.entries {
            if let Stage::Established(peer) = entry.stage
                && entry.takes(room)
            {
                entry.observe(self.served.of(&peer) > 0, now);
                candidates.push(entry.candidate(*id));
            }
        }
        candidates
    }

    /// One of those in a room that is silent or unused.
    fn useless(&mut self, room: Room, now: Moment) -> Option<ConnectionId> {
        let mut candidates = self.candidates(room, now);
        let unused = |candidate: &Candidate<ConnectionId, Room>| {
            self.entries.get(&candidate.id).is_some_and(Entry::is_unused) && now.since(candidate.since) >= UNUSED_AFTER
        };
        candidates.retain(|candidate| self.eviction.is_silent(candidate, now) || unused(candidate));
        self.eviction.choose(&candidates, &room, now)
    }

    /// The connection in a room to evict for a newcomer. Within the chosen group,
    /// unused connections go first.
    fn least_useful(&mut self, room: Room, newcomer: &Entry, now: Moment) -> Option<ConnectionId> {
        let candidates = self.candidates(room, now);
        let group = newcomer.group();
        let chosen = self.eviction.choose(&candidates, &group, now)?;
        let crowded = self.entries.get(&chosen)?.group();
        let is_unused = |id: &ConnectionId| self.entries.get(id).is_some_and(Entry::is_unused);
        let unused: Vec<_> = candidates.into_iter().filter(|one| one.group == crowded && is_unused(&one.id)).collect();
        Some(self.eviction.choose(&unused, &crowded, now).unwrap_or(chosen))
    }

    fn evict(&mut self, id: ConnectionId) {
        if let Some(mut entry) = self.remove(id) {
            if let Stage::Established(peer) = entry.stage {
                self.evicted.push_back((id, peer));
            }
            entry.stage = Stage::Closing;
            self.insert(id, entry);
        }
    }
}

#[cfg(test)]
#[path = "table/tests.rs"]
mod tests;
