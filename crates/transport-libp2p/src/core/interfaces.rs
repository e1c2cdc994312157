//! What is known of this host's own addresses.

use std::net::IpAddr;

use kaspath_domain::{IpPrefix, Transport, TransportAddress, is_public, same_link};

/// IP addresses of one family that are offered to peers: one of each of two uplinks.
const MAX_PUBLIC: usize = 2;
/// Private addresses that are offered to a neighbour.
const MAX_LOCAL: usize = 4;

/// An address of ours, and how many bits of it its network has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Network {
    pub(crate) ip: IpAddr,
    pub(crate) length: u8,
}

impl Network {
    fn contains(&self, other: IpAddr) -> bool {
        // A link has a /64 of IPv6 (RFC 4291, section 2.5.1), also where the address came alone.
        let length = self.length.min(if self.ip.is_ipv6() { 64 } else { 32 });
        length > 0 && IpPrefix::new(self.ip, length).contains(other)
    }
}

/// The addresses of our interfaces.
#[derive(Clone, Debug, Default)]
pub(crate) struct Interfaces {
    /// Those that came last are last. None are known where the system does not say.
    pub(crate) networks: Vec<Network>,
    /// Where we listen on them.
    pub(crate) listening: Vec<TransportAddress>,
    /// What packets to the Internet leave from, as the system chooses: at most one of each family.
    pub(crate) sources: Vec<IpAddr>,
    /// Our routers.
    pub(crate) gateways: Vec<IpAddr>,
}

impl Interfaces {
    /// All addresses of ours.
    pub(crate) fn ips(&self) -> Vec<IpAddr> {
        let mut ips: Vec<IpAddr> = self.networks.iter().map(|network| network.ip).collect();
        for ip in self.listening.iter().filter_map(TransportAddress::ip) {
            if !ips.contains(&ip) {
                ips.push(ip);
            }
        }
        ips
    }

    /// Whether a dial there can leave this host: without a public address of IPv6, one to a
    /// public address of IPv6 cannot.
    pub(crate) fn can_reach(&self, there: IpAddr) -> bool {
        let has = |wanted: &dyn Fn(IpAddr) -> bool| {
            self.networks.is_empty()
                || self.networks.iter().any(|network| wanted(network.ip))
                || self.sources.iter().any(|source| source.is_ipv4() == there.is_ipv4())
        };
        match there {
            there if !is_public(there) => true,
            IpAddr::V4(_) => has(&|ip| matches!(ip, IpAddr::V4(ip) if !ip.is_loopback() && !ip.is_link_local())),
            IpAddr::V6(_) => has(&|ip| ip.is_ipv6() && is_public(ip)),
        }
    }

    /// Those of these addresses that can be reached, or all if none can: the dial's error says why.
    pub(crate) fn reachable(&self, addresses: Vec<TransportAddress>) -> Vec<TransportAddress> {
        let can_reach = |address: &TransportAddress| address.ip().is_none_or(|ip| self.can_reach(ip));
        if addresses.iter().any(can_reach) { addresses.into_iter().filter(can_reach).collect() } else { addresses }
    }

    /// Whether an address lies in a network of ours and is neither ours nor our router's.
    pub(crate) fn is_neighbour(&self, other: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(other))
            && !self.networks.iter().any(|network| network.ip == other)
            && !self.gateways.contains(&other)
    }

    /// Our public addresses at which we listen: a firewall that keeps state is punched like a
    /// NAT. Of several on one link the one that packets leave from, or the newest.
    pub(crate) fn public(&self) -> Vec<TransportAddress> {
        let mut hosts: Vec<IpAddr> = Vec::new();
        for ip in self.preferred().filter(|ip| is_public(*ip)) {
            let of_family = hosts.iter().filter(|host| host.is_ipv4() == ip.is_ipv4()).count();
            if of_family < MAX_PUBLIC && !hosts.iter().any(|host| same_link(*host, ip)) {
                hosts.push(ip);
            }
        }
        self.listening_at(hosts)
    }

    /// Our private addresses at which we listen over one of these transports.
    pub(crate) fn local(&self, over: impl Fn(Transport) -> bool) -> Vec<TransportAddress> {
        let mut local = self.listening_at(self.preferred().filter(|ip| is_local(*ip)).collect());
        local.retain(|address| over(address.transport));
        local.truncate(MAX_LOCAL);
        local
    }

    /// Our addresses, those that packets leave from first, then the newest first.
    fn preferred(&self) -> impl Iterator<Item = IpAddr> {
        let newest_first = self.networks.iter().rev().map(|network| network.ip);
        let listening = self.listening.iter().filter_map(TransportAddress::ip);
        self.sources.iter().copied().chain(newest_first).chain(listening)
    }

    fn listening_at(&self, hosts: Vec<IpAddr>) -> Vec<TransportAddress> {
        let mut found: Vec<TransportAddress> = Vec::new();
        for host in hosts {
            for address in self.listening.iter().filter(|address| address.ip() == Some(host)) {
                if !found.contains(address) {
                    found.push(address.clone());
                }
            }
        }
        found
    }
}

