//! Against ourselves and against libp2p's own QUIC transport, on loopback.

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use futures::{AsyncReadExt, AsyncWriteExt, future::poll_fn};
use libp2p::{
    Multiaddr, PeerId,
    core::{
        Endpoint,
        muxing::{StreamMuxerBox, StreamMuxerExt},
        transport::{Boxed, DialOpts, ListenerId, PortUse, Transport as _, TransportEvent},
    },
    identity::Keypair,
    multiaddr::Protocol,
    quic as stock,
};
use quinn::{AsyncUdpSocket, Runtime, TokioRuntime, UdpPoller, udp};
use tokio::{sync::mpsc, task::JoinHandle, time::timeout};

use super::{Config, Limits, Transport, address};

/// Longer than anything here takes; reached only by a failure.
const DEADLINE: Duration = Duration::from_secs(15);
const CLIENT: DialOpts = DialOpts { role: Endpoint::Dialer, port_use: PortUse::Reuse };
const PUNCH: DialOpts = DialOpts { role: Endpoint::Listener, port_use: PortUse::New };

type Any = Boxed<(PeerId, StreamMuxerBox)>;

/// Only who answers a Retry, or is expected, gets in.
fn no_unvalidated() -> Config {
    Config { limits: Limits { unvalidated: 0, ..Limits::default() }, ..Config::default() }
}

/// Nobody who was sent a Retry gets in.
fn no_validated() -> Config {
    Config { limits: Limits { validated: 0, ..Limits::default() }, ..Config::default() }
}

fn ours(config: Config) -> (PeerId, Any) {
    ours_as(&Keypair::generate_ed25519(), config)
}

fn ours_as(keypair: &Keypair, config: Config) -> (PeerId, Any) {
    let transport = Transport::new(keypair, config).unwrap();
    (keypair.public().to_peer_id(), transport.map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer))).boxed())
}

fn theirs() -> (PeerId, Any) {
    let keypair = Keypair::generate_ed25519();
    let transport = stock::tokio::Transport::new(stock::Config::new(&keypair));
    (keypair.public().to_peer_id(), transport.map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer))).boxed())
}

async fn next(transport: &mut Any) -> TransportEvent<<Any as libp2p::core::Transport>::ListenerUpgrade, io::Error> {
    timeout(DEADLINE, poll_fn(|cx| Pin::new(&mut *transport).poll(cx))).await.expect("an event")
}

async fn listen(transport: &mut Any, on: &str) -> Multiaddr {
    transport.listen_on(ListenerId::next(), on.parse().unwrap()).unwrap();
    match next(transport).await {
        TransportEvent::NewAddress { listen_addr, .. } => listen_addr,
        other => panic!("{other:?}"),
    }
}

/// Accepts in the background, and shows who has come.
fn serve(mut transport: Any) -> (mpsc::UnboundedReceiver<(PeerId, StreamMuxerBox)>, JoinHandle<()>) {
    let (sender, accepted) = mpsc::unbounded_channel();
    let task = tokio::spawn(async move {
        loop {
            if let TransportEvent::Incoming { upgrade, .. } = poll_fn(|cx| Pin::new(&mut transport).poll(cx)).await {
                let sender = sender.clone();
                tokio::spawn(async move {
                    if let Ok(connection) = upgrade.await {
                        let _ = sender.send(connection);
                    }
                });
            }
        }
    });
    (accepted, task)
}

async fn dial(transport: &mut Any, to: &Multiaddr, opts: DialOpts) -> io::Result<(PeerId, StreamMuxerBox)> {
    let dial = transport.dial(to.clone(), opts).map_err(io::Error::other)?;
    timeout(DEADLINE, dial).await.expect("a dial ends")
}

