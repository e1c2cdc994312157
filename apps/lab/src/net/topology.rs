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

use std::{
    net::Ipv4Addr,
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context, Result};

use super::{NatKind, WireSpec, shell, tap, wire};

/// The relay's address, of a range reserved for documentation (RFC 5737).
pub(crate) const RELAY_IP: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
/// What counts as public here: ranges for documentation (RFC 5737) and for
/// benchmarks (RFC 2544), which nobody else uses.
const PUBLIC_RANGES: [&str; 4] = ["192.0.2.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24"];

/// A site to be built.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SiteSpec {
    pub(crate) nat: NatKind,
    pub(crate) wire: WireSpec,
}

/// A namespace in which programs run.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    pub(crate) namespace: String,
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
    number: u32,
    internet: String,
    namespaces: Vec<String>,
}

static LABS: AtomicU32 = AtomicU32::new(0);

impl Lab {
    pub(crate) fn build(specs: [SiteSpec; 2]) -> Result<Lab> {
        prepare_run().context("cannot prepare /run for named namespaces")?;
        let number = LABS.fetch_add(1, Ordering::Relaxed);
        let mut builder = Builder { number, namespaces: Vec::new() };
        let built = builder.build(specs);
        let namespaces = builder.namespaces;
        match built {
            Ok((internet, relay, sites)) => {
                Ok(Lab { relay, sites, interfaces: [0; 2], reboots: 0, number, internet, namespaces })
            }
            Err(error) => {
                remove(&namespaces);
                Err(error)
            }
        }
    }

    /// One more host on the lab's internet, with a public address in a /24 of its
    /// own or of others, and no delay.
    pub(crate) fn add_public(&mut self, ip: Ipv4Addr) -> Result<Host> {
        // Interface names have at most 15 characters.
        let name = format!("{:x}", u32::from(ip));
        let mut builder = Builder { number: self.number, namespaces: std::mem::take(&mut self.namespaces) };
        let added = builder.public(&self.internet, &format!("pub-{name}"), &format!("pub{name}"), ip);
        self.namespaces = builder.namespaces;
        Ok(Host { namespace: added? })
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

impl Drop for Lab {
    fn drop(&mut self) {
        remove(&self.namespaces);
    }
}

fn remove(namespaces: &[String]) {
    for namespace in namespaces {
        let _ = shell::run(None, &format!("ip netns del {namespace}"));
    }
}

/// `ip netns` keeps its names under /run/netns, which must be ours alone.
fn prepare_run() -> Result<()> {
    if LABS.load(Ordering::Relaxed) == 0 {
        shell::run(None, "mount -t tmpfs tmpfs /run")?;
        shell::run(None, "ip link set lo up")?;
    }
    Ok(())
}

struct Builder {
    number: u32,
    namespaces: Vec<String>,
}

impl Builder {
    fn namespace(&mut self, role: &str) -> Result<String> {
        let name = format!("{role}-{}", self.number);
        shell::run(None, &format!("ip netns add {name}"))?;
        self.namespaces.push(name.clone());
        shell::run(Some(&name), "ip link set lo up")?;
        Ok(name)
    }

    fn build(&mut self, specs: [SiteSpec; 2]) -> Result<(String, Host, [Site; 2])> {
        let internet = self.namespace("inet")?;
        shell::run(Some(&internet), "ip link add br0 type bridge")?;
        shell::run(Some(&internet), "ip link set br0 up")?;

        let relay = self.public(&internet, "relay", "relay0", RELAY_IP)?;
        let first = self.site(&internet, 1, specs[0])?;
        let second = self.site(&internet, 2, specs[1])?;
        Ok((internet, Host { namespace: relay }, [first, second]))
    }

    /// A host on the bridge.
    fn public(&mut self, internet: &str, role: &str, port: &str, ip: Ipv4Addr) -> Result<String> {
        let host = self.namespace(role)?;
        veth(internet, port, &host, "eth0")?;
        shell::run(Some(internet), &format!("ip link set {port} master br0"))?;
        shell::run(Some(&host), &format!("ip addr add {ip}/24 dev eth0"))?;
        other_ranges(&host, "eth0", ip)?;
        Ok(host)
    }

    fn site(&mut self, internet: &str, index: u8, spec: SiteSpec) -> Result<Site> {
        let letter = char::from(b'a' + index - 1);
        let nat = self.namespace(&format!("nat-{letter}"))?;
        let host = self.namespace(&format!("host-{letter}"))?;
        let wan_ip = Ipv4Addr::new(203, 0, 113, 10 + index);
        let (router_ip, host_ip) = (Ipv4Addr::new(192, 168, index, 1), Ipv4Addr::new(192, 168, index, 2));

        let internet_end: &'static str = if index == 1 { "site1" } else { "site2" };
        if spec.wire.is_plain() {
            veth(internet, internet_end, &nat, "wan")?;
        } else {
            wire::connect(tap::create(internet, internet_end)?, tap::create(&nat, "wan")?, spec.wire)?;
            shell::run(Some(internet), &format!("ip link set {internet_end} up"))?;
            shell::run(Some(&nat), "ip link set wan up")?;
        }
        shell::run(Some(internet), &format!("ip link set {internet_end} master br0"))?;
        veth(&nat, "lan", &host, "eth0")?;
        shell::run(Some(&nat), &format!("ip addr add {wan_ip}/24 dev wan"))?;
        other_ranges(&nat, "wan", wan_ip)?;
        shell::run(Some(&nat), &format!("ip addr add {router_ip}/24 dev lan"))?;
        shell::run(Some(&host), &format!("ip addr add {host_ip}/24 dev eth0"))?;
        shell::run(Some(&host), &format!("ip route add default via {router_ip}"))?;
        shell::run_with_input(Some(&nat), "tee /proc/sys/net/ipv4/ip_forward", "1")?;
        shell::run_with_input(Some(&nat), "nft -f -", &spec.nat.rules(host_ip))
            .with_context(|| format!("cannot set up the {} NAT: the kernel needs nf_tables with nat", spec.nat))?;
        Ok(Site { host: Host { namespace: host }, wan_ip, host_ip, nat })
    }
}

/// Reaches the public ranges that `ip` is not in, on the same link.
pub(super) fn other_ranges(namespace: &str, interface: &str, ip: Ipv4Addr) -> Result<()> {
    let [a, b, c, _] = ip.octets();
    let own = format!("{a}.{b}.{c}.0/24");
    for range in PUBLIC_RANGES.iter().filter(|range| **range != own) {
        shell::run(Some(namespace), &format!("ip route add {range} dev {interface}"))?;
    }
    Ok(())
}

/// A kernel wire between two namespaces, both ends up.
pub(super) fn veth(left: &str, left_name: &str, right: &str, right_name: &str) -> Result<()> {
    shell::run(Some(left), &format!("ip link add {left_name} type veth peer name {right_name} netns /run/netns/{right}"))?;
    shell::run(Some(left), &format!("ip link set {left_name} up"))?;
    shell::run(Some(right), &format!("ip link set {right_name} up"))?;
    Ok(())
}
