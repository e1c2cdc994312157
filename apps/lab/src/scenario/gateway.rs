//! Two unmodified kaspads, each behind its own NAT, joined by gateways; and the
//! same two over plain TCP, to compare.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::{
    cast::{CONTROL_BYTES, SESSION, is_direct_session, reserved, sites, start_relay, started, strings},
    nodes::{Kaspad, P2P, Rpc},
};
use crate::{
    cli::GatewayArgs,
    evidence::Evidence,
    net::{Lab, NatKind, WireSpec},
    process::{Program, kaspath, need_kaspad},
    stats::percentile,
};

/// Blocks mined live, on each side, once the two are in sync.
const LIVE_BLOCKS: u64 = 20;
/// Time to sync a block, many times what it takes.
const BLOCK: Duration = Duration::from_millis(100);
/// Between two looks at the block count while the time is taken.
const LOOK: u64 = 20;
/// Where a kaspad listens that the gateway is not to find.
const ELSEWHERE: u16 = 26511;

pub(crate) async fn gateway(args: &GatewayArgs) -> Result<()> {
    need_kaspad(&args.kaspad)?;
    let kaspath = kaspath(args.common.kaspath.as_ref())?;
    let lab = Lab::build(sites(args.client_nat, args.server_nat, WireSpec::from_args(&args.common)))?;
    let must_be_direct = args.client_nat.can_punch(args.server_nat);
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
    for (id, name) in [(&relay_id, "<relay>"), (&left_id, "<left>"), (&right_id, "<right>")] {
        evidence.name(id, name);
    }

    let right_kaspad = Kaspad::start("right-kaspad", &args.kaspad, right, dirs.path(), &[])?;
    println!("mining {} blocks on the right kaspad ...", args.blocks);
    let goal = Rpc::mine(right, args.blocks).await?.blocks().await?;
    let mut right_rpc = Rpc::watch(right)?;

    // Rounds alternate, so that what the machine does besides falls on both alike.
    let mut rates = [Vec::new(), Vec::new()];
    if args.rounds > 0 {
        // Plain TCP needs the port forwarded, and a kaspad that the gateway does not find.
        let plain = [format!("--addpeer={}:{P2P}", lab.sites[1].wan_ip), format!("--listen=127.0.0.1:{ELSEWHERE}")];
        let plain = plain.each_ref().map(String::as_str);
        for round in 1..=args.rounds {
            for (way, flags, kind) in [("gateway", &[][..], args.server_nat), ("plain TCP", &plain[..], NatKind::FullCone)] {
                lab.change_nat(1, kind)?;
                let mut kaspad = Kaspad::start("compared-kaspad", &args.kaspad, left, dirs.path(), flags)?;
                let rate = sync(&mut Rpc::watch_every(left, LOOK)?, goal).await?;
                kaspad.stop().await?;
                std::fs::remove_dir_all(dirs.path().join("compared-kaspad"))?;
                println!("round {round}: {goal} blocks over {way}: {rate:.1} blocks/s");
                rates[usize::from(way != "gateway")].push(rate);
            }
        }
        lab.change_nat(1, args.server_nat)?;
    }

    println!("the left kaspad starts, and is told of no peer");
    left_gateway.drain();
    let left_kaspad = Kaspad::start("left-kaspad", &args.kaspad, left, dirs.path(), &[])?;
    let opened = left_gateway.wait_event("gateway-opened", SESSION).await?;
    println!("the two are joined: {}", opened["path"]);
    if must_be_direct && !is_direct_session(&opened) {
        let moved = left_gateway.wait_for("a direct path", SESSION, is_direct_session).await?;
        println!("the same session has moved: {}", moved["path"]);
    }
    if !must_be_direct && is_direct_session(&opened) {
        bail!("the session does not take the way that it must: {opened}");
    }
    let mut left_rpc = Rpc::watch_every(left, LOOK)?;
    let rate = sync(&mut left_rpc, goal).await?;
    for (name, rpc) in [("left", &mut left_rpc), ("right", &mut right_rpc)] {
        let state = rpc.state().await?;
        let peers = state["peers"].as_array().context("no peers")?;
        if peers.len() != 1 || peers.iter().any(|peer| peer["outbound"] != false) {
            bail!("the {name} kaspad is to have one peer, an inbound one: {state}");
        }
    }
    println!("synced {goal} blocks: {rate:.1} blocks/s over {}", if must_be_direct { "the punched path" } else { "the relay" });

    let relay_bytes = follow_live(&lab, &mut left_rpc, &mut right_rpc, goal).await?;
    println!("{LIVE_BLOCKS} live blocks each way; the relay's interface moved {relay_bytes} bytes meanwhile");
    if must_be_direct && relay_bytes > CONTROL_BYTES {
        bail!("not direct: the relay moved {relay_bytes} bytes");
    }
    evidence.events("left-gateway", &left_gateway.stop().await?)?;
    evidence.events("right-gateway", &right_gateway.stop().await?)?;
    evidence.events("relay", &relay.stop().await?)?;
    left_kaspad.keep_log(&evidence)?;
    right_kaspad.keep_log(&evidence)?;
    let medians = rates.clone().map(|rates| percentile(&rates, 0.5));
    let ratio = medians[0] / medians[1];
    let nats = format!("{} x {}", args.client_nat, args.server_nat);
    evidence.summary(&json!({
        "nats": nats, "blocks": goal, "blocks-per-second": rate, "live-blocks": 2 * LIVE_BLOCKS, "relay-bytes": relay_bytes,
        "gateway-rates": rates[0], "plain-rates": rates[1], "ratio-of-medians": ratio,
    }))?;
    if args.rounds > 0 {
        println!("medians: {:.1} blocks/s over the gateway, {:.1} over plain TCP: {ratio:.3}", medians[0], medians[1]);
        if ratio < args.min_ratio {
            bail!("the gateway is slower than {} of plain TCP", args.min_ratio);
        }
    }
    println!("evidence: {}", evidence.dir().display());
    println!("1 passed, 0 failed");
    Ok(())
}

/// Blocks per second from the peer's appearing to the last block.
async fn sync(rpc: &mut Rpc, goal: u64) -> Result<f64> {
    rpc.await_peers("a peer", SESSION, |peers| !peers.is_empty()).await?;
    let begin = Instant::now();
    rpc.await_blocks(goal, SESSION + BLOCK * u32::try_from(goal)?).await?;
    Ok(goal as f64 / begin.elapsed().as_secs_f64())
}

/// What the one mines the other gets, both ways; the relay's bytes meanwhile.
async fn follow_live(lab: &Lab, left: &mut Rpc, right: &mut Rpc, goal: u64) -> Result<u64> {
    // The sync's last acknowledgements are not to be counted.
    sleep(Duration::from_secs(1)).await;
    let before = lab.relay_bytes()?;
    Rpc::mine(&lab.sites[1].host, LIVE_BLOCKS).await?;
    left.await_blocks(goal + LIVE_BLOCKS, SESSION).await?;
    Rpc::mine(&lab.sites[0].host, LIVE_BLOCKS).await?;
    right.await_blocks(goal + 2 * LIVE_BLOCKS, SESSION).await?;
    Ok(lab.relay_bytes()? - before)
}
