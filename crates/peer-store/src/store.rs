use std::{
    net::Ipv4Addr,
    path::Path,
    sync::Arc,
    thread::{self, JoinHandle},
    time::Instant,
};

use kaspath_domain::{PeerBook, PeerBookError, PeerChange, PeerIdentity, PeerRecord, Timestamp, memory::MemoryPeerBook};
use redb::Database;

use crate::{
    SetAside, StoreError,
    file::{Create, File},
    journal::{Failures, Journal},
};

/// A bounded peer book on disk. Dropping it writes what is left.
pub struct PeerStore {
    book: Arc<MemoryPeerBook>,
    journal: Arc<Journal>,
    writer: Option<JoinHandle<()>>,
}

impl PeerStore {
    /// Opens the book, for up to `limit` peers; makes it if it is not there. What
    /// cannot be read is set aside and reported. Blocks on the disk.
    pub fn open(path: &Path, limit: usize) -> Result<(Self, Option<SetAside>), StoreError> {
        Self::open_with(path, limit, Box::new(|path| Database::create(path)))
    }

    fn open_with(path: &Path, limit: usize, create: Create) -> Result<(Self, Option<SetAside>), StoreError> {
        let (file, records, aside) = File::open(path, create)?;
        let journal = Arc::<Journal>::default();
        let noting = journal.clone();
        let book = Arc::new(MemoryPeerBook::with(limit, records, move |peer| noting.note(peer)));
        let (written, writing) = (book.clone(), journal.clone());
        let writer = thread::Builder::new().name("peer-store".into()).spawn(move || write(&written, &writing, file));
        let writer = writer.map_err(|cause| StoreError::Io { path: path.into(), cause: cause.to_string() })?;
        Ok((Self { book, journal, writer: Some(writer) }, aside))
    }

    /// Returns when everything is on disk. Blocks, up to a second and the disk's time.
    pub fn flush(&self) -> Result<(), PeerBookError> {
        self.journal.flush()
    }
}

impl Drop for PeerStore {
    fn drop(&mut self) {
        self.journal.close();
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

/// The writer: waits for a change, lets others gather, writes them.
fn write(book: &MemoryPeerBook, journal: &Journal, mut file: File) {
    let mut failures = Failures::default();
    while let Some(taken) = journal.take() {
        let changes = taken.iter().map(|peer| (peer.clone(), book.get(peer))).collect();
        let failure = match file.commit(changes, || book.all()) {
            Ok(()) => {
                if failures.worked() {
                    tracing::info!("the peer book is written again");
                }
                None
            }
            Err(error) => {
                if failures.failed(Instant::now()) {
                    tracing::warn!(%error, "the peer book is not written; it is tried again until it is");
                }
                Some(error.to_string())
            }
        };
        if !journal.written(taken, failure, failures.wait()) {
            return;
        }
    }
}

impl PeerBook for PeerStore {
    fn get(&self, peer: &PeerIdentity) -> Option<PeerRecord> {
        self.book.get(peer)
    }

    fn is_banned(&self, peer: &PeerIdentity, now: Timestamp) -> bool {
        self.book.is_banned(peer, now)
    }

    fn update(&self, peer: &PeerIdentity, change: PeerChange, now: Timestamp) -> Result<bool, PeerBookError> {
        self.book.update(peer, change, now)
    }

    fn recent(&self, limit: usize) -> Vec<PeerRecord> {
        self.book.recent(limit)
    }

    fn forget(&self, peer: &PeerIdentity) -> bool {
        self.book.forget(peer)
    }

    fn pin(&self, peer: &PeerIdentity) {
        self.book.pin(peer);
    }

    fn unpin(&self, peer: &PeerIdentity) {
        self.book.unpin(peer);
    }

    fn loopback(&self, peer: &PeerIdentity, now: Timestamp) -> Result<Ipv4Addr, PeerBookError> {
        self.book.loopback(peer, now)
    }

    fn set_loopback(&self, peer: &PeerIdentity, address: Ipv4Addr, now: Timestamp) -> Result<(), PeerBookError> {
        self.book.set_loopback(peer, address, now)
    }

    fn peer_at(&self, address: Ipv4Addr) -> Option<PeerIdentity> {
        self.book.peer_at(address)
    }
}

#[cfg(test)]
mod tests;
