//! Relays by name: a name that does not resolve now may do so later.

mod support;

use std::{
    io,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use kaspath_domain::{DialError, Host, PeerAddress, PeerLocator, RelayAddress, ReservationLoss, Route};
use kaspath_transport_libp2p::{
    Network, NetworkConfig, NetworkEvent, NodeKey, RelayServerConfig, ReservationState, Resolver, StartError,
};
use support::{await_event, config, dial, locator, relay, relay_address, relay_only, reserved, start};

/// Answers each lookup with the next of these, and then with the last for ever.
fn answers(answers: Vec<Result<[u8; 4], &'static str>>) -> Resolver {
    let asked = Arc::new(AtomicUsize::new(0));
    Resolver::new(move |_| {
        let n = asked.fetch_add(1, Ordering::SeqCst).min(answers.len() - 1);
        let answer = answers[n].map(|ip| vec![IpAddr::from(ip)]).map_err(io::Error::other);
        async move { answer }
    })
}

const LOOPBACK: [u8; 4] = [127, 0, 0, 1];
/// Nobody listens there.
const ELSEWHERE: [u8; 4] = [127, 0, 0, 99];

fn named(relay: &Network) -> RelayAddress {
    let mut address = relay_address(relay);
    address.via.host = Host::Dns("relay.test".to_owned());
    address
}

fn by_name(relay: &Network) -> PeerLocator {
    let RelayAddress { relay, via } = named(relay);
    PeerLocator { peer: Some(relay), address: PeerAddress::Direct(via) }
}

fn node(relays: Vec<PeerLocator>, resolver: Resolver) -> NetworkConfig {
    let mut config = NetworkConfig { relays, resolver, ..config() };
    config.reservation_cadence.delays = vec![Duration::from_millis(50)];
    config.reservation_cadence.then = Some(Duration::from_millis(50));
    config
}

fn lost(event: &NetworkEvent) -> bool {
    matches!(event, NetworkEvent::Reservation { state: ReservationState::Lost { .. }, .. })
}

fn confirmed(event: &NetworkEvent) -> bool {
    matches!(event, NetworkEvent::Reservation { state: ReservationState::Confirmed, .. })
}

#[tokio::test]
async fn a_name_that_does_not_resolve_at_boot_is_reported_and_tried_again() {
    let relay = relay(RelayServerConfig::default()).await;
    let resolver = answers(vec![Err("no DNS yet"), Err("no DNS yet"), Ok(LOOPBACK)]);
    let server = start(node(vec![by_name(&relay)], resolver)).await;
    let mut events = server.events();
    for _ in 0..2 {
        let event = await_event(&mut events, lost).await;
        let NetworkEvent::Reservation { state, .. } = event else { panic!("lost") };
        let ReservationState::Lost { cause, kind, retry_in } = state else { panic!("lost") };
        assert_eq!(kind, ReservationLoss::Unresolved);
        assert_eq!(cause, "relay.test did not resolve: no DNS yet");
        assert!(retry_in.is_some());
    }
    await_event(&mut events, confirmed).await;
}

#[tokio::test]
async fn one_name_that_never_resolves_does_not_keep_another_relay_from_serving() {
    let (broken, works) = (relay(RelayServerConfig::default()).await, relay(RelayServerConfig::default()).await);
    let relays = vec![by_name(&broken), works.listening()[0].clone()];
    let server = start(node(relays, answers(vec![Err("no such name")]))).await;
    let mut events = server.events();
    let event = await_event(&mut events, confirmed).await;
    assert!(matches!(event, NetworkEvent::Reservation { relay, .. } if relay == *works.local_peer()));
    for _ in 0..3 {
        let event = await_event(&mut events, lost).await;
        assert!(matches!(event, NetworkEvent::Reservation { relay, .. } if relay == *broken.local_peer()));
    }
}

#[tokio::test]
async fn a_name_is_resolved_anew_after_nobody_answered_where_it_led() {
    let relay = relay(RelayServerConfig::default()).await;
    let resolver = answers(vec![Ok(ELSEWHERE), Ok(LOOPBACK)]);
    let server = start(node(vec![by_name(&relay)], resolver)).await;
    let mut events = server.events();
    await_event(&mut events, lost).await;
    await_event(&mut events, confirmed).await;
}

#[tokio::test]
async fn a_lookup_that_hangs_blocks_nothing_else() {
    let (hangs, works) = (relay(RelayServerConfig::default()).await, relay(RelayServerConfig::default()).await);
    let relays = vec![by_name(&hangs), works.listening()[0].clone()];
    let server = start(node(relays, Resolver::new(|_| std::future::pending()))).await;
    let mut events = server.events();
    let event = await_event(&mut events, confirmed).await;
    assert!(matches!(event, NetworkEvent::Reservation { relay, .. } if relay == *works.local_peer()));
    let client = start(relay_only()).await;
    dial(&client, &server, Route::Relayed(relay_address(&works))).await.unwrap();
}

#[tokio::test]
async fn a_dial_through_a_relay_by_name_tells_what_did_not_resolve_and_works_later() {
    let relay = relay(RelayServerConfig::default()).await;
    let server = reserved(relay_only(), &relay).await;
    let client = start(NetworkConfig { resolver: answers(vec![Err("no such name"), Ok(LOOPBACK)]), ..relay_only() }).await;
    let error = dial(&client, &server, Route::Relayed(named(&relay))).await.unwrap_err();
    let DialError::RelayUnreachable { relay: unreachable, cause } = error else { panic!("{error}") };
    assert_eq!((&unreachable, cause.as_str()), (relay.local_peer(), "relay.test did not resolve: no such name"));
    dial(&client, &server, Route::Relayed(named(&relay))).await.unwrap();
}

#[tokio::test]
async fn a_server_is_reachable_through_its_relay_by_the_name_in_the_settings() {
    let relay = relay(RelayServerConfig::default()).await;
    let server = start(node(vec![by_name(&relay)], answers(vec![Ok(LOOPBACK)]))).await;
    let circuit = |event: &NetworkEvent| matches!(event, NetworkEvent::Listening { address } if matches!(address.address, PeerAddress::Relayed(_)));
    let NetworkEvent::Listening { address } = await_event(&mut server.events(), circuit).await else { panic!("listening") };
    assert_eq!(address.peer.as_ref(), Some(server.local_peer()));
    assert_eq!(address.address, PeerAddress::Relayed(named(&relay)));
}

#[tokio::test]
async fn a_relay_without_peer_id_stays_an_error() {
    let nameless = locator("/dns/relay.test/tcp/4001");
    let started = Network::start(NodeKey::generate(), NetworkConfig { relays: vec![nameless.clone()], ..config() }).await;
    assert!(matches!(started, Err(StartError::RelayWithoutPeerId(named)) if named == nameless));
}
