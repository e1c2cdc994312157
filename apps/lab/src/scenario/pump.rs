//! One stream's throughput, through this workspace's own adapter.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result, bail};
use kaspath_domain::{DialRequest, PeerAddress, PeerLocator, Route, StreamDialer, StreamListener, TransportSet};
use kaspath_transport_libp2p::{Network, NetworkConfig, NetworkEvent, NodeKey, RelayServerConfig, ReservationState};
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

/// Bytes per second from the first site's host to the second's.
pub(super) async fn measure(lab: &Lab, transport: &str, seconds: u64) -> Result<f64> {
    let this = std::env::current_exe()?;
    let args = |more: &[&str]| strings(&[&["pump", "--transport", transport][..], more].concat());
    let mut relay = Program::start("pump relay", &lab.relay, &this, &args(&["--relay", "serve"]))?;
    let relay_id = started(&mut relay).await?;
    let via = match transport {
        "quic" => format!("/ip4/{RELAY_IP}/udp/{RELAY_PORT}/quic-v1"),
        _ => format!("/ip4/{RELAY_IP}/tcp/{RELAY_PORT}"),
    };
    let relay_address = format!("{via}/p2p/{relay_id}");
    let mut receiver = Program::start("receiver", &lab.sites[1].host, &this, &args(&["--relay", &relay_address]))?;
    let receiver_id = started(&mut receiver).await?;
    receiver.wait_event("reserved", SESSION).await?;
    let remote = format!("{relay_address}/p2p-circuit/p2p/{receiver_id}");
    let sender_args = args(&["--remote", &remote, "--seconds", &seconds.to_string()]);
    let _sender = Program::start("sender", &lab.sites[0].host, &this, &sender_args)?;
    let received = receiver.wait_event("received", SESSION + Duration::from_secs(seconds)).await?;
    received["bytes-per-second"].as_f64().context("no rate")
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
    let network = Network::start(NodeKey::generate(), config).await?;
    println!("{}", json!({ "event": "started", "peer": network.local_peer() }));
    if is_relay {
        return std::future::pending().await;
    }
    match &args.remote {
        Some(remote) => send(&network, remote.parse()?, args).await,
        None => {
            reserved.notified().await;
            println!("{}", json!({ "event": "reserved" }));
            receive(&network).await
        }
    }
}

async fn send(network: &Network, remote: PeerLocator, args: &PumpArgs) -> Result<()> {
    let PeerAddress::Relayed(relay) = remote.address else { bail!("the remote is not behind a relay") };
    let transports = if args.transport == "quic" { TransportSet::QUIC } else { TransportSet::TCP };
    let route = Route::Punched { relay, transports };
    let mut stream = network.dialer().dial(DialRequest { peer: remote.peer, route, timeout: SESSION }).await?;
    let chunk = vec![0x5a; CHUNK];
    let end = Instant::now() + Duration::from_secs(args.seconds);
    while Instant::now() < end {
        stream.write_all(&chunk).await?;
    }
    stream.shutdown().await?;
    // Whatever is buffered must still go out; the receiver closes when it has all.
    let _ = stream.read(&mut [0]).await;
    Ok(())
}

async fn receive(network: &Network) -> Result<()> {
    let mut stream = network.listener().accept().await?;
    let mut buffer = vec![0; CHUNK];
    let begin = Instant::now();
    let mut bytes = 0_u64;
    loop {
        let read = stream.read(&mut buffer).await?;
        if read == 0 {
            break;
        }
        bytes += read as u64;
    }
    let rate = bytes as f64 / begin.elapsed().as_secs_f64();
    println!("{}", json!({ "event": "received", "path": stream.path(), "bytes": bytes, "bytes-per-second": rate }));
    Ok(())
}
