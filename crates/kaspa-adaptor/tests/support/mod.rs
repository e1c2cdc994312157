//! Light peers joined in memory, and a listener on loopback.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

use std::{future::poll_fn, io::Write, sync::Arc, time::Duration};

use async_trait::async_trait;
use kaspath_domain::{
    ConnectInfo, DialRequest, Direction, DuplexStream, ListenError, Path, PathWatch, PeerAddress, PeerIdentity, PeerLocator,
    RelayAddress, Route, StreamDialer, StreamListener, Transport, TransportAddress,
    memory::{AdmitAll, MemoryDialer, memory_network},
};
use kaspath_kaspa_adaptor::{
    KaspaEvent, KaspaNetwork, KaspaNode, NodeConfig, connector,
    pb::{
        AddressesMessage, KaspadMessage, NetAddress, ReadyMessage, SubnetworkId, TransactionMessage, VerackMessage,
        VersionMessage, kaspad_message::Payload,
    },
};
use prost::{
    Message,
    bytes::{Buf, BufMut, Bytes},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinHandle,
    time::timeout,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Request, Status, Streaming,
    client::Grpc,
    codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder},
    codegen::http::{self, uri::PathAndQuery},
    transport::{Channel, Endpoint},
};

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
    tokio::spawn(async move { node.serve(listener, Arc::new(AdmitAll)).await });
}

pub fn direct() -> Route {
    Route::Direct(TransportAddress::tcp(([192, 0, 2, 1], 1).into()))
}

pub fn relayed() -> Route {
    Route::Relayed(RelayAddress { relay: identity(RELAY), via: TransportAddress::tcp(([192, 0, 2, 9], 1).into()) })
}

pub async fn stream(dialer: &MemoryDialer, route: Route) -> DuplexStream {
    dialer.dial(DialRequest { peer: Some(identity(SERVER)), route, timeout: DEADLINE }).await.unwrap()
}

pub type Events = mpsc::UnboundedReceiver<KaspaEvent>;

/// What happens at the node from now on.
pub fn events(node: &KaspaNode) -> Events {
    let (sender, events) = mpsc::unbounded_channel();
    node.observe(Arc::new(move |event: &KaspaEvent| drop(sender.send(event.clone()))));
    events
}

pub async fn await_event(events: &mut Events, wanted: impl Fn(&KaspaEvent) -> bool) -> KaspaEvent {
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

pub fn loopback(stream: TcpStream, direction: Direction) -> DuplexStream {
    let remote = stream.peer_addr().unwrap();
    let locator = PeerLocator { peer: None, address: PeerAddress::Direct(TransportAddress::tcp(remote)) };
    let info = ConnectInfo { peer: None, direction, remote: locator, synthetic: remote };
    DuplexStream::new(stream, info, PathWatch::fixed(Path::Direct { transport: Transport::Tcp }))
}

#[async_trait]
impl StreamListener for Loopback {
    async fn accept(&self) -> Result<DuplexStream, ListenError> {
        let (stream, _) = self.0.accept().await.map_err(|_| ListenError::Closed)?;
        Ok(loopback(stream, Direction::Inbound))
    }
}

/// Bytes as they are, where tonic expects messages: for peers that break rules.
#[derive(Clone, Copy, Debug, Default)]
pub struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Raw;
    type Decoder = Raw;

    fn encoder(&mut self) -> Raw {
        Raw
    }

    fn decoder(&mut self) -> Raw {
        Raw
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        into.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining()).to_vec()))
    }
}

/// A message stream whose messages are bytes, compressed with gzip.
pub struct RawPeer {
    pub send: mpsc::Sender<Vec<u8>>,
    pub receive: Streaming<Vec<u8>>,
    /// Dropping it would end the connection.
    pub channel: Channel,
}

