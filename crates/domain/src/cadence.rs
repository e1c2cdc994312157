//! When to try again.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A retry cadence: first the given delays, then `then` for ever. Every delay is
/// spread by `jitter` so that peers who failed together do not retry together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RetryCadence {
    /// Delays before the first retries.
    pub delays: Vec<Duration>,
    /// The delay before each later retry; `None` gives up instead.
    pub then: Option<Duration>,
    /// Share of a delay that is random, 0 to 1: the delay lies between
    /// `1 - jitter` and `1 + jitter` of the nominal one.
    pub jitter: f64,
}

impl RetryCadence {
    /// Never try again.
    pub fn never() -> Self {
        Self { delays: Vec::new(), then: None, jitter: 0.0 }
    }

    /// For punches: 2, 5 and 10 seconds, then 15 for a quarter of an hour, in which most
    /// networks that are in the way come back, then every 5 minutes; a quarter of it random.
    pub fn punch() -> Self {
        let delays = [2, 5, 10].into_iter().chain([15; 36]).map(Duration::from_secs).collect();
        Self { delays, then: Some(Duration::from_secs(300)), jitter: 0.25 }
    }

    /// For reservations and other things that must come back: from 1 second to 2 minutes.
    pub fn persistent() -> Self {
        Self {
            delays: [1, 2, 5, 10, 30, 60].map(Duration::from_secs).to_vec(),
            then: Some(Duration::from_secs(120)),
            jitter: 0.25,
        }
    }

    /// The delay before retry number `failures` (1 after the first failure), or
    /// `None` to give up. `random` lies in 0..1 and is the only source of chance.
    pub fn delay(&self, failures: u32, random: f64) -> Option<Duration> {
        let index = failures.saturating_sub(1) as usize;
        let nominal = self.delays.get(index).copied().or(self.then)?;
        let spread = 1.0 + self.jitter.clamp(0.0, 1.0) * (2.0 * random.clamp(0.0, 1.0) - 1.0);
        Some(nominal.mul_f64(spread))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_follow_the_list_and_then_the_tail() {
        let cadence = RetryCadence { delays: vec![Duration::from_secs(2)], then: Some(Duration::from_secs(60)), jitter: 0.5 };
        assert_eq!(cadence.delay(1, 0.5), Some(Duration::from_secs(2)));
        assert_eq!(cadence.delay(1, 0.0), Some(Duration::from_secs(1)));
        assert_eq!(cadence.delay(1, 1.0), Some(Duration::from_secs(3)));
        assert_eq!(cadence.delay(u32::MAX, 0.5), Some(Duration::from_secs(60)));
        assert_eq!(RetryCadence::never().delay(1, 0.5), None);
    }
}
