//! Who has the inbound places of a server when there are not enough of them.

mod support;

use std::sync::Arc;

use kaspath_domain::{
    AdmissionPolicy, PeerIdentity, RefuseReason, Route, TransportAddress, memory::memory_network, ports::MockAdmissionPolicy,
};
use kaspath_kaspa_adaptor::{CloseReason, KaspaEvent, KaspaNetwork, KaspaNode, Peer};
use support::{DEADLINE, Events, await_event, events, node, relayed, stream};
use tokio::time::timeout;

const PLACES: usize = 4;

/// A server with a few inbound places.
struct Server {
    node: KaspaNode,
    admission: Arc<dyn AdmissionPolicy>,
    events: Events,
}

fn peer(n: u8) -> PeerIdentity {
    PeerIdentity::from_bytes(&[0, 1, n]).unwrap()
}

fn from(ip: [u8; 4]) -> Route {
    Route::Direct(TransportAddress::tcp((ip, 1).into()))
}

impl Server {
    fn start() -> Self {
        let mut admission = MockAdmissionPolicy::new();
        admission.expect_admit().returning(|request| match request.inbound {
            PLACES.. => Err(RefuseReason::TooManyInbound { limit: PLACES }),
            _ => Ok(()),
        });
        let node = node(KaspaNetwork::Simnet);
        Self { events: events(&node), node, admission: Arc::new(admission) }
    }

    /// A client's session, once it stands at both ends.
    async fn takes(&mut self, client: &KaspaNode, n: u8, route: Route) -> Arc<Peer> {
        let (dialer, listener) = memory_network(peer(n));
        let (node, admission) = (self.node.clone(), self.admission.clone());
        tokio::spawn(async move { node.serve(Arc::new(listener), admission).await });
        let session = client.connect(stream(&dialer, route).await).await.unwrap();
        await_event(&mut self.events, |event| matches!(event, KaspaEvent::PeerReady { peer: Some(of), .. } if *of == peer(n)))
            .await;
        session
    }

    fn has(&self, n: u8) -> bool {
        self.node.hub().by_identity(&peer(n)).is_some_and(|peer| !peer.router().is_closed())
    }
}

/// Why a client's session has ended.
async fn ended(session: &Peer) -> CloseReason {
    timeout(DEADLINE, session.router().closed()).await.expect("the session ends")
}

#[tokio::test]
async fn a_full_server_gives_the_last_place_of_the_most_crowded_prefix_to_a_newcomer() {
    let mut server = Server::start();
    let clients: Vec<_> = (0..8).map(|_| node(KaspaNetwork::Simnet)).collect();
    let mut crowd = Vec::new();
    for n in 1..4 {
        crowd.push(server.takes(&clients[usize::from(n)], n, from([192, 0, n, 1])).await);
    }
    let lone = server.takes(&clients[4], 4, from([198, 51, 100, 1])).await;
    let newcomer = server.takes(&clients[5], 5, from([203, 0, 113, 1])).await;
    let left = await_event(&mut server.events, |event| matches!(event, KaspaEvent::PeerLeft { .. })).await;
    assert!(
        matches!(&left, KaspaEvent::PeerLeft { peer: Some(who), reason: CloseReason::Evicted, .. } if *who == peer(3)),
        "{left:?}"
    );
    assert!(matches!(ended(&crowd[2]).await, CloseReason::Rejected(why) if why.contains("slots are taken")));
    // Who comes from the crowd's own prefix takes a place of the crowd.
    server.takes(&clients[6], 6, from([192, 0, 77, 1])).await;
    assert!(matches!(ended(&crowd[1]).await, CloseReason::Rejected(_)));
    assert_eq!([1, 2, 3, 4, 5, 6].map(|n| server.has(n)), [true, false, false, true, true, true]);
    assert!(!lone.router().is_closed() && !newcomer.router().is_closed());
    assert_eq!(server.node.hub().peers().len(), PLACES);
}

#[tokio::test]
async fn a_full_server_takes_a_peer_that_has_restarted_and_ends_no_other_session() {
    let mut server = Server::start();
    let clients: Vec<_> = (0..5).map(|_| node(KaspaNetwork::Simnet)).collect();
    let before = server.takes(&clients[0], 1, relayed()).await;
    for n in 1..4 {
        server.takes(&clients[usize::from(n)], n + 1, from([192, n, 2, 1])).await;
    }
    let restarted = server.takes(&clients[4], 1, from([203, 0, 113, 1])).await;
    let left = await_event(&mut server.events, |event| matches!(event, KaspaEvent::PeerLeft { .. })).await;
    assert!(matches!(&left, KaspaEvent::PeerLeft { reason: CloseReason::Superseded, .. }), "{left:?}");
    ended(&before).await;
    assert!(!restarted.router().is_closed());
    assert_eq!([1, 2, 3, 4].map(|n| server.has(n)), [true; 4]);
}