impl RawPeer {
    pub async fn open(stream: DuplexStream) -> Result<Self, Status> {
        let endpoint = Endpoint::from_static("http://test.invalid");
        let channel = endpoint.connect_with_connector(connector(stream)).await.map_err(|e| Status::unavailable(e.to_string()))?;
        let (send, queued) = mpsc::channel(16);
        let mut client = Grpc::new(channel.clone()).send_compressed(gzip()).accept_compressed(gzip());
        client.ready().await.map_err(|e| Status::unavailable(e.to_string()))?;
        let path = PathAndQuery::from_static("/protowire.P2P/MessageStream");
        let response = client.streaming(Request::new(ReceiverStream::new(queued)), path, Raw).await?;
        Ok(Self { send, receive: response.into_inner(), channel })
    }

    /// Says what a handshake needs from its side, without waiting.
    pub async fn shake_hands(&self, id: u8, user_agent: &str) {
        for message in handshake(id, user_agent) {
            self.say(message).await;
        }
    }

    /// Sends bytes; a server that has ended the session may refuse them.
    pub async fn say(&self, bytes: Vec<u8>) {
        let _ = self.send.send(bytes).await;
    }

    /// Reads until the server ends the session.
    pub async fn until_ended(mut self) {
        while let Ok(Some(_)) = self.receive.message().await {}
    }
}

pub fn gzip() -> CompressionEncoding {
    CompressionEncoding::Gzip
}

pub fn encoded(payload: Payload) -> Vec<u8> {
    KaspadMessage { response_id: 0, request_id: 0, payload: Some(payload) }.encode_to_vec()
}

/// The encoding of an Addresses message of so many bytes, all of empty entries.
pub fn empty_addresses(bytes: usize) -> Vec<u8> {
    encoded(Payload::Addresses(AddressesMessage { address_list: vec![NetAddress::default(); bytes / 2] }))
}

/// A message stream by hand, down to HTTP/2's DATA frames.
pub struct Bare {
    pub send: h2::SendStream<Bytes>,
    pub response: h2::client::ResponseFuture,
    pings: h2::PingPong,
    /// Ends when the connection does.
    pub connection: JoinHandle<()>,
}

impl Bare {
    pub async fn open(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Self {
        let (client, mut connection) = h2::client::handshake(stream).await.unwrap();
        let pings = connection.ping_pong().unwrap();
        let connection = tokio::spawn(async move { drop(connection.await) });
        let mut client = client.ready().await.unwrap();
        let request = http::Request::post("http://test.invalid/protowire.P2P/MessageStream")
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("grpc-encoding", "gzip");
        let (response, send) = client.send_request(request.body(()).unwrap(), false).unwrap();
        Self { send, response, pings, connection }
    }

    /// Sends bytes as the window allows; a server that has ended the session takes none.
    pub async fn say(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            self.send.reserve_capacity(bytes.len());
            let Some(Ok(window)) = poll_fn(|cx| self.send.poll_capacity(cx)).await else { return };
            let (now, later) = bytes.split_at(window.min(bytes.len()));
            if self.send.send_data(Bytes::copy_from_slice(now), false).is_err() {
                return;
            }
            bytes = later;
        }
    }

    /// Returns when the other end has received all that was sent, or is gone.
    pub async fn is_received(&mut self) {
        let _ = self.pings.ping(h2::Ping::opaque()).await;
    }

    pub async fn shake_hands(&mut self, id: u8, user_agent: &str) {
        for message in handshake(id, user_agent) {
            self.say(&[&[0][..], &(message.len() as u32).to_be_bytes(), &message].concat()).await;
        }
    }
}

pub fn gzipped(plain: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

/// A compressed gRPC message.
pub fn frame(compressed: &[u8]) -> Vec<u8> {
    [&[1][..], &(compressed.len() as u32).to_be_bytes(), compressed].concat()
}

/// What a handshake needs of the peer's side.
pub fn handshake(id: u8, user_agent: &str) -> [Vec<u8>; 3] {
    let version = VersionMessage {
        protocol_version: 10,
        id: vec![id; 16],
        user_agent: user_agent.into(),
        network: "kaspa-simnet".into(),
        ..Default::default()
    };
    [Payload::Version(version), Payload::Verack(VerackMessage {}), Payload::Ready(ReadyMessage {})].map(encoded)
}
