//! A relay whose owner limits bytes and memory, and ends it. Settings change while it runs, as
//! the runbooks say.

use std::{fs, net::Ipv4Addr, time::Instant};

use anyhow::Result;

use super::{
    common::Common,
    trial::{Row, Trial},
    unit::{Unit, settings},
};
use crate::{
    evidence::Evidence,
    net::Host,
    scenario::cast::{ready_over_relay, reserved},
};

const RELAY: &str = "limited-relay";
const PORT: u16 = 4041;
const WEB: u16 = 9_150;
/// A session over the relay that wants more than the rate allows: a transaction each 10 ms, both ways.
const TRAFFIC: [&str; 6] = ["--network", "simnet", "--policy", "relay-only", "--test-traffic", "10"];
const RATE: &str = "bytes-per-second = \"16KB\"\n";
/// What the quota leaves when it is set, and a rate by which that lasts for some time.
const LEFT: u64 = 100_000;

pub(super) async fn run(common: &Common, ip: Ipv4Addr, crowd: &Host, evidence: &Evidence, rows: &mut Vec<Row>) -> Result<()> {
    let file = settings(&common.place.dirs, RELAY, &server(""))?;
    let mut relay = Unit::relay(&common.place, RELAY, PORT, WEB, &["--config", &file]).await?;
    let prometheus = common.prometheus(&relay).await?;
    let via = format!("/ip4/{ip}/tcp/{PORT}/p2p/{}", relay.peer);
    let crowd = common.place.at(crowd);
    let mut called = Unit::start(&crowd, "called", WEB, &[&["server", "--relay", &via][..], &TRAFFIC].concat()).await?;
    reserved(called.program()?).await?;
    let remote = format!("{via}/p2p-circuit/p2p/{}", called.peer);
    let mut caller = Unit::start(&crowd, "caller", WEB + 1, &[&["client", "--remote", &remote][..], &TRAFFIC].concat()).await?;
    ready_over_relay(caller.program()?).await?;

    let limited =
        Trial::begin(&prometheus, "KaspathRelayRateLimited", RELAY, "a session wants more than bytes-per-second").await?;
    change(&mut relay, &file, RATE)?;
    let limited = limited.fired().await?;
    change(&mut relay, &file, "")?;
    rows.push(limited.cleared(Instant::now()).await?);

    // Bytes are counted only while there are rates or quotas.
    let nearly = Trial::begin(&prometheus, "KaspathRelayQuotaNearlyUsed", RELAY, "a session uses up the quota").await?;
    let used = prometheus.value("kaspath_relay_quota_used_bytes", RELAY).await? as u64;
    change(&mut relay, &file, &format!("quota = {}\n{RATE}", used + LEFT))?;
    let nearly = nearly.fired().await?;
    change(&mut relay, &file, "")?;
    rows.push(nearly.cleared(Instant::now()).await?);

    let memory =
        Trial::begin(&prometheus, "KaspathRelayMemoryPressure", RELAY, "the relay needs more memory than max-memory").await?;
    let resident = prometheus.value("process_resident_memory_bytes", RELAY).await? as u64;
    change(&mut relay, &file, &format!("max-memory = {}\n", resident / 2))?;
    let memory = memory.fired().await?;
    change(&mut relay, &file, "")?;
    rows.push(memory.cleared(Instant::now()).await?);

    let drains = Trial::begin(&prometheus, "KaspathRelayDrains", RELAY, "the relay is told to end, and a circuit stays").await?;
    // The quota ended the circuit; the session has another one soon.
    prometheus.until(&format!("kaspath_relay_used{{instance=\"{RELAY}\", resource=\"circuits\"}} > 0")).await?;
    relay.program()?.terminate()?;
    let drains = drains.fired().await?;
    caller.stop().await?;
    rows.push(drains.cleared(Instant::now()).await?);

    prometheus.stop().await?;
    for unit in [caller, called, relay] {
        unit.finish(evidence).await?;
    }
    Ok(())
}

/// The file of settings. A drain lasts until its circuits have ended.
fn server(limits: &str) -> String {
    format!("[relay-server]\ndrain-timeout = \"5min\"\n{limits}")
}

/// Changes the limits while the relay runs.
fn change(relay: &mut Unit, file: &str, limits: &str) -> Result<()> {
    fs::write(file, server(limits))?;
    relay.program()?.hang_up()
}
