//! A drain: how long it lasts, and who waits for its end. Pure.

use std::time::Duration;

use kaspath_domain::Moment;
use tokio::sync::oneshot;

/// A drain lasts at least this long, within its deadline, so that its notices can leave.
const LEAST: Duration = Duration::from_secs(1);

/// The relay takes nothing new until its circuits are gone, or the time is over.
#[derive(Default)]
pub(super) struct Drain {
    /// Not over before that.
    least: Moment,
    until: Moment,
    waiting: Vec<oneshot::Sender<usize>>,
    /// The relay shuts after it, and may open again. One that the owner began is final.
    shuts: bool,
}

impl Drain {
    /// One after which the relay shuts, and may open again.
    pub(super) fn to_shut(allowed: Duration, now: Moment) -> Self {
        let until = now + allowed;
        Self { least: until.min(now + LEAST), until, waiting: Vec::new(), shuts: true }
    }

    pub(super) fn shuts(&self) -> bool {
        self.shuts
    }

    /// Begins, or goes on with another deadline.
    pub(super) fn begin(&mut self, allowed: Duration, ended: oneshot::Sender<usize>, now: Moment) {
        self.until = now + allowed;
        self.least = self.until.min(now + LEAST);
        self.waiting.push(ended);
        self.shuts = false;
    }

    /// Until the time is over.
    pub(super) fn left(&self, now: Moment) -> Duration {
        self.until.since(now)
    }

    /// When it may be over.
    pub(super) fn deadline(&self, now: Moment) -> Option<Moment> {
        let next = if now < self.least { self.least } else { self.until };
        self.is_awaited().then_some(next)
    }

    fn is_awaited(&self) -> bool {
        self.shuts || !self.waiting.is_empty()
    }

    /// Whether it is over with so many circuits left, and somebody waited for that: they are told.
    pub(super) fn finish(&mut self, circuits: usize, now: Moment) -> bool {
        let is_over = now >= self.until || (now >= self.least && circuits == 0);
        if !is_over || !self.is_awaited() {
            return false;
        }
        for ended in self.waiting.drain(..) {
            let _ = ended.send(circuits);
        }
        true
    }
}
