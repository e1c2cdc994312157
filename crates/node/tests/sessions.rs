//! Sessions of nodes whose connections end.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use kaspath_domain::{Path, PeerAddress, PeerLocator, PeerTarget, TransportAddress};
use kaspath_node::{
    Node, NodeBuilder,
    transport::{NetworkConfig, NetworkEvent, NodeKey, RelayServerConfig, ReservationState, SESSION_PROTOCOL},
};
use kaspath_session::SessionEvent;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
    task::JoinSet,
    time::timeout,
};

async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(20), what).await.expect("in time")
}

async fn node(sessions: bool) -> Node {
    let listen = vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()];
    let session_protocol = sessions.then(|| SESSION_PROTOCOL.to_owned());
    let config = NetworkConfig { listen, session_protocol, ..NetworkConfig::default() };
    NodeBuilder::new(NodeKey::generate()).network(config).start().await.unwrap()
}

/// What happens to a connection through a [`forwarder`].
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    None,
    /// Connections end.
    Closed,
    /// Nothing passes any more on the connections that there are.
    Silent,
}

/// Forwards connections to `to`. A new value of the watch befalls those that there are.
async fn forwarder(to: SocketAddr, faults: watch::Receiver<Fault>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut running = JoinSet::new();
        while let Ok((mut near, _)) = listener.accept().await {
            let mut faults = faults.clone();
            faults.mark_unchanged();
            running.spawn(async move {
                let mut far = TcpStream::connect(to).await.unwrap();
                tokio::select! {
                    _ = copy_bidirectional(&mut near, &mut far) => {}
                    _ = faults.changed() => {
                        if *faults.borrow() == Fault::Silent {
                            // Kept open, and nobody reads.
                            std::future::pending::<()>().await;
                        }
                    }
                }
            });
        }
    });
    address
}

fn socket(locator: &PeerLocator) -> SocketAddr {
    let PeerAddress::Direct(TransportAddress { host: kaspath_domain::Host::Ip(ip), port, .. }) = &locator.address else {
        panic!("a direct address")
    };
    SocketAddr::new(*ip, *port)
}

#[tokio::test]
async fn a_session_outlives_connections_that_end_and_connections_that_fall_silent() {
    let (server, client) = (node(true).await, node(true).await);
    let (fault, faults) = watch::channel(Fault::None);
    let through = forwarder(socket(&server.network().listening()[0]), faults).await;
    let peer = server.network().local_peer().clone();
    let at = format!("/ip4/127.0.0.1/tcp/{}/p2p/{peer}", through.port()).parse().unwrap();
    let (sender, mut events) = mpsc::unbounded_channel();
    client.observe_sessions(Arc::new(move |event: &SessionEvent| drop(sender.send(event.clone()))));

    let mut ours = client.connector().connect(&PeerTarget::at(at)).await.unwrap();
    ours.write_all(b"a").await.unwrap();
    let listener = server.listener();
    let mut theirs = soon(listener.accept()).await.unwrap();
    assert_eq!(soon(theirs.read_u8()).await.unwrap(), b'a');
    assert!(matches!(soon(events.recv()).await, Some(SessionEvent::Began { .. })));
    for (n, kind) in [Fault::Closed, Fault::Silent, Fault::Closed].into_iter().enumerate() {
        fault.send_replace(kind);
        ours.write_all(&[n as u8]).await.unwrap();
        assert_eq!(soon(theirs.read_u8()).await.unwrap(), n as u8);
        theirs.write_all(&[n as u8]).await.unwrap();
        assert_eq!(soon(ours.read_u8()).await.unwrap(), n as u8);
        assert!(matches!(soon(events.recv()).await, Some(SessionEvent::Stalled { .. })));
        assert!(matches!(soon(events.recv()).await, Some(SessionEvent::Moved { .. })));
    }
    drop(ours);
    assert!(soon(theirs.read_u8()).await.is_err(), "the end of a session is told");
    client.shutdown().await;
    server.shutdown().await;
}

async fn relay() -> Node {
    let listen = vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()];
    // Announced to peers although it is not public.
    let config = NetworkConfig { listen, relay_server: Some(RelayServerConfig::default()), ..NetworkConfig::default() };
    NodeBuilder::new(NodeKey::generate()).network(config).start().await.unwrap()
}

