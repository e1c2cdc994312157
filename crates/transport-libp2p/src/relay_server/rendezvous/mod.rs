//! The relay as a rendezvous point: peers list themselves, and others ask who is listed.
//! It speaks libp2p's rendezvous protocol; docs/discovery-protocol.md has the wire format
//! and docs/decisions/0020-own-rendezvous.md says why it is our own code.
//!
//! `table` decides who is listed, `gate` how often anybody may ask, `verify` who is dialled
//! before, and `serving` carries out what requests ask for.

mod cookie;
mod gate;
mod pending;
mod serving;
mod table;
mod verify;

use std::sync::Arc;

use kaspath_domain::Moment;
use libp2p::{PeerId, Stream, swarm::ConnectionId};
use rand::random;
use tokio::time::timeout;

use self::{gate::Gate, pending::Pending, table::Table, verify::Verifier};
use super::exchange::TIMEOUT;
use crate::{
    RelayServerConfig,
    discovery::{Here, MAX_REQUEST, Message},
    records::Addresses,
    wire,
};

/// Who is listed at this relay.
pub(super) struct Rendezvous {
    table: Table<PeerId>,
    gate: Gate<PeerId>,
    verifier: Verifier<PeerId, ConnectionId, Pending>,
    addresses: Addresses,
    here: Arc<Here>,
}

impl Rendezvous {
    pub(super) fn new(config: &RelayServerConfig) -> Self {
        let mut rendezvous = Self {
            table: Table::new(random()),
            gate: Gate::default(),
            verifier: Verifier::default(),
            addresses: Addresses { local: false },
            here: Arc::default(),
        };
        rendezvous.set(config);
        rendezvous
    }

    /// The relay has these limits from now on.
    pub(super) fn set(&mut self, config: &RelayServerConfig) {
        self.gate.set(config);
    }

    /// The peer has no reservation any more.
    pub(super) fn gone(&mut self, peer: &PeerId, now: Moment) {
        self.table.gone(peer, now);
    }

    /// It has one.
    pub(super) fn back(&mut self, peer: &PeerId) {
        self.table.back(peer);
    }
}

/// Reads a request; who sends none in time gets no answer.
pub(super) async fn request(mut stream: Stream) -> Option<(Stream, Message)> {
    let request = timeout(TIMEOUT, wire::receive_within(&mut stream, MAX_REQUEST)).await;
    Some((stream, request.ok()?.ok()?))
}
