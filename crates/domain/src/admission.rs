//! Which peers to let in.

use std::{fmt, net::IpAddr};

use serde::{Deserialize, Serialize};

use crate::{ConnectInfo, IpPrefix, Path, PeerIdentity};

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
                let literal = info.remote.address.direct_ip();
                Self::Direct { from: literal.unwrap_or_else(|| info.synthetic.ip().to_canonical()) }
            }
        }
    }
}

/// Where peers come from, as far as one owner can make any number of them there:
/// identities are free, address prefixes and relays are not.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PeerGroup {
    /// Peers whose own address lies in this provider's block ([`IpPrefix::provider_block`]).
    Prefix(IpPrefix),
    /// Peers that came through this relay, wherever they are.
    Relay(PeerIdentity),
}

impl PeerGroup {
    /// The group of peers of that class.
    pub fn of(class: &PeerClass) -> Self {
        match class {
            PeerClass::Direct { from } => Self::Prefix(IpPrefix::provider_block(*from)),
            PeerClass::Relayed { relay } => Self::Relay(relay.clone()),
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
    /// Of these, those of the same group (same prefix, or same relay).
    pub same_group: usize,
}

impl AdmissionRequest {
    /// A request, counted beside the inbound peers that are here now.
    pub fn beside<'a>(peer: Option<PeerIdentity>, class: PeerClass, here: impl IntoIterator<Item = &'a PeerClass>) -> Self {
        let group = PeerGroup::of(&class);
        let mut request = Self { peer, class, inbound: 0, same_class: 0, same_group: 0 };
        for other in here {
            request.inbound += 1;
            request.same_class += usize::from(*other == request.class);
            request.same_group += usize::from(PeerGroup::of(other) == group);
        }
        request
    }
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
    /// Too many from one address.
    TooManyFromAddress {
        /// The limit.
        limit: usize,
    },
    /// Too many from one prefix of addresses.
    TooManyFromPrefix {
        /// The limit.
        limit: usize,
    },
    /// Too many through one relay.
    TooManyThroughRelay {
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
            RefuseReason::TooManyFromAddress { limit } => write!(f, "there are {limit} inbound peers from its address already"),
            RefuseReason::TooManyFromPrefix { limit } => {
                write!(f, "there are {limit} inbound peers from its address prefix (/16 or /32) already")
            }
            RefuseReason::TooManyThroughRelay { limit } => write!(f, "there are {limit} inbound peers through its relay already"),
            RefuseReason::Banned => f.write_str("the peer is banned"),
        }
    }
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

    #[test]
    fn peers_are_counted_by_class_and_by_prefix() {
        let direct = |text: &str| PeerClass::Direct { from: text.parse().unwrap() };
        let relayed = PeerClass::Relayed { relay: PeerIdentity::from_bytes(&[0, 1, 7]).unwrap() };
        let here = [direct("192.0.2.1"), direct("192.0.77.1"), direct("192.0.2.1"), direct("198.51.100.1"), relayed.clone()];
        let asked = AdmissionRequest::beside(None, direct("192.0.2.1"), &here);
        assert_eq!((asked.inbound, asked.same_class, asked.same_group), (5, 2, 3));
        let asked = AdmissionRequest::beside(None, relayed, &here);
        assert_eq!((asked.inbound, asked.same_class, asked.same_group), (5, 1, 1));
    }

    #[test]
    fn a_group_is_a_prefix_or_a_relay() {
        let direct = |ip: &str| PeerGroup::of(&PeerClass::Direct { from: ip.parse().unwrap() });
        let relayed = |n: u8| PeerGroup::of(&PeerClass::Relayed { relay: PeerIdentity::from_bytes(&[0, 1, n]).unwrap() });
        assert_eq!(direct("192.0.2.1"), direct("192.0.77.1"));
        assert_ne!(direct("192.0.2.1"), direct("192.1.2.1"));
        assert_eq!(direct("2001:db8:1::1"), direct("2001:db8:2::1"), "two /48s of one provider");
        assert_ne!(direct("2001:db8:1::1"), direct("3fff:1::1"));
        assert_eq!(relayed(1), relayed(1));
        assert_ne!(relayed(1), relayed(2));
    }
}
