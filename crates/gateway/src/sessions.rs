//! One session per peer, whoever began it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use kaspath_domain::{Direction, PeerClass, PeerIdentity};
use tokio::sync::watch;

struct Entry {
    direction: Direction,
    class: Option<PeerClass>,
    /// Tells the session that another takes its place.
    yield_to: watch::Sender<bool>,
}

/// The sessions that stand. Two nodes that reach each other at once would have
/// two; both keep the one that the peer with the smaller identity began.
#[derive(Clone)]
pub struct Sessions {
    local: PeerIdentity,
    open: Arc<Mutex<HashMap<PeerIdentity, Entry>>>,
}

/// A session's place, given back on drop.
pub(crate) struct Place {
    sessions: Sessions,
    peer: PeerIdentity,
    superseded: watch::Receiver<bool>,
}

impl Sessions {
    /// No session yet; `local` is this node.
    pub fn new(local: PeerIdentity) -> Self {
        Self { local, open: Arc::default() }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PeerIdentity, Entry>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Inbound sessions in all, and those of that class.
    pub(crate) fn inbound(&self, class: &PeerClass) -> (usize, usize) {
        let open = self.lock();
        let inbound = open.values().filter(|entry| entry.direction == Direction::Inbound);
        inbound.fold((0, 0), |(all, same), entry| (all + 1, same + usize::from(entry.class.as_ref() == Some(class))))
    }

    /// A place for a session; `None` if the one that stands is to be kept.
    pub(crate) fn enter(&self, peer: &PeerIdentity, direction: Direction, class: Option<PeerClass>) -> Option<Place> {
        let mut open = self.lock();
        if let Some(old) = open.get(peer) {
            let ours_is_kept = self.local < *peer;
            let kept = if ours_is_kept { Direction::Outbound } else { Direction::Inbound };
            // Of the same direction, the newer: the peer would not call twice if the first were alive.
            if old.direction == kept && direction != kept {
                return None;
            }
            old.yield_to.send_replace(true);
        }
        let (yield_to, superseded) = watch::channel(false);
        open.insert(peer.clone(), Entry { direction, class, yield_to });
        Some(Place { sessions: self.clone(), peer: peer.clone(), superseded })
    }
}

impl Place {
    /// Waits until another session takes this one's place.
    pub(crate) async fn superseded(&self) {
        let mut watch = self.superseded.clone();
        while !*watch.borrow_and_update() {
            if watch.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // A successor has the place already.
        if !*self.superseded.borrow() {
            self.sessions.lock().remove(&self.peer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(n: u8) -> PeerIdentity {
        PeerIdentity::from_bytes(&[0, 1, n]).unwrap()
    }

    #[tokio::test]
    async fn both_ends_of_a_pair_keep_the_same_session() {
        // Peer 1 calls peer 2 and peer 2 calls peer 1: the call of peer 1 is kept.
        let (at_one, at_two) = (Sessions::new(peer(1)), Sessions::new(peer(2)));
        let kept = at_one.enter(&peer(2), Direction::Outbound, None).unwrap();
        assert!(at_one.enter(&peer(2), Direction::Inbound, None).is_none());
        let yielded = at_two.enter(&peer(1), Direction::Outbound, None).unwrap();
        let _successor = at_two.enter(&peer(1), Direction::Inbound, None).unwrap();
        yielded.superseded().await;
        drop((kept, yielded));
        assert!(at_one.lock().is_empty(), "the place comes back");
        assert_eq!(at_two.lock().len(), 1, "the successor keeps it");
    }

    #[test]
    fn inbound_sessions_are_counted_by_class() {
        let sessions = Sessions::new(peer(9));
        let class = |n: u8| PeerClass::Direct { from: [192, 0, 2, n].into() };
        let _a = sessions.enter(&peer(1), Direction::Inbound, Some(class(1))).unwrap();
        let _b = sessions.enter(&peer(2), Direction::Inbound, Some(class(2))).unwrap();
        let _c = sessions.enter(&peer(3), Direction::Outbound, None).unwrap();
        assert_eq!(sessions.inbound(&class(1)), (2, 1));
    }
}
