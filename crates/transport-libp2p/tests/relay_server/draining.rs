//! A relay that ends in order.

use std::time::Duration;

use kaspath_transport_libp2p::{NetworkConfig, NetworkEvent, RelayServerConfig, RelayServerError, ReservationState};
use tokio::time::timeout;

use crate::{
    stranger::{OK, RESERVE, RESOURCE_LIMIT_EXCEEDED, Stranger, connect, frame},
    support::{DEADLINE, await_event, relay, relay_address, relay_only, reserved, start},
};

#[tokio::test]
async fn a_relay_that_drains_takes_nothing_new_and_waits_for_its_circuits() {
    let relay = relay(RelayServerConfig::default()).await;
    let (mut source, mut destination) = (Stranger::at(&relay).await, Stranger::at(&relay).await);
    let mut stream = destination.speak(&[1, 0, 0]).await;
    assert_eq!((frame(&mut stream).await, destination.ask(RESERVE).await), (vec![2, 0, 0], OK));
    let circuit = source.circuit(&mut destination).await;
    let draining = relay.drain(Duration::from_secs(10));
    let meanwhile = async {
        assert_eq!(frame(&mut stream).await, [4, 0, 4, 0, 0, 0x27, 0x10], "10,000 ms");
        assert_eq!(source.ask(RESERVE).await, RESOURCE_LIMIT_EXCEEDED);
        assert_eq!(source.ask(&connect(&destination.id.to_bytes())).await, RESOURCE_LIMIT_EXCEEDED);
        let load = relay.relay_load().await.unwrap();
        assert!(load.is_draining && load.circuits == 1 && load.refused_circuits["draining"] == 1, "{load:?}");
        // Who comes late learns of it too.
        let mut late = source.speak(&[1, 0, 0]).await;
        assert_eq!(frame(&mut late).await, [2, 0, 0]);
        assert_eq!(frame(&mut late).await[..3], [4, 0, 4]);
        drop(circuit);
    };
    let (left, ()) = timeout(DEADLINE, async { tokio::join!(draining, meanwhile) }).await.expect("it ends with its circuits");
    assert_eq!(left, Ok(0));
}

#[tokio::test]
async fn a_drain_ends_with_its_time_and_says_what_is_left() {
    let relay = relay(RelayServerConfig::default()).await;
    let (mut source, mut destination) = (Stranger::at(&relay).await, Stranger::at(&relay).await);
    assert_eq!(destination.ask(RESERVE).await, OK);
    let _circuit = source.circuit(&mut destination).await;
    assert_eq!(timeout(DEADLINE, relay.drain(Duration::from_millis(300))).await.unwrap(), Ok(1));
}

#[tokio::test]
async fn a_node_has_its_next_reservation_before_the_relay_that_drains_is_gone() {
    let (first, second) = (relay(RelayServerConfig::default()).await, relay(RelayServerConfig::default()).await);
    let config = NetworkConfig { wanted_reservations: 1, ..relay_only() };
    let node = reserved(config, &first).await;
    let mut events = node.events();
    node.add_relay(relay_address(&second)).await.unwrap();
    let draining = first.drain(Duration::from_secs(9));
    let moved = async {
        let told = await_event(&mut events, |event| matches!(event, NetworkEvent::RelayDraining { .. })).await;
        let NetworkEvent::RelayDraining { relay, left } = told else { panic!("{told:?}") };
        assert_eq!((&relay, left), (first.local_peer(), Duration::from_secs(9)));
        let state = |event: &NetworkEvent| match event {
            NetworkEvent::Reservation { relay, state } => Some((relay.clone(), state.clone())),
            _ => None,
        };
        let next = |event: &NetworkEvent| {
            state(event).is_some_and(|(_, state)| matches!(state, ReservationState::Confirmed | ReservationState::Lost { .. }))
        };
        let (relay, now) = state(&await_event(&mut events, next).await).unwrap();
        assert_eq!((&relay, now), (second.local_peer(), ReservationState::Confirmed), "the first is still held");
    };
    let (left, ()) = tokio::join!(draining, moved);
    assert_eq!(left, Ok(0));
    first.shutdown().await;
    let lost = |event: &NetworkEvent| matches!(event, NetworkEvent::Reservation { state: ReservationState::Lost { .. }, .. });
    let NetworkEvent::Reservation { state: ReservationState::Lost { retry_in: Some(retry_in), .. }, .. } =
        await_event(&mut events, lost).await
    else {
        panic!("lost")
    };
    assert!(retry_in > Duration::from_secs(5), "not before the drain is over: {retry_in:?}");
}

#[tokio::test]
async fn a_node_that_is_no_relay_says_so() {
    let node = start(relay_only()).await;
    assert_eq!(node.drain(Duration::ZERO).await, Err(RelayServerError::NotARelay));
    assert_eq!(node.relay_load().await, Err(RelayServerError::NotARelay));
    node.shutdown().await;
    assert_eq!(node.set_relay_server(RelayServerConfig::default()).await, Err(RelayServerError::ShuttingDown));
}
