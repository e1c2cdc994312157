//! Which peer has which loopback address, and which peers are banned.

mod file;

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use kaspath_domain::{PeerIdentity, Timestamp, synthetic_address};
use thiserror::Error;
use tokio::{sync::Notify, time::sleep};

use file::Entry;

/// The table's file, for fuzzing.
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub fn fuzz_file(bytes: &[u8]) {
    let _ = file::parse(Path::new("fuzz"), bytes);
}

/// First and last address of the range, 127.64.0.0/10.
const FIRST: u32 = u32::from_be_bytes([127, 64, 0, 0]);
const LAST: u32 = u32::from_be_bytes([127, 127, 255, 255]);
/// Peers remembered; beyond them the one that was not used for longest goes.
const MAX_PEERS: usize = 65_536;
/// Between two writes of the file: a change is on disk within about a second.
const WRITE_INTERVAL: Duration = Duration::from_secs(1);
/// After a write that failed, as on a full disk.
const RETRY_INTERVAL: Duration = Duration::from_secs(60);
/// How long kaspad's bans hold, and so ours.
pub const KASPAD_BAN: Duration = Duration::from_secs(24 * 3600);

/// Why the table failed. The file is never changed by a failed read.
#[derive(Debug, Error)]
pub enum TableError {
    /// It could not be read or written.
    #[error("the gateway's peers {path}: {cause}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's word.
        cause: io::Error,
    },
    /// It holds something else.
    #[error(
        "the gateway's peers {path} are not valid ({cause}): move the file away, and peers get new addresses and lose their bans"
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        cause: String,
    },
    /// A later version wrote it.
    #[error("the gateway's peers {path} are of version {found}, this program knows version {known}: use the newer program")]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u64,
        /// The latest version known here.
        known: u64,
    },
    /// Every peer in it is banned or in a session.
    #[error("the gateway remembers {MAX_PEERS} peers, which is the limit, and none of them can be forgotten")]
    Full,
}

#[derive(Debug, Default)]
struct Inner {
    peers: HashMap<PeerIdentity, Entry>,
    by_address: HashMap<Ipv4Addr, PeerIdentity>,
    /// Peers whose address is in use, and how often.
    held: HashMap<PeerIdentity, usize>,
    dirty: bool,
}

/// A loopback address of its own for every peer, the same for ever; and its ban,
/// if it has one.
#[derive(Debug)]
pub struct PeerTable {
    path: Option<PathBuf>,
    limit: usize,
    inner: Mutex<Inner>,
    changed: Notify,
}

/// A peer's address, which cannot pass to another peer while this is held.
#[derive(Debug)]
pub struct Hold {
    table: Arc<PeerTable>,
    peer: PeerIdentity,
    address: Ipv4Addr,
}

impl Hold {
    /// The peer.
    pub fn peer(&self) -> &PeerIdentity {
        &self.peer
    }

    /// The address by which kaspad knows it.
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut inner = self.table.lock();
        if let Some(count) = inner.held.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                inner.held.remove(&self.peer);
            }
        }
    }
}

impl PeerTable {
    fn with(path: Option<PathBuf>, peers: HashMap<PeerIdentity, Entry>) -> Self {
        let by_address = peers.iter().map(|(peer, entry)| (entry.address, peer.clone())).collect();
        let inner = Mutex::new(Inner { peers, by_address, ..Inner::default() });
        Self { path, limit: MAX_PEERS, inner, changed: Notify::new() }
    }

    /// A table that is forgotten with the process.
    pub fn in_memory() -> Self {
        Self::with(None, HashMap::new())
    }

