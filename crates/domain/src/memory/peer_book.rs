use std::{
    collections::HashMap,
    net::Ipv4Addr,
    sync::{Mutex, MutexGuard, PoisonError},
};

use dashmap::DashMap;

use crate::{
    Counts, PeerBook, PeerBookError, PeerChange, PeerIdentity, PeerRecord, Timestamp, is_peer_loopback, loopback_candidates,
};

/// So many peers are evicted together: looking for the stalest peers
/// costs a walk over all of them.
const EVICTED_AT_ONCE: usize = 256;

/// The peer book's records and rules, in memory. What is to outlast the program is the
/// matter of whoever watches it ([`MemoryPeerBook::with`]).
pub struct MemoryPeerBook {
    limit: usize,
    peers: DashMap<PeerIdentity, PeerRecord>,
    /// Taken by whatever adds or removes peers or gives addresses, and never while an
    /// entry of `peers` is borrowed.
    held: Mutex<Held>,
    changed: Box<dyn Fn(&PeerIdentity) + Send + Sync>,
}

#[derive(Default)]
struct Held {
    /// How often each is pinned.
    pins: Counts<PeerIdentity>,
    addresses: HashMap<Ipv4Addr, PeerIdentity>,
}

impl MemoryPeerBook {
    /// A book for up to `limit` peers (at least one) that forgets everything at its end.
    pub fn new(limit: usize) -> Self {
        Self::with(limit, Vec::new(), |_| {})
    }

    /// A book that begins with these records, also if they are more than `limit`.
    /// `changed` is called after each change, with the peer that changed or is gone; it
    /// must not call the book. Of records with one loopback address the one heard of
    /// last keeps it.
    pub fn with(limit: usize, mut records: Vec<PeerRecord>, changed: impl Fn(&PeerIdentity) + Send + Sync + 'static) -> Self {
        records.sort_by_key(|record| std::cmp::Reverse(record.last_seen));
        let mut held = Held::default();
        let peers = DashMap::with_capacity(records.len());
        for mut record in records {
            if let Some(address) = record.loopback
                && (!is_peer_loopback(address) || held.addresses.contains_key(&address))
            {
                record.loopback = None;
                changed(&record.peer);
            }
            held.addresses.extend(record.loopback.map(|address| (address, record.peer.clone())));
            peers.insert(record.peer.clone(), record);
        }
        Self { limit: limit.max(1), peers, held: Mutex::new(held), changed: Box::new(changed) }
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds the peer if it is not there. While `held` is borrowed it stays.
    fn insert(&self, held: &mut Held, peer: &PeerIdentity, now: Timestamp) -> Result<(), PeerBookError> {
        if !self.peers.contains_key(peer) {
            self.make_room(held, now)?;
            self.peers.insert(peer.clone(), PeerRecord::new(peer.clone(), now));
        }
        Ok(())
    }

    fn make_room(&self, held: &mut Held, now: Timestamp) -> Result<(), PeerBookError> {
        if self.peers.len() < self.limit {
            return Ok(());
        }
        let evictable = self.peers.iter().filter(|record| !record.is_banned(now) && held.pins.of(&record.peer) == 0);
        let mut evictable: Vec<(Timestamp, PeerIdentity)> =
            evictable.map(|record| (record.last_seen, record.peer.clone())).collect();
        let count = (self.limit / EVICTED_AT_ONCE).clamp(1, evictable.len().max(1));
        if count < evictable.len() {
            evictable.select_nth_unstable(count);
        }
        for (_, peer) in evictable.iter().take(count) {
            // It may have been banned meanwhile.
            if let Some((_, record)) = self.peers.remove_if(peer, |_, record| !record.is_banned(now)) {
                record.loopback.map(|address| held.addresses.remove(&address));
                (self.changed)(peer);
            }
        }
        if self.peers.len() < self.limit { Ok(()) } else { Err(PeerBookError::Full { limit: self.limit }) }
    }

    /// Carries a change out if the peer is there.
    fn apply(&self, peer: &PeerIdentity, change: PeerChange, now: Timestamp) -> Option<bool> {
        let result = self.peers.get_mut(peer).map(|mut record| record.apply(change, now))?;
        (self.changed)(peer);
        Some(result)
    }

    /// Gives the peer, which is there, a free address.
    fn give(&self, held: &mut Held, peer: &PeerIdentity, address: Ipv4Addr) {
        let before = self.peers.get_mut(peer).and_then(|mut record| record.loopback.replace(address));
        before.map(|before| held.addresses.remove(&before));
        held.addresses.insert(address, peer.clone());
        (self.changed)(peer);
    }
}

impl PeerBook for MemoryPeerBook {
    fn get(&self, peer: &PeerIdentity) -> Option<PeerRecord> {
        self.peers.get(peer).map(|record| record.clone())
    }

