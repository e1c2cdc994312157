//! The TCP adapter over loopback, by behaviour.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use kaspath_domain::{
    DialError, DialRequest, Direction, DuplexStream, Path, PeerLocator, Route, StreamDialer, StreamListener, Transport,
    TransportAddress,
};
use kaspath_transport_tcp::{TcpConfig, TcpDialer, TcpTransportListener};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

const DEADLINE: Duration = Duration::from_secs(5);

async fn listen(config: TcpConfig) -> TcpTransportListener {
    TcpTransportListener::bind("127.0.0.1:0".parse().unwrap(), config).await.unwrap()
}

async fn dial(to: SocketAddr) -> Result<DuplexStream, DialError> {
    let request = DialRequest { peer: None, route: Route::Direct(TransportAddress::tcp(to)), timeout: DEADLINE };
    TcpDialer::new(TcpConfig::default()).dial(request).await
}

#[tokio::test]
async fn a_dialled_stream_carries_bytes_both_ways_and_says_how() {
    let listener = listen(TcpConfig::default()).await;
    let mut ours = dial(listener.local_addr()).await.unwrap();
    let mut theirs = timeout(DEADLINE, listener.accept()).await.unwrap().unwrap();

    ours.write_all(b"over").await.unwrap();
    theirs.write_all(b"and back").await.unwrap();
    let (mut there, mut back) = ([0; 4], [0; 8]);
    theirs.read_exact(&mut there).await.unwrap();
    ours.read_exact(&mut back).await.unwrap();

    assert_eq!((&there, &back), (b"over", b"and back"));
    assert_eq!((ours.counters().sent(), ours.counters().received()), (4, 8));
    assert_eq!(ours.path(), Path::Direct { transport: Transport::Tcp });
    assert_eq!((ours.info().direction, theirs.info().direction), (Direction::Outbound, Direction::Inbound));
    assert_eq!(ours.info().synthetic, listener.local_addr());
}

#[tokio::test]
async fn closing_one_end_is_seen_at_the_other() {
    let listener = listen(TcpConfig::default()).await;
    let ours = dial(listener.local_addr()).await.unwrap();
    let mut theirs = listener.accept().await.unwrap();
    drop(ours);
    assert_eq!(timeout(DEADLINE, theirs.read(&mut [0; 1])).await.unwrap().unwrap(), 0);
}

#[tokio::test]
async fn nobody_there_is_unreachable_and_names_the_address() {
    let listener = listen(TcpConfig::default()).await;
    let gone = listener.local_addr();
    drop(listener);
    let error = dial(gone).await.unwrap_err();
    assert!(matches!(&error, DialError::Unreachable { address, .. } if *address == gone.to_string()), "{error}");
}

#[tokio::test]
async fn routes_of_other_transports_are_refused() {
    let route = Route::Direct(TransportAddress::quic("127.0.0.1:1".parse().unwrap()));
    let dialer = TcpDialer::new(TcpConfig::default());
    let request = DialRequest { peer: None, route, timeout: DEADLINE };
    assert!(!dialer.supports(&request));
    assert!(matches!(dialer.dial(request).await, Err(DialError::Unsupported(_))));
}

/// The connections from these addresses that are within the limits, held; the last one is.
async fn within_limits(listener: &TcpTransportListener, from: &[[u8; 4]]) -> (Vec<DuplexStream>, Vec<TcpStream>) {
    let mut dialled = Vec::new();
    for ip in from {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((*ip, 0).into()).unwrap();
        dialled.push(socket.connect(listener.local_addr()).await.unwrap());
    }
    let last = dialled.last().unwrap().local_addr().unwrap();
    let mut accepted: Vec<DuplexStream> = Vec::new();
    while accepted.last().is_none_or(|stream| stream.info().synthetic != last) {
        accepted.push(timeout(DEADLINE, listener.accept()).await.expect("the last one is accepted").unwrap());
    }
    (accepted, dialled)
}

#[tokio::test]
async fn connections_over_the_share_of_their_address_or_network_are_closed_and_slots_come_back() {
    let limits = TcpConfig { max_inbound_per_ip: 2, max_inbound_per_prefix: 3, ..TcpConfig::default() };
    let listener = listen(limits).await;
    let (a, b, elsewhere) = ([127, 0, 1, 1], [127, 0, 1, 2], [127, 0, 2, 1]);
    let (accepted, mut dialled) = within_limits(&listener, &[a, a, a, b, b, elsewhere]).await;
    let from: Vec<IpAddr> = accepted.iter().map(|stream| stream.info().synthetic.ip()).collect();
    assert_eq!(from, [a, a, b, elsewhere].map(IpAddr::from));
    for over in [2, 4] {
        assert_eq!(timeout(DEADLINE, dialled[over].read(&mut [0; 1])).await.unwrap().unwrap_or(0), 0, "it is closed");
    }
    drop(accepted);
    let (again, _dialled) = within_limits(&listener, &[a, a, b]).await;
    assert_eq!(again.len(), 3);
}

#[tokio::test]
async fn a_full_listener_closes_what_comes_from_anywhere() {
    let listener = listen(TcpConfig { max_inbound: 1, ..TcpConfig::default() }).await;
    let (held, _dialled) = within_limits(&listener, &[[127, 0, 1, 1]]).await;
    let mut over = TcpStream::connect(listener.local_addr()).await.unwrap();
    let closed = async { over.read(&mut [0; 1]).await.unwrap_or(0) };
    tokio::select! {
        accepted = listener.accept() => panic!("{accepted:?}"),
        read = timeout(DEADLINE, closed) => assert_eq!(read.unwrap(), 0),
    }
    drop(held);
    within_limits(&listener, &[[127, 0, 1, 1]]).await;
}

#[tokio::test]
async fn a_full_dialer_says_so() {
    let listener = listen(TcpConfig::default()).await;
    let dialer = TcpDialer::new(TcpConfig { max_outbound: 1, ..TcpConfig::default() });
    let route = Route::Direct(TransportAddress::tcp(listener.local_addr()));
    let request = DialRequest { peer: None, route, timeout: DEADLINE };
    let _held = dialer.dial(request.clone()).await.unwrap();
    assert!(matches!(dialer.dial(request).await, Err(DialError::LimitReached { limit: 1, .. })));
}

#[tokio::test]
async fn a_dropped_listener_frees_its_port_and_its_streams_live_on() {
    let listener = listen(TcpConfig::default()).await;
    let address = listener.local_addr();
    let mut ours = dial(address).await.unwrap();
    let mut theirs = listener.accept().await.unwrap();
    drop(listener);
    TcpTransportListener::bind(address, TcpConfig::default()).await.expect("the port is free again");
    ours.write_all(b"x").await.unwrap();
    assert_eq!(theirs.read_u8().await.unwrap(), b'x');
}

#[tokio::test]
async fn a_taken_port_names_the_address() {
    let listener = listen(TcpConfig::default()).await;
    let error = TcpTransportListener::bind(listener.local_addr(), TcpConfig::default()).await.unwrap_err();
    assert!(error.to_string().contains(&listener.local_addr().to_string()), "{error}");
}

#[tokio::test]
async fn names_resolve() {
    let listener = listen(TcpConfig::default()).await;
    let locator: PeerLocator = format!("localhost:{}", listener.local_addr().port()).parse().unwrap();
    let kaspath_domain::PeerAddress::Direct(address) = locator.address else { panic!("direct") };
    let request = DialRequest { peer: None, route: Route::Direct(address), timeout: DEADLINE };
    TcpDialer::new(TcpConfig::default()).dial(request).await.unwrap();
}
