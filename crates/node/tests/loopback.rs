//! Nodes and the examples, over loopback.
#![allow(dead_code, reason = "an example's main is not run here")]

use std::{sync::Arc, time::Duration};

use kaspath_domain::PeerTarget;
use kaspath_kaspa_adaptor::{
    KaspaEvent, KaspaNetwork, NodeConfig,
    pb::{KaspadMessage, PingMessage, SubnetworkId, TransactionMessage, kaspad_message::Payload},
};
use kaspath_node::{
    Node, NodeBuilder,
    transport::{NetworkConfig, NetworkEvent, NodeKey},
};
use tokio::{
    sync::mpsc,
    time::{interval, timeout},
};

#[path = "../examples/own_node.rs"]
mod own_node;
#[path = "../examples/tonic_over_punch.rs"]
mod tonic_over_punch;

const DEADLINE: Duration = Duration::from_secs(20);

/// A node on loopback, and where it is.
async fn node() -> (Node, PeerTarget) {
    let listen = vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()];
    let config = NetworkConfig { listen, ..NetworkConfig::default() };
    let node = NodeBuilder::new(NodeKey::generate()).network(config).start().await.unwrap();
    let target = PeerTarget::at(node.network().listening()[0].clone());
    (node, target)
}

fn transaction(n: u64) -> TransactionMessage {
    TransactionMessage {
        version: 0,
        inputs: vec![],
        outputs: vec![],
        lock_time: n,
        subnetwork_id: Some(SubnetworkId { bytes: vec![0; 20] }),
        gas: 0,
        payload: n.to_le_bytes().to_vec(),
        storage_mass: 0,
    }
}

#[tokio::test]
async fn an_own_node_takes_transactions_by_its_own_flow() {
    let (server, target) = node().await;
    let light = server.light_peer(NodeConfig::new(KaspaNetwork::Mainnet));
    let (serving, listener) = (light.clone(), server.listener());
    tokio::spawn(async move { serving.serve(listener).await });
    let (taker, mut transactions) = mpsc::channel(1);
    let running = async { own_node::run(target, taker).await.map_err(|error| error.to_string()) };
    // Those before the flow has begun go to the light peer's own.
    let announcing = async {
        let mut ticks = interval(Duration::from_millis(50));
        for n in 0.. {
            ticks.tick().await;
            light.kaspa().announce_transaction(transaction(n));
        }
    };
    let taking = async {
        tokio::select! {
            ended = running => panic!("it ended: {ended:?}"),
            () = announcing => unreachable!(),
            taken = transactions.recv() => taken,
        }
    };
    let taken = timeout(DEADLINE, taking).await.expect("a transaction in time").unwrap();
    assert_eq!(taken, transaction(taken.lock_time));
    server.shutdown().await;
}

#[tokio::test]
async fn a_tonic_service_is_called_over_a_stream_of_the_node() {
    let (server, target) = node().await;
    let (client, _) = node().await;
    tokio::spawn(tonic_over_punch::serve(server.listener()));
    let ping = KaspadMessage { payload: Some(Payload::Ping(PingMessage { nonce: 7 })), ..KaspadMessage::default() };
    let (peers, sent) = (client.connector(), ping.clone());
    let called = async { tonic_over_punch::call(&peers, &target, sent).await.map_err(|error| error.to_string()) };
    let answer = timeout(DEADLINE, called).await.expect("an answer in time").unwrap();
    assert_eq!(answer, Some(ping));
    client.shutdown().await;
    server.shutdown().await;
}

#[tokio::test]
async fn a_light_peer_keeps_its_session_over_the_peers_restart() {
    let (client, _) = node().await;
    let key = NodeKey::generate();
    let start = |listen: String, key: NodeKey| async move {
        let config = NetworkConfig { listen: vec![listen.parse().unwrap()], ..NetworkConfig::default() };
        let node = NodeBuilder::new(key).network(config).start().await.unwrap();
        let light = node.light_peer(NodeConfig::new(KaspaNetwork::Mainnet));
        let (serving, listener) = (light.clone(), node.listener());
        tokio::spawn(async move { serving.serve(listener).await });
        (node, light)
    };
    let (server, light) = start("/ip4/127.0.0.1/tcp/0".to_owned(), key.clone()).await;
    let at = server.network().listening()[0].clone();
    let keeping = client.light_peer(NodeConfig::new(KaspaNetwork::Mainnet));
    let (kept, target) = (keeping.clone(), PeerTarget::at(at.clone()));
    let events = Arc::new(std::sync::Mutex::new(Vec::new()));
    let log = events.clone();
    let keeper = tokio::spawn(async move {
        kept.keep(target, &move |event: &kaspath_policy::KeeperEvent| log.lock().unwrap().push(event.clone())).await;
    });
    ready(&light).await;
    light.kaspa().shutdown().await;
    server.shutdown().await;
    let kaspath_domain::PeerAddress::Direct(address) = &at.address else { unreachable!() };
    let (server, light) = start(address.to_string(), key).await;
    ready(&light).await;
    assert!(!events.lock().unwrap().is_empty(), "it says that it tries again");
    keeper.abort();
    server.shutdown().await;
    client.shutdown().await;
}

#[tokio::test]
async fn observers_are_told_of_the_network_and_of_sessions_in_order() {
    let (told, mut events) = mpsc::unbounded_channel();
    let (of_network, of_kaspa) = (told.clone(), told);
    let config = NetworkConfig { listen: vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()], ..NetworkConfig::default() };
    let observer = move |event: &NetworkEvent| {
        if matches!(event, NetworkEvent::Connected { .. } | NetworkEvent::Disconnected { .. }) {
            let _ = of_network.send(format!("{event:?}"));
        }
    };
    let builder = NodeBuilder::new(NodeKey::generate()).network(config).observe_network(Arc::new(observer));
    let server = builder.start().await.unwrap();
    let kaspa = NodeConfig::new(KaspaNetwork::Mainnet);
    kaspa.observers.add(Arc::new(move |event: &KaspaEvent| drop(of_kaspa.send(format!("{event:?}")))));
    let (light, listener) = (server.light_peer(kaspa), server.listener());
    tokio::spawn(async move { light.serve(listener).await });

    let (client, _) = node().await;
    let calling = client.light_peer(NodeConfig::new(KaspaNetwork::Mainnet));
    calling.connect(&PeerTarget::at(server.network().listening()[0].clone())).await.unwrap();
    calling.kaspa().shutdown().await;
    client.shutdown().await;
    let expected = ["Connected", "Handshake", "PeerReady", "PeerLeft"];
    let seeing = async {
        let mut left = expected.iter().peekable();
        while let Some(next) = left.peek() {
            if events.recv().await.unwrap().starts_with(**next) {
                left.next();
            }
        }
    };
    timeout(DEADLINE, seeing).await.expect("all in order");
    server.shutdown().await;
}

/// Waits for a session.
async fn ready(light: &kaspath_node::LightPeer) {
    let (report, mut events) = mpsc::unbounded_channel();
    light.kaspa().observe(Arc::new(move |event: &KaspaEvent| drop(report.send(event.clone()))));
    let ready = async {
        while light.kaspa().hub().peers().is_empty() {
            events.recv().await.unwrap();
        }
    };
    timeout(DEADLINE, ready).await.expect("a session in time");
}
