//! One session per peer, whoever began it.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use kaspath_domain::{Activity, Candidate, Direction, Moment, Path, PathWatch, PeerClass, PeerIdentity};
use tokio::sync::watch;

use crate::{CloseReason, activity::candidate};

struct Entry {
    /// Tells a session's entry from its successor's.
    number: u64,
    direction: Direction,
    class: Option<PeerClass>,
    path: PathWatch,
    activity: Arc<Activity>,
    end: watch::Sender<Option<CloseReason>>,
}

impl Entry {
    /// Whether it must end and has not ended yet.
    fn is_ending(&self) -> bool {
        self.end.borrow().is_some()
    }

    /// Tells it to end; the first reason counts.
    fn end(&self, reason: CloseReason) {
        self.end.send_if_modified(|end| {
            let is_first = end.is_none();
            end.get_or_insert(reason);
            is_first
        });
    }
}

#[derive(Default)]
struct Open {
    next: u64,
    sessions: HashMap<PeerIdentity, Entry>,
    /// Peers that this node's owner has named.
    pinned: HashSet<PeerIdentity>,
}

/// A session as others see it.
#[derive(Clone, Debug)]
pub struct SessionInfo {
    /// The peer.
    pub peer: PeerIdentity,
    /// Inbound: the peer began it. Outbound: this node did.
    pub direction: Direction,
    /// How its stream travels now.
    pub path: Path,
    /// How long it has lasted.
    pub age: Duration,
    /// Bytes from the peer to kaspad.
    pub to_kaspad: u64,
    /// Bytes from kaspad to the peer.
    pub to_peer: u64,
}

/// The sessions. Two nodes that reach each other at once would have
/// two; both keep the one that the peer with the smaller identity began.
#[derive(Clone)]
pub(crate) struct Sessions {
    local: PeerIdentity,
    open: Arc<Mutex<Open>>,
    /// Counts the changes.
    changes: Arc<watch::Sender<u64>>,
}

/// A session's slot, released on drop.
pub(crate) struct SessionSlot {
    sessions: Sessions,
    peer: PeerIdentity,
    number: u64,
    activity: Arc<Activity>,
    ended: watch::Receiver<Option<CloseReason>>,
}

impl Sessions {
    /// No session yet; `local` is this node.
    pub(crate) fn new(local: PeerIdentity) -> Self {
        Self { local, open: Arc::default(), changes: Arc::new(watch::channel(0).0) }
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The inbound sessions with other peers than this one, without those that are
    /// ending already.
    pub(crate) fn inbound_but(&self, peer: &PeerIdentity) -> Vec<Candidate<PeerIdentity, PeerClass>> {
        let open = self.lock();
        let others = open.sessions.iter().filter(|(other, entry)| *other != peer && !entry.is_ending());
        let inbound = others.filter_map(|(other, entry)| {
            Some(candidate(other.clone(), entry.class.clone()?, &entry.activity, open.pinned.contains(other)))
        });
        inbound.collect()
    }

    /// All of them at this time.
    pub(crate) fn all(&self, now: Moment) -> Vec<SessionInfo> {
        let info = |(peer, entry): (&PeerIdentity, &Entry)| {
            let (to_kaspad, to_peer) = entry.activity.bytes();
            let (direction, path, age) = (entry.direction, entry.path.current(), now.since(entry.activity.since()));
            SessionInfo { peer: peer.clone(), direction, path, age, to_kaspad, to_peer }
        };
        self.lock().sessions.iter().map(info).collect()
    }

    /// Whether there is one with the peer.
    pub(crate) fn contains(&self, peer: &PeerIdentity) -> bool {
        self.lock().sessions.contains_key(peer)
    }

    /// Notes a peer's round trip, if it was measured; whether there is a session with it.
    pub(crate) fn measured(&self, peer: &PeerIdentity, round_trip: Option<Duration>) -> bool {
        let open = self.lock();
        let Some(entry) = open.sessions.get(peer) else { return false };
        round_trip.into_iter().for_each(|round_trip| entry.activity.measured(round_trip));
        true
    }

    /// Whether none is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.lock().sessions.is_empty()
    }

    /// Notified of every change.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// This peer's sessions are never ended to make room for another's.
    pub(crate) fn pin(&self, peer: &PeerIdentity) {
        self.lock().pinned.insert(peer.clone());
    }

    /// A slot for a session; `None` if the present one is to be kept. An
    /// inbound session comes with its class.
    pub(crate) fn enter(
        &self,
        peer: &PeerIdentity,
        class: Option<PeerClass>,
        path: PathWatch,
        activity: Arc<Activity>,
    ) -> Option<SessionSlot> {
        let direction = if class.is_some() { Direction::Inbound } else { Direction::Outbound };
        let mut open = self.lock();
        if let Some(old) = open.sessions.get(peer) {
            let ours_is_kept = self.local < *peer;
            let kept = if ours_is_kept { Direction::Outbound } else { Direction::Inbound };
            // Of the same direction, the newer: the peer would not call twice if the first were alive.
            if !old.is_ending() && old.direction == kept && direction != kept {
                return None;
            }
            old.end(CloseReason::Replaced);
        }
        let (end, ended) = watch::channel(None);
        open.next += 1;
        let number = open.next;
        open.sessions.insert(peer.clone(), Entry { number, direction, class, path, activity: activity.clone(), end });
        drop(open);
        self.changes.send_modify(|count| *count += 1);
        Some(SessionSlot { sessions: self.clone(), peer: peer.clone(), number, activity, ended })
    }

    /// Ends every session for which `condition` holds, by its activity.
    pub(crate) fn end_all(&self, reason: CloseReason, condition: impl Fn(&PeerIdentity, &Activity) -> bool) {
        for (peer, entry) in &self.lock().sessions {
            if condition(peer, &entry.activity) {
                entry.end(reason);
            }
        }
    }

