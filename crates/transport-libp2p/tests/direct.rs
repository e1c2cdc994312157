//! Direct connections: a dial yields a stream, and every failure its own error.

mod support;

use std::{sync::Arc, time::Duration};

use kaspath_domain::{
    DialError, DialRequest, Direction, ListenError, Path, Route, StreamDialer, StreamListener, Transport, TransportAddress,
};
use kaspath_transport_libp2p::{Network, NetworkConfig, NodeKey, StartError};
use support::{DEADLINE, config, dial, locator, route, start};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    task::JoinSet,
    time::timeout,
};

#[tokio::test]
async fn a_dial_yields_a_stream_over_each_transport() {
    for transport in [Transport::Tcp, Transport::Quic] {
        let (ours, theirs) = (start(config()).await, start(config()).await);
        let mut out = dial(&ours, &theirs, route(&theirs, transport)).await.unwrap();
        out.write_all(b"hello").await.unwrap();
        let mut inward = timeout(DEADLINE, theirs.listener().accept()).await.unwrap().unwrap();
        let mut buffer = [0; 5];
        inward.read_exact(&mut buffer).await.unwrap();
        assert_eq!(&buffer, b"hello");
        for (stream, direction, peer) in [(&out, Direction::Outbound, &theirs), (&inward, Direction::Inbound, &ours)] {
            assert_eq!(stream.path(), Path::Direct { transport });
            assert_eq!(stream.info().direction, direction);
            assert_eq!(stream.info().peer.as_ref(), Some(peer.local_peer()));
        }
        assert_eq!((out.counters().sent(), inward.counters().received()), (5, 5));
    }
}

#[tokio::test]
async fn forty_streams_at_once_all_arrive_though_nobody_accepts_yet() {
    const STREAMS: usize = 40;
    let ours = Arc::new(start(config()).await);
    let theirs = Arc::new(start(NetworkConfig { inbound_queue: 4, ..config() }).await);
    let mut dials = JoinSet::new();
    for n in 0..STREAMS {
        let (ours, theirs) = (ours.clone(), theirs.clone());
        dials.spawn(async move {
            let mut stream = dial(&ours, &theirs, route(&theirs, Transport::Tcp)).await.unwrap();
            stream.write_all(&[n as u8]).await.unwrap();
            stream
        });
    }
    // All are open before the first is accepted; the queue of four backs up into the connection.
    let _open: Vec<_> = timeout(DEADLINE, dials.join_all()).await.unwrap();
    let mut arrived = Vec::new();
    let mut kept = Vec::new();
    for _ in 0..STREAMS {
        let mut stream = timeout(DEADLINE, theirs.listener().accept()).await.unwrap().unwrap();
        arrived.push(timeout(DEADLINE, stream.read_u8()).await.unwrap().unwrap());
        kept.push(stream);
    }
    arrived.sort_unstable();
    assert_eq!(arrived, (0..STREAMS as u8).collect::<Vec<_>>());
}

#[tokio::test]
async fn another_peer_at_the_address_is_named() {
    let (ours, theirs) = (start(config()).await, start(config()).await);
    let expected = NodeKey::generate().identity();
    for transport in [Transport::Tcp, Transport::Quic] {
        let request = DialRequest { peer: Some(expected.clone()), route: route(&theirs, transport), timeout: DEADLINE };
        let error = ours.dialer().dial(request).await.unwrap_err();
        assert_eq!(error, DialError::WrongPeer { expected: expected.clone(), found: theirs.local_peer().clone() });
    }
}

#[tokio::test]
async fn nobody_at_the_address_is_unreachable() {
    let ours = start(config()).await;
    let gone = TransportAddress::tcp("127.0.0.1:9".parse().unwrap());
    let request = DialRequest { peer: Some(NodeKey::generate().identity()), route: Route::Direct(gone), timeout: DEADLINE };
    let error = ours.dialer().dial(request).await.unwrap_err();
    assert!(matches!(&error, DialError::Unreachable { address, .. } if address.contains("/tcp/9")), "{error}");
}

#[tokio::test]
async fn a_silent_address_ends_at_the_deadline() {
    let ours = start(config()).await;
    // Bound and listening, but nobody accepts, so no handshake comes.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = TransportAddress::tcp(silent.local_addr().unwrap());
    let deadline = Duration::from_millis(300);
    let request = DialRequest { peer: Some(NodeKey::generate().identity()), route: Route::Direct(address), timeout: deadline };
    let error = timeout(DEADLINE, ours.dialer().dial(request)).await.unwrap().unwrap_err();
    assert!(matches!(error, DialError::Timeout { .. }), "{error}");
}

#[tokio::test]
async fn a_peer_id_is_asked_for() {
    let ours = start(config()).await;
    let route = Route::Direct(TransportAddress::tcp("127.0.0.1:9".parse().unwrap()));
    let error = ours.dialer().dial(DialRequest { peer: None, route, timeout: DEADLINE }).await.unwrap_err();
    assert!(error.to_string().contains("append /p2p/"), "{error}");
}

#[tokio::test]
async fn a_taken_port_is_a_start_error_that_names_it() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = locator(&format!("/ip4/127.0.0.1/tcp/{}", taken.local_addr().unwrap().port()));
    let started = Network::start(NodeKey::generate(), NetworkConfig { listen: vec![address.clone()], ..config() }).await;
    assert!(matches!(started, Err(StartError::Listen { address: named, .. }) if named == address));
}

#[test]
fn shutdown_takes_less_than_a_second_and_leaves_no_task() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let (ours, theirs) = (start(config()).await, start(config()).await);
        let _out = dial(&ours, &theirs, route(&theirs, Transport::Tcp)).await.unwrap();
        let _in = theirs.listener().accept().await.unwrap();
        for node in [&ours, &theirs] {
            timeout(Duration::from_secs(1), node.shutdown()).await.expect("within a second");
        }
        assert!(matches!(theirs.listener().accept().await, Err(ListenError::Closed)));
        let route = route(&theirs, Transport::Tcp);
        assert_eq!(dial(&ours, &theirs, route).await.unwrap_err(), DialError::ShuttingDown);
    });
    let metrics = runtime.metrics();
    runtime.block_on(async {
        timeout(DEADLINE, async {
            while metrics.num_alive_tasks() > 0 {
                tokio::task::yield_now().await;
            }
        })
        .await
        .unwrap_or_else(|_| panic!("{} tasks live on", metrics.num_alive_tasks()));
    });
}

#[tokio::test]
async fn peers_without_a_common_stream_protocol_get_no_stream() {
    let speaking = |name: &str| NetworkConfig { protocols: vec![name.to_owned()], ..config() };
    let (ours, theirs) = (start(speaking("/test/simnet")).await, start(speaking("/test/mainnet")).await);
    let error = dial(&ours, &theirs, route(&theirs, Transport::Tcp)).await.unwrap_err();
    let expected = DialError::ProtocolUnsupported { peer: theirs.local_peer().clone(), protocol: "/test/simnet".to_owned() };
    assert_eq!(error, expected);

    let bad = Network::start(NodeKey::generate(), speaking("no slash")).await;
    assert!(matches!(bad, Err(StartError::Protocol(name)) if name == "no slash"));
}
