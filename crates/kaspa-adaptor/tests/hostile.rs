//! What peers that break rules on purpose cannot do.

mod support;

use std::time::Duration;

use futures::future::join_all;
use kaspath_domain::{DialRequest, PeerIdentity, StreamDialer, StreamListener, memory::memory_network, synthetic_address};
use kaspath_kaspa_adaptor::{
    CloseReason, ConnectError, KaspaEvent, KaspaNetwork, MAX_MESSAGE_SIZE,
    pb::{PingMessage, RejectMessage, kaspad_message::Payload, p2p_client::P2pClient},
};
use support::{
    Bare, CLIENT, DEADLINE, Events, RawPeer, await_event, direct, empty_addresses, encoded, events, frame, gzipped, handshake,
    identity, node, serve, serve_on, stream, transaction,
};
use tokio::{io::AsyncReadExt, time::timeout};
use tonic::codegen::http;

async fn failure(events: &mut Events) -> String {
    match await_event(events, |event| matches!(event, KaspaEvent::HandshakeFailed { .. })).await {
        KaspaEvent::HandshakeFailed { cause, .. } => cause,
        _ => unreachable!(),
    }
}

async fn end(events: &mut Events) -> CloseReason {
    match await_event(events, |event| matches!(event, KaspaEvent::PeerLeft { .. })).await {
        KaspaEvent::PeerLeft { reason, .. } => reason,
        _ => unreachable!(),
    }
}

#[tokio::test]
async fn before_ready_a_bomb_of_more_than_64_kib_ends_the_session() {
    for bytes in [(64 << 10) + 100, 2 << 20] {
        let server = node(KaspaNetwork::Simnet);
        let mut events = events(&server);
        let peer = RawPeer::open(stream(&serve(&server, CLIENT), direct()).await).await.unwrap();
        peer.say(empty_addresses(bytes)).await;
        let cause = failure(&mut events).await;
        assert!(cause.contains("over 65536 bytes"), "{cause}");
    }
}

#[tokio::test]
async fn before_ready_only_the_handshakes_kinds_are_decoded() {
    let ping = || encoded(Payload::Ping(PingMessage { nonce: 1 }));
    for (message, kind) in [(empty_addresses(1000), "Addresses"), (ping(), "Ping")] {
        let server = node(KaspaNetwork::Simnet);
        let mut events = events(&server);
        let peer = RawPeer::open(stream(&serve(&server, CLIENT), direct()).await).await.unwrap();
        peer.say(message).await;
        let cause = failure(&mut events).await;
        assert!(cause.contains(&format!("{kind} before Ready")), "{cause}");
    }
}

#[tokio::test]
async fn a_hasty_ready_lifts_no_limit() {
    let server = node(KaspaNetwork::Mainnet);
    let mut events = events(&server);
    let peer = RawPeer::open(stream(&serve(&server, CLIENT), direct()).await).await.unwrap();
    // Of another network, so never let in; and what follows its Ready is never read.
    peer.shake_hands(1, "/hasty:1/").await;
    peer.say(empty_addresses(1 << 20)).await;
    let cause = failure(&mut events).await;
    assert!(cause.contains("kaspa-simnet"), "{cause}");
}

#[tokio::test]
async fn a_version_of_another_network_is_named_though_the_session_ends_without_verack() {
    let server = node(KaspaNetwork::Mainnet);
    let mut events = events(&server);
    let peer = RawPeer::open(stream(&serve(&server, CLIENT), direct()).await).await.unwrap();
    let [version, ..] = handshake(1, "/raw:1/");
    peer.say(version).await;
    drop(peer.send);
    let cause = failure(&mut events).await;
    assert_eq!(cause, "the peer is on kaspa-simnet, but this node is on kaspa-mainnet");
}

#[tokio::test]
async fn after_ready_four_mib_are_the_most_inflated_or_decoded() {
    let huge = encoded(Payload::Reject(RejectMessage { reason: "x".repeat(MAX_MESSAGE_SIZE) }));
    for message in [huge, empty_addresses(1 << 20)] {
        let server = node(KaspaNetwork::Simnet);
        let mut events = events(&server);
        let peer = RawPeer::open(stream(&serve(&server, CLIENT), direct()).await).await.unwrap();
        peer.shake_hands(1, "/raw:1/").await;
        peer.say(message).await;
        let reason = end(&mut events).await;
        assert_eq!(reason, CloseReason::MessageTooLarge { limit: MAX_MESSAGE_SIZE });
    }
}

