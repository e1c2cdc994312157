use std::{
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use kaspath_domain::{Direction, Path, PeerIdentity};
use serde::Serialize;

/// Why a peer's stream and kaspad were parted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CloseReason {
    /// One end closed, or its connection broke.
    Closed,
    /// Another session with the peer has replaced it.
    Replaced,
    /// The peer is banned, by kaspad or by the user.
    Banned,
    /// All inbound slots were taken, and it was the least useful session.
    Evicted,
    /// No handshake came from both sides in time.
    NoHandshake,
    /// The peer sent nothing for minutes.
    Idle,
    /// kaspad does not have the peer among its own, long after its session began.
    NotKaspadsPeer,
    /// The gateway ends.
    ShuttingDown,
}

/// Why a peer was not let in, or not reached, or kaspad was not: without the details.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RefusalReason {
    /// It, or those that it shares an address or a relay with, begin sessions too often.
    TooOften,
    /// The peer is banned.
    Banned,
    /// No inbound slot could be had for it.
    NoSlot,
    /// kaspad is on another network.
    OtherNetwork,
    /// No loopback address could be had for it.
    NoAddress,
    /// kaspad does not answer.
    KaspadUnreachable,
    /// The peer could not be reached, or no kaspad answers behind it.
    PeerUnreachable,
}

/// Something that happened at the gateway. The serialized form is stable.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum GatewayEvent {
    /// A peer's stream and kaspad are joined.
    GatewayOpened {
        /// The peer.
        peer: PeerIdentity,
        /// The address by which kaspad knows it.
        address: Ipv4Addr,
        /// Inbound: the peer began it. Outbound: this node did.
        direction: Direction,
        /// How the stream travels.
        path: Path,
    },
    /// They are parted.
    GatewayClosed {
        /// The peer.
        peer: PeerIdentity,
        /// The address by which kaspad knows it.
        address: Ipv4Addr,
        /// Why.
        reason: CloseReason,
        /// What the end that broke or refused it said, if it is known.
        #[serde(skip_serializing_if = "Option::is_none")]
        cause: Option<String>,
        /// How long they were joined.
        #[serde(serialize_with = "kaspath_domain::time::seconds")]
        after: Duration,
        /// Bytes from the peer to kaspad.
        to_kaspad: u64,
        /// Bytes from kaspad to the peer.
        to_peer: u64,
    },
    /// A peer was not let in, or not reached, or kaspad was not. How often this is
    /// reported is limited, by peer and for all peers.
    GatewayRefused {
        /// The peer.
        peer: PeerIdentity,
        /// Of which kind the cause is.
        reason: RefusalReason,
        /// Why.
        cause: String,
        /// Refusals, of any peer, that were not reported since the last that was.
        omitted: u64,
    },
    /// kaspad's RPC answers.
    KaspadUp {
        /// Its version.
        version: String,
        /// Its network, such as `mainnet`.
        network: String,
    },
    /// kaspad's RPC does not answer: bans are not followed.
    KaspadDown {
        /// Why.
        cause: String,
    },
    /// kaspad is on another network than this gateway: no peer is let in.
    KaspadOnOtherNetwork {
        /// Its network.
        network: String,
        /// Ours.
        expected: String,
    },
    /// How kaspad is doing; reported when it changes, and not too often.
    KaspadStatus {
        /// Whether it holds itself to be in sync.
        synced: bool,
        /// Blocks it has.
        blocks: u64,
        /// Its peers.
        peers: usize,
        /// Of these, those through the gateway.
        tunnelled: usize,
    },
    /// kaspad has banned a peer's address, so the peer is banned here.
    PeerBanned {
        /// The peer.
        peer: PeerIdentity,
        /// The address by which kaspad knows it.
        address: IpAddr,
    },
    /// kaspad has lifted that ban.
    PeerUnbanned {
        /// The peer.
        peer: PeerIdentity,
        /// The address by which kaspad knows it.
        address: IpAddr,
    },
    /// kaspad has one node as two peers: through the gateway and by another
    /// address. The id is the node's own claim, so nothing is closed for it.
    SeenTwice {
        /// The node's id in its Version message.
        id: String,
        /// The addresses.
        addresses: Vec<IpAddr>,
    },
}
