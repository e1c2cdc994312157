//! What can be set.

use std::time::Duration;

use kaspath_domain::{Observers, PeerLocator, RetryCadence, TransportAddress, TransportSet};
use thiserror::Error;

use crate::{ConnectionLimits, NetworkEvent, Resolver};

/// Settings of a [`crate::Network`]. The defaults fit a private node.
#[derive(Clone, Debug)]
pub struct NetworkConfig {
    /// Addresses to listen on: direct ones, or a relay's circuit (which is a
    /// reservation there, as if it were in `relays`).
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
    /// Each is a name that begins with a slash and has at most 253 bytes.
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
    /// Notified of everything that happens, from the start on, as it happens.
    pub observers: Observers<NetworkEvent>,
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
            observers: Observers::default(),
        }
    }
}

/// How peers that are connected with us through a relay are punched.
#[derive(Clone, Debug)]
pub struct PunchConfig {
    /// What is punched; the empty set turns punching off.
    pub transports: TransportSet,
    /// When a failed punch is tried again.
    pub cadence: RetryCadence,
    /// Also dial loopback and private candidates that a peer offers. Off, because
    /// a hostile peer could make us dial hosts in our own network.
    pub allow_local_candidates: bool,
}

impl Default for PunchConfig {
    fn default() -> Self {
        Self { transports: TransportSet::ALL, cadence: RetryCadence::punch(), allow_local_candidates: false }
    }
}

/// Limits of our relay server. One host, and one owner of a block of addresses, gets
/// a part of what there is and no more; docs/decisions/0006-relay-limits.md counts how
/// much. A prefix is a /24 of IPv4 or a /48 of IPv6, and an IPv6 address its /64.
#[derive(Clone, Debug)]
pub struct RelayServerConfig {
    /// Peers with a reservation in all. Those who have one may always renew it.
    pub max_reservations: usize,
    /// Connections of one peer that hold its reservation at once; together they count
    /// as one reservation. A peer is reached over the one on which it asked last.
    pub max_reservations_per_peer: usize,
    /// Peers with a reservation from one IP address.
    pub max_reservations_per_ip: usize,
    /// Peers with a reservation from one prefix.
    pub max_reservations_per_prefix: usize,
    /// Lifetime of a reservation; clients renew at three quarters of it.
    pub reservation_duration: Duration,
    /// Circuits in all; like the following, those included that are being made.
    pub max_circuits: usize,
    /// Circuits that one peer has opened.
    pub max_circuits_per_peer: usize,
    /// Circuits opened from one IP address.
    pub max_circuits_per_ip: usize,
    /// Circuits opened from one prefix.
    pub max_circuits_per_prefix: usize,
    /// Circuits to one peer.
    pub max_circuits_per_destination: usize,
    /// Circuits opened from one IP address to one peer.
    pub max_circuits_per_ip_to_destination: usize,
    /// Lifetime of a circuit.
    pub max_circuit_duration: Duration,
    /// A circuit ends when no byte went either way for this time. Kaspa pings every
    /// two minutes.
    pub circuit_idle_timeout: Duration,
    /// Bytes of a circuit, both ways together; 0 is unlimited.
    pub max_circuit_bytes: u64,
    /// Reservations that one peer may ask for at once.
    pub reservations_per_peer_burst: u32,
    /// Reservations that peers without one may ask for at once from one IP address.
    pub reservations_per_ip_burst: u32,
    /// Circuits that one peer may ask for at once.
    pub circuits_per_peer_burst: u32,
    /// Circuits that peers without reservation may ask for at once from one IP address.
    pub circuits_per_ip_burst: u32,
    /// Time until one of each burst comes back; a second at most for the circuits of a
    /// peer that has a reservation.
    pub refill: Duration,
}

impl Default for RelayServerConfig {
    fn default() -> Self {
        Self {
            max_reservations: 512,
            max_reservations_per_peer: 2,
            max_reservations_per_ip: 8,
            max_reservations_per_prefix: 32,
            reservation_duration: Duration::from_secs(3600),
            max_circuits: 256,
            max_circuits_per_peer: 16,
            max_circuits_per_ip: 32,
            max_circuits_per_prefix: 64,
            max_circuits_per_destination: 64,
            max_circuits_per_ip_to_destination: 8,
            max_circuit_duration: Duration::from_secs(24 * 3600),
            circuit_idle_timeout: Duration::from_secs(600),
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
        /// The transport's error.
        cause: String,
    },
    /// A stream protocol's name does not begin with a slash, or is too long.
    #[error("{0:?} is not a stream protocol: it must begin with a slash and have at most {max} bytes", max = crate::muxing::MAX_NAME)]
    Protocol(String),
    /// A transport could not be set up.
    #[error("cannot set up the transports: {0}")]
    Transport(String),
}
