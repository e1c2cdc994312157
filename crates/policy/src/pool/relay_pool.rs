//! The pool: places, exchanges, what is to be done.

use std::time::Duration;

use kaspath_domain::{Moment, PeerIdentity, RelayScore, ReservationLoss, TransportAddress};
use serde::Serialize;

use super::{
    candidate::{RelayCandidate, RelaySource},
    choice::{Chosen, Wanted, choose},
    limits::{EXCHANGE_PAUSE, PROVEN, PoolConfig, REVIEW, ROTATION, ROTATION_SPREAD},
    relay::{Relay, State},
    table::Table,
    view::{self, PoolView},
};

/// Why a relay is used or given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PoolCause {
    /// A place is free.
    Free,
    /// Its reservation was lost, and others have its place.
    Lost,
    /// It drains, and has not ended by itself.
    Draining,
    /// Nobody tells of it any more.
    Withdrawn,
    /// Too much that should have gone by way of it failed.
    Failing,
    /// A relay of the settings takes the place.
    Configured,
    /// One that is twice as good takes the place.
    Better,
    /// It was held for long enough.
    Rotation,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PoolStep {
    /// Ask this relay for a reservation. [`RelayPool::held`] or [`RelayPool::lost`] follows.
    Use {
        /// Which.
        relay: PeerIdentity,
        /// Where it is.
        addresses: Vec<TransportAddress>,
        /// Why.
        cause: PoolCause,
    },
    /// Give back what is held or asked for there.
    Release {
        /// Which.
        relay: PeerIdentity,
        /// Why.
        cause: PoolCause,
    },
}

/// A relay that takes another one's place once its reservation is held.
#[derive(Clone, Debug)]
struct Exchange {
    old: PeerIdentity,
    new: PeerIdentity,
    cause: PoolCause,
}

/// The relays that a node knows, and those that it uses.
#[derive(Debug)]
pub struct RelayPool {
    config: PoolConfig,
    table: Table,
    exchange: Option<Exchange>,
    next_exchange: Moment,
    next_review: Moment,
}

impl RelayPool {
    /// Without any relay.
    pub fn new(config: PoolConfig) -> Self {
        let (next_exchange, next_review) = (Moment::default(), Moment::default());
        Self { config, table: Table::default(), exchange: None, next_exchange, next_review }
    }

    /// A source tells of a relay. `random` lies in 0..1. Whether the relay is known now.
    pub fn offer(&mut self, candidate: RelayCandidate, now: Moment, random: f64) -> bool {
        (self.config.strangers || candidate.source.is_given()) && self.table.offer(candidate, now, random)
    }

    /// Whether relays that nobody gave are used too.
    pub fn takes_strangers(&self) -> bool {
        self.config.strangers
    }

    /// All that a source tells; what it told before counts no more. A relay that nobody else
    /// tells of is given back when another one is held.
    pub fn replace(&mut self, source: &RelaySource, candidates: Vec<RelayCandidate>, now: Moment, random: f64) {
        let kept: Vec<PeerIdentity> = candidates.iter().map(|candidate| candidate.relay.clone()).collect();
        self.table.withdraw(source, &kept);
        for candidate in candidates {
            self.offer(RelayCandidate { source: source.clone(), ..candidate }, now, random);
        }
    }

    /// How a relay has served before, by the peer book.
    pub fn seed(&mut self, relay: &PeerIdentity, score: RelayScore) {
        if let Some(relay) = self.table.relays.get_mut(relay) {
            relay.seed(score);
        }
    }

    /// The reservation there was granted.
    pub fn held(&mut self, relay: &PeerIdentity, now: Moment, random: f64) {
        let Some(held) = self.table.relays.get_mut(relay).filter(|relay| relay.is_in_use()) else { return };
        if held.held_since().is_none() {
            held.state = State::Held { since: now };
            held.rotates = Some(now + ROTATION + ROTATION_SPREAD.mul_f64(random.clamp(0.0, 1.0)));
        }
    }

    /// The reservation there is gone, or was refused. When it is asked for again, if its
    /// place is free then.
    pub fn lost(&mut self, relay: &PeerIdentity, kind: ReservationLoss, now: Moment, random: f64) -> Option<Duration> {
        let lost = self.table.relays.get_mut(relay).filter(|relay| !matches!(relay.state, State::Idle { .. }))?;
        let retry_in = lost.lost(kind, now, random);
        if let Some(exchange) = self.exchange.take_if(|exchange| exchange.new == *relay || exchange.old == *relay)
            && exchange.new == *relay
        {
            self.next_exchange = now + EXCHANGE_PAUSE;
        }
        Some(retry_in)
    }

