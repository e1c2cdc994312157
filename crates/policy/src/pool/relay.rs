//! What is known of one relay.

use std::time::Duration;

use kaspath_domain::{Moment, PeerGroup, PeerIdentity, RelayScore, ReservationLoss, RetryCadence, TransportAddress};

use super::{
    candidate::RelaySource,
    limits::{LONGEST_ALONE, MAX_SOURCES, PROVEN, PROVEN_CONFIGURED},
};

/// Outcomes remembered.
const WINDOW: usize = 32;
/// With fewer, nothing is said of a relay that is held.
const ENOUGH: usize = 8;
/// A candidate must do better than the first, one that is held than the second.
const ACCEPTABLE: f64 = 0.6;
const FAILING: f64 = 0.3;
/// A round trip that halves the score, and the one that counts until it is measured.
const HALF: f64 = 0.1;
const UNKNOWN: f64 = 0.15;
/// The load at which a relay is not asked, in sixteenths.
const FULL: u8 = 16;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum State {
    /// It has no place; not asked before then.
    Idle { until: Moment, since: Moment },
    /// Its reservation is asked for.
    Asked,
    /// It is held.
    Held { since: Moment },
}

/// How the last dials by way of a relay ended.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Outcomes {
    /// The newest in the lowest bit; 1 is a success.
    bits: u32,
    count: usize,
}

impl Outcomes {
    pub(super) fn push(&mut self, carried: bool) {
        self.bits = (self.bits << 1) | u32::from(carried);
        self.count = (self.count + 1).min(WINDOW);
    }

    /// As a book remembers it, scaled down so that what happens now soon counts more.
    fn seeded(score: RelayScore) -> Self {
        let total = score.carried.saturating_add(score.failed);
        let mut outcomes = Self::default();
        let kept = total.min(ENOUGH as u64);
        let carried = if total == 0 { 0 } else { (u128::from(score.carried) * u128::from(kept) / u128::from(total)) as u64 };
        (0..kept).for_each(|n| outcomes.push(n >= kept - carried));
        outcomes
    }

    /// From 0 to 1. One of which nothing is known gets the benefit of the doubt.
    pub(super) fn success(self) -> f64 {
        let carried = self.bits.count_ones() as f64;
        (carried + 3.0) / (self.count as f64 + 4.0)
    }
}

#[derive(Clone, Debug)]
pub(super) struct Relay {
    pub(super) addresses: Vec<TransportAddress>,
    /// Who may own it, by its addresses.
    pub(super) groups: Vec<PeerGroup>,
    /// Who tells of it now, the best first; none if all have withdrawn it.
    pub(super) sources: Vec<RelaySource>,
    /// Its position among those of its source.
    pub(super) rank: usize,
    pub(super) load: Option<u8>,
    pub(super) rtt: Option<Duration>,
    pub(super) outcomes: Outcomes,
    pub(super) state: State,
    /// The transport was told to hold it, and has not been told to give it back.
    pub(super) told: bool,
    pub(super) failures: u32,
    /// It ends what it has granted then.
    pub(super) leaving: Option<Moment>,
    /// It carried something, or was held for long.
    pub(super) tried: bool,
    /// It has answered the last question. One that has not may give its place to another one
    /// that was told of.
    pub(super) answers: bool,
    /// It was chosen for its score.
    pub(super) near: bool,
    /// When a random one gives its place to another.
    pub(super) rotates: Option<Moment>,
    /// When somebody last told of it, or it was last of use.
    pub(super) seen: Moment,
}

impl Relay {
    pub(super) fn new(now: Moment) -> Self {
        Self {
            addresses: Vec::new(),
            groups: Vec::new(),
            sources: Vec::new(),
            rank: 0,
            load: None,
            rtt: None,
            outcomes: Outcomes::default(),
            state: State::Idle { until: now, since: now },
            told: false,
            failures: 0,
            leaving: None,
            tried: false,
            answers: false,
            near: false,
            rotates: None,
            seen: now,
        }
    }

    pub(super) fn seed(&mut self, score: RelayScore) {
        self.outcomes = Outcomes::seeded(score);
    }

    pub(super) fn add_source(&mut self, source: RelaySource) {
        if !self.sources.contains(&source) {
            self.sources.push(source);
            self.sources.sort();
            self.sources.truncate(MAX_SOURCES);
        }
    }

    /// The first stranger who told of it.
    pub(super) fn teller(&self) -> Option<&PeerIdentity> {
        self.sources.iter().find_map(RelaySource::teller)
    }

    pub(super) fn is_configured(&self) -> bool {
        self.sources.first() == Some(&RelaySource::Configured)
    }

    pub(super) fn is_given(&self) -> bool {
        self.sources.first().is_some_and(RelaySource::is_given)
    }

    pub(super) fn is_in_use(&self) -> bool {
        self.told || !matches!(self.state, State::Idle { .. })
    }

    /// Told of by strangers, and of no use so far.
    pub(super) fn is_spare(&self) -> bool {
        !self.tried && !self.is_given() && !self.is_in_use()
    }

