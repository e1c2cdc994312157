//! Which relays we hold reservations at, as a pure state machine: time and
//! chance are parameters, the actor carries the actions out.
//!
//! One owner for every reservation: requested, confirmed, renewed, lost, asked
//! for again with backoff. Pending and active ones count against `wanted`, and
//! every failure gives its place back, so that another relay may have it.

use std::{collections::BTreeMap, time::Duration};

use kaspath_domain::{Moment, RetryCadence};
use libp2p::PeerId;

/// Time for a relay to be connected, identified and to grant a reservation.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);

#[derive(Debug, Clone, Copy, PartialEq)]
enum State {
    /// Not before then.
    Resting { until: Moment },
    /// The relay is being connected and identified.
    Meeting { until: Moment },
    /// Asked for.
    Requested { until: Moment },
    /// Held.
    Active,
}

#[derive(Debug)]
struct Entry {
    state: State,
    failures: u32,
    /// Its place in the order in which the relays were given.
    rank: usize,
}

/// What the actor is to do.
#[derive(Debug, PartialEq)]
pub(crate) enum Action {
    /// Connect to the relay and wait for its identify, then call `met`.
    Meet(PeerId),
    /// Give up what was under way with the relay, for this reason.
    Abandon { relay: PeerId, cause: String, retry_in: Option<Duration> },
}

/// All reservations.
#[derive(Debug)]
pub(crate) struct Reservations {
    relays: BTreeMap<PeerId, Entry>,
    wanted: usize,
    cadence: RetryCadence,
}

impl Reservations {
    pub(crate) fn new(relays: impl IntoIterator<Item = PeerId>, wanted: usize, cadence: RetryCadence, now: Moment) -> Self {
        let new = |rank| Entry { state: State::Resting { until: now }, failures: 0, rank };
        let relays = relays.into_iter().enumerate().map(|(rank, relay)| (relay, new(rank))).collect();
        Self { relays, wanted, cadence }
    }

    /// Pending and active ones.
    pub(crate) fn held(&self) -> usize {
        self.relays.values().filter(|entry| !matches!(entry.state, State::Resting { .. })).count()
    }

    /// When to call [`Reservations::step`] next.
    pub(crate) fn deadline(&self) -> Option<Moment> {
        let may_start = self.held() < self.wanted;
        self.relays
            .values()
            .filter_map(|entry| match entry.state {
                State::Resting { until } => may_start.then_some(until),
                State::Meeting { until } | State::Requested { until } => Some(until),
                State::Active => None,
            })
            .min()
    }

    /// What is due now. `random` gives numbers in 0..1.
    pub(crate) fn step(&mut self, now: Moment, mut random: impl FnMut() -> f64) -> Vec<Action> {
        let mut actions = Vec::new();
        let late: Vec<PeerId> = self
            .relays
            .iter()
            .filter(|(_, entry)| matches!(entry.state, State::Meeting { until } | State::Requested { until } if until <= now))
            .map(|(relay, _)| *relay)
            .collect();
        for relay in late {
            let retry_in = self.failed(relay, now, random());
            actions.push(Action::Abandon { relay, cause: format!("no answer within {REQUEST_TIMEOUT:?}"), retry_in });
        }
        let mut free = self.wanted.saturating_sub(self.held());
        // The relay that failed least, then the one that has rested longest, then in
        // the order given: the caller puts diverse ones first.
        let mut rested: Vec<_> = self
            .relays
            .iter_mut()
            .filter_map(|(relay, entry)| match entry.state {
                State::Resting { until } if until <= now => Some((entry.failures, until, entry.rank, *relay, entry)),
                _ => None,
            })
            .collect();
        rested.sort_by_key(|(failures, until, rank, _, _)| (*failures, *until, *rank));
        for (_, _, _, relay, entry) in rested {
            if free == 0 {
                break;
            }
            free -= 1;
            entry.state = State::Meeting { until: now + REQUEST_TIMEOUT };
            actions.push(Action::Meet(relay));
        }
        actions
    }

    /// The relay is connected and identified; whether to ask it now.
    pub(crate) fn met(&mut self, relay: PeerId, now: Moment) -> bool {
        match self.relays.get_mut(&relay) {
            Some(entry) if matches!(entry.state, State::Meeting { .. }) => {
                entry.state = State::Requested { until: now + REQUEST_TIMEOUT };
                true
            }
            _ => false,
        }
    }

    /// The relay granted it.
    pub(crate) fn confirmed(&mut self, relay: PeerId) {
        if let Some(entry) = self.relays.get_mut(&relay) {
            (entry.state, entry.failures) = (State::Active, 0);
        }
    }

    /// Whatever was under way or held is gone. `None` if nothing was; else when
    /// it is tried again.
    pub(crate) fn lost(&mut self, relay: PeerId, now: Moment, random: f64) -> Option<Option<Duration>> {
        match self.relays.get(&relay)?.state {
            State::Resting { .. } => None,
            _ => Some(self.failed(relay, now, random)),
        }
    }

    fn failed(&mut self, relay: PeerId, now: Moment, random: f64) -> Option<Duration> {
        let entry = self.relays.get_mut(&relay)?;
        entry.failures = entry.failures.saturating_add(1);
        // A cadence without end is what a reservation needs; if it has one, rest for an hour.
        let delay = self.cadence.delay(entry.failures, random).unwrap_or(Duration::from_secs(3600));
        entry.state = State::Resting { until: now + delay };
        Some(delay)
    }
}

#[cfg(test)]
mod tests;
