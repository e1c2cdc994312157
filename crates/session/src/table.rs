//! Which sessions there are. Pure.

use std::collections::HashMap;

use kaspath_domain::{ConnectorError, PeerIdentity};

use crate::wire::SessionId;

/// Sessions by their peer and id, each with what reaches it. The peer's identity is
/// proven, so nobody learns of another's session.
pub(crate) struct Table<T> {
    by_peer: HashMap<PeerIdentity, Vec<(SessionId, T)>>,
    sessions: usize,
    max: usize,
    max_by_peer: usize,
}

/// There are as many sessions as there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full {
    limit: usize,
    /// With the peer, and not in all.
    pub(crate) is_of_peer: bool,
}

impl From<Full> for ConnectorError {
    fn from(full: Full) -> Self {
        let Full { limit, is_of_peer } = full;
        if is_of_peer { ConnectorError::SessionsOfPeer { limit } } else { ConnectorError::SessionsInAll { limit } }
    }
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

    /// Whether there is room for one more session with the peer.
    pub(crate) fn room(&self, peer: &PeerIdentity) -> Result<(), Full> {
        if self.of(peer).len() >= self.max_by_peer {
            return Err(Full { limit: self.max_by_peer, is_of_peer: true });
        }
        if self.sessions >= self.max { Err(Full { limit: self.max, is_of_peer: false }) } else { Ok(()) }
    }

    /// Adds a session, if there is room for it.
    pub(crate) fn insert(&mut self, peer: &PeerIdentity, id: SessionId, session: T) -> Result<(), Full> {
        self.room(peer)?;
        if self.of(peer).iter().any(|(known, _)| *known == id) {
            return Err(Full { limit: 1, is_of_peer: true });
        }
        self.by_peer.entry(peer.clone()).or_default().push((id, session));
        self.sessions += 1;
        Ok(())
    }

    /// A session has ended, or is to end. Gives it, if it was there: its id alone may be that
    /// of a later one.
    pub(crate) fn remove(&mut self, peer: &PeerIdentity, id: SessionId, is_it: impl Fn(&T) -> bool) -> Option<T> {
        let of_peer = self.by_peer.get_mut(peer)?;
        let index = of_peer.iter().position(|(known, session)| *known == id && is_it(session))?;
        let (_, session) = of_peer.remove(index);
        self.sessions -= 1;
        if of_peer.is_empty() {
            self.by_peer.remove(peer);
        }
        Some(session)
    }

    /// Removes all sessions of the peer that are such.
    pub(crate) fn remove_if(&mut self, peer: &PeerIdentity, is_such: impl Fn(&T) -> bool) {
        while let Some(id) = self.of(peer).iter().find(|(_, session)| is_such(session)).map(|(id, _)| *id) {
            self.remove(peer, id, |_| true);
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
        assert_eq!(table.remove(&peer(1), id(1), |session| *session == 2), None, "it is another one");
        let removed = [1, 1, 9].map(|n| table.remove(&peer(n), id(1), |_| true));
        assert_eq!(removed, [Some(1), None, None]);
        assert_eq!((table.insert(&peer(4), id(7), 4), table.len()), (Ok(()), 5));
        (1..5).for_each(|n| (1..8).for_each(|m| assert!(table.remove(&peer(n), id(m), |_| true).is_none_or(|n| n > 0))));
        assert_eq!((table.by_peer.len(), table.len()), (0, 0));
        (1..3).for_each(|n| table.insert(&peer(1), id(n), n).unwrap());
        table.remove_if(&peer(1), |session| *session == 1);
        assert_eq!((table.of(&peer(1)), table.len()), (&[(id(2), 2)][..], 1));
    }
}
