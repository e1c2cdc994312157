use std::{fmt, net::SocketAddr, time::Duration};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::Transport;

/// Which of a router's ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum MapProtocol {
    /// TCP.
    Tcp,
    /// UDP, which carries QUIC.
    Udp,
}

impl MapProtocol {
    /// The protocol that carries a transport.
    pub fn of(transport: Transport) -> Self {
        match transport {
            Transport::Tcp => Self::Tcp,
            Transport::Quic => Self::Udp,
        }
    }
}

impl fmt::Display for MapProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Self::Tcp { "TCP" } else { "UDP" })
    }
}

/// Who uses a mapped port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum MapPurpose {
    /// This node, for its peers.
    Peers,
    /// kaspad, for its own P2P.
    Kaspad,
}

/// A port of this host that is to be reached from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct MapRequest {
    /// The protocol.
    pub protocol: MapProtocol,
    /// The port of this host. The same one is asked for outside; the router may give another.
    pub port: u16,
    /// Who uses it.
    pub purpose: MapPurpose,
}

impl fmt::Display for MapRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} port {}", self.protocol, self.port)
    }
}

/// By which protocol a router is asked; the preferred one first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MapMethod {
    /// Port Control Protocol (RFC 6887).
    Pcp,
    /// NAT Port Mapping Protocol (RFC 6886).
    NatPmp,
    /// UPnP Internet Gateway Device.
    Igd,
}

impl MapMethod {
    /// All of them, the preferred one first.
    pub const ALL: [Self; 3] = [Self::Pcp, Self::NatPmp, Self::Igd];

    /// Its name in settings, events and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pcp => "pcp",
            Self::NatPmp => "nat-pmp",
            Self::Igd => "igd",
        }
    }
}

impl fmt::Display for MapMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pcp => "PCP",
            Self::NatPmp => "NAT-PMP",
            Self::Igd => "UPnP IGD",
        })
    }
}

/// A port that the router forwards to this host. The router says so; nobody has checked it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mapped {
    /// What was asked for.
    #[serde(flatten)]
    pub request: MapRequest,
    /// The public address and port outside.
    pub external: SocketAddr,
    /// How the router was asked.
    pub by: MapMethod,
    /// How long the router keeps it without a renewal.
    #[serde(serialize_with = "crate::time::seconds")]
    pub lifetime: Duration,
}

/// What became of the mappings. The serialized form is stable: a field `event` and the
/// event's own fields.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "event")]
pub enum MappingEvent {
    /// The port is mapped. It replaces an earlier mapping of the same request: the router has
    /// restarted (the mapping may be the same as before), or has another public address.
    #[serde(rename = "port-mapped")]
    Mapped(Mapped),
    /// The port is not mapped any more.
    #[serde(rename = "port-mapping-lost")]
    Lost {
        /// What it was.
        #[serde(flatten)]
        mapped: Mapped,
        /// Why.
        cause: String,
    },
    /// No port can be mapped. Said once, until one is mapped.
    #[serde(rename = "port-mapping-unavailable")]
    Unavailable {
        /// Why; each method's own reason.
        cause: String,
    },
}

/// Has the router forward ports of this host, for as long as the program runs.
///
/// It asks again by itself: before a mapping ends, when the router has restarted, and when
/// this host has moved to another network.
#[cfg_attr(feature = "mocks", mockall::automock)]
#[async_trait]
pub trait PortMapper: Send + Sync {
    /// The next event, in order; none is lost. Pends for ever after [`PortMapper::release`].
    /// Dropping the future loses nothing. For one caller at a time.
    async fn next(&self) -> MappingEvent;

    /// The way out of this network may have changed: the router is asked again soon.
    fn suspect(&self);

    /// Removes all mappings from the router, and maps nothing from now on. Returns within a
    /// second, whether the router has answered or not.
    async fn release(&self);
}
