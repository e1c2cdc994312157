use std::{collections::HashMap, sync::Mutex};

use async_trait::async_trait;

use crate::{AttemptOutcome, ObservedAddress, PeerBook, PeerBookError, PeerIdentity, PeerRecord, Timestamp, make_room};

/// A bounded peer book that forgets everything at its end. When it is full, the
/// peer that was seen longest ago makes room.
pub struct MemoryPeerBook {
    limit: usize,
    peers: Mutex<HashMap<PeerIdentity, PeerRecord>>,
}

impl MemoryPeerBook {
    /// A book for up to `limit` peers (at least one).
    pub fn new(limit: usize) -> Self {
        Self { limit: limit.max(1), peers: Mutex::default() }
    }

    fn with<R>(&self, f: impl FnOnce(&mut HashMap<PeerIdentity, PeerRecord>) -> R) -> R {
        f(&mut self.peers.lock().unwrap_or_else(|poisoned| poisoned.into_inner()))
    }

    fn update(&self, peer: &PeerIdentity, now: Timestamp, change: impl FnOnce(&mut PeerRecord)) {
        self.with(|peers| {
            make_room(peers, peer, self.limit, |record| record.last_seen);
            let record = peers.entry(peer.clone()).or_insert_with(|| PeerRecord::new(peer.clone(), now));
            record.last_seen = record.last_seen.max(now);
            change(record);
        });
    }
}

#[async_trait]
impl PeerBook for MemoryPeerBook {
    async fn get(&self, peer: &PeerIdentity) -> Result<Option<PeerRecord>, PeerBookError> {
        Ok(self.with(|peers| peers.get(peer).cloned()))
    }

    async fn observe(&self, peer: &PeerIdentity, address: ObservedAddress) -> Result<(), PeerBookError> {
        self.update(peer, address.last_seen, |record| record.observe(address));
        Ok(())
    }

    async fn record_outcome(&self, outcome: &AttemptOutcome, now: Timestamp) -> Result<(), PeerBookError> {
        let Some(peer) = &outcome.peer else { return Ok(()) };
        self.update(peer, now, |record| record.count(outcome, now));
        Ok(())
    }

    async fn recent(&self, limit: usize) -> Result<Vec<PeerRecord>, PeerBookError> {
        let mut records: Vec<_> = self.with(|peers| peers.values().cloned().collect());
        records.sort_by_key(|record| std::cmp::Reverse(record.last_seen));
        records.truncate(limit);
        Ok(records)
    }

    async fn forget(&self, peer: &PeerIdentity) -> Result<bool, PeerBookError> {
        Ok(self.with(|peers| peers.remove(peer).is_some()))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::AddressSource;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_epoch(Duration::from_secs(seconds))
    }

    fn peer(n: u8) -> PeerIdentity {
        PeerIdentity::from_bytes(&[0, 1, n]).unwrap()
    }

    fn address(port: u16, seen: u64) -> ObservedAddress {
        let locator = format!("/ip4/192.0.2.1/tcp/{port}").parse().unwrap();
        ObservedAddress { locator, source: AddressSource::Manual, last_seen: at(seen) }
    }

    #[tokio::test]
    async fn a_full_book_forgets_the_stalest_peer() {
        let book = MemoryPeerBook::new(2);
        for (n, seen) in [(1, 10), (2, 5), (3, 20)] {
            book.observe(&peer(n), address(1, seen)).await.unwrap();
        }
        assert!(book.get(&peer(2)).await.unwrap().is_none());
        let recent = book.recent(9).await.unwrap();
        assert_eq!(recent.iter().map(|r| r.peer.clone()).collect::<Vec<_>>(), [peer(3), peer(1)]);
    }

    #[tokio::test]
    async fn addresses_are_bounded_and_freshened() {
        let book = MemoryPeerBook::new(2);
        for port in 1..=40 {
            book.observe(&peer(1), address(port, 1)).await.unwrap();
        }
        book.observe(&peer(1), address(40, 9)).await.unwrap();
        let record = book.get(&peer(1)).await.unwrap().unwrap();
        assert_eq!(record.addresses.len(), PeerRecord::MAX_ADDRESSES);
        assert_eq!(record.addresses.last().unwrap().last_seen, at(9));
        let passing = ObservedAddress { source: AddressSource::Inbound, ..address(99, 10) };
        book.observe(&peer(1), passing).await.unwrap();
        book.observe(&peer(1), address(41, 11)).await.unwrap();
        let record = book.get(&peer(1)).await.unwrap().unwrap();
        assert!(record.addresses.iter().all(|address| address.source == AddressSource::Manual), "what it came from goes first");
        assert!(book.forget(&peer(1)).await.unwrap());
        assert!(!book.forget(&peer(1)).await.unwrap());
    }
}
