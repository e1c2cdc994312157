//! Ten gateways, each with a kaspad of its own, around one kaspad.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    cast::{SESSION, reserved, sites, start_relay, started, strings},
    nodes::{Kaspad, Rpc, start_run},
};
use crate::{
    cli::KaspadsArgs,
    evidence::Evidence,
    net::{Host, Lab, NatKind, WireSpec},
    process::{Program, kaspath, need_kaspad},
};

const CROWD: usize = 10;
/// Time for all to come.
const ALL: Duration = Duration::from_secs(120);
/// All of them lie in one prefix here, which by default is held to be one owner.
const SETTINGS: &str = "[inbound]\ntotal = 16\nper-prefix = 16\nper-relay = 16\n";
const COMMON: [&str; 4] = ["--policy", "tcp-only", "--log-format", "json"];

struct Crowd {
    hosts: Vec<Host>,
    centre: Host,
    kaspath: PathBuf,
    kaspad: PathBuf,
    dirs: PathBuf,
    relay_address: String,
}

/// What runs at a time: the one in the middle, and those around it with their ids.
struct Running {
    centre: Program,
    centre_id: String,
    kaspad: Kaspad,
    around: Vec<(String, Program)>,
}

pub(crate) async fn crowd(args: &KaspadsArgs) -> Result<()> {
    need_kaspad(&args.kaspad)?;
    let kaspath = kaspath(args.common.kaspath.as_ref())?;
    let nat = NatKind::PortRestricted;
    let mut lab = Lab::build(sites(nat, nat, WireSpec::from_args(&args.common)))?;
    let hosts: Vec<Host> =
        (0..CROWD).map(|n| lab.add_public(Ipv4Addr::new(203, 0, 113, 101 + n as u8))).collect::<Result<_>>()?;
    let dirs = tempfile::tempdir()?;
    let mut evidence = Evidence::create(&args.common.evidence, "crowd")?;
    let (relay, addresses) = start_relay(&lab, &kaspath, &dirs.path().join("relay").display().to_string()).await?;
    evidence.name(&addresses.peer, "<relay>");
    let (centre, kaspad, relay_address) = (lab.sites[1].host.clone(), args.kaspad.clone(), addresses.tcp);
    let crowd = Crowd { hosts, centre, kaspath, kaspad, dirs: dirs.path().into(), relay_address };
    std::fs::write(crowd.settings(), SETTINGS)?;

    let mut running = crowd.start().await?;
    evidence.name(&running.centre_id, "<centre>");
    for (n, (id, _)) in running.around.iter().enumerate() {
        evidence.name(id, &format!("<peer {n}>"));
    }
    let first = crowd.all_there(&mut running, CROWD).await?;
    println!("{CROWD} gateways around one kaspad, {} addresses: {}", first.len(), list(&first));
    evidence.events("centre-1", &running.stop().await?)?;

    let mut running = crowd.start().await?;
    let second = crowd.all_there(&mut running, CROWD).await?;
    if second != first {
        bail!("after a restart of all the addresses are others: {}", list(&second));
    }
    println!("all restarted: each has the same address");

    let (banned, address) = first.iter().next().map(|(peer, ip)| (peer.clone(), *ip)).context("nobody is there")?;
    let begin = Instant::now();
    Rpc::ban(&crowd.centre, address).await?;
    let is_banned = |event: &Value| event["event"] == "peer-banned" && event["peer"] == banned.as_str();
    running.centre.wait_for("the ban's becoming the peer's", SESSION, is_banned).await?;
    println!("kaspad bans {address}: {:.1} s later its peer is banned", begin.elapsed().as_secs_f64());
    crowd.others_stay(&mut running, &first, address).await?;
    crowd.is_kept_out(&mut running, &banned).await?;
    println!("the other {} stay, and that one is refused when it comes again", CROWD - 1);
    evidence.events("centre-2", &running.stop().await?)?;

    let mut running = crowd.start().await?;
    let third = crowd.all_there(&mut running, CROWD - 1).await?;
    if third.contains_key(&banned) || third.iter().any(|(peer, ip)| first.get(peer) != Some(ip)) {
        bail!("after another restart of all the wrong peers are there: {}", list(&third));
    }
    crowd.is_kept_out(&mut running, &banned).await?;
    println!("all restarted again: the other {} are there, that one is refused still", third.len());
    evidence.events("centre-3", &running.stop().await?)?;
    evidence.events("relay", &relay.stop().await?)?;
    evidence.summary(&json!({ "addresses": first, "banned": address }))?;
    println!("evidence: {}", evidence.dir().display());
    println!("4 passed, 0 failed");
    Ok(())
}

