//! Sessions over streams that end.

mod support;

use std::time::Duration;

use kaspath_domain::{ConnectorError, DuplexStream, Health, Path, PathWatch, RelayReason};
use kaspath_session::{MoveKind, SessionEnd, SessionEvent};
use support::{DIRECT, Node, Wire, pair, peer, relayed, restarted, soon};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{Instant, timeout},
};

/// A session that has begun, as both sides have it.
async fn begun(ours: &mut Node, theirs: &Node) -> (DuplexStream, DuplexStream) {
    let mut session = ours.connect(2).await;
    session.write_all(b"a").await.unwrap();
    let mut accepted = theirs.accept().await;
    soon(accepted.read_u8()).await.unwrap();
    ours.event(|event| matches!(event, SessionEvent::Began { .. })).await;
    (session, accepted)
}

#[tokio::test]
async fn bytes_written_before_the_peer_answers_arrive_and_so_does_the_answer() {
    let (mut ours, mut theirs) = pair(&Wire::new(DIRECT, true));
    let mut session = ours.connect(2).await;
    session.write_all(b"hello").await.unwrap();
    let mut accepted = theirs.accept().await;
    assert_eq!((accepted.info().peer.clone(), accepted.path()), (Some(peer(1)), DIRECT));
    let mut bytes = [0; 5];
    soon(accepted.read_exact(&mut bytes)).await.unwrap();
    accepted.write_all(b"world").await.unwrap();
    soon(session.read_exact(&mut bytes)).await.unwrap();
    assert_eq!(&bytes, b"world");
    session.shutdown().await.unwrap();
    accepted.shutdown().await.unwrap();
    let mut rest = Vec::new();
    soon(session.read_to_end(&mut rest)).await.unwrap();
    soon(accepted.read_to_end(&mut rest)).await.unwrap();
    assert!(rest.is_empty());
    for node in [&mut ours, &mut theirs] {
        let end = node.event(|event| matches!(event, SessionEvent::Ended { .. })).await;
        assert!(matches!(end, SessionEvent::Ended { end: SessionEnd::Closed, .. }), "{end:?}");
    }
    assert!(ours.sessions.is_empty() && theirs.sessions.is_empty());
}

/// The bytes that one side sends.
fn bytes(count: usize, salt: u8) -> Vec<u8> {
    (0..count).map(|n| (n % 251) as u8 ^ salt).collect()
}

/// Both sides send without a pause while the path is cut, until it was cut so often; then
/// each byte has arrived once and in order. `KASPATH_PATH_CHANGES` is how often.
#[tokio::test(start_paused = true)]
async fn a_transfer_survives_every_change_of_its_path() {
    let changes: usize = std::env::var("KASPATH_PATH_CHANGES").map_or(1000, |count| count.parse().expect("a number"));
    let wire = Wire::new(DIRECT, true);
    let (mut ours, theirs) = pair(&wire);
    let mut session = ours.connect(2).await;
    session.write_all(&[0]).await.unwrap();
    let mut accepted = theirs.accept().await;
    accepted.read_u8().await.unwrap();
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let sides = [(session, 1, 2), (accepted, 2, 1)].map(|(stream, sent, received)| {
        let stopped = stopped.clone();
        let (mut reader, mut writer) = tokio::io::split(stream);
        let writing = tokio::spawn(async move {
            let (chunk, mut total) = (bytes(251 * 40, sent), 0);
            while !*stopped.borrow() {
                writer.write_all(&chunk).await.unwrap();
                total += chunk.len();
            }
            writer.shutdown().await.unwrap();
            total
        });
        let reading = tokio::spawn(async move {
            let (chunk, mut at, mut buffer) = (bytes(251 * 400, received), 0, vec![0; 251 * 200]);
            loop {
                let read = reader.read(&mut buffer).await.unwrap();
                if read == 0 {
                    return at;
                }
                assert!(buffer[..read] == chunk[at % 251..][..read], "the bytes differ at {at}");
                at += read;
            }
        });
        (writing, reading)
    });
    for _ in 0..changes {
        wire.cut();
        ours.event(|event| matches!(event, SessionEvent::Moved { .. })).await;
    }
    stop.send_replace(true);
    let [(our_writing, our_reading), (their_writing, their_reading)] = sides;
    let written = [soon(our_writing).await.unwrap(), soon(their_writing).await.unwrap()];
    assert_eq!([soon(their_reading).await.unwrap(), soon(our_reading).await.unwrap()], written);
}

