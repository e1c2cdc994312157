//! What sessions move.

use std::{collections::VecDeque, time::Duration};

use kaspath_control::TrafficStatus;

/// Samples from which a rate is made: those of the last five seconds.
const MAX_SAMPLES: usize = 6;

/// Bytes received and sent.
pub(crate) type Bytes = [u64; 2];

/// Times are since the program's start.
#[derive(Default)]
pub(super) struct Traffic {
    /// Of sessions that have ended.
    ended: Bytes,
    samples: VecDeque<(Duration, Bytes)>,
}

impl Traffic {
    pub(super) fn ended(&mut self, bytes: Bytes) {
        self.ended = sum([self.ended, bytes]);
    }

    /// Takes note of what the open sessions have moved by now, once a second.
    pub(super) fn sample(&mut self, open: Bytes, now: Duration) {
        if self.samples.len() >= MAX_SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back((now, sum([self.ended, open])));
    }

    pub(super) fn status(&self, open: Bytes) -> TrafficStatus {
        let rate = |which: usize| {
            let (Some((begin, before)), Some((end, after))) = (self.samples.front(), self.samples.back()) else { return 0.0 };
            let seconds = end.saturating_sub(*begin).as_secs_f64();
            // A session that ends may be counted twice for a moment.
            let bytes = after[which].saturating_sub(before[which]);
            if seconds > 0.0 { bytes as f64 / seconds } else { 0.0 }
        };
        let [received, sent] = sum([self.ended, open]);
        TrafficStatus { received, sent, received_rate: rate(0), sent_rate: rate(1) }
    }
}

pub(crate) fn sum(each: impl IntoIterator<Item = Bytes>) -> Bytes {
    each.into_iter().fold([0, 0], |sum, bytes| [0, 1].map(|which: usize| sum[which].saturating_add(bytes[which])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_of_the_last_five_seconds_and_totals_of_all_sessions() {
        let at = Duration::from_secs;
        let mut traffic = Traffic::default();
        assert_eq!(traffic.status([0, 0]), TrafficStatus::default());
        traffic.sample([0, 0], at(0));
        assert_eq!(traffic.status([7, 0]).received_rate, 0.0, "one sample makes no rate");
        for second in 1..=20 {
            traffic.sample([second * 1000, second * 10], at(second));
        }
        let status = traffic.status([20_000, 200]);
        assert_eq!((status.received_rate, status.sent_rate), (1000.0, 10.0));
        traffic.ended([20_000, 200]);
        traffic.sample([0, 0], at(21));
        let status = traffic.status([5, 5]);
        assert_eq!((status.received, status.sent), (20_005, 205));
        (22..=26).for_each(|second| traffic.sample([0, 0], at(second)));
        assert_eq!(traffic.status([0, 0]).received_rate, 0.0);
    }
}
