//! Direct dials and circuits, and who waits for them.

use std::{collections::HashMap, sync::Arc};

use kaspath_domain::{DialError, Direction, Path, TransportSet};
use libp2p::{
    Multiaddr, PeerId,
    multiaddr::Protocol,
    swarm::{
        ConnectionId, DialError as SwarmDialError,
        dial_opts::{DialOpts, PeerCondition},
    },
};

use super::{actor::Actor, commands::ConnectReply};
use crate::{convert, limits::Class, punch::budget::Lease, streams::ConnectionMeta};

/// Who may wait for direct connections at once.
const MAX_WAITERS: usize = 1024;

/// Why a dial was begun, and what its end means.
#[derive(Debug)]
pub(super) enum Purpose {
    /// Some want a direct connection. Dials of the same addresses share one.
    Connect { peer: PeerId, addresses: Vec<Multiaddr>, replies: Vec<ConnectReply> },
    /// Some want a circuit.
    Circuit { relay: PeerId, peer: PeerId, replies: Vec<ConnectReply> },
    /// Our link to a relay.
    RelayLink,
    /// One of a punch's dials, and its place; the punch itself is judged elsewhere.
    Punch { _lease: Lease },
}

impl Purpose {
    /// Whose room it takes.
    fn class(&self) -> Class {
        match self {
            Purpose::Connect { .. } => Class::Peer,
            Purpose::Circuit { .. } => Class::Circuit,
            Purpose::RelayLink => Class::Relay,
            Purpose::Punch { .. } => Class::Punch,
        }
    }
}

struct DirectWaiter {
    peer: PeerId,
    transports: TransportSet,
    reply: ConnectReply,
}

#[derive(Default)]
pub(super) struct Connecting {
    dials: HashMap<ConnectionId, Purpose>,
    waiters: Vec<DirectWaiter>,
    /// What peers may punch on circuits that we dialled, while one stands or is being dialled.
    punchable: HashMap<PeerId, TransportSet>,
}

impl Connecting {
    pub(super) fn punchable(&self, peer: &PeerId) -> Option<TransportSet> {
        self.punchable.get(peer).copied()
    }
}

impl Actor {
    /// Dials and remembers why. A dial that fails at once ends like a later failure.
    pub(super) fn dial(&mut self, opts: impl Into<DialOpts>, purpose: Purpose) {
        let opts: DialOpts = opts.into();
        let (connection, peer) = (opts.connection_id(), opts.get_peer_id());
        self.swarm.behaviour_mut().limits.expect(connection, purpose.class());
        self.connecting.dials.insert(connection, purpose);
        if let Err(error) = self.swarm.dial(opts) {
            self.on_dial_failed(connection, peer, &error);
        }
    }

    pub(super) fn connect(&mut self, peer: PeerId, addresses: Vec<Multiaddr>, reply: ConnectReply) {
        let wanted: TransportSet = addresses.iter().filter_map(convert::transport).collect();
        if let Some(connection) = self.direct_connection(peer, wanted) {
            let _ = reply.send(Ok(connection));
            return;
        }
        let under_way = self.connecting.dials.values_mut().find_map(|purpose| match purpose {
            Purpose::Connect { peer: to, addresses: at, replies } if (*to, &*at) == (peer, &addresses) => Some(replies),
            _ => None,
        });
        match under_way {
            Some(replies) => replies.push(reply),
            None => {
                let opts = DialOpts::peer_id(peer).condition(PeerCondition::Always).addresses(addresses.clone()).build();
                self.dial(opts, Purpose::Connect { peer, addresses, replies: vec![reply] });
            }
        }
    }

    pub(super) fn circuit(&mut self, relay: PeerId, peer: PeerId, punch: TransportSet, reply: ConnectReply) {
        if !punch.is_empty() {
            self.connecting.punchable.insert(peer, punch);
        }
        let relay_identity = convert::identity(&relay);
        let through_relay = |meta: &ConnectionMeta| {
            meta.direction == Direction::Outbound && matches!(meta.path(), Path::Relayed { relay, .. } if relay == relay_identity)
        };
        let existing = self.swarm.behaviour().streams.with_peer(peer).find(|meta| through_relay(meta)).map(|meta| meta.id);
        if let Some(connection) = existing {
            if !punch.is_empty() {
                // The peer punched when the circuit came up; now it is our turn.
                self.punch_now(connection);
            }
            let _ = reply.send(Ok(connection));
            return;
        }
        let under_way = self.connecting.dials.values_mut().find_map(|purpose| match purpose {
            Purpose::Circuit { relay: through, peer: to, replies } if (*through, *to) == (relay, peer) => Some(replies),
            _ => None,
        });
        if let Some(replies) = under_way {
            replies.push(reply);
            return;
        }
        let Some(via) = self.relay_link_address(relay) else {
            self.forget_circuit(peer);
            let cause = "the connection to it was lost".to_owned();
            let _ = reply.send(Err(DialError::RelayUnreachable { relay: relay_identity, cause }));
            return;
        };
        let address = via.with(Protocol::P2p(relay)).with(Protocol::P2pCircuit).with(Protocol::P2p(peer));
        let opts = DialOpts::peer_id(peer).condition(PeerCondition::Always).addresses(vec![address]).build();
        self.dial(opts, Purpose::Circuit { relay, peer, replies: vec![reply] });
    }