    /// The relay ends what it has granted after that time.
    pub fn draining(&mut self, relay: &PeerIdentity, left: Duration, now: Moment) {
        if let Some(relay) = self.table.relays.get_mut(relay).filter(|relay| relay.is_in_use()) {
            relay.leaving.get_or_insert(now + left);
        }
    }

    /// A round trip to the relay was measured.
    pub fn round_trip(&mut self, relay: &PeerIdentity, round_trip: Duration) {
        if let Some(relay) = self.table.relays.get_mut(relay) {
            relay.rtt = Some(round_trip);
        }
    }

    /// A dial by way of the relay gave a stream, or failed for its sake.
    pub fn carried(&mut self, relay: &PeerIdentity, has_carried: bool, now: Moment) {
        if let Some(relay) = self.table.relays.get_mut(relay) {
            relay.outcomes.push(has_carried);
            relay.tried |= has_carried;
            relay.seen = if has_carried { now } else { relay.seen };
        }
    }

    /// The relay has answered a question, or does not although others do. One that is of no
    /// other use, and does not answer twice in a row or never has, is forgotten.
    pub fn answered(&mut self, relay: &PeerIdentity, answers: bool) {
        self.table.answered(relay, answers);
    }

    /// Whether a reservation is held anywhere, and does not end soon.
    pub fn serves(&self) -> bool {
        !self.is_alone()
    }

    /// Whether as many reservations are held as are wanted.
    pub fn is_served(&self) -> bool {
        self.table.relays.values().filter(|relay| relay.serves()).count() >= self.config.reservations
    }

    /// The relays that the transport was told to hold.
    pub fn used(&self) -> Vec<PeerIdentity> {
        let used = self.table.relays.iter().filter(|(_, relay)| relay.is_in_use());
        used.map(|(id, _)| id.clone()).collect()
    }

    fn is_alone(&self) -> bool {
        !self.table.relays.values().any(Relay::serves)
    }

    /// Places that nobody has. One that is about to take another one's place has none yet.
    fn free(&self) -> usize {
        let is_extra = |id: &PeerIdentity| self.exchange.as_ref().is_some_and(|exchange| exchange.new == *id);
        let placed = self.table.relays.iter().filter(|(id, relay)| relay.has_place() && !is_extra(id)).count();
        self.config.reservations.saturating_sub(placed)
    }

    /// When to call [`RelayPool::step`] next; `None` if no relay is known.
    pub fn deadline(&self) -> Option<Moment> {
        if self.table.relays.is_empty() {
            return None;
        }
        let alone = self.is_alone();
        let may_ask = self.free() > 0;
        let due = self.table.relays.values().filter(|relay| may_ask && !relay.sources.is_empty());
        let due = due.filter_map(|relay| relay.free_at(alone)).min();
        let leaving = self.table.relays.values().filter_map(|relay| relay.leaving).min();
        [due, leaving, Some(self.next_review)].into_iter().flatten().min()
    }

    /// What is due now. `chance` gives numbers in 0..1.
    pub fn step(&mut self, now: Moment, mut chance: impl FnMut() -> f64) -> Vec<PoolStep> {
        let mut steps = Vec::new();
        for (id, relay) in &mut self.table.relays {
            if relay.held_since().is_some_and(|since| now.since(since) >= PROVEN) {
                (relay.tried, relay.seen) = (true, now);
            }
            // A relay that says it drains, and stays, is given back.
            if relay.leaving.is_some_and(|until| until <= now) {
                steps.push(release(id, relay, now, PoolCause::Draining));
            }
        }
        self.complete(now, &mut steps);
        while self.free() > 0 {
            let wanted = Wanted { instead_of: None, other_blocks: false, alone: self.is_alone(), now, random: chance() };
            let Some(chosen) = choose(&self.table.relays, wanted) else { break };
            steps.extend(self.take(chosen, PoolCause::Free));
        }
        let is_full = self.free() == 0;
        for (id, relay) in &mut self.table.relays {
            if relay.told && matches!(relay.state, State::Idle { .. }) && (is_full || relay.sources.is_empty()) {
                (relay.told, relay.leaving) = (false, None);
                steps.push(PoolStep::Release { relay: id.clone(), cause: PoolCause::Lost });
            }
        }
        self.give_up_withdrawn(now, &mut steps);
        if now >= self.next_review {
            self.next_review = now + REVIEW;
            self.table.forget(now);
            if self.exchange.is_none() && now >= self.next_exchange && self.free() == 0 && self.config.reservations > 0 {
                steps.extend(self.begin_exchange(now, chance()));
            }
        }
        steps
    }

