//! Streams that come to nothing.

mod support;

use std::{net::SocketAddr, time::Duration};

use futures::{AsyncReadExt as _, AsyncWriteExt as _, future::poll_fn};
use kaspath_domain::{DialError, PeerAddress, Route, StreamListener};
use kaspath_transport_libp2p::{Network, NetworkConfig, NetworkEvent, RelayServerConfig};
use libp2p::{
    Multiaddr, Transport as _,
    core::{
        Endpoint,
        muxing::{StreamMuxerBox, StreamMuxerExt as _, SubstreamBox},
        transport::{DialOpts, PortUse},
        upgrade::Version,
    },
    identity::Keypair,
    noise, tcp, yamux,
};
use support::{DEADLINE, await_event, config, dial, start};
use tokio::{
    io::{AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpSocket},
    time::timeout,
};

/// Makes connections to `to` come from 127.0.0.2: where to connect instead.
async fn from_another_address(to: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
            let mut far = socket.connect(to).await.unwrap();
            tokio::spawn(async move { copy_bidirectional(&mut near, &mut far).await });
        }
    });
    address
}

/// A connection from 127.0.0.2 whose streams nobody negotiates.
async fn raw_connection(to: &Network) -> StreamMuxerBox {
    let mut transport = tcp::tokio::Transport::new(tcp::Config::default())
        .upgrade(Version::V1Lazy)
        .authenticate(noise::Config::new(&Keypair::generate_ed25519()).unwrap())
        .multiplex(yamux::Config::default())
        .boxed();
    let PeerAddress::Direct(address) = &to.listening()[0].address else { panic!("direct") };
    let proxy = from_another_address(address.socket_addr().unwrap()).await;
    let address: Multiaddr = format!("/ip4/127.0.0.1/tcp/{}", proxy.port()).parse().unwrap();
    let opts = DialOpts { role: Endpoint::Dialer, port_use: PortUse::New };
    let (_, muxer) = timeout(DEADLINE, transport.dial(address, opts).unwrap()).await.unwrap().unwrap();
    StreamMuxerBox::new(muxer)
}

async fn open(muxer: &mut StreamMuxerBox) -> SubstreamBox {
    let opening = poll_fn(|cx| {
        let _ = muxer.poll_unpin(cx);
        muxer.poll_outbound_unpin(cx)
    });
    let mut stream = timeout(DEADLINE, opening).await.unwrap().unwrap();
    // The stream exists for the other side when something is sent.
    stream.write_all(b"\x13/multistream/1.0.0\n").await.unwrap();
    stream.flush().await.unwrap();
    stream
}

/// Whether the other side resets the stream; it greets one that it takes.
async fn is_reset(muxer: &mut StreamMuxerBox, stream: &mut SubstreamBox) -> bool {
    let mut greeting = [0; 20];
    let reading = stream.read_exact(&mut greeting);
    tokio::pin!(reading);
    let done = poll_fn(|cx| {
        let _ = muxer.poll_unpin(cx);
        reading.as_mut().poll(cx)
    });
    timeout(DEADLINE, done).await.expect("a greeting or a reset").is_err()
}

fn direct(to: &Network) -> Route {
    let PeerAddress::Direct(address) = to.listening()[0].address.clone() else { panic!("direct") };
    Route::Direct(address)
}

#[tokio::test]
async fn streams_that_are_never_negotiated_do_not_keep_others_out() {
    let node = start(config()).await;
    let (mut connections, mut taken, mut reset) = (Vec::new(), Vec::new(), 0);
    for _ in 0..3 {
        let mut connection = raw_connection(&node).await;
        for _ in 0..32 {
            let mut stream = open(&mut connection).await;
            if is_reset(&mut connection, &mut stream).await {
                reset += 1;
            } else {
                taken.push(stream);
            }
        }
        connections.push(connection);
    }
    assert!(taken.len() <= 56, "one address has a share of its own: {} streams were taken", taken.len());
    assert_eq!(taken.len() + reset, 96);
    // Another address is served as ever.
    let honest = start(config()).await;
    let mut stream = dial(&honest, &node, direct(&node)).await.unwrap();
    stream.write_all(b"hello").await.unwrap();
    timeout(DEADLINE, node.listener().accept()).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_node_without_protocols_refuses_streams() {
    let relay =
        start(NetworkConfig { relay_server: Some(RelayServerConfig::default()), protocols: Vec::new(), ..config() }).await;
    let node = start(config()).await;
    let error = dial(&node, &relay, direct(&relay)).await.unwrap_err();
    assert!(matches!(error, DialError::ProtocolUnsupported { .. }), "{error}");
}

#[tokio::test]
async fn a_stream_that_nobody_accepts_is_refused_in_time() {
    let node = start(NetworkConfig { inbound_queue: 1, accept_timeout: Duration::from_millis(50), ..config() }).await;
    let mut events = node.events();
    let peer = start(config()).await;
    let mut streams = Vec::new();
    for _ in 0..3 {
        let mut stream = dial(&peer, &node, direct(&node)).await.unwrap();
        stream.write_all(b"hello").await.unwrap();
        streams.push(stream);
    }
    await_event(&mut events, |event| matches!(event, NetworkEvent::StreamsRefused { .. })).await;
    // What was in the queue is still there.
    timeout(DEADLINE, node.listener().accept()).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_stream_that_was_refused_keeps_no_place_from_others() {
    let node = start(NetworkConfig { inbound_queue: 1, accept_timeout: Duration::from_millis(50), ..config() }).await;
    let mut events = node.events();
    let refused = start(config()).await;
    let mut streams = Vec::new();
    for _ in 0..2 {
        let mut stream = dial(&refused, &node, direct(&node)).await.unwrap();
        stream.write_all(b"hello").await.unwrap();
        streams.push(stream);
    }
    await_event(&mut events, |event| matches!(event, NetworkEvent::StreamsRefused { .. })).await;
    // The place that becomes free here is for whoever comes next.
    timeout(DEADLINE, node.listener().accept()).await.unwrap().unwrap();
    let other = start(config()).await;
    let mut stream = dial(&other, &node, direct(&node)).await.unwrap();
    stream.write_all(b"hello").await.unwrap();
    timeout(DEADLINE, node.listener().accept()).await.unwrap().unwrap();
}
