//! The gateway between streams in memory and a stand-in for kaspad that notes
//! who connects. A real kaspad is in the lab.

mod support;

use std::{net::SocketAddr, sync::Arc};

use kaspath_domain::{RefuseReason, StreamListener, memory::memory_network, ports::MockAdmissionPolicy};
use kaspath_gateway::{GatewayEvent, KaspadError, KaspadPeer, KaspadSnapshot};
use support::{DEADLINE, Desk, Node, by_memory, dial, free_port, is_closed, peer};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};

#[tokio::test]
async fn each_peer_reaches_kaspad_from_its_own_stable_address() {
    let kaspad = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut desk = Desk::new(kaspad.local_addr().unwrap());
    let mut seen = Vec::new();
    for caller in [2, 3, 2] {
        let dialer = desk.serve(caller);
        let mut stream = dial(&dialer).await;
        let (mut connection, from) = timeout(DEADLINE, kaspad.accept()).await.unwrap().unwrap();
        stream.write_all(b"ping").await.unwrap();
        connection.write_all(b"pong").await.unwrap();
        let (mut there, mut back) = ([0; 4], [0; 4]);
        connection.read_exact(&mut there).await.unwrap();
        stream.read_exact(&mut back).await.unwrap();
        assert_eq!((&there, &back), (b"ping", b"pong"));
        seen.push(from.ip());
        desk.wait(|event| matches!(event, GatewayEvent::GatewayOpened { .. })).await;

        drop(stream);
        is_closed(&mut connection).await;
        drop(connection);
        desk.wait(|event| matches!(event, GatewayEvent::GatewayClosed { to_kaspad: 4, to_peer: 4, .. })).await;
    }
    assert_eq!(seen[0], seen[2]);
    assert_ne!(seen[0], seen[1]);
}

#[tokio::test]
async fn a_kaspad_that_is_not_there_is_told_and_the_gateway_lives_on() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let mut desk = Desk::new(gone);
    let dialer = desk.serve(2);
    for _ in 0..2 {
        let mut stream = dial(&dialer).await;
        assert!(desk.refused().await.contains("is it running?"));
        is_closed(&mut stream).await;
    }
}

#[tokio::test]
async fn a_peer_that_is_not_admitted_never_reaches_kaspad() {
    let kaspad = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut admission = MockAdmissionPolicy::new();
    admission.expect_admit().returning(|_| Err(RefuseReason::TooManyInbound { limit: 8 }));
    let mut desk = Desk::with(kaspad.local_addr().unwrap(), Arc::new(admission), None);
    let mut stream = dial(&desk.serve(2)).await;
    assert!(desk.refused().await.contains("8 inbound peers"));
    is_closed(&mut stream).await;
}

#[tokio::test]
async fn kaspad_reaches_a_peer_by_dialling_its_address() {
    let (dialer, listener) = memory_network(peer(1));
    let mut desk = Desk::new(SocketAddr::from(([127, 0, 0, 1], free_port())));
    let local = desk.keep(by_memory(peer(2), dialer)).await;

    let mut kaspad = TcpStream::connect(local).await.unwrap();
    let mut remote = timeout(DEADLINE, listener.accept()).await.unwrap().unwrap();
    kaspad.write_all(b"version").await.unwrap();
    let mut buffer = [0; 7];
    remote.read_exact(&mut buffer).await.unwrap();
    assert_eq!(&buffer, b"version");
    desk.wait(|event| matches!(event, GatewayEvent::GatewayOpened { .. })).await;
    drop(remote);
    is_closed(&mut kaspad).await;
}

#[tokio::test]
async fn where_the_rpc_allows_it_kaspad_is_had_to_dial_once_the_peer_is_reached() {
    let (dialer, listener) = memory_network(peer(1));
    let node = Arc::new(Node::on("simnet"));
    let mut desk = Desk::controlled(node.clone());
    let local = desk.keep(by_memory(peer(2), dialer)).await;
    desk.follow();
    let _remote = timeout(DEADLINE, listener.accept()).await.unwrap().unwrap();
    assert_eq!(node.asked().await, local, "only then is kaspad asked");
    let _kaspad = TcpStream::connect(local).await.unwrap();
    desk.wait(|event| matches!(event, GatewayEvent::GatewayOpened { .. })).await;
}

