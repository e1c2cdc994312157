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
    /// kaspad would ask the router for its port by itself.
    maps_itself: bool,
    /// What was added, each with its reason.
    pub(crate) changes: Vec<String>,
    /// What its owner should know.
    pub(crate) warnings: Vec<String>,
}

impl KaspadPlan {
    pub(crate) fn new(flags: &KaspadFlags, network: KaspaNetwork) -> Result<Self> {
        let loopback = IpAddr::from(Ipv4Addr::LOCALHOST);
        let mut plan = Self {
            program: flags.program.clone(),
            args: flags.args.clone(),
            p2p: SocketAddr::new(loopback, network.p2p_port()),
            rpc_url: String::new(),
            maps_itself: !flags.has("disable-upnp") && flags.value("externalip").is_none(),
            changes: Vec::new(),
            warnings: Vec::new(),
        };
        plan.listen(flags)?;
        plan.rpc(flags, network)?;
        let shut = match flags.value("maxinpeers") {
            _ if flags.value("connect").is_some() => Some("--connect"),
            Some("0") => Some("--maxinpeers=0"),
            _ => None,
        };
        plan.warnings.extend(shut.map(|flag| {
            format!("{flag} keeps kaspad from taking inbound peers: no private peer will reach it, nor will it reach one")
        }));
        Ok(plan)
    }

    /// The port that kaspad would ask the router for by itself, unless it was told where it is reached.
    pub(crate) fn maps_itself(&self) -> Option<u16> {
        self.maps_itself.then_some(self.p2p.port())
    }

    /// The router forwards that address to kaspad.
    pub(crate) fn is_mapped(&mut self, external: SocketAddr) {
        self.maps_itself = false;
        self.add(format!("--externalip={external}"), "this program had your router forward kaspad's port");
        self.add("--disable-upnp".to_owned(), "so kaspad need not ask the router itself");
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
        let Some((listen_ip, port)) = address(listen, self.p2p.port()) else {
            bail!("kaspad's --listen={listen} is not an IP address with or without a port");
        };
        let ip = match listen_ip {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            ip if is_usable(ip) => ip,
            _ => bail!("kaspad's --listen={listen} cannot be reached from peers' 127.x addresses: use 0.0.0.0 or 127.0.0.1"),
        };
        self.maps_itself &= listen_ip.is_unspecified();
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
                            assert_eq!(plan.p2p.to_string(), p2p, "{given}");
                            let port = if rpc.ends_with(":7") { 7 } else { 18110 };
                            assert_eq!(plan.rpc_url, format!("ws://127.0.0.1:{port}"), "{given}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn a_mapped_port_takes_the_place_of_kaspads_own_upnp() {
        let mut mapped = plan("--simnet", &[]).unwrap();
        assert_eq!(mapped.maps_itself(), Some(16511));
        mapped.is_mapped("203.0.113.7:40000".parse().unwrap());
        assert!(mapped.args.ends_with(&["--externalip=203.0.113.7:40000".into(), "--disable-upnp".into()]), "{:?}", mapped.args);
        assert_eq!(mapped.maps_itself(), None);
        for told in ["--disable-upnp", "--externalip=203.0.113.7", "--listen=127.0.0.1"] {
            assert_eq!(plan(told, &[]).unwrap().maps_itself(), None, "{told}");
        }
        assert_eq!(plan("--listen=0.0.0.0:5", &[]).unwrap().maps_itself(), Some(5));
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
    fn a_kaspad_that_takes_no_inbound_peers_is_told_of() {
        for (flags, environment, expected) in [
            ("--simnet", [("KASPAD_ADDPEERS", "192.0.2.1")], None),
            ("--simnet --maxinpeers=0", [("X", "")], Some("--maxinpeers=0 keeps")),
            ("--simnet --connect=192.0.2.1", [("X", "")], Some("--connect keeps")),
            ("--simnet", [("KASPAD_CONNECTPEERS", "192.0.2.1")], Some("--connect keeps")),
        ] {
            let plan = plan(flags, &environment).unwrap();
            assert_eq!(plan.warnings.len(), expected.iter().count(), "{flags}: {:?}", plan.warnings);
            assert!(expected.is_none_or(|start| plan.warnings[0].starts_with(start)), "{flags}: {:?}", plan.warnings);
        }
    }

    #[test]
    fn kaspads_environment_and_file_count() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kaspad.conf");
        std::fs::write(&path, "simnet = true\nlisten = \"127.0.0.1:9\"\nconnect = [\"192.0.2.1\"]\n").unwrap();
        let file = plan(&format!("-C {}", path.display()), &[]).unwrap();
        assert_eq!((file.p2p.port(), file.rpc_url.as_str(), file.warnings.len()), (9, "ws://127.0.0.1:18510", 1));
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