#[tokio::test]
async fn a_large_honest_message_after_ready_passes() {
    let server = node(KaspaNetwork::Simnet);
    let mut events = events(&server);
    let peer = RawPeer::open(stream(&serve(&server, CLIENT), direct()).await).await.unwrap();
    peer.shake_hands(1, "/raw:1/").await;
    let mut large = transaction(1);
    large.payload = vec![7; 3 << 20];
    peer.say(encoded(Payload::Transaction(large))).await;
    peer.say(encoded(Payload::Ping(PingMessage { nonce: 1 }))).await;
    await_event(&mut events, |event| matches!(event, KaspaEvent::PongSent { .. })).await;
}

#[tokio::test]
async fn a_remotes_words_reach_events_clean() {
    let server = node(KaspaNetwork::Simnet);
    let mut events = events(&server);
    let dialer = serve(&server, CLIENT);
    let peer = RawPeer::open(stream(&dialer, direct()).await).await.unwrap();
    let reason = format!("\x1b[2J\u{202e}no\nERROR forged{}", "x".repeat(5000));
    peer.say(encoded(Payload::Reject(RejectMessage { reason }))).await;
    let cause = failure(&mut events).await;
    assert!(cause.contains("[2Jno ERROR forged"), "{cause}");
    assert!(cause.len() < 700 && !cause.chars().any(|c| c.is_control() || c == '\u{202e}'), "{cause:?}");
    let peer = RawPeer::open(stream(&dialer, direct()).await).await.unwrap();
    peer.shake_hands(1, "/a\x1b[31m\u{2066}b:1/").await;
    let ready = await_event(&mut events, |event| matches!(event, KaspaEvent::PeerReady { .. })).await;
    assert!(matches!(&ready, KaspaEvent::PeerReady { user_agent, .. } if user_agent == "/a[31mb:1/"), "{ready:?}");
}

/// Identities with a given synthetic IP address are found by trying.
fn ground(victim: &PeerIdentity) -> PeerIdentity {
    let wanted = synthetic_address(victim).ip();
    (0_u64..)
        .map(|n| PeerIdentity::from_bytes(&[&[0, 8][..], &n.to_le_bytes()].concat()).unwrap())
        .find(|identity| synthetic_address(identity).ip() == wanted)
        .unwrap()
}

#[tokio::test]
async fn a_ground_address_and_a_stolen_id_end_nobodys_session() {
    let victim = identity(CLIENT);
    let thief = ground(&victim);
    let server = node(KaspaNetwork::Simnet);
    let mut events = events(&server);
    // The victim comes over a relay, so that a better path of its own would win.
    let honest = RawPeer::open(stream(&serve(&server, CLIENT), support::relayed()).await).await.unwrap();
    honest.shake_hands(7, "/victim:1/").await;
    await_event(&mut events, |event| matches!(event, KaspaEvent::PeerReady { .. })).await;
    let standing = server.hub().by_identity(&victim).unwrap();

    let (dialer, listener) = memory_network(thief.clone());
    serve_on(&server, std::sync::Arc::new(listener));
    let attacker = RawPeer::open(stream(&dialer, direct()).await).await.unwrap();
    attacker.shake_hands(7, "/thief:1/").await;
    let ready = await_event(&mut events, |event| matches!(event, KaspaEvent::PeerReady { .. })).await;
    assert!(matches!(&ready, KaspaEvent::PeerReady { user_agent, .. } if user_agent == "/thief:1/"));
    let second = server.hub().by_identity(&thief).unwrap();
    assert_eq!(second.key(), standing.key(), "the same claims");
    assert!(!standing.router().is_closed(), "the victim's session stands");
    assert_eq!(server.hub().peers().len(), 2);

    // The thief's end takes nothing of the victim's with it.
    second.router().close(CloseReason::Local);
    await_event(&mut events, |event| matches!(event, KaspaEvent::PeerLeft { .. })).await;
    assert!(server.hub().by_identity(&victim).is_some_and(|peer| !peer.router().is_closed()));
}

#[tokio::test]
async fn a_connection_has_one_message_stream_and_one_only() {
    let server = node(KaspaNetwork::Simnet);
    let mut events = events(&server);
    let peer = RawPeer::open(stream(&serve(&server, CLIENT), direct()).await).await.unwrap();
    peer.shake_hands(1, "/raw:1/").await;
    await_event(&mut events, |event| matches!(event, KaspaEvent::PeerReady { .. })).await;
    // The first one has ended, but the connection has had its turn.
    drop((peer.send, peer.receive));
    await_event(&mut events, |event| matches!(event, KaspaEvent::PeerLeft { .. })).await;
    let again = timeout(DEADLINE, P2pClient::new(peer.channel).message_stream(tokio_stream::pending())).await.unwrap();
    again.expect_err("a second message stream");
}

