//! Which punches there are, and what becomes of them: judged by connections.

use std::{collections::HashMap, sync::Arc};

use kaspath_domain::{Direction, Moment, Path, PeerAddress, RelayReason, TransportSet};
use libp2p::{Multiaddr, PeerId, swarm::ConnectionId};
use rand::random;
use tokio::sync::mpsc;

use super::{actor::Actor, exchanging::Progress};
use crate::{
    NetworkEvent, convert,
    punch::{
        budget::{Budget, Party},
        candidates::Candidates,
        evidence::Attempt,
        schedule::{Schedule, Step},
    },
    streams::ConnectionMeta,
};

pub(super) struct Punch {
    pub(super) party: Party,
    pub(super) schedule: Schedule,
    /// The peer's candidates that we may dial.
    pub(super) theirs: Vec<Multiaddr>,
    /// The attempt under way, or the last one.
    pub(super) attempt: Attempt,
    /// A peer without DCUtR is not asked again.
    pub(super) hopeless: bool,
    /// We had nothing to offer; a candidate may come.
    pub(super) starved: bool,
    /// The circuit is closed; only the attempt under way still counts.
    circuit_gone: bool,
}

pub(super) struct Punching {
    pub(super) candidates: Candidates,
    /// By relayed connection.
    pub(super) punches: HashMap<ConnectionId, Punch>,
    pub(super) budget: Budget,
    pub(super) progress: mpsc::Sender<Progress>,
}

impl Punching {
    /// `pending` are the places for dials of punches.
    pub(super) fn new(external: Vec<Multiaddr>, pending: usize, progress: mpsc::Sender<Progress>) -> Self {
        Self { candidates: Candidates::new(external), punches: HashMap::new(), budget: Budget::new(pending), progress }
    }

    pub(super) fn deadline(&self) -> Option<Moment> {
        self.punches.values().filter_map(|punch| punch.schedule.deadline()).min()
    }

    /// The relayed connection is gone. What was under way over it may still
    /// succeed: the peer closes the circuit as soon as *its* side is direct.
    pub(super) fn circuit_closed(&mut self, connection: ConnectionId) {
        match self.punches.get_mut(&connection) {
            Some(punch) if punch.schedule.is_running() => punch.circuit_gone = true,
            _ => drop(self.punches.remove(&connection)),
        }
    }
}

impl Actor {
    pub(super) fn on_relayed_connection(&mut self, meta: &Arc<ConnectionMeta>) {
        let transports = self.config.punch.transports;
        if transports.is_empty() || self.direct_connection(meta.peer, transports).is_some() {
            return;
        }
        let now = self.now();
        // DCUtR: who was called over the relay punches first.
        let schedule = match meta.direction {
            Direction::Inbound => Schedule::new(self.config.punch.cadence.clone(), now),
            Direction::Outbound => Schedule::passive(now),
        };
        let relay = match meta.path() {
            Path::Relayed { relay, .. } => Some(relay),
            Path::Direct { .. } => None,
        };
        let punch = Punch {
            party: Party { peer: meta.peer, relay, called_us: meta.direction == Direction::Inbound },
            schedule,
            theirs: Vec::new(),
            attempt: Attempt::default(),
            hopeless: false,
            starved: false,
            circuit_gone: false,
        };
        self.punching.punches.insert(meta.id, punch);
    }

