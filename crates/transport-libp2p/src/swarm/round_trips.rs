//! Round trips to the relays that we are told to reserve at.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use kaspath_domain::PeerIdentity;

/// Relays remembered. A node is told of a few at a time.
const MAX_RELAYS: usize = 128;

/// The last round trip to each of these relays. Cheap to clone; all clones share them.
#[derive(Clone)]
pub(crate) struct RoundTrips(Arc<Mutex<HashMap<PeerIdentity, Option<Duration>>>>);

impl RoundTrips {
    /// To these, and to those that are added: strangers add none.
    pub(crate) fn to(relays: impl IntoIterator<Item = PeerIdentity>) -> Self {
        Self(Arc::new(Mutex::new(relays.into_iter().map(|relay| (relay, None)).collect())))
    }

    /// To one more relay, if there is room.
    pub(crate) fn add(&self, relay: PeerIdentity) {
        let mut relays = self.lock();
        if relays.len() < MAX_RELAYS {
            relays.entry(relay).or_default();
        }
    }

    pub(crate) fn remove(&self, relay: &PeerIdentity) {
        self.lock().remove(relay);
    }

    pub(crate) fn measured(&self, peer: &PeerIdentity, round_trip: Duration) {
        if let Some(last) = self.lock().get_mut(peer) {
            *last = Some(round_trip);
        }
    }

    pub(crate) fn last(&self, peer: &PeerIdentity) -> Option<Duration> {
        self.lock().get(peer).copied().flatten()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PeerIdentity, Option<Duration>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_relays_that_were_told_are_remembered_and_not_many() {
        let peer = |n: u8| PeerIdentity::from_bytes(&[0, 1, n]).expect("an identity");
        let round_trips = RoundTrips::to([peer(1)]);
        assert_eq!(round_trips.last(&peer(1)), None);
        for n in [1, 2] {
            round_trips.measured(&peer(n), Duration::from_millis(30));
        }
        assert_eq!((round_trips.last(&peer(1)), round_trips.last(&peer(2))), (Some(Duration::from_millis(30)), None));
        round_trips.add(peer(2));
        round_trips.remove(&peer(1));
        for n in [1, 2] {
            round_trips.measured(&peer(n), Duration::from_millis(40));
        }
        assert_eq!((round_trips.last(&peer(1)), round_trips.last(&peer(2))), (None, Some(Duration::from_millis(40))));
        (0..=255).for_each(|n| round_trips.add(peer(n)));
        assert_eq!(round_trips.lock().len(), MAX_RELAYS);
    }
}