#[tokio::test]
async fn a_session_is_on_another_relay_before_its_own_has_shut_down() {
    let (one, two) = (relay().await, relay().await);
    let at = |relay: &Node| relay.network().listening()[0].clone();
    let (sender, mut reserved) = mpsc::unbounded_channel();
    let config = NetworkConfig {
        relays: vec![at(&one), at(&two)],
        session_protocol: Some(SESSION_PROTOCOL.to_owned()),
        ..NetworkConfig::default()
    };
    config.observers.add(Arc::new(move |event: &NetworkEvent| {
        if let NetworkEvent::Reservation { state: ReservationState::Confirmed, .. } = event {
            let _ = sender.send(());
        }
    }));
    let server = NodeBuilder::new(NodeKey::generate()).network(config).start().await.unwrap();
    soon(reserved.recv()).await.unwrap();
    soon(reserved.recv()).await.unwrap();
    let client = node(true).await;
    let (sender, mut events) = mpsc::unbounded_channel();
    client.observe_sessions(Arc::new(move |event: &SessionEvent| drop(sender.send(event.clone()))));
    let peer = server.network().local_peer().clone();
    let through = |relay: &Node| format!("{}/p2p-circuit/p2p/{peer}", at(relay)).parse().unwrap();
    let target = PeerTarget { peer: Some(peer.clone()), addresses: vec![through(&one), through(&two)] };
    let mut ours = soon(client.connector().connect(&target)).await.unwrap();
    ours.write_all(b"a").await.unwrap();
    let mut theirs = soon(server.listener().accept()).await.unwrap();
    assert_eq!(soon(theirs.read_u8()).await.unwrap(), b'a');
    assert!(matches!(soon(events.recv()).await, Some(SessionEvent::Began { .. })));

    let Path::Relayed { relay, .. } = ours.path() else { panic!("there is no direct path: {}", ours.path()) };
    let (ending, other) = if relay == *one.network().local_peer() { (&one, &two) } else { (&two, &one) };
    let left = soon(ending.network().drain(Duration::from_secs(15))).await.unwrap();
    assert_eq!(left, 0, "the circuit was closed before the time was over");
    let moved = soon(events.recv()).await.unwrap();
    let SessionEvent::Moved { to: Path::Relayed { relay, .. }, stall, .. } = moved else { panic!("{moved:?}") };
    assert_eq!((&relay, stall), (other.network().local_peer(), Duration::ZERO));
    ending.shutdown().await;
    theirs.write_all(b"b").await.unwrap();
    assert_eq!(soon(ours.read_u8()).await.unwrap(), b'b');
    for node in [&client, &server, other] {
        node.shutdown().await;
    }
}

#[tokio::test]
async fn a_node_that_ends_tells_its_peers() {
    let (client, server) = (node(true).await, node(true).await);
    let target = PeerTarget::at(server.network().listening()[0].clone());
    let mut ours = client.connector().connect(&target).await.unwrap();
    ours.write_all(b"a").await.unwrap();
    let mut theirs = soon(server.listener().accept()).await.unwrap();
    assert_eq!(soon(theirs.read_u8()).await.unwrap(), b'a');
    client.shutdown().await;
    assert!(soon(theirs.read_u8()).await.is_err(), "it waits for no path");
    server.shutdown().await;
}

#[tokio::test]
async fn a_peer_without_sessions_gets_plain_streams() {
    for (ours, theirs) in [(true, false), (false, true), (false, false)] {
        let (client, server) = (node(ours).await, node(theirs).await);
        let target = PeerTarget::at(server.network().listening()[0].clone());
        for _ in 0..2 {
            let mut stream = client.connector().connect(&target).await.unwrap();
            stream.write_all(b"hello").await.unwrap();
            let mut accepted = soon(server.listener().accept()).await.unwrap();
            let mut bytes = [0; 5];
            soon(accepted.read_exact(&mut bytes)).await.unwrap();
            assert_eq!(&bytes, b"hello");
            accepted.write_all(b"world").await.unwrap();
            soon(stream.read_exact(&mut bytes)).await.unwrap();
            assert_eq!(&bytes, b"world");
        }
        client.shutdown().await;
        server.shutdown().await;
    }
}
