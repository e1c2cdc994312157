//! Relays, reservations and punches, in one process on loopback.

mod support;

use std::time::Duration;

use kaspath_domain::{
    DialError, DialRequest, Path, PeerAddress, RelayAddress, RelayReason, ReservationLoss, Route, StreamDialer, StreamListener,
    Transport, TransportSet,
};
use kaspath_transport_libp2p::{NetworkConfig, NetworkEvent, NodeKey, RelayServerConfig, ReservationState, Resolver};
use support::{DEADLINE, Node, await_event, config, dial, relay, relay_address, relay_only, reserved, start, start_as};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    task::JoinSet,
    time::timeout,
};

#[tokio::test]
async fn a_relayed_stream_works_and_says_through_whom_and_why() {
    let relay = relay(RelayServerConfig::default()).await;
    let server = reserved(relay_only(), &relay).await;
    let client = start(relay_only()).await;
    let mut out = dial(&client, &server, Route::Relayed(relay_address(&relay))).await.unwrap();
    out.write_all(b"over").await.unwrap();
    let mut inward = timeout(DEADLINE, server.listener().accept()).await.unwrap().unwrap();
    let mut buffer = [0; 4];
    inward.read_exact(&mut buffer).await.unwrap();
    let expected = Path::Relayed { relay: relay.local_peer().clone(), reason: RelayReason::Policy };
    assert_eq!((out.path(), inward.path()), (expected.clone(), expected));
    assert!(matches!(&inward.info().remote.address, PeerAddress::Relayed(named) if named.relay == *relay.local_peer()));
    // One peer, one synthetic address, whatever the path.
    assert_eq!(out.info().synthetic, kaspath_domain::synthetic_address(server.local_peer()));
}

async fn punch(transports: TransportSet) -> (Node, Node, Node, kaspath_domain::DuplexStream) {
    let relay = relay(RelayServerConfig::default()).await;
    let server = reserved(config(), &relay).await;
    let client = start(config()).await;
    let route = Route::Punched { relay: relay_address(&relay), transports };
    let stream = dial(&client, &server, route).await.unwrap();
    (relay, server, client, stream)
}

#[tokio::test]
async fn a_punched_stream_is_direct_over_the_transport_asked_for() {
    for (transports, transport) in [(TransportSet::TCP, Transport::Tcp), (TransportSet::QUIC, Transport::Quic)] {
        let (_relay, server, _client, stream) = punch(transports).await;
        assert_eq!(stream.path(), Path::Direct { transport });
        let inward = timeout(DEADLINE, server.listener().accept()).await.unwrap().unwrap();
        assert_eq!(inward.path(), Path::Direct { transport });
    }
}

#[tokio::test]
async fn the_circuit_is_closed_once_a_direct_path_stands() {
    let relay = relay(RelayServerConfig::default()).await;
    let mut events = relay.events();
    let server = reserved(config(), &relay).await;
    let client = start(config()).await;
    let route = Route::Punched { relay: relay_address(&relay), transports: TransportSet::TCP };
    let _stream = dial(&client, &server, route).await.unwrap();
    await_event(&mut events, |event| matches!(event, NetworkEvent::RelayCircuitOpened { .. })).await;
    await_event(&mut events, |event| matches!(event, NetworkEvent::RelayCircuitClosed { .. })).await;
}

#[tokio::test]
async fn a_peer_that_does_not_punch_leaves_us_on_the_relay_with_the_reason() {
    let relay = relay(RelayServerConfig::default()).await;
    // The server punches, the client does not even speak DCUtR.
    let server = reserved(config(), &relay).await;
    let mut events = server.events();
    let client = start(relay_only()).await;
    let _stream = dial(&client, &server, Route::Relayed(relay_address(&relay))).await.unwrap();
    let inward = timeout(DEADLINE, server.listener().accept()).await.unwrap().unwrap();
    await_event(&mut events, |event| {
        matches!(event, NetworkEvent::PunchFailed { reason: RelayReason::PeerCannotPunch, retry_in: None, .. })
    })
    .await;
    assert_eq!(inward.path(), Path::Relayed { relay: relay.local_peer().clone(), reason: RelayReason::PeerCannotPunch });
}

#[tokio::test]
async fn a_punch_that_cannot_succeed_ends_at_the_deadline_with_the_reason() {
    let relay = relay(RelayServerConfig::default()).await;
    let server = reserved(relay_only(), &relay).await;
    let client = start(config()).await;
    let route = Route::Punched { relay: relay_address(&relay), transports: TransportSet::ALL };
    let request = DialRequest { peer: Some(server.local_peer().clone()), route, timeout: Duration::from_secs(2) };
    let error = timeout(DEADLINE, client.dialer().dial(request)).await.unwrap().unwrap_err();
    assert!(matches!(&error, DialError::NoDirectPath { peer, .. } if peer == server.local_peer()), "{error}");
}

