//! One stream's throughput and first answer, through this workspace's own node.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result, ensure};
use kaspath_domain::{DuplexStream, PeerTarget};
use kaspath_node::{
    Node, NodeBuilder,
    transport::{NetworkConfig, NetworkEvent, NodeKey, RelayServerConfig, ReservationState, SESSION_PROTOCOL},
};
use kaspath_policy::{StrategyConfig, StrategyName};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::Notify,
    time::Instant,
};

use super::cast::{SESSION, started, strings};
use crate::{
    cli::PumpArgs,
    net::{Lab, RELAY_IP},
    process::Program,
};

/// What one write hands over.
const CHUNK: usize = 256 * 1024;
const RELAY_PORT: u16 = 4003;

/// The first site's host sends to the second's through a relay.
pub(super) struct Pump<'a> {
    lab: &'a Lab,
    args: Vec<String>,
    relay: String,
    remote: String,
    receiver: Program,
    relay_program: Program,
}

impl<'a> Pump<'a> {
    /// Starts the relay and the receiver, over `tcp` or `quic`.
    pub(super) async fn start(lab: &'a Lab, transport: &str, session: bool) -> Result<Pump<'a>> {
        let this = std::env::current_exe()?;
        let mut args = strings(&["pump", "--transport", transport]);
        args.extend(session.then(|| "--session".to_owned()));
        let with = |more: &[&str]| [args.clone(), strings(more)].concat();
        let mut relay = Program::start("pump relay", &lab.relay, &this, &with(&["--relay", "serve"]))?;
        let relay_id = started(&mut relay).await?;
        let via = match transport {
            "quic" => format!("/ip4/{RELAY_IP}/udp/{RELAY_PORT}/quic-v1"),
            _ => format!("/ip4/{RELAY_IP}/tcp/{RELAY_PORT}"),
        };
        let at_relay = format!("{via}/p2p/{relay_id}");
        let mut receiver = Program::start("receiver", &lab.sites[1].host, &this, &with(&["--relay", &at_relay]))?;
        let receiver_id = started(&mut receiver).await?;
        receiver.wait_event("reserved", SESSION).await?;
        let remote = format!("{at_relay}/p2p-circuit/p2p/{receiver_id}");
        Ok(Pump { lab, args, relay: at_relay, remote, receiver, relay_program: relay })
    }

    fn sender(&self, warm_up: u8, seconds: u8) -> Result<Program> {
        let (warm_up, seconds) = (warm_up.to_string(), seconds.to_string());
        let more = ["--relay", &self.relay, "--remote", &self.remote, "--warm-up", &warm_up, "--seconds", &seconds];
        let args = [self.args.clone(), strings(&more)].concat();
        Program::start("sender", &self.lab.sites[0].host, &std::env::current_exe()?, &args)
    }

    /// Bytes per second over a direct path, in the seconds after the warm-up. All programs have
    /// ended then: the next ones need their ports, and the processors.
    pub(super) async fn rate(mut self, warm_up: u8, seconds: u8) -> Result<f64> {
        let sender = self.sender(warm_up, seconds)?;
        let within = SESSION + Duration::from_secs(u64::from(warm_up) + u64::from(seconds));
        let received = self.receiver.wait_event("received", within).await?;
        ensure!(received["path"]["direct"].is_object(), "not direct: {}", received["path"]);
        for program in [sender, self.receiver, self.relay_program] {
            program.kill().await?;
        }
        received["bytes-per-second"].as_f64().context("no rate")
    }

    /// Seconds from the dial of a new sender, which is connected to the relay, to the first
    /// answer.
    pub(super) async fn first_answer(&mut self) -> Result<f64> {
        let mut sender = self.sender(0, 0)?;
        let answered = sender.wait_event("answered", SESSION).await?;
        sender.wait_event("ended", SESSION).await?;
        answered["elapsed"].as_f64().context("no time")
    }
}

/// The relay, the receiver or the sender, by what is given.
pub(crate) async fn pump(args: &PumpArgs) -> Result<()> {
    let any = ["/ip4/0.0.0.0/tcp/0", "/ip4/0.0.0.0/udp/0/quic-v1"];
    let serving = [format!("/ip4/{RELAY_IP}/tcp/{RELAY_PORT}"), format!("/ip4/{RELAY_IP}/udp/{RELAY_PORT}/quic-v1")];
    let is_relay = args.relay.as_deref() == Some("serve");
    let listen: Vec<&str> = if is_relay { serving.iter().map(String::as_str).collect() } else { any.to_vec() };
    let mut config = NetworkConfig::default();
    for address in listen {
        config.listen.push(address.parse()?);
    }
    if is_relay {
        config.relay_server = Some(RelayServerConfig::default());
    } else if let Some(relay) = &args.relay {
        config.relays.push(relay.parse()?);
    }
    let reserved = Arc::new(Notify::new());
    let confirmed = reserved.clone();
    config.observers.add(Arc::new(move |event: &NetworkEvent| {
        if matches!(event, NetworkEvent::Reservation { state: ReservationState::Confirmed, .. }) {
            confirmed.notify_one();
        }
    }));
    config.session_protocol = args.session.then(|| SESSION_PROTOCOL.to_owned());
    let policy = StrategyConfig::new(if args.transport == "quic" { StrategyName::QuicOnly } else { StrategyName::TcpOnly });
    let node = NodeBuilder::new(NodeKey::generate()).network(config).policy(policy.build()).start().await?;
    println!("{}", json!({ "event": "started", "peer": node.network().local_peer() }));
    if is_relay {
        return std::future::pending().await;
    }
    reserved.notified().await;
    match &args.remote {
        Some(remote) => send(&node, &PeerTarget::at(remote.parse()?), args.warm_up, args.seconds).await,
        None => {
            println!("{}", json!({ "event": "reserved" }));
            receive(&node).await
        }
    }
}

/// Waits for the answer to the two times, and then sends over a direct path until it is
/// ended, or the receiver has long measured.
async fn send(node: &Node, target: &PeerTarget, warm_up: u8, seconds: u8) -> Result<()> {
    let dialled = Instant::now();
    let mut stream = node.connector().connect(target).await?;
    stream.write_all(&[warm_up, seconds]).await?;
    stream.read_u8().await?;
    println!("{}", json!({ "event": "answered", "elapsed": dialled.elapsed().as_secs_f64(), "path": stream.path() }));
    if seconds == 0 {
        // Closed in order, or the relay would keep its reservation until the idle timeout,
        // and has eight of an address.
        drop(stream);
        node.shutdown().await;
        println!("{}", json!({ "event": "ended" }));
        return Ok(());
    }
    let mut path = stream.path_watch();
    while stream.path().is_relayed() {
        path.changed().await.context("the path ended")?;
    }
    let chunk = vec![0x5a; CHUNK];
    let end = Instant::now() + SESSION + Duration::from_secs(u64::from(warm_up) + u64::from(seconds));
    while Instant::now() < end {
        stream.write_all(&chunk).await?;
    }
    Ok(())
}

async fn receive(node: &Node) -> Result<()> {
    let listener = node.listener();
    loop {
        let stream = listener.accept().await?;
        tokio::spawn(async move {
            if let Err(error) = take(stream).await {
                eprintln!("a sender has gone: {error}");
            }
        });
    }
}

/// Answers the two times, and measures what comes between them.
async fn take(mut stream: DuplexStream) -> Result<()> {
    let [warm_up, seconds] = stream.read_u16().await?.to_be_bytes();
    stream.write_all(&[seconds]).await?;
    let mut buffer = vec![0; CHUNK];
    if seconds == 0 {
        // The sender ends it, once it has the answer.
        let _ = stream.read(&mut buffer).await;
        return Ok(());
    }
    stream.read_exact(&mut buffer[..1]).await?;
    let begin = Instant::now() + Duration::from_secs(warm_up.into());
    let end = begin + Duration::from_secs(seconds.into());
    let mut bytes = 0;
    loop {
        let read = stream.read(&mut buffer).await?;
        let now = Instant::now();
        ensure!(read > 0, "it ended before all was measured");
        if now > end {
            break;
        }
        if now > begin {
            bytes += read as u64;
        }
    }
    let rate = bytes as f64 / f64::from(seconds);
    println!("{}", json!({ "event": "received", "path": stream.path(), "bytes": bytes, "bytes-per-second": rate }));
    Ok(())
}
