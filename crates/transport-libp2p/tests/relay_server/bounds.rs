//! What circuits and reservations may take, and when they give it back.

use std::time::Duration;

use futures::AsyncReadExt as _;
use kaspath_domain::{Route, StreamListener};
use kaspath_transport_libp2p::{CircuitEnd, RelayServerConfig};
use tokio::{io::AsyncWriteExt, time::timeout};

use crate::{
    stranger::{OK, RESERVE, RESOURCE_LIMIT_EXCEEDED, Stranger, closed, connect},
    support::{DEADLINE, dial, relay, relay_address, relay_only, reserved, start},
};

#[tokio::test]
async fn a_silent_circuit_ends_and_gives_its_place_back() {
    let config =
        RelayServerConfig { max_circuits: 1, circuit_idle_timeout: Duration::from_millis(300), ..RelayServerConfig::default() };
    let relay = relay(config).await;
    let mut events = relay.events();
    let (mut source, mut destination) = (Stranger::at(&relay).await, Stranger::at(&relay).await);
    assert_eq!(destination.ask(RESERVE).await, OK);
    let (mut near, _far) = source.circuit(&mut destination).await;
    assert_eq!(closed(&mut events).await, (0, 0, CircuitEnd::Idle));
    // A reset or an end, as the muxer has it.
    let mut buffer = [0];
    assert!(matches!(timeout(DEADLINE, near.read(&mut buffer)).await.unwrap(), Ok(0) | Err(_)));
    source.circuit(&mut destination).await;
}

#[tokio::test]
async fn a_circuit_ends_at_its_byte_limit_and_says_so() {
    let relay = relay(RelayServerConfig { max_circuit_bytes: 20_000, ..RelayServerConfig::default() }).await;
    let mut events = relay.events();
    let server = reserved(relay_only(), &relay).await;
    let client = start(relay_only()).await;
    let mut out = dial(&client, &server, Route::Relayed(relay_address(&relay))).await.unwrap();
    let mut inward = timeout(DEADLINE, server.listener().accept()).await.unwrap().unwrap();
    let reading = async { tokio::io::copy(&mut inward, &mut tokio::io::sink()).await };
    let writing = async { while out.write_all(&[0; 1000]).await.is_ok() {} };
    let (_, ()) = timeout(DEADLINE, async { tokio::join!(reading, writing) }).await.expect("the circuit ends");
    let (forth, back, reason) = closed(&mut events).await;
    assert_eq!((forth + back, reason), (20_000, CircuitEnd::ByteLimit));
}

#[tokio::test]
async fn one_address_gets_its_part_of_reservations_and_circuits() {
    let config = RelayServerConfig { max_reservations_per_ip: 2, max_circuits_per_ip: 2, ..RelayServerConfig::default() };
    let relay = relay(config).await;
    let mut peers = Vec::new();
    for _ in 0..3 {
        peers.push(Stranger::at(&relay).await);
    }
    let mut statuses = Vec::new();
    for peer in &mut peers {
        statuses.push(peer.ask(RESERVE).await);
    }
    assert_eq!(statuses, [OK, OK, RESOURCE_LIMIT_EXCEEDED]);
    assert_eq!(peers[0].ask(RESERVE).await, OK, "a renewal takes no place");
    let mut source = peers.pop().unwrap();
    let first = source.circuit(&mut peers[0]).await;
    let _second = source.circuit(&mut peers[1]).await;
    assert_eq!(source.ask(&connect(&peers[1].id.to_bytes())).await, RESOURCE_LIMIT_EXCEEDED);
    let mut events = relay.events();
    drop(first);
    closed(&mut events).await;
    source.circuit(&mut peers[0]).await;
}
