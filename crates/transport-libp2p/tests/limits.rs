//! One host's connections, silent or held, leave room for all others.

mod support;

use std::{net::SocketAddr, time::Duration};

use kaspath_domain::{DialError, DialRequest, DuplexStream, Route, StreamDialer, StreamListener, Transport, TransportAddress};
use kaspath_transport_libp2p::{ConnectionLimits, Network, NetworkConfig, NetworkEvent, RelayServerConfig};
use support::{DEADLINE, address_over, await_event, config, dial, relay, relay_address, relay_only, reserved, route, start};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    time::timeout,
};

fn tcp_socket(of: &Network) -> SocketAddr {
    address_over(of, Transport::Tcp).socket_addr().unwrap()
}

/// A way over TCP to a node, on which connections come from that loopback address:
/// libp2p itself leaves the choice of the source to the system.
async fn via(ip: &'static str, to: &Network) -> Route {
    let (listener, to) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), tcp_socket(to));
    let address = TransportAddress::tcp(listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut inward, _)) = listener.accept().await {
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut inward, &mut silent(ip, to).await).await });
        }
    });
    Route::Direct(address)
}

fn limited(change: impl FnOnce(&mut ConnectionLimits)) -> NetworkConfig {
    let mut config = config();
    change(&mut config.limits);
    config
}

/// Connects from that loopback address, and says nothing.
async fn silent(ip: &str, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{ip}:0").parse().unwrap()).unwrap();
    timeout(DEADLINE, socket.connect(to)).await.unwrap().unwrap()
}

/// Bytes go there and come back.
async fn works(stream: &mut DuplexStream, at: &Network) {
    stream.write_all(b"hello").await.unwrap();
    let mut inward = timeout(DEADLINE, at.listener().accept()).await.unwrap().unwrap();
    let mut buffer = [0; 5];
    timeout(DEADLINE, inward.read_exact(&mut buffer)).await.unwrap().unwrap();
    assert_eq!(&buffer, b"hello");
}

/// Dials until it works.
async fn dial_again(from: &Network, to: &Network, route: Route) -> DuplexStream {
    let until_it_works = async {
        loop {
            if let Ok(stream) = dial(from, to, route.clone()).await {
                return stream;
            }
        }
    };
    timeout(DEADLINE, until_it_works).await.expect("it works in the end")
}

#[tokio::test]
async fn six_hundred_silent_tcp_connections_of_one_host_keep_nobody_else_out() {
    let theirs = start(config()).await;
    let mut events = theirs.events();
    let mut held = Vec::new();
    for _ in 0..600 {
        held.push(silent("127.0.0.2", tcp_socket(&theirs)).await);
    }
    for transport in [Transport::Tcp, Transport::Quic] {
        let ours = start(config()).await;
        let mut stream = dial(&ours, &theirs, route(&theirs, transport)).await.unwrap();
        works(&mut stream, &theirs).await;
    }
    await_event(&mut events, |event| matches!(event, NetworkEvent::ConnectionsRefused { refused } if refused.total() > 0)).await;
}

#[tokio::test]
async fn a_full_tcp_pool_leaves_quic_alone_and_is_free_again_after_the_flood() {
    let full = |limits: &mut ConnectionLimits| {
        (limits.pending_inbound, limits.pending_inbound_per_address, limits.pending_inbound_per_prefix) = (4, 4, 4);
    };
    let (ours, theirs) = (start(config()).await, start(limited(full)).await);
    let mut held = Vec::new();
    for n in 2..6 {
        held.push(silent(&format!("127.0.0.{n}"), tcp_socket(&theirs)).await);
    }
    dial(&ours, &theirs, route(&theirs, Transport::Tcp)).await.unwrap_err();
    let mut over_quic = dial(&ours, &theirs, route(&theirs, Transport::Quic)).await.unwrap();
    works(&mut over_quic, &theirs).await;
    held.clear();
    let other = start(config()).await;
    works(&mut dial_again(&other, &theirs, route(&theirs, Transport::Tcp)).await, &theirs).await;
}

