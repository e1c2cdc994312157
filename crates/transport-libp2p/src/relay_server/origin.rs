//! Where a connection comes from, as caps count it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use libp2p::{Multiaddr, multiaddr::Protocol};

/// An address and the block around it. Identities are free, addresses are not: one
/// host has a /64 of IPv6, and one owner a /48, or a /24 of IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Origin {
    /// The IPv4 address, or the /64.
    pub(super) host: IpAddr,
    /// The /24 or the /48.
    pub(super) prefix: IpAddr,
}

impl Origin {
    /// One that is mapped into IPv6 counts as IPv4.
    pub(super) fn of(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(ip) => {
                let [a, b, c, _] = ip.octets();
                Self { host: ip.into(), prefix: Ipv4Addr::new(a, b, c, 0).into() }
            }
            IpAddr::V6(ip) => {
                let [a, b, c, d, ..] = ip.segments();
                let host = Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0);
                Self { host: host.into(), prefix: Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0).into() }
            }
        }
    }

    /// Of a connection's remote address. What has no IP address shares one place.
    pub(super) fn of_address(address: &Multiaddr) -> Self {
        let ip = address.iter().find_map(|part| match part {
            Protocol::Ip4(ip) => Some(IpAddr::from(ip)),
            Protocol::Ip6(ip) => Some(IpAddr::from(ip)),
            _ => None,
        });
        Self::of(ip.unwrap_or(Ipv4Addr::UNSPECIFIED.into()))
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
        assert_eq!(of("/ip4/192.0.2.7/tcp/1"), pair("192.0.2.7", "192.0.2.0"));
        assert_eq!(of("/ip6/::ffff:192.0.2.7/udp/1/quic-v1"), pair("192.0.2.7", "192.0.2.0"));
        assert_eq!(of("/ip6/2001:db8:1:2:3::4/tcp/1"), pair("2001:db8:1:2::", "2001:db8:1::"));
        assert_eq!(of("/memory/1"), pair("0.0.0.0", "0.0.0.0"));
    }
}
