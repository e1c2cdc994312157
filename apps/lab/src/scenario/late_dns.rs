//! A node that starts before its relay's name resolves, as at any boot.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    cast::{reserved, sites, start_relay, started, strings},
    names::{Names, with_program},
};
use crate::{
    cli::CommonArgs,
    evidence::Evidence,
    net::{Lab, NatKind, RELAY_IP, WireSpec},
    process::{Program, kaspath},
};

const NAME: &str = "relay.lab";
/// Time to report that the name does not resolve.
const REPORTED: Duration = Duration::from_secs(10);

pub(crate) async fn late_dns(args: &CommonArgs) -> Result<()> {
    let kaspath = kaspath(args.kaspath.as_ref())?;
    let nat = NatKind::PortRestricted;
    let lab = Lab::build(sites(nat, nat, WireSpec::default()))?;
    let dirs = tempfile::tempdir()?;
    let dir = |name: &str| dirs.path().join(name).display().to_string();
    let mut evidence = Evidence::create(&args.evidence, "late-dns")?;
    let (relay, addresses) = start_relay(&lab, &kaspath, &dir("relay")).await?;
    evidence.name(&addresses.peer, "<relay>");

    let names = Names::create(dirs.path(), None)?;
    let by_name = format!("/dns/{NAME}/tcp/4001/p2p/{}", addresses.peer);
    let server_dir = dir("server");
    let server_args = ["server", "--appdir", &server_dir, "--relay", &by_name, "--network", "simnet", "--log-format", "json"];
    let command = names.in_host(&lab.sites[1].host);
    let mut server = Program::start_by("server", command, &kaspath, &with_program(&kaspath, &strings(&server_args)))?;
    let server_id = started(&mut server).await.context("a name that does not resolve yet must not end the program")?;
    evidence.name(&server_id, "<server>");
    let cause = |event: &Value| ["cause", "text"].iter().find_map(|field| event[*field].as_str()).unwrap_or_default().to_owned();
    let names_it = |event: &Value| cause(event).contains(NAME);
    let report = server.wait_for("a report that the relay's name does not resolve", REPORTED, names_it).await?;
    println!("{NAME} does not resolve yet; the server runs and reports: {}", cause(&report));

    names.add(NAME, RELAY_IP.into())?;
    let begin = Instant::now();
    reserved(&mut server).await.context("after the name resolves")?;
    let seconds = begin.elapsed().as_secs_f64();
    println!("{NAME} resolves: {seconds:.1} s later the server has its reservation");
    if seconds > 20.0 {
        bail!("that is too late for a node whose network has come up");
    }
    evidence.events("server", &server.stop().await?)?;
    evidence.events("relay", &relay.stop().await?)?;
    evidence.summary(&json!({ "seconds-to-reservation": seconds }))?;
    println!("evidence: {}", evidence.dir().display());
    println!("1 passed, 0 failed");
    Ok(())
}