#[tokio::test]
async fn a_dead_relay_is_unreachable() {
    let client = start(config()).await;
    let gone = RelayAddress {
        relay: NodeKey::generate().identity(),
        via: kaspath_domain::TransportAddress::tcp("127.0.0.1:9".parse().unwrap()),
    };
    let request =
        DialRequest { peer: Some(NodeKey::generate().identity()), route: Route::Relayed(gone.clone()), timeout: DEADLINE };
    let error = client.dialer().dial(request).await.unwrap_err();
    assert!(matches!(&error, DialError::RelayUnreachable { relay, .. } if *relay == gone.relay), "{error}");
}

/// More dials than may wait for a direct path: those too many are told at once,
/// whatever else they wait for.
#[tokio::test]
async fn a_dial_too_many_that_waits_for_a_direct_path_is_told() {
    const RELAYS: usize = 20;
    const DIALS: usize = 60;
    const MAY_WAIT: usize = 1024;
    // No relay is ever reached, so nobody stops waiting.
    let client = start(NetworkConfig { resolver: Resolver::new(|_| std::future::pending()), ..config() }).await;
    let peer = NodeKey::generate().identity();
    let mut dials = JoinSet::new();
    for _ in 0..RELAYS {
        let PeerAddress::Direct(via) = support::locator("/dns/relay.test/tcp/4001").address else { panic!("direct") };
        let route =
            Route::Punched { relay: RelayAddress { relay: NodeKey::generate().identity(), via }, transports: TransportSet::ALL };
        for _ in 0..DIALS {
            let request = DialRequest { peer: Some(peer.clone()), route: route.clone(), timeout: DEADLINE };
            let dialer = client.dialer();
            dials.spawn(async move { dialer.dial(request).await.unwrap_err() });
        }
    }
    for _ in 0..RELAYS * DIALS - MAY_WAIT {
        let error = timeout(DEADLINE, dials.join_next()).await.expect("told before its deadline").unwrap().unwrap();
        assert!(matches!(error, DialError::LimitReached { limit: MAY_WAIT, .. }), "{error}");
    }
}

#[tokio::test]
async fn a_peer_without_reservation_is_refused_by_the_relay() {
    let relay = relay(RelayServerConfig::default()).await;
    let (client, stranger) = (start(config()).await, start(config()).await);
    let error = dial(&client, &stranger, Route::Relayed(relay_address(&relay))).await.unwrap_err();
    assert!(matches!(&error, DialError::RelayRefused { relay: named, .. } if named == relay.local_peer()), "{error}");
    assert!(error.to_string().to_lowercase().contains("reservation"), "the relay's reason is told: {error}");
}

#[tokio::test]
async fn a_full_relay_is_told_and_asked_again() {
    let relay = relay(RelayServerConfig { max_reservations: 1, ..RelayServerConfig::default() }).await;
    let _first = reserved(config(), &relay).await;
    let second = start(NetworkConfig { relays: vec![relay.listening()[0].clone()], ..config() }).await;
    let mut events = second.events();
    let lost =
        await_event(&mut events, |event| matches!(event, NetworkEvent::Reservation { state: ReservationState::Lost { .. }, .. }))
            .await;
    let NetworkEvent::Reservation { state, .. } = lost else { panic!("lost") };
    let ReservationState::Lost { cause, kind, retry_in } = state else { panic!("lost") };
    assert_eq!(kind, ReservationLoss::Limit);
    assert!(cause.to_lowercase().contains("resource"), "{cause}");
    assert!(retry_in.is_some());
}

#[tokio::test]
async fn a_reservation_is_remade_when_the_relay_comes_back() {
    let key = NodeKey::generate();
    let serving = |listen| NetworkConfig { relay_server: Some(RelayServerConfig::default()), listen, ..config() };
    // TCP alone, whose port is free at once; a QUIC port is busy until its connections have drained.
    let relay = start_as(key.clone(), serving(vec![support::locator("/ip4/127.0.0.1/tcp/0")])).await;
    let mut at_once = config();
    at_once.reservation_cadence.delays = vec![Duration::from_millis(50)];
    at_once.reservation_cadence.then = Some(Duration::from_millis(50));
    let server = reserved(at_once, &relay).await;
    let mut events = server.events();
    let same_ports = relay.listening().to_vec();
    relay.shutdown().await;
    let lost =
        await_event(&mut events, |event| matches!(event, NetworkEvent::Reservation { state: ReservationState::Lost { .. }, .. }))
            .await;
    let NetworkEvent::Reservation { state, .. } = lost else { panic!("lost") };
    assert!(matches!(state, ReservationState::Lost { kind: ReservationLoss::ConnectionLost, .. }), "{state:?}");

    let relay = start_as(key, serving(same_ports)).await;
    await_event(&mut events, |event| matches!(event, NetworkEvent::Reservation { state: ReservationState::Confirmed, .. })).await;
    let client = start(relay_only()).await;
    dial(&client, &server, Route::Relayed(relay_address(&relay))).await.unwrap();
}

#[tokio::test]
async fn a_short_reservation_is_renewed() {
    let relay = relay(RelayServerConfig { reservation_duration: Duration::from_secs(4), ..RelayServerConfig::default() }).await;
    let server = start(NetworkConfig { relays: vec![relay.listening()[0].clone()], ..config() }).await;
    let mut events = server.events();
    await_event(&mut events, |event| matches!(event, NetworkEvent::Reservation { state: ReservationState::Renewed, .. })).await;
}