    pub(super) fn on_direct_connection(&mut self, meta: &Arc<ConnectionMeta>) {
        self.on_relay_linked(meta.peer, meta.id);
        self.serve_waiters(meta);
        let Path::Direct { transport } = meta.path() else { return };
        if let PeerAddress::Direct(address) = &meta.remote.address
            && let Some(socket) = address.socket_addr()
        {
            self.punching.budget.answered(socket.ip());
        }
        let now = self.now();
        let relayed: Vec<ConnectionId> = self
            .punching
            .punches
            .iter()
            .filter(|(_, punch)| punch.party.peer == meta.peer)
            .map(|(connection, _)| *connection)
            .collect();
        for connection in relayed {
            let Some(punch) = self.punching.punches.remove(&connection) else { continue };
            self.report(NetworkEvent::PunchSucceeded {
                peer: convert::identity(&meta.peer),
                transport,
                elapsed: now.since(punch.schedule.since()),
                attempts: punch.schedule.attempts(),
            });
            // Who dialled the circuit closes it, once nothing lives on it.
            let unused = self
                .swarm
                .behaviour()
                .streams
                .connection(connection)
                .is_some_and(|circuit| circuit.direction == Direction::Outbound && circuit.is_idle());
            if unused {
                self.swarm.close_connection(connection);
            }
        }
    }

    /// A direct connection is gone: what is left on a relay is to be punched again.
    pub(super) fn on_direct_connection_closed(&mut self, peer: PeerId) {
        let streams = &self.swarm.behaviour().streams;
        let relayed: Vec<_> = streams.with_peer(peer).filter(|meta| meta.path().is_relayed()).cloned().collect();
        for meta in relayed {
            if !self.punching.punches.contains_key(&meta.id) {
                self.on_relayed_connection(&meta);
            }
        }
    }

    /// Punches at the next step, whoever dialled the circuit, if nothing is under way.
    pub(super) fn punch_now(&mut self, connection: ConnectionId) {
        let now = self.now();
        if let Some(punch) = self.punching.punches.get_mut(&connection)
            && !punch.hopeless
        {
            punch.schedule.hurry(now);
        }
    }

    pub(super) fn on_new_candidate(&mut self) {
        let now = self.now();
        for punch in self.punching.punches.values_mut().filter(|punch| punch.starved) {
            punch.starved = false;
            punch.schedule.hurry(now);
        }
    }

    pub(super) fn step_punches(&mut self) {
        let now = self.now();
        let due: Vec<ConnectionId> = self
            .punching
            .punches
            .iter()
            .filter(|(_, punch)| punch.schedule.deadline().is_some_and(|deadline| deadline <= now))
            .map(|(connection, _)| *connection)
            .collect();
        for connection in due {
            let Some(punch) = self.punching.punches.get_mut(&connection) else { continue };
            match punch.schedule.step(now) {
                Step::Start { attempt } => self.start_punch(connection, attempt),
                Step::TimedOut => self.fail_punch(connection, None),
                Step::Nothing => {}
            }
        }
    }

    pub(super) fn punch_transports(&self, peer: &PeerId) -> TransportSet {
        let ours = self.config.punch.transports;
        let allowed = self.connecting.punchable(peer).unwrap_or(ours);
        TransportSet { tcp: ours.tcp && allowed.tcp, quic: ours.quic && allowed.quic }
    }

    /// The attempt under way has failed. Without a `reason` what both sides offered
    /// tells it.
    pub(super) fn fail_punch(&mut self, connection: ConnectionId, reason: Option<RelayReason>) {
        let now = self.now();
        let Some(punch) = self.punching.punches.get_mut(&connection) else { return };
        if punch.circuit_gone {
            self.punching.punches.remove(&connection);
            return;
        }
        let next = punch.schedule.failed(now, random());
        let reason = reason.unwrap_or_else(|| punch.attempt.reason(punch.schedule.failures()));
        let mut retry_in = next.map(|next| next.since(now));
        if reason == RelayReason::PeerCannotPunch {
            punch.hopeless = true;
            punch.schedule = Schedule::passive(punch.schedule.since());
            retry_in = None;
        }
        let attempts = punch.schedule.attempts();
        let peer = convert::identity(&punch.party.peer);
        self.swarm.behaviour_mut().streams.set_relay_reason(connection, reason.clone());
        self.report(NetworkEvent::PunchFailed { peer, attempts, reason, retry_in });
    }
}
