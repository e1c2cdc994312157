//! A node with a kaspad that others can reach serves them as a relay and tells them of its kaspad,
//! and ends that in order when they cannot any more.

use std::{fs, net::Ipv4Addr, time::Duration};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    cast::{SESSION, START, start_relay_at, started, strings},
    nodes::{Rpc, under_run},
};
use crate::{
    cli::{KaspadsArgs, PublicNodeArgs},
    evidence::Evidence,
    net::{NatKind, WireSpec, World},
    process::{Program, kaspath, need_kaspad},
};

const NODE_IP: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
const RELAY_IP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// From networks that the node has never had to do with.
const STRANGERS: [Ipv4Addr; 2] = [Ipv4Addr::new(198, 51, 100, 7), Ipv4Addr::new(198, 19, 0, 7)];
/// Time from the start of the first that knows the node to its reservation there.
const SERVES_WITHIN: Duration = Duration::from_secs(5);
/// Time from the firewall to the end of the service, with checks each 10 s.
const ENDS_WITHIN: Duration = Duration::from_secs(120);
/// The same with checks each 10 min, as a node without a settings file makes them.
const ENDS_BY_DEFAULT_WITHIN: Duration = Duration::from_secs(30 * 60);
/// Time to a reservation: after some attempts a relay that does not answer is tried each half
/// minute. One that has not served for long is tried more seldom.
const RESERVED_WITHIN: Duration = Duration::from_secs(80);
/// Transactions that must pass each way to show that a session lives.
const GOSSIP: u64 = 20;

const COMMON: [&str; 6] = ["--network", "simnet", "--log-format", "json", "--test-traffic", "100"];

