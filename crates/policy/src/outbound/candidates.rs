//! Who could be reached, by who told of it.

use std::collections::BTreeMap;

use kaspath_domain::{Groups, Moment, PeerGroup, PeerIdentity, below};

use super::random::Random;

/// Candidates in all, and of one teller's group.
const MAX: usize = 1024;
const MAX_OF_GROUP: usize = 32;

/// A peer that was told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discovered {
    /// Who.
    pub peer: PeerIdentity,
    /// The teller's group.
    pub source: PeerGroup,
    /// The groups of the addresses where it says it can be dialled straight. Only a path
    /// that was really reached takes any of them from others.
    pub claims: Groups,
    /// The teller is a relay of the settings, so it is its user's choice.
    pub is_trusted: bool,
    /// Until when its record is valid.
    pub until: Moment,
}

/// Peers that were told of, by their tellers' groups. A peer that several tell of is there
/// several times, for any of them may be the one that is drawn.
#[derive(Clone, Debug, Default)]
pub(super) struct Candidates {
    groups: BTreeMap<PeerGroup, Vec<Discovered>>,
    count: usize,
}

impl Candidates {
    /// Takes one in. A full group, and a full table, lose a random one of the group, or of
    /// the most crowded group: how often one is told of, and for how long it claims to be
    /// valid, must not decide.
    pub(super) fn insert(&mut self, told: Discovered, random: Random<'_>) {
        if self.count >= MAX
            && let Some(crowded) = self.groups.iter().max_by_key(|(_, told)| told.len()).map(|(group, _)| group.clone())
        {
            self.lose(&crowded, random);
        }
        let source = told.source.clone();
        let group = self.groups.entry(source.clone()).or_default();
        if let Some(known) = group.iter_mut().find(|known| known.peer == told.peer) {
            known.until = known.until.max(told.until);
            known.claims = told.claims;
            return;
        }
        group.push(told);
        self.count += 1;
        if group.len() > MAX_OF_GROUP {
            self.lose(&source, random);
        }
    }

    fn lose(&mut self, group: &PeerGroup, random: Random<'_>) {
        let Some(told) = self.groups.get_mut(group) else { return };
        if !told.is_empty() {
            told.swap_remove(below(told.len(), random()));
            self.count -= 1;
        }
        if told.is_empty() {
            self.groups.remove(group);
        }
    }

    /// Keeps only those; groups without any are gone.
    pub(super) fn retain(&mut self, keep: impl Fn(&Discovered) -> bool) {
        self.groups.retain(|_, told| {
            told.retain(&keep);
            !told.is_empty()
        });
        self.count = self.groups.values().map(Vec::len).sum();
    }

    /// Draws one that fits: a random group of those that have any, then a random one of
    /// it. So an owner of one group is drawn as often as any other, however many peers
    /// it tells of.
    pub(super) fn draw(&self, fits: impl Fn(&Discovered) -> bool, random: Random<'_>) -> Option<&Discovered> {
        let mut groups: Vec<&Vec<Discovered>> = self.groups.values().collect();
        while !groups.is_empty() {
            let group = groups.swap_remove(below(groups.len(), random()));
            let fitting: Vec<&Discovered> = group.iter().filter(|told| fits(told)).collect();
            if !fitting.is_empty() {
                return Some(fitting[below(fitting.len(), random())]);
            }
        }
        None
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, time::Duration};

    use kaspath_domain::IpPrefix;

    use super::*;
    use crate::outbound::tests::{numbers, peer};

    fn told(n: u16, group: u8) -> Discovered {
        let source = PeerGroup::Prefix(IpPrefix::provider_block([10, group, 0, 1].into()));
        Discovered { peer: peer(n), claims: Groups::default(), source, is_trusted: true, until: Moment::default() }
    }

    #[test]
    fn one_teller_fills_its_own_share_and_takes_nobody_elses() {
        let (mut candidates, mut random) = (Candidates::default(), numbers(1));
        candidates.insert(told(0, 1), &mut random);
        for n in 1..10_000 {
            candidates.insert(told(n, 2), &mut random);
        }
        assert_eq!(candidates.len(), 1 + MAX_OF_GROUP);
        // Half of what is drawn comes from the group with one.
        let of_one = (0..1000).filter(|_| candidates.draw(|_| true, &mut random).unwrap().peer == peer(0)).count();
        assert!((400..600).contains(&of_one), "{of_one}");
    }

    #[test]
    fn a_full_table_loses_from_the_most_crowded_groups() {
        let (mut candidates, mut random) = (Candidates::default(), numbers(2));
        candidates.insert(told(60_000, 200), &mut random);
        for n in 0..3200 {
            candidates.insert(told(n, (n / 32) as u8), &mut random);
        }
        assert_eq!(candidates.len(), MAX);
        assert!(candidates.draw(|told| told.peer == peer(60_000), &mut random).is_some());
        let groups: HashSet<_> = candidates.groups.keys().collect();
        assert_eq!(groups.len(), 101, "none is lost altogether");
        candidates.retain(|told| told.until > Moment::default() + Duration::from_secs(1));
        assert_eq!((candidates.len(), candidates.groups.len()), (0, 0));
    }
}
