//! Keeps a peer reached.

use std::time::Duration;

use kaspath_domain::{MonotonicClock, RetryCadence};
use tokio::time::sleep;

/// A session shorter than this counts as a failure for the cadence.
const SHORT: Duration = Duration::from_secs(10);
/// Between two retries, if the cadence has no more to say.
const LONGEST: Duration = Duration::from_secs(120);

/// What a keeper reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeeperEvent {
    /// The session could not begin.
    Failed {
        /// Why.
        cause: String,
    },
    /// It is begun again after this time.
    Retrying {
        /// The time.
        after: Duration,
    },
}

/// Keeps sessions: begins each again when it has ended, by a cadence. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Keeper {
    cadence: RetryCadence,
    clock: MonotonicClock,
    random: fn() -> f64,
}

impl Keeper {
    /// `random` gives numbers between 0 and 1, by which retries are spread.
    pub fn new(clock: MonotonicClock, random: fn() -> f64) -> Self {
        Self { cadence: RetryCadence::persistent(), clock, random }
    }

    /// Keeps a session. `session` begins it once it is wanted, and returns when it has
    /// ended, or why there is none. Runs until it is dropped, which drops the session's
    /// future.
    pub async fn keep<S>(&self, session: impl Fn() -> S, report: impl Fn(KeeperEvent))
    where
        S: Future<Output = Result<(), String>>,
    {
        let mut failures = 0;
        loop {
            let begin = self.clock.now();
            match session().await {
                Ok(()) if self.clock.now().since(begin) >= SHORT => failures = 0,
                Ok(()) => failures += 1,
                Err(cause) => {
                    failures += 1;
                    report(KeeperEvent::Failed { cause });
                }
            }
            let after = self.cadence.delay(failures.max(1), (self.random)()).unwrap_or(LONGEST);
            report(KeeperEvent::Retrying { after });
            sleep(after).await;
        }
    }
}
