//! Whom to let in.

use std::{fmt, net::IpAddr};

use serde::{Deserialize, Serialize};

use crate::{ConnectInfo, Path, PeerAddress, PeerIdentity};

/// What kind of inbound peer it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PeerClass {
    /// It came straight, from this address.
    Direct {
        /// Its real address.
        from: IpAddr,
    },
    /// It came through a relay.
    Relayed {
        /// That relay.
        relay: PeerIdentity,
    },
}

impl PeerClass {
    /// The class of a peer that came in on such a connection.
    pub fn of(info: &ConnectInfo, path: &Path) -> Self {
        match path {
            Path::Relayed { relay, .. } => Self::Relayed { relay: relay.clone() },
            Path::Direct { .. } => {
                let literal = match &info.remote.address {
                    PeerAddress::Direct(address) => address.socket_addr(),
                    PeerAddress::Relayed(_) => None,
                };
                // An IPv4 address is the same one when it comes mapped into IPv6.
                Self::Direct { from: literal.unwrap_or(info.synthetic).ip().to_canonical() }
            }
        }
    }
}

/// An inbound peer that asks to stay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdmissionRequest {
    /// Its proven identity, if the transport proves one.
    pub peer: Option<PeerIdentity>,
    /// What kind of peer.
    pub class: PeerClass,
    /// Inbound peers here now, without this one.
    pub inbound: usize,
    /// Of these, those of the same class (same address, or same relay).
    pub same_class: usize,
}

/// Why a peer is not let in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RefuseReason {
    /// Too many inbound peers in all.
    TooManyInbound {
        /// The limit.
        limit: usize,
    },
    /// Too many from one address or one relay.
    TooManyOfOneKind {
        /// The limit.
        limit: usize,
    },
    /// The peer is banned.
    Banned,
}

impl fmt::Display for RefuseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RefuseReason::TooManyInbound { limit } => write!(f, "there are {limit} inbound peers already"),
            RefuseReason::TooManyOfOneKind { limit } => write!(f, "there are {limit} inbound peers from there already"),
            RefuseReason::Banned => f.write_str("the peer is banned"),
        }
    }
}

/// Whether a peer is let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It is.
    Accept,
    /// It is not.
    Refuse(RefuseReason),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Direction, RelayReason, Transport};

    #[test]
    fn a_class_is_the_real_address_or_the_relay() {
        let info = |remote: &str| ConnectInfo {
            peer: None,
            direction: Direction::Inbound,
            remote: remote.parse().unwrap(),
            synthetic: ([127, 64, 0, 1], 1024).into(),
        };
        let direct = Path::Direct { transport: Transport::Tcp };
        let from = |text: &str| PeerClass::Direct { from: text.parse().unwrap() };
        assert_eq!(PeerClass::of(&info("192.0.2.1:1"), &direct), from("192.0.2.1"));
        assert_eq!(PeerClass::of(&info("[::ffff:192.0.2.1]:1"), &direct), from("192.0.2.1"));
        assert_eq!(PeerClass::of(&info("/dns/a.example/tcp/1"), &direct), from("127.64.0.1"));
        let relay = PeerIdentity::from_bytes(&[0, 1, 7]).unwrap();
        let relayed = Path::Relayed { relay: relay.clone(), reason: RelayReason::Policy };
        assert_eq!(PeerClass::of(&info("192.0.2.1:1"), &relayed), PeerClass::Relayed { relay });
    }
}
