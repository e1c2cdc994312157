//! A running node that is told another policy.

use std::fs;

use anyhow::{Result, bail};
use serde_json::json;

use super::cast::{RelayAddresses, SESSION, is_direct_session, relay_reason, reserved, sites, start_relay, started, strings};
use crate::{
    cli::CommonArgs,
    evidence::Evidence,
    net::{Lab, NatKind, WireSpec},
    process::{Program, kaspath},
};

const COMMON: [&str; 6] = ["--network", "simnet", "--log-format", "json", "--test-traffic", "100"];

pub(crate) async fn reload(args: &CommonArgs) -> Result<()> {
    let kaspath = kaspath(args.kaspath.as_ref())?;
    let nat = NatKind::PortRestricted;
    let lab = Lab::build(sites(nat, nat, WireSpec::from_args(args)))?;
    let dirs = tempfile::tempdir()?;
    let dir = |name: &str| dirs.path().join(name).display().to_string();
    let mut evidence = Evidence::create(&args.evidence, "reload")?;
    let (relay, RelayAddresses { peer: relay_id, tcp: relay_address, .. }) = start_relay(&lab, &kaspath, &dir("relay")).await?;

    let [server_dir, client_dir] = ["server", "client"].map(dir);
    let server_args = [&["server", "--appdir", &server_dir, "--relay", &relay_address][..], &COMMON].concat();
    let mut server = Program::start("server", &lab.sites[1].host, &kaspath, &strings(&server_args))?;
    let server_id = started(&mut server).await?;
    reserved(&mut server).await?;
    for (id, name) in [(&relay_id, "<relay>"), (&server_id, "<server>")] {
        evidence.name(id, name);
    }

    let file = format!("{client_dir}.toml");
    fs::write(&file, "policy = \"relay-only\"\n")?;
    let remote = format!("{relay_address}/p2p-circuit/p2p/{server_id}");
    let client_args = [&["client", "--appdir", &client_dir, "--config", &file, "--remote", &remote][..], &COMMON].concat();
    let mut client = Program::start("client", &lab.sites[0].host, &kaspath, &strings(&client_args))?;
    let id = started(&mut client).await?;
    evidence.name(&id, "<client>");
    let pid = client.pid()?;
    let ready = client.wait_event("peer-ready", SESSION).await?;
    if relay_reason(&ready) != Some(&json!("policy")) {
        bail!("with relay-only the session must be on the relay by policy: {ready}");
    }
    println!("relay-only: the session is on the relay, by policy");

    fs::write(&file, "policy = \"balanced\"\n")?;
    client.hang_up()?;
    let moved = client.wait_for("a direct session", SESSION, is_direct_session).await?;
    if client.pid()? != pid {
        bail!("the client is another process");
    }
    let seconds = moved["time"].as_f64().unwrap_or_default() - ready["time"].as_f64().unwrap_or_default();
    println!("balanced, by SIGHUP: the same process has a direct session, {}", moved["path"]);
    evidence.events("client", &client.stop().await?)?;
    evidence.events("server", &server.stop().await?)?;
    evidence.events("relay", &relay.stop().await?)?;
    evidence.summary(&json!({ "before": ready["path"], "after": moved["path"], "seconds": seconds }))?;
    println!("evidence: {}", evidence.dir().display());
    println!("1 passed, 0 failed");
    Ok(())
}
