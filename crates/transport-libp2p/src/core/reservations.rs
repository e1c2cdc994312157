//! Which relays we hold reservations at.
//!
//! One owner for every reservation: requested, confirmed, renewed, lost. Which relays they
//! are is told from outside. A lost one is asked for again with back-off, or, if the cadence
//! gives up, when the relay is told once more. Pending and active ones count against
//! `wanted`, and every failure frees its slot, so that another relay may have it.

use std::{collections::BTreeMap, time::Duration};

use kaspath_domain::{Moment, PeerIdentity, RelayAddress, RetryCadence, TransportAddress};

use super::{
    io::{OperationId, Output},
    shared::{Shared, Signal},
};
use crate::{NetworkEvent, ReservationState};

/// Time for a relay to be connected, identified and to grant a reservation.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);

/// How long after a link gave no answer losses are put down to that.
const SILENCE: Duration = Duration::from_secs(2);
/// The first pause after such a loss.
const SILENT_PAUSE: Duration = Duration::from_millis(10);

#[derive(Debug, Clone, Copy, PartialEq)]
enum State {
    /// Not before then; `None` waits to be told once more.
    BackOff { until: Option<Moment> },
    /// The relay is being connected and identified.
    Connecting { until: Moment },
    /// Asked for.
    Requested { request: OperationId, until: Moment },
    /// Held.
    Active { request: OperationId },
}

impl State {
    fn request(self) -> Option<OperationId> {
        match self {
            State::Requested { request, .. } | State::Active { request } => Some(request),
            State::BackOff { .. } | State::Connecting { .. } => None,
        }
    }
}

#[derive(Debug)]
struct Entry {
    state: State,
    failures: u32,
    /// When a link to it gave no answer: the network has changed, and for a while a loss
    /// is no failure of the relay's, which is asked again at once, then ever later.
    silent_at: Option<Moment>,
    /// It drains until then: what it has granted ends, and nothing is asked before.
    leaving: Option<Moment>,
    /// Its position among the relays as they were given.
    rank: usize,
}

/// All reservations.
#[derive(Debug)]
pub(super) struct Reservations {
    relays: BTreeMap<PeerIdentity, Entry>,
    wanted: usize,
    cadence: RetryCadence,
}

impl Reservations {
    pub(super) fn new(wanted: usize, cadence: RetryCadence) -> Self {
        Self { relays: BTreeMap::new(), wanted, cadence }
    }

    /// A relay to reserve at, after those that are known; one that waits to be told of once
    /// more is asked at once.
    pub(super) fn add(&mut self, shared: &Shared, relay: PeerIdentity) {
        let rank = self.relays.values().map(|entry| entry.rank + 1).max().unwrap_or(0);
        let at_once = State::BackOff { until: Some(shared.now) };
        let new = Entry { state: at_once, failures: 0, silent_at: None, leaving: None, rank };
        let entry = self.relays.entry(relay).or_insert(new);
        if entry.state == (State::BackOff { until: None }) {
            entry.state = at_once;
        }
    }

    /// Releases a reservation at the relay, and never asks there again.
    pub(super) fn remove(&mut self, shared: &mut Shared, relay: &PeerIdentity) {
        let Some(entry) = self.relays.remove(relay) else { return };
        if !matches!(entry.state, State::BackOff { .. }) {
            release(shared, relay, entry.state, "the relay was removed", None);
        }
    }

    /// Pending and active ones, but for those that end soon: others take their places before.
    pub(super) fn held(&self) -> usize {
        let is_held = |entry: &&Entry| !matches!(entry.state, State::BackOff { .. }) && entry.leaving.is_none();
        self.relays.values().filter(is_held).count()
    }

    /// The relay grants nothing until then, and ends what it has granted.
    pub(super) fn draining(&mut self, relay: &PeerIdentity, until: Moment) {
        if let Some(entry) = self.relays.get_mut(relay) {
            match &mut entry.state {
                State::BackOff { until: rests } => *rests = rests.map(|rests| until.max(rests)),
                _ => entry.leaving = Some(until),
            }
        }
    }

    /// When to call [`Reservations::step`] next.
    pub(super) fn deadline(&self) -> Option<Moment> {
        let may_start = self.held() < self.wanted;
        let deadlines = self.relays.values().filter_map(|entry| match entry.state {
            State::BackOff { until } => until.filter(|_| may_start),
            State::Connecting { until } | State::Requested { until, .. } => Some(until),
            State::Active { .. } => None,
        });
        deadlines.min()
    }

