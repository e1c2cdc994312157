//! A small relay that real servers fill.

use std::{net::Ipv4Addr, time::Instant};

use anyhow::Result;

use super::{
    common::Common,
    dashboards,
    trial::{Row, Trial},
    unit::{Unit, settings},
};
use crate::{evidence::Evidence, net::Host, scenario::cast::reserved};

const RELAY: &str = "small-relay";
const PORT: u16 = 4031;
const WEB: u16 = 9_130;
/// Servers on one host, and as many reservations as two of them take.
const SERVERS: [&str; 5] = ["server-1", "server-2", "server-3", "server-4", "server-5"];
const RESERVATIONS: usize = 2;
const SERVERS_WEB: u16 = 9_131;

pub(super) async fn run(common: &Common, ip: Ipv4Addr, crowd: &Host, evidence: &Evidence, rows: &mut Vec<Row>) -> Result<()> {
    let file = settings(&common.place.dirs, RELAY, &format!("[relay-server]\nmax-reservations = {RESERVATIONS}\n"))?;
    let relay = Unit::relay(&common.place, RELAY, PORT, WEB, &["--config", &file]).await?;
    let prometheus = common.prometheus(&relay).await?;
    let via = format!("/ip4/{ip}/tcp/{PORT}/p2p/{}", relay.peer);
    let crowd = common.place.at(crowd);
    let server = async |n: usize| {
        let args = ["server", "--network", "simnet", "--relay", &via];
        Unit::start(&crowd, SERVERS[n], SERVERS_WEB + n as u16, &args).await
    };

    let nearly = Trial::begin(&prometheus, "KaspathRelayNearlyFull", RELAY, "two servers take both reservations").await?;
    let mut servers = Vec::new();
    for n in 0..RESERVATIONS {
        servers.push(server(n).await?);
        reserved(servers[n].program()?).await?;
    }
    let nearly = nearly.fired().await?;

    let full = Trial::begin(&prometheus, "KaspathRelayFull", RELAY, "three more servers ask for one").await?;
    for n in RESERVATIONS..SERVERS.len() {
        servers.push(server(n).await?);
    }
    let full = full.fired().await?;
    dashboards::check(common, &prometheus, "relay.json", evidence).await?;
    for server in &mut servers {
        server.stop().await?;
    }
    let end = Instant::now();
    rows.push(nearly.cleared(end).await?);
    rows.push(full.cleared(end).await?);

    prometheus.stop().await?;
    for unit in servers.into_iter().chain([relay]) {
        unit.finish(evidence).await?;
    }
    Ok(())
}
