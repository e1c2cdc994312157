//! Foreign peers: swarms of stock libp2p behaviours, which know nothing of ours.

mod support;

use std::time::Duration;

use futures::{AsyncReadExt as _, AsyncWriteExt as _, StreamExt};
use kaspath_domain::{
    DialError, DialRequest, DuplexStream, Path, PeerIdentity, RelayAddress, Route, StreamDialer, StreamListener, Transport,
    TransportSet,
};
use kaspath_transport_libp2p::{LEGACY_STREAM_PROTOCOL, Network, NetworkConfig, RelayServerConfig};
use libp2p::{
    Multiaddr, PeerId, Stream, StreamProtocol, Swarm, SwarmBuilder, dcutr, identify,
    multiaddr::Protocol,
    noise, relay,
    swarm::{NetworkBehaviour, SwarmEvent, dial_opts::DialOpts},
    tcp, yamux,
};
use support::{DEADLINE, config, relay, relay_address_over, reserved_over, start};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::mpsc,
    task::JoinHandle,
    time::timeout,
};

const TRANSPORTS: [Transport; 2] = [Transport::Tcp, Transport::Quic];

#[derive(NetworkBehaviour)]
struct Stock {
    relay_client: relay::client::Behaviour,
    dcutr: dcutr::Behaviour,
    identify: identify::Behaviour,
    stream: libp2p_stream::Behaviour,
}

struct Foreign {
    swarm: Swarm<Stock>,
}

impl Foreign {
    /// Listens on loopback over one transport, over TCP with Noise alone.
    async fn start(over: Transport) -> Self {
        let mut swarm = SwarmBuilder::with_new_identity()
            .with_tokio()
            .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
            .unwrap()
            .with_quic()
            .with_relay_client(noise::Config::new, yamux::Config::default)
            .unwrap()
            .with_behaviour(|key, relay_client| Stock {
                relay_client,
                dcutr: dcutr::Behaviour::new(key.public().to_peer_id()),
                identify: identify::Behaviour::new(identify::Config::new("/foreign/1.0.0".into(), key.public())),
                stream: libp2p_stream::Behaviour::new(),
            })
            .unwrap()
            .with_swarm_config(|config| config.with_idle_connection_timeout(Duration::from_secs(60)))
            .build();
        let listen = match over {
            Transport::Tcp => "/ip4/127.0.0.1/tcp/0",
            Transport::Quic => "/ip4/127.0.0.1/udp/0/quic-v1",
        };
        swarm.listen_on(listen.parse().unwrap()).unwrap();
        while !matches!(swarm.select_next_some().await, SwarmEvent::NewListenAddr { .. }) {}
        Self { swarm }
    }

    fn id(&self) -> PeerId {
        *self.swarm.local_peer_id()
    }

    fn identity(&self) -> PeerIdentity {
        PeerIdentity::from_bytes(&self.id().to_bytes()).unwrap()
    }

    fn address(&self) -> Multiaddr {
        self.swarm.listeners().next().unwrap().clone()
    }

    fn control(&self) -> libp2p_stream::Control {
        self.swarm.behaviour().stream.new_control()
    }

    /// Waits until the relay has identified us and we it; dcutr's candidates come from that.
    async fn meet(&mut self, relay: &RelayAddress) -> Multiaddr {
        let address: Multiaddr = relay.to_string().parse().unwrap();
        self.swarm.dial(address.clone()).unwrap();
        timeout(DEADLINE, async {
            while !matches!(
                self.swarm.select_next_some().await,
                SwarmEvent::Behaviour(StockEvent::Identify(identify::Event::Received { .. }))
            ) {}
        })
        .await
        .unwrap();
        address
    }

    async fn reserve(&mut self, relay: &RelayAddress) {
        let address = self.meet(relay).await;
        self.swarm.listen_on(address.with(Protocol::P2pCircuit)).unwrap();
        timeout(DEADLINE, async {
            while !matches!(
                self.swarm.select_next_some().await,
                SwarmEvent::Behaviour(StockEvent::RelayClient(relay::client::Event::ReservationReqAccepted { .. }))
            ) {}
        })
        .await
        .unwrap();
    }

