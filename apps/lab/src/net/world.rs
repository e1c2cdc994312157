//! A lab of any shape: public hosts, and homes of several kinds.
//!
//! ```text
//! host 192.168.1.2 -- router 198.18.1.11 ==wire== bridge -- public host 203.0.113.1, 3fff:1::1
//! host 192.168.2.2 -- router 100.64.2.2 -- carrier 198.18.2.11 ==wire== bridge
//! host 3fff:3:1::2 -- firewall 3fff:3::1 ==wire== bridge
//! ```
//!
//! IPv4 is as in the other lab: all public ranges are on one link. Of IPv6 the bridge is a
//! router, and every public host and every home has a /32 of its own, as if each had another provider.

use std::net::{Ipv4Addr, Ipv6Addr};

use anyhow::{Context, Result};

use super::{
    Host, NatKind, WireSpec,
    faults::{cut_forward, replace_table},
    parts::{self, Parts},
    shell,
};

/// The internet's router for IPv6, as its neighbours know it.
const GATEWAY: &str = "fe80::1";

/// A lab to which hosts are added.
pub(crate) struct World {
    parts: Parts,
    /// Public hosts and homes so far, each with a number of its own.
    built: u8,
}

/// Where private hosts are.
pub(crate) struct Home {
    pub(crate) hosts: Vec<Host>,
    /// The router that its hosts know.
    router: String,
}

impl World {
    pub(crate) fn new() -> Result<Self> {
        let parts = Parts::new()?;
        route_v6(&parts.internet)?;
        shell::run(Some(&parts.internet), &format!("ip addr add {GATEWAY}/64 dev br0 nodad"))?;
        Ok(Self { parts, built: 1 })
    }

    /// A host with public addresses of both families; that of IPv6.
    pub(crate) fn public(&mut self, ip: Ipv4Addr) -> Result<(Host, Ipv6Addr)> {
        let number = self.number();
        let host = self.parts.public(&format!("pub{number}"), &format!("pub{number}"), ip)?;
        let v6 = self.address_v6(&host.namespace, "eth0", number)?;
        Ok((host, v6))
    }

    /// So many hosts on one LAN behind a NAT.
    pub(crate) fn home(&mut self, nat: NatKind, wire: WireSpec, hosts: usize) -> Result<Home> {
        let number = self.number();
        let router = self.parts.router(&format!("router{number}"), &format!("wan{number}"), wire)?;
        parts::public_address(&router, "wan", wan_ip(number))?;
        let hosts = self.lan(&router, number, nat, hosts)?;
        Ok(Home { hosts, router })
    }

    /// A host behind two NATs of this kind in a row: its own, and its provider's.
    pub(crate) fn behind_carrier(&mut self, nat: NatKind, wire: WireSpec) -> Result<Home> {
        let number = self.number();
        let carrier = self.parts.router(&format!("carrier{number}"), &format!("wan{number}"), wire)?;
        let router = self.parts.namespace(&format!("router{number}"))?;
        parts::public_address(&carrier, "wan", wan_ip(number))?;
        // RFC 6598: shared address space.
        let [carrier_ip, router_ip] = [1, 2].map(|last| Ipv4Addr::new(100, 64, number, last));
        parts::veth(&carrier, "lan", &router, "wan")?;
        shell::run(Some(&carrier), &format!("ip addr add {carrier_ip}/24 dev lan"))?;
        parts::private_address(&router, "wan", router_ip, carrier_ip)?;
        parts::translate(&carrier, nat, router_ip)?;
        let hosts = self.lan(&router, number, nat, 1)?;
        Ok(Home { hosts, router })
    }

