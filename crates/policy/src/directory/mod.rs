//! What is known of peers by their own signed records, and where this node is listed.

mod listings;

use std::{collections::BTreeMap, time::Duration};

use kaspath_domain::{Moment, PeerGroup, PeerIdentity, PeerTarget, SignedRecord, Told, spread};

pub use listings::{Listing, Listings};

/// Records in all, and of those that one group's tellers have told.
const MAX: usize = 1024;
const MAX_OF_GROUP: usize = 64;
/// What is passed on must be valid for so much longer.
const PASSED_ON: Duration = Duration::from_secs(60);

struct Known {
    record: SignedRecord,
    source: PeerGroup,
    until: Moment,
}

/// Valid records by peer. They are in no file: a record costs a stranger nothing, and in a
/// quarter of an hour it is over.
#[derive(Default)]
pub struct Directory {
    known: BTreeMap<PeerIdentity, Known>,
}

impl Directory {
    /// Takes a record in that a member of this group has told. Of one peer the record with
    /// the highest rank counts, whoever tells it. Whether the peer is new here.
    pub fn insert(&mut self, told: &Told, source: PeerGroup, now: Moment) -> bool {
        let (record, until) = (told.record.clone(), now + told.left);
        let peer = record.record().peer.clone();
        if let Some(known) = self.known.get_mut(&peer).filter(|known| known.until > now) {
            match known.record.rank().cmp(&record.rank()) {
                std::cmp::Ordering::Less => *known = Known { record, source, until },
                std::cmp::Ordering::Equal => known.until = known.until.max(until),
                std::cmp::Ordering::Greater => {}
            }
            return false;
        }
        self.known.retain(|_, known| known.until > now);
        if self.of(&source) >= MAX_OF_GROUP {
            self.lose(&source);
        } else if self.known.len() >= MAX
            && let Some(crowded) = self.most_crowded()
        {
            self.lose(&crowded);
        }
        self.known.insert(peer, Known { record, source, until });
        true
    }

    fn of(&self, group: &PeerGroup) -> usize {
        self.known.values().filter(|known| known.source == *group).count()
    }

    fn most_crowded(&self) -> Option<PeerGroup> {
        let mut counts: BTreeMap<&PeerGroup, usize> = BTreeMap::new();
        self.known.values().for_each(|known| *counts.entry(&known.source).or_default() += 1);
        counts.into_iter().max_by_key(|(_, count)| *count).map(|(group, _)| group.clone())
    }

    /// Loses the group's record that ends first.
    fn lose(&mut self, group: &PeerGroup) {
        let of = self.known.iter().filter(|(_, known)| known.source == *group);
        if let Some(peer) = of.min_by_key(|(_, known)| known.until).map(|(peer, _)| peer.clone()) {
            self.known.remove(&peer);
        }
    }

    /// What the peer says of itself, if that is known and valid.
    pub fn get(&self, peer: &PeerIdentity, now: Moment) -> Option<&SignedRecord> {
        self.known.get(peer).filter(|known| known.until > now).map(|known| &known.record)
    }

    /// Where the peer says that it can be reached.
    pub fn target(&self, peer: &PeerIdentity, now: Moment) -> Option<PeerTarget> {
        self.get(peer, now).map(|record| record.record().target())
    }

    /// Up to `n` records to pass on, of as many groups as there are: those whose owners
    /// allow it, and that are valid for a while.
    pub fn sample(
        &self,
        n: usize,
        wanted: impl Fn(&SignedRecord) -> bool,
        now: Moment,
        random: &mut dyn FnMut() -> f64,
    ) -> Vec<SignedRecord> {
        let mut fitting: Vec<&Known> =
            self.known.values().filter(|known| known.record.record().gossip && known.until > now + PASSED_ON).collect();
        fitting.retain(|known| wanted(&known.record));
        fitting.sort_unstable_by_key(|known| &known.record.record().peer);
        spread(fitting, |known| known.source.clone(), n, random).into_iter().map(|known| known.record.clone()).collect()
    }

    /// How many are valid.
    pub fn len(&self, now: Moment) -> usize {
        self.known.values().filter(|known| known.until > now).count()
    }
}

#[cfg(test)]
mod tests;
