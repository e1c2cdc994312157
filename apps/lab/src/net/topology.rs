//! The lab's internet, its relay, and two sites behind NATs.
//!
//! ```text
//! host-a 192.168.1.2 -- nat-a 203.0.113.11 ==wire== bridge ==wire== nat-b 203.0.113.12 -- host-b 192.168.2.2
//!                                                     |
//!                                             relay 203.0.113.1
//! ```
//!
//! The bridge carries every public range of the lab: each host has an address in
//! its own /24 and reaches the other ranges on the same link, without a router.

use std::net::Ipv4Addr;

use anyhow::{Context, Result};

use super::{
    Host, NatKind, WireSpec,
    parts::{self, Parts},
    shell,
};

/// The relay's address, of a range reserved for documentation (RFC 5737).
pub(crate) const RELAY_IP: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);

/// A site to be built.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SiteSpec {
    pub(crate) nat: NatKind,
    pub(crate) wire: WireSpec,
    pub(crate) wan: WanRange,
}

/// Where a site's public address is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WanRange {
    /// 203.0.113.0/24, of documentation. miniupnpd and kaspad know that, and map no port.
    Documentation,
    /// 192.0.1.0/24, for routers that map ports.
    Mappable,
}

impl WanRange {
    fn address(self, last: u8) -> Ipv4Addr {
        match self {
            Self::Documentation => Ipv4Addr::new(203, 0, 113, last),
            Self::Mappable => Ipv4Addr::new(192, 0, 1, last),
        }
    }
}

/// A private host and the NAT before it.
#[derive(Clone, Debug)]
pub(crate) struct Site {
    pub(crate) host: Host,
    /// Where the internet sees it.
    pub(crate) wan_ip: Ipv4Addr,
    pub(super) host_ip: Ipv4Addr,
    pub(super) nat: String,
}

/// One lab. Several can follow one another in a process; each has its own
/// namespaces, removed when it is dropped.
#[derive(Debug)]
pub(crate) struct Lab {
    pub(crate) relay: Host,
    pub(crate) sites: [Site; 2],
    /// The number of the interface that each site's host has now.
    pub(super) interfaces: [u32; 2],
    /// Reboots of NATs so far, each with other ports.
    pub(super) reboots: u16,
    parts: Parts,
}

impl Lab {
    pub(crate) fn build([first, second]: [SiteSpec; 2]) -> Result<Lab> {
        let mut parts = Parts::new()?;
        let relay = parts.public("relay", "relay0", RELAY_IP)?;
        let sites = [site(&mut parts, 1, first)?, site(&mut parts, 2, second)?];
        Ok(Lab { relay, sites, interfaces: [0; 2], reboots: 0, parts })
    }

    /// One more host on the lab's internet, with a public address in a /24 of its
    /// own or of others, and no delay.
    pub(crate) fn add_public(&mut self, ip: Ipv4Addr) -> Result<Host> {
        // Interface names have at most 15 characters.
        let name = format!("{:x}", u32::from(ip));
        self.parts.public(&format!("pub-{name}"), &format!("pub{name}"), ip)
    }

    /// Lets a host send from every address of a range, and get what is sent there,
    /// as one that forges its source addresses. `others` learn the way; a route to
    /// one neighbour keeps the kernel's neighbour table small.
    pub(crate) fn own_range(&self, host: &Host, ip: Ipv4Addr, range: &str, others: &[&Host]) -> Result<()> {
        shell::run(Some(&host.namespace), &format!("ip route add local {range} dev lo"))?;
        for other in others {
            shell::run(Some(&other.namespace), &format!("ip route add {range} via {ip} dev eth0 onlink"))?;
        }
        Ok(())
    }

    /// Gives the relay's host one more public address, or takes it away again.
    pub(crate) fn set_relay_address(&self, ip: Ipv4Addr, present: bool) -> Result<()> {
        let what = if present { "add" } else { "del" };
        shell::run(Some(&self.relay.namespace), &format!("ip addr {what} {ip}/24 dev eth0")).map(drop)
    }

    /// Gives the relay's host a second interface with a private address.
    pub(crate) fn add_relay_lan(&self, ip: Ipv4Addr) -> Result<()> {
        let relay = Some(self.relay.namespace.as_str());
        // Not every kernel has dummy interfaces; a wire whose other end is idle will do.
        shell::run(relay, "ip link add lan type veth peer name lan-end")?;
        shell::run(relay, "ip link set lan-end up")?;
        shell::run(relay, &format!("ip addr add {ip}/24 dev lan"))?;
        shell::run(relay, "ip link set lan up").map(drop)
    }

    /// Bytes that the relay's interface has moved so far, both ways, by the kernel's count.
    pub(crate) fn relay_bytes(&self) -> Result<u64> {
        let text = shell::run(Some(&self.relay.namespace), "cat /proc/net/dev")?;
        let line = text.lines().find_map(|line| line.trim().strip_prefix("eth0:")).context("no eth0 at the relay")?;
        let fields: Vec<u64> = line.split_whitespace().map(|field| field.parse().unwrap_or(0)).collect();
        Ok(fields.first().unwrap_or(&0) + fields.get(8).unwrap_or(&0))
    }

    /// Replaces a site's NAT; mappings that stand are kept, as by a router whose
    /// settings change.
    pub(crate) fn change_nat(&self, site: usize, kind: NatKind) -> Result<()> {
        let site = &self.sites[site];
        let rules = format!("flush ruleset\n{}", kind.rules(site.host_ip));
        shell::run_with_input(Some(&site.nat), "nft -f -", &rules).map(drop)
    }

    /// Pulls the relay's plug.
    pub(crate) fn unplug_relay(&self) -> Result<()> {
        shell::run(Some(&self.relay.namespace), "ip link set eth0 down").map(drop)
    }
}

fn site(parts: &mut Parts, index: u8, spec: SiteSpec) -> Result<Site> {
    let letter = char::from(b'a' + index - 1);
    let nat = parts.router(&format!("nat-{letter}"), &format!("site{index}"), spec.wire)?;
    let host = Host { namespace: parts.namespace(&format!("host-{letter}"))? };
    let wan_ip = spec.wan.address(10 + index);
    let [router_ip, host_ip] = [1, 2].map(|last| Ipv4Addr::new(192, 168, index, last));
    parts::public_address(&nat, "wan", wan_ip)?;
    parts::lan(&nat, router_ip, &[(&host, host_ip)])?;
    parts::translate(&nat, spec.nat, host_ip)?;
    Ok(Site { host, wan_ip, host_ip, nat })
}
