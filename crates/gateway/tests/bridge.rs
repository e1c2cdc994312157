//! Sessions that a gateway begins, between two servers as kaspad is one. Real kaspads
//! are in the lab.

mod support;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use kaspath_domain::{
    Direction, DuplexStream, PeerIdentity, StreamListener,
    memory::{MemoryListener, memory_network},
};
use kaspath_gateway::{CloseReason, GatewayEvent, RefusalReason};
use support::{ByMemory, Call, DEADLINE, Desk, Node, by_memory, dial, is_closed, let_all_in, peer, received, send};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};

async fn kaspad() -> (TcpListener, SocketAddr) {
    let kaspad = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = kaspad.local_addr().unwrap();
    (kaspad, address)
}

async fn at_kaspad(kaspad: &TcpListener) -> (TcpStream, SocketAddr) {
    timeout(DEADLINE, kaspad.accept()).await.expect("a connection into kaspad").unwrap()
}

async fn at_peer(listener: &MemoryListener) -> DuplexStream {
    timeout(DEADLINE, listener.accept()).await.expect("a stream to the peer").unwrap()
}

/// Peer 1's gateway keeps a peer.
fn kept(desk: &mut Desk, n: u8) -> (Arc<ByMemory>, MemoryListener) {
    let (dialer, listener) = memory_network(peer(1));
    let connector = by_memory(peer(n), dialer);
    desk.keep(connector.clone());
    (connector, listener)
}

/// Both calls of a session with peer 2: at the peer's kaspad, and at ours.
async fn joined(kaspad: &TcpListener, listener: &MemoryListener) -> (Call, Call) {
    let (ours, _) = at_kaspad(kaspad).await;
    let theirs = Call::answered(at_peer(listener).await).await;
    (theirs, Call::answered(ours).await)
}

async fn refused(desk: &mut Desk) -> (RefusalReason, String) {
    let event = desk.wait(|event| matches!(event, GatewayEvent::GatewayRefused { .. })).await;
    let GatewayEvent::GatewayRefused { reason, cause, .. } = event else { unreachable!() };
    (reason, cause)
}

async fn closed(desk: &mut Desk) -> (CloseReason, Option<String>) {
    let event = desk.wait(|event| matches!(event, GatewayEvent::GatewayClosed { .. })).await;
    let GatewayEvent::GatewayClosed { reason, cause, .. } = event else { unreachable!() };
    (reason, cause)
}

async fn is_opened(desk: &mut Desk, n: u8) -> PeerIdentity {
    let event = desk.wait(|event| matches!(event, GatewayEvent::GatewayOpened { .. })).await;
    let GatewayEvent::GatewayOpened { peer: opened, direction, .. } = event else { unreachable!() };
    assert_eq!((&opened, direction), (&peer(n), Direction::Outbound));
    opened
}

#[tokio::test]
async fn two_servers_are_joined_without_either_dialling_and_without_an_rpc() {
    let (kaspad, address) = kaspad().await;
    let mut desk = Desk::new(address);
    let (_, listener) = kept(&mut desk, 2);
    let (ours, from) = at_kaspad(&kaspad).await;
    let mut theirs = Call::answered(at_peer(&listener).await).await;
    let mut ours = Call::answered(ours).await;
    let SocketAddr::V4(from) = from else { panic!("{from}") };
    assert!(from.ip().is_loopback() && from.ip().octets()[1] >= 64, "an address of the peer's own: {from}");
    for call in [&theirs, &ours] {
        let header = |name: &str| call.head.headers[name].to_str().unwrap();
        assert_eq!((call.head.method.as_str(), call.head.uri.path()), ("POST", "/protowire.P2P/MessageStream"));
        assert_eq!((header("content-type"), header("te"), header("grpc-encoding")), ("application/grpc", "trailers", "gzip"));
    }
    is_opened(&mut desk, 2).await;
    theirs.send(Bytes::from_static(b"version of theirs")).await;
    assert_eq!(ours.receive(17).await, b"version of theirs");
    ours.send(Bytes::from_static(b"version of ours")).await;
    assert_eq!(theirs.receive(15).await, b"version of ours");

    // An end at one is an end at the other, and no reset.
    theirs.end("0", "");
    assert!(ours.received().await.unwrap().is_none());
    drop((ours, theirs));
    assert_eq!(closed(&mut desk).await, (CloseReason::Closed, None));
}

