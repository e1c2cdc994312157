//! Sessions between light peers over streams in memory.

mod support;

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, ready},
    time::Duration,
};

use kaspath_domain::{
    DialRequest, Direction, DuplexStream, RefuseReason, StreamDialer, memory::memory_network, ports::MockAdmissionPolicy,
    synthetic_address,
};
use kaspath_kaspa_adaptor::{
    CloseReason, ConnectError, HandshakeError, HandshakeStep, KaspaEvent, KaspaNetwork, KaspaNode,
    pb::{PingMessage, kaspad_message::Payload},
};
use support::{
    Bare, CLIENT, DEADLINE, SERVER, await_event, direct, encoded, events, identity, node, relayed, serve, stream, transaction,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep, timeout},
};

#[tokio::test]
async fn two_peers_reach_ready_and_know_whom_and_how() {
    let (server, client) = (node(KaspaNetwork::Simnet), node(KaspaNetwork::Simnet));
    let mut events = events(&server);
    let dialer = serve(&server, CLIENT);
    let peer = client.connect(stream(&dialer, direct()).await).await.unwrap();
    assert!(peer.user_agent().starts_with("/kaspath:"));
    assert_eq!(peer.identity(), Some(&identity(SERVER)));
    assert_eq!(peer.key().ip, synthetic_address(&identity(SERVER)).ip());

    let mut steps = Vec::new();
    let ready = loop {
        match timeout(DEADLINE, events.recv()).await.unwrap().unwrap() {
            KaspaEvent::Handshake { step, .. } => steps.push(step),
            ready @ KaspaEvent::PeerReady { .. } => break ready,
            other => panic!("{other:?}"),
        }
    };
    // Version and Verack cross, so either may be first.
    steps[..2].sort_by_key(|step| *step as u8);
    assert_eq!(steps, [HandshakeStep::Version, HandshakeStep::Verack, HandshakeStep::Ready]);
    let KaspaEvent::PeerReady { peer, direction, path, .. } = ready else { panic!("ready") };
    assert_eq!((peer, direction), (Some(identity(CLIENT)), Direction::Inbound));
    assert!(!path.is_relayed());
    assert_eq!(server.hub().peers().len(), 1);
}

