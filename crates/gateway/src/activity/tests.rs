use std::{cell::Cell, time::Duration};

use kaspath_domain::{AdmissionRequest, DuplexStream, Moment, PathWatch, RefuseReason, Transport};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

type Session = Candidate<PeerIdentity, PeerClass>;

const LIMITS: (usize, usize, usize, usize) = (8, 2, 4, 4);

fn at(seconds: u64) -> Moment {
    Moment::after_start(Duration::from_secs(seconds))
}

fn peer(n: u8) -> PeerIdentity {
    PeerIdentity::from_bytes(&[0, 1, n]).unwrap()
}

fn direct(ip: [u8; 4]) -> PeerClass {
    PeerClass::Direct { from: ip.into() }
}

fn relayed(n: u8) -> PeerClass {
    PeerClass::Relayed { relay: peer(n) }
}

/// The gateway's default limits.
fn admit(request: &AdmissionRequest) -> Result<(), RefuseReason> {
    let (total, address, prefix, relay) = LIMITS;
    let is_relayed = matches!(request.class, PeerClass::Relayed { .. });
    if request.inbound >= total {
        Err(RefuseReason::TooManyInbound { limit: total })
    } else if is_relayed && request.same_class >= relay {
        Err(RefuseReason::TooManyThroughRelay { limit: relay })
    } else if !is_relayed && request.same_class >= address {
        Err(RefuseReason::TooManyFromAddress { limit: address })
    } else if !is_relayed && request.same_group >= prefix {
        Err(RefuseReason::TooManyFromPrefix { limit: prefix })
    } else {
        Ok(())
    }
}

/// A session since `since` that has moved so many bytes each way, last at `last`.
async fn session(n: u8, class: PeerClass, since: u64, bytes: usize, last: u64) -> Session {
    let (ours, mut theirs) = tokio::io::duplex(1 << 20);
    let info = kaspath_domain::ConnectInfo {
        peer: Some(peer(n)),
        direction: kaspath_domain::Direction::Inbound,
        remote: "192.0.2.1:1".parse().unwrap(),
        synthetic: ([127, 64, 0, 1], 1).into(),
    };
    let path = PathWatch::fixed(kaspath_domain::Path::Direct { transport: Transport::Tcp });
    let mut stream = DuplexStream::new(ours, info, path);
    theirs.write_all(&vec![0; bytes]).await.unwrap();
    stream.read_exact(&mut vec![0; bytes]).await.unwrap();
    stream.write_all(&vec![0; bytes]).await.unwrap();
    let activity = Activity::new(stream.counters(), at(since));
    activity.note(at(last));
    candidate(peer(n), class, &activity, false)
}

fn make_slot(
    newcomer: (&PeerIdentity, &PeerClass),
    sessions: Vec<Session>,
    now: Moment,
    admit: impl Fn(&AdmissionRequest) -> Result<(), RefuseReason>,
) -> Result<Vec<PeerIdentity>, RefuseReason> {
    kaspath_domain::make_slot((Some(newcomer.0), newcomer.1), sessions, now, admit)
}

/// Eight sessions as an attacker with two addresses and a relay would hold them.
async fn held_by_one(bytes: usize, last: u64) -> Vec<Session> {
    let mut standing = Vec::new();
    for n in 0..8u8 {
        let class = match n {
            0 | 1 => direct([192, 0, 2, 1]),
            2 | 3 => direct([198, 51, 100, 1]),
            _ => relayed(100),
        };
        standing.push(session(n, class, 10 + u64::from(n), bytes, last).await);
    }
    standing
}

#[tokio::test]
async fn silent_streams_give_way_to_whoever_asks_and_all_at_once() {
    let standing = held_by_one(0, 20).await;
    let newcomer = (&peer(50), &direct([203, 0, 113, 7]));
    let evicted = make_slot(newcomer, standing.clone(), at(21), admit).unwrap();
    assert_eq!(evicted.len(), 1);
    assert!((4..8).any(|n| evicted == [peer(n)]), "of the most crowded group: {evicted:?}");
    // Also where only the places of one relay or address are taken.
    let through_the_relay = standing[4..].to_vec();
    assert_eq!(make_slot((&peer(50), &relayed(100)), through_the_relay, at(21), admit).unwrap().len(), 1);
    let from_the_address = standing[..2].to_vec();
    assert_eq!(make_slot((&peer(50), &direct([192, 0, 2, 1])), from_the_address, at(21), admit).unwrap().len(), 1);
}

#[tokio::test]
async fn a_useful_peer_keeps_its_place_against_those_who_crowd_a_group() {
    let mut standing = held_by_one(4096, 1_000).await;
    standing.truncate(7);
    // The latest of all, and the least busy.
    standing.push(session(20, direct([203, 0, 113, 7]), 999, 100, 1_000).await);
    for round in 0..100u8 {
        let newcomer = peer(100 + round % 100);
        let Ok(evicted) = make_slot((&newcomer, &relayed(100)), standing.clone(), at(1_000), admit) else { continue };
        assert!(!evicted.contains(&peer(20)), "{evicted:?}");
        standing.retain(|session| !evicted.contains(&session.id));
        standing.push(session(100 + round % 100, relayed(100), 1_000, 4096, 1_000).await);
    }
}

#[tokio::test]
async fn coming_later_is_no_merit_within_one_address_or_relay() {
    let standing = held_by_one(4096, 1_000).await;
    let refused = make_slot((&peer(50), &relayed(100)), standing[4..].to_vec(), at(1_000), admit);
    assert_eq!(refused, Err(RefuseReason::TooManyThroughRelay { limit: 4 }));
    let refused = make_slot((&peer(50), &direct([192, 0, 2, 1])), standing[..2].to_vec(), at(1_000), admit);
    assert_eq!(refused, Err(RefuseReason::TooManyFromAddress { limit: 2 }));
}

#[tokio::test]
async fn a_handshake_under_way_has_a_moment_and_a_pinned_peer_stays() {
    let mut standing = vec![session(1, relayed(100), 10, 0, 10).await; 4];
    for (n, session) in standing.iter_mut().enumerate() {
        session.id = peer(n as u8);
    }
    assert!(make_slot((&peer(50), &relayed(100)), standing.clone(), at(12), admit).is_err());
    assert!(make_slot((&peer(50), &relayed(100)), standing.clone(), at(13), admit).is_ok());
    standing.iter_mut().for_each(|session| session.pinned = true);
    assert!(make_slot((&peer(50), &relayed(100)), standing, at(13), admit).is_err());
}

#[tokio::test]
async fn a_ban_evicts_nobody_and_lowered_limits_do_not_cost_everybody_a_place() {
    let standing = held_by_one(0, 20).await;
    let newcomer = (&peer(50), &direct([203, 0, 113, 7]));
    let banned = make_slot(newcomer, standing.clone(), at(100), |_| Err(RefuseReason::Banned));
    assert_eq!(banned, Err(RefuseReason::Banned));
    let asked = Cell::new(0);
    let never = make_slot(newcomer, standing, at(100), |_| {
        asked.set(asked.get() + 1);
        Err(RefuseReason::TooManyInbound { limit: 0 })
    });
    assert!(never.is_err() && asked.get() == 3, "{}", asked.get());
}
