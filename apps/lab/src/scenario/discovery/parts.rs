//! What happens to nodes that have found each other.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use kaspath_domain::wall_clock;
use serde_json::{Value, json};

use super::{
    seen,
    stage::{LAN, Node, Stage},
};

/// Time for two nodes on one LAN to meet, and for their session to get there.
const ON_LAN: Duration = Duration::from_secs(60);
/// Transactions that each of them gets from the other while the WAN is cut.
const GOSSIP: u64 = 20;
/// Time for these: ten times what it takes.
const GOSSIP_WITHIN: Duration = Duration::from_secs(20);
/// Time until relays that come and go are replaced.
const REPLACED: Duration = Duration::from_secs(60);
/// Time for connections through a relay that was killed to end.
const NOTICED: Duration = Duration::from_secs(60);

/// The session of two nodes on one LAN is direct, by its private addresses, and lives on when
/// their router lets nothing pass.
pub(super) async fn lan(stage: &mut Stage) -> Result<Value> {
    let [one, other] = LAN;
    let peers = LAN.map(|index| stage.nodes[index].peer.clone());
    let direct = |nodes: &[Node]| {
        let is_direct = |node: usize, peer: &str| {
            let events = &nodes[node].program.events;
            seen::peers(events).contains(peer) && seen::path(events, peer).is_some_and(|path| path["direct"].is_object())
        };
        is_direct(one, &peers[1]) && is_direct(other, &peers[0])
    };
    stage.until("a direct session between the nodes on one LAN", ON_LAN, direct).await?;
    let connected =
        |event: &&Value| event["event"] == "connected" && event["peer"] == peers[1] && event["path"]["direct"].is_object();
    let remotes: Vec<Value> =
        stage.nodes[one].program.events.iter().filter(connected).map(|event| event["remote"].clone()).collect();
    ensure!(
        remotes.iter().any(|remote| remote.as_str().is_some_and(|text| text.starts_with("/ip4/192.168."))),
        "the direct session is not by private addresses: {remotes:?}"
    );
    stage.lan.cut_wan(true)?;
    let got = |nodes: &[Node]| LAN.map(|index| nodes[index].program.gossip_from(&peers[1 - usize::from(index == other)]));
    let before = got(&stage.nodes);
    let both = |nodes: &[Node]| got(nodes).iter().zip(before).all(|(now, before)| *now >= before + GOSSIP);
    let gossiped = stage.until("gossip over the LAN alone", GOSSIP_WITHIN, both).await;
    stage.lan.cut_wan(false)?;
    gossiped?;
    Ok(json!({ "remotes": remotes, "transactions-without-wan": GOSSIP }))
}

/// Kills the first two relays in turn: who was connected stays so.
pub(super) async fn relays_killed(stage: &mut Stage) -> Result<Value> {
    let mut rows = Vec::new();
    for index in 0..2 {
        let (name, killed) = (stage.relays[index].name, stage.relays[index].peer.clone());
        let left: BTreeSet<String> = stage.relays[index + 1..3].iter().map(|relay| relay.peer.clone()).collect();
        let held = |nodes: &[Node]| nodes.iter().all(|node| seen::held(&node.program.events).is_superset(&left));
        stage.until(&format!("reservations of all at relays beside {name}"), REPLACED, held).await?;
        let before = Sessions::of(stage)?;
        stage.relays[index].program.kill().await?;
        let gone = |nodes: &[Node]| nodes.iter().all(|node| !seen::held(&node.program.events).contains(&killed));
        stage.until(&format!("the end of all connections with {name}"), NOTICED, gone).await?;
        let go_on = |nodes: &[Node]| gossip(nodes, &before.peers).zip(&before.gossip).all(|(now, before)| now >= before + GOSSIP);
        let gossiped = stage.until(&format!("gossip in all sessions without {name}"), NOTICED, go_on).await;
        before.stand(stage).with_context(|| format!("{name} was killed"))?;
        gossiped?;
        rows.push(json!({ "killed": name, "sessions": before.peers.iter().map(BTreeSet::len).sum::<usize>() }));
    }
    Ok(rows.into())
}

/// A relay that only the last one knows is used soon.
pub(super) async fn new_relay(stage: &mut Stage) -> Result<Value> {
    let begin = wall_clock().since_epoch().as_secs_f64();
    stage.start_relay(3, Some(2)).await?;
    let new = stage.relays[3].peer.clone();
    let used = |nodes: &[Node]| nodes.iter().any(|node| seen::held(&node.program.events).contains(&new));
    stage.until("a reservation at the new relay", REPLACED, used).await?;
    let confirmed = |event: &&Value| event["event"] == "reservation" && event["relay"] == new && event["state"] == "confirmed";
    let times = stage.nodes.iter().filter_map(|node| node.program.events.iter().find(confirmed)?["time"].as_f64());
    Ok(json!({ "seconds-to-first-reservation": seen::rounded(times.min_by(f64::total_cmp).map(|time| time - begin)) }))
}

/// Transactions that each node has from each of its peers.
fn gossip<'n>(nodes: &'n [Node], peers: &'n [BTreeSet<String>]) -> impl Iterator<Item = u64> + 'n {
    nodes.iter().zip(peers).flat_map(|(node, peers)| peers.iter().map(|peer| node.program.gossip_from(peer)))
}

/// The sessions of all nodes at some time.
struct Sessions {
    peers: Vec<BTreeSet<String>>,
    /// Transactions in each so far.
    gossip: Vec<u64>,
    /// Events of each node so far.
    events: Vec<usize>,
}

impl Sessions {
    fn of(stage: &mut Stage) -> Result<Self> {
        stage.drain();
        let peers: Vec<BTreeSet<String>> = stage.nodes.iter().map(|node| seen::peers(&node.program.events)).collect();
        if let Some((node, _)) = stage.nodes.iter().zip(&peers).find(|(_, peers)| peers.is_empty()) {
            bail!("{} has no session that could live on", node.name);
        }
        let gossip = gossip(&stage.nodes, &peers).collect();
        Ok(Self { gossip, events: stage.nodes.iter().map(|node| node.program.events.len()).collect(), peers })
    }

    /// Fails if one of them has ended since.
    fn stand(&self, stage: &Stage) -> Result<()> {
        for ((node, peers), seen) in stage.nodes.iter().zip(&self.peers).zip(&self.events) {
            let left =
                |event: &&Value| event["event"] == "peer-left" && event["peer"].as_str().is_some_and(|peer| peers.contains(peer));
            if let Some(event) = node.program.events[*seen..].iter().find(left) {
                bail!("a session of {} ended: {event}", node.name);
            }
        }
        Ok(())
    }
}
