use thiserror::Error;

use crate::IdentityError;

/// Why a text is not an address.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AddressError {
    /// Nothing was given.
    #[error("the address is empty")]
    Empty,
    /// Longer than any address.
    #[error("the address is longer than {limit} characters")]
    TooLong {
        /// The limit, in bytes of text.
        limit: usize,
    },
    /// Neither a multiaddr nor host:port.
    #[error("{0:?} is neither a multiaddr such as /ip4/203.0.113.7/tcp/4001 nor host:port")]
    NotAnAddress(String),
    /// A part that must follow is not there.
    #[error("{text:?} lacks {what}")]
    Missing {
        /// The address as given.
        text: String,
        /// What is missing.
        what: &'static str,
    },
    /// A protocol that Kaspath does not speak.
    #[error("{text:?} uses /{protocol}, but only ip4, ip6, dns, tcp, udp with quic-v1, p2p and p2p-circuit are spoken here")]
    UnknownProtocol {
        /// The address as given.
        text: String,
        /// The unknown part.
        protocol: String,
    },
    /// Not an IP address of that kind.
    #[error("{value:?} is not an {kind} address")]
    BadIp {
        /// `IPv4` or `IPv6`.
        kind: &'static str,
        /// The value as given.
        value: String,
    },
    /// Not a host name.
    #[error("{0:?} is not a host name")]
    BadHost(String),
    /// Not a port.
    #[error("{0:?} is not a port: it must be a number from 0 to 65535")]
    BadPort(String),
    /// Not a peer id.
    #[error(transparent)]
    BadPeerId(#[from] IdentityError),
    /// A circuit whose relay is not named.
    #[error("{0:?} goes through a relay without saying which: put /p2p/<relay peer id> before /p2p-circuit")]
    RelayWithoutPeerId(String),
    /// A circuit within a circuit.
    #[error("{0:?} goes through two relays; one is the most that works")]
    NestedRelay(String),
    /// Something after the end.
    #[error("{text:?} has {extra:?} after its end")]
    Trailing {
        /// The address as given.
        text: String,
        /// The first part too many.
        extra: String,
    },
}
