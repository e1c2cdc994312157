//! The life of a circuit, and its two ends.

use futures::{AsyncReadExt as _, AsyncWriteExt as _};
use kaspath_transport_libp2p::{CircuitEnd, NetworkEvent, RelayServerConfig};
use libp2p::identity::Keypair;

use crate::{
    stranger::{
        CONNECTION_FAILED, NO_RESERVATION, OK, RESERVE, RESOURCE_LIMIT_EXCEEDED, Stranger, agree, closed, connect, frame, status,
    },
    support::{await_event, relay},
};

#[tokio::test]
async fn a_destination_that_does_not_answer_costs_a_place_only_until_it_fails() {
    let config = RelayServerConfig { max_circuits_per_destination: 1, ..RelayServerConfig::default() };
    let relay = relay(config).await;
    let mut events = relay.events();
    let (mut silent, mut source, mut other) =
        (Stranger::at(&relay).await, Stranger::at(&relay).await, Stranger::at(&relay).await);
    assert_eq!(silent.ask(RESERVE).await, OK);
    let to = connect(&silent.id.to_bytes());
    let mut waiting = source.hop(&to).await;
    let stop = silent.stopped().await;
    assert_eq!(other.ask(&to).await, RESOURCE_LIMIT_EXCEEDED, "what is being made counts too");
    drop(stop);
    assert_eq!(status(&mut waiting).await, CONNECTION_FAILED);
    let (_source, _destination) = other.circuit(&mut silent).await;
    let denied = |event: &NetworkEvent| matches!(event, NetworkEvent::RelayCircuitDenied { .. });
    let NetworkEvent::RelayCircuitDenied { source: by, destination, status, cause } = await_event(&mut events, denied).await
    else {
        panic!("denied")
    };
    assert_eq!((by, destination), (other.identity(), silent.identity()));
    assert_eq!(status, "ResourceLimitExceeded");
    assert!(cause.contains("max-circuits-per-destination"), "{cause}");
}

#[tokio::test]
async fn a_destination_that_leaves_is_an_answer_to_who_waits_for_it() {
    let relay = relay(RelayServerConfig::default()).await;
    let (mut silent, mut source) = (Stranger::at(&relay).await, Stranger::at(&relay).await);
    assert_eq!(silent.ask(RESERVE).await, OK);
    let to = connect(&silent.id.to_bytes());
    let mut waiting = source.hop(&to).await;
    let _stop = silent.stopped().await;
    let mut events = relay.events();
    drop(silent);
    assert_eq!(status(&mut waiting).await, CONNECTION_FAILED);
    await_event(&mut events, |event| matches!(event, NetworkEvent::RelayReservationEnded { .. })).await;
    assert_eq!(source.ask(&to).await, NO_RESERVATION);
}

#[tokio::test]
async fn a_circuit_passes_on_the_end_of_one_direction_and_its_bytes_are_told() {
    let relay = relay(RelayServerConfig::default()).await;
    let mut events = relay.events();
    let (mut source, mut destination) = (Stranger::at(&relay).await, Stranger::at(&relay).await);
    assert_eq!(destination.ask(RESERVE).await, OK);
    let (mut near, mut far) = source.circuit(&mut destination).await;
    near.write_all(b"question").await.unwrap();
    near.close().await.unwrap();
    let mut question = Vec::new();
    far.read_to_end(&mut question).await.unwrap();
    far.write_all(b"answer").await.unwrap();
    far.close().await.unwrap();
    let mut reply = Vec::new();
    near.read_to_end(&mut reply).await.unwrap();
    assert_eq!((question.as_slice(), reply.as_slice()), (&b"question"[..], &b"answer"[..]));
    assert_eq!(closed(&mut events).await, (8, 6, CircuitEnd::Closed));
}

#[tokio::test]
async fn a_peer_is_asked_over_the_connection_on_which_it_reserved_last() {
    let relay = relay(RelayServerConfig::default()).await;
    let key = Keypair::generate_ed25519();
    let mut older = Stranger::with_key(key.clone(), &relay).await;
    let mut newer = Stranger::with_key(key, &relay).await;
    let mut source = Stranger::at(&relay).await;
    assert_eq!(newer.ask(RESERVE).await, OK);
    assert_eq!(older.ask(RESERVE).await, OK);
    assert_eq!(newer.ask(RESERVE).await, OK);
    source.circuit(&mut newer).await;
    // The other one still has the reservation when the newer is gone.
    let mut events = relay.events();
    drop(newer);
    await_event(&mut events, |event| matches!(event, NetworkEvent::Disconnected { .. })).await;
    source.circuit(&mut older).await;
}

#[tokio::test]
async fn who_waits_for_a_peer_on_a_dead_connection_reaches_it_on_its_next_one() {
    let relay = relay(RelayServerConfig::default()).await;
    let key = Keypair::generate_ed25519();
    let mut dead = Stranger::with_key(key.clone(), &relay).await;
    let mut source = Stranger::at(&relay).await;
    assert_eq!(dead.ask(RESERVE).await, OK);
    let mut waiting = source.hop(&connect(&dead.id.to_bytes())).await;
    let _unanswered = dead.stopped().await;
    let mut alive = Stranger::with_key(key, &relay).await;
    assert_eq!(alive.ask(RESERVE).await, OK);
    let mut stop = alive.stopped().await;
    agree(&mut stop).await;
    assert_eq!(status(&mut waiting).await, OK);
    waiting.write_all(b"question").await.unwrap();
    let mut question = [0; 8];
    stop.read_exact(&mut question).await.unwrap();
    assert_eq!(&question, b"question");
}

#[tokio::test]
async fn peers_of_one_host_that_are_joined_hear_it_from_the_relay_and_from_nobody_else() {
    let relay = relay(RelayServerConfig::default()).await;
    let (mut destination, mut source, mut unheard) =
        (Stranger::at(&relay).await, Stranger::at(&relay).await, Stranger::at(&relay).await);
    let (mut at_destination, mut at_source) = (destination.speak(&[1, 0, 0]).await, source.speak(&[1, 0, 0]).await);
    for stream in [&mut at_destination, &mut at_source] {
        assert_eq!(frame(stream).await, [2, 0, 0]);
    }
    assert_eq!(destination.ask(RESERVE).await, OK);
    let neighbour = |id: &[u8]| [&[5, 0, id.len() as u8], id].concat();
    // Who has not spoken to the relay is no neighbour; then its circuit is not named either.
    let _circuit = unheard.circuit(&mut destination).await;
    let _circuit = source.circuit(&mut destination).await;
    assert_eq!(frame(&mut at_destination).await, neighbour(&source.id.to_bytes()));
    assert_eq!(frame(&mut at_source).await, neighbour(&destination.id.to_bytes()));
    // A node that says it itself ends its stream, and nobody hears of it.
    let mut forged = unheard.speak(&[&[1, 0, 0][..], &neighbour(&unheard.id.to_bytes())].concat()).await;
    assert_eq!(frame(&mut forged).await, [2, 0, 0]);
    assert_eq!(forged.read(&mut [0]).await.unwrap_or(0), 0);
}