#[tokio::test]
async fn every_byte_passes_both_ways_in_order_whatever_the_windows() {
    let (kaspad, address) = kaspad().await;
    let mut desk = Desk::new(address);
    let (_, listener) = kept(&mut desk, 2);
    let (ours, _) = at_kaspad(&kaspad).await;
    let mut narrow = h2::server::Builder::new();
    narrow.initial_window_size(1_000).max_frame_size(20_000);
    let theirs = Call::answered_with(at_peer(&listener).await, &narrow, "application/grpc+proto").await;
    let ours = Call::answered(ours).await;
    let sent: Bytes = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect::<Vec<u8>>().into();
    let passing = [(theirs, 777), (ours, 70_001)].map(|(call, step)| {
        let sent = sent.clone();
        async move {
            let Call { mut request, mut answer, connection, .. } = call;
            let sending = async {
                for at in (0..sent.len()).step_by(step) {
                    send(&mut answer, sent.slice(at..sent.len().min(at + step))).await;
                }
            };
            let receiving = async {
                let mut got = Vec::new();
                while got.len() < sent.len() {
                    got.extend_from_slice(&received(&mut request).await.unwrap().expect("more"));
                }
                got
            };
            let ((), got) = tokio::join!(sending, receiving);
            assert!(got == sent, "the bytes differ");
            (request, answer, connection)
        }
    });
    let [one, other] = passing;
    let _held = timeout(Duration::from_secs(30), async { tokio::join!(one, other) }).await.expect("all bytes");
}

/// kaspad takes nothing, and the peer sends what it may.
#[tokio::test]
async fn a_kaspad_that_takes_nothing_holds_the_peer_back() {
    let (kaspad, address) = kaspad().await;
    let mut desk = Desk::new(address);
    let (_, listener) = kept(&mut desk, 2);
    let (mut theirs, mut ours) = joined(&kaspad, &listener).await;
    let block = Bytes::from(vec![7; 16 << 10]);
    let mut sent = 0;
    while timeout(Duration::from_millis(300), theirs.send(block.clone())).await.is_ok() {
        sent += block.len();
        assert!(sent < 4 << 20, "nothing holds it back");
    }
    assert!(sent > 64 << 10);
    // Once kaspad takes it, all of it comes.
    ours.receive(sent).await;
}

#[tokio::test]
async fn a_peers_refusal_is_told_with_its_words_and_tried_again() {
    let (kaspad, address) = kaspad().await;
    let mut desk = Desk::new(address);
    let (connector, listener) = kept(&mut desk, 2);
    let (mut untouched, _) = at_kaspad(&kaspad).await;
    Call::refused(at_peer(&listener).await, "8", "max inbound\u{e9}peers").await;
    assert_eq!(
        refused(&mut desk).await,
        (RefusalReason::PeerUnreachable, "the peer's kaspad: resource exhausted: max inbound??peers".into())
    );
    // Of our kaspad nothing was asked: it has HTTP/2's preface at most.
    is_closed(&mut untouched).await;
    // Of a gateway that is none, and one whose kaspad is another program.
    let again = at_peer(&listener).await;
    assert_eq!(connector.dials(), 2);
    let _call = Call::answered_with(again, &h2::server::Builder::new(), "text/html").await;
    assert_eq!(refused(&mut desk).await.1, "the peer's kaspad: it answers, but not with gRPC");
    assert_eq!(desk.gateway().sessions().len(), 0);
}

#[tokio::test]
async fn the_status_at_the_end_of_a_call_is_the_cause_of_the_sessions_end() {
    let (kaspad, address) = kaspad().await;
    let mut desk = Desk::new(address);
    let (_, listener) = kept(&mut desk, 2);
    let (mut theirs, mut ours) = joined(&kaspad, &listener).await;
    theirs.send("last words").await;
    theirs.end("14", "going away");
    assert_eq!(ours.receive(10).await, b"last words");
    assert!(ours.received().await.unwrap().is_none());
    drop((theirs, ours));
    let told = Some("the peer's kaspad: unavailable: going away".to_owned());
    assert_eq!(closed(&mut desk).await, (CloseReason::Closed, told));
}

#[tokio::test]
async fn kaspads_restart_ends_the_session_and_the_peer_is_not_asked_before_kaspad_is_back() {
    let (kaspad, address) = kaspad().await;
    let mut desk = Desk::new(address);
    let (connector, listener) = kept(&mut desk, 2);
    let (mut theirs, ours) = joined(&kaspad, &listener).await;
    is_opened(&mut desk, 2).await;
    drop((kaspad, ours));
    // To the peer a kaspad that dies is an end.
    assert!(theirs.received().await.unwrap().is_none());
    drop(theirs);
    assert_eq!(closed(&mut desk).await.0, CloseReason::Closed);
    assert_eq!(refused(&mut desk).await.0, RefusalReason::KaspadUnreachable);
    assert_eq!(connector.dials(), 1);
    let kaspad = TcpListener::bind(address).await.unwrap();
    let (_theirs, _ours) = joined(&kaspad, &listener).await;
    is_opened(&mut desk, 2).await;
}

