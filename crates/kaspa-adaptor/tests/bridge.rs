//! HTTP/2 over domain streams, both ways, and what hostile or strange peers meet.

mod support;

use std::{sync::Arc, time::Duration};

use futures::StreamExt;
use kaspath_domain::{DuplexStream, StreamListener, memory::memory_network};
use kaspath_kaspa_adaptor::{
    CloseReason, ConnectError, HandshakeError, KaspaEvent, KaspaNetwork, KaspaNode, NodeConfig, StreamInfo, connector, incoming,
    pb::{
        BlockHeader, BlockMessage, Hash, KaspadMessage, ReadyMessage, RequestRelayBlocksMessage, TransactionMessage,
        VerackMessage, VersionMessage, kaspad_message::Payload, p2p_client::P2pClient, p2p_server::P2p, p2p_server::P2pServer,
    },
};
use support::{CLIENT, DEADLINE, Events, await_event, direct, events, identity, node, serve, stream, transaction};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::mpsc,
    task::JoinSet,
    time::timeout,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Request, Response, Status, Streaming,
    transport::{Channel, Endpoint, Server},
};

/// Echoes messages, and refuses requests without the extension it is there for.
struct Echo;

#[tonic::async_trait]
impl P2p for Echo {
    type MessageStreamStream = std::pin::Pin<Box<dyn futures::Stream<Item = Result<KaspadMessage, Status>> + Send>>;

    async fn message_stream(
        &self,
        request: Request<Streaming<KaspadMessage>>,
    ) -> Result<Response<Self::MessageStreamStream>, Status> {
        let info = request.extensions().get::<StreamInfo>().ok_or_else(|| Status::internal("no stream info"))?;
        assert_eq!(info.info.peer, Some(identity(CLIENT)));
        assert!(!info.path.current().is_relayed());
        Ok(Response::new(request.into_inner().boxed()))
    }
}

async fn channel(stream: DuplexStream) -> Channel {
    Endpoint::from_static("http://test.invalid").connect_with_connector(connector(stream)).await.unwrap()
}

fn message(payload: Payload) -> KaspadMessage {
    KaspadMessage { response_id: 0, request_id: 0, payload: Some(payload) }
}

#[tokio::test]
async fn any_tonic_service_is_served_and_called_over_domain_streams_forty_at_once() {
    const STREAMS: usize = 40;
    let (dialer, listener) = memory_network(identity(CLIENT));
    let listener: Arc<dyn StreamListener> = Arc::new(listener);
    tokio::spawn(Server::builder().add_service(P2pServer::new(Echo)).serve_with_incoming(incoming(listener)));
    let mut calls = JoinSet::new();
    for n in 0..STREAMS as u64 {
        let stream = stream(&dialer, direct()).await;
        calls.spawn(async move {
            let sent = message(Payload::Transaction(transaction(n)));
            let request = tokio_stream::once(sent.clone());
            let mut echoed = P2pClient::new(channel(stream).await).message_stream(request).await.unwrap().into_inner();
            assert_eq!(echoed.message().await.unwrap(), Some(sent));
        });
    }
    timeout(DEADLINE, calls.join_all()).await.unwrap();
}

#[tokio::test]
async fn a_peer_that_speaks_something_else_is_told_apart() {
    let (dialer, listener) = memory_network(identity(CLIENT));
    let speaks = tokio::spawn(async move {
        let mut other = listener.accept().await.unwrap();
        other.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        let mut rest = Vec::new();
        let _ = other.read_to_end(&mut rest).await;
    });
    let error =
        timeout(DEADLINE, node(KaspaNetwork::Simnet).connect(stream(&dialer, direct()).await)).await.unwrap().unwrap_err();
    assert!(matches!(error, ConnectError::NotHttp2(_)), "{error}");
    timeout(DEADLINE, speaks).await.expect("the stream was cut").unwrap();
}

