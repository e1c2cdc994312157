//! What kind of network an IP address belongs to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether an address can be reached across the Internet, so that it may be
/// announced, and dialled when a stranger names it.
///
/// This follows the IANA special-purpose registries (RFC 6890): private, shared,
/// loopback, link-local, multicast and reserved addresses are not public, nor is
/// any IPv6 address outside 2000::/3. Addresses that embed another address (6to4,
/// Teredo, NAT64, IPv4 mapped into IPv6) are not public either, whatever they
/// embed: a translator could lead them into a private network.
///
/// Test and documentation ranges do count as public: 192.0.2.0/24,
/// 198.51.100.0/24, 203.0.113.0/24, 198.18.0.0/15 and 2001:db8::/32. Nobody
/// answers there on the Internet, and the lab plays the Internet with them.
pub fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => is_public_v6(ip),
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    let shared = a == 100 && (64..128).contains(&b);
    // 192.0.0.0/24: protocol assignments. 192.88.99.0/24: the 6to4 relays' anycast.
    let assigned = (a, b, c) == (192, 0, 0) || (a, b, c) == (192, 88, 99);
    let reserved = a == 0 || a >= 240;
    !(ip.is_private() || ip.is_loopback() || ip.is_link_local() || ip.is_multicast() || shared || assigned || reserved)
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    let [a, b, ..] = ip.segments();
    let global_unicast = a & 0xe000 == 0x2000;
    // 2001::/23: protocol assignments, Teredo, benchmarks and ORCHIDs. 2002::/16: 6to4.
    let assigned = a == 0x2001 && b < 0x200;
    global_unicast && !assigned && a != 0x2002
}

/// Whether both addresses lie on one link, as far as the addresses show: the
/// same /64 of IPv6 (RFC 4291, section 2.5.1), the very same address of IPv4, whose
/// subnets have no fixed length.
pub fn same_link(one: IpAddr, other: IpAddr) -> bool {
    match (one.to_canonical(), other.to_canonical()) {
        (IpAddr::V6(one), IpAddr::V6(other)) => one.segments()[..4] == other.segments()[..4],
        (one, other) => one == other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn special_purpose_addresses_are_not_public() {
        for text in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.64.3.2",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.88.99.1",
            "192.168.1.1",
            "224.0.0.1",
            "239.255.255.250",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:203.0.113.7",
            "::ffff:10.0.0.1",
            "::7f00:1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:2::1",
            "2001:20::1",
            "2002:7f00:1::1",
            "2002:c0a8:101::1",
            "fc00::1",
            "fd00::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!is_public(ip(text)), "{text}");
        }
    }

    #[test]
    fn ordinary_and_test_addresses_are_public() {
        for text in [
            "1.1.1.1",
            "100.63.255.255",
            "100.128.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "192.0.2.1",
            "198.18.0.1",
            "198.19.255.1",
            "198.51.100.7",
            "203.0.113.7",
            "223.255.255.254",
            "2001:200::1",
            "2001:db8::1",
            "2606:4700::1",
            "2a01:4f8::1",
        ] {
            assert!(is_public(ip(text)), "{text}");
        }
    }

    #[test]
    fn a_link_is_a_64_of_ipv6_and_one_address_of_ipv4() {
        assert!(same_link(ip("2001:db8:1:2::3"), ip("2001:db8:1:2:ffff::")));
        assert!(!same_link(ip("2001:db8:1:2::3"), ip("2001:db8:1:3::3")));
        assert!(same_link(ip("198.51.100.1"), ip("::ffff:198.51.100.1")));
        assert!(!same_link(ip("198.51.100.1"), ip("198.51.100.2")));
        assert!(!same_link(ip("198.51.100.1"), ip("2001:db8::1")));
    }
}
