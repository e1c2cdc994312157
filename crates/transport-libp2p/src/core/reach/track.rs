//! What is known of one address of ours: verdicts, and the state that they make.
//!
//! A positive verdict is proven by ourselves: a stranger, to whom no packet of ours has
//! opened a way, came in at the address. A negative one is what another says. So one
//! stranger takes back all negative verdicts before it. A host that a packet of ours may have let in
//! takes back only what the network said before that had it come. It takes more than half of the
//! networks that can be asked, three at least if there are so many, to end what was proven, and
//! each of them has its turn before. Each change from reachable to
//! unreachable doubles the time until the address may be reachable again.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use kaspath_domain::{IpPrefix, Moment};

use crate::Reachability;

/// A verdict counts for so long; several that are needed lie no farther apart.
const POSITIVES_WITHIN: Duration = Duration::from_secs(600);
/// A negative verdict counts for so long.
const NEGATIVE_MEMORY: Duration = Duration::from_secs(1800);
/// Networks whose negative verdicts are enough, if they are more than half.
const NEGATIVE_GROUPS: usize = 3;
/// So many within that time are enough where fewer networks can be asked.
const NEGATIVES: usize = 5;
const NEGATIVES_WITHIN: Duration = Duration::from_secs(120);
/// The longest time until an address may be reachable again.
const MAX_HOLD: Duration = Duration::from_secs(6 * 3600);
/// A flap is forgotten after that.
const FLAP_MEMORY: Duration = Duration::from_secs(24 * 3600);
/// Until the state is known, an address is checked after these times, then at the interval.
const FIRST_CHECKS: [Duration; 3] = [Duration::from_secs(5), Duration::from_secs(30), Duration::from_secs(120)];
/// While it is in doubt it is checked so soon, and after so many checks in a row at twice the pause
/// each time: a relay that never answers can keep it in doubt. The pause stays so short that enough
/// verdicts come within the time in which they count.
const RECHECK: Duration = Duration::from_secs(5);
const RECHECKS: u32 = 12;
/// An unreachable address is checked after so many intervals.
const UNREACHABLE_INTERVALS: u32 = 6;

/// The networks of the relays that can be asked; our own if we ask our own nodes.
pub(super) type Networks = BTreeSet<IpPrefix>;

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

/// A network that can be asked.
#[derive(Debug)]
struct Asked {
    /// The lower, the longer ago it had its turn.
    turn: u64,
    /// When its last answer came, whatever it said.
    answered: Option<Moment>,
}

#[derive(Debug)]
pub(super) struct Track {
    pub(super) source: Source,
    pub(super) state: Reachability,
    since: Moment,
    /// The last stranger of each network, among the last few.
    strangers: Vec<(IpPrefix, Moment)>,
    /// Negative verdicts, the last few of each network.
    negatives: Vec<(IpPrefix, Moment)>,
    /// When a network last began to say so.
    doubted: Moment,
    asked: BTreeMap<IpPrefix, Asked>,
    last_turn: u64,
    flaps: Vec<Moment>,
    checks: usize,
    /// Checks in a row while it was in doubt.
    rechecks: u32,
    /// When the address is to be checked next.
    pub(super) due: Moment,
    /// When strangers that came while it was held unreachable count.
    pub(super) review: Option<Moment>,
}

impl Track {
    pub(super) fn new(source: Source, now: Moment) -> Self {
        Self {
            source,
            state: Reachability::Unknown,
            since: now,
            strangers: Vec::new(),
            negatives: Vec::new(),
            doubted: now,
            asked: BTreeMap::new(),
            last_turn: 0,
            flaps: Vec::new(),
            checks: 0,
            rechecks: 0,
            due: now,
            review: None,
        }
    }

    /// These networks can be asked, and no others. A new one has its turn after all that wait.
    pub(super) fn line_up(&mut self, networks: &Networks) {
        self.asked.retain(|network, _| networks.contains(network));
        for network in networks {
            self.asked(*network);
        }
    }

    fn asked(&mut self, network: IpPrefix) -> &mut Asked {
        self.asked.entry(network).or_insert(Asked { turn: self.last_turn, answered: None })
    }

    /// The network with the lowest is to be asked next.
    pub(super) fn turn(&self, network: &IpPrefix) -> u64 {
        self.asked.get(network).map_or(self.last_turn, |asked| asked.turn)
    }

    /// An answer of that network has come, whatever it says; whether the state has changed.
    pub(super) fn answered(&mut self, network: IpPrefix, networks: &Networks, interval: Duration, now: Moment) -> bool {
        self.note_answer(network, now);
        self.settle(networks, interval, now)
    }

    fn note_answer(&mut self, network: IpPrefix, now: Moment) {
        self.asked(network).answered = Some(now);
    }

    /// Takes a verdict of that network, or of a stranger from it; whether the state has changed.
    pub(super) fn judge(
        &mut self,
        verdict: Verdict,
        group: IpPrefix,
        networks: &Networks,
        interval: Duration,
        now: Moment,
    ) -> bool {
        match verdict {
            Verdict::Stranger => {
                self.strangers.retain(|(other, at)| *other != group && now.since(*at) < POSITIVES_WITHIN);
                // As many as could ever be needed.
                self.strangers.truncate(NEGATIVES);
                self.strangers.push((group, now));
                self.negatives.clear();
            }
            Verdict::Known => self.negatives.retain(|(other, _)| *other != group),
            Verdict::No => self.deny(group, networks, now),
        }
        let has_changed = self.settle(networks, interval, now);
        if verdict == Verdict::No && self.state != Reachability::Unreachable && self.is_in_doubt(networks) {
            self.due = self.due.min(now + self.recheck(networks, interval));
        }
        if verdict == Verdict::Stranger && self.state == Reachability::Unreachable {
            self.review = Some(self.since + self.hold(interval));
        }
        has_changed
    }

