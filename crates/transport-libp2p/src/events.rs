//! What happens in the network, for logs, metrics and labs.

use std::{fmt, time::Duration};

use kaspath_domain::{Direction, Path, PeerIdentity, PeerLocator, ReservationLoss, Transport};
use serde::Serialize;

use crate::{RefusedConnections, RelayService};

/// The state of a reservation.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum ReservationState {
    /// Asked for.
    Requested,
    /// Granted: peers can reach us through the relay.
    Confirmed,
    /// Granted once more.
    Renewed,
    /// Refused, timed out or gone.
    Lost {
        /// Why.
        cause: String,
        /// What kind of cause that is.
        kind: ReservationLoss,
        /// When it is asked for again: never, if the relay was removed; not by itself, if
        /// [`crate::NetworkConfig::reservation_cadence`] gives up.
        #[serde(serialize_with = "kaspath_domain::time::optional_seconds")]
        retry_in: Option<Duration>,
    },
}

/// Why a circuit through our relay ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CircuitEnd {
    /// Both peers had finished.
    Closed,
    /// A stream of it failed, or a peer reset it.
    Failed,
    /// The connection of one of its peers closed.
    ConnectionLost,
    /// No byte went either way for too long.
    Idle,
    /// It was open for as long as it may be.
    Lifetime,
    /// It moved as many bytes as it may.
    ByteLimit,
    /// A quota of one of its peers, of a prefix or of the relay is used up.
    Quota,
    /// One of its peers is not allowed any more.
    NotAllowed,
    /// The relay was full, it was silent, and many came from where it came from.
    Evicted,
}

impl fmt::Display for CircuitEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "both peers closed it",
            Self::Failed => "a peer broke it off",
            Self::ConnectionLost => "a peer's connection closed",
            Self::Idle => "it was idle for too long",
            Self::Lifetime => "it reached its longest duration",
            Self::ByteLimit => "it reached its limit of bytes",
            Self::Quota => "a quota is used up",
            Self::NotAllowed => "a peer of it is not allowed any more",
            Self::Evicted => "it was idle and made room for another one",
        })
    }
}

/// Whether others can reach us at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reachability {
    /// Nothing says that they can, or that they cannot.
    Unknown,
    /// Somebody came in whom nothing that we did had opened a way for.
    Reachable,
    /// Several say that they cannot.
    Unreachable,
}

impl fmt::Display for Reachability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "unknown",
            Self::Reachable => "reachable",
            Self::Unreachable => "unreachable",
        })
    }
}