#[tokio::test]
async fn an_address_that_has_its_share_of_established_connections_gets_no_more_and_others_do() {
    let share = |limits: &mut ConnectionLimits| {
        (limits.inbound, limits.inbound_per_address, limits.inbound_per_prefix) = (8, 4, 8);
    };
    let theirs = start(limited(share)).await;
    let route = via("127.0.0.2", &theirs).await;
    let mut held = Vec::new();
    for n in 0..8 {
        let node = start(config()).await;
        match dial(&node, &theirs, route.clone()).await {
            Ok(mut stream) => {
                works(&mut stream, &theirs).await;
                held.push((node, stream));
            }
            Err(error) => assert!(n >= 4, "{error}"),
        }
    }
    assert_eq!(held.len(), 4);
    let ours = start(config()).await;
    works(&mut dial(&ours, &theirs, via("127.0.0.3", &theirs).await).await.unwrap(), &theirs).await;
    // What one gives back another may have.
    held.remove(0).0.shutdown().await;
    let next = start(config()).await;
    works(&mut dial_again(&next, &theirs, route).await, &theirs).await;
}

#[tokio::test]
async fn when_all_places_are_taken_the_most_crowded_prefix_loses_one_and_a_lone_peer_stays() {
    let small = |limits: &mut ConnectionLimits| {
        (limits.inbound, limits.inbound_per_address, limits.inbound_per_prefix) = (4, 4, 4);
    };
    let theirs = start(limited(small)).await;
    let mut events = theirs.events();
    let lone = start(config()).await;
    let mut its = dial(&lone, &theirs, via("127.0.1.1", &theirs).await).await.unwrap();
    its.write_all(b"h").await.unwrap();
    let mut its_end = timeout(DEADLINE, theirs.listener().accept()).await.unwrap().unwrap();
    let mut crowd = Vec::new();
    for _ in 0..3 {
        let node = start(config()).await;
        let stream = dial(&node, &theirs, via("127.0.2.1", &theirs).await).await.unwrap();
        crowd.push((node, stream));
    }
    let newcomer = start(config()).await;
    let _new = dial(&newcomer, &theirs, route(&theirs, Transport::Tcp)).await.unwrap();
    let gone = await_event(&mut events, |event| matches!(event, NetworkEvent::Disconnected { .. })).await;
    let NetworkEvent::Disconnected { peer, .. } = gone else { panic!("a disconnection") };
    assert!(crowd.iter().any(|(node, _)| *node.local_peer() == peer));
    its.write_all(b"i").await.unwrap();
    let mut both = [0; 2];
    timeout(DEADLINE, its_end.read_exact(&mut both)).await.unwrap().unwrap();
    assert_eq!(&both, b"hi");
}

#[tokio::test]
async fn a_full_relay_closes_an_unused_connection_and_keeps_a_younger_one_with_a_reservation() {
    let two = |limits: &mut ConnectionLimits| limits.inbound = 2;
    let relay = start(NetworkConfig { relay_server: Some(RelayServerConfig::default()), ..limited(two) }).await;
    let mut events = relay.events();
    let to_relay = || Route::Relayed(relay_address(&relay));
    // It asks for a peer that nobody knows, and stays connected.
    let (unused, nobody) = (start(relay_only()).await, start(relay_only()).await);
    dial(&unused, &nobody, to_relay()).await.unwrap_err();
    let server = reserved(relay_only(), &relay).await;
    await_event(&mut events, |event| matches!(event, NetworkEvent::RelayReservationAccepted { .. })).await;
    let newcomer = start(relay_only()).await;
    let mut stream = dial(&newcomer, &server, to_relay()).await.unwrap();
    works(&mut stream, &server).await;
    let gone = await_event(&mut events, |event| matches!(event, NetworkEvent::Disconnected { .. })).await;
    assert!(matches!(&gone, NetworkEvent::Disconnected { peer, .. } if peer == unused.local_peer()), "{gone:?}");
}

#[tokio::test]
async fn dials_of_peers_and_punches_take_no_room_from_relays_and_circuits() {
    let none = |limits: &mut ConnectionLimits| {
        (limits.pending_outbound, limits.outbound, limits.pending_punches, limits.punched) = (0, 0, 0, 0);
    };
    let relay = relay(RelayServerConfig::default()).await;
    let server = reserved(limited(none), &relay).await;
    let ours = start(limited(none)).await;
    let mut stream = dial(&ours, &server, Route::Relayed(relay_address(&relay))).await.unwrap();
    works(&mut stream, &server).await;
    let request = DialRequest {
        peer: Some(server.local_peer().clone()),
        route: route(&server, Transport::Tcp),
        timeout: Duration::from_secs(5),
    };
    let error = ours.dialer().dial(request).await.unwrap_err();
    assert!(matches!(&error, DialError::LimitReached { what: "unfinished connections to peers", limit: 0 }), "{error}");
}
