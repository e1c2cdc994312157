//! Every pair of NAT kinds, over TCP and over QUIC.

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::cast::{CONTROL_BYTES, Cast, SESSION, is_direct, is_direct_session, ready_over_relay, relay_reason, sites};
use crate::{
    cli::MatrixArgs,
    net::{NatKind, WireSpec},
};

/// Transactions that must pass, both ways together: about a second's.
const GOSSIP: u64 = 20;
const TRANSPORTS: [(&str, &str); 2] = [("tcp", "tcp-only"), ("quic", "quic-only")];

pub(crate) async fn matrix(args: &MatrixArgs) -> Result<()> {
    let mut rows = Vec::new();
    let mut failed = 0;
    println!("client NAT x server NAT, transport: outcome (time to direct)");
    for client in NatKind::ALL {
        for server in NatKind::ALL {
            for (transport, policy) in TRANSPORTS {
                let name = format!("{client} x {server} {transport}");
                if args.only.as_ref().is_some_and(|only| !name.contains(only.as_str())) {
                    continue;
                }
                let must_be_direct = client.can_punch(server);
                let row = match case(args, client, server, transport, policy, must_be_direct).await {
                    Ok(outcome) => format!("ok      {name}: {outcome}"),
                    Err(error) => {
                        failed += 1;
                        format!("FAILED  {name}: {error:#}")
                    }
                };
                println!("{row}");
                rows.push(row);
            }
        }
    }
    let passed = rows.len() - failed;
    println!("{passed} passed, {failed} failed");
    if rows.is_empty() {
        bail!("no pair is called so");
    }
    if failed > 0 {
        bail!("{failed} of {} pairs did not end as they must", rows.len());
    }
    Ok(())
}

async fn case(
    args: &MatrixArgs,
    client: NatKind,
    server: NatKind,
    transport: &str,
    policy: &'static str,
    must_be_direct: bool,
) -> Result<String> {
    let specs = sites(client, server, WireSpec::from_args(&args.common));
    let name = format!("matrix-{client}-{server}-{transport}");
    let mut cast = Cast::start(&args.common, &name, specs, policy).await?;
    cast.announced().await?;
    cast.reserved().await?;
    cast.start_client().await?;
    let (outcome, summary) = if must_be_direct { direct(&mut cast, transport).await? } else { stays(&mut cast).await? };
    check_candidates(&mut cast)?;
    cast.finish(summary).await?;
    Ok(outcome)
}

/// The session must become direct, and then leave the relay alone.
async fn direct(cast: &mut Cast, transport: &str) -> Result<(String, Value)> {
    let client = cast.client()?;
    client
        .wait_for("a session on a direct path", SESSION, |event| is_direct_session(event) && is_direct(event, transport))
        .await?;
    let punched = client.events.iter().find(|event| event["event"] == "punch-succeeded");
    let elapsed = punched.and_then(|event| event["elapsed"].as_f64()).unwrap_or(f64::NAN);
    cast.circuits_ended().await?;
    let (gossip, bytes) = (cast.gossip(), cast.lab.relay_bytes()?);
    cast.await_gossip(GOSSIP).await?;
    let (gossip, bytes) = (cast.gossip() - gossip, cast.lab.relay_bytes()? - bytes);
    if bytes > CONTROL_BYTES {
        bail!("not direct: {gossip} transactions gossiped while the relay moved {bytes} bytes");
    }
    let summary =
        json!({ "outcome": "direct", "transport": transport, "elapsed": elapsed, "gossip": gossip, "relay-bytes": bytes });
    Ok((
        format!("direct over {transport} ({:.0} ms), relay +{bytes} B while {gossip} transactions passed", elapsed * 1000.0),
        summary,
    ))
}

/// The session must work on the relay, and say why it is there.
async fn stays(cast: &mut Cast) -> Result<(String, Value)> {
    let client = cast.client()?;
    ready_over_relay(client).await?;
    let told = |event: &Value| {
        let reason = relay_reason(event).or_else(|| event.get("reason"));
        reason.is_some_and(|reason| reason.get("punch-failed").is_some())
    };
    if !client.events.iter().any(told) {
        client.wait_for("the reason for the relay", SESSION, told).await?;
    }
    let before = cast.gossip();
    cast.await_gossip(GOSSIP).await.context("over the relay")?;
    let gossip = cast.gossip() - before;
    if cast.client()?.has("punch-succeeded") {
        bail!("a punch succeeded where none can: the NATs are not what they should be");
    }
    Ok((format!("stays on the relay, says why, {gossip} transactions passed"), json!({ "outcome": "relayed", "gossip": gossip })))
}

/// A wrong candidate is the most common reason for punches that never work.
fn check_candidates(cast: &mut Cast) -> Result<()> {
    let wan_ips = [cast.lab.sites[0].wan_ip, cast.lab.sites[1].wan_ip];
    let [client_ip, server_ip] = wan_ips.map(|ip| format!("/ip4/{ip}/"));
    let programs = [(&cast.server, server_ip)].into_iter().chain(cast.client.as_ref().map(|client| (client, client_ip)));
    for (program, expected) in programs {
        let observed: Vec<&str> = program
            .events
            .iter()
            .filter(|event| event["event"] == "candidate-observed")
            .filter_map(|event| event["address"].as_str())
            .collect();
        if observed.is_empty() || !observed.iter().all(|address| address.starts_with(&expected)) {
            bail!("{}: candidates {observed:?}, but its NAT is at {expected}", program.name);
        }
    }
    Ok(())
}
