//! What strangers try.

mod support;

use std::time::Duration;

use kaspath_domain::{ConnectorError, DuplexStream, Health};
use kaspath_session::{SessionEnd, SessionEvent};
use support::{DIRECT, Node, Wire, alone, pair, peer, relayed, soon};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::mpsc,
};

const UNKNOWN: [u8; 5] = [3, 0, 0, 1, 1];
const LIMITED: [u8; 5] = [3, 0, 0, 1, 3];

/// A hello as docs/session-protocol.md says.
fn hello(session: &[u8; 16], epoch: u32, flags: u8) -> Vec<u8> {
    hello_of(77, session, epoch, flags)
}

fn hello_of(boot: u64, session: &[u8; 16], epoch: u32, flags: u8) -> Vec<u8> {
    let boot = boot.to_be_bytes();
    [&[1, 0, 0, 45][..], session, &boot, &epoch.to_be_bytes(), &[0; 8], &[0xff; 8], &[flags]].concat()
}

/// The other end of a stream that `from` opened to the node.
async fn open(wire: &Wire, node: &Node, from: u8, first: &[u8]) -> DuplexStream {
    let (mut ours, theirs) = wire.stream(&peer(from), &peer(1), DIRECT, true);
    node.inbound.send(theirs).await.unwrap();
    ours.write_all(first).await.unwrap();
    ours
}

async fn answer(stream: &mut DuplexStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    soon(stream.read_to_end(&mut bytes)).await.unwrap();
    bytes
}

#[tokio::test]
async fn a_stranger_neither_attaches_to_anothers_session_nor_learns_of_it() {
    let wire = Wire::new(DIRECT, true);
    let (node, mut streams) = alone(&wire);
    let mut session = node.connect(2).await;
    session.write_all(b"secret").await.unwrap();
    let mut theirs = streams.recv().await.unwrap();
    let mut first = [0; 49];
    soon(theirs.read_exact(&mut first)).await.unwrap();
    let id: [u8; 16] = first[4..20].try_into().unwrap();
    // With and without a session of that id, and as its opener too.
    for (session, flags) in [(id, 0), ([9; 16], 0), (id, 1), ([9; 16], 1)] {
        let mut stranger = open(&wire, &node, 3, &hello(&session, 50, flags)).await;
        assert_eq!(answer(&mut stranger).await, UNKNOWN);
    }
    // The peer itself may.
    let mut ours = open(&wire, &node, 2, &hello(&id, 3, 0)).await;
    let mut accepted = [0; 4];
    soon(ours.read_exact(&mut accepted)).await.unwrap();
    assert_eq!(accepted, [2, 0, 0, 28]);
}

#[tokio::test]
async fn garbage_ends_the_stream_and_nothing_else() {
    let wire = Wire::new(DIRECT, true);
    let (ours, theirs) = pair(&wire);
    let mut session = theirs.connect(1).await;
    session.write_all(b"a").await.unwrap();
    let mut accepted = ours.accept().await;
    for garbage in [
        vec![0; 49],
        vec![0xff; 49],
        hello(&[1; 16], 1, 2),
        b"GET / HTTP/1.1\r\nHost: a-name-that-is-long-enough\r\n\r\n".to_vec(),
    ] {
        let mut stranger = open(&wire, &ours, 3, &garbage).await;
        assert!(answer(&mut stranger).await.is_empty());
    }
    assert_eq!(soon(accepted.read_u8()).await.unwrap(), b'a');
    accepted.write_all(b"b").await.unwrap();
    assert_eq!(soon(session.read_u8()).await.unwrap(), b'b');
}

#[tokio::test]
async fn a_peer_that_opens_sessions_without_end_takes_none_from_others() {
    let wire = Wire::new(DIRECT, true);
    let (ours, theirs) = pair(&wire);
    let mut kept = Vec::new();
    let mut refused = 0;
    for n in 0..60u8 {
        let mut stranger = open(&wire, &ours, 3, &hello(&[n; 16], 2, 3)).await;
        let mut kind = [0; 5];
        soon(stranger.read_exact(&mut kind)).await.unwrap();
        if kind == LIMITED { refused += 1 } else { kept.push((stranger, ours.accept().await)) }
    }
    assert_eq!((kept.len(), refused), (4, 56));
    let mut session = theirs.connect(1).await;
    session.write_all(b"a").await.unwrap();
    assert_eq!(soon(ours.accept().await.read_u8()).await.unwrap(), b'a');
}

