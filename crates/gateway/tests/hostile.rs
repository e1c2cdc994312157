//! What a peer that a gateway calls may answer, and what becomes of it.

mod support;

use std::{sync::Arc, time::Duration};

use kaspath_domain::{ConnectorError, PeerBook, PeerTarget, StreamListener, memory::memory_network, ports::MockPeerConnector};
use kaspath_gateway::{CloseReason, GatewayEvent, RefusalReason};
use support::{Call, DEADLINE, Desk, by_memory, peer};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf, split},
    net::{TcpListener, TcpStream},
    time::{advance, pause, resume, timeout},
};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A header field that no table has, of a name of one byte.
fn field(value: usize) -> Vec<u8> {
    assert!((127..16_000).contains(&value));
    let (low, high) = ((value - 127) % 128, (value - 127) / 128);
    let length = [0x7f, 0x80 | u8::try_from(low).unwrap(), u8::try_from(high).unwrap()];
    [&[0, 1, b'x'], &length[..], &vec![b'v'; value]].concat()
}

fn status(code: &[u8; 3]) -> Vec<u8> {
    [&[8, 3], &code[..]].concat()
}

/// An answer as kaspad gives it.
fn answer() -> Vec<u8> {
    let kind = [&[0x5f, 16], &b"application/grpc"[..]].concat();
    frame(HEADERS, END_HEADERS, 1, &[status(b"200"), kind].concat())
}

/// A session with peer 2 whose stream is at hand, and the connection into kaspad.
struct Called {
    desk: Desk,
    from: ReadHalf<kaspath_domain::DuplexStream>,
    to: WriteHalf<kaspath_domain::DuplexStream>,
    kaspad: TcpStream,
    _kept: kaspath_domain::memory::MemoryListener,
}

async fn called() -> Called {
    let kaspad = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut desk = Desk::new(kaspad.local_addr().unwrap());
    let (dialer, listener) = memory_network(peer(1));
    desk.keep(by_memory(peer(2), dialer));
    let stream = timeout(DEADLINE, listener.accept()).await.unwrap().unwrap();
    let (connection, _) = timeout(DEADLINE, kaspad.accept()).await.unwrap().unwrap();
    let (mut from, mut to) = split(stream);
    // The call has begun: HTTP/2's preface is there.
    timeout(DEADLINE, from.read_exact(&mut [0; 24])).await.unwrap().unwrap();
    to.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
    Called { desk, from, to, kaspad: connection, _kept: listener }
}

/// Sends for as long as it is taken, and reads whatever comes.
fn exchange(from: ReadHalf<kaspath_domain::DuplexStream>, mut to: WriteHalf<kaspath_domain::DuplexStream>, bytes: Vec<u8>) {
    let mut from = from;
    tokio::spawn(async move {
        let sending = async {
            let _ = to.write_all(&bytes).await;
            // It does not end its side.
            std::future::pending::<()>().await;
        };
        let reading = async {
            let mut read = [0; 4096];
            while from.read(&mut read).await.is_ok_and(|read| read > 0) {}
        };
        tokio::select! {
            () = sending => {}
            () = reading => {}
        }
    });
}

/// Why there is no session, or no more.
async fn told(desk: &mut Desk) -> (RefusalReason, String) {
    let is_end = |event: &GatewayEvent| matches!(event, GatewayEvent::GatewayRefused { .. } | GatewayEvent::GatewayClosed { .. });
    match desk.wait(is_end).await {
        GatewayEvent::GatewayRefused { reason, cause, .. } => (reason, cause),
        GatewayEvent::GatewayClosed { reason, cause, .. } => {
            assert_eq!(reason, CloseReason::Closed);
            (RefusalReason::PeerUnreachable, cause.unwrap_or_default())
        }
        _ => unreachable!(),
    }
}

#[tokio::test]
async fn an_answer_that_is_none_is_refused_with_its_cause_and_kaspad_is_not_called() {
    let goaway = frame(GOAWAY, 0, 0, &[0, 0, 0, 0, 0, 0, 0, 11]);
    let push = frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2, 0x82, 0x86, 0x84]);
    let endless = [frame(HEADERS, 0, 1, &status(b"200")), frame(CONTINUATION, 0, 1, &field(1_000)).repeat(300)].concat();
    for (what, bytes, cause) in [
        ("HTTP/1.1", b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n".to_vec(), "frame"),
        ("settings", frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 255, 255]).repeat(10_000), "65536 bytes and no answer"),
        ("pings", frame(PING, 0, 0, &[0; 8]).repeat(10_000), "65536 bytes and no answer"),
        ("informational answers", frame(HEADERS, END_HEADERS, 1, &status(b"103")).repeat(10_000), "65536 bytes and no answer"),
        ("a pushed answer", push, "protocol"),
        ("large headers", frame(HEADERS, END_HEADERS, 1, &[status(b"200"), field(8 << 10)].concat()), ""),
        ("headers without end", endless, ""),
        ("an end at once", goaway, "excessive load"),
        ("a reset", frame(RST_STREAM, 0, 1, &[0, 0, 0, 7]), "refused"),
        ("another status", frame(HEADERS, END_HEADERS, 1, &status(b"404")), "HTTP status 404"),
        ("data before headers", frame(DATA, 0, 1, &[0; 5]), "protocol"),
        ("an empty window update", frame(WINDOW_UPDATE, 0, 0, &[0; 4]), "protocol"),
        ("a window beyond all", frame(WINDOW_UPDATE, 0, 0, &[127, 255, 255, 255]), "flow-control"),
        ("a frame beyond the limit", [0x02, 0, 0, DATA, 0, 0, 0, 0, 1].to_vec(), "size"),
    ] {
        let Called { mut desk, from, to, mut kaspad, _kept } = called().await;
        exchange(from, to, bytes);
        let (reason, told) = told(&mut desk).await;
        assert_eq!(reason, RefusalReason::PeerUnreachable, "{what}: {told}");
        assert!(told.starts_with("the peer's kaspad: ") && told.contains(cause), "{what}: {told}");
        let mut seen = Vec::new();
        timeout(DEADLINE, kaspad.read_to_end(&mut seen)).await.unwrap().unwrap();
        assert!(seen.is_empty(), "{what}: kaspad was called");
    }
}

