//! Peers that do not speak the session protocol, behind a relay on loopback.

use std::{sync::Arc, time::Duration};

use kaspath_domain::{DuplexStream, Path, PeerTarget};
use kaspath_node::{
    Node, NodeBuilder,
    transport::{NetworkConfig, NetworkEvent, NodeKey, PunchConfig, RelayServerConfig, ReservationState, SESSION_PROTOCOL},
};
use kaspath_policy::{StrategyConfig, StrategyName};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::mpsc,
    time::{Instant, timeout},
};

async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(20), what).await.expect("in time")
}

fn config() -> NetworkConfig {
    NetworkConfig {
        listen: vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()],
        punch: PunchConfig { allow_local_candidates: true, ..PunchConfig::default() },
        ..NetworkConfig::default()
    }
}

/// A node with sessions and the balanced policy, and a peer without them, reserved at a
/// relay, with another policy; and how the peer is reached.
async fn pair(relay_after: Duration, theirs: StrategyName) -> (Node, Node, Node, PeerTarget) {
    let relay = NetworkConfig { relay_server: Some(RelayServerConfig::default()), ..config() };
    let relay = NodeBuilder::new(NodeKey::generate()).network(relay).start().await.unwrap();
    let at = relay.network().listening()[0].clone();

    let (sender, mut reserved) = mpsc::unbounded_channel();
    let network = NetworkConfig { relays: vec![at.clone()], ..config() };
    let server = NodeBuilder::new(NodeKey::generate()).network(network).policy(StrategyConfig::new(theirs).build());
    let server = server.observe_network(Arc::new(move |event: &NetworkEvent| {
        if matches!(event, NetworkEvent::Reservation { state: ReservationState::Confirmed, .. }) {
            let _ = sender.send(());
        }
    }));
    let server = server.start().await.unwrap();
    soon(reserved.recv()).await.unwrap();

    let mut policy = StrategyConfig::new(StrategyName::Balanced);
    policy.timing.relay_after = relay_after;
    let network = NetworkConfig { session_protocol: Some(SESSION_PROTOCOL.to_owned()), ..config() };
    let client = NodeBuilder::new(NodeKey::generate()).network(network).policy(policy.build()).start().await.unwrap();
    let target = PeerTarget::at(format!("{at}/p2p-circuit/p2p/{}", server.network().local_peer()).parse().unwrap());
    (relay, server, client, target)
}

/// Both ends of a stream that has carried bytes both ways, and after which time it did.
async fn exchange(client: &Node, server: &Node, target: &PeerTarget) -> (DuplexStream, DuplexStream, Duration) {
    let begin = Instant::now();
    let mut ours = soon(client.connector().connect(target)).await.unwrap();
    ours.write_all(b"hello").await.unwrap();
    let mut theirs = soon(server.listener().accept()).await.unwrap();
    let mut bytes = [0; 5];
    soon(theirs.read_exact(&mut bytes)).await.unwrap();
    assert_eq!(&bytes, b"hello");
    theirs.write_all(b"world").await.unwrap();
    soon(ours.read_exact(&mut bytes)).await.unwrap();
    assert_eq!(&bytes, b"world");
    assert!(!ours.carries_session() && !theirs.carries_session());
    (ours, theirs, begin.elapsed())
}

/// The circuit that a session began on is left for the punch, which goes before the relay.
#[tokio::test]
async fn a_peer_without_sessions_that_can_be_punched_gets_a_direct_stream() {
    let relay_after = Duration::from_secs(15);
    let (_relay, server, client, target) = pair(relay_after, StrategyName::Balanced).await;
    // The second is plain from the start.
    for _ in 0..2 {
        let (ours, theirs, took) = exchange(&client, &server, &target).await;
        assert!(!ours.path().is_relayed() && !theirs.path().is_relayed(), "{} {}", ours.path(), theirs.path());
        assert!(took < relay_after, "{took:?}");
    }
}

#[tokio::test]
async fn a_peer_without_sessions_that_cannot_be_punched_gets_the_relay_after_relay_after() {
    let relay_after = Duration::from_secs(2);
    let (relay, server, client, target) = pair(relay_after, StrategyName::RelayOnly).await;
    let (ours, theirs, took) = exchange(&client, &server, &target).await;
    assert!(took >= relay_after, "{took:?}");
    let is_on = |path: Path| matches!(path, Path::Relayed { relay: on, .. } if on == *relay.network().local_peer());
    assert!(is_on(ours.path()) && is_on(theirs.path()), "{} {}", ours.path(), theirs.path());
}