#[tokio::test]
async fn a_server_of_other_services_is_told_apart() {
    let (dialer, listener) = memory_network(identity(CLIENT));
    let listener: Arc<dyn StreamListener> = Arc::new(listener);
    let nothing = Server::builder().add_routes(tonic::service::Routes::default());
    tokio::spawn(nothing.serve_with_incoming(incoming(listener)));
    let error = node(KaspaNetwork::Simnet).connect(stream(&dialer, direct()).await).await.unwrap_err();
    assert!(matches!(error, ConnectError::NotKaspa(_)), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_never_answers_ends_at_the_deadline() {
    let (dialer, listener) = memory_network(identity(CLIENT));
    let held = stream(&dialer, direct()).await;
    let _silent = listener.accept().await.unwrap();
    let error = node(KaspaNetwork::Simnet).connect(held).await.unwrap_err();
    assert!(matches!(error, ConnectError::Timeout(_)), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_asks_for_nothing_is_cut() {
    let server = node(KaspaNetwork::Simnet);
    let mut silent = stream(&serve(&server, CLIENT), direct()).await;
    // The server's own preface comes first; then the end.
    let mut received = Vec::new();
    timeout(Duration::from_secs(60), silent.read_to_end(&mut received)).await.expect("the stream was cut").unwrap();
}

/// A hand-driven peer that has reached Ready with the node.
struct Raw {
    send: mpsc::Sender<KaspadMessage>,
    receive: Streaming<KaspadMessage>,
}

impl Raw {
    async fn open(stream: DuplexStream) -> Self {
        let (send, queued) = mpsc::channel(16);
        let mut client = P2pClient::new(channel(stream).await).max_decoding_message_size(256 << 20).accept_compressed(gzip());
        let receive = client.message_stream(ReceiverStream::new(queued)).await.unwrap().into_inner();
        Self { send, receive }
    }

    fn version(network: &str, protocol_version: u32) -> VersionMessage {
        VersionMessage {
            protocol_version,
            services: 0,
            timestamp: 0,
            address: None,
            id: vec![7; 16],
            user_agent: "/raw:1/".into(),
            disable_relay_tx: false,
            subnetwork_id: None,
            network: network.into(),
        }
    }

    async fn shake_hands(stream: DuplexStream) -> Self {
        let raw = Self::open(stream).await;
        raw.say(Payload::Version(Self::version("kaspa-simnet", 10))).await;
        raw.say(Payload::Verack(VerackMessage {})).await;
        raw.say(Payload::Ready(ReadyMessage {})).await;
        raw
    }

    async fn say(&self, payload: Payload) {
        self.send.send(message(payload)).await.unwrap();
    }

    /// Reads until a Reject comes.
    async fn rejected(mut self) -> String {
        timeout(DEADLINE, async {
            loop {
                if let Some(Payload::Reject(reject)) = self.receive.message().await.unwrap().expect("no Reject").payload {
                    return reject.reason;
                }
            }
        })
        .await
        .unwrap()
    }
}

fn gzip() -> tonic::codec::CompressionEncoding {
    tonic::codec::CompressionEncoding::Gzip
}

async fn ready_raw(server: &KaspaNode) -> (Raw, Events) {
    let mut events = events(server);
    let raw = Raw::shake_hands(stream(&serve(server, CLIENT), direct()).await).await;
    await_event(&mut events, |event| matches!(event, KaspaEvent::PeerReady { .. })).await;
    (raw, events)
}

async fn left(events: &mut Events) -> CloseReason {
    match await_event(events, |event| matches!(event, KaspaEvent::PeerLeft { .. })).await {
        KaspaEvent::PeerLeft { reason, .. } => reason,
        _ => unreachable!(),
    }
}

#[tokio::test]
async fn a_version_of_another_network_or_too_old_is_rejected_with_the_reason() {
    let server = node(KaspaNetwork::Simnet);
    for (network, version, reason) in [("kaspa-mainnet", 10, "kaspa-mainnet"), ("kaspa-simnet", 9, "version 9")] {
        let raw = Raw::open(stream(&serve(&server, CLIENT), direct()).await).await;
        raw.say(Payload::Version(Raw::version(network, version))).await;
        raw.say(Payload::Verack(VerackMessage {})).await;
        let told = raw.rejected().await;
        assert!(told.contains(reason), "{told}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_sends_no_version_is_given_up_in_time() {
    let server = node(KaspaNetwork::Simnet);
    let mut events = events(&server);
    let raw = Raw::open(stream(&serve(&server, CLIENT), direct()).await).await;
    let failed = await_event(&mut events, |event| matches!(event, KaspaEvent::HandshakeFailed { .. })).await;
    let expected = HandshakeError::Timeout { what: "Verack", after: Duration::from_secs(4) }.to_string();
    assert!(matches!(&failed, KaspaEvent::HandshakeFailed { cause, .. } if *cause == expected), "{failed:?}");
    drop(raw);
}

#[tokio::test]
async fn a_message_over_the_limit_ends_the_session_and_says_so() {
    let server = KaspaNode::new(NodeConfig { max_message: 1 << 16, ..NodeConfig::new(KaspaNetwork::Simnet) });
    let (raw, mut events) = ready_raw(&server).await;
    let huge = TransactionMessage { payload: vec![0; 1 << 17], ..transaction(1) };
    raw.say(Payload::Transaction(huge)).await;
    assert!(matches!(left(&mut events).await, CloseReason::MessageTooLarge { .. }));
}

#[tokio::test]
async fn protocol_breaches_end_the_session_and_say_which() {
    let breaches = [
        (Payload::Version(Raw::version("kaspa-simnet", 10)), "Version out of turn"),
        (Payload::Addresses(Default::default()), "asked for"),
        (
            Payload::RequestRelayBlocks(RequestRelayBlocksMessage { hashes: vec![Hash { bytes: vec![1; 32] }] }),
            "a block that we lack",
        ),
        (Payload::RequestRelayBlocks(RequestRelayBlocksMessage { hashes: vec![Hash { bytes: vec![1; 3] }] }), "32 bytes"),
    ];
    for (breach, expected) in breaches {
        let server = node(KaspaNetwork::Simnet);
        let (raw, mut events) = ready_raw(&server).await;
        // The first Addresses is the answer to the node's own request.
        if matches!(breach, Payload::Addresses(_)) {
            raw.say(breach.clone()).await;
        }
        raw.say(breach).await;
        let reason = left(&mut events).await;
        assert!(matches!(&reason, CloseReason::Protocol(what) if what.contains(expected)), "{reason}");
    }
}

#[tokio::test]
async fn a_message_without_payload_ends_the_session() {
    let server = node(KaspaNetwork::Simnet);
    let (raw, mut events) = ready_raw(&server).await;
    raw.send.send(KaspadMessage::default()).await.unwrap();
    assert_eq!(left(&mut events).await, CloseReason::Protocol("a message without payload".into()));
}

#[tokio::test]
async fn kinds_that_a_light_peer_does_not_serve_are_drained() {
    let server = node(KaspaNetwork::Simnet);
    let (raw, mut events) = ready_raw(&server).await;
    raw.say(Payload::RequestPruningPointProof(Default::default())).await;
    raw.say(Payload::Ping(kaspath_kaspa_adaptor::pb::PingMessage { nonce: 9 })).await;
    await_event(&mut events, |event| matches!(event, KaspaEvent::PongSent { .. })).await;
    assert!(!server.hub().peers()[0].router().is_closed());
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_stops_reading_loses_its_session() {
    let server = KaspaNode::new(NodeConfig { outgoing_queue: 2, ..NodeConfig::new(KaspaNetwork::Simnet) });
    let hash = server.announce_block(large_block()).expect("a valid block");
    let (raw, mut events) = ready_raw(&server).await;
    let hash = Hash { bytes: (0..32).map(|i| u8::from_str_radix(&hash[2 * i..2 * i + 2], 16).unwrap()).collect() };
    raw.say(Payload::RequestRelayBlocks(RequestRelayBlocksMessage { hashes: vec![hash; 64] })).await;
    let reason = match timeout(Duration::from_secs(300), async { left_after(&mut events).await }).await {
        Ok(reason) => reason,
        Err(_) => panic!("the session goes on though nobody reads"),
    };
    assert!(matches!(reason, CloseReason::SlowReader(_)), "{reason}");
    drop(raw);
}

/// Like [`left`], with virtual time to spare.
async fn left_after(events: &mut Events) -> CloseReason {
    loop {
        if let KaspaEvent::PeerLeft { reason, .. } = events.recv().await.unwrap() {
            return reason;
        }
    }
}

/// A megabyte that does not compress.
fn large_block() -> BlockMessage {
    let mut state = 1_u64;
    let mut noise = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as u8
    };
    let payload = (0..900_000).map(|_| noise()).collect();
    let zero = || Some(Hash { bytes: vec![0; 32] });
    let header = BlockHeader {
        version: 1,
        parents: vec![],
        hash_merkle_root: zero(),
        accepted_id_merkle_root: zero(),
        utxo_commitment: zero(),
        timestamp: 0,
        bits: 0,
        nonce: 0,
        daa_score: 0,
        blue_work: vec![],
        pruning_point: zero(),
        blue_score: 0,
    };
    BlockMessage { header: Some(header), transactions: vec![TransactionMessage { payload, ..transaction(1) }] }
}
