//! Light peers joined in memory, and a listener on loopback.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use kaspath_domain::{
    ConnectInfo, DialRequest, Direction, DuplexStream, ListenError, Path, PathWatch, PeerAddress, PeerIdentity, PeerLocator,
    RelayAddress, Route, StreamDialer, StreamListener, Timestamp, Transport, TransportAddress,
    memory::{FixedPolicy, MemoryDialer, memory_network},
};
use kaspath_kaspa_adaptor::{
    KaspaEvent, KaspaNetwork, KaspaNode, NodeConfig,
    pb::{SubnetworkId, TransactionMessage},
};
use tokio::{net::TcpListener, sync::broadcast, time::timeout};

pub const DEADLINE: Duration = Duration::from_secs(10);
pub const SERVER: &str = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";
pub const CLIENT: &str = "12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp";
pub const RELAY: &str = "12D3KooWQYhTNQdmr3ArTeUHRYzFg94BKyTkoWBDWez9kSCVe2Xo";

pub fn identity(text: &str) -> PeerIdentity {
    text.parse().unwrap()
}

pub fn node(network: KaspaNetwork) -> KaspaNode {
    KaspaNode::new(NodeConfig::new(network))
}

/// Serves `node` in the background, to peers that claim to be `caller`.
pub fn serve(node: &KaspaNode, caller: &str) -> MemoryDialer {
    let (dialer, listener) = memory_network(identity(caller));
    serve_on(node, Arc::new(listener));
    dialer
}

pub fn serve_on(node: &KaspaNode, listener: Arc<dyn StreamListener>) {
    let node = node.clone();
    tokio::spawn(async move { node.serve(listener, Arc::new(FixedPolicy::default()), Timestamp::default).await });
}

pub fn direct() -> Route {
    Route::Direct(TransportAddress::tcp(([192, 0, 2, 1], 1).into()))
}

pub fn relayed() -> Route {
    Route::Relayed(RelayAddress { relay: identity(RELAY), via: TransportAddress::tcp(([192, 0, 2, 9], 1).into()) })
}

pub async fn stream(dialer: &MemoryDialer, route: Route) -> DuplexStream {
    dialer.dial(DialRequest { peer: Some(identity(SERVER)), route, deadline: DEADLINE }).await.unwrap()
}

pub async fn await_event(events: &mut broadcast::Receiver<KaspaEvent>, wanted: impl Fn(&KaspaEvent) -> bool) -> KaspaEvent {
    let mut seen = Vec::new();
    let found = timeout(DEADLINE, async {
        loop {
            let event = events.recv().await.expect("events go on");
            if wanted(&event) {
                return event;
            }
            seen.push(event);
        }
    });
    found.await.unwrap_or_else(|_| panic!("the event did not come; instead: {seen:#?}"))
}

/// A well-formed transaction without inputs, distinct for each `n`.
pub fn transaction(n: u64) -> TransactionMessage {
    TransactionMessage {
        version: 0,
        inputs: vec![],
        outputs: vec![],
        lock_time: n,
        subnetwork_id: Some(SubnetworkId { bytes: vec![0; 20] }),
        gas: 0,
        payload: n.to_le_bytes().to_vec(),
        storage_mass: 0,
    }
}

/// Plain TCP on loopback, without the TCP adapter: this crate knows the domain alone.
pub struct Loopback(pub TcpListener);

#[async_trait]
impl StreamListener for Loopback {
    async fn accept(&self) -> Result<DuplexStream, ListenError> {
        let (stream, remote) = self.0.accept().await.map_err(|_| ListenError::Closed)?;
        let locator = PeerLocator { peer: None, address: PeerAddress::Direct(TransportAddress::tcp(remote)) };
        let info = ConnectInfo { peer: None, direction: Direction::Inbound, remote: locator, synthetic: remote };
        Ok(DuplexStream::new(stream, info, PathWatch::fixed(Path::Direct { transport: Transport::Tcp })))
    }
}
