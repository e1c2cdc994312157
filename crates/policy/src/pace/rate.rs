use std::time::Duration;

use kaspath_domain::Timestamp;

/// A bucket of attempts: so many at once, then one more at every interval.
#[derive(Clone, Debug)]
pub struct AttemptRate {
    burst: u32,
    every: Duration,
    left: f64,
    at: Option<Timestamp>,
}

impl AttemptRate {
    /// A full bucket of `burst` (at least one).
    pub fn new(burst: u32, every: Duration) -> Self {
        let burst = burst.max(1);
        Self { burst, every: every.max(Duration::from_nanos(1)), left: f64::from(burst), at: None }
    }

    /// Takes one, or says how long until there is one. A clock that goes back
    /// neither gives nor takes.
    pub fn take(&mut self, now: Timestamp) -> Result<(), Duration> {
        let before = self.at.unwrap_or(now);
        let earned = now.since(before).as_secs_f64() / self.every.as_secs_f64();
        self.left = (self.left + earned).min(f64::from(self.burst));
        self.at = Some(before.max(now));
        if self.left >= 1.0 {
            self.left -= 1.0;
            Ok(())
        } else {
            Err(self.every.mul_f64(1.0 - self.left))
        }
    }
}