#[tokio::test]
async fn where_the_rpc_forbids_it_that_is_told_once() {
    let (dialer, _listener) = memory_network(peer(1));
    let node = Arc::new(Node::on("simnet"));
    node.forbid(KaspadError::NotAllowed("safe mode".into()));
    let mut desk = Desk::controlled(node.clone());
    desk.keep(by_memory(peer(2), dialer)).await;
    desk.follow();
    let is_told = |event: &GatewayEvent| matches!(event, GatewayEvent::PeersNotAdded { cause } if cause == "safe mode");
    desk.wait(is_told).await;
    // Asked again after each restart of kaspad, it still forbids it.
    for _ in 0..2 {
        node.asked().await;
        node.set_down(true);
        desk.wait(|event| matches!(event, GatewayEvent::KaspadDown { .. })).await;
        node.set_down(false);
    }
    assert_eq!(desk.seen.iter().filter(|event| is_told(event)).count(), 1);
}

#[tokio::test]
async fn a_ban_of_an_address_is_a_ban_of_the_peer_until_it_is_lifted() {
    let kaspad = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let node = Arc::new(Node::on("simnet"));
    let mut desk = Desk::with(kaspad.local_addr().unwrap(), support::let_all_in(), Some(node.clone()));
    desk.follow();
    desk.wait(|event| matches!(event, GatewayEvent::KaspadUp { .. })).await;
    let dialer = desk.serve(2);
    let mut stream = dial(&dialer).await;
    let (_connection, from) = timeout(DEADLINE, kaspad.accept()).await.unwrap().unwrap();

    node.change(|snapshot| snapshot.banned.push(from.ip()));
    desk.wait(|event| matches!(event, GatewayEvent::PeerBanned { peer: banned, .. } if *banned == peer(2))).await;
    is_closed(&mut stream).await;
    dial(&dialer).await;
    assert!(desk.refused().await.contains("banned"));

    node.change(|snapshot| snapshot.banned.clear());
    desk.wait(|event| matches!(event, GatewayEvent::PeerUnbanned { peer: lifted, .. } if *lifted == peer(2))).await;
    let _stream = dial(&dialer).await;
    let (_connection, again) = timeout(DEADLINE, kaspad.accept()).await.unwrap().unwrap();
    assert_eq!(again.ip(), from.ip());
}

#[tokio::test]
async fn a_kaspad_on_another_network_gets_no_peers() {
    let kaspad = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let node = Arc::new(Node::on("mainnet"));
    let mut desk = Desk::with(kaspad.local_addr().unwrap(), support::let_all_in(), Some(node.clone()));
    desk.follow();
    desk.wait(|event| matches!(event, GatewayEvent::KaspadOnOtherNetwork { network, .. } if network == "mainnet")).await;
    let dialer = desk.serve(2);
    let mut stream = dial(&dialer).await;
    assert_eq!(desk.refused().await, "kaspad is on mainnet, this gateway on simnet");
    is_closed(&mut stream).await;
}

#[tokio::test]
async fn a_node_that_kaspad_has_twice_is_noticed() {
    let kaspad = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let node = Arc::new(Node::on("simnet"));
    let mut desk = Desk::with(kaspad.local_addr().unwrap(), support::let_all_in(), Some(node.clone()));
    let dialer = desk.serve(2);
    let _stream = dial(&dialer).await;
    let (_connection, from) = timeout(DEADLINE, kaspad.accept()).await.unwrap().unwrap();
    let at = |address: SocketAddr| KaspadPeer { id: "the-same".into(), address, round_trip: None };
    node.change(|snapshot: &mut KaspadSnapshot| snapshot.peers = vec![at(from), at(([192, 0, 2, 1], 16511).into())]);
    desk.follow();
    let told = desk.wait(|event| matches!(event, GatewayEvent::SeenTwice { .. })).await;
    let GatewayEvent::SeenTwice { addresses, .. } = told else { unreachable!() };
    assert_eq!(addresses.len(), 2);
}
