use std::{collections::HashMap, hash::BuildHasher, time::Duration};

use kaspath_domain::{Moment, TokenBucket, make_room};

/// Between two lines that say how many were left out.
const REPORT_EVERY: Duration = Duration::from_secs(60);
/// Bytes of the longest line, with some room.
const MAX_LINE: u32 = 72 << 10;
/// Warnings remembered, to find those that repeat.
const REMEMBERED: usize = 64;

/// Lines that share one limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// What happens, on standard output.
    Event,
    /// Warnings of ours, as event or log.
    Warning,
    /// Logs of dependencies, and debug logs.
    Log,
}

/// So many at once, then so many a second.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rate {
    pub(super) burst: u32,
    pub(super) per_second: u32,
}

impl Rate {
    fn bucket(self) -> TokenBucket {
        TokenBucket::new(self.burst, Duration::from_secs(1) / self.per_second.max(1))
    }
}

/// How much of a class there may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Quota {
    pub(super) lines: Rate,
    /// What keeps a disk from filling. The burst holds more than one line.
    pub(super) bytes: Rate,
}

/// The limits of all classes. Pure: the caller reads the clock.
pub(super) struct LineLimits {
    /// By class.
    limits: [LineLimit; 3],
    warned: HashMap<u64, Moment>,
}

struct LineLimit {
    lines: TokenBucket,
    bytes: TokenBucket,
    left_out: u64,
    reported: Option<Moment>,
}

impl LineLimit {
    fn new(quota: Quota) -> Self {
        Self { lines: quota.lines.bucket(), bytes: quota.bytes.bucket(), left_out: 0, reported: None }
    }
}

impl LineLimits {
    pub(super) fn new(event: Quota, warning: Quota, log: Quota) -> Self {
        Self { limits: [event, warning, log].map(LineLimit::new), warned: HashMap::new() }
    }

    /// Sets another quota for logs, where more of them are asked for.
    pub(super) fn set_log(&mut self, quota: Quota) {
        *self.of(Class::Log) = LineLimit::new(quota);
    }

    /// Whether a line may be made: one of any length may be printed now. One that may
    /// not is counted.
    pub(super) fn allow(&mut self, class: Class, now: Moment) -> bool {
        let limit = self.of(class);
        let allowed = limit.bytes.has(MAX_LINE, now) && limit.lines.take(now).is_ok();
        limit.left_out += u64::from(!allowed);
        allowed
    }

    /// Takes the bytes of a line; one that finds too few is counted and not printed.
    pub(super) fn spend(&mut self, class: Class, bytes: usize, now: Moment) -> bool {
        let limit = self.of(class);
        let allowed = u32::try_from(bytes).is_ok_and(|bytes| limit.bytes.take_many(bytes, now).is_ok());
        limit.left_out += u64::from(!allowed);
        allowed
    }

    /// Whether this warning was given less than `within` ago; one that was is
    /// counted as left out.
    pub(super) fn is_repeated(&mut self, class: Class, text: &str, within: Duration, now: Moment) -> bool {
        let key = self.warned.hasher().hash_one(text);
        if self.warned.get(&key).is_some_and(|at| now.since(*at) < within) {
            self.of(class).left_out += 1;
            return true;
        }
        make_room(&mut self.warned, &key, REMEMBERED, |at| *at);
        self.warned.insert(key, now);
        false
    }

    /// Counts lines that were lost elsewhere.
    pub(super) fn count(&mut self, class: Class, lost: u64) {
        let limit = self.of(class);
        limit.left_out = limit.left_out.saturating_add(lost);
    }

    /// How many lines were left out, if some were and it is time to say so.
    pub(super) fn due(&mut self, class: Class, now: Moment) -> Option<u64> {
        let limit = self.of(class);
        if limit.left_out == 0 || limit.reported.is_some_and(|at| now.since(at) < REPORT_EVERY) {
            return None;
        }
        limit.reported = Some(now);
        Some(std::mem::take(&mut limit.left_out))
    }

    /// How many lines were left out since that was said last.
    pub(super) fn take_left_out(&mut self, class: Class) -> u64 {
        std::mem::take(&mut self.of(class).left_out)
    }

    fn of(&mut self, class: Class) -> &mut LineLimit {
        &mut self.limits[class as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::after_start(Duration::from_secs(seconds))
    }

    fn limits() -> LineLimits {
        let (lines, bytes) = (Rate { burst: 100, per_second: 10 }, Rate { burst: 1 << 20, per_second: 1 << 10 });
        let quota = Quota { lines, bytes };
        LineLimits::new(quota, quota, quota)
    }

    #[test]
    fn a_burst_passes_then_the_rate_and_the_rest_is_reported_once_a_minute() {
        let mut limits = limits();
        assert_eq!((0..150).filter(|_| limits.allow(Class::Event, at(0))).count(), 100);
        assert_eq!((limits.due(Class::Event, at(0)), limits.due(Class::Event, at(0))), (Some(50), None));
        assert_eq!((0..150).filter(|_| limits.allow(Class::Event, at(1))).count(), 10);
        assert_eq!((limits.due(Class::Event, at(59)), limits.due(Class::Event, at(60))), (None, Some(140)));
    }

    #[test]
    fn a_flood_for_a_day_prints_no_more_bytes_than_the_burst_and_the_rate() {
        // Lines of any length, as fast as the limit of lines lets them through.
        for length in [150, 4096, 64 << 10] {
            let mut limits = limits();
            let (mut bytes, mut lines) = (0, 0);
            for second in 0..86_400 {
                while limits.allow(Class::Event, at(second)) {
                    if limits.spend(Class::Event, length, at(second)) {
                        bytes += length;
                        lines += 1;
                    }
                }
            }
            assert!(bytes <= (1 << 20) + (86_400 << 10), "{length}: {bytes} bytes in {lines} lines");
            assert!(bytes >= 86_400 << 9, "{length}: only {bytes} bytes");
        }
    }

    #[test]
    fn a_flood_of_chatter_leaves_room_for_warnings() {
        let mut limits = limits();
        (0..1000).for_each(|_| {
            limits.allow(Class::Log, at(0));
            limits.allow(Class::Event, at(0));
        });
        assert!(limits.allow(Class::Warning, at(0)));
        assert_eq!(limits.due(Class::Warning, at(0)), None);
    }

    #[test]
    fn a_warning_that_repeats_is_given_once_in_a_while() {
        let mut limits = limits();
        let minute = Duration::from_secs(60);
        let given = (0..120).filter(|second| !limits.is_repeated(Class::Warning, "disk full", minute, at(*second))).count();
        assert_eq!((given, limits.due(Class::Warning, at(120))), (2, Some(118)));
        for n in 0..1000 {
            assert!(!limits.is_repeated(Class::Warning, &format!("another {n}"), minute, at(200)));
        }
        assert!(limits.warned.len() <= REMEMBERED);
    }
}
