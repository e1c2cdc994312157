//! A relay that knows its host's private address only, as in most clouds.

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::{
    announced::{self, public_addresses},
    cast::{ANY, SESSION, reserved, sites, started, strings},
};
use crate::{
    cli::CommonArgs,
    evidence::Evidence,
    net::{Lab, NatKind, WireSpec},
    process::{Program, kaspath},
};

pub(crate) async fn one_to_one(args: &CommonArgs) -> Result<()> {
    let kaspath = kaspath(args.kaspath.as_ref())?;
    // A full cone with one host behind it is a one-to-one NAT: everything that is
    // sent to the public address reaches the host, at the same port.
    let lab = Lab::build(sites(NatKind::FullCone, NatKind::PortRestricted, WireSpec::default()))?;
    let dirs = tempfile::tempdir()?;
    let dir = |name: &str| dirs.path().join(name).display().to_string();
    let mut evidence = Evidence::create(&args.evidence, "one-to-one")?;

    let public = public_addresses(lab.sites[0].wan_ip);
    let [relay_dir, server_dir, client_dir] = ["relay", "server", "client"].map(dir);
    let external = ["--external-address", &public[0], "--external-address", &public[1]];
    let relay_args =
        [&["relay", "--appdir", &relay_dir, "--log-format", "json", "--drain-timeout", "0"][..], &ANY, &external].concat();
    let mut relay = Program::start("relay", &lab.sites[0].host, &kaspath, &strings(&relay_args))?;
    let relay_id = started(&mut relay).await?;
    evidence.name(&relay_id, "<relay>");
    announced::expect(&mut relay, &public).await.context("a relay announces the addresses that it is given")?;
    println!("the relay announces {}, and nothing else", public.join(" and "));

    let [tcp, quic] = public.map(|address| format!("{address}/p2p/{relay_id}"));
    let common = ["--network", "simnet", "--log-format", "json"];
    let server_args = [&["server", "--appdir", &server_dir, "--relay", &tcp, "--relay", &quic][..], &common].concat();
    let mut server = Program::start("server", &lab.sites[1].host, &kaspath, &strings(&server_args))?;
    let server_id = started(&mut server).await?;
    evidence.name(&server_id, "<server>");
    reserved(&mut server).await?;
    let circuits = [&tcp, &quic].map(|relay| format!("{relay}/p2p-circuit/p2p/{server_id}"));
    let reachable = |event: &Value| event["event"] == "listening";
    if !server.events.iter().any(reachable) {
        server.wait_for("where the server is reachable", SESSION, reachable).await?;
    }
    server.drain();
    let told: Vec<&str> =
        server.events.iter().filter(|event| reachable(event)).filter_map(|event| event["address"].as_str()).collect();
    if !told.iter().all(|address| circuits.iter().any(|circuit| circuit == address)) {
        bail!("the server says that it is reachable at {told:?}, but it was given the relay's addresses {tcp} and {quic}");
    }
    println!("the server is reachable at {}", told.join(" and "));

    // What it says must also be true.
    let remote = told.first().copied().context("no address")?.to_owned();
    let client_args = [&["client", "--appdir", &client_dir, "--remote", &remote][..], &common].concat();
    let mut client = Program::start("client", &lab.relay, &kaspath, &strings(&client_args))?;
    let client_id = started(&mut client).await?;
    evidence.name(&client_id, "<client>");
    let ready = client.wait_event("peer-ready", SESSION).await?;
    println!("a client that is given this address is Ready: {}", ready["path"]);
    let summary = json!({ "relay": [tcp, quic], "reachable": told, "path": ready["path"] });
    evidence.events("client", &client.stop().await?)?;
    evidence.events("server", &server.stop().await?)?;
    evidence.events("relay", &relay.stop().await?)?;
    evidence.summary(&summary)?;
    println!("evidence: {}", evidence.dir().display());
    println!("1 passed, 0 failed");
    Ok(())
}