    /// Runs the swarm in the background; tells of direct connections.
    fn run(mut self) -> (mpsc::UnboundedReceiver<PeerId>, JoinHandle<()>) {
        let (sender, direct) = mpsc::unbounded_channel();
        let task = tokio::spawn(async move {
            loop {
                if let SwarmEvent::ConnectionEstablished { peer_id, endpoint, .. } = self.swarm.select_next_some().await
                    && !endpoint.is_relayed()
                {
                    let _ = sender.send(peer_id);
                }
            }
        });
        (direct, task)
    }
}

async fn echo(mut stream: Stream) {
    let mut buffer = [0; 64];
    while let Ok(read @ 1..) = stream.read(&mut buffer).await {
        if stream.write_all(&buffer[..read]).await.is_err() || stream.flush().await.is_err() {
            return;
        }
    }
}

async fn echoes(stream: &mut DuplexStream) {
    AsyncWriteExt::write_all(stream, b"raw bytes").await.unwrap();
    let mut buffer = [0; 9];
    timeout(DEADLINE, AsyncReadExt::read_exact(stream, &mut buffer)).await.unwrap().unwrap();
    assert_eq!(&buffer, b"raw bytes");
}

#[tokio::test]
async fn the_proof_of_concepts_protocol_is_spoken_both_ways_with_libp2p_stream() {
    for over in TRANSPORTS {
        speaks_with_libp2p_stream(over).await;
    }
}

/// Has `foreign` send back what comes on its streams, and opens one to it. It runs while
/// the second part lives.
async fn echoing(foreign: Foreign, ours: &Network) -> (DuplexStream, impl Sized) {
    let mut accepted = foreign.control().accept(StreamProtocol::new(LEGACY_STREAM_PROTOCOL)).unwrap();
    let (identity, address) = (foreign.identity(), foreign.address());
    let running = foreign.run();
    tokio::spawn(async move {
        while let Some((_, stream)) = accepted.next().await {
            tokio::spawn(echo(stream));
        }
    });
    let locator: kaspath_domain::PeerLocator = address.to_string().parse().unwrap();
    let kaspath_domain::PeerAddress::Direct(address) = locator.address else { panic!("direct") };
    let request = DialRequest { peer: Some(identity), route: Route::Direct(address), timeout: DEADLINE };
    (ours.dialer().dial(request).await.unwrap(), running)
}

async fn speaks_with_libp2p_stream(over: Transport) {
    let foreign = Foreign::start(over).await;
    let ours = start(config()).await;
    let protocol = StreamProtocol::new(LEGACY_STREAM_PROTOCOL);
    let mut control = foreign.control();
    let (mut stream, _running) = echoing(foreign, &ours).await;
    echoes(&mut stream).await;

    // The other way round, over the connection that stands now.
    let our_id = PeerId::from_bytes(ours.local_peer().as_bytes()).unwrap();
    let mut theirs = timeout(DEADLINE, control.open_stream(our_id, protocol)).await.unwrap().unwrap();
    theirs.write_all(b"hello").await.unwrap();
    theirs.flush().await.unwrap();
    let mut inward = timeout(DEADLINE, ours.listener().accept()).await.unwrap().unwrap();
    let mut buffer = [0; 5];
    AsyncReadExt::read_exact(&mut inward, &mut buffer).await.unwrap();
    assert_eq!(&buffer, b"hello");
}

#[tokio::test]
async fn a_peer_without_our_stream_protocol_is_told_apart() {
    let foreign = Foreign::start(Transport::Tcp).await;
    let ours = start(config()).await;
    let identity = foreign.identity();
    let locator: kaspath_domain::PeerLocator = foreign.address().to_string().parse().unwrap();
    let (_direct, _task) = foreign.run();
    let kaspath_domain::PeerAddress::Direct(address) = locator.address else { panic!("direct") };
    let request = DialRequest { peer: Some(identity.clone()), route: Route::Direct(address), timeout: DEADLINE };
    let error = ours.dialer().dial(request).await.unwrap_err();
    assert!(matches!(&error, DialError::ProtocolUnsupported { peer, .. } if *peer == identity), "{error}");
}