/// Gateways of peers 1 and 2 begin at once. Peer 1's session is kept, and kaspad has the
/// other by one session only.
#[tokio::test]
async fn of_two_sessions_that_both_begin_the_smaller_identitys_is_kept() {
    let (kaspad, address) = kaspad().await;
    let mut desk = Desk::new(address);
    let (_, listener) = kept(&mut desk, 2);
    let (mut theirs, mut ours) = joined(&kaspad, &listener).await;
    is_opened(&mut desk, 2).await;
    is_closed(&mut dial(&desk.serve(2)).await).await;
    theirs.send("still there").await;
    assert_eq!(ours.receive(11).await, b"still there");
    assert_eq!(desk.gateway().sessions().len(), 1);

    // Of peer 0 its own is kept, which comes while ours is being opened.
    let (_, listener) = kept(&mut desk, 0);
    let (mut unused, _) = at_kaspad(&kaspad).await;
    let mut opening = at_peer(&listener).await;
    let mut stream = dial(&desk.serve(0)).await;
    let (mut connection, _) = at_kaspad(&kaspad).await;
    stream.write_all(b"its own").await.unwrap();
    let mut read = [0; 7];
    timeout(DEADLINE, connection.read_exact(&mut read)).await.unwrap().unwrap();
    assert_eq!(&read, b"its own");
    is_closed(&mut unused).await;
    let mut rest = Vec::new();
    timeout(DEADLINE, opening.read_to_end(&mut rest)).await.unwrap().unwrap();
    assert_eq!(desk.gateway().sessions().len(), 2);
}

#[tokio::test]
async fn a_banned_peer_is_not_reached_until_the_ban_is_lifted_and_a_ban_ends_the_session() {
    let (kaspad, address) = kaspad().await;
    let node = Arc::new(Node::on("simnet"));
    let mut desk = Desk::with(address, let_all_in(), Some(node.clone()));
    desk.follow();
    desk.wait(|event| matches!(event, GatewayEvent::KaspadUp { .. })).await;
    let (connector, listener) = kept(&mut desk, 2);
    let (ours, from) = at_kaspad(&kaspad).await;
    let _theirs = Call::answered(at_peer(&listener).await).await;
    let mut ours = Call::answered(ours).await;
    is_opened(&mut desk, 2).await;
    node.change(|snapshot| snapshot.banned.push(from.ip()));
    assert!(ours.received().await.unwrap().is_none());
    assert_eq!(closed(&mut desk).await.0, CloseReason::Banned);
    let before = connector.dials();
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(300)).await;
    tokio::time::resume();
    assert_eq!(connector.dials(), before);
    node.change(|snapshot| snapshot.banned.clear());
    desk.wait(|event| matches!(event, GatewayEvent::PeerUnbanned { .. })).await;
    assert_eq!(at_kaspad(&kaspad).await.1.ip(), from.ip());
    at_peer(&listener).await;
}

#[tokio::test]
async fn a_peer_that_is_banned_while_it_is_being_reached_gets_no_session() {
    let (kaspad, address) = kaspad().await;
    let node = Arc::new(Node::on("simnet"));
    let mut desk = Desk::with(address, let_all_in(), Some(node.clone()));
    desk.follow();
    desk.wait(|event| matches!(event, GatewayEvent::KaspadUp { .. })).await;
    let (dialer, listener) = memory_network(peer(1));
    let connector = by_memory(peer(2), dialer);
    connector.permits.forget_permits(1_000);
    desk.keep(connector.clone());
    let (mut ours, from) = at_kaspad(&kaspad).await;
    node.change(|snapshot| snapshot.banned.push(from.ip()));
    desk.wait(|event| matches!(event, GatewayEvent::PeerBanned { .. })).await;
    connector.permits.add_permits(1);
    let mut read = Vec::new();
    timeout(DEADLINE, at_peer(&listener).await.read_to_end(&mut read)).await.unwrap().unwrap();
    assert!(read.is_empty(), "its kaspad is not called");
    is_closed(&mut ours).await;
    assert_eq!((connector.dials(), desk.gateway().sessions().len()), (1, 0));
}

#[tokio::test]
async fn a_kaspad_on_another_network_gets_no_session_either() {
    let (_kaspad, address) = kaspad().await;
    let node = Arc::new(Node::on("mainnet"));
    let mut desk = Desk::with(address, let_all_in(), Some(node.clone()));
    desk.follow();
    desk.wait(|event| matches!(event, GatewayEvent::KaspadOnOtherNetwork { .. })).await;
    let (connector, listener) = kept(&mut desk, 2);
    node.change(|snapshot| snapshot.network = "simnet".into());
    at_peer(&listener).await;
    assert_eq!(connector.dials(), 1);
}