pub(crate) async fn public_node(args: &PublicNodeArgs) -> Result<()> {
    let PublicNodeArgs { kaspads: KaspadsArgs { common: args, kaspad }, default_checks } = args;
    need_kaspad(kaspad)?;
    let ends_within = if *default_checks { ENDS_BY_DEFAULT_WITHIN } else { ENDS_WITHIN };
    let kaspath = kaspath(args.kaspath.as_ref())?;
    let mut evidence = Evidence::create(&args.evidence, "public-node")?;
    let mut world = World::new()?;
    let (public, _) = world.public(NODE_IP)?;
    let wire = WireSpec::from_args(args);
    // No punch can work between these, so what they have goes through a relay to the end.
    let mut home = || world.home(NatKind::Symmetric, wire, 1);
    let (server_home, client_home, kaspad_home) = (home()?, home()?, home()?);
    let dirs = tempfile::tempdir()?;
    let dir = |name: &str| dirs.path().join(name).display().to_string();

    let mut node_args = strings(&["run", "--appdir", &dir("node"), "--network", "simnet", "--log-format", "json"]);
    if !default_checks {
        let file = dir("node.toml");
        fs::write(&file, "[reachability]\ncheck-interval = \"10s\"\n")?;
        node_args.extend(strings(&["--config", &file]));
    }
    node_args.extend(under_run(kaspad, &dir("node-kaspad")));
    let mut node = Program::start_logged("node", &public, &kaspath, &node_args, &dirs.path().join("node.log"))?;
    let node_id = started(&mut node).await?;
    let port = port(&node.events).context("the node does not listen on TCP")?;
    let at_node = format!("/ip4/{NODE_IP}/tcp/{port}/p2p/{node_id}");
    // A relay that is there later, so that the session begins at the node.
    let relay_host = world.public(RELAY_IP)?.0;
    let (relay, relay_at) = start_relay_at(&relay_host, RELAY_IP, &kaspath, &dir("relay")).await?;
    relay.stop().await?;
    ensure!(!node.has("serving"), "a node that nobody has reached serves nobody");

    let begin = Instant::now();
    let server_args = with_common(&["server", "--appdir", &dir("server"), "--relay", &at_node, "--relay", &relay_at.tcp]);
    let mut server = Program::start("server", &server_home.hosts[0], &kaspath, &server_args)?;
    let server_id = started(&mut server).await?;
    for (id, name) in [(&node_id, "<node>"), (&relay_at.peer, "<relay>"), (&server_id, "<server>")] {
        evidence.name(id, name);
    }
    reserved_at(&mut server, &node_id, RESERVED_WITHIN).await?;
    let seconds = begin.elapsed().as_secs_f64();
    println!("the first guest has its reservation {seconds:.1} s after its start");
    ensure!(seconds < SERVES_WITHIN.as_secs_f64(), "a public node must serve within {SERVES_WITHIN:?}");
    serving(&mut node, "open", START).await?;

    let at = |relay: &str| format!("{relay}/p2p-circuit/p2p/{server_id}");
    let client_args =
        with_common(&["client", "--appdir", &dir("client"), "--remote", &at(&at_node), "--remote", &at(&relay_at.tcp)]);
    let mut client = Program::start("client", &client_home.hosts[0], &kaspath, &client_args)?;
    let client_id = started(&mut client).await?;
    evidence.name(&client_id, "<client>");
    let ready = client.wait_event("peer-ready", SESSION).await?;
    ensure!(ready["path"]["relayed"]["relay"] == node_id.as_str(), "the session must go through the node: {ready}");
    let (relay, _) = start_relay_at(&relay_host, RELAY_IP, &kaspath, &dir("relay")).await?;
    reserved_at(&mut server, &relay_at.peer, RESERVED_WITHIN).await?;
    println!("a client has a session with it through the node; a relay is there now as well, and holds a reservation");

    let private_args = strings(&["run", "--appdir", &dir("private"), "--network", "simnet", "--log-format", "json"]);
    let private_args = [private_args, strings(&["--relay", &at_node]), under_run(kaspad, &dir("private-kaspad"))].concat();
    let log = dirs.path().join("private.log");
    let begin = Instant::now();
    let mut private = Program::start_logged("private", &kaspad_home.hosts[0], &kaspath, &private_args, &log)?;
    evidence.name(&started(&mut private).await?, "<private>");
    let opened = private.wait_event("gateway-opened", SESSION).await?;
    ensure!(opened["peer"] == node_id.as_str(), "the node tells of itself, and of nobody else: {opened}");
    ensure!(opened["path"]["direct"].is_object(), "whoever can be reached is reached directly: {opened}");
    Rpc::watch(&kaspad_home.hosts[0])?.await_peers("the node's kaspad", SESSION, |peers| !peers.is_empty()).await?;
    let joined = begin.elapsed().as_secs_f64();
    println!("a private kaspad that was given the node as its relay is connected directly to the node's after {joined:.1} s");
    evidence.events("private", &private.stop().await?)?;

    public.refuse_strangers(true)?;
    let begin = Instant::now();
    serving(&mut node, "draining", ends_within).await?;
    let drains = begin.elapsed().as_secs_f64();
    serving(&mut node, "shut", ends_within).await?;
    let ends = begin.elapsed().as_secs_f64();
    println!("strangers cannot reach the node any more: it drains after {drains:.0} s and has ended after {ends:.0} s");
    client.drain();
    server.drain();
    let before = [client.gossip_from(&server_id), server.gossip_from(&client_id)];
    let deadline = Instant::now() + SESSION;
    while client.gossip_from(&server_id) < before[0] + GOSSIP || server.gossip_from(&client_id) < before[1] + GOSSIP {
        let next = tokio::select! { event = client.next(deadline) => event?, event = server.next(deadline) => event? };
        next.context("the session does not live on without the node")?;
    }
    for program in [&client, &server] {
        ensure!(!program.has("peer-left"), "the session of the {} ended", program.name);
    }
    println!("the session goes on: {GOSSIP} transactions more each way");

    public.refuse_strangers(false)?;
    let begin = Instant::now();
    let mut strangers = Vec::new();
    for (index, ip) in STRANGERS.into_iter().enumerate() {
        let args = with_common(&["server", "--appdir", &dir(&format!("stranger-{index}")), "--relay", &at_node]);
        strangers.push(Program::start("stranger", &world.public(ip)?.0, &kaspath, &args)?);
    }
    serving(&mut node, "open", ends_within).await?;
    for stranger in &mut strangers {
        reserved_at(stranger, &node_id, ends_within).await?;
    }
    let again = begin.elapsed().as_secs_f64();
    println!("they can again: the next two strangers have their reservations after {again:.0} s");

    let mut programs = vec![("client", client), ("server", server), ("node", node), ("relay", relay)];
    programs.extend(["stranger-1", "stranger-2"].into_iter().zip(strangers));
    for (name, program) in programs {
        evidence.events(name, &program.stop().await?)?;
    }
    for log in ["node.log", "private.log"] {
        evidence.table(log, &fs::read_to_string(dirs.path().join(log))?)?;
    }
    evidence.summary(&json!({
        "seconds-to-reservation": seconds, "seconds-to-kaspad": joined, "seconds-to-drain": drains, "seconds-to-end": ends,
        "seconds-to-serve-again": again,
    }))?;
    println!("evidence: {}", evidence.dir().display());
    println!("1 passed, 0 failed");
    Ok(())
}

fn with_common(args: &[&str]) -> Vec<String> {
    strings(&[args, &COMMON].concat())
}

/// The TCP port of the node, by its first event.
fn port(events: &[Value]) -> Option<u16> {
    let listening = events.iter().find(|event| event["event"] == "started")?["listening"].as_array()?;
    listening.iter().filter_map(Value::as_str).find_map(|text| text.split("/tcp/").nth(1)?.split('/').next()?.parse().ok())
}

async fn reserved_at(program: &mut Program, relay: &str, within: Duration) -> Result<()> {
    let confirmed = |event: &Value| event["event"] == "reservation" && event["relay"] == relay && event["state"] == "confirmed";
    if program.events.iter().any(confirmed) {
        return Ok(());
    }
    program.wait_for("a confirmed reservation", within, confirmed).await.map(drop)
}

/// Waits until its service as a relay is in that state.
async fn serving(node: &mut Program, state: &str, within: Duration) -> Result<()> {
    let is = |event: &Value| event["event"] == "serving" && event["state"] == state;
    node.drain();
    if node.events.iter().rev().find(|event| event["event"] == "serving").is_some_and(is) {
        return Ok(());
    }
    node.wait_for(&format!("the service as a relay to be {state}"), within, is).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_the_first_of_tcp() {
        let listening = ["/ip4/203.0.113.1/udp/4011/quic-v1/p2p/a", "/ip4/203.0.113.1/tcp/4011/p2p/a"];
        let events = [json!({ "event": "other" }), json!({ "event": "started", "listening": listening })];
        assert_eq!((port(&events), port(&events[..1])), (Some(4011), None));
    }
}
