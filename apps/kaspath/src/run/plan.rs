//! Which flags kaspad gets beside its owner's: pure.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use anyhow::{Result, bail};
use kaspath_kaspa_adaptor::KaspaNetwork;

use super::KaspadFlags;

/// A kaspad to be run.
#[derive(Clone, Debug)]
pub(crate) struct KaspadPlan {
    pub(crate) program: String,
    pub(crate) args: Vec<String>,
    /// Where the gateway reaches its P2P.
    pub(crate) p2p: SocketAddr,
    pub(crate) rpc_url: String,
    /// Peers are added by RPC; else by `--addpeer`, since its owner keeps the RPC safe.
    pub(crate) by_rpc: bool,
    /// Peers that its owner adds by its environment or file, which `--addpeer` would hide.
    hidden_peers: Vec<String>,
    /// Why no peer can be added at all.
    pub(crate) no_peers: Option<String>,
    /// What was added, each with its reason.
    pub(crate) changes: Vec<String>,
    /// What its owner should know.
    pub(crate) warnings: Vec<String>,
}

impl KaspadPlan {
    pub(crate) fn new(flags: &KaspadFlags, network: KaspaNetwork) -> Result<Self> {
        let loopback = IpAddr::from(Ipv4Addr::LOCALHOST);
        let on_command_line = |name: &str| flags.args.iter().any(|arg| arg.starts_with(&format!("--{name}=")));
        let mut plan = Self {
            program: flags.program.clone(),
            args: flags.args.clone(),
            p2p: SocketAddr::new(loopback, network.p2p_port()),
            rpc_url: String::new(),
            by_rpc: flags.has("unsaferpc"),
            hidden_peers: if on_command_line("addpeer") { Vec::new() } else { flags.all("addpeer").to_vec() },
            no_peers: None,
            changes: Vec::new(),
            warnings: Vec::new(),
        };
        plan.listen(flags)?;
        plan.rpc(flags, network)?;
        if !flags.all("connect").is_empty() {
            plan.warnings.push("--connect keeps kaspad from taking inbound peers: no private peer will reach it".into());
            if !plan.by_rpc {
                plan.no_peers =
                    Some("kaspad takes no --addpeer beside --connect; give it --unsaferpc, or leave --connect out".into());
            }
        } else if flags.value("maxinpeers") == Some("0") {
            plan.warnings.push("--maxinpeers=0 keeps kaspad from taking inbound peers: no private peer will reach it".into());
        }
        Ok(plan)
    }

    fn add(&mut self, flag: String, why: &str) {
        self.changes.push(format!("{flag}: {why}"));
        self.args.push(flag);
    }

    /// Finds kaspad's P2P port. How kaspad listens, which address it announces and
    /// whether it asks the router for a port stay as they are: whoever reached it
    /// without a gateway still does. By itself it listens on every IPv4 address.
    fn listen(&mut self, flags: &KaspadFlags) -> Result<()> {
        let Some(listen) = flags.value("listen") else { return Ok(()) };
        let Some((ip, port)) = address(listen, self.p2p.port()) else {
            bail!("kaspad's --listen={listen} is not an IP address with or without a port");
        };
        let ip = match ip {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            ip if is_usable(ip) => ip,
            _ => bail!("kaspad's --listen={listen} cannot be reached from peers' 127.x addresses: use 0.0.0.0 or 127.0.0.1"),
        };
        self.p2p = SocketAddr::new(ip, port);
        Ok(())
    }

    fn rpc(&mut self, flags: &KaspadFlags, network: KaspaNetwork) -> Result<()> {
        let default = SocketAddr::from(([127, 0, 0, 1], network.json_rpc_port()));
        let rpc = match flags.value("rpclisten-json") {
            None => {
                self.add(format!("--rpclisten-json={default}"), "the gateway follows kaspad's state and bans");
                default
            }
            Some("default" | "public") => default,
            Some(text) => match address(text, default.port()) {
                Some((ip, port)) if ip.is_unspecified() => SocketAddr::new(default.ip(), port),
                Some((ip, port)) => SocketAddr::new(ip, port),
                None => bail!("kaspad's --rpclisten-json={text} is not an IP address with or without a port"),
            },
        };
        self.rpc_url = format!("ws://{rpc}");
        Ok(())
    }

    /// Has kaspad keep these peers from its start, where its RPC does not let them
    /// be added later.
    pub(crate) fn keep_peers(&mut self, peers: &[SocketAddr]) {
        if self.by_rpc || peers.is_empty() {
            return;
        }
        if let Some(cause) = &self.no_peers {
            self.warnings.push(format!("the --remote peers are not reached: {cause}"));
            return;
        }
        for peer in peers {
            self.add(format!("--addpeer={peer}"), "a --remote peer, by its address at the gateway");
        }
        for peer in std::mem::take(&mut self.hidden_peers) {
            self.add(format!("--addpeer={peer}"), "from your environment or file, which the flags above would hide");
        }
    }
}

/// Whether peers' loopback addresses reach a kaspad that listens there.
pub(crate) fn is_usable(ip: IpAddr) -> bool {
    ip.is_ipv4() && ip.is_loopback()
}