#[tokio::test]
async fn a_stock_client_answers_a_retry_and_an_idle_node_asks_for_none() {
    for config in [no_unvalidated(), no_validated()] {
        let (id, mut server) = ours(config);
        let address = listen(&mut server, "/ip4/127.0.0.1/udp/0/quic-v1").await;
        let (mut accepted, _task) = serve(server);
        let (client_id, mut client) = theirs();
        let (found, _connection) = dial(&mut client, &address, CLIENT).await.unwrap();
        assert_eq!(found, id);
        let (found, _connection) = timeout(DEADLINE, accepted.recv()).await.unwrap().unwrap();
        assert_eq!(found, client_id);
    }
}

#[tokio::test]
async fn our_client_answers_a_retry() {
    let (id, mut server) = ours(no_unvalidated());
    let address = listen(&mut server, "/ip6/::1/udp/0/quic-v1").await;
    let (_accepted, _task) = serve(server);
    let (_, mut client) = ours(Config::default());
    assert_eq!(dial(&mut client, &address, CLIENT).await.unwrap().0, id);
}

#[test]
fn a_connection_to_a_process_that_was_killed_is_reset_by_the_next() {
    let keypair = Keypair::generate_ed25519();
    let start = |on: &str| {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (address, accepted) = runtime.block_on(async {
            let (_, mut server) = ours_as(&keypair, Config::default());
            let address = listen(&mut server, on).await;
            (address, serve(server).0)
        });
        (runtime, address, accepted)
    };
    let (killed, address, mut accepted) = start("/ip4/127.0.0.1/udp/0/quic-v1");
    let clients = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (_transport, mut connection, inbound) = clients.block_on(async {
        let (_, mut client) = ours(Config::default());
        let (_, connection) = dial(&mut client, &address, CLIENT).await.unwrap();
        let inbound = timeout(DEADLINE, accepted.recv()).await.unwrap().unwrap();
        (client, connection, inbound)
    });
    // Nothing of it can send any more; the last handles free its port.
    drop(killed);
    drop((accepted, inbound));
    let (_next, _, _accepted) = start(&address.to_string());
    let error = clients.block_on(async {
        let mut stream = poll_fn(|cx| connection.poll_outbound_unpin(cx)).await.unwrap();
        stream.write_all(b"?").await.unwrap();
        stream.flush().await.unwrap();
        // Without a reset it would be the idle timeout, after the deadline.
        timeout(DEADLINE, stream.read(&mut [0])).await.expect("a reset").unwrap_err()
    });
    assert_eq!(error.to_string(), "connection lost");
}

async fn connected(mut server: Any, mut client: Any) -> [StreamMuxerBox; 2] {
    let address = listen(&mut server, "/ip4/127.0.0.1/udp/0/quic-v1").await;
    let (mut accepted, _task) = serve(server);
    let (_, outbound) = dial(&mut client, &address, CLIENT).await.unwrap();
    let (_, inbound) = timeout(DEADLINE, accepted.recv()).await.unwrap().unwrap();
    // The transports go; their connections live on.
    [outbound, inbound]
}

#[tokio::test]
async fn streams_end_as_with_the_stock_transport_whoever_dialled() {
    for swap in [false, true] {
        let ((_, ours), (_, theirs)) = (ours(Config::default()), theirs());
        let (server, client) = if swap { (ours, theirs) } else { (theirs, ours) };
        let [mut outbound, mut inbound] = connected(server, client).await;
        // Half close: the other direction still works.
        let mut near = poll_fn(|cx| outbound.poll_outbound_unpin(cx)).await.unwrap();
        near.write_all(b"question").await.unwrap();
        near.close().await.unwrap();
        near.close().await.unwrap();
        let mut far = timeout(DEADLINE, poll_fn(|cx| inbound.poll_inbound_unpin(cx))).await.unwrap().unwrap();
        let mut text = String::new();
        timeout(DEADLINE, far.read_to_string(&mut text)).await.unwrap().unwrap();
        assert_eq!(text, "question");
        far.write_all(b"answer").await.unwrap();
        drop(far);
        text.clear();
        timeout(DEADLINE, near.read_to_string(&mut text)).await.unwrap().unwrap();
        assert_eq!(text, "answer");

        // A dropped stream tells the writer to stop.
        let mut near = poll_fn(|cx| inbound.poll_outbound_unpin(cx)).await.unwrap();
        near.write_all(b"x").await.unwrap();
        let far = timeout(DEADLINE, poll_fn(|cx| outbound.poll_inbound_unpin(cx))).await.unwrap().unwrap();
        drop(far);
        let stopped = timeout(DEADLINE, async { while near.write_all(&[0; 1000]).await.is_ok() {} }).await;
        assert!(stopped.is_ok());

        // Closing the connection reaches the other side.
        timeout(DEADLINE, poll_fn(|cx| outbound.poll_close_unpin(cx))).await.unwrap().unwrap();
        let end = timeout(DEADLINE, poll_fn(|cx| inbound.poll_inbound_unpin(cx))).await.unwrap();
        assert!(end.is_err());
    }
}