#[tokio::test]
async fn a_session_on_a_relay_moves_to_a_direct_path_that_comes_up() {
    let wire = Wire::new(relayed(), true);
    let (mut ours, theirs) = pair(&wire);
    let mut session = ours.connect(2).await;
    session.write_all(b"a").await.unwrap();
    let mut accepted = theirs.accept().await;
    assert_eq!(soon(accepted.read_u8()).await.unwrap(), b'a');
    let (mut watch, mut their_watch): (PathWatch, PathWatch) = (session.path_watch(), accepted.path_watch());
    ours.event(|event| matches!(event, SessionEvent::Began { .. })).await;
    wire.path.send_replace(Some(DIRECT));
    assert_eq!(soon(watch.changed()).await, Some(DIRECT));
    assert_eq!(soon(their_watch.changed()).await, Some(DIRECT));
    let moved = ours.event(|event| matches!(event, SessionEvent::Moved { .. })).await;
    let (kind, stall) = (MoveKind::Planned, Duration::ZERO);
    // Nothing was under way: the peer has read the only byte.
    assert_eq!(moved, SessionEvent::Moved { peer: peer(2), kind, from: relayed(), to: DIRECT, stall, replayed: 0 });
    accepted.write_all(b"b").await.unwrap();
    assert_eq!(soon(session.read_u8()).await.unwrap(), b'b');
}

/// How long a session took to begin is told, and a path that is silent for a while and answers
/// after all is told with the time that it was silent.
#[tokio::test(start_paused = true)]
async fn a_session_says_when_it_began_and_when_its_path_has_recovered() {
    let wire = Wire::new(relayed(), true);
    let (mut ours, theirs) = pair(&wire);
    wire.hold();
    let mut session = ours.connect(2).await;
    session.write_all(b"a").await.unwrap();
    tokio::time::sleep(Duration::from_millis(400)).await;
    wire.release();
    let mut accepted = theirs.accept().await;
    soon(accepted.read_u8()).await.unwrap();
    let began = ours.event(|event| matches!(event, SessionEvent::Began { .. })).await;
    let SessionEvent::Began { after, .. } = began else { panic!("{began:?}") };
    assert!((Duration::from_millis(400)..Duration::from_secs(2)).contains(&after), "{after:?}");
    tokio::time::sleep(Duration::from_secs(1)).await;

    *wire.move_wait.lock().unwrap() = Duration::from_secs(60);
    wire.path.send_replace(None);
    wire.hold();
    session.write_all(&[7; 100]).await.unwrap();
    ours.event(|event| matches!(event, SessionEvent::Stalled { .. })).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    wire.release();
    let recovered = ours.event(|event| !matches!(event, SessionEvent::Stalled { .. })).await;
    let SessionEvent::Recovered { stall, .. } = recovered else { panic!("{recovered:?}") };
    assert!((Duration::from_secs(2)..Duration::from_secs(4)).contains(&stall), "{stall:?}");
}

