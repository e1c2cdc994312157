//! kaspad's RPC, driven from inside a host.

use std::{net::IpAddr, time::Duration};

use anyhow::{Context, Result, bail};
use kaspath_kaspad_rpc::KaspadRpc;
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::cli::RpcArgs;

/// Time for kaspad to open its RPC.
const START: Duration = Duration::from_secs(30);
const RETRY: Duration = Duration::from_millis(100);
/// A valid simnet address; nobody spends what it earns.
const PAY_ADDRESS: &str = "kaspasim:qpumuen7l8wthtz45p3ftn58pvrs9xlumvkuu2xet8egzkcklqtes65ue9mw6";

/// Connects to a kaspad that may be starting.
pub(super) async fn connect(url: &str) -> Result<KaspadRpc> {
    let deadline = Instant::now() + START;
    loop {
        match KaspadRpc::connect(url).await {
            Ok(rpc) => return Ok(rpc),
            Err(error) if Instant::now() > deadline => return Err(error).context("kaspad's RPC does not open"),
            Err(_) => sleep(RETRY).await,
        }
    }
}

/// Mines a block. kaspad takes none while it syncs many: `false`.
pub(super) async fn mine(rpc: &mut KaspadRpc) -> Result<bool> {
    let mut template = rpc.call("getBlockTemplate", json!({ "payAddress": PAY_ADDRESS, "extraData": [] })).await?;
    let block = template["block"].take();
    let answer = rpc.call("submitBlock", json!({ "block": block, "allowNonDAABlocks": false })).await?;
    Ok(answer["report"]["type"] == "success")
}

/// Does what is asked, then prints kaspad's state for ever.
pub(crate) async fn rpc(args: &RpcArgs) -> Result<()> {
    let mut rpc = connect(&args.url).await?;
    for _ in 0..args.mine {
        if !mine(&mut rpc).await? {
            bail!("kaspad does not take the block");
        }
    }
    println!("{}", json!({ "event": "mined", "blocks": args.mine }));
    if let Some(ip) = &args.ban {
        rpc.ban(ip.parse::<IpAddr>()?).await?;
        println!("{}", json!({ "event": "banned", "ip": ip }));
    }
    loop {
        let dag = rpc.block_dag().await?;
        let peers = rpc.connected_peers().await?;
        let peers: Vec<_> =
            peers.iter().map(|peer| json!({ "id": peer.id, "ip": peer.address.ip(), "outbound": peer.is_outbound })).collect();
        println!("{}", json!({ "event": "state", "blocks": dag.block_count, "sink": dag.sink, "peers": peers }));
        sleep(Duration::from_millis(args.every)).await;
    }
}
