//! Where hosts are: their addresses, their LANs, and what their NATs do to packets.

use std::net::IpAddr;

use kaspath_domain::{Host as AddressHost, Transport, TransportAddress, is_public};

use super::world::World;
use crate::core::{Interfaces, Network};

/// How the NAT of a host maps and filters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Nat {
    FullCone,
    /// Lets in what comes from where something was sent to.
    PortRestricted,
    /// The same, and each destination sees another port.
    Symmetric,
}

/// What addresses a host has.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Site {
    /// The LAN that it is in, behind one NAT with the others there.
    pub(super) lan: Option<u8>,
    /// It has no dealings with its LAN.
    pub(super) no_lan: bool,
    pub(super) no_ipv4: bool,
    /// Filtered like IPv4, but not translated.
    pub(super) ipv6: bool,
}

impl Site {
    pub(super) fn has(self, is_ipv6: bool) -> bool {
        if is_ipv6 { self.ipv6 } else { !self.no_ipv4 }
    }

    fn local_ip(self, host: usize) -> Option<IpAddr> {
        self.lan.map(|_| IpAddr::from([192, 168, 1, host as u8 + 2]))
    }
}

pub(super) fn parts(address: &TransportAddress) -> (IpAddr, u16) {
    let socket = address.socket_addr().expect("a literal");
    (socket.ip(), socket.port())
}

impl World {
    /// What a host is seen as by hosts of that family: through the NAT of its LAN, if it is in one.
    pub(super) fn ip(&self, host: usize, is_ipv6: bool) -> IpAddr {
        let number = self.hosts[host].site.lan.map_or(host as u8 + 1, |lan| 200 + lan);
        if is_ipv6 { IpAddr::from([0x2001, 0xdb8, number.into(), 0, 0, 0, 0, 1]) } else { IpAddr::from([198, 51, 100, number]) }
    }

    /// What it is seen as at `to`.
    pub(super) fn seen_at(&self, host: usize, to: IpAddr) -> IpAddr {
        match self.hosts[host].site.local_ip(host) {
            Some(local) if !is_public(to) => local,
            _ => self.ip(host, to.is_ipv6()),
        }
    }

    /// Where it listens. Hosts in one LAN differ in it, for their NAT's sake.
    pub(super) fn port(&self, host: usize) -> u16 {
        4001 + if self.hosts[host].site.lan.is_some() { host as u16 } else { 0 }
    }

    /// The port at which `to` sees packets of a host, from its listening port or a new one.
    pub(super) fn mapped(&self, host: usize, is_new: bool, to: (IpAddr, u16)) -> u16 {
        let (first, last) = match to.0 {
            IpAddr::V4(ip) => (u16::from(ip.octets()[0]), u16::from(ip.octets()[3])),
            IpAddr::V6(ip) => (ip.segments()[2], ip.segments()[7]),
        };
        // Nobody translates IPv6, nor what stays in a LAN.
        let is_translated = to.0.is_ipv4() && is_public(to.0);
        match (self.hosts[host].nat, is_new) {
            (Nat::Symmetric, _) if is_translated => 10_000 + ((first + last) * 97 + to.1 % 1000 * 7) % 20_000 + u16::from(is_new),
            (_, true) => 40_000 + last,
            (_, false) => self.port(host),
        }
    }

    pub(super) fn address_of(&self, host: usize, transport: Transport) -> TransportAddress {
        let is_ipv6 = !self.hosts[host].site.has(false);
        TransportAddress { transport, host: AddressHost::Ip(self.ip(host, is_ipv6)), port: self.port(host) }
    }

    /// What the host knows of its own addresses. It does not hear of those of IPv4 that are its NAT's.
    pub(super) fn interfaces_of(&self, host: usize) -> Interfaces {
        let site = self.hosts[host].site;
        let local = site.local_ip(host).unwrap_or(IpAddr::from([10, 0, 0, 2]));
        let ips = site.has(false).then_some(local).into_iter().chain(site.has(true).then(|| self.ip(host, true)));
        let networks: Vec<Network> = ips.map(|ip| Network { ip, length: if ip.is_ipv4() { 24 } else { 64 } }).collect();
        let at = |ip| {
            [Transport::Tcp, Transport::Quic].map(|transport| TransportAddress {
                transport,
                host: AddressHost::Ip(ip),
                port: self.port(host),
            })
        };
        let listening = networks.iter().flat_map(|network| at(network.ip)).collect();
        Interfaces { networks, listening, ..Interfaces::default() }
    }

    pub(super) fn passes(&self, host: usize, over: Transport, port: u16, from: (IpAddr, u16)) -> bool {
        let asked = self.hosts[host].opened.contains(&(over, port, from.0, from.1));
        match self.hosts[host].nat {
            Nat::FullCone => port == self.port(host) || asked,
            Nat::PortRestricted | Nat::Symmetric => asked,
        }
    }

    /// Who gets what `from` sends there. No NAT leads back inside.
    pub(super) fn host_at(&self, from: usize, (ip, port): (IpAddr, u16)) -> Option<usize> {
        let lan = self.hosts[from].site.lan;
        let is_there = |host: &usize| {
            let site = self.hosts[*host].site;
            let (is_near, is_one) = (lan.is_some() && site.lan == lan, site.lan.is_none() || port == self.port(*host));
            match is_public(ip) {
                true => !is_near && is_one && site.has(ip.is_ipv6()) && self.ip(*host, ip.is_ipv6()) == ip,
                false => is_near && site.local_ip(*host) == Some(ip),
            }
        };
        let can_send = self.hosts[from].site.has(ip.is_ipv6());
        (0..self.hosts.len()).filter(|_| can_send).find(is_there)
    }
}
