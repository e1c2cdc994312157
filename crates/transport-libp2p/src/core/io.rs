//! What goes into the core and what comes out of it.

use std::{net::IpAddr, time::Duration};

use kaspath_domain::{DialError, PeerIdentity, RelayAddress, RelayReason, Transport, TransportAddress, TransportSet};

use super::connections::{ConnId, Connection};
use crate::{NetworkEvent, PunchConfig};

/// One dial, exchange of candidates, lookup of names or request for a reservation.
/// Never used twice, so that a late answer cannot pass for that of another attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct AttemptId(pub(super) u64);

/// Somebody who waits for a connection. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct WaiterId(pub(crate) u64);

/// What callers ask for and what happened.
#[derive(Clone, Debug)]
pub(crate) enum Input {
    /// A direct connection to the peer at one of these addresses is wanted.
    Connect { waiter: WaiterId, peer: PeerIdentity, addresses: Vec<TransportAddress> },
    /// A connection to the relay is wanted, identified and observed over these
    /// transports as far as the relay has them.
    ConnectRelay { waiter: WaiterId, relay: RelayAddress, transports: TransportSet },
    /// A circuit to the peer through a connected relay is wanted. `punch` is what the
    /// peer may punch on it; the empty set leaves that as it is.
    OpenCircuit { waiter: WaiterId, relay: PeerIdentity, peer: PeerIdentity, punch: TransportSet },
    /// The best direct connection with the peer is wanted, now or when it comes up.
    AwaitDirect { waiter: WaiterId, peer: PeerIdentity, transports: TransportSet },
    /// Nobody waits there any more.
    GaveUp { waiter: WaiterId },
    /// Punch by these settings from now on.
    SetPunch(PunchConfig),
    /// The addresses of our interfaces, as far as we listen on them.
    Interfaces(Vec<IpAddr>),
    /// A connection came up; `dial` is ours that led to it.
    Connected { id: ConnId, dial: Option<AttemptId>, connection: Connection },
    /// A connection is gone.
    Disconnected { id: ConnId, cause: Option<String> },
    /// A dial led to no connection.
    DialFailed { dial: AttemptId, failure: DialFailure },
    /// An answer on the connection is late: the network may have changed.
    Suspect { id: ConnId },
    /// An answer has come after all.
    Recovered { id: ConnId },
    /// What ran on the connection has moved elsewhere, and it gave no answer.
    Dead { id: ConnId },
    /// Whether an answer came on the link in time.
    Probed { probe: AttemptId, is_alive: bool },
    /// The remote told where it listens and at which address it sees us.
    Identified { id: ConnId, listens: Vec<TransportAddress>, observed: Option<TransportAddress> },
    /// What each name resolved to.
    Resolved { lookup: AttemptId, results: Vec<(TransportAddress, Result<Vec<TransportAddress>, String>)> },
    /// The relay granted that request.
    ReservationGranted { request: AttemptId },
    /// The relay renewed the reservation.
    ReservationRenewed { relay: PeerIdentity },
    /// The request failed, or the reservation that came of it is over.
    ReservationEnded { request: AttemptId, cause: String },
    /// The remote of that circuit begins an exchange of candidates.
    ExchangeRequested { exchange: AttemptId, id: ConnId },
    /// The peer answered our exchange, and waits for [`Output::Synchronize`].
    Offered { exchange: AttemptId, theirs: Vec<TransportAddress>, rtt: Duration },
    /// SYNC has left; our exchange is over.
    SyncSent { exchange: AttemptId },
    /// The peer told us to dial; its exchange is over.
    SyncReceived { exchange: AttemptId, theirs: Vec<TransportAddress> },
    /// An exchange broke, whoever began it.
    ExchangeFailed { exchange: AttemptId, unsupported: bool, cause: String },
    /// Nothing happened, but time has passed.
    Elapsed,
}

/// Why a dial failed.
#[derive(Clone, Debug)]
pub(crate) enum DialFailure {
    /// Somebody else answered.
    WrongPeer { expected: PeerIdentity, found: PeerIdentity },
    /// All else. `at` names what was dialled.
    Failed { at: String, cause: String },
}

impl DialFailure {
    pub(super) fn cause(&self) -> String {
        match self {
            Self::WrongPeer { found, .. } => format!("peer {found} answered"),
            Self::Failed { cause, .. } => cause.clone(),
        }
    }
}

/// What is to be done.
#[derive(Clone, Debug)]
pub(crate) enum Output {
    /// Tell the waiter.
    Answer { waiter: WaiterId, result: Result<ConnId, DialError> },
    /// Dial; the end is [`Input::Connected`] or [`Input::DialFailed`].
    Dial { dial: AttemptId, peer: PeerIdentity, addresses: Vec<TransportAddress>, kind: DialKind },
    /// The same through a connected relay.
    DialCircuit { dial: AttemptId, relay: RelayAddress, peer: PeerIdentity },
    /// Look these up; the end is [`Input::Resolved`].
    Resolve { lookup: AttemptId, names: Vec<TransportAddress> },
    /// Ask for an answer on that connection; the end is [`Input::Probed`].
    Probe { probe: AttemptId, id: ConnId },
    /// Keep direct connections with the peer though nothing uses them.
    Lease(PeerIdentity),
    /// The opposite.
    Release(PeerIdentity),
    /// Close the connection.
    Close(ConnId),
    /// Close the connection if no stream lives on it.
    CloseIfUnused(ConnId),
    /// Ask the connected relay for a reservation; the end is [`Input::ReservationEnded`].
    Reserve { request: AttemptId, relay: RelayAddress },
    /// Give it up, whatever has become of it; no end follows.
    Unreserve { request: AttemptId },
    /// Begin an exchange over that circuit.
    Exchange { exchange: AttemptId, id: ConnId, offer: Vec<TransportAddress> },
    /// Answer the exchange that the peer began.
    Respond { exchange: AttemptId, offer: Vec<TransportAddress> },
    /// Send SYNC; [`Input::SyncSent`] follows.
    Synchronize { exchange: AttemptId },
    /// Break it off; no end follows.
    EndExchange { exchange: AttemptId },
    /// Why that circuit is still relayed.
    Reason { id: ConnId, reason: RelayReason },
    /// Tell observers.
    Report(NetworkEvent),
}

/// Why a direct dial is made, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DialKind {
    /// A peer is wanted.
    Peer,
    /// A relay is wanted.
    Relay,
    /// Simultaneous open over TCP from our listening port; over QUIC random packets from
    /// our listening socket, to one address, until the peer comes in.
    PunchAsListener(Transport),
    /// A plain dial, from the port that we listen on or over TCP from a new one.
    PunchAsDialer { new_port: bool },
}
