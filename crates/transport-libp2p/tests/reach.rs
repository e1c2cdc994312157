//! A node that others can reach serves as a relay, and stops when they cannot any more.
//!
//! Each node has a loopback address of another network, which counts as public here. Nodes
//! dial from 127.0.0.1; whoever is to come from another network comes through a router.

mod support;

use std::time::Duration;

use kaspath_domain::{PeerAddress, PeerLocator, Route, TransportAddress, TransportSet};
use kaspath_transport_libp2p::{
    NetworkConfig, NetworkEvent, PunchConfig, ReachConfig, Reachability, RelayServerConfig, RelayService, ReservationState,
    ServeWhen,
};
use support::{Events, Node, await_event, config, dial, locator, relay_address, router, start};
use tokio::time::timeout;

/// Listens in that network.
fn at(network: u8) -> NetworkConfig {
    NetworkConfig {
        listen: vec![locator(&format!("/ip4/127.{network}.0.1/tcp/0"))],
        punch: PunchConfig { transports: TransportSet::NONE, allow_local_candidates: true, ..PunchConfig::default() },
        reach: ReachConfig { allow_local: true, check_interval: Duration::from_secs(1), ..ReachConfig::default() },
        ..config()
    }
}

fn address(node: &Node) -> TransportAddress {
    let PeerAddress::Direct(address) = &node.listening()[0].address else { panic!("direct") };
    address.clone()
}

/// Listens in that network, and reserves at the relay, which it reaches from there.
async fn from(network: u8, relay: &Node) -> NetworkConfig {
    let ip = [127, network, 0, 1];
    let via = TransportAddress::tcp(router(ip, address(relay), move |_| ip).await);
    let relay = PeerLocator { peer: Some(relay.local_peer().clone()), address: PeerAddress::Direct(via) };
    NetworkConfig { relays: vec![relay], ..at(network) }
}

/// Serves while it is reachable.
fn serving(network: u8) -> NetworkConfig {
    NetworkConfig { relay_server: Some(RelayServerConfig::of_node()), serve: ServeWhen::Reachable, ..at(network) }
}

async fn confirmed(events: &mut Events) {
    let is_confirmed =
        |event: &NetworkEvent| matches!(event, NetworkEvent::Reservation { state: ReservationState::Confirmed, .. });
    await_event(events, is_confirmed).await;
}

async fn serves(events: &mut Events, wanted: RelayService) {
    await_event(events, |event| matches!(event, NetworkEvent::Serving { state } if *state == wanted)).await;
}

async fn reaches(events: &mut Events, at: &PeerLocator, wanted: Reachability) {
    let is_wanted = |event: &NetworkEvent| matches!(event, NetworkEvent::ReachabilityChanged { address, state } if address == at && *state == wanted);
    await_event(events, is_wanted).await;
}

#[tokio::test]
async fn a_public_node_without_any_settings_serves_the_stranger_that_comes() {
    let public = start(serving(1)).await;
    let mut events = public.events();
    assert_eq!(public.relay_load().await.unwrap().service, RelayService::Shut);
    let stranger = start(from(2, &public).await).await;
    let mut theirs = stranger.events();
    // Granted on the connection on which it came.
    timeout(Duration::from_secs(5), confirmed(&mut theirs)).await.expect("within five seconds");
    reaches(&mut events, &public.listening()[0], Reachability::Reachable).await;
    assert_eq!(public.relay_load().await.unwrap().service, RelayService::Open);
    let caller = start(at(3)).await;
    let via = Route::Relayed(relay_address(&public));
    let stream = dial(&caller, &stranger, via).await.unwrap();
    assert!(stream.path().is_relayed());
    for node in [public, stranger, caller] {
        node.shutdown().await;
    }
}

#[tokio::test]
async fn whoever_was_dialled_is_no_stranger_and_without_one_nobody_is_served() {
    let friend = start(at(2)).await;
    let hidden = start(serving(1)).await;
    dial(&hidden, &friend, Route::Direct(address(&friend))).await.unwrap();
    let late = start(from(2, &hidden).await).await;
    let mut theirs = late.events();
    await_event(&mut theirs, |event| matches!(event, NetworkEvent::Reservation { state: ReservationState::Lost { .. }, .. }))
        .await;
    assert_eq!(hidden.relay_load().await.unwrap().service, RelayService::Shut);
}

/// A reserved node of that network.
async fn guest(network: u8, relay: &Node) -> Node {
    let node = start(from(network, relay).await).await;
    confirmed(&mut node.events()).await;
    node
}

#[tokio::test]
async fn a_relay_has_another_of_its_nodes_dial_and_the_nonce_that_comes_is_the_proof() {
    let relay = start(NetworkConfig { serve: ServeWhen::Always, ..serving(9) }).await;
    let _helper = guest(2, &relay).await;
    let asking = start(from(1, &relay).await).await;
    let mut events = asking.events();
    reaches(&mut events, &asking.listening()[0], Reachability::Reachable).await;
    assert_eq!(asking.reachability()[0], (asking.listening()[0].clone(), Reachability::Reachable));
}

#[tokio::test]
async fn a_mapped_address_takes_the_proof_of_two_networks() {
    let relay = start(NetworkConfig { serve: ServeWhen::Always, ..serving(9) }).await;
    let _helpers = (guest(2, &relay).await, guest(3, &relay).await);
    let asking = start(from(1, &relay).await).await;
    let mut events = asking.events();
    // Whoever comes there is from another network each time.
    let mapped = router([127, 1, 0, 1], address(&asking), |number| [127, 50 + number % 100, 0, 1]).await;
    let mapped = TransportAddress::tcp(mapped);
    asking.set_mapped(vec![mapped.clone()]).await;
    let at = PeerLocator { peer: Some(asking.local_peer().clone()), address: PeerAddress::Direct(mapped) };
    await_event(&mut events, |event| matches!(event, NetworkEvent::Announced { address } if *address == at)).await;
    asking.set_mapped(Vec::new()).await;
    await_event(&mut events, |event| matches!(event, NetworkEvent::AnnouncementEnded { address } if *address == at)).await;
}

#[tokio::test]
async fn a_node_that_nobody_can_reach_any_more_lets_its_guests_go_and_serves_again_when_they_can() {
    let public = start(serving(1)).await;
    let mut events = public.events();
    let stranger = start(NetworkConfig { relays: vec![public.listening()[0].clone()], ..at(2) }).await;
    let mut theirs = stranger.events();
    serves(&mut events, RelayService::Open).await;
    confirmed(&mut theirs).await;
    // Nobody new gets in; those that are there may go on.
    public.set_pressure(true).await;
    reaches(&mut events, &public.listening()[0], Reachability::Unreachable).await;
    serves(&mut events, RelayService::Draining).await;
    await_event(&mut theirs, |event| matches!(event, NetworkEvent::RelayDraining { .. })).await;
    serves(&mut events, RelayService::Shut).await;
    let load = public.relay_load().await.unwrap();
    assert_eq!((load.service, load.reservations), (RelayService::Shut, 0));
    // It takes two strangers now, and its time.
    public.set_pressure(false).await;
    let _others = (start(from(4, &public).await).await, start(from(5, &public).await).await);
    serves(&mut events, RelayService::Open).await;
}
