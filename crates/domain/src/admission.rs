//! Which peers to let in.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use serde::{Deserialize, Serialize};
use thiserror::Error;

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

/// Addresses that most likely belong to one owner. Identities are free, addresses of
/// many prefixes are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IpPrefix {
    base: IpAddr,
    bits: u8,
}

impl IpPrefix {
    /// A provider's block: a /16 of IPv4 or a /48 of IPv6. An address that is mapped
    /// into IPv6 counts as IPv4, here and below.
    pub fn provider_block(address: IpAddr) -> Self {
        Self::cut(address, 16, 48)
    }

    /// A customer's network: a /24 of IPv4 or a /48 of IPv6.
    pub fn network(address: IpAddr) -> Self {
        Self::cut(address, 24, 48)
    }

    /// One host: an address of IPv4, or a /64 of IPv6, where each host can have as
    /// many addresses as it likes.
    pub fn host(address: IpAddr) -> Self {
        Self::cut(address, 32, 64)
    }

    /// Whether the address lies in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        Self::cut(address, self.bits, self.bits) == *self
    }

    /// With more bits than an address has, all of them.
    fn cut(address: IpAddr, v4: u8, v6: u8) -> Self {
        match address.to_canonical() {
            IpAddr::V4(ip) => {
                let bits = v4.min(32);
                let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
                Self { base: Ipv4Addr::from_bits(ip.to_bits() & mask).into(), bits }
            }
            IpAddr::V6(ip) => {
                let bits = v6.min(128);
                let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
                Self { base: Ipv6Addr::from_bits(ip.to_bits() & mask).into(), bits }
            }
        }
    }
}

/// `192.0.2.0/24`, `2001:db8::/32`, or an address alone. What follows the prefix is cut off.
impl FromStr for IpPrefix {
    type Err = IpPrefixError;

    fn from_str(text: &str) -> Result<Self, IpPrefixError> {
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.parse().map_err(|_| IpPrefixError)?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(longest), |bits| bits.parse::<u8>().map_err(|_| IpPrefixError))?;
        if bits > longest || address != address.to_canonical() {
            return Err(IpPrefixError);
        }
        Ok(Self::cut(address, bits, bits))
    }
}

/// A text that is no [`IpPrefix`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("not an IP address or prefix, like 192.0.2.7, 192.0.2.0/24 or 2001:db8::/32")]
pub struct IpPrefixError;

impl fmt::Display for IpPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.base, self.bits) {
            (IpAddr::V4(ip), 32) => write!(f, "{ip}"),
            (base, bits) => write!(f, "{base}/{bits}"),
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
                write!(f, "there are {limit} inbound peers from its address prefix (/16 or /48) already")
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
    fn a_prefix_is_read_as_it_is_printed_and_knows_its_addresses() {
        for text in ["192.0.2.0/24", "192.0.2.7", "2001:db8::/32", "2001:db8::1/128", "0.0.0.0/0", "::/0"] {
            assert_eq!(text.parse::<IpPrefix>().unwrap().to_string(), text);
        }
        let prefix = |text: &str| text.parse::<IpPrefix>().unwrap();
        assert_eq!(prefix("192.0.2.77/24"), prefix("192.0.2.0/24"));
        let within = |text: &str, ip: &str| prefix(text).contains(ip.parse().unwrap());
        assert!(within("192.0.2.0/24", "192.0.2.255") && within("192.0.2.0/24", "::ffff:192.0.2.1"));
        assert!(within("2001:db8::1", "2001:db8::1") && !within("2001:db8::1", "2001:db8::2"));
        assert!(!within("192.0.2.0/24", "192.0.3.1") && !within("0.0.0.0/0", "2001:db8::1") && !within("::/0", "192.0.2.1"));
        for text in ["", "192.0.2.0/33", "2001:db8::/129", "192.0.2.0/", "a.example", "::ffff:192.0.2.1/24", "192.0.2.0/-1"] {
            assert_eq!(text.parse::<IpPrefix>(), Err(IpPrefixError), "{text}");
        }
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
    fn a_prefix_is_what_one_owner_has() {
        let prefix = |text: &str| IpPrefix::provider_block(text.parse().unwrap()).to_string();
        assert_eq!(prefix("192.0.2.1"), "192.0.0.0/16");
        assert_eq!(prefix("::ffff:192.0.2.1"), "192.0.0.0/16");
        assert_eq!(prefix("2001:db8:1:2::3"), "2001:db8:1::/48");
        let network = |text: &str| IpPrefix::network(text.parse().unwrap()).to_string();
        assert_eq!((network("192.0.2.1"), network("2001:db8:1:2::3")), ("192.0.2.0/24".into(), "2001:db8:1::/48".into()));
        let host = |text: &str| IpPrefix::host(text.parse().unwrap()).to_string();
        assert_eq!((host("::ffff:192.0.2.1"), host("2001:db8:1:2::3")), ("192.0.2.1".into(), "2001:db8:1:2::/64".into()));
    }

    #[test]
    fn a_group_is_a_prefix_or_a_relay() {
        let direct = |ip: &str| PeerGroup::of(&PeerClass::Direct { from: ip.parse().unwrap() });
        let relayed = |n: u8| PeerGroup::of(&PeerClass::Relayed { relay: PeerIdentity::from_bytes(&[0, 1, n]).unwrap() });
        assert_eq!(direct("192.0.2.1"), direct("192.0.77.1"));
        assert_ne!(direct("192.0.2.1"), direct("192.1.2.1"));
        assert_eq!(relayed(1), relayed(1));
        assert_ne!(relayed(1), relayed(2));
    }
}
