//! Where a peer can be reached, in multiaddr text but without a libp2p type.
//!
//! The accepted forms (libp2p addressing spec):
//! - `/ip4/203.0.113.7/tcp/16111`, `/ip6/::1/udp/4001/quic-v1`, `/dns/relay.example/tcp/4001`,
//!   each with an optional `/p2p/<peer id>`;
//! - `<relay address>/p2p/<relay id>/p2p-circuit`, with an optional `/p2p/<peer id>`;
//! - `host:port`, which is plain TCP, as kaspad's `--addpeer` takes it.

mod error;
mod parse;

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{IpPrefix, PeerIdentity};

pub use error::AddressError;
pub use parse::is_dns_name;

/// What carries the bytes of a direct connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// TCP.
    Tcp,
    /// QUIC version 1 over UDP (RFC 9000).
    Quic,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Transport::Tcp => "tcp",
            Transport::Quic => "quic",
        })
    }
}

/// A set of transports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TransportSet {
    /// TCP is in the set.
    pub tcp: bool,
    /// QUIC is in the set.
    pub quic: bool,
}

impl TransportSet {
    /// No transport.
    pub const NONE: Self = Self { tcp: false, quic: false };
    /// Both transports.
    pub const ALL: Self = Self { tcp: true, quic: true };
    /// Only TCP.
    pub const TCP: Self = Self { tcp: true, quic: false };
    /// Only QUIC.
    pub const QUIC: Self = Self { tcp: false, quic: true };

    /// Whether `transport` is in the set.
    pub const fn contains(self, transport: Transport) -> bool {
        match transport {
            Transport::Tcp => self.tcp,
            Transport::Quic => self.quic,
        }
    }

    /// Whether no transport is in the set.
    pub const fn is_empty(self) -> bool {
        !self.tcp && !self.quic
    }
}

impl FromIterator<Transport> for TransportSet {
    fn from_iter<I: IntoIterator<Item = Transport>>(transports: I) -> Self {
        transports.into_iter().fold(Self::NONE, |set, transport| match transport {
            Transport::Tcp => Self { tcp: true, ..set },
            Transport::Quic => Self { quic: true, ..set },
        })
    }
}

/// An IP address, or a name to resolve when dialling.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Host {
    /// A literal address.
    Ip(IpAddr),
    /// A DNS name.
    Dns(String),
}

/// A transport, a host and a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TransportAddress {
    /// What to speak there.
    pub transport: Transport,
    /// Where.
    pub host: Host,
    /// The TCP or UDP port.
    pub port: u16,
}

impl TransportAddress {
    /// A TCP address.
    pub fn tcp(address: SocketAddr) -> Self {
        Self { transport: Transport::Tcp, host: Host::Ip(address.ip()), port: address.port() }
    }

    /// A QUIC address.
    pub fn quic(address: SocketAddr) -> Self {
        Self { transport: Transport::Quic, host: Host::Ip(address.ip()), port: address.port() }
    }

    /// The IP address, if the host is a literal.
    pub fn ip(&self) -> Option<IpAddr> {
        match self.host {
            Host::Ip(ip) => Some(ip),
            Host::Dns(_) => None,
        }
    }

    /// The same; one of IPv4 as such, also if it is mapped into IPv6.
    pub fn canonical_ip(&self) -> Option<IpAddr> {
        self.ip().map(|ip| ip.to_canonical())
    }

    /// The provider's block that it lies in, if the host is a literal.
    pub fn provider_block(&self) -> Option<IpPrefix> {
        self.ip().map(IpPrefix::provider_block)
    }

    /// The socket address, if the host is a literal.
    pub fn socket_addr(&self) -> Option<SocketAddr> {
        self.ip().map(|ip| SocketAddr::new(ip, self.port))
    }
}

/// A relay: who it is and where.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RelayAddress {
    /// The relay's identity.
    pub relay: PeerIdentity,
    /// The relay's own address.
    pub via: TransportAddress,
}

/// How to get to a peer.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PeerAddress {
    /// Straight.
    Direct(TransportAddress),
    /// Through a relay's circuit (libp2p circuit relay v2).
    Relayed(RelayAddress),
}

/// An address, with the peer expected there if it is known.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerLocator {
    /// Who should answer; `None` on plain TCP, which proves no identity.
    pub peer: Option<PeerIdentity>,
    /// Where.
    pub address: PeerAddress,
}

impl PeerAddress {
    /// The address itself, if no relay lies between.
    pub fn direct(&self) -> Option<&TransportAddress> {
        match self {
            Self::Direct(address) => Some(address),
            Self::Relayed(_) => None,
        }
    }

    /// Its canonical IP address, if no relay lies between and the host is a literal.
    pub fn direct_ip(&self) -> Option<IpAddr> {
        self.direct()?.canonical_ip()
    }
}

impl PeerLocator {
    /// The relay that it names, as one that is to be reserved at: a direct address with a peer id, or
    /// the relay of a circuit.
    pub fn relay(&self) -> Option<RelayAddress> {
        match (&self.address, &self.peer) {
            (PeerAddress::Direct(via), Some(peer)) => Some(RelayAddress { relay: peer.clone(), via: via.clone() }),
            (PeerAddress::Relayed(relay), _) => Some(relay.clone()),
            (PeerAddress::Direct(_), None) => None,
        }
    }

    /// Splits a list at commas, semicolons and white space, and parses each part.
    pub fn parse_list(text: &str) -> Result<Vec<Self>, AddressError> {
        text.split(|c: char| c == ',' || c == ';' || c.is_whitespace()).filter(|part| !part.is_empty()).map(str::parse).collect()
    }
}

impl fmt::Display for TransportAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Ip(IpAddr::V4(ip)) => write!(f, "/ip4/{ip}")?,
            Host::Ip(IpAddr::V6(ip)) => write!(f, "/ip6/{ip}")?,
            Host::Dns(name) => write!(f, "/dns/{name}")?,
        }
        match self.transport {
            Transport::Tcp => write!(f, "/tcp/{}", self.port),
            Transport::Quic => write!(f, "/udp/{}/quic-v1", self.port),
        }
    }
}

impl fmt::Display for RelayAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/p2p/{}", self.via, self.relay)
    }
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PeerAddress::Direct(address) => address.fmt(f),
            PeerAddress::Relayed(relay) => write!(f, "{relay}/p2p-circuit"),
        }
    }
}

impl fmt::Display for PeerLocator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)?;
        match &self.peer {
            Some(peer) => write!(f, "/p2p/{peer}"),
            None => Ok(()),
        }
    }
}

impl Serialize for PeerLocator {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PeerLocator {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests;
