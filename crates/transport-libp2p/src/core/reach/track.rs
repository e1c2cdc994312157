//! What is known of one address of ours: verdicts, and the state that they make.
//!
//! A positive verdict is proven by ourselves: a stranger, to whom no packet of ours has
//! opened a way, came in at the address. A negative one is what another says. So one
//! positive verdict takes back all negative ones before it, and it takes several of those,
//! in a row and from several networks, to end what was proven. Each change from reachable to
//! unreachable doubles the time until the address may be reachable again.

use std::{collections::BTreeSet, time::Duration};

use kaspath_domain::{IpPrefix, Moment};

use crate::Reachability;

/// A verdict counts for so long; several that are needed lie no farther apart.
const POSITIVES_WITHIN: Duration = Duration::from_secs(600);
/// A negative verdict counts for so long.
const NEGATIVE_MEMORY: Duration = Duration::from_secs(1800);
/// Networks whose negative verdicts in a row are enough.
const NEGATIVE_GROUPS: usize = 3;
/// So many in a row within that time are enough where fewer networks can be asked.
const NEGATIVES: usize = 5;
const NEGATIVES_WITHIN: Duration = Duration::from_secs(120);
/// The longest time until an address may be reachable again.
const MAX_HOLD: Duration = Duration::from_secs(6 * 3600);
/// A flap is forgotten after that.
const FLAP_MEMORY: Duration = Duration::from_secs(24 * 3600);
/// Until the state is known, an address is checked after these times, then at the interval.
const FIRST_CHECKS: [Duration; 3] = [Duration::from_secs(5), Duration::from_secs(30), Duration::from_secs(120)];
/// After a negative verdict it is checked so soon.
const RECHECK: Duration = Duration::from_secs(5);
/// An unreachable address is checked after so many intervals.
const UNREACHABLE_INTERVALS: u32 = 6;

/// Where an address comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// Of an interface of this host.
    Interface,
    /// The settings name it.
    Configured,
    /// A router maps it.
    Mapped,
}

/// What one check says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// A host that we never had to do with came in at the address.
    Stranger,
    /// A host came in that a packet of ours may have opened the way for.
    Known,
    /// Somebody says that nobody can come in.
    No,
}

#[derive(Debug)]
pub(super) struct Track {
    pub(super) source: Source,
    pub(super) state: Reachability,
    since: Moment,
    /// The last stranger of each network, among the last few.
    strangers: Vec<(IpPrefix, Moment)>,
    /// Negative verdicts in a row.
    negatives: Vec<(IpPrefix, Moment)>,
    flaps: Vec<Moment>,
    checks: usize,
    /// When the address is to be checked next.
    pub(super) due: Moment,
    /// When strangers that came while it was held unreachable count.
    pub(super) review: Option<Moment>,
}

impl Track {
    pub(super) fn new(source: Source, now: Moment) -> Self {
        let (strangers, negatives, flaps) = (Vec::new(), Vec::new(), Vec::new());
        Self { source, state: Reachability::Unknown, since: now, strangers, negatives, flaps, checks: 0, due: now, review: None }
    }

    /// Takes a verdict that came from that network; whether the state has changed.
    pub(super) fn judge(&mut self, verdict: Verdict, group: IpPrefix, interval: Duration, now: Moment) -> bool {
        match verdict {
            Verdict::Stranger => {
                self.strangers.retain(|(other, at)| *other != group && now.since(*at) < POSITIVES_WITHIN);
                // As many as could ever be needed.
                self.strangers.truncate(NEGATIVES);
                self.strangers.push((group, now));
                self.negatives.clear();
            }
            Verdict::Known => self.negatives.clear(),
            Verdict::No => {
                self.negatives.retain(|(_, at)| now.since(*at) < NEGATIVE_MEMORY);
                self.negatives.push((group, now));
                let surplus = self.negatives.len().saturating_sub(NEGATIVES);
                self.negatives.drain(..surplus);
                self.due = self.due.min(now + RECHECK);
            }
        }
        let has_changed = self.settle(interval, now);
        if verdict == Verdict::Stranger && self.state == Reachability::Unreachable {
            self.review = Some(self.since + self.hold(interval));
        }
        has_changed
    }

    /// Draws the conclusion of what is known; whether the state has changed.
    pub(super) fn settle(&mut self, interval: Duration, now: Moment) -> bool {
        self.review = self.review.filter(|review| *review > now);
        let state = self.state_now(interval, now);
        let has_changed = state != self.state;
        if has_changed {
            if self.state == Reachability::Reachable {
                self.flaps.retain(|at| now.since(*at) < FLAP_MEMORY);
                self.flaps.push(now);
            }
            (self.state, self.since) = (state, now);
            self.negatives.clear();
            self.strangers.clear();
            self.due = now + self.wait(interval);
        }
        has_changed
    }

    fn state_now(&self, interval: Duration, now: Moment) -> Reachability {
        if self.is_denied(now) {
            return Reachability::Unreachable;
        }
        let needed = match self.source {
            Source::Interface | Source::Configured => 1,
            Source::Mapped => 2,
        };
        let count = self.strangers.iter().filter(|(_, at)| now.since(*at) < POSITIVES_WITHIN).count();
        let is_proven = match self.state {
            Reachability::Reachable => true,
            Reachability::Unknown => count >= needed,
            Reachability::Unreachable => count >= 2 * needed && now >= self.since + self.hold(interval),
        };
        if is_proven { Reachability::Reachable } else { self.state }
    }

    fn is_denied(&self, now: Moment) -> bool {
        let groups: BTreeSet<&IpPrefix> = self.negatives.iter().map(|(group, _)| group).collect();
        let recent = self.negatives.iter().filter(|(_, at)| now.since(*at) <= NEGATIVES_WITHIN).count();
        groups.len() >= NEGATIVE_GROUPS || recent >= NEGATIVES
    }

    /// How long it stays unreachable at least.
    fn hold(&self, interval: Duration) -> Duration {
        let doublings = u32::try_from(self.flaps.len()).unwrap_or(u32::MAX).saturating_sub(1).min(16);
        interval.saturating_mul(1 << doublings).min(MAX_HOLD.max(interval))
    }

    /// It is being checked; the next time is due later.
    pub(super) fn checked(&mut self, interval: Duration, chance: f64, now: Moment) {
        let wait = self.wait(interval);
        self.checks = self.checks.saturating_add(1);
        // A fifth earlier or later, so that not all nodes ask at once.
        self.due = now + wait.mul_f64(0.8 + 0.4 * chance);
    }

    fn wait(&self, interval: Duration) -> Duration {
        match self.state {
            Reachability::Unknown => FIRST_CHECKS.get(self.checks).copied().unwrap_or(interval).min(interval),
            Reachability::Reachable if !self.negatives.is_empty() => RECHECK.min(interval),
            Reachability::Reachable => interval,
            Reachability::Unreachable => interval.saturating_mul(UNREACHABLE_INTERVALS),
        }
    }
}

#[cfg(test)]
mod tests;
