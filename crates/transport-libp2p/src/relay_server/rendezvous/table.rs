//! Who is listed under which name. Pure: time and chance come as parameters, and peers are
//! whatever names them.
//!
//! Like the table of reservations it counts anew at each request: there are a thousand
//! entries at most, and rates come before.

use std::{collections::HashMap, hash::Hash, time::Duration};

use kaspath_domain::{Counts, IpPrefix, Moment, Namespace, SignedRecord, Timestamp, spread};
use thiserror::Error;

use super::cookie::Cookie;
use crate::relay_server::origin::Origin;

/// Entries of relays; of peers of Kaspa's networks; of all other names together, and of
/// one of these.
const RELAYS: usize = 256;
const KASPA: usize = 512;
const OTHERS: usize = 256;
const OF_OTHER_NAME: usize = 64;
/// Names under which one peer is listed.
const OF_PEER: usize = 2;
/// Entries of one address, of one /24 or /48, and of one /16 or /32 (see [`IpPrefix`]).
const OF_HOST: usize = 8;
const OF_NETWORK: usize = 32;
const OF_BLOCK: usize = 128;
/// Relays of one /16 or /32.
const RELAYS_OF_BLOCK: usize = 2;
/// An entry's time.
pub(super) const TTL: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(600));
/// An entry that hangs on a reservation outlives it by this, for a link that is made anew.
const GRACE: Duration = Duration::from_secs(30);

/// What a peer has listed; one of both is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listing {
    pub(super) record: Option<SignedRecord>,
    /// For stock software.
    pub(super) peer_record: Option<Vec<u8>>,
}

impl Listing {
    fn issued(&self) -> Timestamp {
        self.record.as_ref().map_or(Timestamp::default(), |signed| signed.record().issued)
    }
}

/// Who wants to be listed.
#[derive(Clone, Debug)]
pub(super) struct Wanted<P> {
    pub(super) peer: P,
    pub(super) origin: Origin,
    pub(super) namespace: Namespace,
    pub(super) listing: Listing,
    pub(super) ttl: Duration,
    /// It is listed because it has a reservation, and no longer than that.
    pub(super) reserved: bool,
}

/// Why it is not listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(super) enum Refused {
    #[error("an older record than the one that is listed")]
    Older,
    #[error("this peer is listed under too many names")]
    TooManyOfPeer,
    #[error("too many of this address are listed")]
    TooManyOfHost,
    #[error("too many of this /24 or /48 are listed")]
    TooManyOfNetwork,
    #[error("too many of this /16 or /32 are listed")]
    TooManyOfBlock,
    #[error("too many are listed")]
    Full,
}

/// One that is listed.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) listing: Listing,
    origin: Origin,
    block: IpPrefix,
    /// When it was first listed.
    since: Moment,
    ends: Moment,
    reserved: bool,
    /// When its reservation ended.
    gone: Option<Moment>,
    /// The number of the change that made it what it is.
    change: u64,
}

impl Entry {
    fn end(&self) -> Moment {
        self.gone.map_or(self.ends, |gone| self.ends.min(gone + GRACE))
    }

    /// For how long it is listed.
    pub(super) fn left(&self, now: Moment) -> Duration {
        self.end().since(now)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Relays,
    Kaspa,
    Other,
}

impl Class {
    fn of(namespace: &Namespace) -> Self {
        let is_kaspa = |network: &str| {
            let testnet = network.strip_prefix("testnet-").is_some_and(|number| number.parse::<u16>().is_ok());
            testnet || ["mainnet", "testnet", "simnet", "devnet"].contains(&network)
        };
        match namespace.network() {
            _ if *namespace == Namespace::relays() => Self::Relays,
            Some(network) if is_kaspa(network) => Self::Kaspa,
            _ => Self::Other,
        }
    }

    fn places(self) -> usize {
        match self {
            Self::Relays => RELAYS,
            Self::Kaspa => KASPA,
            Self::Other => OTHERS,
        }
    }
}

pub(super) struct Table<P> {
    entries: HashMap<(P, Namespace), Entry>,
    /// Of this table: cookies of another one, before a restart, count as none.
    epoch: u16,
    changes: u64,
}

impl<P: Clone + Eq + Hash> Table<P> {
    pub(super) fn new(epoch: u16) -> Self {
        Self { entries: HashMap::new(), epoch, changes: 0 }
    }

    /// How many are listed.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Lists a peer, or does so again, and says for how long. A peer that is listed already
    /// takes no other place.
    pub(super) fn register(&mut self, wanted: Wanted<P>, now: Moment) -> Result<Duration, Refused> {
        self.expire(now);
        let Wanted { peer, origin, namespace, listing, ttl, reserved } = wanted;
        let ttl = ttl.clamp(TTL.0, TTL.1);
        let block = IpPrefix::provider_block(origin.ip);
        let key = (peer, namespace);
        let old = self.entries.get(&key);
        if old.is_some_and(|old| listing.issued() < old.listing.issued()) {
            return Err(Refused::Older);
        }
        let since = old.map_or(now, |old| old.since);
        let change = match old.filter(|old| old.listing == listing) {
            Some(old) => old.change,
            None => self.changes + 1,
        };
        if old.is_none_or(|old| old.origin.host != origin.host) {
            self.make_room(&key, &origin, block)?;
        }
        self.changes = self.changes.max(change);
        self.entries.insert(key, Entry { listing, origin, block, since, ends: now + ttl, reserved, gone: None, change });
        Ok(ttl)
    }

