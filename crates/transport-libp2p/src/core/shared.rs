//! What all machines have in common: time, chance, ids, the connections, and where
//! they put what is to be done.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::IpAddr,
};

use kaspath_domain::{DialError, IpPrefix, Moment, PeerIdentity, RelayReason, TransportAddress, TransportSet};

use super::{
    connections::{ConnId, Connection, Connections},
    interfaces::Interfaces,
    io::{OperationId, Output, WaiterId},
};
use crate::{NetworkEvent, PunchConfig};

/// A notification of one machine to the others. The core passes it on.
#[derive(Debug)]
pub(super) enum Signal {
    /// The reservation needs a connection to the relay.
    RelayNeeded(PeerIdentity),
    /// It does not need it any more.
    RelayNotNeeded(PeerIdentity),
    /// The relay is connected and identified.
    RelayConnected(PeerIdentity),
    /// A link to the relay is identified.
    RelayLinked { relay: PeerIdentity, link: ConnId },
    /// The relay may be asked for a reservation.
    RelayReady(PeerIdentity),
    /// It grants us none.
    RelayRefused { relay: PeerIdentity, cause: String },
    /// It grants nobody any until then, and ends what it has granted.
    RelayDraining { relay: PeerIdentity, until: Moment },
    /// The relay says that a peer comes from the same public address as we do.
    Neighbour { relay: PeerIdentity, peer: PeerIdentity },
    /// There is no connection to the relay.
    RelayLost { relay: PeerIdentity, cause: String },
    /// A link to the relay gave no answer, and is being closed.
    RelaySilent { relay: PeerIdentity, link: ConnId },
    /// The relay is leased no longer: what it observed is out of date.
    RelayReleased(PeerIdentity),
    /// The relay, from that network, sees us there.
    Observed { by: PeerIdentity, from: IpPrefix, address: TransportAddress },
    /// The dialer of that circuit asks for a punch.
    PunchWanted(ConnId),
    /// The peer of that circuit is connected directly now.
    Punched(ConnId),
}

pub(super) struct Shared {
    pub(super) local: PeerIdentity,
    pub(super) now: Moment,
    pub(super) punch: PunchConfig,
    pub(super) connections: Connections,
    /// The addresses of our interfaces, and all that is known of them.
    pub(super) interfaces: Vec<IpAddr>,
    pub(super) host: Interfaces,
    /// What peers may punch on circuits that we dialled, while one is open or being
    /// dialled. The circuits write it.
    pub(super) punchable: BTreeMap<PeerIdentity, TransportSet>,
    /// Relays at which we hold a reservation. The reservations write it.
    pub(super) reserved: BTreeSet<PeerIdentity>,
    /// Relays that end all circuits, and when. The relays' streams write it.
    pub(super) draining: BTreeMap<PeerIdentity, Moment>,
    chance: Box<dyn FnMut() -> f64 + Send>,
    operations: u64,
    outputs: VecDeque<Output>,
    signals: VecDeque<Signal>,
}

impl Shared {
    pub(super) fn new(
        local: PeerIdentity,
        punch: PunchConfig,
        chance: impl FnMut() -> f64 + Send + 'static,
        now: Moment,
    ) -> Self {
        Self {
            local,
            now,
            punch,
            connections: Connections::default(),
            interfaces: Vec::new(),
            host: Interfaces::default(),
            punchable: BTreeMap::new(),
            reserved: BTreeSet::new(),
            draining: BTreeMap::new(),
            chance: Box::new(chance),
            operations: 0,
            outputs: VecDeque::new(),
            signals: VecDeque::new(),
        }
    }

    pub(super) fn random(&mut self) -> f64 {
        (self.chance)()
    }

    pub(super) fn operation(&mut self) -> OperationId {
        self.operations += 1;
        OperationId(self.operations)
    }

    pub(super) fn put(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    pub(super) fn report(&mut self, event: NetworkEvent) {
        self.put(Output::Report(event));
    }

    pub(super) fn answer(&mut self, waiters: impl IntoIterator<Item = WaiterId>, result: &Result<ConnId, DialError>) {
        self.outputs.extend(waiters.into_iter().map(|waiter| Output::Answer { waiter, result: result.clone() }));
    }

    pub(super) fn signal(&mut self, signal: Signal) {
        self.signals.push_back(signal);
    }

    pub(super) fn next_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    pub(super) fn next_signal(&mut self) -> Option<Signal> {
        self.signals.pop_front()
    }

    /// Whether nothing new is to be begun there.
    pub(super) fn is_draining(&self, relay: &PeerIdentity) -> bool {
        self.draining.get(relay).is_some_and(|until| *until > self.now)
    }

    /// Why a circuit is still relayed. That its relay drains counts more than any other reason.
    pub(super) fn put_reason(&mut self, id: ConnId, reason: RelayReason) {
        let relay = self.connections.get(id).and_then(Connection::relay);
        if !relay.is_some_and(|relay| self.is_draining(relay)) {
            self.put(Output::Reason { id, reason });
        }
    }

    /// What the peer and we may punch.
    pub(super) fn punch_transports(&self, peer: &PeerIdentity) -> TransportSet {
        let ours = self.punch.transports;
        let allowed = self.punchable.get(peer).copied().unwrap_or(ours);
        TransportSet { tcp: ours.tcp && allowed.tcp, quic: ours.quic && allowed.quic }
    }
}
