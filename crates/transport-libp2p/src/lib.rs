//! libp2p as a [`StreamDialer`](kaspath_domain::StreamDialer) and a
//! [`StreamListener`](kaspath_domain::StreamListener): TCP and QUIC, circuit
//! relay v2 as client and server, and hole punching by DCUtR.
//!
//! [`Network::start`] runs one swarm in one task, the actor. Everything else is
//! a handle to it. No libp2p type appears in this crate's public API.
//!
//! | folder | its job |
//! |---|---|
//! | `streams` | which connection a stream is on, and how that connection travels |
//! | `core` | everything that is decided about peers, as a machine without I/O |
//! | `punch` | the DCUtR exchange on the wire |
//! | `limits` | which connections there is room for, and which are closed for others |
//! | `muxing` | a budget for streams that are not negotiated, and bounded windows |
//! | `tcp` | libp2p's TCP transport, where that gives up too early or never |
//! | `quic` | QUIC as a libp2p transport, and who gets a handshake |
//! | `records` | signed records of nodes: what is said, and the envelope |
//! | `reach` | checks whether a node can be reached: AutoNAT v2, with dials by other nodes |
//! | `relay_control` | our own protocol with relays: a token, and notice of a drain |
//! | `relay_server` | circuit relay v2 for others: its caps as a pure table, and the bytes of circuits |
//! | `discovery` | asks relays and peers whom they know, and lists us at relays |
//! | `swarm` | the actor that translates between the core and libp2p |
//!
//! ```no_run
//! # async fn demo() -> Result<(), Box<dyn std::error::Error>> {
//! use kaspath_domain::StreamListener;
//! use kaspath_transport_libp2p::{Network, NetworkConfig, NodeKey};
//!
//! let config = NetworkConfig {
//!     listen: vec!["/ip4/0.0.0.0/tcp/0".parse()?],
//!     relays: vec!["/dns/relay.example/tcp/4001/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN".parse()?],
//!     ..NetworkConfig::default()
//! };
//! let network = Network::start(NodeKey::generate(), config).await?;
//! let stream = network.listener().accept().await?;
//! println!("{} {}", stream.info(), stream.path());
//! network.shutdown().await;
//! # Ok(()) }
//! ```

#![warn(clippy::unwrap_used)]

mod config;
mod convert;
mod core;
mod dialer;
mod discovery;
mod events;
mod failure;
mod gates;
mod keys;
mod limits;
mod listener;
mod listening;
mod loss;
mod muxing;
mod network;
mod punch;
mod quic;
mod reach;
mod records;
mod relay_control;
mod relay_server;
mod resolve;
mod streams;
mod swarm;
mod tcp;
mod wire;

pub use config::{NetworkConfig, PunchConfig, ReachConfig, ServeWhen, StartError};
pub use dialer::Libp2pDialer;
pub use discovery::{KnownRecords, Libp2pDiscovery};
pub use events::{CircuitEnd, NetworkEvent, Reachability, ReservationState};
pub use failure::NetworkFailure;
pub use keys::{KeyError, NodeKey};
pub use limits::{ConnectionLimits, LimitFloor, RefusedConnections};
pub use listener::Libp2pListener;
pub use network::Network;
pub use relay_control::{RelayToken, RelayTokenError};
pub use relay_server::{
    RelayAccess, RelayLoad, RelayPeers, RelayQuotaUse, RelayRefusals, RelayServerConfig, RelayServerError, RelayService,
};
pub use resolve::Resolver;

/// The stream protocol that our peers speak: raw bytes after multistream-select.
pub const STREAM_PROTOCOL: &str = "/kaspath/stream/1.0.0";
/// The protocol of sessions: see docs/session-protocol.md.
pub const SESSION_PROTOCOL: &str = "/kaspath/session/1.0.0";
/// The stream protocol of the earlier Kaspa libp2p proof of concept, spoken too.
pub const LEGACY_STREAM_PROTOCOL: &str = "/kaspad/transport/1.0.0";

/// Parsers of remote bytes and of files, for fuzzing.
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzz {
    pub use crate::{
        discovery::{fuzz as rendezvous, fuzz_gossip as gossip},
        keys::fuzz_key as key,
        punch::fuzz_exchange as exchange,
        reach::fuzz as dial_back,
        records::fuzz as record_envelope,
        relay_control::fuzz as relay_control,
        relay_server::fuzz as relay,
    };
}
