//! Nodes on loopback for the tests of this crate.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

use std::{net::SocketAddr, ops::Deref, sync::Arc, time::Duration};

use kaspath_domain::{
    DialError, DialRequest, DuplexStream, Observers, PeerAddress, PeerLocator, RelayAddress, Route, StreamDialer, Transport,
    TransportAddress, TransportSet,
};
use kaspath_transport_libp2p::{Network, NetworkConfig, NetworkEvent, NodeKey, PunchConfig, RelayServerConfig, ReservationState};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpSocket},
    sync::mpsc,
    time::timeout,
};

/// Longer than anything here takes; reached only by a failure.
pub const DEADLINE: Duration = Duration::from_secs(15);

pub fn locator(text: &str) -> PeerLocator {
    text.parse().unwrap()
}

/// Listens on loopback over both transports, and may punch there.
pub fn config() -> NetworkConfig {
    NetworkConfig {
        listen: vec![locator("/ip4/127.0.0.1/tcp/0"), locator("/ip4/127.0.0.1/udp/0/quic-v1")],
        punch: PunchConfig { allow_local_candidates: true, ..PunchConfig::default() },
        ..NetworkConfig::default()
    }
}

/// Like [`config`], but never leaves the relay.
pub fn relay_only() -> NetworkConfig {
    NetworkConfig { punch: PunchConfig { transports: TransportSet::NONE, ..PunchConfig::default() }, ..config() }
}

/// A network and what happens in it.
pub struct Node {
    network: Network,
    observers: Observers<NetworkEvent>,
}

pub type Events = mpsc::UnboundedReceiver<NetworkEvent>;

impl Node {
    /// What happens from now on.
    pub fn events(&self) -> Events {
        let (sender, events) = mpsc::unbounded_channel();
        self.observers.add(Arc::new(move |event: &NetworkEvent| drop(sender.send(event.clone()))));
        events
    }
}

impl Deref for Node {
    type Target = Network;

    fn deref(&self) -> &Network {
        &self.network
    }
}

pub async fn start(config: NetworkConfig) -> Node {
    start_as(NodeKey::generate(), config).await
}

pub async fn start_as(key: NodeKey, config: NetworkConfig) -> Node {
    let observers = config.observers.clone();
    Node { network: Network::start(key, config).await.unwrap(), observers }
}

pub async fn relay(server: RelayServerConfig) -> Node {
    start(NetworkConfig { relay_server: Some(server), ..config() }).await
}

/// The relay's address over TCP.
pub fn relay_address(relay: &Network) -> RelayAddress {
    let PeerAddress::Direct(via) = relay.listening()[0].address.clone() else { panic!("direct") };
    RelayAddress { relay: relay.local_peer().clone(), via }
}

/// Where a node listens over a transport.
pub fn listening_over(node: &Network, over: Transport) -> PeerLocator {
    let is_over = |locator: &&PeerLocator| matches!(&locator.address, PeerAddress::Direct(at) if at.transport == over);
    node.listening().iter().find(is_over).unwrap().clone()
}

/// The address at which a node listens over a transport.
pub fn address_over(node: &Network, over: Transport) -> TransportAddress {
    let PeerAddress::Direct(address) = listening_over(node, over).address else { panic!("direct") };
    address
}

/// The way to it.
pub fn route(to: &Network, over: Transport) -> Route {
    Route::Direct(address_over(to, over))
}

/// The relay's address over a transport.
pub fn relay_address_over(relay: &Network, over: Transport) -> RelayAddress {
    RelayAddress { relay: relay.local_peer().clone(), via: address_over(relay, over) }
}

/// A node that holds a reservation at the relay.
pub async fn reserved(config: NetworkConfig, relay: &Network) -> Node {
    reserved_over(config, relay, Transport::Tcp).await
}

/// A node that holds a reservation at the relay, which it reaches over a transport.
pub async fn reserved_over(config: NetworkConfig, relay: &Network, over: Transport) -> Node {
    let node = start(NetworkConfig { relays: vec![listening_over(relay, over)], ..config }).await;
    let mut events = node.events();
    await_event(&mut events, |event| matches!(event, NetworkEvent::Reservation { state: ReservationState::Confirmed, .. })).await;
    node
}

pub async fn await_event(events: &mut Events, wanted: impl Fn(&NetworkEvent) -> bool) -> NetworkEvent {
    let mut seen = Vec::new();
    let found = timeout(DEADLINE, async {
        loop {
            let event = events.recv().await.expect("events go on");
            if wanted(&event) {
                return event;
            }
            seen.push(event);
        }
    })
    .await;
    found.unwrap_or_else(|_| panic!("the event did not come; instead: {seen:#?}"))
}

pub async fn dial(from: &Network, to: &Network, route: Route) -> Result<DuplexStream, DialError> {
    let request = DialRequest { peer: Some(to.local_peer().clone()), route, timeout: DEADLINE };
    timeout(DEADLINE * 2, from.dialer().dial(request)).await.expect("a dial keeps its deadline")
}

/// A router at the IP address `at`, at a port of which it passes connections on, from the
/// IP addresses that `from` gives.
pub async fn router(at: [u8; 4], to: TransportAddress, from: impl Fn(u8) -> [u8; 4] + Send + 'static) -> SocketAddr {
    let (router, to) = (TcpListener::bind(SocketAddr::from((at, 0))).await.unwrap(), to.socket_addr().unwrap());
    let at = router.local_addr().unwrap();
    tokio::spawn(async move {
        for number in 0.. {
            let Ok((mut outside, _)) = router.accept().await else { return };
            let from = from(number);
            tokio::spawn(async move {
                let socket = TcpSocket::new_v4().unwrap();
                socket.bind(SocketAddr::from((from, 0))).unwrap();
                let mut inside = socket.connect(to).await.unwrap();
                let _ = copy_bidirectional(&mut outside, &mut inside).await;
            });
        }
    });
    at
}
