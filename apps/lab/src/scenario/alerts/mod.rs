//! Every alert of `monitoring/rules`: it fires from its cause, and clears after it.
//!
//! Each host has a Prometheus, which scrapes the programs of that host over loopback, as one
//! does that a node's owner runs. Groups of alerts that do not disturb each other run at once.

mod common;
mod dashboards;
mod floods;
mod gateway;
mod limits;
mod node;
mod owner;
mod prometheus;
mod restarts;
mod scale;
mod trial;
mod unit;

use std::{collections::BTreeSet, fs, net::Ipv4Addr};

use anyhow::{Context, Result, bail};
use serde_json::json;

use crate::{
    cli::AlertsArgs,
    evidence::Evidence,
    net::{Lab, NatKind, RELAY_IP, WireSpec},
    process::{kaspath, need_kaspad},
    scenario::cast::sites,
};
use common::Common;
use prometheus::rule_files;
use trial::{Row, table};
use unit::Place;

/// Hosts beside the relay's, each in a prefix of its own: of the gateway, of a relay that is
/// flooded, and of those who flood it and who fill a small relay.
const GATEWAY_IP: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);
const FLOODED_IP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const CROWD_IP: Ipv4Addr = Ipv4Addr::new(198, 18, 11, 2);

pub(crate) async fn alerts(args: &AlertsArgs) -> Result<()> {
    need_kaspad(&args.kaspad)?;
    let dirs = tempfile::tempdir()?;
    let nat = NatKind::PortRestricted;
    let mut lab = Lab::build(sites(nat, nat, WireSpec::from_args(&args.common)))?;
    let [gateway_host, flooded_host, crowd_host] =
        [lab.add_public(GATEWAY_IP)?, lab.add_public(FLOODED_IP)?, lab.add_public(CROWD_IP)?];
    let kaspath = kaspath(args.common.kaspath.as_ref())?;
    let place = Place { host: lab.relay.clone(), kaspath, dirs: dirs.path().into() };
    let common = Common { place, kaspad: args.kaspad.clone(), monitoring: args.monitoring.clone(), factor: args.factor };
    let evidence = Evidence::create(&args.common.evidence, "alerts")?;

    let mut rows: [Vec<Row>; 6] = Default::default();
    let [node_rows, gateway_rows, flood_rows, limit_rows, owner_rows, restart_rows] = &mut rows;
    let only = |group: &str| args.only.as_deref().is_none_or(|only| only == group);
    let results = tokio::join!(
        when(only("node"), node::run(&common, &lab, &evidence, node_rows)),
        when(only("gateway"), gateway::run(&common, &gateway_host, &evidence, gateway_rows)),
        when(only("floods"), floods::run(&common, &flooded_host, FLOODED_IP, &crowd_host, &evidence, flood_rows)),
        when(only("limits"), limits::run(&common, RELAY_IP, &crowd_host, &evidence, limit_rows)),
        when(only("owner"), owner::run(&common, RELAY_IP, &crowd_host, &evidence, owner_rows)),
        when(only("restarts"), restarts::run(&common, &evidence, restart_rows)),
    );
    let rows: Vec<Row> = rows.into_iter().flatten().collect();
    let text = table(&rows);
    print!("{text}");
    evidence.table("table.txt", &text)?;
    evidence.summary(&json!({ "factor": args.factor, "alerts": rows.iter().map(Row::json).collect::<Vec<_>>() }))?;
    println!("evidence: {}", evidence.dir().display());

    let results = [results.0, results.1, results.2, results.3, results.4, results.5];
    let failed: Vec<String> = results.into_iter().filter_map(|result| Some(format!("{:#}", result.err()?))).collect();
    if !failed.is_empty() {
        bail!("{}", failed.join("\n"));
    }
    let missing = if args.only.is_none() { missing(&common, &rows)? } else { BTreeSet::new() };
    if !missing.is_empty() {
        bail!("these alerts have not been tried: {missing:?}");
    }
    println!("{} passed, 0 failed", rows.len());
    Ok(())
}

async fn when(wanted: bool, group: impl Future<Output = Result<()>>) -> Result<()> {
    if wanted { group.await } else { Ok(()) }
}

/// Alerts of the rules that have no row.
fn missing(common: &Common, rows: &[Row]) -> Result<BTreeSet<String>> {
    let mut alerts = BTreeSet::new();
    for file in rule_files(&common.monitoring.join("rules"))? {
        let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        alerts.extend(text.lines().filter_map(|line| line.trim().strip_prefix("- alert: ").map(str::to_owned)));
    }
    alerts.retain(|alert| rows.iter().all(|row| row.alert != alert));
    Ok(alerts)
}
