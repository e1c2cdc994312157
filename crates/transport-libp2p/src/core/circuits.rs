//! Circuits to peers: who waits for one, and when one is closed.

use std::collections::BTreeMap;

use kaspath_domain::{DialError, PeerIdentity, RelayAddress, TransportAddress, TransportSet};

use super::{
    connections::{ConnId, Connection},
    io::{OperationId, Output, WaiterId},
    shared::{Shared, Signal},
};

/// Dials of one peer through one relay share one.
struct Dial {
    relay: PeerIdentity,
    peer: PeerIdentity,
    waiters: Vec<WaiterId>,
}

#[derive(Default)]
pub(super) struct Circuits {
    dials: BTreeMap<OperationId, Dial>,
}

impl Circuits {
    /// `via` is an address of the relay at which we are connected with it.
    pub(super) fn open(
        &mut self,
        shared: &mut Shared,
        waiter: WaiterId,
        (relay, via): (PeerIdentity, Option<TransportAddress>),
        peer: PeerIdentity,
        punch: TransportSet,
    ) {
        if shared.is_draining(&relay) {
            let cause = "it is about to shut down".to_owned();
            return shared.answer([waiter], &Err(DialError::RelayRefused { relay, cause }));
        }
        let through = |connection: &Connection| connection.is_our_circuit() && connection.relay() == Some(&relay);
        let usable = |(id, connection): &(ConnId, &Connection)| through(connection) && !shared.connections.is_suspect(*id);
        let existing = shared.connections.with_peer(&peer).find(usable).map(|(id, _)| id);
        let shared_dial = self.dials.values_mut().find(|dial| (&dial.relay, &dial.peer) == (&relay, &peer));
        if existing.is_none() && shared_dial.is_none() && via.is_none() {
            let cause = "the connection to it was lost".to_owned();
            return shared.answer([waiter], &Err(DialError::RelayUnreachable { relay, cause }));
        }
        if !punch.is_empty() {
            shared.punchable.insert(peer.clone(), punch);
        }
        if let Some(id) = existing {
            if !punch.is_empty() {
                // The peer punched when the circuit came up; now it is our turn.
                shared.signal(Signal::PunchWanted(id));
            }
            shared.answer([waiter], &Ok(id));
        } else if let Some(dial) = shared_dial {
            dial.waiters.push(waiter);
        } else if let Some(via) = via {
            let dial = shared.operation();
            shared.put(Output::DialCircuit { dial, relay: RelayAddress { relay: relay.clone(), via }, peer: peer.clone() });
            self.dials.insert(dial, Dial { relay, peer, waiters: vec![waiter] });
        }
    }

    pub(super) fn give_up(&mut self, waiter: WaiterId) {
        for dial in self.dials.values_mut() {
            dial.waiters.retain(|other| *other != waiter);
        }
    }

    pub(super) fn connected(&mut self, shared: &mut Shared, id: ConnId, dial: Option<OperationId>) {
        if let Some(dial) = dial.and_then(|dial| self.dials.remove(&dial)) {
            shared.answer(dial.waiters, &Ok(id));
        }
    }

    pub(super) fn failed(&mut self, shared: &mut Shared, dial: OperationId, error: &DialError) {
        let Some(Dial { relay, peer, waiters }) = self.dials.remove(&dial) else { return };
        self.forget(shared, &peer);
        let error = match error.clone() {
            DialError::Unreachable { cause, .. } => DialError::RelayRefused { relay, cause },
            other => other,
        };
        shared.answer(waiters, &Err(error));
    }

    /// A connection with the peer is gone.
    pub(super) fn disconnected(&mut self, shared: &mut Shared, peer: &PeerIdentity) {
        self.forget(shared, peer);
    }

    /// The peer is connected directly: who dialled the circuit closes it, unless streams
    /// live on it.
    pub(super) fn punched(&mut self, shared: &mut Shared, id: ConnId) {
        if shared.connections.get(id).is_some_and(Connection::is_our_circuit) {
            shared.put(Output::CloseIfUnused(id));
        }
    }

    /// A session has left the circuit: if it is on a direct connection now, it is closed like
    /// one that was punched. A relay that drains waits for all to be closed.
    pub(super) fn left(&mut self, shared: &mut Shared, id: ConnId) {
        let relay = shared.connections.get(id).and_then(Connection::relay);
        if relay.is_some_and(|relay| shared.is_draining(relay)) {
            return shared.put(Output::CloseIfUnused(id));
        }
        let peer = shared.connections.get(id).map(|connection| connection.peer.clone());
        if peer.is_some_and(|peer| shared.connections.best_direct(&peer, TransportSet::ALL).is_some()) {
            self.punched(shared, id);
        }
    }

    /// Other transports may be punched now. Open circuits began with the former
    /// ones, so they end; their dialers open new ones.
    pub(super) fn close_all(&mut self, shared: &mut Shared) {
        let circuits: Vec<ConnId> = shared.connections.circuits().map(|(id, _)| id).collect();
        circuits.into_iter().for_each(|id| shared.put(Output::Close(id)));
    }

    /// Forgets what the peer may punch, once no circuit of ours to it is open or being
    /// dialled. One that the peer dialled does not count.
    fn forget(&mut self, shared: &mut Shared, peer: &PeerIdentity) {
        let is_open = shared.connections.with_peer(peer).any(|(_, connection)| connection.is_our_circuit());
        if !is_open && !self.dials.values().any(|dial| dial.peer == *peer) {
            shared.punchable.remove(peer);
        }
    }

    /// What is held, for tests: dials.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.dials.len()
    }
}

#[cfg(test)]
mod tests;