    /// Does what is due now.
    pub(super) fn step(&mut self, shared: &mut Shared) {
        let now = shared.now;
        let is_late = |state| matches!(state, State::Connecting { until } | State::Requested { until, .. } if until <= now);
        let late: Vec<PeerIdentity> =
            self.relays.iter().filter(|(_, entry)| is_late(entry.state)).map(|(relay, _)| relay.clone()).collect();
        for relay in late {
            self.lost(shared, &relay, &format!("no answer within {REQUEST_TIMEOUT:?}"));
        }
        let free = self.wanted.saturating_sub(self.held());
        // The relay that failed least, then the one whose back-off ended first, then in
        // the order given: the caller puts diverse ones first.
        let mut due: Vec<_> = self
            .relays
            .iter_mut()
            .filter_map(|(relay, entry)| match entry.state {
                State::BackOff { until: Some(until) } if until <= now => {
                    Some((entry.failures, until, entry.rank, relay, &mut entry.state))
                }
                _ => None,
            })
            .collect();
        due.sort_by_key(|(failures, until, rank, ..)| (*failures, *until, *rank));
        for (_, _, _, relay, state) in due.into_iter().take(free) {
            *state = State::Connecting { until: now + REQUEST_TIMEOUT };
            shared.signal(Signal::RelayNeeded(relay.clone()));
        }
    }

    /// The relay is connected, at `via`, and identified: asks it.
    pub(super) fn connected(&mut self, shared: &mut Shared, relay: &PeerIdentity, via: Option<TransportAddress>) {
        let Some(entry) = self.relays.get_mut(relay).filter(|entry| matches!(entry.state, State::Connecting { .. })) else {
            return;
        };
        let Some(via) = via else { return self.lost(shared, relay, "the connection to it was lost") };
        let request = shared.operation();
        entry.state = State::Requested { request, until: shared.now + REQUEST_TIMEOUT };
        shared.put(Output::Reserve { request, relay: RelayAddress { relay: relay.clone(), via } });
        report(shared, relay, ReservationState::Requested);
    }

    /// The relay granted that request; gives the relay unless it was granted before.
    pub(super) fn granted(&mut self, shared: &mut Shared, request: OperationId) -> Option<PeerIdentity> {
        let requested = |state| matches!(state, State::Requested { request: asked, .. } if asked == request);
        let (relay, entry) = self.relays.iter_mut().find(|(_, entry)| requested(entry.state))?;
        (entry.state, entry.failures) = (State::Active { request }, 0);
        shared.reserved.insert(relay.clone());
        report(shared, relay, ReservationState::Confirmed);
        Some(relay.clone())
    }

    pub(super) fn renewed(&mut self, shared: &mut Shared, relay: &PeerIdentity) {
        if self.relays.get(relay).is_some_and(|entry| matches!(entry.state, State::Active { .. })) {
            report(shared, relay, ReservationState::Renewed);
        }
    }

    /// That request failed, or what came of it is over.
    pub(super) fn ended(&mut self, shared: &mut Shared, request: OperationId, cause: &str) {
        let of = self.relays.iter().find(|(_, entry)| entry.state.request() == Some(request)).map(|(relay, _)| relay.clone());
        if let Some(relay) = of {
            self.lost(shared, &relay, cause);
        }
    }

    /// A link to the relay gave no answer, and is being closed.
    pub(super) fn silent(&mut self, shared: &Shared, relay: &PeerIdentity) {
        if let Some(entry) = self.relays.get_mut(relay) {
            entry.silent_at = Some(shared.now);
        }
    }

    /// Whatever was under way or held at the relay is gone. Several events can report
    /// one loss; only the first counts.
    pub(super) fn lost(&mut self, shared: &mut Shared, relay: &PeerIdentity, cause: &str) {
        let Some(entry) = self.relays.get_mut(relay).filter(|entry| !matches!(entry.state, State::BackOff { .. })) else {
            return;
        };
        let silence = entry.silent_at.map(|at| shared.now.since(at)).filter(|silence| *silence < SILENCE);
        let delay = if let Some(silence) = silence {
            // Without a network a dial fails at once. The pauses double.
            Some(silence.max(SILENT_PAUSE))
        } else {
            entry.failures = entry.failures.saturating_add(1);
            self.cadence.delay(entry.failures, shared.random())
        };
        let drain = entry.leaving.take().map_or(Duration::ZERO, |until| until.since(shared.now));
        let delay = delay.map(|delay| delay.max(drain));
        let before = std::mem::replace(&mut entry.state, State::BackOff { until: delay.map(|delay| shared.now + delay) });
        release(shared, relay, before, cause, delay);
    }
}

fn release(shared: &mut Shared, relay: &PeerIdentity, state: State, cause: &str, retry_in: Option<Duration>) {
    if let Some(request) = state.request() {
        shared.put(Output::Unreserve { request });
    }
    shared.reserved.remove(relay);
    shared.signal(Signal::RelayNotNeeded(relay.clone()));
    report(shared, relay, ReservationState::lost(cause, retry_in));
}

fn report(shared: &mut Shared, relay: &PeerIdentity, state: ReservationState) {
    shared.report(NetworkEvent::Reservation { relay: relay.clone(), state });
}

#[cfg(test)]
mod tests;
