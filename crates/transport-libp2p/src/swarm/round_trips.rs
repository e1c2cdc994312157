//! Round trips to the relays of the settings.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use kaspath_domain::PeerIdentity;

/// The last round trip to each of these relays. Cheap to clone; all clones share them.
#[derive(Clone)]
pub(crate) struct RoundTrips(Arc<Mutex<HashMap<PeerIdentity, Option<Duration>>>>);

impl RoundTrips {
    /// To these, and to no others: strangers add none.
    pub(crate) fn to(relays: impl IntoIterator<Item = PeerIdentity>) -> Self {
        Self(Arc::new(Mutex::new(relays.into_iter().map(|relay| (relay, None)).collect())))
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
    fn only_relays_of_the_settings_are_remembered() {
        let peer = |n: u8| PeerIdentity::from_bytes(&[0, 1, n]).expect("an identity");
        let round_trips = RoundTrips::to([peer(1)]);
        assert_eq!(round_trips.last(&peer(1)), None);
        for n in [1, 2] {
            round_trips.measured(&peer(n), Duration::from_millis(30));
        }
        assert_eq!((round_trips.last(&peer(1)), round_trips.last(&peer(2))), (Some(Duration::from_millis(30)), None));
    }
}
