//! Who may use the relay: access lists, tokens, quotas, and memory that is short.

use std::collections::BTreeMap;

use futures::{AsyncReadExt as _, AsyncWriteExt as _};
use kaspath_transport_libp2p::{
    CircuitEnd, NetworkConfig, NetworkEvent, RelayAccess, RelayPeers, RelayServerConfig, RelayToken, ReservationState,
};
use libp2p::{Multiaddr, identity::Keypair};
use tokio::time::timeout;

use crate::{
    stranger::{OK, PERMISSION_DENIED, RESERVE, RESOURCE_LIMIT_EXCEEDED, Stranger, closed, connect, frame},
    support::{DEADLINE, Events, await_event, listening_over, relay, relay_address, relay_only, reserved, start},
};

fn token(text: &str) -> RelayToken {
    text.parse().unwrap()
}

fn private(tokens: &[&str]) -> RelayServerConfig {
    RelayServerConfig { tokens: tokens.iter().map(|text| token(text)).collect(), ..RelayServerConfig::default() }
}

async fn lost(events: &mut Events) -> String {
    let is_lost = |event: &NetworkEvent| matches!(event, NetworkEvent::Reservation { state: ReservationState::Lost { .. }, .. });
    match await_event(events, is_lost).await {
        NetworkEvent::Reservation { state: ReservationState::Lost { cause, .. }, .. } => cause,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn who_has_no_token_of_a_private_relay_is_refused_and_told_why() {
    let relay = relay(private(&["old", "new"])).await;
    let mut events = relay.events();
    let (mut stock, mut member) = (Stranger::at(&relay).await, Stranger::at(&relay).await);
    assert_eq!(stock.ask(RESERVE).await, PERMISSION_DENIED);
    let denied = await_event(&mut events, |event| matches!(event, NetworkEvent::RelayReservationDenied { .. })).await;
    let NetworkEvent::RelayReservationDenied { cause, .. } = denied else { panic!("denied") };
    assert!(cause.contains("token"), "{cause}");
    assert_eq!(relay.relay_load().await.unwrap().refused_reservations, BTreeMap::from([("token", 1)]));
    // Without a token, with a wrong one, with the right one.
    assert_eq!(frame(&mut member.speak(&[1, 0, 0]).await).await, [3, 0, 1, 1]);
    assert_eq!(frame(&mut member.speak(&[1, 0, 3, b'n', b'e', b'i']).await).await, [3, 0, 1, 2]);
    assert_eq!(member.ask(RESERVE).await, PERMISSION_DENIED);
    let mut stream = member.speak(&[1, 0, 3, b'n', b'e', b'w']).await;
    assert_eq!(frame(&mut stream).await, [2, 0, 0]);
    assert_eq!(member.ask(RESERVE).await, OK);
    // Who opens a circuit needs none.
    stock.circuit(&mut member).await;
    // The token is taken back.
    relay.set_relay_server(private(&["old"])).await.unwrap();
    assert_eq!(frame(&mut stream).await, [3, 0, 1, 2]);
    await_event(&mut events, |event| matches!(event, NetworkEvent::RelayReservationEnded { .. })).await;
    assert_eq!(closed(&mut events).await.2, CircuitEnd::NotAllowed);
    assert_eq!(member.ask(RESERVE).await, PERMISSION_DENIED);
}

#[tokio::test]
async fn a_stranger_guesses_tokens_slowly() {
    let relay = relay(private(&["b"])).await;
    let mut answered = 0;
    for _ in 0..4 {
        // Identities and connections are free.
        let mut stranger = Stranger::at(&relay).await;
        for _ in 0..10 {
            let mut stream = stranger.speak(&[1, 0, 1, b'a']).await;
            let answer = timeout(DEADLINE, stream.read_exact(&mut [0; 4])).await.expect("an answer or an end");
            answered += usize::from(answer.is_ok());
        }
    }
    assert!((16..=24).contains(&answered), "{answered} of 40");
    // Who gives none is told so as ever.
    assert_eq!(frame(&mut Stranger::at(&relay).await.speak(&[1, 0, 0]).await).await, [3, 0, 1, 1]);
}

#[tokio::test]
async fn a_node_gives_its_token_and_says_what_its_relay_wants() {
    let relay = relay(private(&["secret"])).await;
    let at = listening_over(&relay, kaspath_domain::Transport::Tcp);
    let without = start(NetworkConfig { relays: vec![at], ..relay_only() }).await;
    let cause = lost(&mut without.events()).await;
    assert_eq!(cause, "the relay wants a token: none is set for it here");
    let wrong = BTreeMap::from([(relay.local_peer().clone(), token("guess"))]);
    without.set_relay_tokens(wrong).await;
    let cause = lost(&mut without.events()).await;
    assert_eq!(cause, "the relay wants a token: the one that is set for it here is not right");
    let right = BTreeMap::from([(relay.local_peer().clone(), token("secret"))]);
    let with = reserved(NetworkConfig { relay_tokens: right, ..relay_only() }, &relay).await;
    let mut events = with.events();
    relay.set_relay_server(private(&["another"])).await.unwrap();
    assert_eq!(lost(&mut events).await, "the relay wants a token: the one that is set for it here is not right");
}

#[tokio::test]
async fn nonsense_on_the_relay_protocol_harms_nobody() {
    let relay = relay(private(&["secret"])).await;
    let mut stranger = Stranger::at(&relay).await;
    for bytes in [&[9, 0, 0][..], &[1, 255, 255], &[2, 0, 0], &[3, 0, 0]] {
        let mut stream = stranger.speak(bytes).await;
        let _ = stream.close().await;
    }
    let mut stream = stranger.speak(&[1, 0, 6, b's', b'e', b'c', b'r', b'e', b't']).await;
    assert_eq!(frame(&mut stream).await, [2, 0, 0]);
    assert_eq!(stranger.ask(RESERVE).await, OK);
    assert_eq!(relay.relay_load().await.unwrap().notified, 1, "one stream a connection");
}

#[tokio::test]
async fn an_access_list_that_changes_takes_reservations_and_circuits_away() {
    let relay = relay(RelayServerConfig::default()).await;
    let mut events = relay.events();
    let (mut source, mut destination) = (Stranger::at(&relay).await, Stranger::at(&relay).await);
    assert_eq!((source.ask(RESERVE).await, destination.ask(RESERVE).await), (OK, OK));
    let _circuit = source.circuit(&mut destination).await;
    let listed = RelayPeers { peers: [source.identity()].into(), ..RelayPeers::default() };
    let denied = RelayServerConfig { access: RelayAccess::Deny(listed.clone()), ..RelayServerConfig::default() };
    relay.set_relay_server(denied).await.unwrap();
    let ended = await_event(&mut events, |event| matches!(event, NetworkEvent::RelayReservationEnded { .. })).await;
    assert_eq!(ended, NetworkEvent::RelayReservationEnded { peer: source.identity() });
    assert_eq!(closed(&mut events).await.2, CircuitEnd::NotAllowed);
    let to = connect(&destination.id.to_bytes());
    assert_eq!((source.ask(RESERVE).await, source.ask(&to).await), (PERMISSION_DENIED, PERMISSION_DENIED));
    assert_eq!(destination.ask(RESERVE).await, OK);
    let only = RelayServerConfig { access: RelayAccess::Allow(listed), ..RelayServerConfig::default() };
    relay.set_relay_server(only).await.unwrap();
    assert_eq!((source.ask(RESERVE).await, destination.ask(RESERVE).await), (OK, PERMISSION_DENIED));
}

#[tokio::test]
async fn a_quota_ends_circuits_and_refuses_new_ones_until_its_window_is_over() {
    let relay = relay(RelayServerConfig { quota_per_peer: 20_000, ..RelayServerConfig::default() }).await;
    let mut events = relay.events();
    let (mut source, mut destination, mut other) =
        (Stranger::at(&relay).await, Stranger::at(&relay).await, Stranger::at(&relay).await);
    assert_eq!((destination.ask(RESERVE).await, other.ask(RESERVE).await), (OK, OK));
    let (mut near, _far) = source.circuit(&mut destination).await;
    timeout(DEADLINE, async { while near.write_all(&[0; 1000]).await.is_ok() {} }).await.expect("the circuit ends");
    let (forth, back, reason) = closed(&mut events).await;
    assert_eq!((back, reason), (0, CircuitEnd::Quota));
    assert!((20_000..20_000 + 32 * 1024).contains(&forth), "{forth}");
    assert_eq!(source.ask(&connect(&other.id.to_bytes())).await, RESOURCE_LIMIT_EXCEEDED);
    assert_eq!(source.ask(RESERVE).await, RESOURCE_LIMIT_EXCEEDED);
    // Who was called has used nothing of its own.
    assert_eq!(destination.ask(RESERVE).await, OK);
    let _open = other.circuit(&mut destination).await;
    let load = relay.relay_load().await.unwrap();
    assert_eq!((load.quota.peers_over, load.quota.used >= forth, load.bytes), (1, true, forth));
    assert_eq!(load.refused_circuits, BTreeMap::from([("quota-per-peer", 1)]));
    assert_eq!(load.refused_reservations, BTreeMap::from([("quota-per-peer", 1)]));
    // More is allowed: the same bytes count.
    relay.set_relay_server(RelayServerConfig { quota_per_peer: 1 << 30, ..RelayServerConfig::default() }).await.unwrap();
    source.circuit(&mut destination).await;
}

#[tokio::test]
async fn while_memory_is_short_nothing_new_is_taken_and_what_is_there_stays() {
    let relay = relay(RelayServerConfig::default()).await;
    let (mut source, mut destination) = (Stranger::at(&relay).await, Stranger::at(&relay).await);
    assert_eq!(destination.ask(RESERVE).await, OK);
    let (mut near, mut far) = source.circuit(&mut destination).await;
    relay.set_pressure(true).await;
    assert_eq!(destination.ask(RESERVE).await, OK, "a renewal");
    assert_eq!(source.ask(RESERVE).await, RESOURCE_LIMIT_EXCEEDED);
    assert_eq!(source.ask(&connect(&destination.id.to_bytes())).await, RESOURCE_LIMIT_EXCEEDED);
    near.write_all(b"on").await.unwrap();
    near.flush().await.unwrap();
    let mut bytes = [0; 2];
    far.read_exact(&mut bytes).await.unwrap();
    let mut events = relay.events();
    let address: Multiaddr = relay_address(&relay).to_string().parse().unwrap();
    let late = tokio::spawn({
        let (key, peer) = (Keypair::generate_ed25519(), relay.local_peer().clone());
        async move { Stranger::dial(key, address, &peer).await }
    });
    let refused = |event: &NetworkEvent| matches!(event, NetworkEvent::ConnectionsRefused { refused } if refused.pressure > 0);
    await_event(&mut events, refused).await;
    late.abort();
    relay.set_pressure(false).await;
    Stranger::at(&relay).await;
    assert!(!relay.relay_load().await.unwrap().is_under_pressure);
}
