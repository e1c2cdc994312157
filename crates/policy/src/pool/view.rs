//! The pool as people see it.

use std::time::Duration;

use kaspath_domain::{Moment, PeerIdentity, TransportAddress};

use super::{
    candidate::RelaySource,
    relay::{Relay, State},
};

/// What a relay of the pool does now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PoolState {
    /// A reservation is held there.
    Held,
    /// A reservation was asked for.
    Asked,
    /// It ends what it has granted.
    Draining,
    /// It failed, and is not asked for now.
    BackOff,
    /// It is known, and could be asked.
    Known,
}

/// A relay of the pool.
#[derive(Clone, Debug)]
pub struct PooledRelay {
    /// Who it is.
    pub relay: PeerIdentity,
    /// Where it is.
    pub addresses: Vec<TransportAddress>,
    /// Who tells of it, the best first; none if all have withdrawn it.
    pub sources: Vec<RelaySource>,
    /// What it does.
    pub state: PoolState,
    /// How long a reservation has been held there.
    pub held: Option<Duration>,
    /// When it may be asked again, if it failed.
    pub retry_in: Option<Duration>,
    /// From 0 to 1.
    pub score: f64,
    /// The last round trip.
    pub round_trip: Option<Duration>,
    /// How full it says it is, in sixteenths.
    pub load: Option<u8>,
}

/// The pool now.
#[derive(Clone, Debug, Default)]
pub struct PoolView {
    /// Reservations that are wanted.
    pub reservations: usize,
    /// Every relay that is known: those in use first, the rest by their score.
    pub relays: Vec<PooledRelay>,
    /// The time to the next look at whether one that is held gives its place to another.
    pub review_in: Option<Duration>,
}

impl PoolView {
    /// Relays in that state.
    pub fn count(&self, state: PoolState) -> usize {
        self.relays.iter().filter(|relay| relay.state == state).count()
    }
}

pub(super) fn of(id: &PeerIdentity, relay: &Relay, now: Moment, alone: bool) -> PooledRelay {
    let retry_in = relay.free_at(alone).filter(|at| *at > now).map(|at| at.since(now));
    let state = match relay.state {
        _ if relay.leaving.is_some() => PoolState::Draining,
        State::Held { .. } => PoolState::Held,
        State::Asked => PoolState::Asked,
        State::Idle { .. } if retry_in.is_some() => PoolState::BackOff,
        State::Idle { .. } => PoolState::Known,
    };
    PooledRelay {
        relay: id.clone(),
        addresses: relay.addresses.clone(),
        sources: relay.sources.clone(),
        state,
        held: relay.held_since().map(|since| now.since(since)),
        retry_in,
        score: relay.score(),
        round_trip: relay.rtt,
        load: relay.load,
    }
}