/// `IP`, `IP:PORT`, `[IPV6]:PORT`.
fn address(text: &str, default_port: u16) -> Option<(IpAddr, u16)> {
    let with_port = text.parse::<SocketAddr>().map(|address| (address.ip(), address.port()));
    with_port.or_else(|_| text.trim_matches(['[', ']']).parse().map(|ip| (ip, default_port))).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(flags: &str, environment: &[(&str, &str)]) -> Result<KaspadPlan> {
        let command: Vec<String> = format!("kaspad {flags}").split_whitespace().map(str::to_owned).collect();
        let lookup = |name: &str| environment.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        let flags = KaspadFlags::read(&command, &lookup)?;
        let network = flags.network()?;
        KaspadPlan::new(&flags, network)
    }

    fn error(flags: &str) -> String {
        format!("{:#}", plan(flags, &[]).unwrap_err())
    }

    /// Every combination of the flags that decide who reaches kaspad.
    #[test]
    fn kaspad_stays_as_reachable_as_its_owner_made_it() {
        let listens = [("", "127.0.0.1:16111"), ("--listen=0.0.0.0:5", "127.0.0.1:5"), ("--listen=127.0.0.1", "127.0.0.1:16111")];
        for (listen, p2p) in listens {
            for external in ["", "--externalip=203.0.113.7"] {
                for upnp in ["", "--disable-upnp"] {
                    for rpc in ["", "--rpclisten-json=default", "--rpclisten-json=0.0.0.0:7"] {
                        for unsafe_rpc in ["", "--unsaferpc"] {
                            let given = [listen, external, upnp, rpc, unsafe_rpc].join(" ");
                            let plan = plan(&given, &[]).unwrap();
                            let mut expected: Vec<&str> = given.split_whitespace().collect();
                            expected.extend(rpc.is_empty().then_some("--rpclisten-json=127.0.0.1:18110"));
                            assert_eq!(plan.args, expected, "{given}");
                            assert_eq!(plan.changes.len(), usize::from(rpc.is_empty()), "{given}");
                            assert_eq!((plan.p2p.to_string().as_str(), plan.by_rpc), (p2p, !unsafe_rpc.is_empty()), "{given}");
                            let port = if rpc.ends_with(":7") { 7 } else { 18110 };
                            assert_eq!(plan.rpc_url, format!("ws://127.0.0.1:{port}"), "{given}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn every_network_has_its_own_ports() {
        for (flags, p2p, rpc) in [
            ("--testnet", 16211, 18210),
            ("--testnet --netsuffix=10", 16211, 18210),
            ("--simnet", 16511, 18510),
            ("--devnet", 16611, 18610),
        ] {
            let plan = plan(flags, &[]).unwrap();
            assert_eq!((plan.p2p.port(), plan.rpc_url), (p2p, format!("ws://127.0.0.1:{rpc}")), "{flags}");
        }
    }

    #[test]
    fn remotes_become_permanent_peers_unless_the_rpc_can_add_them() {
        let peers = ["127.80.1.2:16511".parse().unwrap()];
        let mut safe = plan("--simnet", &[("KASPAD_ADDPEERS", "192.0.2.1")]).unwrap();
        safe.keep_peers(&peers);
        assert!(safe.args.ends_with(&["--addpeer=127.80.1.2:16511".into(), "--addpeer=192.0.2.1".into()]), "{:?}", safe.args);
        let mut by_rpc = plan("--simnet --unsaferpc", &[]).unwrap();
        by_rpc.keep_peers(&peers);
        assert!(!by_rpc.args.iter().any(|arg| arg.starts_with("--addpeer")));
        let mut connect = plan("--simnet --connect=192.0.2.1", &[]).unwrap();
        connect.keep_peers(&peers);
        assert_eq!(connect.warnings.len(), 2);
    }

    #[test]
    fn kaspads_environment_and_file_count() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kaspad.conf");
        std::fs::write(&path, "simnet = true\nlisten = \"127.0.0.1:9\"\naddpeer = [\"192.0.2.1\"]\n").unwrap();
        let file = plan(&format!("-C {}", path.display()), &[]).unwrap();
        assert_eq!((file.p2p.port(), file.rpc_url.as_str()), (9, "ws://127.0.0.1:18510"));
        assert_eq!(plan("", &[("KASPAD_DEVNET", "true")]).unwrap().p2p.port(), 16611);
        assert!(format!("{:#}", plan("--configfile=/nonexistent", &[]).unwrap_err()).contains("/nonexistent"));
    }

    #[test]
    fn mistakes_name_the_cure() {
        assert!(error("--listen=[::]:16111").contains("use 0.0.0.0 or 127.0.0.1"));
        assert!(error("--listen=192.0.2.1").contains("use 0.0.0.0"));
        assert!(error("--listen=nowhere").contains("nowhere"));
        assert!(error("--testnet --netsuffix=11").contains("testnet-10"));
        assert!(error("--testnet --simnet").contains("keep one of"));
    }
}
