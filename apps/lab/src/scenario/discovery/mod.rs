//! Nodes that know one relay find each other and more relays.

mod parts;
mod seen;
mod stage;

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use serde_json::{Value, json};

use crate::{
    cli::{DiscoveryArgs, DiscoveryPart},
    evidence::Evidence,
    net::WireSpec,
    process::kaspath,
    stats::percentile,
};
use stage::{ONLY_V6, Stage};

/// Time to so many peers, after the last node's start.
const PEERS_WITHIN: Duration = Duration::from_secs(10);
const PEERS: usize = 3;
/// Time to the first peer, of 95 in a hundred.
const FIRST_PEER: f64 = 5.0;
/// And of each.
const FIRST_PEER_AT_ALL: Duration = Duration::from_secs(30);

pub(crate) async fn discovery(args: &DiscoveryArgs) -> Result<()> {
    let kaspath = kaspath(args.common.kaspath.as_ref())?;
    let evidence = Evidence::create(&args.common.evidence, "discovery")?;
    let mut stage = Stage::build(kaspath, WireSpec::from_args(&args.common), evidence).await?;
    stage.start_nodes().await?;
    let mut table = Table::default();
    let wanted = |part| args.only.is_empty() || args.only.contains(&part);
    for part in [
        // While the relay that the nodes are given is there.
        DiscoveryPart::FirstPeer,
        DiscoveryPart::Peers,
        DiscoveryPart::OnlyV6,
        DiscoveryPart::Lan,
        DiscoveryPart::RelaysKilled,
        DiscoveryPart::NewRelay,
    ] {
        if part == DiscoveryPart::Peers && wanted(DiscoveryPart::FirstPeer) {
            // So many starts have used up what a relay lets two nodes of one address ask.
            stage = stage.anew().await?;
        }
        if wanted(part) {
            table.add(part, run(&mut stage, part, args.rounds).await);
        }
    }
    let dir = stage.finish(&json!(table.rows)).await?;
    println!("evidence: {}", dir.display());
    println!("{} passed, {} failed", table.rows.len() - table.failed, table.failed);
    ensure!(table.failed == 0, "{} parts failed", table.failed);
    Ok(())
}

async fn run(stage: &mut Stage, part: DiscoveryPart, rounds: usize) -> Result<Value> {
    match part {
        DiscoveryPart::Peers => peers(stage, |node| node != ONLY_V6).await,
        DiscoveryPart::OnlyV6 => peers(stage, |node| node == ONLY_V6).await,
        DiscoveryPart::Lan => parts::lan(stage).await,
        DiscoveryPart::RelaysKilled => parts::relays_killed(stage).await,
        DiscoveryPart::NewRelay => parts::new_relay(stage).await,
        DiscoveryPart::FirstPeer => first_peer(stage, rounds).await,
    }
}

/// What came of each part; a failure does not end the run.
#[derive(Default)]
struct Table {
    rows: Vec<Value>,
    failed: usize,
}

impl Table {
    fn add(&mut self, part: DiscoveryPart, result: Result<Value>) {
        let (verdict, row) = match result {
            Ok(figures) => ("ok", json!({ "part": format!("{part:?}"), "ok": true, "figures": figures })),
            Err(error) => {
                self.failed += 1;
                ("FAILED", json!({ "part": format!("{part:?}"), "ok": false, "cause": format!("{error:#}") }))
            }
        };
        println!("{verdict:<7} {part:?}: {}", row.get("figures").or(row.get("cause")).unwrap_or(&Value::Null));
        self.rows.push(row);
    }
}

/// Every one of these nodes has enough peers in time.
async fn peers(stage: &mut Stage, of: impl Fn(usize) -> bool) -> Result<Value> {
    let enough = |nodes: &[stage::Node]| {
        let mut these = nodes.iter().enumerate().filter(|(index, _)| of(*index));
        these.all(|(_, node)| seen::when_peers(&node.program.events, PEERS).is_some())
    };
    // More time than is allowed, to know how long it takes.
    let came = stage.until(&format!("{PEERS} peers at each node"), PEERS_WITHIN * 3, enough).await;
    let last = stage.nodes.iter().map(|node| node.start).fold(0.0, f64::max);
    let mut figures = serde_json::Map::new();
    let mut late = came.is_err();
    for (_, node) in stage.nodes.iter().enumerate().filter(|(index, _)| of(*index)) {
        let times: Vec<Option<f64>> =
            (1..=PEERS).map(|count| seen::when_peers(&node.program.events, count).map(|time| time - last)).collect();
        late |= times.last().copied().flatten().is_none_or(|time| time > PEERS_WITHIN.as_secs_f64());
        figures.insert(
            node.name.to_owned(),
            json!({ "seconds-to-peers": times.into_iter().map(seen::rounded).collect::<Vec<_>>() }),
        );
    }
    ensure!(!late, "not all have {PEERS} peers within {PEERS_WITHIN:?}: {}", Value::from(figures));
    Ok(figures.into())
}

/// Starts all nodes anew again and again; the time of each to its first peer.
async fn first_peer(stage: &mut Stage, rounds: usize) -> Result<Value> {
    let (mut times, mut without) = (Vec::new(), Vec::new());
    for round in 1..=rounds {
        stage.start_nodes().await?;
        let all = |nodes: &[stage::Node]| nodes.iter().all(|node| seen::when_peers(&node.program.events, 1).is_some());
        // Who has none by then is told below.
        let _ = stage.until("a peer of each", FIRST_PEER_AT_ALL, all).await;
        for node in &stage.nodes {
            match seen::when_peers(&node.program.events, 1) {
                Some(time) => times.push(time - node.start),
                None => without.push(format!("{} in round {round}", node.name)),
            }
        }
    }
    let [median, p95, longest] = [0.5, 0.95, 1.0].map(|share| percentile(&times, share));
    let figures = json!({ "starts": times.len(), "median": seen::rounded(Some(median)), "p95": seen::rounded(Some(p95)),
        "longest": seen::rounded(Some(longest)), "without": without });
    if !without.is_empty() || p95.is_nan() || p95 >= FIRST_PEER {
        bail!("the first peer does not come within {FIRST_PEER} s: {figures}");
    }
    Ok(figures)
}
