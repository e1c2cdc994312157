//! Which relays are remembered, and which give way.

use std::collections::{BTreeMap, HashMap};

use kaspath_domain::{Counts, Moment, PeerGroup, PeerIdentity, below};

use super::{
    candidate::{RelayCandidate, RelaySource},
    limits::{MAX_ADDRESSES, MAX_GIVEN, MAX_NEW, MAX_NEW_OF_BLOCK, MAX_NEW_OF_TELLER, MAX_TRIED, TOLD_FOR},
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
        let known = self.relays.entry(relay).or_insert_with(|| Relay { rank, ..Relay::new(now) });
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
        let tried = self.relays.iter().filter(|(_, relay)| relay.tried && !relay.is_given());
        let excess = tried.clone().count().saturating_sub(MAX_TRIED);
        let mut idle: Vec<(Moment, PeerIdentity)> =
            tried.filter(|(_, relay)| !relay.is_in_use()).map(|(id, relay)| (relay.seen, id.clone())).collect();
        idle.sort();
        idle.iter().take(excess).for_each(|(_, id)| drop(self.relays.remove(id)));
    }

    fn new_ones(&self) -> impl Iterator<Item = (&PeerIdentity, &Relay)> {
        self.relays.iter().filter(|(_, relay)| !relay.tried && !relay.is_given())
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
        if known.is_some() {
            return true;
        }
        self.forget(now);
        if *source == RelaySource::Book {
            return self.relays.values().filter(|relay| relay.tried && !relay.is_given()).count() < MAX_TRIED;
        }
        let groups = groups(id, addresses);
        let in_block = |group: &PeerGroup| self.new_ones().filter(|(id, relay)| relay.groups(id).contains(group)).count();
        if groups.iter().any(|group| in_block(group) >= MAX_NEW_OF_BLOCK) {
            return false;
        }
        let mut of_tellers: HashMap<&PeerIdentity, Vec<&PeerIdentity>> = HashMap::new();
        for (id, relay) in self.new_ones() {
            if let Some(teller) = relay.sources.iter().find_map(RelaySource::teller) {
                of_tellers.entry(teller).or_default().push(id);
            }
        }
        let own = source.teller().and_then(|teller| of_tellers.get(teller));
        let crowded = match own.filter(|own| own.len() >= MAX_NEW_OF_TELLER) {
            Some(own) => own,
            None if self.new_ones().count() < MAX_NEW => return true,
            // Ties are broken by the ids, which no teller chooses for another.
            None => match of_tellers.iter().max_by_key(|(teller, told)| (told.len(), *teller)) {
                Some((_, told)) => told,
                None => return false,
            },
        };
        let idle: Vec<&PeerIdentity> =
            crowded.iter().copied().filter(|id| self.relays.get(*id).is_some_and(|relay| !relay.is_in_use())).collect();
        let Some(leaves) = pick(&idle, random).map(|id| (*id).clone()) else { return false };
        self.relays.remove(&leaves);
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
    relays.filter(|(_, relay)| relay.has_place()).flat_map(|(id, relay)| relay.groups(id)).for_each(|group| taken.add(group));
    taken
}
