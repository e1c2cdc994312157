//! What a hostile peer can do to a gateway.

mod support;

use std::{sync::Arc, time::Duration};

use kaspath_domain::{
    DuplexStream, RefuseReason, Timestamp,
    memory::{MemoryDialer, MemoryPeerBook},
    ports::MockAdmissionPolicy,
};
use kaspath_gateway::{CloseReason, GatewayEvent, KaspadPeer};
use support::{Call, DEADLINE, Desk, Node, by_memory, dial, dial_relayed, is_closed, let_all_in, peer};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{Instant, advance, pause, resume, timeout},
};

/// Admission with places for so many.
fn places(limit: usize) -> Arc<MockAdmissionPolicy> {
    let mut admission = MockAdmissionPolicy::new();
    admission.expect_admit().returning(move |request| {
        let full = Err(RefuseReason::TooManyInbound { limit });
        if request.inbound >= limit { full } else { Ok(()) }
    });
    Arc::new(admission)
}

/// Admission with places for so many of each relay.
fn places_of_a_relay(limit: usize) -> Arc<MockAdmissionPolicy> {
    let mut admission = MockAdmissionPolicy::new();
    admission.expect_admit().returning(move |request| {
        let full = Err(RefuseReason::TooManyThroughRelay { limit });
        if request.same_class >= limit { full } else { Ok(()) }
    });
    Arc::new(admission)
}

/// Time passes at once; nothing is waited for meanwhile.
async fn pass(time: Duration) {
    pause();
    advance(time).await;
    resume();
}

