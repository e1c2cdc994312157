//! A session that began on the relay moves to a direct path, and back.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::cast::{Cast, SESSION, is_direct, relay_reason, sites};
use crate::{
    cli::CommonArgs,
    net::{Cut, NatKind, WireSpec},
};

/// Transactions that must pass over a new session, both ways together.
const GOSSIP: u64 = 20;
/// The second punch follows the first's failure (10 s) by the cadence (2 s).
const RETRIED: Duration = Duration::from_secs(60);
/// A dead path is noticed by HTTP/2's keepalive (40 s) or libp2p's pings (40 s);
/// then the peer is dialled again, and a relayed stream follows after 6 s.
const NOTICED: Duration = Duration::from_secs(120);

pub(crate) async fn paths(args: &CommonArgs) -> Result<()> {
    let specs = sites(NatKind::Symmetric, NatKind::PortRestricted, WireSpec::from_args(args));
    let mut cast = Cast::start(args, "paths", specs, "balanced").await?;
    cast.reserved().await?;
    cast.start_client().await?;
    let relayed = |event: &Value| event["event"] == "peer-ready" && relay_reason(event).is_some();
    cast.client()?.wait_for("Ready over the relay", SESSION, relayed).await?;
    println!("Ready over the relay, behind a symmetric and a port-restricted NAT");

    cast.lab.change_nat(1, NatKind::FullCone)?;
    println!("the server's NAT is a full cone from now on");
    let direct = |event: &Value| event["event"] == "peer-ready" && (is_direct(event, "tcp") || is_direct(event, "quic"));
    let begin = Instant::now();
    cast.client()?.wait_for("Ready over a direct path", RETRIED, direct).await?;
    let upgraded = begin.elapsed();
    // Whichever side is ready first closes the old session.
    let left =
        |event: &Value| event["event"] == "peer-left" && ["superseded", "peer-closed"].iter().any(|r| event["reason"] == *r);
    let client = cast.client()?;
    if !client.events.iter().any(left) {
        client.wait_for("the end of the session on the relay", SESSION, left).await?;
    }
    println!("moved to a direct path after {:.1} s; the session on the relay is closed", upgraded.as_secs_f64());
    expect_gossip(&mut cast).await?;

    cast.lab.cut(Cut::Direct)?;
    println!("the way between the two sites is dead from now on");
    let begin = Instant::now();
    cast.client()?.wait_for("Ready over the relay again", NOTICED, relayed).await?;
    let degraded = begin.elapsed();
    println!("back on the relay after {:.1} s", degraded.as_secs_f64());
    expect_gossip(&mut cast).await?;

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
    cast.await_gossip(GOSSIP).await.context("over the new session")?;
    println!("{GOSSIP} transactions gossiped over it in {:.1} s", begin.elapsed().as_secs_f64());
    Ok(())
}
