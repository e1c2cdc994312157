//! What happens to networks while programs run.

use std::net::Ipv4Addr;

use anyhow::Result;

use super::{
    Host, Lab, NatKind,
    parts::{private_address, public_address, veth},
    shell,
};

/// The first port to which a rebooted NAT maps the one where programs listen.
const OTHER_PORTS: u16 = 40_000;

/// What the routers of the sites drop, in silence, as a path does that is dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Nothing.
    Nothing,
    /// Everything between the two sites; both still reach the relays.
    Direct,
    /// TCP between the two sites.
    DirectTcp,
    /// All UDP of the first site, as a firewall does.
    Udp,
    /// All that the first site sends and gets.
    Everything,
}

impl Cut {
    /// The rules in the router of a site, whose peer is at `other`.
    fn rules(self, site: usize, other: Ipv4Addr) -> String {
        match self {
            Self::Direct => format!("ip daddr {other} drop"),
            Self::DirectTcp => format!("ip daddr {other} meta l4proto tcp drop"),
            Self::Udp if site == 0 => "meta l4proto udp drop".to_owned(),
            Self::Everything if site == 0 => "drop".to_owned(),
            Self::Nothing | Self::Udp | Self::Everything => String::new(),
        }
    }
}

impl Lab {
    /// Drops this from now on, and nothing else.
    pub(crate) fn cut(&self, what: Cut) -> Result<()> {
        for (site, other) in [(0, 1), (1, 0)] {
            cut_forward(&self.sites[site].nat, &what.rules(site, self.sites[other].wan_ip))?;
        }
        Ok(())
    }

    /// A host's packets vanish, those that it sends and those sent to it.
    pub(crate) fn silence(&self, host: &Host, silent: bool) -> Result<()> {
        let verdict = if silent { "drop" } else { "accept" };
        let chain = |hook: &str| format!("chain {hook} {{ type filter hook {hook} priority filter; policy {verdict}; }}\n");
        replace_table(&host.namespace, "silence", &(chain("input") + &chain("output")))
    }

    /// Reboots a site's port-restricted NAT: it forgets all mappings, and gives its
    /// host others.
    pub(crate) fn reboot_nat(&mut self, site: usize) -> Result<()> {
        self.other_ports(site)?;
        let ip = self.sites[site].wan_ip;
        self.set_wan(site, ip)
    }

    /// The provider gives a site another address: in another of the public ranges, or
    /// in the same where ports are mapped.
    pub(crate) fn change_wan(&mut self, site: usize) -> Result<()> {
        let ip = match self.sites[site].wan_ip.octets() {
            [192, 0, 1, last] => [192, 0, 1, last ^ 0x40],
            [198, _, _, last] => [203, 0, 113, last],
            [_, _, _, last] => [198, 51, 100, last],
        };
        self.set_wan(site, ip.into())
    }

    /// A site's host leaves its network and comes back by another interface, with
    /// another private address, which its NAT maps to other ports.
    pub(crate) fn replace_interface(&mut self, site: usize) -> Result<()> {
        let Self { sites, interfaces, .. } = self;
        let at = &mut sites[site];
        let [a, b, index, last] = at.host_ip.octets();
        let (router_ip, host) = (Ipv4Addr::new(a, b, index, 1), at.host.namespace.clone());
        at.host_ip = Ipv4Addr::new(a, b, index, last + 1);
        let (old, new) = (format!("eth{}", interfaces[site]), format!("eth{}", interfaces[site] + 1));
        interfaces[site] += 1;
        // The router's end of the wire goes with it.
        shell::run(Some(&host), &format!("ip link del {old}"))?;
        veth(&at.nat, "lan", &host, &new)?;
        shell::run(Some(&at.nat), &format!("ip addr add {router_ip}/24 dev lan"))?;
        private_address(&host, &new, at.host_ip, router_ip)?;
        self.other_ports(site)
    }

    fn other_ports(&mut self, site: usize) -> Result<()> {
        self.reboots += 1;
        let rules = NatKind::rules_on_other_ports(self.sites[site].host_ip, OTHER_PORTS + self.reboots);
        shell::run_with_input(Some(&self.sites[site].nat), "nft -f -", &format!("delete table ip lab\n{rules}")).map(drop)
    }

    /// Takes the WAN address away, and with it the kernel forgets the masqueraded
    /// connections; then gives one.
    fn set_wan(&mut self, site: usize, ip: Ipv4Addr) -> Result<()> {
        let nat = self.sites[site].nat.clone();
        shell::run(Some(&nat), "ip addr flush dev wan")?;
        shell::run(Some(&nat), "ip route flush dev wan")?;
        public_address(&nat, "wan", ip)?;
        if self.sites[site].wan_ip != ip {
            // The router would still take what comes for the old address from who knows its link address.
            for other in [&self.relay.namespace, &self.sites[1 - site].nat] {
                shell::run(Some(other), &format!("ip neigh flush to {}", self.sites[site].wan_ip))?;
            }
        }
        self.sites[site].wan_ip = ip;
        Ok(())
    }
}

/// Has a router drop what these rules say, and nothing else, before its own rules and their counters.
pub(super) fn cut_forward(router: &str, rules: &str) -> Result<()> {
    let chain = format!("chain forward {{ type filter hook forward priority filter - 2; policy accept; {rules}\n}}");
    replace_table(router, "cut", &chain)
}

/// Replaces a table of rules by another of that name.
pub(super) fn replace_table(namespace: &str, name: &str, chains: &str) -> Result<()> {
    let rules = format!("table ip {name} {{}}\ndelete table ip {name}\ntable ip {name} {{\n{chains}\n}}");
    shell::run_with_input(Some(namespace), "nft -f -", &rules).map(drop)
}
