use std::time::Instant;

/// A token bucket for lines: bursts of ten seconds' worth, then a steady rate.
pub(super) struct LineLimit {
    per_second: f64,
    tokens: f64,
    last: Instant,
    left_out: u64,
}

impl LineLimit {
    pub(super) fn new(per_second: u32, now: Instant) -> Self {
        let per_second = f64::from(per_second);
        Self { per_second, tokens: per_second * 10.0, last: now, left_out: 0 }
    }

    /// `None` if the line must be left out; else how many were before it.
    pub(super) fn allow(&mut self, now: Instant) -> Option<u64> {
        let elapsed = now.saturating_duration_since(self.last).as_secs_f64();
        self.last = now;
        self.tokens = (self.tokens + elapsed * self.per_second).min(self.per_second * 10.0);
        if self.tokens < 1.0 {
            self.left_out += 1;
            return None;
        }
        self.tokens -= 1.0;
        Some(std::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_burst_passes_then_the_rate_and_the_rest_is_counted() {
        let begin = Instant::now();
        let mut limit = LineLimit::new(10, begin);
        let passed = (0..150).filter(|_| limit.allow(begin).is_some()).count();
        assert_eq!(passed, 100);
        assert_eq!(limit.allow(begin + Duration::from_secs(1)), Some(50));
        assert_eq!(limit.allow(begin + Duration::from_secs(1)), Some(0));
    }
}