fn list(addresses: &BTreeMap<String, IpAddr>) -> String {
    addresses.values().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

impl Crowd {
    fn settings(&self) -> PathBuf {
        self.dirs.join("centre.toml")
    }

    async fn start(&self) -> Result<Running> {
        let kaspad = Kaspad::start("centre-kaspad", &self.kaspad, &self.centre, &self.dirs, &[])?;
        let (appdir, settings) = (self.dirs.join("centre").display().to_string(), self.settings().display().to_string());
        let network = ["--network", "simnet", "--config", &settings];
        let args = [&["gateway", "--appdir", &appdir, "--relay", &self.relay_address][..], &network, &COMMON].concat();
        let mut centre = Program::start("centre", &self.centre, &self.kaspath, &strings(&args))?;
        let centre_id = started(&mut centre).await?;
        reserved(&mut centre).await?;
        let remote = format!("{}/p2p-circuit/p2p/{centre_id}", self.relay_address);
        let mut around = Vec::new();
        for (n, host) in self.hosts.iter().enumerate() {
            let paths = [&*self.kaspath, &*self.kaspad, &*self.dirs];
            let mut program = start_run("around", &format!("around-{n}"), host, paths, &remote)?;
            around.push((started(&mut program).await?, program));
        }
        Ok(Running { centre, centre_id, kaspad, around })
    }

    /// Waits until the kaspad in the middle has so many peers; whose address is whose.
    async fn all_there(&self, running: &mut Running, count: usize) -> Result<BTreeMap<String, IpAddr>> {
        let mut rpc = Rpc::watch(&self.centre)?;
        let there = rpc.await_peers(&format!("{count} peers"), ALL, |peers| peers.len() == count).await?;
        running.centre.drain();
        let opened = running.centre.events.iter().filter(|event| event["event"] == "gateway-opened");
        let by_peer: BTreeMap<String, IpAddr> = opened
            .filter_map(|event| Some((event["peer"].as_str()?.to_owned(), event["address"].as_str()?.parse().ok()?)))
            .filter(|(_, address)| there.contains(address))
            .collect();
        let distinct: BTreeSet<IpAddr> = by_peer.values().copied().collect();
        if distinct != there || by_peer.len() != count {
            bail!("kaspad has {there:?}, the gateway has let in {by_peer:?}");
        }
        Ok(by_peer)
    }

    async fn others_stay(&self, running: &mut Running, first: &BTreeMap<String, IpAddr>, banned: IpAddr) -> Result<()> {
        let others: BTreeSet<IpAddr> = first.values().copied().filter(|ip| *ip != banned).collect();
        let there = Rpc::watch(&self.centre)?.await_peers("the others", SESSION, |peers| *peers == others).await?;
        running.centre.drain();
        let closed: Vec<&Value> = running.centre.events.iter().filter(|event| event["event"] == "gateway-closed").collect();
        let unfair = closed
            .iter()
            .any(|event| event["address"].as_str().and_then(|ip| ip.parse().ok()).is_some_and(|ip| there.contains(&ip)));
        if unfair {
            bail!("somebody else was dropped as well: {closed:?}");
        }
        Ok(())
    }

    /// Waits until the banned one comes and is refused.
    async fn is_kept_out(&self, running: &mut Running, banned: &str) -> Result<()> {
        let refused = |event: &Value| {
            event["event"] == "gateway-refused"
                && event["peer"] == banned
                && event["cause"].as_str().is_some_and(|cause| cause.contains("banned"))
        };
        running.centre.wait_for("the banned one's being refused", ALL, refused).await.map(drop)
    }
}

impl Running {
    async fn stop(mut self) -> Result<Vec<Value>> {
        for (_, program) in self.around {
            program.stop().await?;
        }
        let events = self.centre.stop().await?;
        self.kaspad.stop().await?;
        Ok(events)
    }
}
