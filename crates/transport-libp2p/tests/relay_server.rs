//! Our relay, and peers that speak circuit relay v2 with it byte by byte.

mod support;

use std::time::Duration;

use futures::{AsyncReadExt as _, AsyncWriteExt as _, StreamExt};
use kaspath_domain::{PeerIdentity, Route, StreamListener};
use kaspath_transport_libp2p::{CircuitEnd, Network, NetworkConfig, NetworkEvent, RelayServerConfig};
use libp2p::{
    Multiaddr, PeerId, Stream, StreamProtocol, Swarm, SwarmBuilder,
    identity::Keypair,
    multiaddr::Protocol,
    noise, relay,
    swarm::{NetworkBehaviour, SwarmEvent, dial_opts::DialOpts},
    tcp, yamux,
};
use prost::Message;
use support::{DEADLINE, await_event, dial, relay, relay_address, relay_only, reserved, start};
use tokio::{io::AsyncWriteExt, task::JoinHandle, time::timeout};

const HOP: StreamProtocol = StreamProtocol::new("/libp2p/circuit/relay/0.2.0/hop");
const STOP: StreamProtocol = StreamProtocol::new("/libp2p/circuit/relay/0.2.0/stop");

const RESERVE: &[u8] = &[2, 0x08, 0];
/// A stop message of type STATUS with status OK.
const STOP_OK: &[u8] = &[4, 0x08, 1, 0x20, 100];

const OK: u32 = 100;
const RESOURCE_LIMIT_EXCEEDED: u32 = 201;
const PERMISSION_DENIED: u32 = 202;
const CONNECTION_FAILED: u32 = 203;
const NO_RESERVATION: u32 = 204;
const MALFORMED_MESSAGE: u32 = 400;
const UNEXPECTED_MESSAGE: u32 = 401;

/// A hop message of type STATUS, as far as it is looked at here.
#[derive(Clone, PartialEq, Message)]
struct Answer {
    #[prost(uint32, required, tag = "1")]
    kind: u32,
    #[prost(message, optional, tag = "3")]
    reservation: Option<Reservation>,
    #[prost(uint32, optional, tag = "5")]
    status: Option<u32>,
}

#[derive(Clone, PartialEq, Message)]
struct Reservation {
    #[prost(bytes = "vec", repeated, tag = "2")]
    addrs: Vec<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "3")]
    voucher: Option<Vec<u8>>,
}

#[derive(NetworkBehaviour)]
struct Raw {
    // First, so that STOP comes here: the client is there for its transport only.
    stream: libp2p_stream::Behaviour,
    relay_client: relay::client::Behaviour,
}

/// A peer that opens what streams it likes and writes what it likes on them.
struct Stranger {
    id: PeerId,
    control: libp2p_stream::Control,
    stops: libp2p_stream::IncomingStreams,
    /// The peer its streams go to.
    relay: PeerId,
    swarm: JoinHandle<()>,
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.swarm.abort();
    }
}

impl Stranger {
    async fn at(relay: &Network) -> Self {
        Self::with_key(Keypair::generate_ed25519(), relay).await
    }

    async fn with_key(key: Keypair, relay: &Network) -> Self {
        Self::connect(key, relay_address(relay).to_string().parse().unwrap(), relay).await
    }

    /// Connects to `relay` at that address, and to nobody else.
    async fn connect(key: Keypair, address: Multiaddr, relay: &Network) -> Self {
        let mut swarm: Swarm<Raw> = SwarmBuilder::with_existing_identity(key)
            .with_tokio()
            .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
            .unwrap()
            .with_relay_client(noise::Config::new, yamux::Config::default)
            .unwrap()
            .with_behaviour(|_, relay_client| Raw { relay_client, stream: libp2p_stream::Behaviour::new() })
            .unwrap()
            .with_swarm_config(|config| config.with_idle_connection_timeout(Duration::from_secs(60)))
            .build();
        let mut control = swarm.behaviour().stream.new_control();
        let stops = control.accept(STOP).unwrap();
        let relay = PeerId::from_bytes(relay.local_peer().as_bytes()).unwrap();
        swarm.dial(DialOpts::peer_id(relay).addresses(vec![address]).build()).unwrap();
        timeout(DEADLINE, async {
            while !matches!(swarm.select_next_some().await, SwarmEvent::ConnectionEstablished { peer_id, .. } if peer_id == relay)
            {
            }
        })
        .await
        .unwrap();
        let id = *swarm.local_peer_id();
        let swarm = tokio::spawn(async move { while swarm.next().await.is_some() {} });
        Self { id, control, stops, relay, swarm }
    }

