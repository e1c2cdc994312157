//! Room for one circuit more.

use std::{hash::Hash, time::Duration};

use kaspath_domain::{Counts, Moment};

use super::{Circuit, CircuitId, Denial, Ended, Origin, Table};
use crate::CircuitEnd;

/// How long a circuit must have been silent to make room for another one.
const EVICTABLE_AFTER: Duration = Duration::from_secs(60);

impl<P: Clone + Eq + Hash, C: Copy + Eq + Hash> Table<P, C> {
    /// Whether there is room for one circuit more, or can be made.
    pub(super) fn make_room(
        &mut self,
        source: &P,
        origin: Origin,
        destination: &P,
        now: Moment,
    ) -> Result<Option<Ended<P, C>>, Denial> {
        let count = |of: &dyn Fn(&Circuit<P, C>) -> bool| self.circuits.values().filter(|circuit| of(circuit)).count();
        let config = &self.config;
        if count(&|other| other.source == *source) >= config.max_circuits_per_peer {
            return Err(Denial::TooManyCircuitsOfPeer);
        }
        if count(&|other| other.origin.host == origin.host) >= config.max_circuits_per_ip {
            return Err(Denial::TooManyCircuitsOfAddress);
        }
        if count(&|other| other.origin.prefix == origin.prefix) >= config.max_circuits_per_prefix {
            return Err(Denial::TooManyCircuitsOfPrefix);
        }
        let between = |other: &Circuit<P, C>| other.origin.host == origin.host && other.destination == *destination;
        if count(&between) >= config.max_circuits_per_ip_to_destination {
            return Err(Denial::TooManyCircuitsOfAddressToDestination);
        }
        let (victim, full) = if count(&|other| other.destination == *destination) >= config.max_circuits_per_destination {
            let victim = self.evictable(origin, now, |circuit| circuit.destination == *destination);
            (victim, Denial::TooManyCircuitsToDestination)
        } else if self.circuits.len() >= config.max_circuits {
            (self.evictable(origin, now, |_| true), Denial::TooManyCircuits)
        } else {
            return Ok(None);
        };
        let id = victim.ok_or(full)?;
        Ok(self.circuits.remove(&id).map(|circuit| Ended { id, circuit, reason: CircuitEnd::Evicted }))
    }

    /// The circuit that may go for one from `origin`: of those that have been silent,
    /// the most silent one of the /24 or /48 that has the most. The newcomer's block must
    /// have fewer, also with the new one: otherwise those who come last would push out
    /// those who were there.
    fn evictable(&self, origin: Origin, now: Moment, among: impl Fn(&Circuit<P, C>) -> bool) -> Option<CircuitId> {
        let mut crowds = Counts::default();
        self.circuits.values().filter(|circuit| among(circuit)).for_each(|circuit| crowds.add(circuit.origin.prefix));
        let ours = crowds.of(&origin.prefix) + 1;
        let silent = |circuit: &Circuit<P, C>| circuit.opened.is_some() && now.since(circuit.last_active) >= EVICTABLE_AFTER;
        self.circuits
            .iter()
            .filter(|(_, circuit)| among(circuit) && silent(circuit))
            .map(|(id, circuit)| (crowds.of(&circuit.origin.prefix), now.since(circuit.last_active), *id))
            .filter(|(crowd, ..)| *crowd > ours)
            .max()
            .map(|(.., id)| id)
    }
}