    pub(super) fn await_direct(&mut self, peer: PeerId, transports: TransportSet, reply: ConnectReply) {
        if let Some(connection) = self.direct_connection(peer, transports) {
            let _ = reply.send(Ok(connection));
            return;
        }
        let waiters = &mut self.connecting.waiters;
        waiters.retain(|waiter| !waiter.reply.is_closed());
        if waiters.len() < MAX_WAITERS {
            waiters.push(DirectWaiter { peer, transports, reply });
        } else {
            let _ = reply.send(Err(DialError::LimitReached { what: "dials that wait for a direct path", limit: MAX_WAITERS }));
        }
    }

    /// A direct connection over one of `transports`, TCP before QUIC.
    pub(super) fn direct_connection(&self, peer: PeerId, transports: TransportSet) -> Option<ConnectionId> {
        self.swarm
            .behaviour()
            .streams
            .with_peer(peer)
            .filter_map(|meta| match meta.path() {
                Path::Direct { transport } if transports.contains(transport) => Some((transport, meta.id)),
                _ => None,
            })
            .min()
            .map(|(_, connection)| connection)
    }

    pub(super) fn on_dial_succeeded(&mut self, connection: ConnectionId) {
        match self.connecting.dials.remove(&connection) {
            Some(Purpose::Connect { replies, .. } | Purpose::Circuit { replies, .. }) => answer(replies, &Ok(connection)),
            Some(Purpose::RelayLink | Purpose::Punch { .. }) | None => {}
        }
    }

    /// A direct connection, however it came about, serves all who wait for one.
    pub(super) fn serve_waiters(&mut self, meta: &ConnectionMeta) {
        let Path::Direct { transport } = meta.path() else { return };
        let waiting = std::mem::take(&mut self.connecting.waiters);
        for waiter in waiting {
            if waiter.peer == meta.peer && waiter.transports.contains(transport) {
                let _ = waiter.reply.send(Ok(meta.id));
            } else {
                self.connecting.waiters.push(waiter);
            }
        }
    }

    /// Forgets what the peer may punch, unless a circuit that we dialled still stands or
    /// is being dialled. One that the peer dialled does not count.
    pub(super) fn forget_circuit(&mut self, peer: PeerId) {
        if !self.connecting.punchable.contains_key(&peer) {
            return;
        }
        let is_ours = |meta: &Arc<ConnectionMeta>| meta.direction == Direction::Outbound && meta.path().is_relayed();
        let stands = self.swarm.behaviour().streams.with_peer(peer).any(is_ours);
        let is_dialled = |purpose: &Purpose| matches!(purpose, Purpose::Circuit { peer: to, .. } if *to == peer);
        if !stands && !self.connecting.dials.values().any(is_dialled) {
            self.connecting.punchable.remove(&peer);
        }
    }

    pub(super) fn on_dial_failed(&mut self, connection: ConnectionId, peer: Option<PeerId>, error: &SwarmDialError) {
        match self.connecting.dials.remove(&connection) {
            Some(Purpose::Connect { replies, .. }) => answer(replies, &Err(direct_error(error))),
            Some(Purpose::Circuit { relay, peer, replies }) => {
                self.forget_circuit(peer);
                answer(replies, &Err(circuit_error(relay, error)));
            }
            Some(Purpose::RelayLink) => {
                if let Some(relay) = peer {
                    self.on_relay_link_failed(relay, connection, describe(error));
                }
            }
            Some(Purpose::Punch { .. }) => tracing::debug!(error = describe(error), "a punch's dial failed"),
            None => {}
        }
    }
}

fn answer(replies: Vec<ConnectReply>, result: &Result<ConnectionId, DialError>) {
    for reply in replies {
        let _ = reply.send(result.clone());
    }
}

fn wrong_peer(error: &SwarmDialError) -> Option<DialError> {
    // The expected peer is the dial's, which the address repeats.
    match error {
        SwarmDialError::WrongPeerId { obtained, address } => {
            let expected =
                address.iter().filter_map(|part| if let Protocol::P2p(peer) = part { Some(peer) } else { None }).last()?;
            Some(DialError::WrongPeer { expected: convert::named(&expected)?, found: convert::identity(obtained) })
        }
        _ => None,
    }
}

fn direct_error(error: &SwarmDialError) -> DialError {
    if let Some(error) = wrong_peer(error) {
        return error;
    }
    let address = match error {
        SwarmDialError::Transport(errors) => {
            errors.iter().map(|(address, _)| address.to_string()).collect::<Vec<_>>().join(" and ")
        }
        SwarmDialError::WrongPeerId { address, .. } => address.to_string(),
        _ => "the peer".to_owned(),
    };
    DialError::Unreachable { address, cause: describe(error) }
}

fn circuit_error(relay: PeerId, error: &SwarmDialError) -> DialError {
    wrong_peer(error).unwrap_or_else(|| DialError::RelayRefused { relay: convert::identity(&relay), cause: describe(error) })
}

/// The telling part of a dial error.
pub(super) fn describe(error: &SwarmDialError) -> String {
    match error {
        SwarmDialError::Transport(errors) => {
            let mut causes: Vec<String> = errors.iter().map(|(_, error)| convert::error_chain(error)).collect();
            causes.dedup();
            causes.join("; ")
        }
        SwarmDialError::LocalPeerId { .. } => "this is our own peer id".to_owned(),
        SwarmDialError::Denied { cause } => format!("a connection limit of this node: {}", convert::error_chain(cause)),
        SwarmDialError::WrongPeerId { obtained, .. } => format!("peer {obtained} answered"),
        other => convert::error_chain(other),
    }
}

#[cfg(test)]
mod tests;
