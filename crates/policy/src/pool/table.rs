//! Which relays are remembered, and which give way.

use std::collections::BTreeMap;

use kaspath_domain::{Counts, Moment, PeerGroup, PeerIdentity, below};

use super::{
    candidate::{RelayCandidate, RelaySource},
    limits::{MAX_ADDRESSES, MAX_GIVEN, MAX_NEW, MAX_NEW_OF_TELLER, MAX_OF_BLOCK, MAX_TRIED, TOLD_FOR},
    relay::{Relay, groups},
};

#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) relays: BTreeMap<PeerIdentity, Relay>,
    ranks: usize,
}

impl Table {
    /// Takes what a source tells, if there is room; `random` chooses who gives way. Whether
    /// the relay is known now.
    pub(super) fn offer(&mut self, candidate: RelayCandidate, now: Moment, random: f64) -> bool {
        let RelayCandidate { relay, mut addresses, source, load } = candidate;
        addresses.truncate(MAX_ADDRESSES);
        if addresses.is_empty() || !self.has_room(&relay, &addresses, &source, now, random) {
            return false;
        }
        self.ranks += 1;
        let rank = self.ranks;
        let known = self.relays.entry(relay.clone()).or_insert_with(|| Relay { rank, ..Relay::new(now) });
        // What is known from a better source is not changed by a worse one. The settings name
        // one address at a time.
        let best = known.sources.first();
        if best.is_none_or(|best| !best.is_given()) && best.is_none_or(|best| source <= *best || best.teller().is_some()) {
            known.addresses = addresses;
        } else if source.is_given() {
            let new = addresses.into_iter().filter(|address| !known.addresses.contains(address)).collect::<Vec<_>>();
            known.addresses.extend(new);
            known.addresses.truncate(MAX_ADDRESSES);
        }
        known.groups = groups(&relay, &known.addresses);
        if source == RelaySource::Book {
            known.tried = true;
        }
        known.load = load.or(known.load);
        known.seen = now;
        known.add_source(source);
        true
    }

    /// What a source told before counts no more, but for these relays.
    pub(super) fn withdraw(&mut self, source: &RelaySource, but: &[PeerIdentity]) {
        for (_, relay) in self.relays.iter_mut().filter(|(id, _)| !but.contains(id)) {
            relay.sources.retain(|told| told != source);
        }
    }

    /// Forgets what is of no use any more.
    pub(super) fn forget(&mut self, now: Moment) {
        self.relays.retain(|_, relay| {
            let told = !relay.sources.is_empty() && now.since(relay.seen) < TOLD_FOR;
            relay.is_in_use() || relay.is_given() || relay.tried || told
        });
        while let Some(leaves) = self.tried_in_excess() {
            self.relays.remove(&leaves);
        }
    }

    /// If too many have been of use, the one that goes: of the block that has most, who was of no
    /// use for longest. New blocks are what an attacker does not have.
    fn tried_in_excess(&self) -> Option<PeerIdentity> {
        if self.tried().count() <= MAX_TRIED {
            return None;
        }
        let mut of_block = Counts::default();
        self.tried().flat_map(|(_, relay)| &relay.groups).for_each(|group| of_block.add(group));
        let crowd = |relay: &Relay| relay.groups.iter().map(|group| of_block.of(&group)).max();
        let idle = self.tried().filter(|(_, relay)| !relay.is_in_use());
        idle.min_by_key(|(id, relay)| (std::cmp::Reverse(crowd(relay)), relay.seen, *id)).map(|(id, _)| id.clone())
    }

    pub(super) fn answered(&mut self, id: &PeerIdentity, answers: bool) {
        let Some(relay) = self.relays.get_mut(id) else { return };
        let has_answered = std::mem::replace(&mut relay.answers, answers);
        if !answers && !has_answered && relay.is_spare() {
            self.relays.remove(id);
        }
    }

    fn tried(&self) -> impl Iterator<Item = (&PeerIdentity, &Relay)> {
        self.relays.iter().filter(|(_, relay)| relay.tried && !relay.is_given())
    }