    fn identity(&self) -> PeerIdentity {
        PeerIdentity::from_bytes(&self.id.to_bytes()).unwrap()
    }

    /// A stream with these first bytes.
    async fn hop(&mut self, bytes: &[u8]) -> Stream {
        self.try_hop(bytes).await.unwrap()
    }

    /// Fails if the relay resets it.
    async fn try_hop(&mut self, bytes: &[u8]) -> std::io::Result<Stream> {
        let mut stream = timeout(DEADLINE, self.control.open_stream(self.relay, HOP)).await.unwrap().unwrap();
        stream.write_all(bytes).await?;
        stream.flush().await?;
        Ok(stream)
    }

    async fn is_served(&mut self) -> bool {
        match self.try_hop(RESERVE).await {
            Ok(mut stream) => answer(&mut stream).await.is_ok(),
            Err(_) => false,
        }
    }

    async fn ask(&mut self, bytes: &[u8]) -> u32 {
        status(&mut self.hop(bytes).await).await
    }

    /// The next stream on which the relay asks for a circuit to us, its request read.
    async fn stopped(&mut self) -> Stream {
        let (_, mut stream) = timeout(DEADLINE, self.stops.next()).await.unwrap().unwrap();
        message(&mut stream).await.unwrap();
        stream
    }

    /// A circuit from `self` to `to`, both ends raw.
    async fn circuit(&mut self, to: &mut Stranger) -> (Stream, Stream) {
        let mut source = self.hop(&connect(&to.id.to_bytes())).await;
        let mut destination = to.stopped().await;
        destination.write_all(STOP_OK).await.unwrap();
        destination.flush().await.unwrap();
        assert_eq!(status(&mut source).await, OK);
        (source, destination)
    }
}

/// A CONNECT to whoever has that id.
fn connect(id: &[u8]) -> Vec<u8> {
    let peer = [&[0x0a, id.len() as u8], id].concat();
    let body = [&[0x08, 1, 0x12, peer.len() as u8], peer.as_slice()].concat();
    [&[body.len() as u8], body.as_slice()].concat()
}

