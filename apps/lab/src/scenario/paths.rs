//! A session that began on the relay moves to a direct path, and back.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::cast::{Cast, is_direct_session, ready_over_relay, relay_reason, sites};
use crate::{
    cli::CommonArgs,
    net::{Cut, NatKind, WireSpec},
};

/// Transactions that must pass over a new session, both ways together.
const GOSSIP: u64 = 20;
/// The second punch follows the first's failure (10 s) by the cadence (2 s).
const RETRIED: Duration = Duration::from_secs(60);
/// A session notices a dead path by its own acknowledgements, within seconds, and is parked
/// for 90 s at most.
const NOTICED: Duration = Duration::from_secs(90);

pub(crate) async fn paths(args: &CommonArgs) -> Result<()> {
    let specs = sites(NatKind::Symmetric, NatKind::PortRestricted, WireSpec::from_args(args));
    let mut cast = Cast::start(args, "paths", specs, "balanced").await?;
    cast.reserved().await?;
    cast.start_client().await?;
    ready_over_relay(cast.client()?).await?;
    println!("Ready over the relay, behind a symmetric and a port-restricted NAT");

    cast.lab.change_nat(1, NatKind::FullCone)?;
    println!("the server's NAT is a full cone from now on");
    let begin = Instant::now();
    cast.client()?.wait_for("the move to a direct path", RETRIED, is_direct_session).await?;
    let upgraded = begin.elapsed();
    println!("moved to a direct path after {:.1} s", upgraded.as_secs_f64());
    expect_gossip(&mut cast).await?;

    cast.lab.cut(Cut::Direct)?;
    println!("the way between the two sites is dead from now on");
    let begin = Instant::now();
    let back = |event: &Value| event["event"] == "session-moved" && relay_reason(event).is_some();
    let moved = cast.client()?.wait_for("the move back to the relay", NOTICED, back).await?;
    let degraded = begin.elapsed();
    println!("back on the relay after {:.1} s, of them {} s without a path", degraded.as_secs_f64(), moved["stall"]);
    expect_gossip(&mut cast).await?;
    if cast.client()?.has("peer-left") {
        bail!("the session has ended: it was to move");
    }

    let summary = json!({
        "scenario": "relay to direct and back",
        "to-direct-seconds": upgraded.as_secs_f64(), "back-to-relay-seconds": degraded.as_secs_f64(),
    });
    cast.finish(summary).await?;
    println!("2 passed, 0 failed");
    Ok(())
}

async fn expect_gossip(cast: &mut Cast) -> Result<()> {
    let begin = Instant::now();
    cast.await_gossip(GOSSIP).await.context("over the new path")?;
    println!("{GOSSIP} transactions gossiped over it in {:.1} s", begin.elapsed().as_secs_f64());
    Ok(())
}