    /// The relays, for people.
    pub fn view(&self, now: Moment) -> PoolView {
        let alone = self.is_alone();
        let mut relays: Vec<_> = self.table.relays.iter().map(|(id, relay)| view::of(id, relay, now, alone)).collect();
        relays.sort_by(|a, b| (a.state as u8).cmp(&(b.state as u8)).then(b.score.total_cmp(&a.score)));
        let review_in = (!relays.is_empty()).then(|| self.next_review.since(now));
        PoolView { reservations: self.config.reservations, relays, review_in }
    }

    fn take(&mut self, chosen: Chosen, cause: PoolCause) -> Option<PoolStep> {
        let relay = self.table.relays.get_mut(&chosen.relay)?;
        (relay.state, relay.told, relay.near) = (State::Asked, true, chosen.near);
        Some(PoolStep::Use { relay: chosen.relay, addresses: relay.addresses.clone(), cause })
    }

    /// The old one is given back once the new one is held.
    fn complete(&mut self, now: Moment, steps: &mut Vec<PoolStep>) {
        let is_held = |relay: &PeerIdentity| self.table.relays.get(relay).is_some_and(Relay::serves);
        let Some(Exchange { old, cause, .. }) = self.exchange.take_if(|exchange| is_held(&exchange.new)) else { return };
        if let Some(relay) = self.table.relays.get_mut(&old).filter(|relay| relay.is_in_use()) {
            steps.push(release(&old, relay, now, cause));
        }
    }

    /// Relays that nobody tells of any more, as long as another one serves.
    fn give_up_withdrawn(&mut self, now: Moment, steps: &mut Vec<PoolStep>) {
        if !self.table.relays.values().any(|relay| relay.serves() && !relay.sources.is_empty()) {
            return;
        }
        for (id, relay) in self.table.relays.iter_mut().filter(|(_, relay)| relay.sources.is_empty() && relay.is_in_use()) {
            steps.push(release(id, relay, now, PoolCause::Withdrawn));
        }
    }

    /// One relay at a time gives its place to another.
    fn begin_exchange(&mut self, now: Moment, random: f64) -> Option<PoolStep> {
        let (old, chosen, cause) = self.exchange_wanted(now, random)?;
        self.exchange = Some(Exchange { old, new: chosen.relay.clone(), cause });
        self.take(chosen, cause)
    }

    fn exchange_wanted(&self, now: Moment, random: f64) -> Option<(PeerIdentity, Chosen, PoolCause)> {
        let relays = &self.table.relays;
        let choose_for =
            |old: &PeerIdentity| choose(relays, Wanted { instead_of: Some(old), other_blocks: true, alone: false, now, random });
        let is_good = |chosen: &Chosen| relays.get(&chosen.relay).is_some_and(Relay::is_good);
        let held = || relays.iter().filter_map(|(id, relay)| Some((id, relay, relay.held_since()?)));
        for (id, ..) in held().filter(|(_, relay, _)| relay.is_failing()) {
            if let Some(chosen) = choose_for(id).filter(is_good) {
                return Some((id.clone(), chosen, PoolCause::Failing));
            }
        }
        let kept_long = |since: Moment| now.since(since) >= self.config.minimum_hold;
        let mut may_go: Vec<_> = held().filter(|(_, relay, since)| !relay.is_configured() && kept_long(*since)).collect();
        // A random one goes before the near one, and who was held for longest first.
        may_go.sort_by_key(|(_, relay, since)| (relay.near, *since));
        let is_configured = |chosen: &Chosen| relays.get(&chosen.relay).is_some_and(Relay::is_configured);
        if let Some((id, ..)) = may_go.first() {
            let wanted = Wanted { instead_of: Some(*id), other_blocks: false, alone: false, now, random };
            if let Some(chosen) = choose(relays, wanted).filter(is_configured) {
                return Some(((*id).clone(), chosen, PoolCause::Configured));
            }
        }
        for (id, relay, _) in &may_go {
            let chosen = choose_for(id).filter(is_good);
            let is_twice = |chosen: &Chosen| relays.get(&chosen.relay).is_some_and(|new| new.score() >= 2.0 * relay.score());
            if relay.near && chosen.as_ref().is_some_and(is_twice) {
                return chosen.map(|chosen| ((*id).clone(), chosen, PoolCause::Better));
            }
            if !relay.near && relay.rotates.is_some_and(|at| at <= now) && chosen.is_some() {
                return chosen.map(|chosen| ((*id).clone(), chosen, PoolCause::Rotation));
            }
        }
        None
    }
}

fn release(id: &PeerIdentity, relay: &mut Relay, now: Moment, cause: PoolCause) -> PoolStep {
    let pause = if cause == PoolCause::Draining { PROVEN } else { Duration::ZERO };
    (relay.state, relay.told, relay.leaving) = (State::Idle { until: now + pause, since: now }, false, None);
    PoolStep::Release { relay: id.clone(), cause }
}
