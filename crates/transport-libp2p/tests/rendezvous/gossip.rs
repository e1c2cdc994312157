//! Nodes with a session ask each other whom they know.

use std::sync::Arc;

use kaspath_domain::{
    DialRequest, Discovery, DiscoveryError, DuplexStream, Namespace, StreamDialer, StreamListener, Teller, Transport,
};
use kaspath_transport_libp2p::{Network, NetworkConfig, SESSION_PROTOCOL};
use tokio::{io::AsyncWriteExt, time::timeout};

use crate::{
    listing::{signed, simnet},
    support::{DEADLINE, Node, config, relay_address, route, start},
};

async fn node() -> Node {
    start(NetworkConfig { session_protocol: Some(SESSION_PROTOCOL.to_owned()), ..config() }).await
}

/// A stream for a session from one to the other, at both ends.
async fn session(from: &Network, to: &Network) -> (DuplexStream, DuplexStream) {
    let request = DialRequest { peer: Some(to.local_peer().clone()), route: route(to, Transport::Tcp), timeout: DEADLINE };
    let mut dialled = from.session_dialer().dial(request).await.unwrap();
    // What is opened for a session is agreed with its first bytes.
    dialled.write_all(b"hello").await.unwrap();
    dialled.flush().await.unwrap();
    let accepted = timeout(DEADLINE, to.listener().accept()).await.unwrap().unwrap();
    (dialled, accepted)
}

#[tokio::test]
async fn both_ends_of_a_session_tell_whom_they_know_and_nobody_without_one_is_told() {
    let (one, other, third) = (node().await, node().await, node().await);
    let at = relay_address(&third);
    let known = signed(&third, &at);
    let told = known.clone();
    let (one_knows, other_knows) = (signed(&one, &at), vec![known.clone(), signed(&other, &at)]);
    one.discovery().set_known(Arc::new(move |_, _| vec![told.clone(), one_knows.clone()]));
    let asked = other_knows.clone();
    other.discovery().set_known(Arc::new(move |namespace, _| if *namespace == simnet() { asked.clone() } else { Vec::new() }));

    let ask = async |from: &Network, to: &Network| {
        let answer = from.discovery().ask(&Teller::Peer(to.local_peer().clone()), &simnet(), 16).await;
        answer.map(|answer| answer.told.into_iter().map(|told| told.record).collect::<Vec<_>>())
    };
    assert!(matches!(ask(&one, &other).await, Err(DiscoveryError::Unreachable(_))), "nobody is dialled for it");
    let (_dialled, _accepted) = session(&one, &other).await;
    assert_eq!(ask(&one, &other).await, Ok(other_knows));
    assert_eq!(ask(&other, &one).await.unwrap().len(), 2);
    let teller = Teller::Peer(other.local_peer().clone());
    let other_network = Namespace::of_network("mainnet").unwrap();
    let answer = one.discovery().ask(&teller, &other_network, 16).await.unwrap();
    assert!(answer.told.is_empty() && answer.from.unwrap().is_loopback());
    assert_eq!(one.discovery().ask(&teller, &simnet(), 1).await.unwrap().told.len(), 1);
    one.discovery().ask(&teller, &simnet(), 16).await.unwrap();
    assert_eq!(one.discovery().ask(&teller, &simnet(), 16).await, Err(DiscoveryError::TooOften));
}

#[tokio::test]
async fn a_peer_that_does_not_gossip_says_so() {
    let (one, plain) = (node().await, start(config()).await);
    let request = DialRequest { peer: Some(plain.local_peer().clone()), route: route(&plain, Transport::Tcp), timeout: DEADLINE };
    let _stream = one.dialer().dial(request).await.unwrap();
    let told = one.discovery().ask(&Teller::Peer(plain.local_peer().clone()), &simnet(), 16).await;
    assert_eq!(told, Err(DiscoveryError::NotSpoken));
}