    /// The table in a file, which is made at the first change if it is not there.
    /// Blocks on the disk.
    pub fn open(path: &Path) -> Result<Self, TableError> {
        Ok(Self::with(Some(path.into()), file::read(path)?))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The peer's address, entered if the peer is new.
    pub fn hold(self: &Arc<Self>, peer: &PeerIdentity, now: Timestamp) -> Result<Hold, TableError> {
        let mut inner = self.lock();
        let address = match inner.peers.get_mut(peer) {
            Some(entry) => {
                entry.last_used = now;
                entry.address
            }
            None => inner.add(peer, self.limit, now)?,
        };
        *inner.held.entry(peer.clone()).or_default() += 1;
        self.mark(&mut inner);
        Ok(Hold { table: self.clone(), peer: peer.clone(), address })
    }

    /// Whether the peer has an address already.
    pub fn knows(&self, peer: &PeerIdentity) -> bool {
        self.lock().peers.contains_key(peer)
    }

    /// Whose address it is.
    pub fn peer_at(&self, address: IpAddr) -> Option<PeerIdentity> {
        let IpAddr::V4(address) = address.to_canonical() else { return None };
        self.lock().by_address.get(&address).cloned()
    }

    /// Bans the peer that has this address, for 24 hours as kaspad does; who it
    /// is, if it was not banned already.
    pub fn ban(&self, address: IpAddr, now: Timestamp) -> Option<PeerIdentity> {
        let peer = self.peer_at(address)?;
        let mut inner = self.lock();
        let entry = inner.peers.get_mut(&peer)?;
        // kaspad lists a ban until it is asked for it, long after its end: only the first sight counts.
        if entry.banned_since.is_some() {
            return None;
        }
        entry.banned_since = Some(now);
        self.mark(&mut inner);
        Some(peer)
    }

    /// Lifts the ban of the peer that has this address; who it is, if it was banned.
    pub fn unban(&self, address: IpAddr) -> Option<PeerIdentity> {
        let peer = self.peer_at(address)?;
        let mut inner = self.lock();
        inner.peers.get_mut(&peer)?.banned_since.take()?;
        self.mark(&mut inner);
        Some(peer)
    }

    /// Whether the peer is banned now.
    pub fn is_banned(&self, peer: &PeerIdentity, now: Timestamp) -> bool {
        let since = self.lock().peers.get(peer).and_then(|entry| entry.banned_since);
        since.is_some_and(|since| now.since(since) < KASPAD_BAN)
    }

    fn mark(&self, inner: &mut Inner) {
        inner.dirty = true;
        self.changed.notify_one();
    }

    /// Writes changes to the file, off the runtime, at most once a second. Runs
    /// until it is dropped; call [`PeerTable::save`] after that.
    pub async fn keep_saved(self: Arc<Self>, failed: impl Fn(TableError)) {
        loop {
            self.changed.notified().await;
            if let Err(error) = self.clone().save().await {
                failed(error);
                sleep(RETRY_INTERVAL).await;
                self.changed.notify_one();
            }
            sleep(WRITE_INTERVAL).await;
        }
    }

    /// Writes what has changed, if anything has.
    pub async fn save(self: Arc<Self>) -> Result<(), TableError> {
        let Some(path) = self.path.clone() else { return Ok(()) };
        let peers = {
            let mut inner = self.lock();
            if !std::mem::take(&mut inner.dirty) {
                return Ok(());
            }
            inner.peers.clone()
        };
        let written = tokio::task::spawn_blocking({
            let path = path.clone();
            move || file::write(&path, &peers)
        });
        let written = written.await.unwrap_or_else(|panicked| Err(io::Error::other(panicked)));
        written.map_err(|cause| {
            self.lock().dirty = true;
            TableError::Io { path, cause }
        })
    }
}

impl Inner {
    fn add(&mut self, peer: &PeerIdentity, limit: usize, now: Timestamp) -> Result<Ipv4Addr, TableError> {
        if self.peers.len() >= limit {
            let idle = self.peers.iter().filter(|(peer, entry)| entry.banned_since.is_none() && !self.held.contains_key(*peer));
            let oldest = idle.min_by_key(|(_, entry)| entry.last_used).map(|(peer, entry)| (peer.clone(), entry.address));
            let (oldest, address) = oldest.ok_or(TableError::Full)?;
            self.peers.remove(&oldest);
            self.by_address.remove(&address);
        }
        let IpAddr::V4(start) = synthetic_address(peer).ip() else { return Err(TableError::Full) };
        let address = probe(start, |address| self.by_address.contains_key(&address)).ok_or(TableError::Full)?;
        self.peers.insert(peer.clone(), Entry { address, last_used: now, banned_since: None });
        self.by_address.insert(address, peer.clone());
        Ok(address)
    }
}

/// The first free address from `start` on; network-like last bytes are left out.
fn probe(start: Ipv4Addr, taken: impl Fn(Ipv4Addr) -> bool) -> Option<Ipv4Addr> {
    let mut candidate = u32::from(start).clamp(FIRST, LAST);
    for _ in FIRST..=LAST {
        let address = Ipv4Addr::from(candidate);
        let plain = !matches!(address.octets()[3], 0 | 255);
        if plain && !taken(address) {
            return Some(address);
        }
        candidate = if candidate == LAST { FIRST } else { candidate + 1 };
    }
    None
}

#[cfg(test)]
mod tests;
