use std::{
    collections::{HashMap, HashSet},
    path::Path,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

use async_trait::async_trait;
use kaspath_domain::{AttemptOutcome, ObservedAddress, PeerBook, PeerBookError, PeerIdentity, PeerRecord, Timestamp};

use crate::{SetAside, StoreError, file::File};

/// Between two transactions: a change is on disk within a second.
const INTERVAL: Duration = Duration::from_millis(500);

struct State {
    peers: HashMap<PeerIdentity, PeerRecord>,
    /// What is not on disk yet.
    dirty: HashSet<PeerIdentity>,
    failure: Option<String>,
    closing: bool,
}

struct Shared {
    limit: usize,
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A bounded peer book on disk. Beyond its limit the peer that was seen longest
/// ago goes, unless it is banned. Dropping it writes what is left.
pub struct PeerStore {
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
}

impl PeerStore {
    /// Opens the book, for up to `limit` peers; makes it if it is not there. A
    /// file that is no peer book is moved aside and told of. Blocks on the disk.
    pub fn open(path: &Path, limit: usize) -> Result<(Self, Option<SetAside>), StoreError> {
        let (file, records, aside) = File::open(path)?;
        let peers = records.into_iter().map(|record| (record.peer.clone(), record)).collect();
        let state = State { peers, dirty: HashSet::new(), failure: None, closing: false };
        let shared = Arc::new(Shared { limit: limit.max(1), state: Mutex::new(state), changed: Condvar::new() });
        let writing = shared.clone();
        let writer = thread::Builder::new().name("peer-store".into()).spawn(move || write(&writing, &file));
        let writer = writer.map_err(|cause| StoreError::Io { path: path.into(), cause: cause.to_string() })?;
        Ok((Self { shared, writer: Some(writer) }, aside))
    }

    /// Changes a peer's record, made if it is not there; what `change` returns.
    pub fn update<R>(
        &self,
        peer: &PeerIdentity,
        now: Timestamp,
        change: impl FnOnce(&mut PeerRecord) -> R,
    ) -> Result<R, PeerBookError> {
        let mut state = self.shared.lock();
        if !state.peers.contains_key(peer) && state.peers.len() >= self.shared.limit {
            let free = state.peers.values().filter(|record| !record.is_banned(now));
            let oldest = free.min_by_key(|record| record.last_seen).map(|record| record.peer.clone());
            let oldest = oldest.ok_or(PeerBookError::Full { limit: self.shared.limit })?;
            state.peers.remove(&oldest);
            state.dirty.insert(oldest);
        }
        let record = state.peers.entry(peer.clone()).or_insert_with(|| PeerRecord::new(peer.clone(), now));
        record.last_seen = record.last_seen.max(now);
        let result = change(record);
        state.dirty.insert(peer.clone());
        drop(state);
        self.shared.changed.notify_all();
        Ok(result)
    }

    /// A peer's record.
    pub fn find(&self, peer: &PeerIdentity) -> Option<PeerRecord> {
        self.shared.lock().peers.get(peer).cloned()
    }

    /// Every record, those seen last first.
    pub fn all(&self) -> Vec<PeerRecord> {
        let mut records: Vec<PeerRecord> = self.shared.lock().peers.values().cloned().collect();
        records.sort_by(|a, b| b.last_seen.cmp(&a.last_seen).then_with(|| a.peer.cmp(&b.peer)));
        records
    }

    /// Whether the peer is banned now.
    pub fn is_banned(&self, peer: &PeerIdentity, now: Timestamp) -> bool {
        self.shared.lock().peers.get(peer).is_some_and(|record| record.is_banned(now))
    }

    /// Removes a peer; whether it was there.
    pub fn remove(&self, peer: &PeerIdentity) -> bool {
        let mut state = self.shared.lock();
        let was_there = state.peers.remove(peer).is_some();
        if was_there {
            state.dirty.insert(peer.clone());
            drop(state);
            self.shared.changed.notify_all();
        }
        was_there
    }

    /// Returns when everything is on disk. Blocks, up to a second and the disk's time.
    pub fn flush(&self) -> Result<(), PeerBookError> {
        let mut state = self.shared.lock();
        while !state.dirty.is_empty() {
            if let Some(failure) = state.failure.clone() {
                return Err(PeerBookError::Store(failure));
            }
            state = self.shared.changed.wait_timeout(state, INTERVAL).unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(())
    }
}

impl Drop for PeerStore {
    fn drop(&mut self) {
        self.shared.lock().closing = true;
        self.shared.changed.notify_all();
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

/// The writer: waits for a change, lets others gather, writes them.
fn write(shared: &Shared, file: &File) {
    loop {
        let mut state = shared.lock();
        while state.dirty.is_empty() && !state.closing {
            state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.dirty.is_empty() {
            return;
        }
        let changes: Vec<_> = state.dirty.iter().map(|peer| (peer.clone(), state.peers.get(peer).cloned())).collect();
        drop(state);
        let committed = file.commit(&changes);
        let mut state = shared.lock();
        match committed {
            Ok(()) => {
                state.failure = None;
                for (peer, written) in &changes {
                    // What has changed meanwhile is written the next time.
                    if state.peers.get(peer) == written.as_ref() {
                        state.dirty.remove(peer);
                    }
                }
            }
            Err(error) => {
                tracing::warn!(%error, "the peer book is not written; it is tried again");
                state.failure = Some(error.to_string());
                if state.closing {
                    return;
                }
            }
        }
        let closing = state.closing;
        drop(state);
        shared.changed.notify_all();
        if !closing {
            let state = shared.lock();
            // Sooner only for the end.
            drop(shared.changed.wait_timeout_while(state, INTERVAL, |state| !state.closing));
        }
    }
}

#[async_trait]
impl PeerBook for PeerStore {
    async fn get(&self, peer: &PeerIdentity) -> Result<Option<PeerRecord>, PeerBookError> {
        Ok(self.find(peer))
    }

    async fn observe(&self, peer: &PeerIdentity, address: ObservedAddress) -> Result<(), PeerBookError> {
        self.update(peer, address.last_seen, |record| record.observe(address))
    }

    async fn record_outcome(&self, outcome: &AttemptOutcome, now: Timestamp) -> Result<(), PeerBookError> {
        let Some(peer) = &outcome.peer else { return Ok(()) };
        self.update(peer, now, |record| record.count(outcome, now))
    }

    async fn recent(&self, limit: usize) -> Result<Vec<PeerRecord>, PeerBookError> {
        let mut records = self.all();
        records.truncate(limit);
        Ok(records)
    }

    async fn forget(&self, peer: &PeerIdentity) -> Result<bool, PeerBookError> {
        Ok(self.remove(peer))
    }
}

#[cfg(test)]
mod tests;
