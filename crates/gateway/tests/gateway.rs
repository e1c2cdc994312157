//! The gateway between streams in memory and a stand-in for kaspad that notes
//! who connects. A real kaspad is in the lab.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use async_trait::async_trait;
use kaspath_domain::{
    DialRequest, DuplexStream, PeerIdentity, Route, StreamDialer, Timestamp, TransportAddress,
    memory::{FixedPolicy, MemoryDialer, memory_network},
};
use kaspath_gateway::{AddressTable, GatewayEvent, Reach, Sessions, serve_inbound, serve_outbound};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::timeout,
};

const DEADLINE: Duration = Duration::from_secs(5);

fn peer(n: u8) -> PeerIdentity {
    PeerIdentity::from_bytes(&[0, 1, n]).unwrap()
}

async fn dial(dialer: &MemoryDialer) -> DuplexStream {
    let route = Route::Direct(TransportAddress::tcp(([192, 0, 2, 1], 1).into()));
    dialer.dial(DialRequest { peer: Some(peer(1)), route, deadline: DEADLINE }).await.unwrap()
}

type Events = mpsc::UnboundedReceiver<GatewayEvent>;

fn reporter() -> (impl Fn(GatewayEvent) + Clone + Send + Sync + 'static, Events) {
    let (sender, events) = mpsc::unbounded_channel();
    (
        move |event| {
            let _ = sender.send(event);
        },
        events,
    )
}

async fn event(events: &mut Events) -> GatewayEvent {
    timeout(DEADLINE, events.recv()).await.expect("an event").unwrap()
}

fn inbound(caller: u8, kaspad: SocketAddr, table: &Arc<AddressTable>) -> (MemoryDialer, Events) {
    let (dialer, listener) = memory_network(peer(caller));
    let (report, events) = reporter();
    let (table, sessions) = (table.clone(), Sessions::new(peer(1)));
    let policy = Arc::new(FixedPolicy::default());
    tokio::spawn(
        async move { serve_inbound(Arc::new(listener), kaspad, table, sessions, policy, Timestamp::default, report).await },
    );
    (dialer, events)
}

#[tokio::test]
async fn each_peer_reaches_kaspad_from_its_own_stable_address() {
    let kaspad = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = kaspad.local_addr().unwrap();
    let table = Arc::new(AddressTable::in_memory());
    let mut seen = Vec::new();
    for caller in [2, 3, 2] {
        let (dialer, mut events) = inbound(caller, address, &table);
        let mut stream = dial(&dialer).await;
        let (mut connection, from) = timeout(DEADLINE, kaspad.accept()).await.unwrap().unwrap();
        stream.write_all(b"ping").await.unwrap();
        connection.write_all(b"pong").await.unwrap();
        let (mut there, mut back) = ([0; 4], [0; 4]);
        connection.read_exact(&mut there).await.unwrap();
        stream.read_exact(&mut back).await.unwrap();
        assert_eq!((&there, &back), (b"ping", b"pong"));
        seen.push(from.ip());
        assert!(matches!(event(&mut events).await, GatewayEvent::GatewayOpened { .. }));

        drop(stream);
        assert_eq!(timeout(DEADLINE, connection.read(&mut [0])).await.unwrap().unwrap(), 0, "the close goes through");
        drop(connection);
        let closed = event(&mut events).await;
        assert!(matches!(closed, GatewayEvent::GatewayClosed { to_kaspad: 4, to_peer: 4, .. }), "{closed:?}");
    }
    assert_eq!(seen[0], seen[2]);
    assert_ne!(seen[0], seen[1]);
}

#[tokio::test]
async fn a_kaspad_that_is_not_there_is_told_and_the_gateway_lives_on() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let (dialer, mut events) = inbound(2, gone, &Arc::new(AddressTable::in_memory()));
    for _ in 0..2 {
        let mut stream = dial(&dialer).await;
        let refused = event(&mut events).await;
        assert!(
            matches!(&refused, GatewayEvent::GatewayRefused { cause, .. } if cause.contains("is it running?")),
            "{refused:?}"
        );
        assert_eq!(timeout(DEADLINE, stream.read(&mut [0])).await.unwrap().unwrap(), 0, "the peer's stream is closed");
    }
}

struct ByMemory(PeerIdentity, MemoryDialer);

#[async_trait]
impl Reach for ByMemory {
    fn peer(&self) -> &PeerIdentity {
        &self.0
    }

    async fn reach(&self) -> Result<DuplexStream, String> {
        Ok(dial(&self.1).await)
    }
}

#[tokio::test]
async fn kaspad_reaches_a_peer_by_dialling_its_address() {
    let (dialer, listener) = memory_network(peer(1));
    let table = Arc::new(AddressTable::in_memory());
    let expected = table.address(&peer(2)).unwrap();
    let (report, mut events) = reporter();
    let (listening, mut at) = mpsc::unbounded_channel();
    let port = std::net::TcpListener::bind((expected, 0)).unwrap().local_addr().unwrap().port();
    let reach = Arc::new(ByMemory(peer(2), dialer));
    tokio::spawn(serve_outbound(reach, port, table, Sessions::new(peer(1)), move |local| listening.send(local).unwrap(), report));
    let local = timeout(DEADLINE, at.recv()).await.unwrap().unwrap();
    assert_eq!(local.ip(), expected);

    let mut kaspad = TcpStream::connect(local).await.unwrap();
    let mut remote = timeout(DEADLINE, kaspath_domain::StreamListener::accept(&listener)).await.unwrap().unwrap();
    kaspad.write_all(b"version").await.unwrap();
    let mut buffer = [0; 7];
    remote.read_exact(&mut buffer).await.unwrap();
    assert_eq!(&buffer, b"version");
    assert!(matches!(event(&mut events).await, GatewayEvent::GatewayOpened { .. }));
    drop(remote);
    assert_eq!(
        timeout(DEADLINE, kaspad.read(&mut [0])).await.unwrap().unwrap(),
        0,
        "a remote that goes takes kaspad's connection with it"
    );
}