/// What was under way is sent again, and the move says how much, how long nothing went
/// and from where to where.
#[tokio::test(start_paused = true)]
async fn a_failover_says_what_it_cost() {
    let wire = Wire::new(relayed(), true);
    let (mut ours, theirs) = pair(&wire);
    let (mut session, mut accepted) = begun(&mut ours, &theirs).await;
    // All is acknowledged.
    tokio::time::sleep(Duration::from_secs(1)).await;
    *wire.move_wait.lock().unwrap() = Duration::from_secs(60);
    wire.hold();
    session.write_all(&[7; 100]).await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    wire.path.send_replace(None);
    wire.cut();
    tokio::time::sleep(Duration::from_secs(3)).await;
    wire.path.send_replace(Some(DIRECT));
    let moved = ours.event(|event| matches!(event, SessionEvent::Moved { .. })).await;
    let SessionEvent::Moved { kind, from, to, stall, replayed, .. } = moved else { panic!("{moved:?}") };
    assert_eq!((kind, from, to, replayed), (MoveKind::Failover, relayed(), DIRECT, 100));
    assert!((Duration::from_secs(3)..Duration::from_secs(5)).contains(&stall), "{stall:?}");
    soon(accepted.read_exact(&mut [0; 100])).await.unwrap();
    drop(session);
    // The peer may have dialled too: then the session moved once more.
    let (mut moves, mut all_replayed) = (1, replayed);
    loop {
        match ours.event(|_| true).await {
            SessionEvent::Moved { replayed, .. } => (moves, all_replayed) = (moves + 1, all_replayed + replayed),
            SessionEvent::Ended { path, stats, .. } => {
                assert_eq!((path, stats.moves, stats.replayed), (Some(DIRECT), moves, all_replayed));
                return;
            }
            _ => {}
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_leaves_a_relay_that_is_about_to_shut_down_before_its_path_ends() {
    let wire = Wire::new(relayed(), true);
    let (mut ours, theirs) = pair(&wire);
    let (mut session, mut accepted) = begun(&mut ours, &theirs).await;
    // Direct paths would have to wait for an hour.
    *wire.move_wait.lock().unwrap() = Duration::from_secs(3600);
    let next = Path::Relayed { relay: peer(8), reason: RelayReason::PunchPending };
    let begun = tokio::time::Instant::now();
    wire.drain(next.clone());
    let moved = ours.event(|event| matches!(event, SessionEvent::Moved { .. })).await;
    let SessionEvent::Moved { kind, to, stall, replayed, .. } = moved else { panic!("{moved:?}") };
    assert_eq!((kind, &to, stall, replayed), (MoveKind::Planned, &next, Duration::ZERO, 0));
    assert!(begun.elapsed() <= Duration::from_secs(1), "{:?}", begun.elapsed());
    session.write_all(b"b").await.unwrap();
    assert_eq!((soon(accepted.read_u8()).await.unwrap(), accepted.path()), (b'b', next));
    // The path that was left is reported as left, and nothing was lost.
    assert_eq!(*wire.health.lock().unwrap(), [(0, Health::Left)]);
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_a_minute_is_survived_and_ends_within_a_second() {
    let wire = Wire::new(DIRECT, true);
    let (mut ours, theirs) = pair(&wire);
    let (mut session, mut accepted) = begun(&mut ours, &theirs).await;
    wire.path.send_replace(None);
    wire.cut();
    session.write_all(b"b").await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    wire.path.send_replace(Some(DIRECT));
    let back = tokio::time::Instant::now();
    assert_eq!(soon(accepted.read_u8()).await.unwrap(), b'b');
    assert!(back.elapsed() <= Duration::from_secs(1), "{:?}", back.elapsed());
    // Two minutes are too long.
    wire.path.send_replace(None);
    wire.cut();
    tokio::time::sleep(Duration::from_secs(100)).await;
    let failure = soon(session.read_u8()).await.unwrap_err();
    assert_eq!(failure.kind(), std::io::ErrorKind::TimedOut, "{failure}");
}

#[tokio::test]
async fn a_peer_that_does_not_speak_the_protocol_gets_a_plain_stream_and_no_byte_is_lost() {
    let (ours, theirs) = pair(&Wire::new(DIRECT, false));
    for round in 0..2 {
        let mut session = ours.connect(2).await;
        session.write_all(b"hello").await.unwrap();
        let mut accepted = theirs.accept().await;
        let mut bytes = [0; 5];
        soon(accepted.read_exact(&mut bytes)).await.unwrap();
        assert_eq!((&bytes, accepted.carries_session()), (b"hello", false));
        accepted.write_all(b"world").await.unwrap();
        accepted.shutdown().await.unwrap();
        let mut answer = Vec::new();
        soon(session.read_to_end(&mut answer)).await.unwrap();
        assert_eq!(answer, b"world");
        session.shutdown().await.unwrap();
        soon(accepted.read_to_end(&mut answer)).await.unwrap();
        assert!(!session.carries_session());
        if round == 1 {
            assert!(ours.sessions.is_empty(), "the second is plain at once");
        }
    }
}

#[tokio::test]
async fn a_restarted_peer_ends_the_session_at_once() {
    let wire = Wire::new(DIRECT, true);
    let (mut ours, theirs) = pair(&wire);
    let mut session = ours.connect(2).await;
    session.write_all(b"a").await.unwrap();
    let _accepted = theirs.accept().await;
    ours.event(|event| matches!(event, SessionEvent::Began { .. })).await;
    let restarted = restarted(&wire, &ours);
    let mut again = restarted.connect(1).await;
    again.write_all(b"b").await.unwrap();
    let failure = soon(session.read_u8()).await.unwrap_err();
    assert!(failure.to_string().contains("restarted"), "{failure}");
    assert_eq!(soon(ours.accept().await.read_u8()).await.unwrap(), b'b');
}

#[tokio::test(start_paused = true)]
async fn a_session_that_is_dropped_lasts_until_the_peer_knows() {
    let wire = Wire::new(DIRECT, true);
    let (mut ours, mut theirs) = pair(&wire);
    let (session, mut accepted) = begun(&mut ours, &theirs).await;
    wire.hold();
    drop(session);
    {
        // The program would end after it, and take along what is on its way.
        let shutdown = ours.sessions.shutdown();
        tokio::pin!(shutdown);
        assert!(timeout(Duration::from_millis(400), &mut shutdown).await.is_err());
        wire.release();
        soon(shutdown).await;
    }
    theirs.event(|event| matches!(event, SessionEvent::Ended { .. })).await;
    let failure = soon(accepted.read_u8()).await.unwrap_err();
    assert!(failure.to_string().contains("the peer has ended it"), "{failure}");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_never_answers_the_end_holds_nothing_for_long() {
    let wire = Wire::new(DIRECT, true);
    let (mut ours, theirs) = pair(&wire);
    let (session, _accepted) = begun(&mut ours, &theirs).await;
    wire.hold();
    let begin = Instant::now();
    drop(session);
    ours.sessions.shutdown().await;
    let elapsed = begin.elapsed().as_secs_f64();
    assert!((0.9..=1.1).contains(&elapsed), "{elapsed}");
    ours.event(|event| matches!(event, SessionEvent::Ended { .. })).await;
    let elapsed = begin.elapsed().as_secs_f64();
    assert!((1.9..=2.1).contains(&elapsed), "{elapsed}");
    assert!(ours.sessions.is_empty());
}

#[tokio::test(start_paused = true)]
async fn sessions_whose_end_the_peer_has_not_seen_yet_leave_room_for_new_ones() {
    let wire = Wire::new(DIRECT, true);
    let (mut ours, theirs) = pair(&wire);
    let mut sessions = Vec::new();
    for _ in 0..4 {
        sessions.push(begun(&mut ours, &theirs).await);
    }
    let full = ours.try_connect(2).await.unwrap_err();
    assert!(matches!(full, ConnectorError::SessionsOfPeer { limit: 4 }), "{full}");
    wire.hold();
    sessions.clear();
    for _ in 0..4 {
        drop((ours.connect(2).await, ours.connect(2).await));
    }
    // Those are waited for too.
    assert!(timeout(Duration::from_millis(900), ours.sessions.shutdown()).await.is_err());
}

#[tokio::test]
async fn a_session_that_is_over_is_not_tried_again_as_a_plain_stream() {
    let wire = Wire::new(DIRECT, false);
    let (mut ours, _theirs) = pair(&wire);
    let mut session = ours.connect(2).await;
    session.write_all(b"a").await.unwrap();
    drop(session);
    ours.event(|event| matches!(event, SessionEvent::Ended { .. })).await;
    assert_eq!(wire.opened(), 1, "only the one that was asked for");
}

#[tokio::test(start_paused = true)]
async fn a_plain_stream_lasts_and_carries_more_than_a_window() {
    let (ours, theirs) = pair(&Wire::new(DIRECT, false));
    let mut session = ours.connect(2).await;
    session.write_all(b"a").await.unwrap();
    let mut accepted = theirs.accept().await;
    soon(accepted.read_u8()).await.unwrap();
    tokio::spawn(async move {
        accepted.write_all(&bytes(32 << 20, 0)).await.unwrap();
        std::future::pending::<()>().await;
    });
    let (mut chunk, expected) = (vec![0; 1 << 20], bytes(32 << 20, 0));
    for n in 0..32 {
        soon(session.read_exact(&mut chunk)).await.unwrap();
        assert!(chunk == expected[n << 20..][..1 << 20]);
        // What comes meanwhile fills the buffer.
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_plain_stream_is_not_taken_for_a_session_without_a_path() {
    let (ours, theirs) = pair(&Wire::new(DIRECT, false));
    let mut session = ours.connect(2).await;
    session.write_all(b"a").await.unwrap();
    let mut accepted = theirs.accept().await;
    tokio::time::sleep(Duration::from_secs(100)).await;
    for _ in 0..2 {
        accepted.write_all(b"b").await.unwrap();
        assert_eq!(soon(session.read_u8()).await.unwrap(), b'b');
    }
}

/// What is due is sent at once: a question that left when its answer was late had each path
/// suspected that was quiet for 16 s.
#[tokio::test(start_paused = true)]
async fn a_session_that_is_quiet_for_an_hour_never_stalls_and_dials_nothing() {
    let wire = Wire::new(relayed(), true);
    let (mut ours, theirs) = pair(&wire);
    let mut session = ours.connect(2).await;
    session.write_all(b"a").await.unwrap();
    let mut accepted = theirs.accept().await;
    soon(accepted.read_u8()).await.unwrap();
    ours.event(|event| matches!(event, SessionEvent::Began { .. })).await;
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!((ours.events.try_recv().ok(), wire.opened()), (None, 1));
}

#[tokio::test(start_paused = true)]
async fn a_session_that_finds_only_the_relay_that_it_is_to_leave_does_not_move_each_second() {
    let wire = Wire::new(relayed(), true);
    let (mut ours, theirs) = pair(&wire);
    let mut session = ours.connect(2).await;
    session.write_all(b"a").await.unwrap();
    let _accepted = theirs.accept().await;
    ours.event(|event| matches!(event, SessionEvent::Began { .. })).await;
    let draining = Path::Relayed { relay: peer(9), reason: RelayReason::RelayDraining };
    wire.drain(draining);
    tokio::time::sleep(Duration::from_secs(60)).await;
    let mut moves = 0;
    while let Ok(event) = ours.events.try_recv() {
        moves += usize::from(matches!(event, SessionEvent::Moved { .. }));
    }
    assert!(moves < 10, "{moves} moves in a minute");
    // A relay that says so and stays has nobody dial each second for ever.
    let before = wire.opened();
    tokio::time::sleep(Duration::from_secs(3600)).await;
    let dials = wire.opened() - before;
    assert!((60..200).contains(&dials), "{dials} dials in an hour");
}