#[tokio::test]
async fn streams_that_never_say_hello_are_bounded_by_peer() {
    let wire = Wire::new(DIRECT, true);
    let (ours, theirs) = pair(&wire);
    let mut silent = Vec::new();
    for _ in 0..100 {
        silent.push(open(&wire, &ours, 3, &[1]).await);
    }
    let mut session = theirs.connect(1).await;
    session.write_all(b"a").await.unwrap();
    assert_eq!(soon(ours.accept().await.read_u8()).await.unwrap(), b'a');
    let mut closed = 0;
    for stream in &mut silent[8..] {
        closed += usize::from(answer(stream).await.is_empty());
    }
    assert_eq!(closed, 92, "those beyond eight were dropped at once");
}

/// A hello that an earlier run of the peer's program sent, and that comes late, ends nothing.
#[tokio::test]
async fn a_late_hello_of_an_earlier_run_ends_no_session_and_one_of_a_later_run_does() {
    let wire = Wire::new(DIRECT, true);
    let (mut node, _streams) = alone(&wire);
    let mut ours = open(&wire, &node, 3, &hello(&[1; 16], 2, 3)).await;
    let mut session = node.accept().await;
    let mut accepted = [0; 32];
    soon(ours.read_exact(&mut accepted)).await.unwrap();
    let mut late = open(&wire, &node, 3, &hello_of(76, &[1; 16], 4, 1)).await;
    assert_eq!(answer(&mut late).await, UNKNOWN);
    let mut late = open(&wire, &node, 3, &hello_of(76, &[2; 16], 2, 3)).await;
    soon(late.read_exact(&mut accepted)).await.unwrap();
    assert_eq!(accepted[0], 2, "nor is a peer whose clock was set back kept out");
    session.write_all(b"a").await.unwrap();
    let mut data = [0; 13];
    soon(ours.read_exact(&mut data)).await.unwrap();
    assert_eq!((data[0], data[12]), (4, b'a'), "the session lives");
    let _later = open(&wire, &node, 3, &hello_of(78, &[3; 16], 2, 3)).await;
    for _ in 0..2 {
        let ended = node.event(|event| matches!(event, SessionEvent::Ended { .. })).await;
        assert!(matches!(ended, SessionEvent::Ended { end: SessionEnd::Restarted, .. }), "{ended:?}");
    }
    assert!(soon(session.read_u8()).await.is_err());
}

/// Four sessions that `peer(3)` opened, and its ends of their streams.
async fn four(wire: &Wire, node: &Node) -> (Vec<DuplexStream>, Vec<DuplexStream>) {
    let mut kept = Vec::new();
    for n in 0..4 {
        let stream = open(wire, node, 3, &hello(&[n; 16], 2, 3)).await;
        kept.push((stream, node.accept().await));
    }
    kept.into_iter().unzip()
}

