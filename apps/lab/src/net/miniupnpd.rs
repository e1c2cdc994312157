//! A site's router that maps ports at its hosts' request: the real miniupnpd
//! (Debian's package miniupnpd-nftables), which many routers have.

use std::{
    fs,
    net::{SocketAddrV4, TcpListener, UdpSocket},
    path::Path,
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result};
use kaspath_domain::MapMethod;
use tempfile::TempDir;

use super::{Site, enter::bind_both, faults::replace_table, shell};

/// A port that the router forwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mapping {
    /// `tcp` or `udp`.
    pub(crate) protocol: &'static str,
    /// On the router's public address.
    pub(crate) external: u16,
    pub(crate) to: SocketAddrV4,
}

/// The daemon on a site's router. Ends with this value.
pub(crate) struct Miniupnpd {
    nat: String,
    dir: TempDir,
    child: Option<Child>,
}

/// Its tables: it adds rules to chains that are there. Those that drop a version's requests
/// are as if the router did not know it.
const TABLES: &str = "
    table inet miniupnpd {}
    delete table inet miniupnpd
    table inet miniupnpd {
        chain miniupnpd { }
        chain forward { type filter hook forward priority filter; policy accept; jump miniupnpd; }
        chain prerouting_miniupnpd { }
        chain prerouting { type nat hook prerouting priority dstnat - 1; policy accept; jump prerouting_miniupnpd; }
        chain postrouting_miniupnpd { }
        chain postrouting { type nat hook postrouting priority srcnat - 1; policy accept; jump postrouting_miniupnpd; }
    }";

impl Miniupnpd {
    /// Starts it at a site, to be asked by that method alone; by PCP it answers NAT-PMP as well. The site's address is [`super::WanRange::Mappable`]: it takes others for reserved and maps nothing.
    pub(crate) fn start(site: &Site, method: MapMethod) -> Result<Self> {
        let mut daemon = Self { nat: site.nat.clone(), dir: tempfile::tempdir()?, child: None };
        fs::write(daemon.dir.path().join("conf"), conf(method))?;
        let silent = if method == MapMethod::NatPmp { "udp dport 5351 @th,64,8 2 drop" } else { "" };
        let chain = format!("chain input {{ type filter hook input priority filter; policy accept; {silent}\n}}");
        replace_table(&daemon.nat, "versions", &chain)?;
        daemon.start_again()?;
        Ok(daemon)
    }

    /// Starts it without any mapping, as a router does that was rebooted. It announces itself,
    /// by PCP and by UPnP.
    pub(crate) fn start_again(&mut self) -> Result<()> {
        self.power_off()?;
        let file = |name: &str| self.dir.path().join(name);
        let log = fs::File::options().create(true).append(true).open(file("log"))?;
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.nat)).args(["miniupnpd", "-d", "-f"]).arg(file("conf"));
        command.arg("-P").arg(file("pid")).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.child = Some(command.spawn().context("cannot start nsenter")?);
        Ok(())
    }

    /// Ends it by SIGKILL. The ports stay mapped.
    fn kill(&mut self) -> Result<()> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// Ends it, and no port is mapped any more.
    pub(crate) fn power_off(&mut self) -> Result<()> {
        self.kill()?;
        shell::run_with_input(Some(&self.nat), "nft -f -", TABLES).map(drop)
    }

    /// The ports that the router forwards now, by its rules.
    pub(crate) fn mappings(&self) -> Result<Vec<Mapping>> {
        let rules = shell::run(Some(&self.nat), "nft list chain inet miniupnpd prerouting_miniupnpd")?;
        rules.lines().filter(|line| line.contains(" dnat ")).map(mapping).collect()
    }

    /// What it printed.
    pub(crate) fn log(&self) -> Result<String> {
        Ok(fs::read_to_string(self.dir.path().join("log"))?)
    }
}

