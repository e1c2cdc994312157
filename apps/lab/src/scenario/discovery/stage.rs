//! Three relays, and five nodes of which each knows the first of them.

use std::{net::Ipv4Addr, path::PathBuf, time::Duration};

use anyhow::{Context, Result, bail};
use kaspath_domain::wall_clock;
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::Instant;

use super::super::cast::{started, strings};
use crate::{
    evidence::Evidence,
    net::{Home, Host, NatKind, WireSpec, World},
    process::{Program, Restartable},
};

/// Each in another /16, of which most programs take relays of one hoster for one.
pub(super) const RELAYS: [(&str, Ipv4Addr); 4] = [
    ("r1", Ipv4Addr::new(203, 0, 113, 1)),
    ("r2", Ipv4Addr::new(192, 0, 2, 1)),
    ("r3", Ipv4Addr::new(198, 51, 100, 1)),
    ("r4", Ipv4Addr::new(198, 19, 0, 1)),
];
const NODES: [&str; 5] = ["n1", "n2", "n3", "n4", "n5"];
/// The one with IPv6 alone.
pub(super) const ONLY_V6: usize = 2;
/// Those on one LAN.
pub(super) const LAN: [usize; 2] = [3, 4];

pub(super) struct Relay {
    pub(super) name: &'static str,
    pub(super) peer: String,
    pub(super) program: Restartable,
    /// Over TCP, of both families.
    addresses: [String; 2],
}

pub(super) struct Node {
    pub(super) name: &'static str,
    pub(super) peer: String,
    /// Seconds since 1970.
    pub(super) start: f64,
    pub(super) program: Program,
}

pub(super) struct Stage {
    pub(super) relays: Vec<Relay>,
    pub(super) nodes: Vec<Node>,
    /// Where two of the nodes are.
    pub(super) lan: Home,
    hosts: Vec<Host>,
    world: World,
    kaspath: PathBuf,
    wire: WireSpec,
    dirs: TempDir,
    evidence: Evidence,
    rounds: usize,
}

impl Stage {
    /// Builds the world, and starts the relays: two of them know the first.
    pub(super) async fn build(kaspath: PathBuf, wire: WireSpec, evidence: Evidence) -> Result<Self> {
        let mut world = World::new()?;
        let nat = NatKind::PortRestricted;
        let alone = world.home(nat, wire, 1)?;
        let carried = world.behind_carrier(nat, wire)?;
        let only_v6 = world.only_v6(wire)?;
        let lan = world.home(nat, wire, 2)?;
        let hosts = [&alone, &carried, &only_v6].into_iter().flat_map(|home| &home.hosts).chain(&lan.hosts);
        let hosts = hosts.cloned().collect();
        let dirs = tempfile::tempdir()?;
        let mut stage =
            Self { relays: Vec::new(), nodes: Vec::new(), lan, hosts, world, kaspath, wire, dirs, evidence, rounds: 0 };
        for index in 0..3 {
            stage.start_relay(index, (index > 0).then_some(0)).await?;
        }
        Ok(stage)
    }

    /// Starts a relay that may know another one.
    pub(super) async fn start_relay(&mut self, index: usize, known: Option<usize>) -> Result<()> {
        let (name, ip) = RELAYS[index];
        let (host, v6) = self.world.public(ip)?;
        let appdir = self.dirs.path().join(name).display().to_string();
        let mut args = strings(&["relay", "--appdir", &appdir, "--log-format", "json", "--drain-timeout", "0"]);
        if let Some(known) = known {
            args.extend(strings(&["--relay", &self.relays[known].addresses[0]]));
        }
        let mut program = Program::start(name, &host, &self.kaspath, &args)?;
        let peer = started(&mut program).await?;
        self.evidence.name(&peer, &format!("<{name}>"));
        let addresses = [format!("/ip4/{ip}/tcp/4001/p2p/{peer}"), format!("/ip6/{v6}/tcp/4001/p2p/{peer}")];
        self.relays.push(Relay { name, peer, program: Restartable::new(program), addresses });
        Ok(())
    }

    /// Starts all nodes anew, with new identities and without any memory.
    pub(super) async fn start_nodes(&mut self) -> Result<()> {
        self.stop_nodes().await?;
        self.rounds += 1;
        let first = self.relays.first().context("no relay")?;
        for (index, name) in NODES.into_iter().enumerate() {
            let relay = &first.addresses[usize::from(index == ONLY_V6)];
            let appdir = self.dirs.path().join(format!("{name}-{}", self.rounds)).display().to_string();
            let args = ["server", "--network", "simnet", "--appdir", &appdir, "--relay", relay, "--log-format", "json"];
            let args = strings(&[&args[..], &["--test-traffic", "100"]].concat());
            let start = wall_clock().since_epoch().as_secs_f64();
            let log = self.evidence.dir().join(format!("{name}-{}.log", self.rounds));
            let program = Program::start_logged(name, &self.hosts[index], &self.kaspath, &args, &log)?;
            self.nodes.push(Node { name, peer: String::new(), start, program });
        }
        for node in &mut self.nodes {
            node.peer = started(&mut node.program).await?;
            self.evidence.name(&node.peer, &format!("<{}>", node.name));
        }
        Ok(())
    }

    async fn stop_nodes(&mut self) -> Result<()> {
        for node in &self.nodes {
            node.program.terminate()?;
        }
        for node in self.nodes.drain(..) {
            self.evidence.events(&format!("{}-{}", node.name, self.rounds), &node.program.ended().await?)?;
        }
        Ok(())
    }

    /// Waits until something holds of the nodes, by what they have reported.
    pub(super) async fn until(&mut self, what: &str, within: Duration, holds: impl Fn(&[Node]) -> bool) -> Result<()> {
        let deadline = Instant::now() + within;
        self.drain();
        while !holds(&self.nodes) {
            let next = self.nodes.iter_mut().map(|node| Box::pin(node.program.next(deadline)));
            let (event, ..) = futures::future::select_all(next).await;
            if event?.is_none() {
                bail!("{what} did not come within {within:?}");
            }
            // What has come with it is asked about once.
            self.drain();
        }
        Ok(())
    }

    /// Takes what the nodes have reported already.
    pub(super) fn drain(&mut self) {
        self.nodes.iter_mut().for_each(|node| node.program.drain());
    }

    /// The same with all programs started anew: relays that nobody has asked yet.
    pub(super) async fn anew(mut self) -> Result<Self> {
        self.end_programs("-before").await?;
        let Self { kaspath, wire, evidence, rounds, world, .. } = self;
        drop(world);
        let mut stage = Self { rounds, ..Self::build(kaspath, wire, evidence).await? };
        stage.start_nodes().await?;
        Ok(stage)
    }

    /// Ends all programs and writes their events down.
    pub(super) async fn finish(mut self, summary: &Value) -> Result<PathBuf> {
        self.end_programs("").await?;
        self.evidence.summary(summary)?;
        Ok(self.evidence.dir().to_path_buf())
    }

    async fn end_programs(&mut self, suffix: &str) -> Result<()> {
        self.stop_nodes().await?;
        for relay in &mut self.relays {
            self.evidence.events(&format!("{}{suffix}", relay.name), relay.program.stop().await?)?;
        }
        Ok(())
    }
}