/// However little of what was sent to its former sessions still goes through.
#[tokio::test(start_paused = true)]
async fn a_peer_that_restarted_begins_a_session_at_once_whatever_it_had() {
    let wire = Wire::new(DIRECT, true);
    let (node, _streams) = alone(&wire);
    let (_streams, mut sessions) = four(&wire, &node).await;
    wire.hold();
    for session in &mut sessions {
        session.write_all(&[7; 500_000]).await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    wire.release();
    let mut fifth = open(&wire, &node, 3, &hello_of(78, &[5; 16], 2, 3)).await;
    let mut accepted = [0; 4];
    soon(fifth.read_exact(&mut accepted)).await.unwrap();
    assert_eq!(accepted, [2, 0, 0, 28]);
    let _fifth = node.accept().await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(node.sessions.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_session_whose_next_path_has_come_does_not_give_way() {
    let wire = Wire::new(DIRECT, true);
    let (node, _streams) = alone(&wire);
    let (streams, mut sessions) = four(&wire, &node).await;
    drop(streams);
    tokio::time::sleep(Duration::from_secs(11)).await;
    // Both wait for the node at once.
    let mut next = open(&wire, &node, 3, &hello(&[0; 16], 4, 1)).await;
    let mut fifth = open(&wire, &node, 3, &hello(&[5; 16], 2, 3)).await;
    let _fifth = node.accept().await;
    let mut accepted = [0; 4];
    soon(fifth.read_exact(&mut accepted)).await.unwrap();
    soon(next.read_exact(&mut accepted)).await.unwrap();
    assert_eq!(accepted, [2, 0, 0, 28]);
    assert!(soon(sessions[1].read_u8()).await.is_err(), "it is another that has ended");
}

#[tokio::test(start_paused = true)]
async fn sessions_that_wait_for_a_path_give_way_to_a_new_one_of_their_peer() {
    let wire = Wire::new(DIRECT, true);
    let (node, _streams) = alone(&wire);
    let (streams, mut sessions) = four(&wire, &node).await;
    let mut fifth = open(&wire, &node, 3, &hello(&[5; 16], 2, 3)).await;
    assert_eq!(answer(&mut fifth).await, LIMITED, "all of them are in use");
    drop(streams);
    tokio::time::sleep(Duration::from_secs(5)).await;
    let mut fifth = open(&wire, &node, 3, &hello(&[5; 16], 2, 3)).await;
    assert_eq!(answer(&mut fifth).await, LIMITED, "their next paths may be under way");
    tokio::time::sleep(Duration::from_secs(6)).await;
    let mut fifth = open(&wire, &node, 3, &hello(&[5; 16], 2, 3)).await;
    let mut accepted = [0; 4];
    soon(fifth.read_exact(&mut accepted)).await.unwrap();
    assert_eq!(accepted, [2, 0, 0, 28]);
    let _fifth = node.accept().await;
    assert!(soon(sessions[0].read_u8()).await.is_err(), "the one that waited longest has ended");
    assert_eq!(node.sessions.len(), 4);
}

#[tokio::test]
async fn a_session_too_many_is_refused_by_its_cause_before_anything_is_dialled() {
    let wire = Wire::new(DIRECT, true);
    let (node, mut streams) = alone(&wire);
    let mut kept = Vec::new();
    for _ in 0..4 {
        kept.push((node.connect(2).await, streams.recv().await.unwrap()));
    }
    let error = node.try_connect(2).await.expect_err("a fifth session");
    assert_eq!(error, ConnectorError::SessionsOfPeer { limit: 4 });
    assert!(error.to_string().contains("wait until one of them has ended"), "{error}");
    assert!(streams.try_recv().is_err(), "no stream was opened for it");
}

/// Takes the node's hello, gives its session, and accepts it.
async fn accept(stream: &mut DuplexStream) -> [u8; 16] {
    let mut hello = [0; 49];
    soon(stream.read_exact(&mut hello)).await.unwrap();
    let boot = 77u64.to_be_bytes();
    let accept = [&[2, 0, 0, 28][..], &boot, &hello[28..32], &[0; 8], &[0xff; 8]].concat();
    stream.write_all(&accept).await.unwrap();
    hello[4..20].try_into().unwrap()
}

/// A node with a session that has begun, the stream that carries it, and those that follow.
async fn begun(wire: &Wire) -> (Node, DuplexStream, DuplexStream, mpsc::Receiver<DuplexStream>) {
    let (mut node, mut streams) = alone(wire);
    let session = node.connect(2).await;
    let mut first = streams.recv().await.unwrap();
    accept(&mut first).await;
    node.event(|event| matches!(event, SessionEvent::Began { .. })).await;
    (node, session, first, streams)
}

#[tokio::test]
async fn strangers_that_never_say_hello_do_not_keep_a_session_from_its_next_path() {
    let wire = Wire::new(DIRECT, true);
    let (node, mut streams) = alone(&wire);
    let _session = node.connect(2).await;
    let mut theirs = streams.recv().await.unwrap();
    let id = accept(&mut theirs).await;
    let mut silent = Vec::new();
    for n in 3..80 {
        for _ in 0..8 {
            silent.push(open(&wire, &node, n, &[1]).await);
        }
    }
    let mut again = open(&wire, &node, 2, &hello(&id, 51, 0)).await;
    let mut accepted = [0; 4];
    soon(again.read_exact(&mut accepted)).await.unwrap();
    assert_eq!(accepted, [2, 0, 0, 28]);
}

#[tokio::test(start_paused = true)]
async fn a_session_whose_first_path_ends_or_is_silent_before_the_answer_ends_too() {
    let wire = Wire::new(DIRECT, true);
    let (node, mut streams) = alone(&wire);
    for silent in [false, true] {
        let mut session = node.connect(2).await;
        let stream = streams.recv().await.unwrap();
        let kept = silent.then_some(stream);
        assert!(soon(session.read_u8()).await.is_err());
        drop(kept);
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_whose_first_path_ends_with_the_answer_is_dialled_for() {
    let wire = Wire::new(DIRECT, true);
    let (mut node, mut streams) = alone(&wire);
    let _session = node.connect(2).await;
    accept(&mut streams.recv().await.unwrap()).await;
    let lost = tokio::time::Instant::now();
    soon(streams.recv()).await.unwrap();
    assert!(lost.elapsed() <= Duration::from_secs(1), "{:?}", lost.elapsed());
    assert!(matches!(node.event(|_| true).await, SessionEvent::Began { .. }));
}

#[tokio::test(start_paused = true)]
async fn a_limit_on_moves_does_not_delay_the_next_path_of_a_session_without_one() {
    let wire = Wire::new(relayed(), true);
    *wire.move_wait.lock().unwrap() = Duration::from_secs(60);
    let (_node, _session, first, mut streams) = begun(&wire).await;
    // A direct path is up, and no move is allowed now.
    wire.path.send_replace(Some(DIRECT));
    tokio::time::sleep(Duration::from_secs(3)).await;
    drop(first);
    let lost = tokio::time::Instant::now();
    soon(streams.recv()).await.unwrap();
    assert!(lost.elapsed() <= Duration::from_secs(1), "{:?}", lost.elapsed());
}

#[tokio::test(start_paused = true)]
async fn each_path_without_an_answer_is_told_to_the_transport() {
    let wire = Wire::new(DIRECT, true);
    let (_node, mut session, _first, mut streams) = begun(&wire).await;
    session.write_all(b"a").await.unwrap();
    // The connection of the second path is as dead as that of the first.
    let _second = soon(streams.recv()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let told = wire.health.lock().unwrap().clone();
    assert!(told.contains(&(0, Health::Suspect)) && told.contains(&(1, Health::Suspect)), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn a_path_that_the_peer_ends_is_not_left_suspect() {
    let wire = Wire::new(DIRECT, true);
    let (_node, mut session, first, mut streams) = begun(&wire).await;
    session.write_all(b"a").await.unwrap();
    let _second = soon(streams.recv()).await.unwrap();
    drop(first);
    tokio::time::sleep(Duration::from_millis(100)).await;
    let told: Vec<_> = wire.health.lock().unwrap().iter().copied().filter(|(stream, _)| *stream == 0).collect();
    assert_eq!(told, [(0, Health::Suspect), (0, Health::Recovered), (0, Health::Left)]);
}

#[tokio::test(start_paused = true)]
async fn a_plain_stream_whose_peer_reads_nothing_ends_after_its_owner() {
    let (ours, theirs) = pair(&Wire::new(DIRECT, false));
    let mut session = ours.connect(2).await;
    session.write_all(b"a").await.unwrap();
    let _accepted = theirs.accept().await;
    session.write_all(&vec![7; 3 << 20]).await.unwrap();
    session.shutdown().await.unwrap();
    drop(session);
    tokio::time::sleep(Duration::from_secs(15)).await;
    assert!(ours.sessions.is_empty());
}
