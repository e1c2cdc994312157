//! What labs are built from: namespaces, the bridge between them, and routers.

use std::{
    net::Ipv4Addr,
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context, Result};

use super::{NatKind, WireSpec, shell, tap, wire};

/// What counts as public here: ranges for documentation (RFC 5737) and for
/// benchmarks (RFC 2544), which nobody else uses, and one that programs take for
/// public which know those.
const PUBLIC_RANGES: [&str; 5] = ["192.0.1.0/24", "192.0.2.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24"];

/// A namespace in which programs run.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    pub(crate) namespace: String,
}

/// The namespaces of one lab, removed when it is dropped. Several labs can be in a
/// process.
#[derive(Debug)]
pub(super) struct Parts {
    number: u32,
    namespaces: Vec<String>,
    /// The namespace of the bridge that joins all public hosts and routers.
    pub(super) internet: String,
}

static LABS: AtomicU32 = AtomicU32::new(0);

impl Parts {
    pub(super) fn new() -> Result<Self> {
        let number = LABS.fetch_add(1, Ordering::Relaxed);
        if number == 0 {
            prepare_run().context("cannot prepare /run for named namespaces")?;
        }
        let mut parts = Self { number, namespaces: Vec::new(), internet: String::new() };
        parts.internet = parts.namespace("inet")?;
        bridge(&parts.internet, "br0", 1)?;
        Ok(parts)
    }

    pub(super) fn namespace(&mut self, role: &str) -> Result<String> {
        let name = format!("{role}-{}", self.number);
        shell::run(None, &format!("ip netns add {name}"))?;
        self.namespaces.push(name.clone());
        shell::run(Some(&name), "ip link set lo up")?;
        // Addresses of IPv6 are usable at once, without a look for duplicates. A kernel without
        // IPv6 has nothing to set.
        let _ = shell::run_with_input(Some(&name), "tee /proc/sys/net/ipv6/conf/default/accept_dad", "0");
        Ok(name)
    }

    /// A host on the bridge.
    pub(super) fn public(&mut self, role: &str, port: &str, ip: Ipv4Addr) -> Result<Host> {
        let namespace = self.namespace(role)?;
        veth(&self.internet, port, &namespace, "eth0")?;
        shell::run(Some(&self.internet), &format!("ip link set {port} master br0"))?;
        public_address(&namespace, "eth0", ip)?;
        Ok(Host { namespace })
    }

    /// A router with a wire to the bridge; its end is `wan`.
    pub(super) fn router(&mut self, role: &str, port: &str, spec: WireSpec) -> Result<String> {
        let router = self.namespace(role)?;
        if spec.is_plain() {
            veth(&self.internet, port, &router, "wan")?;
        } else {
            wire::connect(tap::create(&self.internet, port)?, tap::create(&router, "wan")?, spec)?;
            shell::run(Some(&self.internet), &format!("ip link set {port} up"))?;
            shell::run(Some(&router), "ip link set wan up")?;
        }
        shell::run(Some(&self.internet), &format!("ip link set {port} master br0"))?;
        Ok(router)
    }
}

impl Drop for Parts {
    fn drop(&mut self) {
        for namespace in &self.namespaces {
            let _ = shell::run(None, &format!("ip netns del {namespace}"));
        }
    }
}

/// `ip netns` keeps its names under /run/netns, which must be ours alone.
fn prepare_run() -> Result<()> {
    shell::run(None, "mount -t tmpfs tmpfs /run")?;
    shell::run(None, "ip link set lo up").map(drop)
}

/// A bridge without ports. Its own address is fixed: else it takes that of each port which has a
/// lower one, and who knows it by the former address sends to nobody for half a minute.
fn bridge(namespace: &str, name: &str, number: u8) -> Result<()> {
    // Nobody queries for multicast groups there, and IPv6 finds its neighbours by multicast.
    let link = format!("{name} address 02:00:00:00:00:0{number} type bridge mcast_snooping 0");
    shell::run(Some(namespace), &format!("ip link add {link}"))?;
    shell::run(Some(namespace), &format!("ip link set {name} up")).map(drop)
}

/// Joins hosts to a router's `lan`, with addresses of its /24: a wire for one, a bridge for
/// several.
pub(super) fn lan(router: &str, router_ip: Ipv4Addr, hosts: &[(&Host, Ipv4Addr)]) -> Result<()> {
    if let [(host, _)] = hosts {
        veth(router, "lan", &host.namespace, "eth0")?;
    } else {
        bridge(router, "lan", 2)?;
        for (index, (host, _)) in hosts.iter().enumerate() {
            veth(router, &format!("lan{index}"), &host.namespace, "eth0")?;
            shell::run(Some(router), &format!("ip link set lan{index} master lan"))?;
        }
    }
    shell::run(Some(router), &format!("ip addr add {router_ip}/24 dev lan"))?;
    for (host, ip) in hosts {
        private_address(&host.namespace, "eth0", *ip, router_ip)?;
    }
    Ok(())
}

/// Makes a namespace with the interfaces `wan` and `lan` a router with this NAT. The host is
/// the one to which a NAT forwards that forwards everything.
pub(super) fn translate(router: &str, kind: NatKind, host: Ipv4Addr) -> Result<()> {
    shell::run_with_input(Some(router), "tee /proc/sys/net/ipv4/ip_forward", "1")?;
    shell::run_with_input(Some(router), "nft -f -", &kind.rules(host))
        .map(drop)
        .with_context(|| format!("cannot set up the {kind} NAT: the kernel needs nf_tables with nat"))
}

/// Gives an interface on the bridge a public address; the ranges that it is not in are on the
/// same link.
pub(super) fn public_address(namespace: &str, interface: &str, ip: Ipv4Addr) -> Result<()> {
    shell::run(Some(namespace), &format!("ip addr add {ip}/24 dev {interface}"))?;
    let [a, b, c, _] = ip.octets();
    let own = format!("{a}.{b}.{c}.0/24");
    for range in PUBLIC_RANGES.iter().filter(|range| **range != own) {
        shell::run(Some(namespace), &format!("ip route add {range} dev {interface}"))?;
    }
    Ok(())
}

/// Gives an interface a private address, and its router.
pub(super) fn private_address(namespace: &str, interface: &str, ip: Ipv4Addr, router_ip: Ipv4Addr) -> Result<()> {
    shell::run(Some(namespace), &format!("ip addr add {ip}/24 dev {interface}"))?;
    shell::run(Some(namespace), &format!("ip route add default via {router_ip}")).map(drop)
}

/// A kernel wire between two namespaces, both ends up.
pub(super) fn veth(left: &str, left_name: &str, right: &str, right_name: &str) -> Result<()> {
    shell::run(Some(left), &format!("ip link add {left_name} type veth peer name {right_name} netns /run/netns/{right}"))?;
    shell::run(Some(left), &format!("ip link set {left_name} up"))?;
    shell::run(Some(right), &format!("ip link set {right_name} up"))?;
    Ok(())
}