async fn kaspad() -> (TcpListener, std::net::SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// A session that has shaken hands.
async fn talk(dialer: &MemoryDialer, kaspad: &TcpListener) -> (DuplexStream, TcpStream) {
    shake_hands(dial(dialer).await, kaspad).await
}

async fn shake_hands(mut stream: DuplexStream, kaspad: &TcpListener) -> (DuplexStream, TcpStream) {
    let (mut connection, _) = timeout(DEADLINE, kaspad.accept()).await.unwrap().unwrap();
    stream.write_all(&[1; 100]).await.unwrap();
    connection.write_all(&[2; 100]).await.unwrap();
    timeout(DEADLINE, connection.read_exact(&mut [0; 100])).await.unwrap().unwrap();
    timeout(DEADLINE, stream.read_exact(&mut [0; 100])).await.unwrap().unwrap();
    (stream, connection)
}

#[tokio::test]
async fn a_peer_that_opens_and_closes_without_end_reaches_kaspad_and_the_log_at_a_low_rate() {
    let (kaspad, address) = kaspad().await;
    let accepting = tokio::spawn(async move {
        let mut count = 0_u64;
        while let Ok(Ok(_)) = timeout(Duration::from_secs(2), kaspad.accept()).await {
            count += 1;
        }
        count
    });
    let mut desk = Desk::new(address);
    let dialer = desk.serve(2);
    let begin = Instant::now();
    for _ in 0..5_000 {
        drop(dial(&dialer).await);
    }
    is_closed(&mut dial(&dialer).await).await;
    let connections = accepting.await.unwrap();
    let allowed = 17 + begin.elapsed().as_secs() / 2;
    assert!((1..=allowed).contains(&connections), "{connections} connections reached kaspad");
    let events = desk.drain().len() as u64;
    assert!(events <= 2 * allowed + 4, "{events} events");
}

#[tokio::test]
async fn a_stream_that_says_nothing_does_not_keep_its_place() {
    let (kaspad, address) = kaspad().await;
    let mut desk = Desk::with(address, places(1), None);
    let mut silent = dial(&desk.serve(2)).await;
    let (mut connection, _) = timeout(DEADLINE, kaspad.accept()).await.unwrap().unwrap();
    // kaspad's HTTP/2 settings come at once, whoever calls.
    connection.write_all(b"settings").await.unwrap();
    timeout(DEADLINE, silent.read_exact(&mut [0; 8])).await.unwrap().unwrap();
    pass(Duration::from_secs(20)).await;
    assert_eq!(desk.closed().await, (peer(2), CloseReason::NoHandshake));
    is_closed(&mut silent).await;
    is_closed(&mut connection).await;
}

#[tokio::test]
async fn a_full_gateway_lets_an_honest_peer_in_at_the_cost_of_a_silent_one() {
    let (kaspad, address) = kaspad().await;
    let mut desk = Desk::with(address, places(2), None);
    let _talking = talk(&desk.serve(3), &kaspad).await;
    let mut silent = dial(&desk.serve(2)).await;
    let (mut connection, _) = timeout(DEADLINE, kaspad.accept()).await.unwrap().unwrap();
    pass(Duration::from_secs(4)).await;
    let _honest = talk(&desk.serve(4), &kaspad).await;
    assert_eq!(desk.closed().await, (peer(2), CloseReason::Evicted));
    // In order: kaspad and the peer see an end, not a reset.
    assert_eq!(timeout(DEADLINE, connection.read(&mut [0])).await.unwrap().unwrap(), 0);
    assert_eq!(timeout(DEADLINE, silent.read(&mut [0])).await.unwrap().unwrap(), 0);
}

/// Waits until the peer's stream has been joined to kaspad.
async fn opened(desk: &mut Desk, n: u8) {
    desk.wait(|event| matches!(event, GatewayEvent::GatewayOpened { peer: opened, .. } if *opened == peer(n))).await;
}

#[tokio::test]
async fn identities_that_get_no_place_do_not_use_up_what_newcomers_of_their_relay_have() {
    let (kaspad, address) = kaspad().await;
    let mut desk = Desk::with(address, places_of_a_relay(1), None);
    let talking = shake_hands(dial_relayed(&desk.serve(3)).await, &kaspad).await;
    for n in 100..140 {
        is_closed(&mut dial_relayed(&desk.serve(n)).await).await;
    }
    drop(talking);
    assert_eq!(desk.closed().await.0, peer(3));
    let _honest = dial_relayed(&desk.serve(50)).await;
    opened(&mut desk, 50).await;
}

#[tokio::test]
async fn a_wall_clock_set_back_by_five_hours_keeps_no_newcomer_out_and_lifts_no_ban() {
    let (kaspad, address) = kaspad().await;
    let node = Arc::new(Node::on("simnet"));
    let mut desk = Desk::with(address, let_all_in(), Some(node.clone()));
    let hours = |hours: u64| Duration::from_secs(hours * 3600);
    desk.set_wall_clock(hours(10));
    desk.follow();
    let mut held = Vec::new();
    for n in 100..116 {
        held.push(dial(&desk.serve(n)).await);
        opened(&mut desk, n).await;
    }
    let (_connection, from) = timeout(DEADLINE, kaspad.accept()).await.unwrap().unwrap();
    node.change(|snapshot| snapshot.banned.push(from.ip()));
    let banned = desk.wait(|event| matches!(event, GatewayEvent::PeerBanned { .. })).await;
    let GatewayEvent::PeerBanned { peer: banned, .. } = banned else { unreachable!() };
    let _refused = dial(&desk.serve(116)).await;
    assert!(desk.refused().await.contains("never seen before"), "the newcomers' rate is used up");

    desk.set_wall_clock(hours(5));
    pass(Duration::from_secs(60)).await;
    let _newcomer = dial(&desk.serve(117)).await;
    opened(&mut desk, 117).await;
    let again = (100..116).find(|n| peer(*n) == banned).unwrap();
    let _again = dial(&desk.serve(again)).await;
    assert_eq!(desk.refused().await, RefuseReason::Banned.to_string());
}

#[tokio::test]
async fn a_peer_that_shakes_hands_and_then_says_nothing_for_minutes_is_ended() {
    let (kaspad, address) = kaspad().await;
    let mut desk = Desk::with(address, let_all_in(), None);
    let (mut stream, mut connection) = talk(&desk.serve(2), &kaspad).await;
    // It answers a ping after two minutes and none after that; kaspad goes on.
    pass(Duration::from_secs(120)).await;
    stream.write_all(b"pong").await.unwrap();
    timeout(DEADLINE, connection.read_exact(&mut [0; 4])).await.unwrap().unwrap();
    for _ in 0..5 {
        pass(Duration::from_secs(59)).await;
        connection.write_all(b"ping").await.unwrap();
        timeout(DEADLINE, stream.read_exact(&mut [0; 4])).await.unwrap().unwrap();
    }
    pass(Duration::from_secs(10)).await;
    assert_eq!(desk.closed().await, (peer(2), CloseReason::Idle));
    is_closed(&mut connection).await;
}

#[tokio::test]
async fn a_session_that_kaspad_does_not_count_as_a_peer_ends() {
    let (kaspad, address) = kaspad().await;
    let node = Arc::new(Node::on("simnet"));
    let mut desk = Desk::with(address, let_all_in(), Some(node.clone()));
    desk.follow();
    let (_real, connection) = talk(&desk.serve(2), &kaspad).await;
    // Keeps HTTP/2 alive and never sends a Version message.
    let (mut fake, _) = talk(&desk.serve(3), &kaspad).await;
    pass(Duration::from_secs(46)).await;
    // A kaspad that lists none of them is perhaps not theirs.
    desk.wait(|event| matches!(event, GatewayEvent::KaspadUp { .. })).await;
    let listed = KaspadPeer { id: "real".into(), address: connection.peer_addr().unwrap(), round_trip: None };
    node.change(|snapshot| snapshot.peers.push(listed));
    assert_eq!(desk.closed().await, (peer(3), CloseReason::NotKaspadsPeer));
    is_closed(&mut fake).await;
}

#[tokio::test]
async fn a_peer_that_comes_again_and_again_holds_one_place() {
    let (kaspad, address) = kaspad().await;
    let mut desk = Desk::with(address, places(2), None);
    let _other = talk(&desk.serve(3), &kaspad).await;
    let dialer = desk.serve(2);
    for _ in 0..5 {
        let _again = talk(&dialer, &kaspad).await;
    }
    let events = desk.drain();
    let replaced = |event: &&GatewayEvent| matches!(event, GatewayEvent::GatewayClosed { peer: closed, reason, .. } if *closed == peer(2) && *reason != CloseReason::Evicted);
    let closed: Vec<_> = events.iter().filter(|event| matches!(event, GatewayEvent::GatewayClosed { .. })).collect();
    assert_eq!(closed.iter().copied().filter(replaced).count(), closed.len(), "{events:?}");
}

#[tokio::test]
async fn the_end_of_the_gateway_ends_every_session_in_order() {
    let (kaspad, address) = kaspad().await;
    let mut desk = Desk::with(address, let_all_in(), None);
    let (mut stream, mut connection) = talk(&desk.serve(2), &kaspad).await;
    let (dialer, listener) = kaspath_domain::memory::memory_network(peer(1));
    desk.keep(by_memory(peer(5), dialer));
    let remote = async { timeout(DEADLINE, kaspath_domain::StreamListener::accept(&listener)).await.unwrap().unwrap() };
    let ours = async { timeout(DEADLINE, kaspad.accept()).await.unwrap().unwrap().0 };
    let (mut remote, mut ours) = (Call::answered(remote.await).await, Call::answered(ours.await).await);
    opened(&mut desk, 5).await;

    let gateway = desk.gateway().clone();
    let ending = tokio::spawn(async move { gateway.end_sessions().await });
    assert_eq!(timeout(DEADLINE, connection.read(&mut [0])).await.unwrap().unwrap(), 0, "an end, not a reset");
    assert_eq!(timeout(DEADLINE, stream.read(&mut [0])).await.unwrap().unwrap(), 0, "an end, not a reset");
    for call in [&mut ours, &mut remote] {
        assert!(call.received().await.unwrap().is_none(), "an end, not a reset");
    }
    drop((connection, stream, ours, remote));
    timeout(DEADLINE, ending).await.unwrap().unwrap();
    for _ in 0..2 {
        assert_eq!(desk.closed().await.1, CloseReason::ShuttingDown);
    }
}

#[tokio::test]
async fn a_session_that_panics_is_not_lost_silently() {
    let (kaspad, address) = kaspad().await;
    let gateway = support::gateway(address, let_all_in(), None, Arc::new(MemoryPeerBook::new(1)), Timestamp::default, |event| {
        assert!(!matches!(event, GatewayEvent::GatewayOpened { .. }), "a defect");
    });
    let (dialer, listener) = kaspath_domain::memory::memory_network(peer(2));
    let serving = tokio::spawn(async move { gateway.serve(Arc::new(listener)).await });
    let _stream = dial(&dialer).await;
    let _connection = timeout(DEADLINE, kaspad.accept()).await.unwrap().unwrap();
    assert!(timeout(DEADLINE, serving).await.unwrap().unwrap_err().is_panic());
}