    /// Takes a place: one that drains has none any more.
    pub(super) fn has_place(&self) -> bool {
        !matches!(self.state, State::Idle { .. }) && self.leaving.is_none()
    }

    pub(super) fn held_since(&self) -> Option<Moment> {
        match self.state {
            State::Held { since } => Some(since),
            State::Idle { .. } | State::Asked => None,
        }
    }

    /// Held, and not about to end.
    pub(super) fn serves(&self) -> bool {
        self.held_since().is_some() && self.leaving.is_none()
    }

    /// When it may be asked; `None` while it has a place. `alone` is that nothing is held.
    pub(super) fn free_at(&self, alone: bool) -> Option<Moment> {
        match self.state {
            State::Idle { until, since } if alone => Some(until.min(since + LONGEST_ALONE)),
            State::Idle { until, .. } => Some(until),
            State::Asked | State::Held { .. } => None,
        }
    }

    /// What happens to whom it is told of counts for it: good enough for a place.
    pub(super) fn is_good(&self) -> bool {
        self.is_configured() || (self.outcomes.success() >= ACCEPTABLE && self.load.is_none_or(|load| load < FULL))
    }

    pub(super) fn is_failing(&self) -> bool {
        self.outcomes.count >= ENOUGH && self.outcomes.success() < FAILING
    }

    /// From 0 to 1.
    pub(super) fn score(&self) -> f64 {
        let rtt = self.rtt.map_or(UNKNOWN, |rtt| rtt.as_secs_f64());
        let load = f64::from(self.load.unwrap_or(0).min(FULL)) / f64::from(2 * FULL);
        self.outcomes.success() / (1.0 + rtt / HALF) * (1.0 - load)
    }

    /// Its reservation is gone, or was not granted: when it is asked again.
    pub(super) fn lost(&mut self, kind: ReservationLoss, now: Moment, random: f64) -> Duration {
        let proven = if self.is_configured() { PROVEN_CONFIGURED } else { PROVEN };
        if self.held_since().is_some_and(|since| now.since(since) >= proven) {
            self.failures = 0;
        }
        self.failures = self.failures.saturating_add(1);
        let (cadence, skipped) = if self.is_configured() { (RetryCadence::persistent(), 0) } else { back_off(kind) };
        let delay = cadence.delay(self.failures.saturating_add(skipped), random).unwrap_or(LONGEST_ALONE);
        let drain = self.leaving.take().map_or(Duration::ZERO, |until| until.since(now));
        let delay = delay.max(drain);
        self.state = State::Idle { until: now + delay, since: now };
        delay
    }
}

/// The back-off of a relay that the user did not name, and how many of its steps are skipped: one
/// that is full or does not allow us answers, and will say the same for a while.
fn back_off(kind: ReservationLoss) -> (RetryCadence, u32) {
    let delays: Vec<Duration> = [5, 30, 120, 600, 1800].map(Duration::from_secs).to_vec();
    let skipped = match kind {
        ReservationLoss::Limit => 2,
        ReservationLoss::Refused | ReservationLoss::Unsupported => delays.len() as u32,
        _ => 0,
    };
    (RetryCadence { delays, then: Some(Duration::from_secs(3600)), jitter: 0.25 }, skipped)
}

/// Who may own a relay at these addresses: their provider's blocks, itself if they are not known.
pub(super) fn groups(id: &PeerIdentity, addresses: &[TransportAddress]) -> Vec<PeerGroup> {
    let mut groups: Vec<PeerGroup> =
        addresses.iter().filter_map(TransportAddress::provider_block).map(PeerGroup::Prefix).collect();
    if groups.is_empty() {
        groups.push(PeerGroup::Relay(id.clone()));
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_score_falls_with_failures_round_trip_and_load_and_forgets() {
        let mut relay = Relay::new(Moment::default());
        let unknown = relay.score();
        assert!(relay.is_good() && !relay.is_failing());
        relay.rtt = Some(Duration::from_millis(10));
        assert!(relay.score() > unknown);
        let light = relay.score();
        relay.load = Some(12);
        assert!(relay.score() < light && relay.is_good());
        relay.load = Some(16);
        assert!(!relay.is_good());
        relay.load = None;
        (0..8).for_each(|_| relay.outcomes.push(false));
        assert!(relay.is_failing() && !relay.is_good());
        (0..WINDOW).for_each(|_| relay.outcomes.push(true));
        assert!(relay.is_good() && relay.outcomes.success() > 0.95);
    }

    #[test]
    fn a_long_past_in_the_book_weighs_no_more_than_eight_outcomes() {
        let mut relay = Relay::new(Moment::default());
        relay.seed(RelayScore { carried: 1_000_000, failed: 0 });
        assert_eq!((relay.outcomes.count, relay.outcomes.bits.count_ones()), (8, 8));
        relay.seed(RelayScore { carried: 1, failed: 1 });
        assert_eq!((relay.outcomes.count, relay.outcomes.bits.count_ones()), (2, 1));
        relay.seed(RelayScore { carried: u64::MAX, failed: u64::MAX });
        assert!(relay.outcomes.count <= 8);
    }
}