#[tokio::test(start_paused = true)]
async fn connections_without_a_handshake_are_limited_by_address_and_leave_room_for_others() {
    let server = node(KaspaNetwork::Simnet);
    let dialer = serve(&server, CLIENT);
    let request = || DialRequest { peer: Some(identity(support::SERVER)), route: direct(), timeout: DEADLINE };
    let mut silent = Vec::new();
    for _ in 0..10 {
        silent.push(dialer.dial(request()).await.unwrap());
    }
    // The server's preface is what a connection with a place hears at first.
    let heard = join_all(silent.iter_mut().map(|stream| async {
        let mut byte = [0];
        stream.read(&mut byte).await.unwrap_or(0)
    }));
    let heard = timeout(DEADLINE, heard).await.unwrap();
    assert_eq!(heard.iter().sum::<usize>(), 2, "two connections of a peer wait for their handshake: {heard:?}");
    // Another peer's handshake works beside them, and the places come back.
    let other = RawPeer::open(stream(&serve(&server, support::RELAY), direct()).await).await.unwrap();
    let mut events = events(&server);
    other.shake_hands(1, "/raw:1/").await;
    await_event(&mut events, |event| matches!(event, KaspaEvent::PeerReady { .. })).await;
    tokio::time::advance(Duration::from_secs(11)).await;
    let mut rest = Vec::new();
    for stream in &mut silent {
        let _ = timeout(DEADLINE, stream.read_to_end(&mut rest)).await.expect("the silent are cut");
    }
    let again = RawPeer::open(dialer.dial(request()).await.unwrap()).await.unwrap();
    again.shake_hands(2, "/raw:1/").await;
    await_event(&mut events, |event| matches!(event, KaspaEvent::PeerReady { .. })).await;
}

#[tokio::test(start_paused = true)]
async fn who_sends_a_message_drop_by_drop_is_given_up() {
    let server = node(KaspaNetwork::Simnet);
    let mut events = events(&server);
    let mut peer = Bare::open(stream(&serve(&server, CLIENT), direct()).await).await;
    peer.shake_hands(1, "/raw:1/").await;
    await_event(&mut events, |event| matches!(event, KaspaEvent::PeerReady { .. })).await;
    peer.say(&[0, 0, 1, 0, 0]).await;
    let mut drops = 0;
    let reason = loop {
        peer.say(&[0]).await;
        drops += 1;
        assert!(drops < 300, "a message may take for ever");
        // Virtual time: a second passes at once.
        if let Ok(reason) = timeout(Duration::from_secs(1), left(&mut events)).await {
            break reason;
        }
    };
    assert!(matches!(&reason, CloseReason::Unanswered { what, .. } if what.contains("rest of a message")), "{reason}");
}

/// Like [`end`], with virtual time to spare.
async fn left(events: &mut Events) -> CloseReason {
    loop {
        if let KaspaEvent::PeerLeft { reason, .. } = events.recv().await.unwrap() {
            return reason;
        }
    }
}

#[tokio::test]
async fn a_servers_bomb_ends_the_callers_handshake() {
    let (dialer, listener) = memory_network(identity(CLIENT));
    tokio::spawn(async move {
        let stream = listener.accept().await.unwrap();
        let mut connection = h2::server::handshake(stream).await.unwrap();
        let mut bodies = Vec::new();
        while let Some(Ok((_request, mut respond))) = connection.accept().await {
            let head = http::Response::builder().header("content-type", "application/grpc").header("grpc-encoding", "gzip");
            let mut body = respond.send_response(head.body(()).unwrap(), false).unwrap();
            body.send_data(frame(&gzipped(&empty_addresses(2 << 20))).into(), false).unwrap();
            bodies.push(body);
        }
    });
    let client = node(KaspaNetwork::Simnet);
    let error = timeout(DEADLINE, client.connect(stream(&dialer, direct()).await)).await.unwrap().unwrap_err();
    assert!(matches!(error, ConnectError::Handshake(_)), "{error}");
    assert!(error.to_string().contains("over 65536 bytes"), "{error}");
}

#[tokio::test]
async fn a_grpc_message_reaches_errors_clean() {
    let (dialer, listener) = memory_network(identity(CLIENT));
    tokio::spawn(async move {
        let stream = listener.accept().await.unwrap();
        let mut connection = h2::server::handshake(stream).await.unwrap();
        while let Some(Ok((_request, mut respond))) = connection.accept().await {
            let head = http::Response::builder().header("content-type", "application/grpc").header("grpc-status", "12");
            let head = head.header("grpc-message", format!("%1b[2J%e2%80%ae%0aforged{}", "x".repeat(3000)));
            respond.send_response(head.body(()).unwrap(), true).unwrap();
        }
    });
    let error =
        timeout(DEADLINE, node(KaspaNetwork::Simnet).connect(stream(&dialer, direct()).await)).await.unwrap().unwrap_err();
    let text = error.to_string();
    assert!(text.contains("[2J forged"), "{text}");
    assert!(text.len() < 700 && !text.chars().any(char::is_control), "{text:?}");
}