    fn new_ones(&self) -> impl Iterator<Item = (&PeerIdentity, &Relay)> {
        self.relays.iter().filter(|(_, relay)| !relay.tried && !relay.is_given())
    }

    /// How many of the new ones each teller has told of first, without these.
    fn by_teller(&self, but: &[PeerIdentity]) -> BTreeMap<Option<&PeerIdentity>, usize> {
        let mut counts = BTreeMap::new();
        let new = self.new_ones().filter(|(id, _)| !but.contains(id));
        new.for_each(|(_, relay)| *counts.entry(relay.teller()).or_default() += 1);
        counts
    }

    /// Relays of a block, but for those that the user gave.
    fn of_block(&self, group: &PeerGroup) -> impl Iterator<Item = (&PeerIdentity, &Relay)> {
        self.relays.iter().filter(move |(_, relay)| !relay.is_given() && relay.groups.contains(group))
    }

    /// Whether one more may be there.
    fn has_share(&self, group: &PeerGroup, but: &PeerIdentity) -> bool {
        self.of_block(group).filter(|(id, _)| *id != but).count() < MAX_OF_BLOCK
    }

    /// Makes room for a relay, if it needs any and may have it.
    fn has_room(
        &mut self,
        id: &PeerIdentity,
        addresses: &[kaspath_domain::TransportAddress],
        source: &RelaySource,
        now: Moment,
        random: f64,
    ) -> bool {
        let known = self.relays.get(id);
        if source.is_given() {
            let is_counted = known.is_some_and(Relay::is_given);
            return is_counted || self.relays.values().filter(|relay| relay.is_given()).count() < MAX_GIVEN;
        }
        if known.is_some_and(|known| known.addresses == addresses) {
            return true;
        }
        // The shares of the blocks first: most of what a stranger tells of ends here.
        let mut full = groups(id, addresses);
        full.retain(|group| !self.has_share(group, id));
        if let Some(known) = known {
            // It may move, but not to where there is no room.
            return *source == RelaySource::Book || full.iter().all(|group| known.groups.contains(group));
        }
        if *source == RelaySource::Book {
            self.forget(now);
            return self.tried().count() < MAX_TRIED;
        }
        // One that answers gives its place in a block to nobody. Another one gives it to its own
        // teller's next, or to that of a teller of fewer: who tells of many displaces none of who tells of
        // few, wherever it says that they are.
        let told = self.by_teller(&[]);
        let of_teller = |teller: Option<&PeerIdentity>| told.get(&teller).copied().unwrap_or(0);
        let own = of_teller(source.teller());
        let gives_way = |relay: &Relay| {
            let is_own = relay.teller() == source.teller();
            relay.is_spare() && !relay.answers && (is_own || of_teller(relay.teller()) > own)
        };
        let mut leaves: Vec<PeerIdentity> = Vec::new();
        for group in &full {
            let spare = self.of_block(group).filter(|(_, relay)| gives_way(relay)).map(|(id, _)| id);
            let Some(spare) = pick(&spare.collect::<Vec<_>>(), random).map(|id| (*id).clone()) else { return false };
            leaves.push(spare);
        }
        if self.new_ones().count() >= MAX_NEW {
            self.forget(now);
        }
        let told = self.by_teller(&leaves);
        let is_crowded = |teller: &&PeerIdentity| told.get(&Some(*teller)).is_some_and(|count| *count >= MAX_NEW_OF_TELLER);
        let crowded = match source.teller().filter(is_crowded) {
            Some(own) => Some(own.clone()),
            None if told.values().sum::<usize>() < MAX_NEW => None,
            // Ties are broken by the ids, which no teller chooses for another.
            None => match told.iter().filter_map(|(teller, count)| Some((*count, (*teller)?))).max() {
                Some((_, teller)) => Some(teller.clone()),
                None => return false,
            },
        };
        if let Some(crowded) = crowded {
            let told = self.new_ones().filter(|(id, relay)| relay.teller() == Some(&crowded) && !leaves.contains(id));
            let idle: Vec<&PeerIdentity> = told.filter(|(_, relay)| relay.is_spare()).map(|(id, _)| id).collect();
            let Some(idle) = pick(&idle, random).map(|id| (*id).clone()) else { return false };
            leaves.push(idle);
        }
        leaves.iter().for_each(|id| drop(self.relays.remove(id)));
        true
    }
}

