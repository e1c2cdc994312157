//! Which sessions there are. Pure.

use std::collections::HashMap;

use kaspath_domain::PeerIdentity;

use crate::wire::{Refusal, SessionId};

/// Sessions by their peer and id, each with what reaches it. The peer's identity is
/// proven, so nobody learns of another's session.
pub(crate) struct Table<T> {
    by_peer: HashMap<PeerIdentity, Vec<(SessionId, T)>>,
    sessions: usize,
    max: usize,
    max_by_peer: usize,
}

impl<T> Table<T> {
    pub(crate) fn new(max: usize, max_by_peer: usize) -> Self {
        Self { by_peer: HashMap::new(), sessions: 0, max, max_by_peer }
    }

    /// The peer's sessions.
    pub(crate) fn of(&self, peer: &PeerIdentity) -> &[(SessionId, T)] {
        self.by_peer.get(peer).map_or(&[], Vec::as_slice)
    }

    /// All of them.
    pub(crate) fn all(&self) -> impl Iterator<Item = &T> {
        self.by_peer.values().flatten().map(|(_, session)| session)
    }

    /// Adds a session, if there is room for it.
    pub(crate) fn insert(&mut self, peer: &PeerIdentity, id: SessionId, session: T) -> Result<(), Refusal> {
        let of_peer = self.of(peer);
        if self.sessions >= self.max || of_peer.len() >= self.max_by_peer || of_peer.iter().any(|(known, _)| *known == id) {
            return Err(Refusal::Limited);
        }
        self.by_peer.entry(peer.clone()).or_default().push((id, session));
        self.sessions += 1;
        Ok(())
    }

    /// A session has ended.
    pub(crate) fn remove(&mut self, peer: &PeerIdentity, id: SessionId) {
        let Some(of_peer) = self.by_peer.get_mut(peer) else { return };
        let before = of_peer.len();
        of_peer.retain(|(known, _)| *known != id);
        self.sessions -= before - of_peer.len();
        if of_peer.is_empty() {
            self.by_peer.remove(peer);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.sessions
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(n: u8) -> PeerIdentity {
        PeerIdentity::from_bytes(&[0, 1, n]).expect("an identity")
    }

    #[test]
    fn sessions_are_bounded_by_peer_and_in_all_and_unknown_to_others() {
        let mut table = Table::new(5, 2);
        let id = |n| SessionId([n; 16]);
        assert_eq!([1, 2, 3].map(|n| table.insert(&peer(1), id(n), n).is_ok()), [true, true, false]);
        assert_eq!(table.insert(&peer(2), id(1), 9), Ok(()), "the same id of another peer is another session");
        assert_eq!((table.of(&peer(1)), table.of(&peer(2))), (&[(id(1), 1), (id(2), 2)][..], &[(id(1), 9)][..]));
        assert_eq!([2, 3, 4].map(|n| table.insert(&peer(n), id(7), n).is_ok()), [true, true, false]);
        assert_eq!((table.of(&peer(9)).len(), table.len()), (0, 5));
        [1, 1, 9].into_iter().for_each(|n| table.remove(&peer(n), id(1)));
        assert_eq!((table.insert(&peer(4), id(7), 4), table.len()), (Ok(()), 5));
        (1..5).for_each(|n| (1..8).for_each(|m| table.remove(&peer(n), id(m))));
        assert_eq!((table.by_peer.len(), table.len()), (0, 0));
    }
}