/// The next message's body.
async fn message(stream: &mut Stream) -> std::io::Result<Vec<u8>> {
    let (mut length, mut byte) = (0, [0x80]);
    for shift in [0, 7] {
        if byte[0] & 0x80 != 0 {
            stream.read_exact(&mut byte).await?;
            length |= usize::from(byte[0] & 0x7f) << shift;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    Ok(body)
}

async fn answer(stream: &mut Stream) -> std::io::Result<Answer> {
    let body = timeout(DEADLINE, message(stream)).await.expect("an answer or an end")?;
    Ok(Answer::decode(body.as_slice()).unwrap())
}

async fn status(stream: &mut Stream) -> u32 {
    let answer = answer(stream).await.unwrap();
    assert_eq!(answer.kind, 2);
    answer.status.unwrap()
}

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
async fn a_destination_that_does_not_answer_costs_a_place_only_until_it_fails() {
    let config = RelayServerConfig { max_circuits_per_destination: 1, ..RelayServerConfig::default() };
    let relay = relay(config).await;
    let mut events = relay.events();
    let (mut silent, mut source, mut other) =
        (Stranger::at(&relay).await, Stranger::at(&relay).await, Stranger::at(&relay).await);
    assert_eq!(silent.ask(RESERVE).await, OK);
    let to = connect(&silent.id.to_bytes());
    let mut waiting = source.hop(&to).await;
    let stop = silent.stopped().await;
    assert_eq!(other.ask(&to).await, RESOURCE_LIMIT_EXCEEDED, "what is being made counts too");
    drop(stop);
    assert_eq!(status(&mut waiting).await, CONNECTION_FAILED);
    let (_source, _destination) = other.circuit(&mut silent).await;
    let denied = |event: &NetworkEvent| matches!(event, NetworkEvent::RelayCircuitDenied { .. });
    let NetworkEvent::RelayCircuitDenied { source: by, destination, status, cause } = await_event(&mut events, denied).await
    else {
        panic!("denied")
    };
    assert_eq!((by, destination), (other.identity(), silent.identity()));
    assert_eq!(status, "ResourceLimitExceeded");
    assert!(cause.contains("max-circuits-per-destination"), "{cause}");
}

#[tokio::test]
async fn a_destination_that_leaves_is_an_answer_to_who_waits_for_it() {
    let relay = relay(RelayServerConfig::default()).await;
    let (mut silent, mut source) = (Stranger::at(&relay).await, Stranger::at(&relay).await);
    assert_eq!(silent.ask(RESERVE).await, OK);
    let to = connect(&silent.id.to_bytes());
    let mut waiting = source.hop(&to).await;
    let _stop = silent.stopped().await;
    let mut events = relay.events();
    drop(silent);
    assert_eq!(status(&mut waiting).await, CONNECTION_FAILED);
    await_event(&mut events, |event| matches!(event, NetworkEvent::RelayReservationEnded { .. })).await;
    assert_eq!(source.ask(&to).await, NO_RESERVATION);
}

#[tokio::test]
async fn a_circuit_passes_on_the_end_of_one_direction_and_its_bytes_are_told() {
    let relay = relay(RelayServerConfig::default()).await;
    let mut events = relay.events();
    let (mut source, mut destination) = (Stranger::at(&relay).await, Stranger::at(&relay).await);
    assert_eq!(destination.ask(RESERVE).await, OK);
    let (mut near, mut far) = source.circuit(&mut destination).await;
    near.write_all(b"question").await.unwrap();
    near.close().await.unwrap();
    let mut question = Vec::new();
    far.read_to_end(&mut question).await.unwrap();
    far.write_all(b"answer").await.unwrap();
    far.close().await.unwrap();
    let mut reply = Vec::new();
    near.read_to_end(&mut reply).await.unwrap();
    assert_eq!((question.as_slice(), reply.as_slice()), (&b"question"[..], &b"answer"[..]));
    assert_eq!(closed(&mut events).await, (8, 6, CircuitEnd::Closed));
}

/// Bytes each way of the next circuit that ends, and why it ends.
async fn closed(events: &mut tokio::sync::broadcast::Receiver<NetworkEvent>) -> (u64, u64, CircuitEnd) {
    match await_event(events, |event| matches!(event, NetworkEvent::RelayCircuitClosed { .. })).await {
        NetworkEvent::RelayCircuitClosed { from_source, from_destination, reason, .. } => (from_source, from_destination, reason),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_peer_is_asked_over_the_connection_on_which_it_reserved_last() {
    let relay = relay(RelayServerConfig::default()).await;
    let key = Keypair::generate_ed25519();
    let mut older = Stranger::with_key(key.clone(), &relay).await;
    let mut newer = Stranger::with_key(key, &relay).await;
    let mut source = Stranger::at(&relay).await;
    assert_eq!(newer.ask(RESERVE).await, OK);
    assert_eq!(older.ask(RESERVE).await, OK);
    assert_eq!(newer.ask(RESERVE).await, OK);
    source.circuit(&mut newer).await;
    // The other one still has the reservation when the newer is gone.
    let mut events = relay.events();
    drop(newer);
    await_event(&mut events, |event| matches!(event, NetworkEvent::Disconnected { .. })).await;
    source.circuit(&mut older).await;
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
