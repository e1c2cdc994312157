//! What can be set.

use std::time::Duration;

use kaspath_domain::{PeerLocator, RetryCadence, TransportAddress, TransportSet};
use thiserror::Error;

use crate::{ConnectionLimits, Resolver};

/// Settings of a [`crate::Network`]. The defaults fit a private node.
#[derive(Clone, Debug)]
pub struct NetworkConfig {
    /// Addresses to listen on: direct ones, or a relay's circuit (which is a
    /// reservation there, as if it stood in `relays`).
    pub listen: Vec<PeerLocator>,
    /// Relays to hold reservations at; several addresses of one relay are one relay.
    pub relays: Vec<PeerLocator>,
    /// How many reservations to hold, pending ones included.
    pub wanted_reservations: usize,
    /// Addresses at which we are known to be reachable, beside what is observed.
    pub external: Vec<TransportAddress>,
    /// How peers are punched.
    pub punch: PunchConfig,
    /// Serve as a relay; `None` does not.
    pub relay_server: Option<RelayServerConfig>,
    /// Stream protocols, the preferred first; peers that share none get no stream. A
    /// node without any opens and accepts none, as a relay that is nothing else.
    /// Each is a name that begins with a slash.
    pub protocols: Vec<String>,
    /// Connection limits.
    pub limits: ConnectionLimits,
    /// Inbound streams that may wait to be accepted. When they do, connections wait.
    pub inbound_queue: usize,
    /// How long an inbound stream may wait to be accepted; then it is refused.
    pub accept_timeout: Duration,
    /// When a reservation that failed or was lost is asked for again.
    pub reservation_cadence: RetryCadence,
    /// Looks up the names of relays and peers, each time one is dialled.
    pub resolver: Resolver,
    /// A connection that nothing uses is closed after this time.
    pub idle_timeout: Duration,
    /// Time between pings, which find dead connections and keep NAT mappings.
    pub ping_interval: Duration,
}

impl Default for NetworkConfig {
    fn default() -> Self {
        Self {
            listen: Vec::new(),
            relays: Vec::new(),
            wanted_reservations: 3,
            external: Vec::new(),
            punch: PunchConfig::default(),
            relay_server: None,
            protocols: vec![crate::STREAM_PROTOCOL.to_owned(), crate::LEGACY_STREAM_PROTOCOL.to_owned()],
            limits: ConnectionLimits::default(),
            inbound_queue: 64,
            accept_timeout: Duration::from_secs(10),
            reservation_cadence: RetryCadence::persistent(),
            resolver: Resolver::system(),
            idle_timeout: Duration::from_secs(60),
            ping_interval: Duration::from_secs(20),
        }
    }
}

/// How peers that meet us on a relay are punched.
#[derive(Clone, Debug)]
pub struct PunchConfig {
    /// What is punched; the empty set turns punching off.
    pub transports: TransportSet,
    /// When a failed punch is tried again.
    pub cadence: RetryCadence,
    /// Also dial loopback and private candidates that a peer offers. Off, because
    /// a hostile peer could make us knock at doors of our own network.
    pub allow_local_candidates: bool,
}

impl Default for PunchConfig {
    fn default() -> Self {
        Self { transports: TransportSet::ALL, cadence: RetryCadence::punch(), allow_local_candidates: false }
    }
}

/// Limits of our relay server. libp2p's defaults end a circuit after 128 KiB or
/// two minutes; these let a Kaspa session live.
#[derive(Clone, Debug)]
pub struct RelayServerConfig {
    /// Reservations in all. Renewals count too, so leave room.
    pub max_reservations: usize,
    /// Reservations of one peer.
    pub max_reservations_per_peer: usize,
    /// Lifetime of a reservation; clients renew at three quarters of it.
    pub reservation_duration: Duration,
    /// Circuits in all.
    pub max_circuits: usize,
    /// Circuits of one peer.
    pub max_circuits_per_peer: usize,
    /// Lifetime of a circuit.
    pub max_circuit_duration: Duration,
    /// Bytes of a circuit, both ways together; 0 is unlimited.
    pub max_circuit_bytes: u64,
    /// Reservations that one peer may ask for at once.
    pub reservations_per_peer_burst: u32,
    /// Reservations that one IP address may ask for at once.
    pub reservations_per_ip_burst: u32,
    /// Circuits that one peer may ask for at once.
    pub circuits_per_peer_burst: u32,
    /// Circuits that one IP address may ask for at once.
    pub circuits_per_ip_burst: u32,
    /// Time until one of each burst comes back.
    pub refill: Duration,
}

impl Default for RelayServerConfig {
    fn default() -> Self {
        Self {
            max_reservations: 512,
            max_reservations_per_peer: 2,
            reservation_duration: Duration::from_secs(3600),
            max_circuits: 256,
            max_circuits_per_peer: 16,
            max_circuit_duration: Duration::from_secs(24 * 3600),
            max_circuit_bytes: 0,
            reservations_per_peer_burst: 30,
            reservations_per_ip_burst: 60,
            circuits_per_peer_burst: 60,
            circuits_per_ip_burst: 120,
            refill: Duration::from_secs(15),
        }
    }
}

/// Why a network did not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// A relay was given without its peer id.
    #[error("relay {0} lacks its peer id: append /p2p/<relay peer id>")]
    RelayWithoutPeerId(PeerLocator),
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {cause}")]
    Listen {
        /// The address.
        address: PeerLocator,
        /// The transport's word.
        cause: String,
    },
    /// A stream protocol's name does not begin with a slash.
    #[error("{0:?} is no stream protocol: it must begin with a slash")]
    Protocol(String),
    /// A transport could not be set up.
    #[error("cannot set up the transports: {0}")]
    Transport(String),
}
