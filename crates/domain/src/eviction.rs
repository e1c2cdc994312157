//! Which inbound peer is evicted for a newcomer when all slots are taken.
//!
//! An attacker has as many identities as it likes, but addresses of few groups
//! (prefixes of IP addresses, relays). So a newcomer's slot comes out of the most
//! crowded group, and within it from the peer that came last and that stands out in
//! nothing. Bitcoin Core frees inbound slots by the same idea.

mod activity;
mod inbound;

use std::{
    cmp::Reverse,
    collections::{BTreeSet, HashMap},
    hash::Hash,
    time::Duration,
};

pub use activity::Activity;
pub use inbound::make_slot;

use crate::Moment;

/// What an inbound peer's connection shows of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate<Id, Group> {
    /// Names the connection in the answer.
    pub id: Id,
    /// Those who most likely have one owner share a group.
    pub group: Group,
    /// When it came.
    pub since: Moment,
    /// The least round trip that was measured.
    pub round_trip: Option<Duration>,
    /// Useful bytes, in both directions together.
    pub useful_bytes: u64,
    /// When it was last useful; `None` if it never was.
    pub last_activity: Option<Moment>,
    /// It is never evicted, and does not count as one of its group.
    pub pinned: bool,
}

impl<Id, Group> Candidate<Id, Group> {
    /// For how long it has not been useful.
    fn silence(&self, now: Moment) -> Duration {
        now.since(self.last_activity.map_or(self.since, |last| last.max(self.since)))
    }
}

/// The rules by which [`Eviction::choose`] chooses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Eviction {
    /// A peer that was not useful for this time is silent. Silent peers go first.
    pub silent_after: Duration,
    /// Of each kind of merit (longest here, least round trip, most useful bytes, of
    /// use most recently) so many are protected at most, and never more than an
    /// eighth of all candidates: at least half of them are protected by nothing.
    pub protected: usize,
}

impl Default for Eviction {
    fn default() -> Self {
        Self { silent_after: Duration::from_secs(60), protected: 8 }
    }
}

impl Eviction {
    /// Whether a candidate has not been useful for [`Eviction::silent_after`].
    pub fn is_silent<Id, Group>(&self, candidate: &Candidate<Id, Group>, now: Moment) -> bool {
        candidate.silence(now) >= self.silent_after
    }

    /// The candidate that goes so that a newcomer of group `newcomer` can stay, or
    /// `None` if the newcomer has to go. It costs one sort of the candidates for each
    /// kind of merit; nothing is kept from one call to the next.
    ///
    /// What holds, however the candidates came about:
    /// - No pinned candidate is chosen.
    /// - A candidate that is not silent is chosen only if none is silent and if no
    ///   group, the newcomer counted in its own, has more members than the candidate's.
    ///   So those who fill one group never displace a useful peer of a less crowded one.
    /// - While there is a silent candidate, the answer is a silent one. So silence keeps
    ///   a slot only as long as nobody asks for it.
    /// - A candidate that stands out is chosen only if all of the most crowded groups
    ///   stand out, and only in a group of two or more, the newcomer counted.
    /// - The order of the candidates does not matter.
    pub fn choose<Id, Group>(&self, candidates: &[Candidate<Id, Group>], newcomer: &Group, now: Moment) -> Option<Id>
    where
        Id: Clone + Ord,
        Group: Eq + Hash,
    {
        let evictable: Vec<_> = candidates.iter().filter(|candidate| !candidate.pinned).collect();
        let mut members: HashMap<&Group, usize> = HashMap::from([(newcomer, 1)]);
        for candidate in &evictable {
            *members.entry(&candidate.group).or_default() += 1;
        }
        let crowd = |candidate: &Candidate<Id, Group>| members.get(&candidate.group).copied().unwrap_or_default();

        let silent = evictable.iter().filter(|candidate| self.is_silent(candidate, now));
        if let Some(silent) = silent.max_by_key(|candidate| (crowd(candidate), candidate.silence(now), &candidate.id)) {
            return Some(silent.id.clone());
        }

        let largest = members.values().copied().max().unwrap_or_default();
        let crowded: Vec<_> = evictable.iter().copied().filter(|candidate| crowd(candidate) == largest).collect();
        let protected = self.protect(&evictable);
        let youngest = |pool: &mut dyn Iterator<Item = &Candidate<Id, Group>>| {
            pool.max_by_key(|candidate| (candidate.since, &candidate.id)).map(|candidate| candidate.id.clone())
        };
        youngest(&mut crowded.iter().copied().filter(|candidate| !protected.contains(&candidate.id)))
            // A group of several gives one up even if all of them stand out.
            .or_else(|| (largest > 1).then(|| youngest(&mut crowded.iter().copied())).flatten())
    }

    /// The best of each kind.
    fn protect<'a, Id: Ord, Group>(&self, evictable: &[&'a Candidate<Id, Group>]) -> BTreeSet<&'a Id> {
        let slots = self.protected.min(evictable.len() / 8);
        let early = |time: Duration| u128::MAX - time.as_nanos();
        // The more the better; `None` has nothing to show of that kind.
        let merits = |one: &Candidate<Id, Group>| {
            [
                Some(early(one.since.since_start())),
                one.round_trip.map(early),
                (one.useful_bytes > 0).then_some(one.useful_bytes.into()),
                one.last_activity.map(|last| last.since_start().as_nanos()),
            ]
        };
        let mut protected = BTreeSet::new();
        for kind in 0..4 {
            let mut ranked: Vec<(u128, &Id)> =
                evictable.iter().filter_map(|one| merits(one)[kind].map(|merit| (merit, &one.id))).collect();
            // Of equals the smaller id, so that the order of candidates says nothing.
            ranked.sort_unstable_by_key(|(merit, id)| (Reverse(*merit), *id));
            protected.extend(ranked.into_iter().take(slots).map(|(_, id)| id));
        }
        protected
    }
}

#[cfg(test)]
mod tests;
