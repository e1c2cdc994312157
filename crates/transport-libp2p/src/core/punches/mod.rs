//! Which punches there are, and what becomes of them: judged by connections.
//!
//! Each circuit may have one. Of several circuits with one peer one leads, the same one at both
//! ends, and the others wait for it: else two peers that call each other over three relays
//! begin six exchanges at once. Whatever direct connection with the peer comes up, however
//! it came about, ends it. What an attempt has under way (an exchange, dials to come)
//! ends with the attempt.

mod attempts;
pub(super) mod budget;
mod candidates;
mod dials;
mod evidence;
mod neighbours;
mod schedule;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap, VecDeque},
    time::Duration,
};

use kaspath_domain::{Direction, IpPrefix, Moment, PeerAddress, PeerIdentity, RelayReason, Slot, Transport, TransportAddress};

use self::{
    budget::{Budget, Key, Party},
    candidates::{Candidates, MAX_OFFERED},
    evidence::Attempt,
    neighbours::Neighbours,
    schedule::{Schedule, Step},
};
use super::{
    connections::ConnId,
    io::{OperationId, Output},
    shared::{Shared, Signal},
};
use crate::NetworkEvent;

/// How long the circuits with a peer wait for the one that leads, if nothing is exchanged over
/// it: an attempt, and a little. A peer may not know the rule, and a relay may carry nothing.
const LEAD: Duration = Duration::from_millis(12_500);

/// Orders the circuits with a peer alike at both ends: by failed attempts, which both ends count,
/// by the relay, then by who dialled.
type Rank<'a> = (u32, bool, &'a Option<PeerIdentity>, &'a PeerIdentity);

struct Punch {
    party: Party,
    /// Of the circuit.
    dialler: PeerIdentity,
    schedule: Schedule,
    /// The peer's candidates that we may dial.
    theirs: Vec<TransportAddress>,
    /// What is known of the attempt under way, or the last one.
    attempt: Attempt,
    /// Our exchange under way.
    ours: Option<OperationId>,
    /// Dials of the attempt that are still to come.
    later: VecDeque<(Moment, Later)>,
    /// The last exchange over it came to dialling.
    is_answered: bool,
    /// A peer without DCUtR is not asked again.
    hopeless: bool,
    /// We had nothing to offer; a candidate may come.
    starved: bool,
    /// The circuit is closed; only the attempt under way still counts.
    circuit_gone: bool,
}

/// What the initiator dials after SYNC.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Later {
    /// The peer is dialling by now.
    SimultaneousOpen,
    /// Nothing has come of it so far.
    Reversal(Transport),
}

/// Who began an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    /// As the attempt of that number.
    Ours(u32),
    Theirs {
        offered_nothing: bool,
    },
}

/// An exchange under way, and its slot in the budget.
struct Exchange {
    circuit: ConnId,
    side: Side,
    /// Measured by us, once the peer has answered.
    rtt: Duration,
    _slot: Slot<Key>,
}

pub(super) struct Punches {
    candidates: Candidates,
    budget: Budget,
    neighbours: Neighbours,
    /// By circuit.
    punches: BTreeMap<ConnId, Punch>,
    exchanges: BTreeMap<OperationId, Exchange>,
    /// Dials of punches under way.
    dials: BTreeMap<OperationId, Slot<Key>>,
}

impl Punches {
    /// `external` are our configured candidates, `pending` the room for dials of punches; with
    /// `lan`, neighbours are dialled in our own networks.
    pub(super) fn new(external: Vec<TransportAddress>, pending: usize, lan: bool) -> Self {
        Self {
            candidates: Candidates::new(external),
            budget: Budget::new(pending),
            neighbours: Neighbours::new(lan),
            punches: BTreeMap::new(),
            exchanges: BTreeMap::new(),
            dials: BTreeMap::new(),
        }
    }

    /// A connection came up, perhaps by one of these dials.
    pub(super) fn connected(&mut self, shared: &mut Shared, id: ConnId, dial: Option<OperationId>) {
        if let Some(dial) = dial {
            self.dials.remove(&dial);
        }
        match shared.connections.get(id).and_then(|connection| connection.transport()) {
            Some(transport) => self.direct(shared, id, transport),
            None => self.circuit(shared, id),
        }
    }

    fn circuit(&mut self, shared: &mut Shared, id: ConnId) {
        let Some(circuit) = shared.connections.get(id) else { return };
        let transports = shared.punch.transports;
        if transports.is_empty() || shared.connections.best_direct(&circuit.peer, transports).is_some() {
            return;
        }
        // DCUtR: who was called over the relay punches first.
        let called_us = circuit.direction == Direction::Inbound;
        let schedule =
            if called_us { Schedule::new(shared.punch.cadence.clone(), shared.now) } else { Schedule::passive(shared.now) };
        let party = Party { peer: circuit.peer.clone(), relay: circuit.relay().cloned(), called_us };
        let punch = Punch {
            dialler: if called_us { party.peer.clone() } else { shared.local.clone() },
            party,
            schedule,
            theirs: Vec::new(),
            attempt: Attempt::default(),
            ours: None,
            later: VecDeque::new(),
            is_answered: false,
            hopeless: false,
            starved: false,
            circuit_gone: false,
        };
        self.punches.insert(id, punch);
    }

