//! A node that serves as a rendezvous point tells of itself.

use std::time::Duration;

use kaspath_domain::{Discovery, Namespace, PeerIdentity, RecordDraft, RecordKind, RelayAddress, Teller};
use kaspath_transport_libp2p::{Network, RelayServerConfig};

use crate::{
    listing::{TTL, draft, signed, simnet},
    support::{Node, config, relay, relay_address, reserved, start},
};

/// A relay that says of itself that its kaspad can be reached there.
async fn telling() -> (Node, RelayAddress) {
    let relay = relay(RelayServerConfig::default()).await;
    let at = relay_address(&relay);
    let own = RecordDraft { kind: RecordKind::Both, reachable: true, candidates: vec![at.via.clone()], ..draft(Vec::new()) };
    let record = relay.discovery().sign(own);
    assert_eq!(relay.discovery().list(&at, &simnet(), &record, TTL).await, Ok(TTL));
    (relay, at)
}

async fn told(asking: &Network, at: &RelayAddress, namespace: &Namespace, limit: usize) -> Vec<PeerIdentity> {
    let answer = asking.discovery().ask(&Teller::Relay(at.clone()), namespace, limit).await.unwrap();
    answer.told.iter().map(|told| told.record.record().peer.clone()).collect()
}

#[tokio::test]
async fn who_asks_a_public_node_is_told_of_it_beside_others_and_can_dial_it_straight() {
    let (relay, at) = telling().await;
    let (other, asking) = (reserved(config(), &relay).await, start(config()).await);
    assert_eq!(other.discovery().list(&at, &simnet(), &signed(&other, &at), TTL).await, Ok(TTL));
    let answer = asking.discovery().ask(&Teller::Relay(at.clone()), &simnet(), 32).await.unwrap();
    let own = answer.told.iter().find(|told| told.record.record().peer == *relay.local_peer()).expect("it tells of itself");
    let target = own.record.record().target();
    assert!(
        own.left > TTL - Duration::from_secs(60) && target.addresses.iter().all(|at| at.address.direct().is_some()),
        "{target:?}"
    );
    assert_eq!(told(&asking, &at, &simnet(), 32).await.len(), 2);
    // It counts like any other, and is the last to be left out.
    assert_eq!(told(&asking, &at, &simnet(), 1).await, [relay.local_peer().clone()]);
    assert_eq!(told(&asking, &at, &simnet(), 0).await, []);
    assert_eq!(told(&asking, &at, &Namespace::of_network("mainnet").unwrap(), 32).await, []);
    relay.discovery().unlist(&at, &simnet()).await;
    assert_eq!(told(&asking, &at, &simnet(), 32).await, [other.local_peer().clone()]);
}

#[tokio::test]
async fn a_node_that_is_about_to_end_its_service_tells_of_itself_no_more() {
    let (relay, at) = telling().await;
    let (_guest, asking) = (reserved(config(), &relay).await, start(config()).await);
    assert_eq!(told(&asking, &at, &simnet(), 32).await, [relay.local_peer().clone()]);
    relay.drain(Duration::from_secs(60)).await.unwrap();
    assert_eq!(told(&asking, &at, &simnet(), 32).await, []);
}