#[tokio::test]
async fn transactions_and_addresses_travel_through_a_middle_peer() {
    let (left, middle, right) = (node(KaspaNetwork::Simnet), node(KaspaNetwork::Simnet), node(KaspaNetwork::Simnet));
    middle.addresses().add("203.0.113.9:16511".parse().unwrap());
    let mut events = events(&right);
    left.connect(stream(&serve(&middle, CLIENT), direct()).await).await.unwrap();
    right.connect(stream(&serve(&middle, SERVER), direct()).await).await.unwrap();
    await_event(&mut events, |event| matches!(event, KaspaEvent::AddressesReceived { count: 1, .. })).await;
    assert_eq!(right.addresses().all(), ["203.0.113.9:16511".parse().unwrap()]);

    // Both sessions must stand at the middle before it can pass anything on.
    timeout(DEADLINE, async {
        while middle.hub().peers().len() < 2 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    let id = left.announce_transaction(transaction(7)).unwrap();
    await_event(&mut events, |event| matches!(event, KaspaEvent::TransactionReceived { id: got, .. } if *got == id)).await;
    assert_eq!((middle.inventory().len(), right.inventory().len()), ((1, 0), (1, 0)));
}

#[tokio::test]
async fn a_peer_of_another_network_is_refused_by_both() {
    let (server, client) = (node(KaspaNetwork::Mainnet), node(KaspaNetwork::Simnet));
    let mut events = events(&server);
    let error = client.connect(stream(&serve(&server, CLIENT), direct()).await).await.unwrap_err();
    assert!(error.to_string().contains("kaspa-mainnet") || error.to_string().contains("kaspa-simnet"), "{error}");
    let failed = await_event(&mut events, |event| matches!(event, KaspaEvent::HandshakeFailed { .. })).await;
    assert!(format!("{failed:?}").contains("network") || format!("{failed:?}").contains("kaspa-"), "{failed:?}");
    assert!(server.hub().peers().is_empty() && client.hub().peers().is_empty());
}

#[tokio::test]
async fn a_second_session_is_a_duplicate_also_if_the_first_is_on_a_relay() {
    let (server, client) = (node(KaspaNetwork::Simnet), node(KaspaNetwork::Simnet));
    let dialer = serve(&server, CLIENT);
    let first = client.connect(stream(&dialer, relayed()).await).await.unwrap();
    let error = client.connect(stream(&dialer, direct()).await).await.unwrap_err();
    let duplicate = match &error {
        ConnectError::Handshake(HandshakeError::Duplicate(key)) => *key == first.key(),
        ConnectError::Handshake(HandshakeError::Rejected(reason)) => reason == "DUPLICATE_CONNECTION",
        _ => false,
    };
    assert!(duplicate, "{error}");
    assert!(!first.router().is_closed());
}

/// What two nodes that call each other at the same instant come to have.
#[tokio::test]
async fn of_two_sessions_that_begin_at_once_both_ends_keep_the_same_one() {
    for _ in 0..20 {
        let (left, right) = (node(KaspaNetwork::Simnet), node(KaspaNetwork::Simnet));
        let (to_right, to_left) = (serve(&right, CLIENT), serve(&left, SERVER));
        let called = to_left.dial(DialRequest { peer: Some(identity(CLIENT)), route: relayed(), timeout: DEADLINE });
        let (there, back) = (stream(&to_right, relayed()).await, called.await.unwrap());
        let (one, other) = tokio::join!(left.connect(there), right.connect(back));
        assert!(one.is_ok() || other.is_ok(), "{one:?} {other:?}");
        let direction = |node: &KaspaNode, of| {
            let peer = node.hub().by_identity(&identity(of)).filter(|peer| !peer.router().is_closed())?;
            Some(peer.router().info().direction)
        };
        let kept = timeout(DEADLINE, async {
            loop {
                match (direction(&left, SERVER), direction(&right, CLIENT)) {
                    (Some(one), Some(other)) if one != other => break one,
                    _ => tokio::task::yield_now().await,
                }
            }
        });
        let called = if kept.await.unwrap() == Direction::Outbound { one } else { other };
        assert!(!called.unwrap().router().is_closed());
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_outlives_ninety_seconds_without_a_path_and_ends_later() {
    let server = node(KaspaNetwork::Simnet);
    let mut events = events(&server);
    let halted = Arc::new(Mutex::new(Instant::now()));
    let inner = stream(&serve(&server, CLIENT), direct()).await;
    let mut peer = Bare::open(Halting { inner, until: halted.clone(), wake: Box::pin(sleep(Duration::ZERO)) }).await;
    peer.shake_hands(1, "/raw:1/").await;
    await_event(&mut events, |event| matches!(event, KaspaEvent::PeerReady { .. })).await;
    let ping = encoded(Payload::Ping(PingMessage { nonce: 9 }));
    let ping = [&[0][..], &(ping.len() as u32).to_be_bytes(), &ping].concat();
    // Its path is lost in the middle of a message.
    peer.say(&ping[..6]).await;
    peer.is_received().await;
    *halted.lock().unwrap() = Instant::now() + Duration::from_secs(90);
    peer.say(&ping[6..]).await;
    loop {
        let event = events.recv().await.unwrap();
        assert!(!matches!(event, KaspaEvent::PeerLeft { .. }), "{event:?}");
        if matches!(event, KaspaEvent::PongSent { .. }) {
            break;
        }
    }
    let begin = Instant::now();
    *halted.lock().unwrap() = begin + Duration::from_secs(10_000);
    while !matches!(events.recv().await.unwrap(), KaspaEvent::PeerLeft { .. }) {}
    assert!(begin.elapsed() < Duration::from_secs(140), "{:?}", begin.elapsed());
}

/// A stream that moves no byte until a moment.
struct Halting {
    inner: DuplexStream,
    until: Arc<Mutex<Instant>>,
    wake: Pin<Box<Sleep>>,
}

impl Halting {
    fn poll_halted(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.wake.as_mut().reset(*self.until.lock().unwrap());
        self.wake.as_mut().poll(cx)
    }
}

impl AsyncRead for Halting {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_halted(cx));
        Pin::new(&mut self.inner).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Halting {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_halted(cx));
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[tokio::test]
async fn a_node_that_reaches_itself_notices() {
    let node = node(KaspaNetwork::Simnet);
    let error = node.connect(stream(&serve(&node, CLIENT), direct()).await).await.unwrap_err();
    let loopback = match &error {
        ConnectError::Handshake(HandshakeError::Loopback) => true,
        ConnectError::Handshake(HandshakeError::Rejected(reason)) => reason == "LOOPBACK_CONNECTION",
        _ => false,
    };
    assert!(loopback, "{error}");
}

#[tokio::test]
async fn a_peer_that_is_not_admitted_learns_why() {
    let (server, client) = (node(KaspaNetwork::Simnet), node(KaspaNetwork::Simnet));
    let mut admission = MockAdmissionPolicy::new();
    admission.expect_admit().returning(|_| Err(RefuseReason::TooManyInbound { limit: 8 }));
    let (dialer, listener) = memory_network(identity(CLIENT));
    let serving = server.clone();
    tokio::spawn(async move { serving.serve(Arc::new(listener), Arc::new(admission)).await });
    let error = client.connect(stream(&dialer, direct()).await).await.unwrap_err();
    assert!(error.to_string().contains("there are 8 inbound peers already"), "{error}");
}

#[tokio::test]
async fn the_end_of_a_session_is_told_with_its_reason_and_bytes() {
    let (server, client) = (node(KaspaNetwork::Simnet), node(KaspaNetwork::Simnet));
    let mut events = events(&server);
    let peer = client.connect(stream(&serve(&server, CLIENT), direct()).await).await.unwrap();
    await_event(&mut events, |event| matches!(event, KaspaEvent::PeerReady { .. })).await;
    peer.router().close(CloseReason::Local);
    let left = await_event(&mut events, |event| matches!(event, KaspaEvent::PeerLeft { .. })).await;
    let KaspaEvent::PeerLeft { reason, received, sent, .. } = left else { panic!("left") };
    assert!(matches!(reason, CloseReason::PeerClosed | CloseReason::Transport(_)), "{reason}");
    assert!(received > 0 && sent > 0);
    assert!(server.hub().peers().is_empty());
}

#[tokio::test]
async fn shutdown_ends_every_session() {
    let (server, client) = (node(KaspaNetwork::Simnet), node(KaspaNetwork::Simnet));
    let peer = client.connect(stream(&serve(&server, CLIENT), direct()).await).await.unwrap();
    timeout(DEADLINE, server.shutdown()).await.unwrap();
    timeout(DEADLINE, peer.router().closed()).await.unwrap();
}
