//! Two unmodified kaspads, each behind its own NAT, joined by gateways.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context, Result, bail};
use serde_json::json;
use tokio::{
    process::{Child, Command},
    time::{Instant, sleep},
};

use super::cast::{SESSION, START, reserved, sites, start_relay, started, strings};
use crate::{
    cli::GatewayArgs,
    evidence::Evidence,
    net::{Host, Lab, NatKind, WireSpec},
    process::{Program, kaspath, need_kaspad},
};

const RPC: &str = "127.0.0.1:18510";
/// Blocks mined live, on each side, once the two are in sync.
const LIVE_BLOCKS: u64 = 20;
/// The relay's bytes while live blocks pass: keepalives.
const KEEPALIVE_BYTES: u64 = 4_000;
/// Time to sync, for the default number of blocks many times what it takes.
const SYNC: Duration = Duration::from_secs(240);

pub(crate) async fn gateway(args: &GatewayArgs) -> Result<()> {
    need_kaspad(&args.kaspad)?;
    let kaspath = kaspath(args.common.kaspath.as_ref())?;
    let nat = NatKind::PortRestricted;
    let lab = Lab::build(sites(nat, nat, WireSpec::from_args(&args.common)))?;
    let dirs = tempfile::tempdir()?;
    let dir = |name: &str| dirs.path().join(name).display().to_string();
    let [left_dir, right_dir] = ["left", "right"].map(dir);
    let [left, right] = [&lab.sites[0].host, &lab.sites[1].host];
    let mut evidence = Evidence::create(&args.common.evidence, "gateway")?;

    let (relay, addresses) = start_relay(&lab, &kaspath, &dir("relay")).await?;
    let (relay_id, relay_address) = (addresses.peer, addresses.tcp);

    let common = ["--network", "simnet", "--policy", "tcp-only", "--log-format", "json"];
    let right_args = [&["gateway", "--appdir", &right_dir, "--relay", &relay_address], &common[..]].concat();
    let mut right_gateway = Program::start("right gateway", right, &kaspath, &strings(&right_args))?;
    let right_id = started(&mut right_gateway).await?;
    reserved(&mut right_gateway).await?;

    let remote = format!("{relay_address}/p2p-circuit/p2p/{right_id}");
    let left_args = [&["gateway", "--appdir", &left_dir, "--remote", &remote], &common[..]].concat();
    let mut left_gateway = Program::start("left gateway", left, &kaspath, &strings(&left_args))?;
    let left_id = started(&mut left_gateway).await?;
    let gateway_peer = left_gateway.wait_event("gateway-peer", START).await?;
    let peer_address = gateway_peer["address"].as_str().context("no address")?.to_owned();
    for (id, name) in [(&relay_id, "<relay>"), (&left_id, "<left>"), (&right_id, "<right>")] {
        evidence.name(id, name);
    }

    let _right_kaspad = start_kaspad(args, right, dirs.path(), "right-kaspad", None)?;
    println!("mining {} blocks on the right kaspad ...", args.blocks);
    let mut right_rpc = start_rpc(right, args.blocks)?;
    right_rpc.wait_event("mined", Duration::from_secs(30) + Duration::from_millis(100) * args.blocks as u32).await?;
    let goal = block_count(&mut right_rpc).await?;

    println!("the left kaspad starts, with --addpeer={peer_address}");
    let _left_kaspad = start_kaspad(args, left, dirs.path(), "left-kaspad", Some(&peer_address))?;
    let opened = left_gateway.wait_event("gateway-opened", SESSION).await?;
    println!("its connection goes through: {}", opened["path"]);
    if opened["path"].get("direct").is_none() {
        bail!("the session is not direct: {opened}");
    }
    let begin = Instant::now();
    let mut left_rpc = start_rpc(left, 0)?;
    await_blocks(&mut left_rpc, goal, SYNC).await?;
    let seconds = begin.elapsed().as_secs_f64();
    println!("synced {goal} blocks in {seconds:.1} s: {:.0} blocks/s over the punched path", goal as f64 / seconds);

    // Live, both ways: what the one mines the other gets, and the relay stands still.
    sleep(Duration::from_secs(1)).await;
    let relay_bytes = lab.relay_bytes()?;
    let mut right_miner = start_rpc(right, LIVE_BLOCKS)?;
    right_miner.wait_event("mined", SESSION).await?;
    await_blocks(&mut left_rpc, goal + LIVE_BLOCKS, SESSION).await?;
    let mut left_miner = start_rpc(left, LIVE_BLOCKS)?;
    left_miner.wait_event("mined", SESSION).await?;
    await_blocks(&mut right_rpc, goal + 2 * LIVE_BLOCKS, SESSION).await?;
    let relay_bytes = lab.relay_bytes()? - relay_bytes;
    println!("{LIVE_BLOCKS} live blocks each way; the relay's interface moved {relay_bytes} bytes meanwhile");
    if relay_bytes > KEEPALIVE_BYTES {
        bail!("not direct: the relay moved {relay_bytes} bytes");
    }
    evidence.events("left-gateway", &left_gateway.stop().await?)?;
    evidence.events("right-gateway", &right_gateway.stop().await?)?;
    evidence.events("relay", &relay.stop().await?)?;
    for name in ["left-kaspad", "right-kaspad"] {
        evidence.table(&format!("{name}.log"), &fs::read_to_string(dirs.path().join(format!("{name}.log")))?)?;
    }
    evidence
        .summary(&json!({ "blocks": goal, "seconds": seconds, "live-blocks": 2 * LIVE_BLOCKS, "relay-bytes": relay_bytes }))?;
    println!("evidence: {}", evidence.dir().display());
    println!("1 passed, 0 failed");
    Ok(())
}

fn start_kaspad(args: &GatewayArgs, host: &Host, dirs: &Path, name: &str, peer: Option<&str>) -> Result<Child> {
    let mut command = Command::new("nsenter");
    command
        .arg(format!("--net=/run/netns/{}", host.namespace))
        .arg(&args.kaspad)
        .args(["--simnet", "--nodnsseed", "--disable-upnp", "--yes", "--nologfiles", "--nogrpc", "--unsaferpc"])
        .args(["--enable-unsynced-mining", "--listen=127.0.0.1:16511", &format!("--rpclisten-json={RPC}")])
        .arg(format!("--appdir={}", dirs.join(name).display()))
        .args(peer.map(|peer| format!("--addpeer={peer}")))
        .stdout(fs::File::create(dirs.join(format!("{name}.log")))?)
        .stderr(std::process::Stdio::null())
        .kill_on_drop(true);
    command.spawn().context("cannot start kaspad")
}

fn start_rpc(host: &Host, mine: u64) -> Result<Program> {
    let url = format!("ws://{RPC}");
    Program::start("rpc", host, &std::env::current_exe()?, &strings(&["rpc", "--url", &url, "--mine", &mine.to_string()]))
}

async fn block_count(rpc: &mut Program) -> Result<u64> {
    let event = rpc.wait_event("dag", START).await?;
    event["blocks"].as_u64().context("no block count")
}

async fn await_blocks(rpc: &mut Program, goal: u64, within: Duration) -> Result<()> {
    let what = format!("{goal} blocks");
    rpc.wait_for(&what, within, |event| event["blocks"].as_u64().is_some_and(|blocks| event["event"] == "dag" && blocks >= goal))
        .await
        .map(drop)
}