/// Something that happened. The serialized form is stable: a field `event` and
/// the event's own fields.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum NetworkEvent {
    /// We listen there, directly or through a relay. A direct address may be one
    /// that nobody else can reach: see [`NetworkEvent::Announced`].
    Listening {
        /// The address.
        address: PeerLocator,
    },
    /// From now on this direct address of ours is announced to peers: it is public, or was
    /// configured.
    Announced {
        /// The address, ready to be given to others.
        address: PeerLocator,
    },
    /// The address is gone from our interfaces; it is not announced to peers any more.
    AnnouncementEnded {
        /// The address.
        address: PeerLocator,
    },
    /// A reservation changed.
    Reservation {
        /// The relay.
        relay: PeerIdentity,
        /// Its new state.
        #[serde(flatten)]
        state: ReservationState,
    },
    /// A relay granted or renewed a reservation, and said what a circuit through it may use.
    CircuitLimits {
        /// The relay.
        relay: PeerIdentity,
        /// How long a circuit lasts at most; `None` if the relay names no limit.
        #[serde(serialize_with = "kaspath_domain::time::optional_seconds")]
        duration: Option<Duration>,
        /// Bytes of a circuit; `None` if the relay names no limit.
        bytes: Option<u64>,
    },
    /// A relay takes nothing new, and ends our circuits through it when the time is over.
    RelayDraining {
        /// The relay.
        relay: PeerIdentity,
        /// The time that is left.
        #[serde(serialize_with = "kaspath_domain::time::seconds")]
        left: Duration,
    },
    /// A relay or peer reported the address at which it sees us.
    CandidateObserved {
        /// The address: a candidate for punches.
        address: PeerLocator,
        /// Who saw it.
        by: PeerIdentity,
    },
    /// A connection came up.
    Connected {
        /// The peer.
        peer: PeerIdentity,
        /// Who dialled.
        direction: Direction,
        /// How it travels.
        path: Path,
        /// The remote address.
        remote: PeerLocator,
    },
    /// A connection went down.
    Disconnected {
        /// The peer.
        peer: PeerIdentity,
        /// How it travelled.
        path: Path,
        /// Why, unless it was closed normally.
        cause: Option<String>,
    },
    /// A punch begins: candidates are being exchanged.
    PunchStarted {
        /// The peer.
        peer: PeerIdentity,
        /// 1 for the first.
        attempt: u32,
    },
    /// Candidates are exchanged and both sides dial now.
    PunchDialing {
        /// The peer.
        peer: PeerIdentity,
        /// Round trip over the relay, if this side measured it.
        #[serde(serialize_with = "kaspath_domain::time::optional_seconds")]
        rtt: Option<Duration>,
        /// What we offered.
        ours: Vec<PeerLocator>,
        /// What the peer offered and we may dial.
        theirs: Vec<PeerLocator>,
    },
    /// A direct connection came up.
    PunchSucceeded {
        /// The peer.
        peer: PeerIdentity,
        /// Over what.
        transport: Transport,
        /// Since the relayed connection came up.
        #[serde(serialize_with = "kaspath_domain::time::seconds")]
        elapsed: Duration,
        /// Which attempt it was, as far as this side counted.
        attempts: u32,
    },
    /// A punch gave no direct connection.
    PunchFailed {
        /// The peer.
        peer: PeerIdentity,
        /// Attempts so far.
        attempts: u32,
        /// Why.
        reason: kaspath_domain::RelayReason,
        /// When it is tried again.
        #[serde(serialize_with = "kaspath_domain::time::optional_seconds")]
        retry_in: Option<Duration>,
    },
    /// An inbound stream was refused: the queue and the connection's share were full.
    StreamsRefused {
        /// Refused in all so far.
        total: u64,
    },
    /// Connections were refused for want of room, or closed so that others could stay.
    /// Reported at most once a minute.
    ConnectionsRefused {
        /// How many since the start, by reason.
        #[serde(flatten)]
        refused: RefusedConnections,
    },
    /// Whether others can reach us at that address of ours is known now, or has changed.
    ReachabilityChanged {
        /// The address.
        address: PeerLocator,
        /// What is known.
        state: Reachability,
    },
    /// Relay server: it serves from now on, or does not any more.
    Serving {
        /// What it does now.
        state: RelayService,
    },
    /// Relay server: a peer has a reservation here.
    RelayReservationAccepted {
        /// The peer.
        peer: PeerIdentity,
        /// It is not its first.
        renewed: bool,
    },
    /// Relay server: a reservation was refused. Of very many in a short time only some
    /// are reported, as of refused circuits.
    RelayReservationDenied {
        /// The peer.
        peer: PeerIdentity,
        /// The status of circuit relay v2.
        status: String,
        /// Which limit it met, by the name of its setting.
        cause: String,
    },
    /// Relay server: a peer has no reservation here any more.
    RelayReservationEnded {
        /// The peer.
        peer: PeerIdentity,
    },
    /// Relay server: a circuit joins two peers.
    RelayCircuitOpened {
        /// Who asked for it.
        source: PeerIdentity,
        /// Who was asked for.
        destination: PeerIdentity,
    },
    /// Relay server: a circuit was refused.
    RelayCircuitDenied {
        /// Who asked for it.
        source: PeerIdentity,
        /// Who was asked for.
        destination: PeerIdentity,
        /// The status of circuit relay v2.
        status: String,
        /// Which limit it met, by the name of its setting.
        cause: String,
    },
    /// Relay server: a circuit ended.
    RelayCircuitClosed {
        /// Who asked for it.
        source: PeerIdentity,
        /// Who was asked for.
        destination: PeerIdentity,
        /// Bytes passed on from the source.
        from_source: u64,
        /// Bytes passed on from the destination.
        from_destination: u64,
        /// How long it was open.
        #[serde(serialize_with = "kaspath_domain::time::seconds")]
        duration: Duration,
        /// Why it ended.
        reason: CircuitEnd,
    },
}