/// Whether it is a public address that lies on no link of ours.
pub(crate) fn is_elsewhere(ip: IpAddr, own: &[IpAddr]) -> bool {
    is_public(ip) && !own.iter().any(|own| same_link(*own, ip))
}

/// An address of a private network, or of a carrier's behind its NAT.
pub(super) fn is_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_private() || matches!(ip.octets(), [100, 64..128, ..]),
        IpAddr::V6(ip) => ip.is_unique_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::tests::address;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn interfaces(networks: &[&str], listening: &[&str], sources: &[&str]) -> Interfaces {
        let network = |text: &&str| {
            let (address, length) = text.split_once('/').unwrap();
            Network { ip: ip(address), length: length.parse().unwrap() }
        };
        Interfaces {
            networks: networks.iter().map(network).collect(),
            listening: listening.iter().map(|text| address(text)).collect(),
            sources: sources.iter().map(|text| ip(text)).collect(),
            gateways: vec![ip("192.168.1.1")],
        }
    }

    #[test]
    fn a_neighbour_is_in_a_network_of_ours_and_is_not_we_nor_our_router() {
        let here = interfaces(&["192.168.1.2/24", "10.0.0.1/32", "2001:db8:1:2::3/64", "100.64.0.5/10"], &[], &[]);
        for (other, expected) in [
            ("192.168.1.3", true),
            ("192.168.1.2", false),
            ("192.168.1.1", false),
            ("192.168.2.3", false),
            ("10.0.0.2", false),
            ("100.127.0.1", true),
            ("2001:db8:1:2::4", true),
            ("2001:db8:1:3::4", false),
            ("198.51.100.1", false),
        ] {
            assert_eq!(here.is_neighbour(ip(other)), expected, "{other}");
        }
        assert!(!Interfaces::default().is_neighbour(ip("192.168.1.3")), "nothing is known");
    }

    #[test]
    fn a_family_that_this_host_lacks_is_not_dialled() {
        let v4 = interfaces(&["192.168.1.2/24", "fd00::2/64", "fe80::1/64", "::1/128"], &[], &["192.168.1.2"]);
        let v6 = interfaces(&["2001:db8::1/64", "127.0.0.1/8"], &[], &[]);
        let both = ["/ip6/2001:db8:9::1/tcp/1", "/ip4/203.0.113.1/tcp/1"].map(address).to_vec();
        assert_eq!(v4.reachable(both.clone()), both[1..]);
        assert_eq!(v6.reachable(both.clone()), both[..1]);
        assert_eq!(Interfaces::default().reachable(both.clone()), both);
        assert_eq!(v6.reachable(both[1..].to_vec()), both[1..], "the dial says why it fails");
        assert!(v6.can_reach(ip("127.0.0.1")));
        let translated = Interfaces { sources: vec![ip("fd00::2")], ..v4 };
        assert_eq!(translated.reachable(both.clone()), both, "a router translates it");
    }

    #[test]
    fn public_addresses_are_one_a_link_the_one_that_packets_leave_from() {
        let listening =
            ["2001:db8:1::1", "2001:db8:1::2", "2001:db8:2::1", "2001:db8:3::1", "fd00::1"].map(|ip| format!("/ip6/{ip}/tcp/7"));
        let listening: Vec<&str> = listening.iter().map(String::as_str).collect();
        let networks = ["2001:db8:1::1/64", "2001:db8:1::2/64", "2001:db8:2::1/64", "2001:db8:3::1/64", "fd00::1/64"];
        let here = interfaces(&networks, &listening, &["2001:db8:1::1"]);
        assert_eq!(here.public(), ["/ip6/2001:db8:1::1/tcp/7", "/ip6/2001:db8:3::1/tcp/7"].map(address));
        let here = interfaces(&networks[..2], &listening, &[]);
        assert_eq!(here.public()[0], address("/ip6/2001:db8:1::2/tcp/7"), "the newest");
        assert_eq!(here.local(|_| true), [address("/ip6/fd00::1/tcp/7")]);
    }

    #[test]
    fn few_private_addresses_are_offered_and_none_that_only_this_host_has() {
        let ips = ["127.0.0.1", "169.254.1.1", "172.17.0.1", "10.1.0.1", "10.2.0.1", "192.168.1.2", "203.0.113.9"];
        let networks = ips.map(|ip| format!("{ip}/24"));
        let listening: Vec<String> =
            ips.iter().flat_map(|ip| [format!("/ip4/{ip}/tcp/7"), format!("/ip4/{ip}/udp/7/quic-v1")]).collect();
        let networks: Vec<&str> = networks.iter().map(String::as_str).collect();
        let listening: Vec<&str> = listening.iter().map(String::as_str).collect();
        let here = interfaces(&networks, &listening, &["10.1.0.1"]);
        let all = here.local(|_| true);
        assert_eq!(all.len(), MAX_LOCAL);
        assert_eq!(all[..3], ["/ip4/10.1.0.1/tcp/7", "/ip4/10.1.0.1/udp/7/quic-v1", "/ip4/192.168.1.2/tcp/7"].map(address));
        let tcp = here.local(|over| over == Transport::Tcp);
        assert_eq!(tcp.len(), MAX_LOCAL);
        assert!(tcp.iter().all(|address| address.transport == Transport::Tcp));
    }
}