#[tokio::test]
async fn a_wildcard_listener_reports_the_addresses_of_the_interfaces() {
    let (_, mut transport) = ours(Config::default());
    transport.listen_on(ListenerId::next(), "/ip4/0.0.0.0/udp/0/quic-v1".parse().unwrap()).unwrap();
    loop {
        let TransportEvent::NewAddress { listen_addr, .. } = next(&mut transport).await else { panic!("an address") };
        let (socket, _) = address::parse(&listen_addr).unwrap();
        assert!(socket.port() != 0 && !socket.ip().is_unspecified());
        if socket.ip().is_loopback() {
            break;
        }
    }
}

#[tokio::test]
async fn a_removed_listener_ends_and_its_port_is_free_again() {
    let (_, mut transport) = ours(Config::default());
    let id = ListenerId::next();
    transport.listen_on(id, "/ip4/127.0.0.1/udp/0/quic-v1".parse().unwrap()).unwrap();
    let TransportEvent::NewAddress { listen_addr, .. } = next(&mut transport).await else { panic!("an address") };
    assert!(transport.remove_listener(id));
    assert!(!transport.remove_listener(id));
    let end = next(&mut transport).await;
    assert!(matches!(end, TransportEvent::ListenerClosed { listener_id, reason: Ok(()) } if listener_id == id));
    // The next poll drops it, and its socket goes with the endpoint's task.
    let pending = poll_fn(|cx| Poll::Ready(Pin::new(&mut transport).poll(cx).is_pending())).await;
    assert!(pending);
    timeout(DEADLINE, async {
        while transport.listen_on(ListenerId::next(), listen_addr.clone()).is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("the port is free");
}

/// Both sides of a QUIC punch, on a node whose gate lets nobody else in.
#[tokio::test]
async fn a_punched_peer_comes_in_without_a_retry() {
    let limits = Limits { unvalidated: 0, validated: 0, ..Limits::default() };
    let (id, mut server) = ours(Config { limits, ..Config::default() });
    let server_address = listen(&mut server, "/ip4/127.0.0.1/udp/0/quic-v1").await;
    let (peer, mut client) = ours(Config::default());
    let client_address = listen(&mut client, "/ip4/127.0.0.1/udp/0/quic-v1").await;
    let punching = dial_in_background(&mut server, client_address.with(Protocol::P2p(peer)), PUNCH);
    let (_accepted, _task) = serve(server);
    assert_eq!(dial(&mut client, &server_address, CLIENT).await.unwrap().0, id);
    let (found, _connection) = timeout(DEADLINE, punching).await.unwrap().unwrap().unwrap();
    assert_eq!(found, peer);
}

fn dial_in_background(transport: &mut Any, to: Multiaddr, opts: DialOpts) -> JoinHandle<io::Result<(PeerId, StreamMuxerBox)>> {
    let dial = transport.dial(to, opts).unwrap();
    tokio::spawn(dial)
}

#[tokio::test]
async fn a_punch_is_for_the_peer_that_was_asked_for() {
    let (_, mut server) = ours(Config { handshake_timeout: Duration::from_secs(2), ..Config::default() });
    let server_address = listen(&mut server, "/ip4/127.0.0.1/udp/0/quic-v1").await;
    let (other, mut client) = ours(Config::default());
    let client_address = listen(&mut client, "/ip4/127.0.0.1/udp/0/quic-v1").await;
    // Without its id in the address, or without a listener of the family, there is no punch.
    assert!(server.dial(client_address.clone(), PUNCH).is_err());
    let six = "/ip6/::1/udp/9/quic-v1".parse::<Multiaddr>().unwrap().with(Protocol::P2p(other));
    assert!(server.dial(six, PUNCH).is_err());
    let punching = dial_in_background(&mut server, client_address.with(Protocol::P2p(PeerId::random())), PUNCH);
    let (_accepted, _task) = serve(server);
    let _connection = dial(&mut client, &server_address, CLIENT).await.unwrap();
    let error = timeout(DEADLINE, punching).await.unwrap().unwrap().unwrap_err();
    assert!(error.to_string().contains(&other.to_string()), "{error}");
}

/// A socket that falls silent once it has answered a Retry.
#[derive(Debug)]
struct Mute {
    inner: Arc<dyn AsyncUdpSocket>,
    silent: AtomicBool,
}

/// Whether an Initial bears a token (RFC 9000, section 17.2.2).
fn bears_token(packet: &[u8]) -> bool {
    let source_id = 6 + usize::from(packet[5]);
    packet[source_id + 1 + usize::from(packet[source_id])] != 0
}

impl AsyncUdpSocket for Mute {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        self.inner.clone().create_io_poller()
    }

    fn try_send(&self, transmit: &udp::Transmit<'_>) -> io::Result<()> {
        if self.silent.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.inner.try_send(transmit)?;
        self.silent.store(bears_token(transmit.contents), Ordering::Relaxed);
        Ok(())
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [io::IoSliceMut<'_>],
        meta: &mut [udp::RecvMeta],
    ) -> Poll<io::Result<usize>> {
        self.inner.poll_recv(cx, buffers, meta)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }
}

/// Begins a handshake, answers the Retry and says no more.
async fn stall(from: &str, to: SocketAddr) -> (quinn::Endpoint, quinn::Connecting) {
    let socket = UdpSocket::bind((from, 0)).unwrap();
    let socket = Arc::new(Mute { inner: TokioRuntime.wrap_udp_socket(socket).unwrap(), silent: AtomicBool::new(false) });
    let endpoint =
        quinn::Endpoint::new_with_abstract_socket(quinn::EndpointConfig::default(), None, socket.clone(), Arc::new(TokioRuntime))
            .unwrap();
    let client = Config::default().quinn(&Keypair::generate_ed25519()).unwrap().client;
    let connecting = endpoint.connect_with(client, to, "stalls").unwrap();
    timeout(DEADLINE, async {
        while !socket.silent.load(Ordering::Relaxed) {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("the Retry is answered");
    (endpoint, connecting)
}

#[tokio::test]
async fn one_address_with_stalled_handshakes_keeps_no_other_out() {
    // One slot more than an address may have.
    let limits = Limits { unvalidated: 0, validated: 3, per_ip: 2, ..Limits::default() };
    let (id, mut server) = ours(Config { limits, handshake_timeout: 2 * DEADLINE, ..Config::default() });
    let address = listen(&mut server, "/ip4/127.0.0.1/udp/0/quic-v1").await;
    let (_accepted, _task) = serve(server);
    let (to, _) = address::parse(&address).unwrap();
    let mut stalled = Vec::new();
    for _ in 0..8 {
        stalled.push(stall("127.9.9.9", to).await);
    }
    let (_, mut client) = ours(Config::default());
    assert_eq!(dial(&mut client, &address, CLIENT).await.unwrap().0, id);
}
