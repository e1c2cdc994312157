use std::{net::Ipv4Addr, time::Duration};

use kaspath_domain::{Direction, Path, PeerIdentity};
use serde::Serialize;

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
        /// Inbound: the peer called. Outbound: kaspad did.
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
        /// How long they were joined.
        #[serde(serialize_with = "kaspath_domain::time::seconds")]
        after: Duration,
        /// Bytes from the peer to kaspad.
        to_kaspad: u64,
        /// Bytes from kaspad to the peer.
        to_peer: u64,
    },
    /// A peer was not let in, or not reached, or kaspad was not.
    GatewayRefused {
        /// The peer.
        peer: PeerIdentity,
        /// Why.
        cause: String,
    },
}
