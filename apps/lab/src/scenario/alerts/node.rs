//! A server and a client behind NATs, with two relays: what the network does to them.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::time::sleep;

use super::{
    common::Common,
    dashboards,
    trial::{Row, Trial},
    unit::Unit,
};
use crate::{
    evidence::Evidence,
    net::{Cut, Lab, RELAY_IP},
    scenario::cast::{ANY, SESSION, is_direct_session, ready_over_relay, reserved},
};

/// Ports of the relays, and of what their host serves over HTTP.
const RELAY_PORTS: [u16; 2] = [4001, 4011];
const RELAY_WEB: [u16; 2] = [9_101, 9_102];
const WEB: u16 = 9_100;
const SERVER: &str = "server";
/// How long the network is gone and there, in turn: a session notices within 2 s.
const FLAP: Duration = Duration::from_secs(4);
const TRAFFIC: [&str; 6] = ["--network", "simnet", "--policy", "balanced", "--test-traffic", "100"];

pub(super) async fn run(common: &Common, lab: &Lab, evidence: &Evidence, rows: &mut Vec<Row>) -> Result<()> {
    // The server is behind the first NAT, which can be cut off.
    let [server_host, client_host] = [&lab.sites[0].host, &lab.sites[1].host];
    let mut relays = Vec::new();
    for (n, name) in ["relay-1", "relay-2"].into_iter().enumerate() {
        relays.push(Unit::relay(&common.place, name, RELAY_PORTS[n], RELAY_WEB[n], &[]).await?);
    }
    let via: Vec<String> =
        relays.iter().zip(RELAY_PORTS).map(|(relay, port)| format!("/ip4/{RELAY_IP}/tcp/{port}/p2p/{}", relay.peer)).collect();
    let args = [&["server", "--relay", &via[0], "--relay", &via[1]][..], &TRAFFIC, &ANY].concat();
    let mut server = Unit::start(&common.place.at(server_host), SERVER, WEB, &args).await?;
    reserved(server.program()?).await?;
    let prometheus = common.prometheus(&server).await?;

    // A path that is dead from the start on: every punch fails.
    let stuck = Trial::begin(&prometheus, "KaspathStuckOnRelay", SERVER, "packets between the two NATs are dropped").await?;
    lab.cut(Cut::Direct)?;
    let remotes = via.iter().map(|via| format!("{via}/p2p-circuit/p2p/{}", server.peer)).collect::<Vec<_>>();
    let args = [&["client", "--remote", &remotes[0], "--remote", &remotes[1]][..], &TRAFFIC, &ANY].concat();
    let mut client = Unit::start(&common.place.at(client_host), "client", WEB, &args).await?;
    ready_over_relay(client.program()?).await?;
    let stuck = stuck.fired().await?;
    lab.cut(Cut::Nothing)?;
    rows.push(stuck.cleared(Instant::now()).await?);

    let stalls =
        Trial::begin(&prometheus, "KaspathSessionsStall", SERVER, "the server's network is gone for 4 s of 8, again and again")
            .await?;
    let stalls = tokio::select! {
        fired = stalls.fired() => fired?,
        error = flap(lab) => return Err(error),
    };
    lab.cut(Cut::Nothing)?;
    rows.push(stalls.cleared(Instant::now()).await?);

    let missing = Trial::begin(&prometheus, "KaspathReservationMissing", SERVER, "one of two relays is killed").await?;
    relays[1].kill().await?;
    let missing = missing.fired().await?;
    relays[1].start_again().await?;
    rows.push(missing.cleared(Instant::now()).await?);

    let none = Trial::begin(&prometheus, "KaspathNoReservation", SERVER, "both relays are killed").await?;
    for relay in &mut relays {
        relay.kill().await?;
    }
    let none = none.fired().await?;
    for relay in &mut relays {
        relay.start_again().await?;
    }
    rows.push(none.cleared(Instant::now()).await?);

    let alone = Trial::begin(&prometheus, "KaspathNoSession", SERVER, "the only client ends").await?;
    client.stop().await?;
    let alone = alone.fired().await?;
    client.start_again().await?;
    rows.push(alone.cleared(Instant::now()).await?);
    client.program()?.wait_for("a direct session", SESSION, is_direct_session).await.context("after its start")?;

    let offline = Trial::begin(&prometheus, "KaspathOffline", SERVER, "the server's network is gone").await?;
    lab.cut(Cut::Everything)?;
    let offline = offline.fired().await?;
    lab.cut(Cut::Nothing)?;
    rows.push(offline.cleared(Instant::now()).await?);

    dashboards::check(common, &prometheus, "node.json", evidence).await?;
    prometheus.stop().await?;
    for unit in [client, server].into_iter().chain(relays) {
        unit.finish(evidence).await?;
    }
    Ok(())
}

/// Lets the server's network come and go, for ever; an error of it.
async fn flap(lab: &Lab) -> anyhow::Error {
    loop {
        for cut in [Cut::Everything, Cut::Nothing] {
            if let Err(error) = lab.cut(cut) {
                return error;
            }
            sleep(FLAP).await;
        }
    }
}
