//! The gateway between streams in memory and a stand-in for kaspad that notes
//! who connects. A real kaspad is in the lab.

mod support;

use std::{net::SocketAddr, sync::Arc};

use kaspath_domain::{RefuseReason, ports::MockAdmissionPolicy};
use kaspath_gateway::{GatewayEvent, KaspadPeer, KaspadSnapshot};
use support::{DEADLINE, Desk, Node, dial, is_closed, peer};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
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