    fn direct(&mut self, shared: &mut Shared, id: ConnId, transport: Transport) {
        let Some(connection) = shared.connections.get(id) else { return };
        if let Some(ip) = connection.remote_ip() {
            self.budget.answered(ip);
        }
        let peer = connection.peer.clone();
        for circuit in self.with_peer(&peer) {
            let Some(punch) = self.punches.remove(&circuit) else { continue };
            self.break_off(shared, punch.ours);
            shared.report(NetworkEvent::PunchSucceeded {
                peer: peer.clone(),
                transport,
                elapsed: shared.now.since(punch.schedule.since()),
                attempts: punch.schedule.attempts(),
            });
            shared.signal(Signal::Punched(circuit));
        }
    }

    fn with_peer(&self, peer: &PeerIdentity) -> Vec<ConnId> {
        self.punches.iter().filter(|(_, punch)| punch.party.peer == *peer).map(|(id, _)| *id).collect()
    }

    /// Aborts an exchange of ours.
    fn break_off(&mut self, shared: &mut Shared, ours: Option<OperationId>) {
        if let Some(exchange) = ours {
            self.exchanges.remove(&exchange);
            shared.put(Output::EndExchange { exchange });
        }
    }

    /// One of these dials, perhaps, led to nothing.
    pub(super) fn failed(&mut self, dial: OperationId) {
        self.dials.remove(&dial);
    }

    /// A circuit is gone. What was under way over it may still succeed: the peer closes the
    /// circuit as soon as *its* side is direct.
    pub(super) fn circuit_closed(&mut self, id: ConnId) {
        match self.punches.get_mut(&id) {
            Some(punch) if punch.schedule.is_running() => punch.circuit_gone = true,
            _ => drop(self.punches.remove(&id)),
        }
    }

    /// A direct connection is gone: what is left on a relay is to be punched again.
    pub(super) fn direct_closed(&mut self, shared: &mut Shared, peer: &PeerIdentity) {
        let circuits = shared.connections.with_peer(peer).filter(|(_, connection)| connection.path.is_relayed());
        let circuits: Vec<ConnId> = circuits.map(|(id, _)| id).collect();
        for id in circuits {
            if !self.punches.contains_key(&id) {
                self.circuit(shared, id);
            }
        }
    }

    /// Punches the peer at the next step, whoever dialled the circuit, if nothing is under way
    /// with it.
    pub(super) fn punch_now(&mut self, shared: &Shared, id: ConnId) {
        let Some(peer) = self.punches.get(&id).map(|punch| punch.party.peer.clone()) else { return };
        let is_under_way = self.punches.values().any(|punch| punch.party.peer == peer && punch.schedule.is_running());
        let leader = self.leaders().get(&peer).copied();
        if let Some(punch) = leader.filter(|_| !is_under_way).and_then(|leader| self.punches.get_mut(&leader)) {
            punch.schedule.hurry(shared.now);
        }
    }

    /// The circuit that leads, of each peer. Of two of one rank the first most likely is dead.
    fn leaders(&self) -> HashMap<&PeerIdentity, ConnId> {
        let mut leaders: HashMap<_, (ConnId, &Punch)> = HashMap::new();
        for (id, punch) in self.punches.iter().filter(|(_, punch)| !punch.hopeless && !punch.circuit_gone) {
            // Most peers have one circuit, which needs no rank.
            let (leader, leading) = leaders.entry(&punch.party.peer).or_insert((*id, punch));
            if leader != id && (self.rank(punch), Reverse(*id)) < (self.rank(leading), Reverse(*leader)) {
                (*leader, *leading) = (*id, punch);
            }
        }
        leaders.into_iter().map(|(peer, (id, _))| (peer, id)).collect()
    }

