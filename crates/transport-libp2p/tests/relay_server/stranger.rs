//! A peer that speaks circuit relay v2 with a relay byte by byte.

use std::time::Duration;

use futures::{AsyncReadExt as _, AsyncWriteExt as _, StreamExt};
use kaspath_domain::PeerIdentity;
use kaspath_transport_libp2p::{CircuitEnd, Network, NetworkEvent};
use libp2p::{
    Multiaddr, PeerId, Stream, StreamProtocol, Swarm, SwarmBuilder,
    identity::Keypair,
    noise, relay,
    swarm::{NetworkBehaviour, SwarmEvent, dial_opts::DialOpts},
    tcp, yamux,
};
use prost::Message;
use tokio::{task::JoinHandle, time::timeout};

use crate::support::{DEADLINE, Events, await_event, relay_address};

const HOP: StreamProtocol = StreamProtocol::new("/libp2p/circuit/relay/0.2.0/hop");
const CONTROL: StreamProtocol = StreamProtocol::new("/kaspath/relay/1.0.0");
const STOP: StreamProtocol = StreamProtocol::new("/libp2p/circuit/relay/0.2.0/stop");

pub(crate) const RESERVE: &[u8] = &[2, 0x08, 0];
/// A stop message of type STATUS with status OK.
const STOP_OK: &[u8] = &[4, 0x08, 1, 0x20, 100];

pub(crate) const OK: u32 = 100;
pub(crate) const RESOURCE_LIMIT_EXCEEDED: u32 = 201;
pub(crate) const PERMISSION_DENIED: u32 = 202;
pub(crate) const CONNECTION_FAILED: u32 = 203;
pub(crate) const NO_RESERVATION: u32 = 204;
pub(crate) const MALFORMED_MESSAGE: u32 = 400;
pub(crate) const UNEXPECTED_MESSAGE: u32 = 401;

/// A hop message of type STATUS, as far as it is looked at here.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Answer {
    #[prost(uint32, required, tag = "1")]
    kind: u32,
    #[prost(message, optional, tag = "3")]
    pub(crate) reservation: Option<Reservation>,
    #[prost(uint32, optional, tag = "5")]
    status: Option<u32>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Reservation {
    #[prost(bytes = "vec", repeated, tag = "2")]
    pub(crate) addrs: Vec<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "3")]
    pub(crate) voucher: Option<Vec<u8>>,
}

#[derive(NetworkBehaviour)]
struct Raw {
    // First, so that STOP comes here: the client is there for its transport only.
    stream: libp2p_stream::Behaviour,
    relay_client: relay::client::Behaviour,
}

/// A peer that opens what streams it likes and writes what it likes on them.
pub(crate) struct Stranger {
    pub(crate) id: PeerId,
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
    pub(crate) async fn at(relay: &Network) -> Self {
        Self::with_key(Keypair::generate_ed25519(), relay).await
    }

    pub(crate) async fn with_key(key: Keypair, relay: &Network) -> Self {
        Self::connect(key, relay_address(relay).to_string().parse().unwrap(), relay).await
    }

    /// Connects to `relay` at that address, and to nobody else.
    pub(crate) async fn connect(key: Keypair, address: Multiaddr, relay: &Network) -> Self {
        Self::dial(key, address, relay.local_peer()).await
    }

    pub(crate) async fn dial(key: Keypair, address: Multiaddr, relay: &PeerIdentity) -> Self {
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
        let relay = PeerId::from_bytes(relay.as_bytes()).unwrap();
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

    pub(crate) fn identity(&self) -> PeerIdentity {
        PeerIdentity::from_bytes(&self.id.to_bytes()).unwrap()
    }

    /// A stream to the relay.
    pub(crate) async fn open(&mut self, protocol: StreamProtocol) -> Stream {
        timeout(DEADLINE, self.control.open_stream(self.relay, protocol)).await.unwrap().unwrap()
    }

    /// The streams that are opened here for that protocol.
    pub(crate) fn accept(&mut self, protocol: StreamProtocol) -> libp2p_stream::IncomingStreams {
        self.control.accept(protocol).unwrap()
    }

    /// A stream with these first bytes.
    pub(crate) async fn hop(&mut self, bytes: &[u8]) -> Stream {
        self.try_hop(bytes).await.unwrap()
    }

    /// Fails if the relay resets it.
    pub(crate) async fn try_hop(&mut self, bytes: &[u8]) -> std::io::Result<Stream> {
        let mut stream = self.open(HOP).await;
        stream.write_all(bytes).await?;
        stream.flush().await?;
        Ok(stream)
    }

    /// A stream of the relay protocol on which that was said first.
    pub(crate) async fn speak(&mut self, bytes: &[u8]) -> Stream {
        let mut stream = self.open(CONTROL).await;
        stream.write_all(bytes).await.unwrap();
        stream.flush().await.unwrap();
        stream
    }

    pub(crate) async fn is_served(&mut self) -> bool {
        match self.try_hop(RESERVE).await {
            Ok(mut stream) => answer(&mut stream).await.is_ok(),
            Err(_) => false,
        }
    }

    pub(crate) async fn ask(&mut self, bytes: &[u8]) -> u32 {
        status(&mut self.hop(bytes).await).await
    }

    /// The next stream on which the relay asks for a circuit to us, its request read.
    pub(crate) async fn stopped(&mut self) -> Stream {
        let (_, mut stream) = timeout(DEADLINE, self.stops.next()).await.unwrap().unwrap();
        message(&mut stream).await.unwrap();
        stream
    }

    /// A circuit from `self` to `to`, both ends raw.
    pub(crate) async fn circuit(&mut self, to: &mut Stranger) -> (Stream, Stream) {
        let mut source = self.hop(&connect(&to.id.to_bytes())).await;
        let mut destination = to.stopped().await;
        agree(&mut destination).await;
        assert_eq!(status(&mut source).await, OK);
        (source, destination)
    }
}

/// Takes the circuit that the relay asks for on that stream.
pub(crate) async fn agree(stop: &mut Stream) {
    stop.write_all(STOP_OK).await.unwrap();
    stop.flush().await.unwrap();
}

/// The next frame of the relay protocol, whole.
pub(crate) async fn frame(stream: &mut Stream) -> Vec<u8> {
    let mut frame = vec![0; 3];
    timeout(DEADLINE, stream.read_exact(&mut frame)).await.expect("a frame").unwrap();
    frame.resize(3 + usize::from(frame[2]), 0);
    timeout(DEADLINE, stream.read_exact(&mut frame[3..])).await.expect("its body").unwrap();
    frame
}

/// A CONNECT to whoever has that id.
pub(crate) fn connect(id: &[u8]) -> Vec<u8> {
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

pub(crate) async fn answer(stream: &mut Stream) -> std::io::Result<Answer> {
    let body = timeout(DEADLINE, message(stream)).await.expect("an answer or an end")?;
    Ok(Answer::decode(body.as_slice()).unwrap())
}

pub(crate) async fn status(stream: &mut Stream) -> u32 {
    let answer = answer(stream).await.unwrap();
    assert_eq!(answer.kind, 2);
    answer.status.unwrap()
}

/// Bytes each way of the next circuit that ends, and why it ends.
pub(crate) async fn closed(events: &mut Events) -> (u64, u64, CircuitEnd) {
    match await_event(events, |event| matches!(event, NetworkEvent::RelayCircuitClosed { .. })).await {
        NetworkEvent::RelayCircuitClosed { from_source, from_destination, reason, .. } => (from_source, from_destination, reason),
        other => panic!("{other:?}"),
    }
}