#[tokio::test]
async fn silence_in_place_of_an_answer_ends_after_ten_seconds() {
    let Called { mut desk, mut from, to: _to, mut kaspad, _kept } = called().await;
    pause();
    advance(Duration::from_secs(10)).await;
    resume();
    assert_eq!(told(&mut desk).await, (RefusalReason::PeerUnreachable, "the peer's kaspad: it has not answered in 10 s".into()));
    let mut rest = Vec::new();
    timeout(DEADLINE, from.read_to_end(&mut rest)).await.unwrap().unwrap();
    assert_eq!(timeout(DEADLINE, kaspad.read(&mut [0])).await.unwrap().unwrap(), 0);
}

#[tokio::test]
async fn what_breaks_the_protocol_after_the_answer_ends_the_session_and_kaspads_call() {
    for (what, bytes, cause) in [
        ("more than the window", frame(DATA, 0, 1, &vec![0; 16 << 10]).repeat(100), "flow-control"),
        ("many small frames", frame(DATA, 0, 1, &[0]).repeat(10_000), "excessive load"),
        ("many empty frames", frame(DATA, 0, 1, &[]).repeat(1_000), "excessive load"),
        ("a reset", frame(RST_STREAM, 0, 1, &[0, 0, 0, 2]), "unexpected internal error"),
        ("an end of the connection", frame(GOAWAY, 0, 0, &[0, 0, 0, 0, 0, 0, 0, 1]), "protocol"),
        ("a window beyond all", frame(WINDOW_UPDATE, 0, 1, &[127, 255, 255, 255]), "flow-control"),
        ("junk", vec![0xff; 100_000], "size"),
    ] {
        let Called { mut desk, from, mut to, kaspad, _kept } = called().await;
        to.write_all(&answer()).await.unwrap();
        // It takes nothing, so that all waits in our windows.
        let mut narrow = h2::server::Builder::new();
        narrow.initial_window_size(1_000);
        let mut ours = Call::answered_with(kaspad, &narrow, "application/grpc").await;
        desk.wait(|event| matches!(event, GatewayEvent::GatewayOpened { .. })).await;
        exchange(from, to, bytes);
        let (_, told) = told(&mut desk).await;
        assert!(told.starts_with("the peer's kaspad: ") && told.contains(cause), "{what}: {told}");
        while let Ok(Some(_)) = ours.received().await {}
        assert_eq!(desk.gateway().sessions().len(), 0, "{what}");
    }
}

#[tokio::test]
async fn a_peer_that_does_not_end_its_call_holds_no_place_when_kaspad_has_ended() {
    let Called { mut desk, from, mut to, kaspad, _kept } = called().await;
    to.write_all(&answer()).await.unwrap();
    let mut ours = Call::answered(kaspad).await;
    desk.wait(|event| matches!(event, GatewayEvent::GatewayOpened { .. })).await;
    exchange(from, to, frame(PING, 0, 0, &[0; 8]).repeat(10));
    ours.end("0", "");
    assert_eq!(desk.closed().await, (peer(2), CloseReason::Closed));
    assert_eq!(desk.gateway().sessions().len(), 0);
}

#[tokio::test]
async fn a_kaspad_that_answers_nothing_is_told_as_such_and_the_peer_is_let_go() {
    let Called { mut desk, mut from, mut to, kaspad, _kept } = called().await;
    to.write_all(&answer()).await.unwrap();
    let mut read = [0; 24];
    let mut kaspad = kaspad;
    timeout(DEADLINE, kaspad.read_exact(&mut read)).await.unwrap().unwrap();
    pause();
    advance(Duration::from_secs(10)).await;
    resume();
    assert_eq!(told(&mut desk).await, (RefusalReason::KaspadUnreachable, "kaspad: it has not answered in 10 s".into()));
    let mut rest = Vec::new();
    timeout(DEADLINE, from.read_to_end(&mut rest)).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_told_peer_that_never_answers_gets_no_place_in_the_book() {
    let kaspad = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let desk = Desk::new(kaspad.local_addr().unwrap());
    // Circuits of a relay that tells of peers and carries to none of them.
    let mut nobody = MockPeerConnector::new();
    nobody.expect_connect().returning(|_| Err(ConnectorError::AllFailed(Vec::new())));
    let nobody = Arc::new(nobody);
    for n in 2..=100 {
        let target = PeerTarget { peer: Some(peer(n)), ..PeerTarget::default() };
        assert!(desk.gateway().reach(target, nobody.clone(), || ()).await.is_err());
    }
    assert_eq!(desk.book.recent(1_000), []);
}

#[tokio::test]
async fn a_told_peer_is_let_go_where_kaspad_is_not_there() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let desk = Desk::new(gone);
    let (dialer, _listener) = memory_network(peer(1));
    let target = PeerTarget { peer: Some(peer(2)), ..PeerTarget::default() };
    let connector = by_memory(peer(2), dialer);
    let ended = desk.gateway().reach(target, connector.clone(), || ());
    let cause = timeout(DEADLINE, ended).await.unwrap().unwrap_err();
    assert!(cause.contains("is it running?"), "{cause}");
    assert_eq!(connector.dials(), 1);
}
