//! Relays that come and go while a node runs.

mod support;

use kaspath_domain::{DialError, PeerIdentity, Route, StreamListener};
use kaspath_transport_libp2p::{NetworkEvent, RelayServerConfig, ReservationState};
use support::{DEADLINE, await_event, dial, relay, relay_address, relay_only, reserved, start};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

fn confirmed(event: &NetworkEvent, at: &PeerIdentity) -> bool {
    matches!(event, NetworkEvent::Reservation { relay, state: ReservationState::Confirmed } if relay == at)
}

fn removed(event: &NetworkEvent, at: &PeerIdentity) -> bool {
    matches!(event, NetworkEvent::Reservation { relay, state: ReservationState::Lost { retry_in: None, .. } } if relay == at)
}

fn ended(event: &NetworkEvent, of: &PeerIdentity) -> bool {
    matches!(event, NetworkEvent::RelayReservationEnded { peer } if peer == of)
}

#[tokio::test]
async fn a_relay_that_is_added_serves_and_one_that_is_removed_has_its_place_back_at_once() {
    let (first, second) = (relay(RelayServerConfig::default()).await, relay(RelayServerConfig::default()).await);
    let mut at_first = first.events();
    let server = reserved(relay_only(), &first).await;
    let mut events = server.events();
    server.add_relay(relay_address(&second)).await.unwrap();
    await_event(&mut events, |event| confirmed(event, second.local_peer())).await;
    server.remove_relay(first.local_peer()).await;
    await_event(&mut events, |event| removed(event, first.local_peer())).await;
    // The relay sees the connection closed, which alone gives a reservation back.
    await_event(&mut at_first, |event| ended(event, server.local_peer())).await;

    let client = start(relay_only()).await;
    dial(&client, &server, Route::Relayed(relay_address(&second))).await.expect("the second relay serves");
    let error = dial(&client, &server, Route::Relayed(relay_address(&first))).await.unwrap_err();
    assert!(matches!(error, DialError::RelayRefused { .. }), "{error}");
    // It may be added again.
    server.add_relay(relay_address(&first)).await.unwrap();
    await_event(&mut events, |event| confirmed(event, first.local_peer())).await;
}

#[tokio::test]
async fn a_circuit_outlives_the_reservation_at_a_relay_that_is_removed() {
    let relay = relay(RelayServerConfig::default()).await;
    let server = reserved(relay_only(), &relay).await;
    let mut events = server.events();
    let (client, late) = (start(relay_only()).await, start(relay_only()).await);
    let mut out = dial(&client, &server, Route::Relayed(relay_address(&relay))).await.unwrap();
    out.write_all(b"a").await.unwrap();
    let mut inward = timeout(DEADLINE, server.listener().accept()).await.unwrap().unwrap();
    server.remove_relay(relay.local_peer()).await;
    await_event(&mut events, |event| removed(event, relay.local_peer())).await;

    dial(&late, &server, Route::Relayed(relay_address(&relay))).await.expect_err("nobody new is let in");
    out.write_all(b"b").await.unwrap();
    let mut read = [0; 2];
    timeout(DEADLINE, inward.read_exact(&mut read)).await.expect("the circuit still carries").unwrap();
    assert_eq!(&read, b"ab");
}
