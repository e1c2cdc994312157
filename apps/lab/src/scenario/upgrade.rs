//! A session that began on the relay moves to a direct path.

use std::time::Duration;

use anyhow::{Result, bail};
use serde_json::json;
use tokio::time::sleep;

use super::cast::{Cast, SESSION, is_direct, relay_reason, sites};
use crate::{
    cli::CommonArgs,
    net::{NatKind, WireSpec},
};

/// The second punch follows the first's failure (10 s) by the cadence (2 s).
const RETRIED: Duration = Duration::from_secs(60);

pub(crate) async fn upgrade(args: &CommonArgs) -> Result<()> {
    let specs = sites(NatKind::Symmetric, NatKind::PortRestricted, WireSpec::from_args(args));
    let mut cast = Cast::start(args, "upgrade", specs, "balanced").await?;
    cast.reserved().await?;
    cast.start_client().await?;
    cast.client()?
        .wait_for("Ready over the relay", SESSION, |event| event["event"] == "peer-ready" && relay_reason(event).is_some())
        .await?;
    println!("Ready over the relay, behind a symmetric and a port-restricted NAT");

    cast.lab.change_nat(1, NatKind::FullCone)?;
    println!("the server's NAT is a full cone from now on");
    let direct =
        |event: &serde_json::Value| event["event"] == "peer-ready" && (is_direct(event, "tcp") || is_direct(event, "quic"));
    cast.client()?.wait_for("Ready over a direct path", RETRIED, direct).await?;
    let left = |event: &serde_json::Value| event["event"] == "peer-left" && event["reason"] == "superseded";
    let client = cast.client()?;
    if !client.events.iter().any(left) {
        client.wait_for("the end of the session on the relay", SESSION, left).await?;
    }
    println!("the session has moved to a direct path, the one on the relay is closed");

    sleep(Duration::from_millis(500)).await;
    let before = cast.gossip();
    sleep(Duration::from_secs(1)).await;
    let gossip = cast.gossip() - before;
    if gossip == 0 {
        bail!("nothing is gossiped over the new session");
    }
    println!("{gossip} transactions gossiped over it in a second");
    cast.finish(json!({ "scenario": "relay to direct", "gossip": gossip })).await?;
    println!("1 passed, 0 failed");
    Ok(())
}
