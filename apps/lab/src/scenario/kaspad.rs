//! A real kaspad, which our peer code calls and is called by, over plain TCP.

use std::{fs, time::Duration};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tokio::{process::Command, time::Instant};

use super::cast::{SESSION, START, started, strings};
use crate::{
    cli::KaspadArgs,
    evidence::Evidence,
    process::{Program, kaspath, need_kaspad},
};

/// kaspad pings at this interval.
const PING_INTERVAL: u64 = 120;
/// Its timer's slack over the longest run.
const PING_SLACK: u64 = 10;
const KASPAD_PORT: u16 = 16511;
const OUR_PORT: u16 = 26511;

pub(crate) async fn kaspad(args: &KaspadArgs) -> Result<()> {
    need_kaspad(&args.kaspad)?;
    let kaspath = kaspath(args.common.kaspath.as_ref())?;
    loopback_up().await?;
    let dirs = tempfile::tempdir()?;
    let dir = |name: &str| dirs.path().join(name).display().to_string();
    let [server_dir, client_dir] = ["server", "client"].map(dir);
    let common = ["--network", "simnet", "--log-format", "json"];

    // It is there before kaspad, which dials its permanent peers at once.
    let listen = format!("127.0.0.1:{OUR_PORT}");
    let server_args = [&["server", "--appdir", &server_dir, "--kaspa-listen", &listen][..], &common].concat();
    let mut server = Program::start_here("server", &kaspath, &strings(&server_args))?;
    started(&mut server).await?;
    server.wait_event("kaspa-listening", START).await?;

    let mut kaspad = Command::new(&args.kaspad)
        .args(["--simnet", "--nodnsseed", "--disable-upnp", "--yes", "--nologfiles", "--utxoindex"])
        .arg(format!("--listen=127.0.0.1:{KASPAD_PORT}"))
        .arg(format!("--addpeer={listen}"))
        .arg(format!("--appdir={}", dir("kaspad")))
        .stdout(fs::File::create(dirs.path().join("kaspad.log"))?)
        .stderr(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .context("cannot start kaspad")?;
    println!("kaspad started; its log and both sessions are watched for {} s", args.seconds);

    let remote = format!("127.0.0.1:{KASPAD_PORT}");
    let client_args = [&["client", "--appdir", &client_dir, "--remote", &remote][..], &common].concat();
    let mut client = Program::start_here("client", &kaspath, &strings(&client_args))?;
    started(&mut client).await?;

    let outbound = ready(&mut client, "outbound").await?;
    println!("we call kaspad: Ready with {} (protocol {})", outbound["user_agent"], outbound["protocol_version"]);
    let inbound = ready(&mut server, "inbound").await?;
    println!("kaspad calls us: Ready with {} (protocol {})", inbound["user_agent"], inbound["protocol_version"]);

    let begin = Instant::now();
    let end = begin + Duration::from_secs(args.seconds);
    let (client_pings, server_pings) = tokio::try_join!(stay(&mut client, end), stay(&mut server, end))?;
    // One that falls on the very end may come a moment after it.
    let due = args.seconds.saturating_sub(PING_SLACK) / PING_INTERVAL;
    println!(
        "both sessions stood for {} s; kaspad's pings answered: {client_pings} and {server_pings}, {due} due each",
        args.seconds
    );
    if client_pings < due || server_pings < due {
        bail!("kaspad sent fewer pings than it should have: does it hold the sessions?");
    }
    if let Some(status) = kaspad.try_wait()? {
        bail!("kaspad ended: {status}");
    }
    let evidence = Evidence::create(&args.common.evidence, "kaspad")?;
    evidence.events("client", &client.stop().await?)?;
    evidence.events("server", &server.stop().await?)?;
    kaspad.kill().await?;
    evidence.table("kaspad.log", &fs::read_to_string(dirs.path().join("kaspad.log"))?)?;
    evidence.summary(&json!({
        "seconds": args.seconds, "outbound": outbound, "inbound": inbound, "pings-answered": [client_pings, server_pings],
    }))?;
    println!("evidence: {}", evidence.dir().display());
    println!("2 passed, 0 failed");
    Ok(())
}

pub(super) async fn loopback_up() -> Result<()> {
    let status =
        Command::new("ip").args(["link", "set", "lo", "up"]).status().await.context("cannot start `ip`: install iproute2")?;
    if status.success() { Ok(()) } else { bail!("cannot bring loopback up") }
}

async fn ready(program: &mut Program, direction: &str) -> Result<Value> {
    let is_ready = |event: &Value| event["event"] == "peer-ready" && event["direction"] == direction;
    program.wait_for("Ready with kaspad", SESSION, is_ready).await
}

/// Watches a session until `end`: it must not end, and kaspad's pings are counted.
async fn stay(program: &mut Program, end: Instant) -> Result<u64> {
    let mut pings = 0;
    while let Some(event) = program.next(end).await? {
        match event["event"].as_str().unwrap_or_default() {
            "pong-sent" => pings += 1,
            "peer-left" => bail!("{}: the session ended: {event}", program.name),
            _ => {}
        }
    }
    Ok(pings)
}