#[tokio::test]
async fn a_stock_dcutr_listener_and_we_punch_each_other() {
    for (over, transports) in [(Transport::Tcp, TransportSet::TCP), (Transport::Quic, TransportSet::QUIC)] {
        punches_a_stock_listener(over, transports).await;
    }
}

async fn punches_a_stock_listener(over: Transport, transports: TransportSet) {
    let relay = relay(RelayServerConfig::default()).await;
    let relay_address = relay_address_over(&relay, over);
    let mut foreign = Foreign::start(over).await;
    foreign.reserve(&relay_address).await;
    let mut accepted = foreign.control().accept(StreamProtocol::new(LEGACY_STREAM_PROTOCOL)).unwrap();
    let identity = foreign.identity();
    let (_direct, _task) = foreign.run();
    tokio::spawn(async move {
        while let Some((_, stream)) = accepted.next().await {
            tokio::spawn(echo(stream));
        }
    });
    let ours = start(config()).await;
    let route = Route::Punched { relay: relay_address, transports };
    let request = DialRequest { peer: Some(identity), route, timeout: DEADLINE };
    let mut stream = ours.dialer().dial(request).await.unwrap();
    assert_eq!(stream.path(), Path::Direct { transport: over });
    echoes(&mut stream).await;
}

#[tokio::test]
async fn a_stock_dcutr_dialer_is_punched_by_us() {
    for over in TRANSPORTS {
        is_punched_by_us(over).await;
    }
}

async fn is_punched_by_us(over: Transport) {
    let relay = relay(RelayServerConfig::default()).await;
    let ours = reserved_over(config(), &relay, over).await;
    let our_id = PeerId::from_bytes(ours.local_peer().as_bytes()).unwrap();
    let mut foreign = Foreign::start(over).await;
    let via = foreign.meet(&relay_address_over(&relay, over)).await;
    let circuit = via.with(Protocol::P2pCircuit).with(Protocol::P2p(our_id));
    foreign.swarm.dial(DialOpts::peer_id(our_id).addresses(vec![circuit]).build()).unwrap();
    let (mut direct, _task) = foreign.run();
    timeout(DEADLINE, async { while direct.recv().await.unwrap() != our_id {} }).await.expect("a direct connection");
}

#[tokio::test]
async fn a_peer_without_ping_stays_connected() {
    let foreign = Foreign::start(Transport::Tcp).await;
    // A ping every millisecond: hundreds are refused while the echoes go on.
    let ours = start(NetworkConfig { ping_interval: Duration::from_millis(1), ..config() }).await;
    let (mut stream, _running) = echoing(foreign, &ours).await;
    for _ in 0..2000 {
        echoes(&mut stream).await;
    }
}

#[tokio::test]
async fn stock_peers_punch_each_other_through_our_relay() {
    let relay = relay(RelayServerConfig::default()).await;
    let mut listener = Foreign::start(Transport::Tcp).await;
    listener.reserve(&relay_address_over(&relay, Transport::Tcp)).await;
    let listener_id = listener.id();
    let (_direct, _listening) = listener.run();
    let mut dialer = Foreign::start(Transport::Tcp).await;
    let via = dialer.meet(&relay_address_over(&relay, Transport::Tcp)).await;
    let circuit = via.with(Protocol::P2pCircuit).with(Protocol::P2p(listener_id));
    dialer.swarm.dial(DialOpts::peer_id(listener_id).addresses(vec![circuit]).build()).unwrap();
    let (mut direct, _dialing) = dialer.run();
    timeout(DEADLINE, async { while direct.recv().await.unwrap() != listener_id {} }).await.expect("a direct connection");
}
