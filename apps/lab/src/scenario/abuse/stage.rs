//! The lab of the abuse scenario: its hosts, and the programs on them.

use std::{fs, net::Ipv4Addr, path::Path, time::Duration};

use anyhow::{Context, Result};
use serde_json::Value;

use super::{judge::Measured, programs::Watched};
use crate::{
    cli::{TargetKind, Victim},
    evidence::Evidence,
    net::{Host, Lab, NatKind, RELAY_IP, WireSpec},
    scenario::cast::{ANY, START, sites},
};

/// Where the server serves plain Kaspa peers: simnet's P2P port.
pub(crate) const PLAIN_PORT: u16 = 16511;
const SERVER_IP: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 21);
const GATEWAY_IP: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 22);
/// Each in a /24 of its own, two in each /16: a limit by /16 alone does not keep them out.
const ATTACKER_IPS: [Ipv4Addr; 4] =
    [Ipv4Addr::new(198, 18, 11, 2), Ipv4Addr::new(198, 18, 12, 2), Ipv4Addr::new(198, 19, 13, 2), Ipv4Addr::new(198, 19, 14, 2)];
/// 16,384 addresses that each of them can forge.
const FORGED: [&str; 4] = ["198.18.128.0/18", "198.18.192.0/18", "198.19.128.0/18", "198.19.192.0/18"];
const HONEST_IPS: [Ipv4Addr; 2] = [Ipv4Addr::new(198, 51, 100, 2), Ipv4Addr::new(192, 0, 2, 2)];
const NEWCOMER_IP: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 77);
const RESERVED: Duration = Duration::from_secs(20);
/// Where the relay, the server and the gateway serve their metrics, each on its host.
const METRICS_PORT: u16 = 9464;
/// The node behind the gateway sees its own host only.
const NODE_SETTINGS: &str = "[inbound]\ntotal = 64\nper-address = 64\nper-prefix = 64\n";
const JSON: [&str; 4] = ["--network", "simnet", "--log-format", "json"];

/// A host that attacks, and the first of the addresses that it can forge.
pub(super) struct Attacker {
    pub(super) host: Host,
    pub(super) forged: &'static str,
}

/// The hosts; they stay from one flood to the next.
pub(super) struct Stage {
    pub(super) lab: Lab,
    server: Host,
    gateway: Host,
    pub(super) attackers: Vec<Attacker>,
    pub(super) honest: Vec<Host>,
    pub(super) newcomer: Host,
}

/// What runs during one flood.
pub(super) struct Running {
    programs: Vec<Watched>,
    pub(super) victims: [Victim; 3],
}

impl Stage {
    pub(super) fn build() -> Result<Self> {
        let nat = NatKind::PortRestricted;
        let mut lab = Lab::build(sites(nat, nat, WireSpec::default()))?;
        let (server, gateway) = (lab.add_public(SERVER_IP)?, lab.add_public(GATEWAY_IP)?);
        let honest = HONEST_IPS.into_iter().map(|ip| lab.add_public(ip)).collect::<Result<_>>()?;
        let newcomer = lab.add_public(NEWCOMER_IP)?;
        let mut attackers = Vec::new();
        for (ip, range) in ATTACKER_IPS.into_iter().zip(FORGED) {
            let host = lab.add_public(ip)?;
            lab.own_range(&host, ip, range, &[&lab.relay, &server, &gateway])?;
            attackers.push(Attacker { host, forged: range.split('/').next().unwrap_or(range) });
        }
        Ok(Self { lab, server, gateway, attackers, honest, newcomer })
    }

    /// Starts relay, server, gateway and the node behind it; returns when the server
    /// and the gateway have their reservations.
    pub(super) async fn start(&self, kaspath: &Path, dirs: &Path) -> Result<Running> {
        let dir = |name: &str| dirs.join(name).display().to_string();
        let [relay_dir, server_dir, node_dir, gateway_dir] = ["relay", "server", "node", "gateway"].map(dir);
        let metrics = format!("127.0.0.1:{METRICS_PORT}");
        let web = ["--web-listen", &metrics];
        let relay_args =
            [&["relay", "--appdir", &relay_dir, "--log-format", "json", "--drain-timeout", "0"][..], &web, &ANY].concat();
        let mut relay = Watched::start("relay", &self.lab.relay, kaspath, &relay_args)?;
        let relay_victim = victim(&mut relay, TargetKind::Relay, RELAY_IP).await?;
        let via = format!("/ip4/{RELAY_IP}/tcp/4001/p2p/{}", relay_victim.peer);

        let plain = format!("0.0.0.0:{PLAIN_PORT}");
        let server_args =
            [&["server", "--appdir", &server_dir, "--relay", &via, "--kaspa-listen", &plain][..], &web, &JSON, &ANY].concat();
        let mut server = Watched::start("server", &self.server, kaspath, &server_args)?;

        let (settings, kaspad) = (dir("node.toml"), format!("127.0.0.1:{PLAIN_PORT}"));
        fs::write(&settings, NODE_SETTINGS)?;
        let local = ["-l", "/ip4/127.0.0.1/tcp/0", "--kaspa-listen", &kaspad, "--config", &settings];
        let node_args = [&["server", "--appdir", &node_dir][..], &local, &JSON].concat();
        let mut node = Watched::start("node behind the gateway", &self.gateway, kaspath, &node_args)?;
        started(&mut node).await?;

        let behind = ["--kaspad", &kaspad, "--kaspad-rpc", "off"];
        let gateway_args = [&["gateway", "--appdir", &gateway_dir, "--relay", &via][..], &behind, &web, &JSON, &ANY].concat();
        let mut gateway = Watched::start("gateway", &self.gateway, kaspath, &gateway_args)?;

        let server_victim = victim(&mut server, TargetKind::Server, SERVER_IP).await?;
        let gateway_victim = victim(&mut gateway, TargetKind::Gateway, GATEWAY_IP).await?;
        for program in [&mut server, &mut gateway] {
            let confirmed = |event: &Value| event["event"] == "reservation" && event["state"] == "confirmed";
            program.wait_for("a confirmed reservation", RESERVED, confirmed).await?;
        }
        for (program, host) in [(&mut relay, &self.lab.relay), (&mut server, &self.server), (&mut gateway, &self.gateway)] {
            program.scrape(host, METRICS_PORT).await?;
        }
        let victims = [relay_victim, server_victim, gateway_victim];
        Ok(Running { programs: vec![relay, server, gateway, node], victims })
    }
}

impl Running {
    /// Ends all of them in order, each in its time; what was measured.
    pub(super) async fn stop(self, evidence: &Evidence, label: &str) -> Result<Vec<Measured>> {
        let stopping = self.programs.into_iter().map(|program| program.stop(evidence, label));
        futures::future::try_join_all(stopping).await
    }
}

async fn started(program: &mut Watched) -> Result<Value> {
    program.wait_for("its start", START, |event| event["event"] == "started").await
}

async fn victim(program: &mut Watched, kind: TargetKind, ip: Ipv4Addr) -> Result<Victim> {
    let event = started(program).await?;
    let peer = event["peer"].as_str().context("no peer id")?.parse()?;
    Ok(Victim { kind, ip, peer })
}
