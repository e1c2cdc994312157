//! Whether a router has lost its mappings: the rule of RFC 6887, section 8.5.

use std::time::Duration;

use kaspath_domain::Moment;

/// What a router's clock may be behind ours.
const SLACK: Duration = Duration::from_secs(2);
/// The share of the time that passed by which the clocks may differ besides.
const DRIFT: u32 = 16;

/// The last epoch that a router told, and when it was heard.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Epoch(Option<(u32, Moment)>);

impl Epoch {
    /// Notes the seconds since the router's start, as it tells them now. Whether it has
    /// restarted since it was last heard.
    pub(crate) fn hear(&mut self, seconds: u32, now: Moment) -> bool {
        let Some((last, heard)) = self.0.replace((seconds, now)) else { return false };
        if seconds.saturating_add(1) < last {
            return true;
        }
        let ours = now.since(heard);
        let theirs = Duration::from_secs(u64::from(seconds.saturating_sub(last)));
        ours + SLACK < theirs - theirs / DRIFT || theirs + SLACK < ours - ours / DRIFT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::default() + Duration::from_secs(seconds)
    }

    #[test]
    fn a_clock_that_goes_with_ours_is_no_restart() {
        let mut epoch = Epoch::default();
        assert!(!epoch.hear(100, at(0)));
        assert!(!epoch.hear(99, at(0)), "one second back is rounding");
        assert!(!epoch.hear(700, at(600)));
        assert!(!epoch.hear(700 + 562, at(1200)), "a sixteenth slow, and two seconds");
        assert!(!epoch.hear(700 + 562 + 640, at(1800)));
    }

    #[test]
    fn a_clock_that_goes_back_jumps_ahead_or_stands_is_a_restart() {
        for (next, after) in [(0, 600), (98, 1), (5000, 600), (100, 600), (u32::MAX, 600)] {
            let mut epoch = Epoch::default();
            epoch.hear(100, at(0));
            assert!(epoch.hear(next, at(after)), "{next} after {after} s");
        }
    }
}
