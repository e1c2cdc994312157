use std::time::Duration;

use kaspath_domain::Moment;

/// The least burst, as a time at the rate: timers are exact to a millisecond or two, and
/// who comes late must be able to catch up.
const LEAST_BURST: Duration = Duration::from_millis(20);
/// The burst if none is set.
const DEFAULT_BURST: Duration = Duration::from_millis(100);

/// Bytes per second and how many may come at once. 0 bytes per second are no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Rate {
    per_second: u64,
    /// The time in which the rate gives the burst.
    burst: Duration,
}

impl Rate {
    pub(super) fn new(per_second: u64, burst: u64) -> Self {
        let without = Self { per_second, burst: DEFAULT_BURST };
        let burst = if burst == 0 { DEFAULT_BURST } else { without.time(burst).max(LEAST_BURST) };
        Self { burst, ..without }
    }

    pub(super) fn is_limited(self) -> bool {
        self.per_second > 0
    }

    /// Bytes that the rate gives in that time; without limit, `None`.
    pub(super) fn bytes_in(self, time: Duration) -> Option<u64> {
        let bytes = u128::from(self.per_second) * time.as_nanos() / 1_000_000_000;
        self.is_limited().then(|| u64::try_from(bytes).unwrap_or(u64::MAX))
    }

    /// The time in which it gives so many.
    fn time(self, bytes: u64) -> Duration {
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(self.per_second.max(1));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

/// A token bucket that is paid after use: it is known by when it will be full again. Bytes
/// are passed on and charged; who charged waits for the moment that comes of it. So those
/// who wait are served in the order in which they charged, each once before any other
/// twice, and who sends little never waits for those who send much.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Pace {
    pub(super) full_at: Moment,
}

impl Pace {
    /// Charges bytes that were passed on now; from the returned moment on there may be more.
    pub(super) fn charge(&mut self, rate: Rate, bytes: u64, now: Moment) -> Moment {
        if !rate.is_limited() {
            return now;
        }
        self.full_at = self.full_at.max(now) + rate.time(bytes);
        (self.full_at - rate.burst).max(now)
    }
}
