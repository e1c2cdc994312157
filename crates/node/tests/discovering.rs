//! Nodes that know one relay and nothing else find each other.

use std::{sync::Arc, time::Duration};

use kaspath_domain::{
    DiscoveredChange, DiscoveryEvent, Namespace, Observers, PeerAddress, PeerIdentity, RelayAddress, StreamListener,
};
use kaspath_kaspa_adaptor::{KaspaNetwork, NodeConfig};
use kaspath_node::{
    ConfiguredRelays, DiscoverConfig, Discovering, LightPeer, Node, NodeBuilder,
    transport::{NetworkConfig, NodeKey, PunchConfig, RelayServerConfig, SESSION_PROTOCOL},
};
use tokio::{sync::mpsc, task::JoinSet, time::timeout};

async fn start(relays: Vec<RelayAddress>, relay_server: Option<RelayServerConfig>) -> Node {
    let relays = relays.into_iter().map(|relay| format!("{relay}").parse().unwrap()).collect();
    let listen = vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()];
    let punch = PunchConfig { allow_local_candidates: true, ..PunchConfig::default() };
    let session_protocol = Some(SESSION_PROTOCOL.to_owned());
    let config = NetworkConfig { listen, relays, relay_server, punch, session_protocol, ..NetworkConfig::default() };
    NodeBuilder::new(NodeKey::generate()).network(config).start().await.unwrap()
}

fn address(relay: &Node) -> RelayAddress {
    let PeerAddress::Direct(via) = relay.network().listening()[0].address.clone() else { panic!("direct") };
    RelayAddress { relay: relay.network().local_peer().clone(), via }
}

struct Peer {
    node: Node,
    light: LightPeer,
    discovering: Discovering,
    events: mpsc::UnboundedReceiver<DiscoveryEvent>,
}

async fn peer(relay: &RelayAddress, is_listed: bool) -> Peer {
    let node = start(vec![relay.clone()], None).await;
    let light = node.light_peer(NodeConfig::new(KaspaNetwork::Simnet));
    let (sender, events) = mpsc::unbounded_channel();
    let config = DiscoverConfig {
        network: "simnet".to_owned(),
        namespace: Namespace::of_network("simnet").unwrap(),
        group: None,
        outbound: 4,
        is_listed,
        shows_addresses: false,
        configured: Vec::new(),
        relays: Arc::new(ConfiguredRelays(vec![relay.clone()])),
        observers: Observers::of(Arc::new(move |event: &DiscoveryEvent| drop(sender.send(event.clone())))),
    };
    let discovering = node.discover(node.network().discovery(), Arc::new(light.clone()), config);
    Peer { node, light, discovering, events }
}

impl Peer {
    fn id(&self) -> PeerIdentity {
        self.node.network().local_peer().clone()
    }

    fn run(&self, tasks: &mut JoinSet<()>) {
        let (discovering, light, listener) = (self.discovering.clone(), self.light.clone(), self.node.listener());
        tasks.spawn(async move { discovering.run().await });
        tasks.spawn(async move { light.serve(listener as Arc<dyn StreamListener>).await });
    }

    /// Returns once it has a session with each of these.
    async fn reaches(&mut self, others: &[PeerIdentity]) {
        let mut missing: Vec<&PeerIdentity> = others.iter().collect();
        let waiting = async {
            while !missing.is_empty() {
                let event = self.events.recv().await.unwrap();
                if let DiscoveryEvent::DiscoveredPeer { peer, change: DiscoveredChange::Reached, .. } = event {
                    missing.retain(|other| **other != peer);
                }
            }
        };
        timeout(Duration::from_secs(60), waiting).await.expect("it finds all of them");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_that_know_one_relay_find_each_other_and_one_of_them_is_not_listed() {
    let relay = start(Vec::new(), Some(RelayServerConfig::default())).await;
    let at = address(&relay);
    let (mut one, mut two, mut unlisted) = (peer(&at, true).await, peer(&at, true).await, peer(&at, false).await);
    let mut tasks = JoinSet::new();
    for peer in [&one, &two, &unlisted] {
        peer.run(&mut tasks);
    }
    let (first, second) = (one.id(), two.id());
    unlisted.reaches(&[first.clone(), second.clone()]).await;
    one.reaches(&[second]).await;
    two.reaches(&[first]).await;
    let found: Vec<PeerIdentity> = one.discovering.peers().into_iter().map(|found| found.peer).collect();
    assert!(!found.contains(&unlisted.id()), "nobody told of it");
    assert!(one.light.kaspa().hub().by_identity(&unlisted.id()).is_some(), "it has called");
    for peer in [&one, &two, &unlisted] {
        peer.discovering.unlist().await;
    }
    tasks.shutdown().await;
    for node in [&one.node, &two.node, &unlisted.node, &relay] {
        node.shutdown().await;
    }
}