/// One of them by a number in 0..1.
pub(super) fn pick<T>(items: &[T], random: f64) -> Option<&T> {
    items.get(below(items.len(), random))
}

/// The groups of all that have a place.
pub(super) fn taken<'a>(relays: impl Iterator<Item = (&'a PeerIdentity, &'a Relay)>) -> Counts<PeerGroup> {
    let mut taken = Counts::default();
    relays.filter(|(_, relay)| relay.has_place()).flat_map(|(_, relay)| &relay.groups).for_each(|group| taken.add(group.clone()));
    taken
}

#[cfg(test)]
mod tests {
    use crate::pool::tests::{World, at, id, told};

    #[test]
    fn a_relay_that_moves_does_not_get_into_a_block_that_is_full() {
        let mut world = World::new(0);
        world.offer([told(1, 1, 90), told(2, 1, 90), told(3, 2, 90)]);
        assert!(!world.pool.offer(told(3, 1, 90), at(1), 0.5));
        assert!(world.pool.offer(told(3, 7, 90), at(1), 0.5) && world.pool.offer(told(2, 1, 90), at(1), 0.5));
        // Whoever was of use counts as well.
        for n in [1, 2] {
            world.pool.carried(&id(n), true, at(1));
        }
        assert!(!world.pool.offer(told(4, 1, 90), at(2), 0.5));
        assert!(world.pool.offer(told(5, 3, 90), at(2), 0.5));
        assert_eq!(world.pool.view(at(2)).relays.len(), 4);
    }

    #[test]
    fn who_says_it_is_in_a_block_and_never_answers_gives_its_place_to_others() {
        let mut world = World::new(0);
        let known = |world: &World, n| world.pool.view(at(0)).relays.iter().any(|relay| relay.relay == id(n));
        world.offer([told(1, 1, 90), told(2, 1, 90), told(3, 1, 91)]);
        assert!(known(&world, 3));
        world.pool.answered(&id(3), true);
        world.offer((10..30).map(|n| told(n, 1, 90)));
        assert!(known(&world, 3), "one that answers stays");
        let squatter = (1..30).find(|n| *n != 3 && known(&world, *n)).unwrap();
        world.pool.answered(&id(squatter), false);
        assert!(!known(&world, squatter), "and one that does not is forgotten");
        world.pool.answered(&id(3), false);
        assert!(known(&world, 3), "not the first time");
        world.pool.answered(&id(3), false);
        assert!(!known(&world, 3));
    }

    #[test]
    fn who_tells_of_many_displaces_no_relay_of_a_teller_of_fewer() {
        let mut world = World::new(0);
        let block = |n: u16| u8::try_from(n % 20).unwrap();
        world.offer((0..40).map(|n| told(100 + n, block(n), 91)));
        world.offer((0..128).map(|n| told(1000 + n, block(n), 90)));
        let view = world.pool.view(at(0));
        let honest = view.relays.iter().filter(|relay| (100..140).any(|n| relay.relay == id(n))).count();
        assert!(honest >= 20, "{honest}");
        // Who tells of few gets in all the same.
        assert!(world.pool.offer(told(5000, 3, 92), at(1), 0.5));
    }

    #[test]
    fn of_those_that_were_of_use_one_of_a_crowded_block_goes_first() {
        let mut world = World::new(0);
        world.offer([told(1, 200, 90)]);
        world.pool.carried(&id(1), true, at(0));
        for n in 0..70_u16 {
            world.offer([told(1000 + n, u8::try_from(n / 2).unwrap(), 90)]);
            world.pool.carried(&id(1000 + n), true, at(10));
        }
        world.pool.step(at(60), || 0.5);
        let view = world.pool.view(at(60));
        assert_eq!(view.relays.len(), 64);
        assert!(view.relays.iter().any(|relay| relay.relay == id(1)), "it was of no use for longest, but is alone");
    }
}
