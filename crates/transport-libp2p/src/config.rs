//! What can be set.

use std::{collections::BTreeMap, time::Duration};

use kaspath_domain::{Observers, PeerIdentity, PeerLocator, RetryCadence, TransportAddress, TransportSet};
use thiserror::Error;

use crate::{ConnectionLimits, NetworkEvent, RelayServerConfig, RelayToken, Resolver};

/// Settings of a [`crate::Network`]. The defaults fit a private node.
#[derive(Clone, Debug)]
pub struct NetworkConfig {
    /// Addresses to listen on: direct ones, or a relay's circuit (which is a
    /// reservation there, as if it were in `relays`).
    pub listen: Vec<PeerLocator>,
    /// Also listen at this port on every address of this host, of IPv4 and IPv6, over TCP and
    /// QUIC; 0 takes free ports. A family that the host does not have is left out.
    pub listen_everywhere: Option<u16>,
    /// Relays to hold reservations at; several addresses of one relay are one relay.
    pub relays: Vec<PeerLocator>,
    /// The tokens of private relays, by the relay that gave each. A relay without one is
    /// asked without.
    pub relay_tokens: BTreeMap<PeerIdentity, RelayToken>,
    /// How many reservations to hold, pending ones included.
    pub wanted_reservations: usize,
    /// Addresses at which we are known to be reachable, beside what is observed.
    pub external: Vec<TransportAddress>,
    /// How peers are punched.
    pub punch: PunchConfig,
    /// With a peer that a relay says comes from the same public address: offer our private
    /// addresses, and dial those of the peer that lie in networks of ours.
    pub lan: bool,
    /// Serve as a relay; `None` does not.
    pub relay_server: Option<RelayServerConfig>,
    /// When it serves, if it does.
    pub serve: ServeWhen,
    /// How we learn whether others can reach us.
    pub reach: ReachConfig,
    /// Stream protocols, the preferred first; peers that share none get no stream. A
    /// node without any opens and accepts none, as a relay that is nothing else.
    /// Each is a name that begins with a slash and has at most 253 bytes.
    pub protocols: Vec<String>,
    /// The name of the session protocol, if sessions are opened and accepted; a name like
    /// the others. See [`crate::SESSION_PROTOCOL`].
    pub session_protocol: Option<String>,
    /// Connection limits.
    pub limits: ConnectionLimits,
    /// Inbound streams that may wait to be accepted. When they do, connections wait.
    pub inbound_queue: usize,
    /// How long an inbound stream may wait to be accepted; then it is refused.
    pub accept_timeout: Duration,
    /// When a reservation that failed or was lost is asked for again. Where it gives up,
    /// [`crate::Network::reserve_at`] asks again.
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
            listen_everywhere: None,
            relays: Vec::new(),
            relay_tokens: BTreeMap::new(),
            wanted_reservations: 3,
            external: Vec::new(),
            punch: PunchConfig::default(),
            lan: true,
            relay_server: None,
            serve: ServeWhen::default(),
            reach: ReachConfig::default(),
            protocols: vec![crate::STREAM_PROTOCOL.to_owned(), crate::LEGACY_STREAM_PROTOCOL.to_owned()],
            session_protocol: None,
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

impl NetworkConfig {
    /// Whether it is a relay before anything else, from the start on and with room for many strangers.
    pub fn is_relay(&self) -> bool {
        self.relay_server.is_some() && self.serve == ServeWhen::Always
    }
}

/// When a node with the settings of a relay server serves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ServeWhen {
    /// From its start on.
    #[default]
    Always,
    /// As long as others can reach it: see [`crate::Reachability`].
    Reachable,
}

/// How a node learns whether others can reach it at its addresses.
#[derive(Clone, Debug)]
pub struct ReachConfig {
    /// Have relays that we use check our addresses. They tell other nodes our address and
    /// identity, which dial it.
    pub ask: bool,
    /// Dial addresses of other nodes when relays that we use ask for it.
    pub help: bool,
    /// Time between two checks of an address that can be reached. An address that no longer
    /// can stays so for that time at least, and longer each time.
    pub check_interval: Duration,
    /// Private addresses count like public ones, for a network without public ones. Off,
    /// because what a neighbour reaches others may not.
    pub allow_local: bool,
}

impl Default for ReachConfig {
    fn default() -> Self {
        Self { ask: true, help: true, check_interval: Duration::from_secs(600), allow_local: false }
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
