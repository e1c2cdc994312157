//! Many nodes of one host that receive or send over one relay.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, bail};
use kaspath_domain::PeerTarget;
use kaspath_node::{
    Node, NodeBuilder,
    transport::{NetworkConfig, NetworkEvent, NodeKey, ReservationState},
};
use kaspath_policy::{StrategyConfig, StrategyName};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::mpsc,
    task::JoinSet,
    time::{Instant, interval},
};

use crate::cli::FlowsArgs;

/// What one read or write hands over.
const CHUNK: usize = 64 * 1024;
/// Between two readings.
const READING: Duration = Duration::from_millis(250);

/// Sends to the remotes, one node each; without remotes receives, and prints what came.
pub(crate) async fn flows(args: &FlowsArgs) -> Result<()> {
    if args.remote.is_empty() { receive(args).await } else { send(args).await }
}

async fn node(config: NetworkConfig) -> Result<Node> {
    let policy = StrategyConfig::new(StrategyName::RelayOnly).build();
    Ok(NodeBuilder::new(NodeKey::generate()).network(config).policy(policy).start().await?)
}

async fn send(args: &FlowsArgs) -> Result<()> {
    let mut senders = JoinSet::new();
    for remote in &args.remote {
        let target = PeerTarget::at(format!("{}/p2p-circuit/p2p/{remote}", args.relay).parse()?);
        senders.spawn(async move {
            let node = node(NetworkConfig::default()).await?;
            let mut stream = node.connector().connect(&target).await?;
            let chunk = vec![0x5a; CHUNK];
            loop {
                stream.write_all(&chunk).await?;
            }
        });
    }
    let ended: Result<()> = senders.join_next().await.context("nobody to send to")??;
    ended.context("a sender has ended")
}

async fn receive(args: &FlowsArgs) -> Result<()> {
    let (confirmed, mut confirmations) = mpsc::unbounded_channel();
    let counts: Arc<[AtomicU64]> = (0..args.count).map(|_| AtomicU64::new(0)).collect();
    let mut peers = Vec::new();
    let mut receivers = JoinSet::new();
    for n in 0..args.count {
        let config = NetworkConfig { relays: vec![args.relay.parse()?], ..NetworkConfig::default() };
        let confirmed = confirmed.clone();
        config.observers.add(Arc::new(move |event: &NetworkEvent| {
            if matches!(event, NetworkEvent::Reservation { state: ReservationState::Confirmed, .. }) {
                let _ = confirmed.send(());
            }
        }));
        let node = node(config).await?;
        peers.push(node.network().local_peer().to_string());
        let counts = counts.clone();
        receivers.spawn(async move {
            let mut stream = node.listener().accept().await?;
            let mut buffer = vec![0; CHUNK];
            loop {
                match stream.read(&mut buffer).await? {
                    0 => bail!("a sender has closed its stream"),
                    read => counts[n].fetch_add(read as u64, Ordering::Relaxed),
                };
            }
        });
    }
    for _ in 0..args.count {
        confirmations.recv().await.context("the networks have ended")?;
    }
    println!("{}", json!({ "event": "reserved", "peers": peers }));
    let (begin, mut readings) = (Instant::now(), interval(READING));
    loop {
        tokio::select! {
            ended = receivers.join_next() => {
                let ended: Result<()> = ended.context("nobody receives")??;
                return ended.context("a receiver has ended");
            }
            _ = readings.tick() => {
                let bytes: Vec<u64> = counts.iter().map(|count| count.load(Ordering::Relaxed)).collect();
                println!("{}", json!({ "event": "reading", "at": begin.elapsed().as_secs_f64(), "bytes": bytes }));
            }
        }
    }
}
