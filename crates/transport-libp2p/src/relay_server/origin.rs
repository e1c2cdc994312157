//! Where a connection comes from, as caps count it.

use std::net::{IpAddr, Ipv4Addr};

use kaspath_domain::{IpPrefix, TransportAddress};
use libp2p::Multiaddr;

use crate::convert;

/// A host and its network: see [`IpPrefix`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Origin {
    pub(super) ip: IpAddr,
    pub(super) host: IpPrefix,
    pub(super) prefix: IpPrefix,
}

impl Origin {
    pub(super) fn of(ip: IpAddr) -> Self {
        Self { ip, host: IpPrefix::host(ip), prefix: IpPrefix::network(ip) }
    }

    /// Of a connection's remote address. All without an IP address count as one.
    pub(super) fn of_address(address: &Multiaddr) -> Self {
        Self::of(convert::ip(address).unwrap_or(Ipv4Addr::UNSPECIFIED.into()))
    }

    /// Whether the address has the very IP address that the connection comes from.
    pub(super) fn is_of(&self, address: &TransportAddress) -> bool {
        address.canonical_ip() == Some(self.ip.to_canonical())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_and_its_block_are_what_one_owner_has() {
        let of = |text: &str| {
            let origin = Origin::of_address(&text.parse().unwrap());
            (origin.host.to_string(), origin.prefix.to_string())
        };
        let pair = |host: &str, prefix: &str| (host.to_owned(), prefix.to_owned());
        assert_eq!(of("/ip4/192.0.2.7/tcp/1"), pair("192.0.2.7", "192.0.2.0/24"));
        assert_eq!(of("/ip6/::ffff:192.0.2.7/udp/1/quic-v1"), pair("192.0.2.7", "192.0.2.0/24"));
        assert_eq!(of("/ip6/2001:db8:1:2:3::4/tcp/1"), pair("2001:db8:1:2::/64", "2001:db8:1::/48"));
        assert_eq!(of("/memory/1"), pair("0.0.0.0", "0.0.0.0/24"));
    }
}
