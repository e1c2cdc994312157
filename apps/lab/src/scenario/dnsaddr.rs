//! Two unmodified kaspads behind NATs that are given the name of a list of relays, and
//! nothing else.

use std::{net::Ipv4Addr, path::Path, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use super::{
    announced::public_addresses,
    cast::{SESSION, START, start_relay_at, started, strings},
    names::{Names, with_program},
    nodes::{Rpc, under_run},
};
use crate::{
    cli::KaspadsArgs,
    evidence::Evidence,
    net::{Dns, Host, NatKind, WireSpec, World},
    process::{Program, kaspath, need_kaspad},
};

/// What is given, and where its records are (libp2p's `/dnsaddr/`).
const LIST: &str = "relays.lab";
const RECORDS: &str = "_dnsaddr.relays.lab";
const DNS_IP: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 53);
/// Each in another /16. The last one is not in the list at first.
const RELAYS: [Ipv4Addr; 4] =
    [Ipv4Addr::new(203, 0, 113, 1), Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(198, 51, 100, 1), Ipv4Addr::new(198, 19, 0, 1)];
/// Blocks that the one has before the other starts, and those that follow on each side.
const BLOCKS: u64 = 1000;
const LIVE_BLOCKS: u64 = 20;
/// Time to sync all of them.
const SYNC: Duration = Duration::from_secs(120);
/// How long the name has no records in the run in which it is late.
const LATE: Duration = Duration::from_secs(10);

/// One side: a kaspad under `kaspath run`.
struct Side {
    host: Host,
    program: Program,
    peer: String,
}

/// What both sides need to start.
struct Setting<'s> {
    names: &'s Names,
    kaspath: &'s Path,
    kaspad: &'s Path,
    dirs: &'s TempDir,
}

impl Setting<'_> {
    async fn start(&self, name: &'static str, run: &str, host: &Host) -> Result<Side> {
        let dir = |what: &str| self.dirs.path().join(format!("{run}{what}")).display().to_string();
        let ours = ["run", "--appdir", &dir(""), "--network", "simnet", "--relay-list", LIST, "--log-format", "json"];
        let args = [strings(&ours), under_run(self.kaspad, &dir("-kaspad"))].concat();
        told_nothing(&args)?;
        let log = self.dirs.path().join(format!("{run}.log"));
        let mut command = self.names.in_host(host);
        command.stderr(std::fs::File::create(log)?);
        let mut program = Program::start_by(name, command, self.kaspath, &with_program(self.kaspath, &args))?;
        let peer = started(&mut program).await?;
        Ok(Side { host: host.clone(), program, peer })
    }

    fn keep_log(&self, run: &str, evidence: &Evidence) -> Result<()> {
        evidence.table(&format!("{run}.log"), &std::fs::read_to_string(self.dirs.path().join(format!("{run}.log")))?)
    }
}

/// No relay, no peer and no address of either is in a command line, and kaspad's RPC stays safe.
fn told_nothing(args: &[String]) -> Result<()> {
    for arg in args {
        let tells = ["/ip4/", "/ip6/", "/dns", "/p2p/", "--remote", "--addpeer", "--connect", "--unsaferpc"];
        let told = arg == "--relay" || tells.iter().any(|what| arg.contains(what));
        ensure!(!told, "a command line must not have {arg}");
    }
    Ok(())
}

