//! Nodes and relays list themselves at a relay of ours, and find each other there.

use std::{sync::Arc, time::Duration};

use crate::support::{config, listening_over, relay, relay_address, relay_address_over, reserved, start};
use kaspath_domain::{
    Discovery, DiscoveryError, Namespace, NatMapping, RecordDraft, RecordKind, RelayAddress, SignedRecord, Teller, Transport,
    TransportAddress,
};
use kaspath_transport_libp2p::{Network, RelayServerConfig};

pub(crate) const TTL: Duration = Duration::from_secs(600);

pub(crate) fn simnet() -> Namespace {
    Namespace::of_network("simnet").unwrap()
}

pub(crate) fn draft(relays: Vec<RelayAddress>) -> RecordDraft {
    RecordDraft {
        kind: RecordKind::Node,
        network: "simnet".to_owned(),
        gossip: true,
        mapping: NatMapping::EndpointIndependent,
        reachable: false,
        ttl: TTL,
        relays,
        candidates: Vec::new(),
        load: None,
        tag: None,
    }
}

pub(crate) fn signed(node: &Network, at: &RelayAddress) -> SignedRecord {
    node.discovery().sign(draft(vec![at.clone()]))
}

#[tokio::test]
async fn a_node_that_is_listed_is_found_by_one_that_only_asks() {
    let relay = relay(RelayServerConfig::default()).await;
    let at = relay_address(&relay);
    let (listed, asking) = (reserved(config(), &relay).await, start(config()).await);
    let record = signed(&listed, &at);
    assert_eq!(listed.discovery().list(&at, &simnet(), &record, TTL).await, Ok(TTL));

    let discovery: Arc<dyn Discovery> = asking.discovery();
    let answer = discovery.ask(&Teller::Relay(at.clone()), &simnet(), 32).await.unwrap();
    assert_eq!(answer.from, at.via.ip());
    let told = answer.told;
    assert_eq!(told.len(), 1);
    assert_eq!((&told[0].record, told[0].record.record().peer.clone()), (&record, listed.local_peer().clone()));
    assert!(told[0].left <= TTL && told[0].left > TTL - Duration::from_secs(60));
    let other = Namespace::of_network("mainnet").unwrap();
    assert_eq!(discovery.ask(&Teller::Relay(at.clone()), &other, 32).await.unwrap().told, []);
    let answer = listed.discovery().ask(&Teller::Relay(at.clone()), &simnet(), 32).await;
    assert_eq!(answer.unwrap().told, [], "not of itself");

    listed.discovery().unlist(&at, &simnet()).await;
    // It has no answer, so it is over when the relay has read it.
    tokio::time::timeout(crate::support::DEADLINE, async {
        while !asking.discovery().ask(&Teller::Relay(at.clone()), &simnet(), 32).await.is_ok_and(|answer| answer.told.is_empty())
        {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn who_has_no_reservation_or_another_ones_record_is_not_listed() {
    let relay = relay(RelayServerConfig::default()).await;
    let at = relay_address(&relay);
    let (listed, stranger) = (reserved(config(), &relay).await, start(config()).await);
    let refused = stranger.discovery().list(&at, &simnet(), &signed(&stranger, &at), TTL).await;
    assert!(matches!(&refused, Err(DiscoveryError::Refused(why)) if why.contains("reserve")), "{refused:?}");
    let stolen = listed.discovery().list(&at, &simnet(), &signed(&stranger, &at), TTL).await;
    assert!(matches!(&stolen, Err(DiscoveryError::Refused(why)) if why.contains("another peer")), "{stolen:?}");
    let elsewhere = listed.discovery().sign(draft(Vec::new()));
    let elsewhere = listed.discovery().list(&at, &simnet(), &elsewhere, TTL).await;
    assert!(matches!(&elsewhere, Err(DiscoveryError::Refused(why)) if why.contains("name this relay")), "{elsewhere:?}");
}

#[tokio::test]
async fn a_node_that_is_no_relay_and_one_that_is_nowhere_are_told_apart() {
    let (node, asking) = (start(config()).await, start(config()).await);
    let teller = Teller::Relay(relay_address(&node));
    assert_eq!(asking.discovery().ask(&teller, &simnet(), 32).await, Err(DiscoveryError::NotSpoken));
    node.shutdown().await;
    let gone = asking.discovery().ask(&teller, &simnet(), 32).await;
    assert!(matches!(gone, Err(DiscoveryError::Unreachable(_))), "{gone:?}");
}

fn relay_draft(candidates: Vec<TransportAddress>) -> RecordDraft {
    let (kind, network) = (RecordKind::Relay, String::new());
    RecordDraft { kind, network, reachable: true, candidates, ..draft(Vec::new()) }
}

#[tokio::test]
async fn a_relay_lists_itself_at_another_once_that_one_has_reached_it() {
    let (first, second) = (relay(RelayServerConfig::default()).await, relay(RelayServerConfig::default()).await);
    let asking = start(config()).await;
    let at = relay_address(&first);
    for transport in [Transport::Quic, Transport::Tcp] {
        let own = relay_address_over(&second, transport).via;
        let record = second.discovery().sign(relay_draft(vec![own.clone()]));
        assert_eq!(second.discovery().list(&at, &Namespace::relays(), &record, TTL).await, Ok(TTL), "{transport:?}");
        let told = asking.discovery().ask(&Teller::Relay(at.clone()), &Namespace::relays(), 128).await.unwrap().told;
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].record.record().relay(), Some(RelayAddress { relay: second.local_peer().clone(), via: own }));
    }
}

#[tokio::test]
async fn of_both_families_the_one_that_the_relay_can_verify_is_listed_first() {
    let (first, second) = (relay(RelayServerConfig::default()).await, relay(RelayServerConfig::default()).await);
    let (at, own) = (relay_address(&first), relay_address(&second).via);
    let elsewhere = TransportAddress::tcp("[::1]:4001".parse().unwrap());
    let record = second.discovery().sign(relay_draft(vec![elsewhere.clone(), own.clone()]));
    assert_eq!(second.discovery().list(&at, &Namespace::relays(), &record, TTL).await, Ok(TTL));
    let told = start(config()).await.discovery().ask(&Teller::Relay(at), &Namespace::relays(), 128).await.unwrap();
    assert_eq!(told.told[0].record.record().candidates, [own, elsewhere]);
}

#[tokio::test]
async fn a_relay_that_cannot_be_reached_or_names_another_address_is_not_listed() {
    let (first, second) = (relay(RelayServerConfig::default()).await, relay(RelayServerConfig::default()).await);
    let asking = start(config()).await;
    let at = relay_address(&first);
    let refused = async |candidates: Vec<TransportAddress>| {
        let record = second.discovery().sign(relay_draft(candidates));
        match second.discovery().list(&at, &Namespace::relays(), &record, TTL).await {
            Err(DiscoveryError::Refused(why)) => why,
            other => panic!("{other:?}"),
        }
    };
    // A port on which nobody listens, and one on which somebody else does.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert!(refused(vec![TransportAddress::tcp(nobody)]).await.contains("cannot be reached"));
    let elsewhere = listening_over(&asking, Transport::Tcp).address;
    let kaspath_domain::PeerAddress::Direct(elsewhere) = elsewhere else { panic!("direct") };
    assert!(refused(vec![elsewhere]).await.contains("cannot be reached"));
    // Somebody else's address is not dialled at all.
    let other = std::net::TcpListener::bind("127.0.0.2:0").unwrap();
    other.set_nonblocking(true).unwrap();
    assert!(refused(vec![TransportAddress::tcp(other.local_addr().unwrap())]).await.contains("come from"));
    assert_eq!(other.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    let told = asking.discovery().ask(&Teller::Relay(at), &Namespace::relays(), 128).await;
    assert_eq!(told.unwrap().told, []);
}
