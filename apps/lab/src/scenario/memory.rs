//! What an idle peer costs a gateway, in memory.

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, bail};
use kaspath_domain::{PeerLocator, PeerTarget};
use kaspath_node::{
    NodeBuilder,
    transport::{NetworkConfig, NodeKey, SESSION_PROTOCOL},
};
use kaspath_policy::{StrategyConfig, StrategyName};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    task::JoinSet,
};

use super::{
    cast::{SESSION, started, strings},
    kaspad::loopback_up,
};
use crate::{
    cli::{IdleArgs, MemoryArgs},
    evidence::Evidence,
    process::{Program, kaspath},
};

/// Gateways that are measured one after the other. What is resident is what peers hold and
/// what the allocator keeps of handshakes that happened to meet, several KiB a peer; the
/// least is nearest to the former.
const GATEWAYS: usize = 12;
/// Peers that come first and move so much, so that what is made once, such as the
/// QUIC socket's buffers, is not counted. They open plain streams: what would be left of a
/// session's grown window would be the others' to use, and they would seem to cost nothing.
const FIRST: usize = 20;
const FIRST_MOVE: usize = 4 << 20;
/// What gateways of simnet speak.
pub(crate) const GATEWAY_PROTOCOL: &str = "/kaspath/kaspad/kaspa-simnet/1.0.0";

pub(crate) async fn memory(args: &MemoryArgs) -> Result<()> {
    let kaspath = kaspath(args.common.kaspath.as_ref())?;
    loopback_up().await?;
    let evidence = Evidence::create(&args.common.evidence, "memory")?;
    let mut rows = Vec::new();
    let mut worst = 0;
    for transport in ["tcp", "quic"] {
        let mut measured = Vec::new();
        for _ in 0..GATEWAYS {
            measured.push(one(&kaspath, transport, args).await?);
        }
        measured.sort_unstable();
        let bytes = measured[0];
        let kib = |bytes: u64| bytes as f64 / 1024.0;
        println!(
            "{transport}: {} idle peers, {:.1} KiB of memory each (the least of {GATEWAYS} gateways; up to {:.1})",
            args.peers,
            kib(bytes),
            kib(measured[GATEWAYS - 1])
        );
        rows.push(json!({ "transport": transport, "peers": args.peers, "bytes-per-peer": bytes, "all": measured }));
        worst = worst.max(bytes);
    }
    evidence.summary(&json!(rows))?;
    println!("evidence: {}", evidence.dir().display());
    if worst > args.max_kib * 1024 {
        bail!("an idle peer costs more than {} KiB", args.max_kib);
    }
    println!("2 passed, 0 failed");
    Ok(())
}

/// Bytes of resident memory per peer.
async fn one(kaspath: &Path, transport: &str, args: &MemoryArgs) -> Result<u64> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let kaspad = &listener.local_addr()?.to_string();
    let sessions = Arc::new(AtomicUsize::new(0));
    let _echo = JoinSet::from_iter([echo(listener, sessions.clone())]);
    let peers = args.peers;
    let dirs = tempfile::tempdir()?;
    let settings = dirs.path().join("gateway.toml");
    let all = peers + FIRST;
    fs::write(&settings, format!("[inbound]\ntotal = {all}\nper-address = {all}\nper-prefix = {all}\nnewcomers = {all}\n"))?;
    let (appdir, settings) = (dirs.path().display().to_string(), settings.display().to_string());
    let listen = if transport == "tcp" { "/ip4/127.0.0.1/tcp/0" } else { "/ip4/127.0.0.1/udp/0/quic-v1" };
    let flags = ["gateway", "--appdir", &appdir, "--config", &settings, "-n", "simnet", "-l", listen, "--log-format", "json"];
    let more = ["--kaspad", kaspad, "--kaspad-rpc", "off"];
    let mut gateway = Program::start_here("gateway", kaspath, &strings(&[&flags[..], &more].concat()))?;
    let event = gateway.wait_event("started", SESSION).await?;
    let address = event["listening"][0].as_str().context("no address")?.to_owned();
    let _first = idle_peers(&address, FIRST, FIRST_MOVE, true).await?;
    let before = resident(gateway.pid()?)?;
    let _others = idle_peers(&address, peers, args.warm_up, false).await?;
    let after = resident(gateway.pid()?)?;
    // At kaspad's side: what the gateway prints is limited to some lines a second.
    let open = sessions.load(Ordering::Acquire);
    if open != all {
        bail!("{open} of {all} peers have a session");
    }
    Ok((after.saturating_sub(before)) / peers as u64)
}

/// Peers in a process of their own; returns when all are idle.
async fn idle_peers(address: &str, count: usize, warm_up: usize, plain: bool) -> Result<Program> {
    let mut args = strings(&["idle", "--remote", address, "--peers", &count.to_string(), "--warm-up", &warm_up.to_string()]);
    args.extend(plain.then(|| "--plain".to_owned()));
    let mut program = Program::start_here("idle peers", &std::env::current_exe()?, &args)?;
    started(&mut program).await?;
    program.wait_event("idle", SESSION + Duration::from_millis(200) * u32::try_from(count)?).await?;
    Ok(program)
}

/// A part of this: so many peers of one gateway, which say something and then nothing.
pub(crate) async fn idle(args: &IdleArgs) -> Result<()> {
    let remote: PeerLocator = args.remote.parse()?;
    println!("{}", json!({ "event": "started", "peer": "many" }));
    let mut held = Vec::new();
    for _ in 0..args.peers {
        let session_protocol = (!args.plain).then(|| format!("{SESSION_PROTOCOL}/kaspa-simnet"));
        let protocols = vec![GATEWAY_PROTOCOL.into()];
        let config = NetworkConfig { protocols, session_protocol, ..NetworkConfig::default() };
        let mut policy = StrategyConfig::new(StrategyName::Balanced);
        // The gateway lets one host shake hands only so often.
        policy.timing.direct = SESSION;
        let node = NodeBuilder::new(NodeKey::generate()).network(config).policy(policy.build()).start().await?;
        let mut stream = node.connector().connect(&PeerTarget::at(remote.clone())).await?;
        let (mut sent, mut back) = (vec![7; args.warm_up], vec![0; args.warm_up]);
        let (mut reader, mut writer) = tokio::io::split(&mut stream);
        tokio::try_join!(writer.write_all(&sent), reader.read_exact(&mut back))?;
        if sent != back {
            bail!("what came back is something else");
        }
        sent.clear();
        held.push((node, stream));
    }
    println!("{}", json!({ "event": "idle", "peers": held.len() }));
    std::future::pending::<()>().await;
    Ok(())
}

/// Sends back what comes in; `sessions` counts the connections that are open.
async fn echo(listener: TcpListener, sessions: Arc<AtomicUsize>) {
    while let Ok((mut connection, _)) = listener.accept().await {
        let sessions = sessions.clone();
        sessions.fetch_add(1, Ordering::AcqRel);
        tokio::spawn(async move {
            let (mut reader, mut writer) = connection.split();
            let _ = tokio::io::copy(&mut reader, &mut writer).await;
            sessions.fetch_sub(1, Ordering::AcqRel);
        });
    }
}

/// A process's resident memory, in bytes.
fn resident(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kib * 1024)
}