    /// Ends the session with a peer, if there is one.
    pub(crate) fn end(&self, peer: &PeerIdentity, reason: CloseReason) -> bool {
        let open = self.lock();
        let Some(entry) = open.sessions.get(peer).filter(|entry| !entry.is_ending()) else { return false };
        entry.end(reason);
        true
    }
}

impl SessionSlot {
    /// The session's bytes and times.
    pub(crate) fn activity(&self) -> Arc<Activity> {
        self.activity.clone()
    }

    /// Waits until the session must end; why.
    pub(crate) async fn ended(&self) -> CloseReason {
        let mut watch = self.ended.clone();
        loop {
            if let Some(reason) = *watch.borrow_and_update() {
                return reason;
            }
            if watch.changed().await.is_err() {
                // The entry is gone, so somebody has replaced it.
                return CloseReason::Replaced;
            }
        }
    }
}

impl Drop for SessionSlot {
    fn drop(&mut self) {
        let mut open = self.sessions.lock();
        // A successor may have the slot already.
        if open.sessions.get(&self.peer).is_some_and(|entry| entry.number == self.number) {
            open.sessions.remove(&self.peer);
        }
        drop(open);
        self.sessions.changes.send_modify(|count| *count += 1);
    }
}

#[cfg(test)]
mod tests {
    use kaspath_domain::{RelayReason, Transport};

    use super::*;

    const DIRECT: Path = Path::Direct { transport: Transport::Tcp };

    fn peer(n: u8) -> PeerIdentity {
        PeerIdentity::from_bytes(&[0, 1, n]).unwrap()
    }

    fn class(n: u8) -> Option<PeerClass> {
        Some(PeerClass::Direct { from: [192, 0, 2, n].into() })
    }

    /// A session that has just begun.
    fn enter(sessions: &Sessions, n: u8, class: Option<PeerClass>, path: Path) -> Option<SessionSlot> {
        sessions.enter(&peer(n), class, PathWatch::fixed(path), Arc::default())
    }

    #[tokio::test]
    async fn both_ends_of_a_pair_keep_the_same_session() {
        // Peer 1 calls peer 2 and peer 2 calls peer 1: the call of peer 1 is kept.
        let (at_one, at_two) = (Sessions::new(peer(1)), Sessions::new(peer(2)));
        let kept = enter(&at_one, 2, None, DIRECT).unwrap();
        assert!(enter(&at_one, 2, class(1), DIRECT).is_none());
        let yielded = enter(&at_two, 1, None, DIRECT).unwrap();
        let _successor = enter(&at_two, 1, class(1), DIRECT).unwrap();
        assert_eq!(yielded.ended().await, CloseReason::Replaced);
        drop((kept, yielded));
        assert!(!at_one.contains(&peer(2)), "the slot is released");
        assert!(at_two.contains(&peer(1)), "the successor keeps it");
    }

    #[tokio::test]
    async fn an_ended_session_gives_its_place_back_when_it_has_gone() {
        let sessions = Sessions::new(peer(9));
        let slot = enter(&sessions, 1, class(1), DIRECT).unwrap();
        assert_eq!(sessions.inbound_but(&peer(2)).len(), 1);
        assert!(sessions.end(&peer(1), CloseReason::Banned) && !sessions.end(&peer(2), CloseReason::Banned));
        assert!(sessions.inbound_but(&peer(2)).is_empty(), "it does not count while it ends");
        sessions.end(&peer(1), CloseReason::Evicted);
        assert_eq!(slot.ended().await, CloseReason::Banned, "the first reason stands");
        assert!(sessions.contains(&peer(1)));
        drop(slot);
        assert!(sessions.is_empty());
    }

    #[test]
    fn a_session_is_shown_on_the_path_that_it_has_now() {
        let sessions = Sessions::new(peer(9));
        let (sender, path) = PathWatch::channel(Path::Relayed { relay: peer(8), reason: RelayReason::PunchPending });
        let _place = sessions.enter(&peer(1), class(1), path, Arc::default()).unwrap();
        let failed = Path::Relayed { relay: peer(8), reason: RelayReason::PunchFailed { attempts: 1 } };
        sender.send_replace(failed.clone());
        let shown = sessions.all(Moment::after_start(Duration::from_secs(3)));
        assert_eq!((shown.len(), &shown[0].path, shown[0].direction), (1, &failed, Direction::Inbound));
        assert_eq!((&shown[0].peer, shown[0].age), (&peer(1), Duration::from_secs(3)));
    }

    proptest::proptest! {
        /// However sessions begin, replace one another and end, each peer has one at
        /// most, and when all have gone no slot is left taken.
        #[test]
        fn no_sequence_of_sessions_leaks_a_place(
            events in proptest::collection::vec((0..3u8, 1..6u8, proptest::prelude::any::<bool>()), 0..100),
        ) {
            let sessions = Sessions::new(peer(3));
            let mut slots = Vec::new();
            for (what, n, inbound) in events {
                match what {
                    0 => slots.extend(enter(&sessions, n, inbound.then(|| class(n)).flatten(), DIRECT)),
                    1 => drop(sessions.end(&peer(n), CloseReason::Banned)),
                    _ if slots.is_empty() => {}
                    _ => drop(slots.remove(usize::from(n) % slots.len())),
                }
                let standing = sessions.lock().sessions.len();
                proptest::prop_assert!(standing <= 5 && sessions.inbound_but(&peer(9)).len() <= standing);
            }
            drop(slots);
            proptest::prop_assert!(sessions.is_empty());
        }
    }
}
