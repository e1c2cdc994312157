//! A swarm of stock libp2p behaviours, to measure ours against: relay, relay
//! client, dcutr and identify, as libp2p's own examples put them together.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures::StreamExt;
use libp2p::{
    Multiaddr, PeerId, Swarm, SwarmBuilder, dcutr, identify,
    identity::Keypair,
    multiaddr::Protocol,
    noise, ping, relay,
    swarm::{NetworkBehaviour, SwarmEvent, behaviour::toggle::Toggle, dial_opts::DialOpts},
    tcp, yamux,
};
use serde_json::json;
use tokio::time::Instant;

use crate::cli::{StockArgs, StockRole};

#[derive(NetworkBehaviour)]
struct Stock {
    relay_client: relay::client::Behaviour,
    relay_server: Toggle<relay::Behaviour>,
    dcutr: Toggle<dcutr::Behaviour>,
    identify: identify::Behaviour,
    ping: ping::Behaviour,
}

fn build(role: StockRole) -> Result<Swarm<Stock>> {
    let behaviour = |keypair: &Keypair, relay_client| {
        let local = keypair.public().to_peer_id();
        let serves = role == StockRole::Relay;
        Stock {
            relay_client,
            relay_server: serves.then(|| relay::Behaviour::new(local, relay::Config::default())).into(),
            dcutr: (!serves).then(|| dcutr::Behaviour::new(local)).into(),
            identify: identify::Behaviour::new(identify::Config::new("/stock/1.0.0".into(), keypair.public())),
            ping: ping::Behaviour::default(),
        }
    };
    Ok(SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(tcp::Config::default().nodelay(true), noise::Config::new, yamux::Config::default)?
        .with_quic()
        .with_relay_client(noise::Config::new, yamux::Config::default)?
        .with_behaviour(behaviour)?
        .with_swarm_config(|config| config.with_idle_connection_timeout(Duration::from_secs(60)))
        .build())
}

fn print(event: serde_json::Value) {
    println!("{event}");
}

/// Runs until it is ended, or for a dialer or listener until a direct connection stands.
pub(crate) async fn run(args: &StockArgs) -> Result<()> {
    let mut swarm = build(args.role)?;
    print(json!({ "event": "started", "peer": swarm.local_peer_id().to_string() }));
    for listen in &args.listen {
        swarm.listen_on(listen.parse()?)?;
    }
    // All ports must be ours before the first dial, or it leaves from another.
    let mut ports = args.listen.len();
    while ports > 0 {
        if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await
            && !address.to_string().contains("127.0.0.1")
        {
            ports -= 1;
            if args.role == StockRole::Relay {
                swarm.add_external_address(address);
            }
        }
    }
    let remote: Option<Multiaddr> = args.remote.as_ref().map(|text| text.parse()).transpose()?;
    if let Some(relay) = &args.relay {
        meet_relay(&mut swarm, relay.parse()?, remote.is_none()).await?;
    }
    let target = remote.as_ref().and_then(|address| address.iter().filter_map(peer).last());
    if let (Some(address), Some(peer)) = (&remote, target) {
        swarm.dial(DialOpts::peer_id(peer).addresses(vec![address.clone()]).build())?;
    }
    let (dialled, mut answered) = (Instant::now(), false);
    let mut relayed: Option<(PeerId, Instant)> = None;
    loop {
        match swarm.select_next_some().await {
            SwarmEvent::Behaviour(StockEvent::RelayClient(relay::client::Event::ReservationReqAccepted { .. })) => {
                print(json!({ "event": "reserved" }));
            }
            SwarmEvent::ConnectionEstablished { peer_id, endpoint, .. } if args.role != StockRole::Relay => {
                if endpoint.is_relayed() {
                    relayed = Some((peer_id, Instant::now()));
                    print(json!({ "event": "relayed" }));
                } else if let Some((_, since)) = relayed.filter(|(peer, _)| *peer == peer_id) {
                    print(json!({ "event": "direct", "elapsed": since.elapsed().as_secs_f64() }));
                    relayed = None;
                }
            }
            SwarmEvent::Behaviour(StockEvent::Ping(ping::Event { peer, result: Ok(_), .. }))
                if Some(peer) == target && !std::mem::replace(&mut answered, true) =>
            {
                print(json!({ "event": "answered", "elapsed": dialled.elapsed().as_secs_f64() }));
            }
            SwarmEvent::Behaviour(StockEvent::Dcutr(dcutr::Event { result: Err(error), .. })) => {
                print(json!({ "event": "dcutr-failed", "cause": error.to_string() }));
            }
            SwarmEvent::OutgoingConnectionError { error, peer_id: Some(peer), .. }
                if Some(peer) == target && relayed.is_none() =>
            {
                bail!("no relayed connection: {error}");
            }
            _ => {}
        }
    }
}

fn peer(part: Protocol<'_>) -> Option<PeerId> {
    match part {
        Protocol::P2p(peer) => Some(peer),
        _ => None,
    }
}

/// Waits for identify both ways before anything else, as libp2p's example does.
async fn meet_relay(swarm: &mut Swarm<Stock>, relay: Multiaddr, reserve: bool) -> Result<()> {
    swarm.dial(relay.clone())?;
    let (mut sent, mut received) = (false, false);
    while !(sent && received) {
        match swarm.select_next_some().await {
            SwarmEvent::Behaviour(StockEvent::Identify(identify::Event::Sent { .. })) => sent = true,
            SwarmEvent::Behaviour(StockEvent::Identify(identify::Event::Received { .. })) => received = true,
            SwarmEvent::OutgoingConnectionError { error, .. } => return Err(error).context("the relay cannot be reached"),
            _ => {}
        }
    }
    if reserve {
        swarm.listen_on(relay.with(Protocol::P2pCircuit))?;
    }
    Ok(())
}