    /// Room for that one, which is not listed from there yet.
    fn make_room(&mut self, key: &(P, Namespace), origin: &Origin, block: IpPrefix) -> Result<(), Refused> {
        let (peer, namespace) = key;
        let class = Class::of(namespace);
        let count = |is_counted: &dyn Fn(&(P, Namespace), &Entry) -> bool| {
            self.entries.iter().filter(|(other, entry)| *other != key && is_counted(other, entry)).count()
        };
        let of_class = |other: &(P, Namespace)| Class::of(&other.1) == class;
        if count(&|other, _| other.0 == *peer) >= OF_PEER {
            return Err(Refused::TooManyOfPeer);
        }
        if count(&|_, entry| entry.origin.host == origin.host) >= OF_HOST {
            return Err(Refused::TooManyOfHost);
        }
        if count(&|_, entry| entry.origin.prefix == origin.prefix) >= OF_NETWORK {
            return Err(Refused::TooManyOfNetwork);
        }
        let of_block = count(&|_, entry| entry.block == block);
        let relays_of_block = count(&|other, entry| of_class(other) && entry.block == block);
        if of_block >= OF_BLOCK || (class == Class::Relays && relays_of_block >= RELAYS_OF_BLOCK) {
            return Err(Refused::TooManyOfBlock);
        }
        let victim = if class == Class::Other && count(&|other, _| other.1 == *namespace) >= OF_OTHER_NAME {
            self.evictable(origin, block, |other| other.1 == *namespace)
        } else if !self.entries.contains_key(key) && count(&|other, _| of_class(other)) >= class.places() {
            self.evictable(origin, block, of_class)
        } else {
            return Ok(());
        };
        let victim = victim.ok_or(Refused::Full)?;
        self.entries.remove(&victim);
        Ok(())
    }

    /// Who may give way to one from there: the oldest of the block, and there of the
    /// network, that has the most, if that is more than the newcomer's would have.
    fn evictable(&self, origin: &Origin, block: IpPrefix, among: impl Fn(&(P, Namespace)) -> bool) -> Option<(P, Namespace)> {
        let (mut blocks, mut networks) = (Counts::default(), Counts::default());
        let all = || self.entries.iter().filter(|(key, _)| among(key));
        for (_, entry) in all() {
            blocks.add(entry.block);
            networks.add(entry.origin.prefix);
        }
        let ours = (blocks.of(&block) + 1, networks.of(&origin.prefix) + 1);
        all()
            .map(|(key, entry)| ((blocks.of(&entry.block), networks.of(&entry.origin.prefix)), entry.since, key))
            .filter(|(crowd, ..)| *crowd > ours)
            .max_by(|a, b| a.0.cmp(&b.0).then(b.1.cmp(&a.1)))
            .map(|(.., key)| key.clone())
    }

    /// The peer is not to be listed there any more.
    pub(super) fn unregister(&mut self, peer: &P, namespace: &Namespace) {
        self.entries.remove(&(peer.clone(), namespace.clone()));
    }

    /// The peer's reservation has ended.
    pub(super) fn gone(&mut self, peer: &P, now: Moment) {
        self.of_peer(peer).filter(|entry| entry.reserved).for_each(|entry| entry.gone = Some(now));
    }

    /// It has one again.
    pub(super) fn back(&mut self, peer: &P) {
        self.of_peer(peer).for_each(|entry| entry.gone = None);
    }

    fn of_peer<'a>(&'a mut self, peer: &'a P) -> impl Iterator<Item = &'a mut Entry> {
        self.entries.iter_mut().filter(move |((other, _), _)| other == peer).map(|(_, entry)| entry)
    }

    /// Up to `limit` others of that name, spread over the blocks that they come from, and
    /// a cookie to ask with again: what has changed since then comes first.
    pub(super) fn discover(
        &mut self,
        (asker, namespace): (&P, &Namespace),
        limit: usize,
        cookie: Option<Cookie>,
        now: Moment,
        random: &mut dyn FnMut() -> f64,
    ) -> (Vec<&Entry>, Cookie) {
        self.expire(now);
        let known = cookie.filter(|cookie| cookie.epoch == self.epoch).map_or(0, |cookie| cookie.change);
        let listed = self.entries.iter().filter(|((peer, name), _)| name == namespace && peer != asker);
        let (new, old): (Vec<&Entry>, Vec<&Entry>) = listed.map(|(_, entry)| entry).partition(|entry| entry.change > known);
        let mut drawn = spread(new, |entry| entry.block, limit, random);
        drawn.extend(spread(old, |entry| entry.block, limit - drawn.len(), random));
        (drawn, Cookie { epoch: self.epoch, change: self.changes })
    }

    fn expire(&mut self, now: Moment) {
        self.entries.retain(|_, entry| entry.end() > now);
    }
}

#[cfg(test)]
mod tests;