impl Drop for Miniupnpd {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

/// Its settings. Without `system_uptime=no` a restart of the daemon would not be one of the
/// router; `enable_natpmp` is both PCP and NAT-PMP.
fn conf(method: MapMethod) -> String {
    let yes = |wanted: bool| if wanted { "yes" } else { "no" };
    let igd = method == MapMethod::Igd;
    format!(
        "ext_ifname=wan\nlistening_ip=lan\nhttp_port=0\nipv6_disable=yes\nenable_upnp={}\nenable_natpmp={}\n\
         system_uptime=no\nsecure_mode=yes\nmin_lifetime=120\nmax_lifetime=86400\n\
         upnp_table_name=miniupnpd\nupnp_nat_table_name=miniupnpd\nupnp_forward_chain=miniupnpd\n\
         upnp_nat_chain=prerouting_miniupnpd\nupnp_nat_postrouting_chain=postrouting_miniupnpd\n\
         uuid=3a0d0d5c-0000-4000-8000-000000000001\n\
         allow 1024-65535 192.168.0.0/16 1024-65535\ndeny 0-65535 0.0.0.0/0 0-65535\n",
        yes(igd),
        yes(!igd)
    )
}

/// Reads a rule like `iif "wan" @nh,72,8 0x6 th dport 4001 dnat ip to 192.168.1.2:4001`.
fn mapping(rule: &str) -> Result<Mapping> {
    let words: Vec<&str> = rule.split_whitespace().collect();
    let after = |word: &str| words.iter().position(|other| *other == word).and_then(|at| words.get(at + 1));
    let read = || {
        let protocol = match words.iter().find(|word| ["0x6", "tcp", "0x11", "udp"].contains(word))? {
            &"0x6" | &"tcp" => "tcp",
            _ => "udp",
        };
        Some(Mapping { protocol, external: after("dport")?.parse().ok()?, to: after("to")?.parse().ok()? })
    };
    read().with_context(|| format!("not a rule of miniupnpd: {rule}"))
}

impl Site {
    /// Takes a port of the router's own, TCP and UDP, so that it maps another one to a host that
    /// asks for it. It is free again when the sockets are dropped.
    pub(crate) fn occupy(&self, port: u16) -> Result<(TcpListener, UdpSocket)> {
        bind_both(&self.nat, port)
    }

    /// Counts from now on what the router's hosts ask it for ports.
    pub(crate) fn count_requests(&self) -> Result<()> {
        let chain = "counter asked { }
            chain prerouting { type filter hook prerouting priority filter; policy accept;
                iifname \"lan\" udp dport { 1900, 5350, 5351 } counter name asked
            }";
        replace_table(&self.nat, "asked", chain)
    }

    /// Packets that it was asked by since then.
    pub(crate) fn requests(&self) -> Result<u64> {
        let listed = shell::run(Some(&self.nat), "nft list counter ip asked asked")?;
        let packets = listed.split("packets ").nth(1).and_then(|rest| rest.split(' ').next());
        packets.and_then(|number| number.parse().ok()).with_context(|| format!("no count of packets: {listed}"))
    }
}

/// Whether the program is there, which not everybody who runs the lab needs.
pub(crate) fn need_miniupnpd() -> Result<()> {
    let found = std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|dir| exists(&dir)));
    anyhow::ensure!(found, "there is no miniupnpd on the PATH: install the package miniupnpd-nftables");
    Ok(())
}

fn exists(dir: &Path) -> bool {
    dir.join("miniupnpd").exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_read_as_nft_prints_it() {
        let tcp = mapping("\t\tiif \"wan\" @nh,72,8 0x6 th dport 4001 dnat ip to 192.168.1.2:4011").unwrap();
        assert_eq!(tcp, Mapping { protocol: "tcp", external: 4001, to: "192.168.1.2:4011".parse().unwrap() });
        let udp = mapping("iif \"wan\" meta l4proto udp th dport 40000 dnat ip to 192.168.1.2:4011").unwrap();
        assert_eq!((udp.protocol, udp.external), ("udp", 40_000));
        assert!(mapping("iif \"wan\" dnat ip to 192.168.1.2:4011").is_err());
    }

    #[test]
    fn only_what_is_wanted_is_spoken() {
        assert!(conf(MapMethod::Igd).contains("enable_upnp=yes\nenable_natpmp=no\n"));
        assert!(conf(MapMethod::Pcp).contains("enable_upnp=no\nenable_natpmp=yes\n"));
    }
}