    fn is_banned(&self, peer: &PeerIdentity, now: Timestamp) -> bool {
        self.peers.get(peer).is_some_and(|record| record.is_banned(now))
    }

    fn update(&self, peer: &PeerIdentity, change: PeerChange, now: Timestamp) -> Result<bool, PeerBookError> {
        let address = match &change {
            PeerChange::Join(record) => record.loopback.filter(|address| is_peer_loopback(*address)),
            _ => None,
        };
        let is_known = || self.peers.contains_key(peer);
        if !change.introduces() || (address.is_none() && is_known()) {
            // Evicted in this moment, it is as if it had never been there.
            return Ok(self.apply(peer, change, now).unwrap_or_default());
        }
        let mut held = self.lock();
        self.insert(&mut held, peer, now)?;
        if let Some(address) = address
            && !held.addresses.contains_key(&address)
            && self.peers.get(peer).is_some_and(|record| record.loopback.is_none())
        {
            self.give(&mut held, peer, address);
        }
        Ok(self.apply(peer, change, now).unwrap_or_default())
    }

    fn recent(&self, limit: usize) -> Vec<PeerRecord> {
        let mut peers: Vec<_> =
            self.peers.iter().map(|record| (std::cmp::Reverse(record.last_seen), record.peer.clone())).collect();
        peers.sort_unstable();
        peers.into_iter().filter_map(|(_, peer)| self.get(&peer)).take(limit).collect()
    }

    fn forget(&self, peer: &PeerIdentity) -> bool {
        let mut held = self.lock();
        let was_known = if held.pins.of(peer) > 0 {
            let blank = |record: &mut PeerRecord| {
                let loopback = record.loopback;
                *record = PeerRecord { loopback, ..PeerRecord::new(peer.clone(), record.last_seen) };
            };
            self.peers.get_mut(peer).map(|mut record| blank(&mut record)).is_some()
        } else {
            let removed = self.peers.remove(peer);
            removed.as_ref().and_then(|(_, record)| record.loopback).map(|address| held.addresses.remove(&address));
            removed.is_some()
        };
        if was_known {
            (self.changed)(peer);
        }
        was_known
    }

    fn pin(&self, peer: &PeerIdentity) {
        self.lock().pins.add(peer.clone());
    }

    fn unpin(&self, peer: &PeerIdentity) {
        self.lock().pins.remove(peer);
    }

    fn loopback(&self, peer: &PeerIdentity, now: Timestamp) -> Result<Ipv4Addr, PeerBookError> {
        let mut held = self.lock();
        self.insert(&mut held, peer, now)?;
        self.apply(peer, PeerChange::Admitted, now);
        if let Some(address) = self.peers.get(peer).and_then(|record| record.loopback) {
            return Ok(address);
        }
        let free = loopback_candidates(peer).find(|address| !held.addresses.contains_key(address));
        let address = free.ok_or(PeerBookError::Full { limit: self.limit })?;
        self.give(&mut held, peer, address);
        Ok(address)
    }

    fn set_loopback(&self, peer: &PeerIdentity, address: Ipv4Addr, now: Timestamp) -> Result<(), PeerBookError> {
        let mut held = self.lock();
        let owner = held.addresses.get(&address).filter(|owner| *owner != peer).cloned();
        if !is_peer_loopback(address) || owner.as_ref().is_some_and(|owner| held.pins.of(owner) > 0) {
            return Err(PeerBookError::Loopback { address });
        }
        self.insert(&mut held, peer, now)?;
        if let Some(owner) = owner {
            self.peers.get_mut(&owner).map(|mut record| record.loopback.take());
            (self.changed)(&owner);
        }
        self.give(&mut held, peer, address);
        Ok(())
    }

    fn peer_at(&self, address: Ipv4Addr) -> Option<PeerIdentity> {
        self.lock().addresses.get(&address).cloned()
    }
}

#[cfg(test)]
mod tests;
