//! Time as a value, so that decisions can be tested without a clock.
//!
//! There are two kinds, which no operation mixes. What is written to disk or
//! shown to people has a [`Timestamp`], by the wall clock, which is set and may step
//! by hours. What is measured in durations (rates, back-offs, idle times) has a
//! [`Moment`], which never steps.
//!
//! ```compile_fail
//! use kaspath_domain::{Moment, Timestamp};
//! let _ = Moment::default().since(Timestamp::default());
//! ```

use std::{
    fmt,
    ops::{Add, Sub},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize, Serializer};
use tokio::time::Instant;

/// Serializing durations as seconds, for events that people and programs read:
/// `#[serde(serialize_with = "kaspath_domain::time::seconds")]`.
pub fn seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}

/// The same for a duration that may be missing.
pub fn optional_seconds<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    duration.map(|duration| duration.as_secs_f64()).serialize(serializer)
}

/// A point in time by the wall clock: the time since the Unix epoch. Nothing in the
/// domain reads that clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Timestamp(Duration);

impl Timestamp {
    /// The given time since the epoch.
    pub const fn from_epoch(since_epoch: Duration) -> Self {
        Self(since_epoch)
    }

    /// The time since the epoch.
    pub const fn since_epoch(self) -> Duration {
        self.0
    }

    /// The time from `earlier` to `self`; zero if `earlier` is later.
    pub fn since(self, earlier: Timestamp) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Timestamp {
    type Output = Timestamp;

    fn add(self, rhs: Duration) -> Timestamp {
        Timestamp(self.0.saturating_add(rhs))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Timestamp;

    fn sub(self, rhs: Duration) -> Timestamp {
        Timestamp(self.0.saturating_sub(rhs))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03}", self.0.as_secs(), self.0.subsec_millis())
    }
}

/// Reads the wall clock, for what is written down and for what people see. It can step:
/// durations are measured by a [`MonotonicClock`].
pub fn wall_clock() -> Timestamp {
    Timestamp(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

/// A point in time by a clock that never steps: the time since the program's start.
/// It means nothing to another process, so it has no form to be written in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(Duration);

impl Moment {
    /// So long after the start.
    pub const fn after_start(since_start: Duration) -> Self {
        Self(since_start)
    }

    /// The time since the start.
    pub const fn since_start(self) -> Duration {
        self.0
    }

    /// The time from `earlier` to `self`; zero if `earlier` is later.
    pub fn since(self, earlier: Moment) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Moment {
    type Output = Moment;

    fn add(self, rhs: Duration) -> Moment {
        Moment(self.0.saturating_add(rhs))
    }
}

impl Sub<Duration> for Moment {
    type Output = Moment;

    fn sub(self, rhs: Duration) -> Moment {
        Moment(self.0.saturating_sub(rhs))
    }
}

/// Reads the monotonic clock. Copies share their start; moments of different starts
/// do not compare, so a program makes one and hands it to all that share moments.
#[derive(Clone, Copy, Debug)]
pub struct MonotonicClock {
    start: Instant,
}

impl MonotonicClock {
    /// A clock that starts now. It follows tokio's, so that a test can pause it.
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// What it reads now.
    pub fn now(self) -> Moment {
        Moment(self.start.elapsed())
    }
}
