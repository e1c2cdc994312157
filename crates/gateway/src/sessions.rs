//! One session per peer, whoever began it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use kaspath_domain::{Direction, Path, PeerClass, PeerIdentity};
use tokio::sync::watch;

struct Entry {
    /// Tells a session's entry from its successor's.
    number: u64,
    direction: Direction,
    class: Option<PeerClass>,
    path: Path,
    end: watch::Sender<bool>,
}

#[derive(Default)]
struct Open {
    next: u64,
    sessions: HashMap<PeerIdentity, Entry>,
}

/// The sessions that stand. Two nodes that reach each other at once would have
/// two; both keep the one that the peer with the smaller identity began.
#[derive(Clone)]
pub(crate) struct Sessions {
    local: PeerIdentity,
    open: Arc<Mutex<Open>>,
    /// Counts the changes.
    changes: Arc<watch::Sender<u64>>,
}

/// A session's place, given back on drop.
pub(crate) struct Place {
    sessions: Sessions,
    peer: PeerIdentity,
    number: u64,
    ended: watch::Receiver<bool>,
}

impl Sessions {
    /// No session yet; `local` is this node.
    pub(crate) fn new(local: PeerIdentity) -> Self {
        Self { local, open: Arc::default(), changes: Arc::new(watch::channel(0).0) }
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The classes of the inbound sessions.
    pub(crate) fn inbound(&self) -> Vec<PeerClass> {
        self.lock().sessions.values().filter_map(|entry| entry.class.clone()).collect()
    }

    /// Whether there is one with the peer.
    pub(crate) fn contains(&self, peer: &PeerIdentity) -> bool {
        self.lock().sessions.contains_key(peer)
    }

    /// Told at every change.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// A place for a session; `None` if the one that stands is to be kept. An
    /// inbound session comes with its class.
    pub(crate) fn enter(&self, peer: &PeerIdentity, class: Option<PeerClass>, path: Path) -> Option<Place> {
        let direction = if class.is_some() { Direction::Inbound } else { Direction::Outbound };
        let mut open = self.lock();
        if let Some(old) = open.sessions.get(peer) {
            let ours_is_kept = self.local < *peer;
            let kept = if ours_is_kept { Direction::Outbound } else { Direction::Inbound };
            // Of the same direction, the newer: the peer would not call twice if the first were alive.
            if old.direction == kept && direction != kept {
                return None;
            }
            old.end.send_replace(true);
        }
        let (end, ended) = watch::channel(false);
        open.next += 1;
        let number = open.next;
        open.sessions.insert(peer.clone(), Entry { number, direction, class, path, end });
        drop(open);
        self.changes.send_modify(|count| *count += 1);
        Some(Place { sessions: self.clone(), peer: peer.clone(), number, ended })
    }

    /// Ends the session with a peer, if there is one.
    pub(crate) fn end(&self, peer: &PeerIdentity) -> bool {
        self.end_if(peer, |_| true)
    }

    /// Ends the session with a peer if our side began it, it is on a relay, and it
    /// may move.
    pub(crate) fn end_relayed_outbound(&self, peer: &PeerIdentity, may_move: impl Fn() -> bool) -> bool {
        self.end_if(peer, |entry| entry.direction == Direction::Outbound && entry.path.is_relayed() && may_move())
    }

    fn end_if(&self, peer: &PeerIdentity, condition: impl Fn(&Entry) -> bool) -> bool {
        let open = self.lock();
        let Some(entry) = open.sessions.get(peer).filter(|entry| condition(entry)) else { return false };
        entry.end.send_replace(true);
        true
    }
}

impl Place {
    /// Waits until the session must end: another takes its place, or it is unwanted.
    pub(crate) async fn ended(&self) {
        let mut watch = self.ended.clone();
        while !*watch.borrow_and_update() {
            if watch.changed().await.is_err() {
                // The entry is gone, so somebody has replaced it.
                return;
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.sessions.lock();
        // A successor may have the place already.
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

    #[tokio::test]
    async fn both_ends_of_a_pair_keep_the_same_session() {
        // Peer 1 calls peer 2 and peer 2 calls peer 1: the call of peer 1 is kept.
        let (at_one, at_two) = (Sessions::new(peer(1)), Sessions::new(peer(2)));
        let kept = at_one.enter(&peer(2), None, DIRECT).unwrap();
        assert!(at_one.enter(&peer(2), class(1), DIRECT).is_none());
        let yielded = at_two.enter(&peer(1), None, DIRECT).unwrap();
        let _successor = at_two.enter(&peer(1), class(1), DIRECT).unwrap();
        yielded.ended().await;
        drop((kept, yielded));
        assert!(!at_one.contains(&peer(2)), "the place comes back");
        assert!(at_two.contains(&peer(1)), "the successor keeps it");
    }

    #[tokio::test]
    async fn an_ended_session_gives_its_place_back_when_it_has_gone() {
        let sessions = Sessions::new(peer(9));
        let place = sessions.enter(&peer(1), class(1), DIRECT).unwrap();
        assert_eq!(sessions.inbound().len(), 1);
        assert!(sessions.end(&peer(1)) && !sessions.end(&peer(2)));
        place.ended().await;
        drop(place);
        assert!(!sessions.contains(&peer(1)) && sessions.inbound().is_empty());
    }

    #[test]
    fn only_our_own_relayed_session_is_ended_for_a_better_path() {
        let sessions = Sessions::new(peer(9));
        let relayed = Path::Relayed { relay: peer(8), reason: RelayReason::Policy };
        let _direct = sessions.enter(&peer(1), None, DIRECT).unwrap();
        let _relayed = sessions.enter(&peer(2), None, relayed.clone()).unwrap();
        let _theirs = sessions.enter(&peer(3), class(3), relayed).unwrap();
        assert_eq!([1, 2, 3].map(|n| sessions.end_relayed_outbound(&peer(n), || true)), [false, true, false]);
        assert!(!sessions.end_relayed_outbound(&peer(2), || false));
    }

    proptest::proptest! {
        /// However sessions begin, replace one another and end, each peer has one at
        /// most, and when all have gone no place is left taken.
        #[test]
        fn no_sequence_of_sessions_leaks_a_place(
            events in proptest::collection::vec((0..3u8, 1..6u8, proptest::prelude::any::<bool>()), 0..100),
        ) {
            let sessions = Sessions::new(peer(3));
            let mut places = Vec::new();
            for (what, n, inbound) in events {
                match what {
                    0 => places.extend(sessions.enter(&peer(n), inbound.then(|| class(n)).flatten(), DIRECT)),
                    1 => drop(sessions.end(&peer(n))),
                    _ if places.is_empty() => {}
                    _ => drop(places.remove(usize::from(n) % places.len())),
                }
                let standing = sessions.lock().sessions.len();
                proptest::prop_assert!(standing <= 5 && sessions.inbound().len() <= standing);
            }
            drop(places);
            proptest::prop_assert!(sessions.lock().sessions.is_empty());
        }
    }
}
