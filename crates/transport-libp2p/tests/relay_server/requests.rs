//! What a relay answers to what it is asked.

use futures::AsyncWriteExt as _;
use kaspath_domain::Route;
use kaspath_transport_libp2p::{NetworkConfig, RelayServerConfig};
use libp2p::{Multiaddr, PeerId, identity::Keypair, multiaddr::Protocol};
use tokio::time::timeout;

use crate::{
    stranger::{MALFORMED_MESSAGE, OK, PERMISSION_DENIED, RESERVE, Stranger, UNEXPECTED_MESSAGE, answer, connect, status},
    support::{DEADLINE, dial, relay, relay_address, relay_only, reserved, start},
};

#[tokio::test]
async fn a_relay_outlives_forged_ids_and_whatever_else_is_no_request() {
    let relay = relay(RelayServerConfig::default()).await;
    let mut stranger = Stranger::at(&relay).await;
    // SHA2-256 with 20 bytes: libp2p takes it for a peer id.
    let forged = connect(&[&[0x12, 20][..], &[7; 20]].concat());
    let too_long = [&[0x80, 0x40][..], &[0; 8192]].concat();
    let cases: [(&str, &[u8], u32); 9] = [
        ("a cut multihash", &forged, MALFORMED_MESSAGE),
        ("an id that is none", &connect(&[1, 2, 3]), MALFORMED_MESSAGE),
        ("an empty id", &connect(&[]), MALFORMED_MESSAGE),
        ("a circuit to nobody", &[2, 0x08, 1], MALFORMED_MESSAGE),
        ("no type", &[0], MALFORMED_MESSAGE),
        ("an unknown type", &[2, 0x08, 9], MALFORMED_MESSAGE),
        ("no protobuf", &[3, 0xff, 0xff, 0xff], MALFORMED_MESSAGE),
        ("more than fits", &too_long[..2], MALFORMED_MESSAGE),
        ("a status", &[2, 0x08, 2], UNEXPECTED_MESSAGE),
    ];
    for (what, bytes, expected) in cases {
        assert_eq!(stranger.ask(bytes).await, expected, "{what}");
    }
    // Cut in the middle: there is nothing to answer.
    let mut cut = stranger.hop(&[200, 0x08]).await;
    cut.close().await.unwrap();
    answer(&mut cut).await.unwrap_err();

    let server = reserved(relay_only(), &relay).await;
    let client = start(relay_only()).await;
    dial(&client, &server, Route::Relayed(relay_address(&relay))).await.expect("the relay serves others");
}

#[tokio::test]
async fn a_reservation_has_addresses_and_a_voucher() {
    let relay = relay(RelayServerConfig::default()).await;
    let mut stranger = Stranger::at(&relay).await;
    let answer = answer(&mut stranger.hop(RESERVE).await).await.unwrap();
    let reservation = answer.reservation.unwrap();
    let addresses: Vec<Multiaddr> = reservation.addrs.into_iter().map(|bytes| bytes.try_into().unwrap()).collect();
    assert!(addresses.contains(&relay_address(&relay).to_string().parse().unwrap()), "{addresses:?}");
    assert!(reservation.voucher.is_some());
}

#[tokio::test]
async fn requests_that_never_end_hold_only_their_own_connections_places() {
    let relay = relay(RelayServerConfig::default()).await;
    let (mut slow, mut honest) = (Stranger::at(&relay).await, Stranger::at(&relay).await);
    let mut held = Vec::new();
    for _ in 0..8 {
        held.push(slow.hop(&RESERVE[..1]).await);
    }
    assert!(!slow.is_served().await, "one request too many at once");
    assert_eq!(honest.ask(RESERVE).await, OK);
    // When one is done, its place is free again.
    held[0].write_all(&RESERVE[1..]).await.unwrap();
    held[0].flush().await.unwrap();
    assert_eq!(status(&mut held[0]).await, OK);
    timeout(DEADLINE, async { while !slow.is_served().await {} }).await.unwrap();
}

#[tokio::test]
async fn a_circuit_to_oneself_is_refused() {
    let relay = relay(RelayServerConfig::default()).await;
    let mut stranger = Stranger::at(&relay).await;
    assert_eq!(stranger.ask(RESERVE).await, OK);
    let to = connect(&stranger.id.to_bytes());
    assert_eq!(stranger.ask(&to).await, PERMISSION_DENIED);
}

#[tokio::test]
async fn requests_over_a_circuit_are_refused() {
    let outer = relay(RelayServerConfig::default()).await;
    let serving = NetworkConfig { relay_server: Some(RelayServerConfig::default()), ..relay_only() };
    let inner = reserved(serving, &outer).await;
    let inner_id = PeerId::from_bytes(inner.local_peer().as_bytes()).unwrap();
    let circuit: Multiaddr = relay_address(&outer).to_string().parse().unwrap();
    let circuit = circuit.with(Protocol::P2pCircuit).with(Protocol::P2p(inner_id));
    let mut stranger = Stranger::connect(Keypair::generate_ed25519(), circuit, &inner).await;
    assert_eq!(stranger.ask(RESERVE).await, PERMISSION_DENIED);
    assert_eq!(stranger.ask(&connect(&PeerId::random().to_bytes())).await, PERMISSION_DENIED);
}
