//! The main job, live.

use std::time::Duration;

use anyhow::{Result, bail};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::cast::{CONTROL_BYTES, Cast, SESSION, is_direct_session, relay_reason, sites};
use crate::{
    cli::CommonArgs,
    net::{NatKind, WireSpec},
};

/// How long gossip is watched over a direct path, in seconds.
const WATCHED: u64 = 6;
/// And once the relay's plug is pulled.
const UNPLUGGED: u64 = 4;

pub(crate) async fn demo(args: &CommonArgs) -> Result<()> {
    let wire = WireSpec::from_args(args);
    say(&format!(
        "1. Two private hosts behind port-restricted NATs, each {} ms from the lab's internet, and a relay on it.",
        args.delay
    ));
    punched(args, wire).await?;
    say("");
    say("2. The same behind symmetric NATs, through which no punch can go.");
    relayed(args, wire).await?;
    say("");
    say("Done: direct where the NATs allow it, on the relay where they do not.");
    Ok(())
}

fn say(text: &str) {
    println!("{text}");
}

fn tell(text: &str) {
    println!("   {text}");
}

fn millis(seconds: &Value) -> String {
    format!("{:.0} ms", seconds.as_f64().unwrap_or(f64::NAN) * 1000.0)
}

async fn reservation(cast: &mut Cast) -> Result<()> {
    cast.announced().await?;
    tell("announced     the relay listens on the wildcard and announces its public addresses, no others");
    cast.reserved().await?;
    tell("reservation   the server is found through the relay");
    Ok(())
}

/// Prints the client's way to Ready; the event of the session.
async fn watch_client(cast: &mut Cast, over_relay: bool) -> Result<Value> {
    let deadline = Instant::now() + SESSION;
    let client = cast.client()?;
    let mut is_ready = false;
    loop {
        let Some(event) = client.next(deadline).await? else { bail!("the client did not reach Ready within {SESSION:?}") };
        match event["event"].as_str().unwrap_or_default() {
            "connected" if relay_reason(&event).is_some() => tell("relayed       the client has met the server on the relay"),
            "punch-dialing" => {
                tell(&format!("punching      offering {}, dialling {}", bare(&event["ours"]), bare(&event["theirs"])))
            }
            "punch-succeeded" => {
                let transport = event["transport"].as_str().unwrap_or_default();
                tell(&format!(
                    "punched       direct over {transport}, {} after the relayed connection",
                    millis(&event["elapsed"])
                ));
            }
            "punch-failed" => tell("punch failed  the NATs do not let it through"),
            "handshake" => {
                let step = event["step"].as_str().unwrap_or_default();
                tell(&format!("{step:<13} after {}", millis(&event["elapsed"])));
            }
            "peer-ready" if is_direct_session(&event) || over_relay => return Ok(event),
            "peer-ready" => {
                is_ready = true;
                tell("ready         on the relay for now");
            }
            "session-moved" if is_ready && is_direct_session(&event) => {
                tell("moved         the session goes on over the direct path, without a new handshake");
                return Ok(event);
            }
            "warning" => tell(&format!("warning       {}", event["text"].as_str().unwrap_or_default())),
            _ => {}
        }
    }
}

/// Addresses of a list, without peer ids.
fn bare(list: &Value) -> String {
    let addresses = list.as_array().map(Vec::as_slice).unwrap_or_default();
    let texts: Vec<&str> = addresses.iter().filter_map(|a| a.as_str()).map(|a| a.split("/p2p/").next().unwrap_or(a)).collect();
    if texts.is_empty() { "nothing".to_owned() } else { texts.join(" and ") }
}

/// Prints gossip and the relay's bytes, second by second; how many of each came.
async fn watch_gossip(cast: &mut Cast, seconds: u64, label: &str) -> Result<(u64, u64)> {
    let (first_gossip, first_bytes) = (cast.gossip(), cast.lab.relay_bytes()?);
    let (mut gossip, mut bytes) = (first_gossip, first_bytes);
    for _ in 0..seconds {
        sleep(Duration::from_secs(1)).await;
        let (now_gossip, now_bytes) = (cast.gossip(), cast.lab.relay_bytes()?);
        tell(&format!(
            "{label:<13} +{} Kaspa transactions gossiped; the relay's interface moved +{} bytes, {now_bytes} in all",
            now_gossip - gossip,
            now_bytes - bytes
        ));
        (gossip, bytes) = (now_gossip, now_bytes);
    }
    Ok((gossip - first_gossip, bytes - first_bytes))
}

async fn punched(args: &CommonArgs, wire: WireSpec) -> Result<()> {
    let nat = NatKind::PortRestricted;
    let mut cast = Cast::start(args, "demo-punched", sites(nat, nat, wire), "tcp-only").await?;
    reservation(&mut cast).await?;
    cast.start_client().await?;
    watch_client(&mut cast, false).await?;
    cast.circuits_ended().await?;
    let (gossip, bytes) = watch_gossip(&mut cast, WATCHED, "gossip").await?;
    if gossip == 0 || bytes > CONTROL_BYTES {
        bail!("not direct: {gossip} transactions gossiped while the relay moved {bytes} bytes");
    }
    cast.lab.unplug_relay()?;
    tell("unplugged     the relay's cable is pulled");
    let (unplugged_gossip, unplugged_bytes) = watch_gossip(&mut cast, UNPLUGGED, "gossip").await?;
    if unplugged_gossip == 0 || unplugged_bytes > 0 {
        bail!("not direct: {unplugged_gossip} transactions and {unplugged_bytes} relay bytes without the relay");
    }
    let summary = json!({
        "scenario": "port-restricted pair over TCP", "one-way-delay-ms": args.delay,
        "gossip": gossip, "relay-bytes-meanwhile": bytes,
        "gossip-without-relay": unplugged_gossip, "relay-bytes-without-relay": unplugged_bytes,
    });
    let dir = cast.finish(summary).await?;
    tell(&format!("evidence      {}", dir.display()));
    Ok(())
}

async fn relayed(args: &CommonArgs, wire: WireSpec) -> Result<()> {
    let nat = NatKind::Symmetric;
    let mut cast = Cast::start(args, "demo-symmetric", sites(nat, nat, wire), "balanced").await?;
    reservation(&mut cast).await?;
    cast.start_client().await?;
    watch_client(&mut cast, true).await?;
    let (gossip, bytes) = watch_gossip(&mut cast, 3, "gossip").await?;
    if gossip == 0 || bytes == 0 {
        bail!("the relayed session does not work: {gossip} transactions, {bytes} bytes through the relay");
    }
    let reason = cast
        .client()?
        .wait_for("the reason for the relay", SESSION, |event| {
            relay_reason(event).is_some_and(|reason| reason.get("punch-failed").is_some())
        })
        .await?;
    let reason = relay_reason(&reason).cloned().unwrap_or_default();
    tell(&format!("on the relay  because {}", explain(&reason)));
    let dir =
        cast.finish(json!({ "scenario": "symmetric pair", "gossip": gossip, "relay-bytes": bytes, "reason": reason })).await?;
    tell(&format!("evidence      {}", dir.display()));
    Ok(())
}

/// The reason as the library words it.
fn explain(reason: &Value) -> String {
    serde_json::from_value::<kaspath_domain::RelayReason>(reason.clone())
        .map_or_else(|_| reason.to_string(), |reason| reason.to_string())
}