pub(crate) async fn dnsaddr(args: &KaspadsArgs) -> Result<()> {
    need_kaspad(&args.kaspad)?;
    let kaspath = kaspath(args.common.kaspath.as_ref())?;
    let mut evidence = Evidence::create(&args.common.evidence, "dnsaddr")?;
    let mut world = World::new()?;
    let wire = WireSpec::from_args(&args.common);
    let nat = NatKind::PortRestricted;
    let [left_home, right_home] = [world.home(nat, wire, 1)?, world.home(nat, wire, 1)?];
    let dns = Dns::start(&world.public(DNS_IP)?.0)?;
    let dirs = tempfile::tempdir()?;
    let names = Names::create(dirs.path(), Some(DNS_IP.into()))?;
    let setting = Setting { names: &names, kaspath: &kaspath, kaspad: &args.kaspad, dirs: &dirs };

    let (mut relays, mut records, mut ids) = (Vec::new(), Vec::new(), Vec::new());
    for (index, ip) in RELAYS.into_iter().enumerate() {
        let appdir = dirs.path().join(format!("r{}", index + 1)).display().to_string();
        let (relay, addresses) = start_relay_at(&world.public(ip)?.0, ip, &kaspath, &appdir).await?;
        evidence.name(&addresses.peer, &format!("<r{}>", index + 1));
        let both = public_addresses(ip).map(|address| format!("dnsaddr={address}/p2p/{}", addresses.peer));
        records.push(both.to_vec());
        ids.push(addresses.peer);
        relays.push(relay);
    }
    dns.set(RECORDS, records[..3].concat());

    let mut right = setting.start("right", "right", &right_home.hosts[0]).await?;
    evidence.name(&right.peer, "<right>");
    read_list(&mut right).await?;
    println!("the right kaspad mines {BLOCKS} blocks ...");
    let goal = Rpc::mine(&right.host, BLOCKS).await?.blocks().await?;
    let mut right_rpc = Rpc::watch(&right.host)?;

    let begin = Instant::now();
    let mut left = setting.start("left", "left", &left_home.hosts[0]).await?;
    evidence.name(&left.peer, "<left>");
    let figures = sync(&left, &right, &mut right_rpc, begin, goal).await?;
    println!("the name is there: {figures}");
    let mut rows = vec![json!({ "case": "the name is there", "figures": figures })];
    let goal = goal + 2 * LIVE_BLOCKS;

    // The list names another relay now and no other. Those that hold a reservation are kept as
    // long as they serve.
    dns.set(RECORDS, records[3].clone());
    let begin = Instant::now();
    for side in [&mut left, &mut right] {
        side.program.drain();
        side.program.hang_up()?;
        read_list(side).await?;
    }
    for (index, relay) in relays.drain(..3).enumerate() {
        evidence.events(&format!("r{}", index + 1), &relay.stop().await?)?;
    }
    for side in [&mut left, &mut right] {
        let at_new =
            |event: &Value| event["event"] == "reservation" && event["relay"] == ids[3].as_str() && event["state"] == "confirmed";
        side.program.wait_for("a reservation at the relay that the name moved to", SESSION, at_new).await?;
    }
    let seconds = begin.elapsed().as_secs_f64();
    println!("the name is moved to another relay and the old ones end: reservations of both there after {seconds:.1} s");
    rows.push(json!({ "case": "the name is moved", "seconds": seconds }));
    evidence.events("left", &left.program.stop().await?)?;
    setting.keep_log("left", &evidence)?;

    // A node that knows nothing starts before there is anything to know.
    dns.set(RECORDS, Vec::new());
    let mut late = setting.start("left", "late", &left_home.hosts[0]).await?;
    evidence.name(&late.peer, "<late>");
    late.program.wait_event("relay-list-failed", START).await?;
    sleep(LATE).await;
    dns.set(RECORDS, records[3].clone());
    let figures = sync(&late, &right, &mut right_rpc, Instant::now(), goal).await?;
    println!("the name is {} s late: {figures}", LATE.as_secs());
    rows.push(json!({ "case": "the name is late", "figures": figures }));

    evidence.events("late", &late.program.stop().await?)?;
    evidence.events("right", &right.program.stop().await?)?;
    setting.keep_log("late", &evidence)?;
    setting.keep_log("right", &evidence)?;
    for relay in relays {
        evidence.events("r4", &relay.stop().await?)?;
    }
    evidence.summary(&json!(rows))?;
    println!("evidence: {}", evidence.dir().display());
    println!("{} passed, 0 failed", rows.len());
    Ok(())
}

async fn read_list(side: &mut Side) -> Result<()> {
    let read = side.program.wait_event("relay-list-read", START).await.context("the list of relays")?;
    println!("{} has read the list: {} relays", side.program.name, read["relays"]);
    Ok(())
}

/// Waits until the left kaspad has the right one's blocks and each follows the other; the times
/// since `begin`.
async fn sync(left: &Side, right: &Side, right_rpc: &mut Rpc, begin: Instant, goal: u64) -> Result<Value> {
    let mut left_rpc = Rpc::watch(&left.host)?;
    let peers = left_rpc.await_peers("a peer of the left kaspad", SESSION, |peers| !peers.is_empty()).await?;
    let to_peer = begin.elapsed().as_secs_f64();
    if !peers.iter().all(|ip| ip.is_loopback()) {
        bail!("the left kaspad has a peer that is not by its gateway: {peers:?}");
    }
    left_rpc.await_blocks(goal, SYNC).await?;
    let to_blocks = begin.elapsed().as_secs_f64();
    Rpc::mine(&right.host, LIVE_BLOCKS).await?;
    left_rpc.await_blocks(goal + LIVE_BLOCKS, SESSION).await?;
    Rpc::mine(&left.host, LIVE_BLOCKS).await?;
    right_rpc.await_blocks(goal + 2 * LIVE_BLOCKS, SESSION).await?;
    Ok(json!({ "seconds-to-peer": to_peer, "seconds-to-all-blocks": to_blocks, "live-blocks-each-way": LIVE_BLOCKS }))
}
