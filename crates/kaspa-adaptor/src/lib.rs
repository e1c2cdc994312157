//! Kaspa's P2P protocol (`/protowire.P2P/MessageStream`) over any
//! [`DuplexStream`](kaspath_domain::DuplexStream).
//!
//! A [`KaspaNode`] is a light peer: it shakes hands (Version, Verack, Ready),
//! answers what a kaspad needs answered to stay connected, and gossips
//! addresses, transactions and blocks with other peers of its kind. What
//! carries the bytes it never knows; of this workspace it depends on the domain
//! alone. Wire types come from `kaspa-p2p-lib`.
//!
//! | folder | what it knows |
//! |---|---|
//! | `grpc` | HTTP/2 over a domain stream: connector, incoming, settings |
//! | `wire` | messages out of bytes, bounded before they are decoded |
//! | `session` | one peer: router, handshake; all peers: hub |
//! | `flows` | what is said after Ready |
//!
//! ```no_run
//! # async fn demo(stream: kaspath_domain::DuplexStream) -> Result<(), Box<dyn std::error::Error>> {
//! use kaspath_kaspa_adaptor::{KaspaNetwork, KaspaNode, NodeConfig};
//!
//! let node = KaspaNode::new(NodeConfig::new(KaspaNetwork::Mainnet));
//! let peer = node.connect(stream).await?;
//! println!("Ready with {} over {}", peer.user_agent(), peer.router().path());
//! # Ok(()) }
//! ```

#![warn(clippy::unwrap_used)]

mod book;
mod errors;
mod events;
mod flows;
mod grpc;
mod inventory;
mod network;
mod node;
mod session;
mod wire;

use std::time::Duration;

pub use book::AddressBook;
pub use errors::{CloseReason, ConnectError, HandshakeError};
pub use events::{HandshakeOutcome, HandshakeStep, KaspaEvent};
pub use grpc::{CuttableIo, OneStream, StreamInfo, connector, incoming};
pub use inventory::{Inventory, InventoryLimits};
pub use kaspa_p2p_lib::{KaspadMessagePayloadType as MessageKind, pb};
pub use network::{KaspaNetwork, UnknownNetwork};
pub use node::{KaspaNode, NodeConfig};
pub use session::{Hub, Peer, PeerKey, Route, Router};
pub use wire::Received;

/// Protocol version that we advertise: what kaspad 2.1.0 (version 11) and its
/// predecessor both accept.
pub const PROTOCOL_VERSION: u32 = 10;
/// Least protocol version that we accept, as kaspad 2.1.0 does.
pub const MIN_PROTOCOL_VERSION: u32 = 10;
/// Largest message after Ready, inflated, and once more decoded. A kaspad takes
/// 256 MiB, for it exchanges whole pruning points; nothing that a light peer
/// understands comes near this. Before Ready 64 KiB are accepted.
pub const MAX_MESSAGE_SIZE: usize = 4 << 20;
/// How long a session whose bytes stand still lives on. A stream that has lost its path
/// waits 90 s for another one, which must not end what runs over it.
pub(crate) const STANDSTILL: Duration = Duration::from_secs(100);
/// What our user agent begins with; peers with it are gossiped with.
pub const USER_AGENT_PREFIX: &str = "/kaspath:";

/// Parsers of a peer's bytes, for fuzzing.
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzz {
    pub use crate::wire::{fuzz_frames as frames, fuzz_scan as scan};
}