    fn rank<'a>(&self, punch: &'a Punch) -> Rank<'a> {
        // One relay may lose what matters, so each leads in its turn. Where a relay attests that
        // both are neighbours, more is offered.
        let party = &punch.party;
        (punch.schedule.failures(), !self.neighbours.has(party), &party.relay, &punch.dialler)
    }

    /// When something is to be done, by circuit.
    fn deadlines(&self) -> impl Iterator<Item = (ConnId, Moment)> {
        let leaders = self.leaders();
        self.punches.iter().filter_map(move |(id, punch)| {
            let leader = leaders.get(&punch.party.peer).filter(|leader| *leader != id);
            let leader = leader.and_then(|leader| self.punches.get(leader));
            Some((*id, punch.deadline(leader)?))
        })
    }

    /// A relay, from that network, sees us at that address.
    pub(super) fn observed(&mut self, shared: &mut Shared, by: PeerIdentity, from: IpPrefix, address: TransportAddress) {
        if !self.candidates.observe(by.clone(), from, address.clone(), &shared.reserved) {
            return;
        }
        let address = kaspath_domain::PeerLocator { peer: Some(shared.local.clone()), address: PeerAddress::Direct(address) };
        shared.report(NetworkEvent::CandidateObserved { address, by });
        self.feed(shared);
    }

    /// Our router forwards these addresses to us, and no other ones any more. Whether it has
    /// forwarded any before: it may have restarted, and forgotten all connections.
    pub(super) fn mapped(&mut self, shared: &Shared, addresses: Vec<TransportAddress>) -> bool {
        let had_any = self.candidates.set_mapped(addresses);
        self.feed(shared);
        had_any
    }

    /// What is known of our interfaces has changed.
    pub(super) fn interfaces(&mut self, shared: &Shared) {
        if self.candidates.set_interfaces(shared.host.public()) {
            self.feed(shared);
        }
        self.neighbours.we_are_at(&shared.interfaces);
    }

    /// The relay says that the peer comes from the same public address as we do.
    pub(super) fn neighbour(&mut self, relay: PeerIdentity, peer: PeerIdentity) {
        self.neighbours.attest(relay, peer);
    }

    /// What to offer to the other side, to a neighbour also our private addresses.
    fn offer(&self, shared: &Shared, party: &Party) -> Vec<TransportAddress> {
        let transports = shared.punch_transports(&party.peer);
        let mut offer = self.candidates.offer(transports, &shared.reserved);
        if self.neighbours.has(party) {
            let local = shared.host.local(|over| transports.contains(over));
            offer.truncate(MAX_OFFERED.saturating_sub(local.len()));
            offer.extend(local);
        }
        offer
    }

    /// There may be something to offer now.
    fn feed(&mut self, shared: &Shared) {
        for punch in self.punches.values_mut().filter(|punch| punch.starved) {
            punch.starved = false;
            punch.schedule.hurry(shared.now);
        }
    }

    /// A relay does not see us any more.
    pub(super) fn unobserved(&mut self, by: &PeerIdentity) {
        self.candidates.forget(by);
        self.neighbours.forget(by);
    }

    /// When to call [`Punches::step`] next.
    pub(super) fn deadline(&self) -> Option<Moment> {
        self.deadlines().map(|(_, deadline)| deadline).min()
    }

    pub(super) fn step(&mut self, shared: &mut Shared) {
        let now = shared.now;
        let due: Vec<ConnId> = self.deadlines().filter(|(_, deadline)| *deadline <= now).map(|(id, _)| id).collect();
        for id in due {
            while let Some(later) = self.punches.get_mut(&id).and_then(|punch| punch.take_later(now)) {
                self.dial_later(shared, id, later);
            }
            let Some(punch) = self.punches.get_mut(&id) else { continue };
            match punch.schedule.step(now) {
                Step::Start { attempt } => self.start(shared, id, attempt),
                Step::TimedOut => self.fail(shared, id, None),
                Step::Nothing => {}
            }
        }
    }

    /// The attempt under way has failed. Without a `reason` what both sides offered
    /// decides it.
    fn fail(&mut self, shared: &mut Shared, id: ConnId, reason: Option<RelayReason>) {
        let Some(punch) = self.punches.get_mut(&id) else { return };
        punch.later.clear();
        let ours = punch.ours.take();
        if punch.circuit_gone {
            self.punches.remove(&id);
            return self.break_off(shared, ours);
        }
        let next = punch.schedule.failed(shared.now, shared.random());
        punch.is_answered &= !matches!(reason, Some(RelayReason::ExchangeFailed { .. }));
        let reason = reason.unwrap_or_else(|| punch.attempt.reason(punch.schedule.failures()));
        let mut retry_in = next.map(|next| next.since(shared.now));
        if reason == RelayReason::PeerCannotPunch {
            punch.hopeless = true;
            punch.schedule = Schedule::passive(punch.schedule.since());
            retry_in = None;
        }
        let (peer, attempts) = (punch.party.peer.clone(), punch.schedule.attempts());
        self.break_off(shared, ours);
        shared.put_reason(id, reason.clone());
        shared.report(NetworkEvent::PunchFailed { peer, attempts, reason, retry_in });
    }

    /// What is held, for tests: exchanges, dials, attempts.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        let running = self.punches.values().filter(|punch| punch.schedule.is_running() || punch.ours.is_some());
        self.exchanges.len() + self.dials.len() + running.count() + self.budget.held()
    }
}

impl Punch {
    /// When something is to be done here, where another circuit leads, or none.
    fn deadline(&self, leader: Option<&Self>) -> Option<Moment> {
        let later = self.later.front().map(|(at, _)| *at);
        let own = self.schedule.deadline().and_then(|at| match leader {
            Some(leader) if !self.schedule.is_running() => (!leader.is_answered).then(|| at.max(self.schedule.since() + LEAD)),
            _ => Some(at),
        });
        own.into_iter().chain(later).min()
    }

    fn take_later(&mut self, now: Moment) -> Option<Later> {
        let is_due = self.later.front().is_some_and(|(at, _)| *at <= now);
        if is_due { self.later.pop_front().map(|(_, later)| later) } else { None }
    }
}

#[cfg(test)]
mod tests;
