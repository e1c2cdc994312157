use std::time::Duration;

use kaspath_domain::Moment;

/// An answer is late after this time at least.
const MIN_PATIENCE: Duration = Duration::from_secs(1);
/// A round trip that nobody has measured.
const FIRST_ROUND_TRIP: Duration = Duration::from_millis(500);
/// After which time an answer is late on a path without a measured round trip.
pub(super) const FIRST_PATIENCE: Duration = Duration::from_millis(1_500);
/// The longest time that an answer may take, whatever was measured.
const MAX_PATIENCE: Duration = Duration::from_secs(10);

/// How long answers on a path take (RFC 6298, section 2), and since when one is due.
#[derive(Clone, Debug, Default)]
pub(super) struct Liveness {
    smoothed: Option<Duration>,
    /// An offset, and when it was sent: it is acknowledged a round trip later.
    sample: Option<(u64, Moment)>,
    /// Since when the peer owes an answer without having given any.
    due_since: Option<Moment>,
}

impl Liveness {
    /// Everything before that offset has been sent.
    pub(super) fn sent(&mut self, offset: u64, now: Moment) {
        self.sample.get_or_insert((offset, now));
        self.due_since.get_or_insert(now);
    }

    /// A ping has been sent.
    pub(super) fn asked(&mut self, now: Moment) {
        self.due_since.get_or_insert(now);
    }

    /// The peer has all before `offset`. Whether more is under way.
    pub(super) fn acknowledged(&mut self, offset: u64, more: bool, now: Moment) {
        if let Some((sampled, at)) = self.sample
            && offset >= sampled
        {
            self.measured(now.since(at));
            self.sample = None;
        }
        self.due_since = more.then_some(now);
    }

    /// Nothing is under way any more.
    pub(super) fn settled(&mut self) {
        (self.sample, self.due_since) = (None, None);
    }

    /// A round trip took that long.
    pub(super) fn measured(&mut self, took: Duration) {
        self.smoothed = Some(self.smoothed.map_or(took, |smoothed| (smoothed * 7 + took) / 8));
    }

    /// The smoothed round trip, if one was measured.
    pub(super) fn round_trip(&self) -> Option<Duration> {
        self.smoothed
    }

    /// When an answer that is due will be late.
    pub(super) fn late_at(&self) -> Option<Moment> {
        let patience = (3 * self.smoothed.unwrap_or(FIRST_ROUND_TRIP)).clamp(MIN_PATIENCE, MAX_PATIENCE);
        self.due_since.map(|since| since + patience)
    }

    /// Nothing is under way on the path any more: it is another's turn.
    pub(super) fn restart(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Moment {
        Moment::after_start(Duration::from_millis(millis))
    }

    #[test]
    fn an_answer_is_late_after_three_round_trips_or_a_second() {
        let mut liveness = Liveness::default();
        assert_eq!(liveness.late_at(), None);
        liveness.sent(10, at(0));
        assert_eq!(liveness.late_at(), Some(at(1_500)), "no round trip is known yet");
        liveness.acknowledged(10, false, at(200));
        assert_eq!((liveness.late_at(), liveness.round_trip()), (None, Some(Duration::from_millis(200))));
        liveness.sent(20, at(1_000));
        liveness.sent(30, at(1_100));
        assert_eq!(liveness.late_at(), Some(at(2_000)));
        liveness.acknowledged(20, true, at(1_200));
        assert_eq!(liveness.late_at(), Some(at(2_200)), "each answer is a sign of life");
        for _ in 0..100 {
            liveness.measured(Duration::from_secs(60));
        }
        assert_eq!(liveness.late_at(), Some(at(11_200)), "but not for ever");
    }
}