    /// A host with an address of IPv6 alone, behind a firewall that lets in what it has asked
    /// for.
    pub(crate) fn only_v6(&mut self, wire: WireSpec) -> Result<Home> {
        let number = self.number();
        let router = self.parts.router(&format!("router{number}"), &format!("wan{number}"), wire)?;
        let host = Host { namespace: self.parts.namespace(&format!("host{number}"))? };
        parts::veth(&router, "lan", &host.namespace, "eth0")?;
        route_v6(&router)?;
        let wan = self.address_v6(&router, "wan", number)?;
        let [router_ip, host_ip] = [1, 2].map(|last| prefix(number, 1, last));
        shell::run(Some(&router), &format!("ip addr add {router_ip}/64 dev lan nodad"))?;
        shell::run(Some(&host.namespace), &format!("ip addr add {host_ip}/64 dev eth0 nodad"))?;
        shell::run(Some(&host.namespace), &format!("ip -6 route add default via {router_ip}"))?;
        shell::run(Some(&self.parts.internet), &format!("ip -6 route add {}/64 via {wan} dev br0", prefix(number, 1, 0)))?;
        let firewall = "table ip6 lab {
                chain input { type filter hook input priority filter; policy accept;
                    iifname \"wan\" ct state new meta l4proto { tcp, udp } drop
                }
                chain forward { type filter hook forward priority filter; policy drop;
                    iifname \"lan\" accept
                    ct state established,related accept
                }
            }";
        shell::run_with_input(Some(&router), "nft -f -", firewall).context("cannot set up the firewall of IPv6")?;
        Ok(Home { hosts: vec![host], router })
    }

    fn number(&mut self) -> u8 {
        self.built += 1;
        self.built
    }

    fn lan(&mut self, router: &str, number: u8, nat: NatKind, hosts: usize) -> Result<Vec<Host>> {
        let names = (1..=hosts).map(|index| self.parts.namespace(&format!("host{number}-{index}")));
        let hosts: Vec<Host> = names.map(|name| Ok(Host { namespace: name? })).collect::<Result<_>>()?;
        let address = |last| Ipv4Addr::new(192, 168, number, last);
        let addressed: Vec<(&Host, Ipv4Addr)> = hosts.iter().zip((2..).map(address)).collect();
        parts::lan(router, address(1), &addressed)?;
        parts::translate(router, nat, address(2))?;
        Ok(hosts)
    }

    /// Gives an interface on the bridge the address of a /32, and the way to all others.
    fn address_v6(&self, namespace: &str, interface: &str, number: u8) -> Result<Ipv6Addr> {
        let ip = prefix(number, 0, 1);
        shell::run(Some(namespace), &format!("ip addr add {ip}/64 dev {interface} nodad"))?;
        shell::run(Some(namespace), &format!("ip -6 route add default via {GATEWAY} dev {interface}"))?;
        shell::run(Some(&self.parts.internet), &format!("ip -6 route add {}/64 dev br0", prefix(number, 0, 0)))?;
        Ok(ip)
    }
}

fn route_v6(namespace: &str) -> Result<()> {
    shell::run_with_input(Some(namespace), "tee /proc/sys/net/ipv6/conf/all/forwarding", "1")
        .map(drop)
        .context("the kernel needs IPv6")
}

impl Home {
    /// Drops all between the home and the internet, in silence.
    pub(crate) fn cut_wan(&self, cut: bool) -> Result<()> {
        // Where bridges are filtered too, the LAN's own frames pass this hook.
        let rules = if cut { "iifname \"wan\" drop\noifname \"wan\" drop\n" } else { "" };
        cut_forward(&self.router, rules)
    }
}

impl Host {
    /// Turns IPv6 off, as owners of machines do: no interface has an address of it any more.
    pub(crate) fn without_v6(&self) -> Result<()> {
        shell::run_with_input(Some(&self.namespace), "tee /proc/sys/net/ipv6/conf/all/disable_ipv6", "1").map(drop)
    }

    /// Whether a firewall drops what comes in over IPv4 and belongs to nothing that stands.
    pub(crate) fn refuse_strangers(&self, refuse: bool) -> Result<()> {
        let rule = if refuse { "iifname \"eth0\" ct state new meta l4proto { tcp, udp } drop" } else { "" };
        let chain = format!("chain input {{ type filter hook input priority filter; policy accept; {rule}\n}}");
        replace_table(&self.namespace, "strangers", &chain)
    }
}

/// Each home's in a /24 of its own, as far from each other as homes are.
fn wan_ip(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(198, 18, number, 11)
}

/// An address in the /32 with that number (documentation, RFC 9637).
fn prefix(number: u8, subnet: u16, last: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x3fff, u16::from(number), subnet, 0, 0, 0, 0, last)
}
