//! What a relay on the wildcard announces while its host's addresses change.

use std::{collections::BTreeSet, net::Ipv4Addr};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::{
    announced::{self, public_addresses},
    cast::{SESSION, sites, start_relay, started, strings},
};
use crate::{
    cli::CommonArgs,
    evidence::Evidence,
    net::{Host, Lab, NatKind, RELAY_IP, WireSpec},
    process::{Program, kaspath},
};

/// Comes and goes while the relay runs.
const SECOND_IP: Ipv4Addr = Ipv4Addr::new(198, 18, 77, 1);
/// Is there from the start, and nobody's business.
const LAN_IP: Ipv4Addr = Ipv4Addr::new(10, 7, 0, 1);
const STRANGER_IP: Ipv4Addr = Ipv4Addr::new(198, 18, 5, 2);

pub(crate) async fn addresses(args: &CommonArgs) -> Result<()> {
    let kaspath = kaspath(args.kaspath.as_ref())?;
    let nat = NatKind::PortRestricted;
    let mut lab = Lab::build(sites(nat, nat, WireSpec::default()))?;
    lab.add_relay_lan(LAN_IP)?;
    let stranger = lab.add_public(STRANGER_IP)?;
    let dirs = tempfile::tempdir()?;
    let mut evidence = Evidence::create(&args.evidence, "addresses")?;
    let (mut relay, addresses) = start_relay(&lab, &kaspath, &dirs.path().join("relay").display().to_string()).await?;
    evidence.name(&addresses.peer, "<relay>");

    let first = public_addresses(RELAY_IP);
    let both = [first.clone(), public_addresses(SECOND_IP)].concat();
    let steps = [
        ("at the start", None, first.to_vec()),
        ("with a second address on its interface", Some(true), both),
        ("with that address gone again", Some(false), first.to_vec()),
    ];
    let mut rows = Vec::new();
    for (when, change, wanted) in steps {
        if let Some(present) = change {
            lab.set_relay_address(SECOND_IP, present)?;
        }
        announced::expect(&mut relay, &wanted).await.with_context(|| format!("the relay's events, {when}"))?;
        let told = told(&stranger, &addresses.tcp).await?;
        if told != wanted.iter().cloned().collect() {
            bail!("{when}, a stranger that reserves is told {told:?} instead of {wanted:?}");
        }
        println!("{when}: {} announced, and nothing else", wanted.join(", "));
        rows.push(json!({ "when": when, "announced": wanted }));
    }
    evidence.events("relay", &relay.stop().await?)?;
    evidence.summary(&json!(rows))?;
    println!("evidence: {}", evidence.dir().display());
    println!("{} passed, 0 failed", rows.len());
    Ok(())
}

/// The relay's addresses as its answer to a reservation names them, without its
/// peer id: what a node would give to its peers.
async fn told(host: &Host, relay: &str) -> Result<BTreeSet<String>> {
    let mut witness = Program::start("witness", host, &std::env::current_exe()?, &strings(&["witness", "--relay", relay]))?;
    started(&mut witness).await?;
    let event = witness.wait_event("reserved", SESSION).await?;
    let addresses = event["addresses"].as_array().map(Vec::as_slice).unwrap_or_default();
    let bare = |text: &str| text.split("/p2p/").next().unwrap_or(text).to_owned();
    Ok(addresses.iter().filter_map(Value::as_str).map(bare).collect())
}
