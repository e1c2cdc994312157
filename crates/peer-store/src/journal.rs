//! What is not on disk yet, and how often a disk that fails is tried and reported.

use std::{
    collections::HashSet,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use kaspath_domain::{PeerBookError, PeerIdentity};

/// Between two transactions: a change is on disk within a second.
const INTERVAL: Duration = Duration::from_millis(500);
/// At most so long until a write that failed is tried again.
const MAX_RETRY: Duration = Duration::from_secs(30);
/// Between two warnings while writes fail.
const WARNING_INTERVAL: Duration = Duration::from_secs(600);

#[derive(Default)]
struct State {
    dirty: HashSet<PeerIdentity>,
    writing: bool,
    failure: Option<String>,
    closing: bool,
}

/// Names of peers whose records are not written yet.
#[derive(Default)]
pub(crate) struct Journal {
    state: Mutex<State>,
    changed: Condvar,
}

impl Journal {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A peer's record has changed, or is gone.
    pub(crate) fn note(&self, peer: &PeerIdentity) {
        self.lock().dirty.insert(peer.clone());
        self.changed.notify_all();
    }

    /// Waits for something to write; `None` once everything is written and the store
    /// closes.
    pub(crate) fn take(&self) -> Option<HashSet<PeerIdentity>> {
        let mut state = self.lock();
        while state.dirty.is_empty() && !state.closing {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.writing = !state.dirty.is_empty();
        state.writing.then(|| std::mem::take(&mut state.dirty))
    }

    /// What was taken is written, or the cause why not: it is then taken again. Waits
    /// until it is time for the next transaction; whether there may be one.
    pub(crate) fn written(&self, taken: HashSet<PeerIdentity>, failure: Option<String>, wait: Duration) -> bool {
        let mut state = self.lock();
        state.writing = false;
        if failure.is_some() {
            state.dirty.extend(taken);
            if state.closing {
                return false;
            }
        }
        state.failure = failure;
        self.changed.notify_all();
        // Sooner only for the end.
        drop(self.changed.wait_timeout_while(state, wait, |state| !state.closing));
        true
    }

    /// Returns when everything is on disk. Blocks.
    pub(crate) fn flush(&self) -> Result<(), PeerBookError> {
        let mut state = self.lock();
        while state.writing || !state.dirty.is_empty() {
            if let Some(failure) = state.failure.clone() {
                return Err(PeerBookError::Store(failure));
            }
            state = self.changed.wait_timeout(state, INTERVAL).unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(())
    }

    /// What is left is written once more, then [`Journal::take`] ends.
    pub(crate) fn close(&self) {
        self.lock().closing = true;
        self.changed.notify_all();
    }
}

/// Writes that fail in a row. Pure.
#[derive(Default)]
pub(crate) struct Failures {
    count: u32,
    warned: Option<Instant>,
}

impl Failures {
    /// One more has failed; whether to warn of it.
    pub(crate) fn failed(&mut self, now: Instant) -> bool {
        self.count = self.count.saturating_add(1);
        let is_due = self.warned.is_none_or(|warned| now.saturating_duration_since(warned) >= WARNING_INTERVAL);
        if is_due {
            self.warned = Some(now);
        }
        is_due
    }

    /// A write has worked; whether one had failed before it.
    pub(crate) fn worked(&mut self) -> bool {
        // A disk that works now and then is not warned of each time.
        std::mem::take(&mut self.count) > 0
    }

    /// Time until the next transaction.
    pub(crate) fn wait(&self) -> Duration {
        INTERVAL.saturating_mul(1 << self.count.min(10)).min(MAX_RETRY).max(INTERVAL)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_stays_full_is_tried_for_ever_and_warned_of_now_and_then() {
        let mut failures = Failures::default();
        assert_eq!(failures.wait(), INTERVAL);
        let mut now = Instant::now();
        let hour = now + Duration::from_secs(3600);
        let (mut tried, mut warned) = (0, 0);
        while now < hour {
            tried += 1;
            warned += u32::from(failures.failed(now));
            now += failures.wait();
        }
        assert!((100..200).contains(&tried), "{tried}");
        assert_eq!(warned, 6);
        assert!(failures.worked() && !failures.worked());
        assert_eq!(failures.wait(), INTERVAL);
        failures.failed(now);
        failures.worked();
        assert!(!failures.failed(now + INTERVAL), "one that works now and then is not warned of each time");
    }
}
