//! What goes into the core and what comes out of it.

use std::time::Duration;

use kaspath_domain::{DialError, PeerIdentity, RelayAddress, RelayReason, Transport, TransportAddress, TransportSet};

use super::{
    connections::{ConnId, Connection},
    interfaces::Interfaces,
    reach::{CheckAnswer, DialBackOutcome, DialBackWanted},
};
use crate::{NetworkEvent, PunchConfig, Reachability};

/// One dial, exchange of candidates, lookup of names or request for a reservation.
/// Never used twice, so that a late answer cannot pass for that of another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct OperationId(pub(super) u64);

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
    /// That waiter is gone.
    GaveUp { waiter: WaiterId },
    /// Punch by these settings from now on.
    SetPunch(PunchConfig),
    /// Our router forwards these addresses to us; they replace the former ones.
    Mapped(Vec<TransportAddress>),
    /// The addresses of our interfaces.
    Interfaces(Interfaces),
    /// A connection came up; `dial` is ours that led to it.
    Connected { id: ConnId, dial: Option<OperationId>, connection: Connection },
    /// A connection is gone.
    Disconnected { id: ConnId, cause: Option<String> },
    /// A dial led to no connection: another peer answered, or it is unreachable.
    DialFailed { dial: OperationId, error: DialError },
    /// An answer on the connection is late: the network may have changed.
    Suspect { id: ConnId },
    /// An answer has come after all.
    Recovered { id: ConnId },
    /// What ran on the connection has moved elsewhere, and it gave no answer.
    Dead { id: ConnId },
    /// What ran on the connection has moved elsewhere.
    Left { id: ConnId },
    /// Whether an answer came on the connection in time.
    Probed { probe: OperationId, is_alive: bool },
    /// The remote reported where it listens and at which address it sees us.
    Identified { id: ConnId, listens: Vec<TransportAddress>, observed: Option<TransportAddress> },
    /// What each name resolved to.
    Resolved { lookup: OperationId, results: Vec<(TransportAddress, Result<Vec<TransportAddress>, String>)> },
    /// The relay granted that request.
    ReservationGranted { request: OperationId },
    /// The relay renewed the reservation.
    ReservationRenewed { relay: PeerIdentity },
    /// The request failed, or the reservation that came of it is over.
    ReservationEnded { request: OperationId, cause: String },
    /// The remote of that circuit begins an exchange of candidates.
    ExchangeRequested { exchange: OperationId, id: ConnId },
    /// The peer answered our exchange, and waits for [`Output::Synchronize`].
    Offered { exchange: OperationId, theirs: Vec<TransportAddress>, rtt: Duration },
    /// SYNC has left; our exchange is over.
    SyncSent { exchange: OperationId },
    /// The peer told us to dial; its exchange is over.
    SyncReceived { exchange: OperationId, theirs: Vec<TransportAddress> },
    /// An exchange broke, whoever began it.
    ExchangeFailed { exchange: OperationId, unsupported: bool, cause: String },
    /// A relay says something on its stream of the relay protocol.
    RelayHeard { control: OperationId, says: RelaySays },
    /// That stream has ended, or the relay does not speak the protocol.
    ControlEnded { control: OperationId },
    /// Something that says where we can be reached, or others.
    Reach(ReachInput),
    /// Nothing happened, but time has passed.
    Elapsed,
}

/// What a relay says to its node.
#[derive(Clone, Debug)]
pub(crate) enum RelaySays {
    /// It may reserve.
    Welcome,
    /// It may not, or not any more, for that reason.
    Refused(String),
    /// The relay ends what is left after that time.
    Draining(Duration),
    /// That peer, with which it has just joined us, comes from the same public address as we do.
    Neighbour(PeerIdentity),
}

/// What happened that says something of our addresses, or of others' that we check.
#[derive(Clone, Debug)]
pub(crate) enum ReachInput {
    /// What came of the question of [`Output::AskReach`].
    Asked { operation: OperationId, answer: CheckAnswer },
    /// The remote of that connection shows a nonce.
    DialedBack { id: ConnId, nonce: u64 },
    /// The remote of that connection, a relay perhaps, wants an address checked;
    /// [`Output::DialBackDone`] follows.
    DialBackWanted { exchange: OperationId, id: ConnId, wanted: DialBackWanted },
    /// What came of [`Output::DialBack`].
    DialBackShown { operation: OperationId, outcome: DialBackOutcome },
}

/// What is to be done.
#[derive(Clone, Debug)]
pub(crate) enum Output {
    /// Tell the waiter.
    Answer { waiter: WaiterId, result: Result<ConnId, DialError> },
    /// Dial; the end is [`Input::Connected`] or [`Input::DialFailed`].
    Dial { dial: OperationId, peer: PeerIdentity, addresses: Vec<TransportAddress>, kind: DialKind },
    /// The same through a connected relay.
    DialCircuit { dial: OperationId, relay: RelayAddress, peer: PeerIdentity },
    /// Look these up; the end is [`Input::Resolved`].
    Resolve { lookup: OperationId, names: Vec<TransportAddress> },
    /// Ask for an answer on that connection; the end is [`Input::Probed`].
    Probe { probe: OperationId, id: ConnId },
    /// Keep direct connections with the peer though nothing uses them.
    Lease(PeerIdentity),
    /// The opposite.
    Release(PeerIdentity),
    /// Close the connection.
    Close(ConnId),
    /// Close the connection if no stream lives on it.
    CloseIfUnused(ConnId),
    /// Ask the connected relay for a reservation; the end is [`Input::ReservationEnded`].
    Reserve { request: OperationId, relay: RelayAddress },
    /// Speak the relay protocol on that link; [`Input::RelayHeard`] may follow, and
    /// [`Input::ControlEnded`] is the end.
    Control { control: OperationId, id: ConnId },
    /// Give it up, whatever has become of it; no end follows.
    Unreserve { request: OperationId },
    /// Begin an exchange over that circuit.
    Exchange { exchange: OperationId, id: ConnId, offer: Vec<TransportAddress> },
    /// Answer the exchange that the peer began.
    Respond { exchange: OperationId, offer: Vec<TransportAddress> },
    /// Send SYNC; [`Input::SyncSent`] follows.
    Synchronize { exchange: OperationId },
    /// Break it off; no end follows.
    EndExchange { exchange: OperationId },
    /// Why that circuit is still relayed.
    Reason { id: ConnId, reason: RelayReason },
    /// Have that address of ours checked by the remote of the connection, or without one by
    /// nodes that reserve here; [`ReachInput::Asked`] is the end.
    AskReach { operation: OperationId, on: Option<ConnId>, address: TransportAddress, nonce: u64 },
    /// Show the nonce on that connection; [`ReachInput::DialBackShown`] is the end.
    DialBack { operation: OperationId, id: ConnId, nonce: u64 },
    /// Tell the relay that asked.
    DialBackDone { exchange: OperationId, outcome: DialBackOutcome },
    /// What is known of that address of ours.
    Reachability { address: TransportAddress, state: Reachability },
    /// Others can reach us, or cannot any more: serve as a relay, or stop.
    Serve(bool),
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
    /// A relay wants to know whether the peer can be reached. From a new port, so that
    /// nothing has opened the way.
    DialBack,
}