    fn deny(&mut self, group: IpPrefix, networks: &Networks, now: Moment) {
        self.negatives.retain(|(other, at)| networks.contains(other) && now.since(*at) < NEGATIVE_MEMORY);
        let of_group = |(other, _): &(IpPrefix, Moment)| *other == group;
        match self.negatives.iter().filter(|negative| of_group(negative)).count() {
            0 => self.doubted = now,
            NEGATIVES.. => drop(self.negatives.iter().position(of_group).map(|oldest| self.negatives.remove(oldest))),
            _ => {}
        }
        self.negatives.push((group, now));
        self.note_answer(group, now);
    }

    /// Draws the conclusion of what is known, where these networks can be asked; whether the
    /// state has changed.
    pub(super) fn settle(&mut self, networks: &Networks, interval: Duration, now: Moment) -> bool {
        self.review = self.review.filter(|review| *review > now);
        let state = self.state_now(networks, interval, now);
        let has_changed = state != self.state;
        if has_changed {
            if self.state == Reachability::Reachable {
                self.flaps.retain(|at| now.since(*at) < FLAP_MEMORY);
                self.flaps.push(now);
            }
            (self.state, self.since) = (state, now);
            self.negatives.clear();
            self.strangers.clear();
            self.due = now + self.wait(networks, interval);
        }
        has_changed
    }

    fn state_now(&self, networks: &Networks, interval: Duration, now: Moment) -> Reachability {
        if self.is_denied(networks, now) {
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

    fn is_denied(&self, networks: &Networks, now: Moment) -> bool {
        let recent = self.negatives.iter().filter(|(group, at)| networks.contains(group) && now.since(*at) <= NEGATIVES_WITHIN);
        let is_enough =
            self.denying(networks) >= NEGATIVE_GROUPS || (networks.len() < NEGATIVE_GROUPS && recent.count() >= NEGATIVES);
        let first = self.negatives.iter().map(|(_, at)| *at).min();
        is_enough && self.is_majority(networks) && first.is_some_and(|first| self.have_answered_since(first, networks))
    }

    /// Networks that say that nobody can come in.
    fn denying(&self, networks: &Networks) -> usize {
        let groups = self.negatives.iter().map(|(group, _)| group).filter(|group| networks.contains(group));
        groups.collect::<BTreeSet<_>>().len()
    }

    fn is_majority(&self, networks: &Networks) -> bool {
        2 * self.denying(networks) > networks.len()
    }

    fn have_answered_since(&self, then: Moment, networks: &Networks) -> bool {
        let answered = |network| self.asked.get(network).and_then(|asked| asked.answered);
        networks.iter().all(|network| answered(network).is_some_and(|at| at >= then))
    }

    /// Whether the others are to be asked soon: not all have spoken since a network began to say
    /// that nobody can come in, or most say so. Few that lie do not have us ask without end.
    fn is_in_doubt(&self, networks: &Networks) -> bool {
        !self.negatives.is_empty() && (self.is_majority(networks) || !self.have_answered_since(self.doubted, networks))
    }

    /// How long it stays unreachable at least.
    fn hold(&self, interval: Duration) -> Duration {
        let doublings = u32::try_from(self.flaps.len()).unwrap_or(u32::MAX).saturating_sub(1).min(16);
        interval.saturating_mul(1 << doublings).min(MAX_HOLD.max(interval))
    }

    /// That network is being asked; the next time is due later.
    pub(super) fn checked(&mut self, network: IpPrefix, networks: &Networks, interval: Duration, chance: f64, now: Moment) {
        self.last_turn += 1;
        let turn = self.last_turn;
        self.asked(network).turn = turn;
        let wait = self.wait(networks, interval);
        self.rechecks = if self.is_in_doubt(networks) { self.rechecks.saturating_add(1) } else { 0 };
        self.checks = self.checks.saturating_add(1);
        // A fifth earlier or later, so that not all nodes ask at once.
        self.due = now + wait.mul_f64(0.8 + 0.4 * chance);
    }

    fn recheck(&self, networks: &Networks, interval: Duration) -> Duration {
        let doublings = self.rechecks.saturating_sub(RECHECKS).min(16);
        let count = networks.len().max(1) as u32;
        let longest = if networks.len() < NEGATIVE_GROUPS {
            NEGATIVES_WITHIN / (NEGATIVES as u32 + 1)
        } else {
            NEGATIVE_MEMORY / (2 * count)
        };
        RECHECK.saturating_mul(1 << doublings).min(longest).min(interval)
    }

    fn wait(&self, networks: &Networks, interval: Duration) -> Duration {
        match self.state {
            Reachability::Unknown => FIRST_CHECKS.get(self.checks).copied().unwrap_or(interval).min(interval),
            Reachability::Reachable if self.is_in_doubt(networks) => self.recheck(networks, interval),
            Reachability::Reachable => interval,
            Reachability::Unreachable => interval.saturating_mul(UNREACHABLE_INTERVALS),
        }
    }
}

#[cfg(test)]
mod tests;
