//! Which peer has which loopback address.

use std::{
    collections::{HashMap, HashSet},
    fs,
    io::{self, Write},
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use kaspath_domain::{PeerIdentity, synthetic_address};
use thiserror::Error;

/// First and last address of the range, 127.64.0.0/10.
const FIRST: u32 = u32::from_be_bytes([127, 64, 0, 0]);
const LAST: u32 = u32::from_be_bytes([127, 127, 255, 255]);
/// Peers remembered; a table this full says so instead of forgetting one, for a
/// forgotten peer's bans and places would pass to another.
const MAX_PEERS: usize = 65_536;
/// Larger than any table.
const MAX_FILE: u64 = 16 << 20;

/// Why the table failed. The file is never changed by a failed read.
#[derive(Debug, Error)]
pub enum TableError {
    /// It could not be read or written.
    #[error("the address table {path}: {cause}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's word.
        cause: io::Error,
    },
    /// It holds something else.
    #[error("the address table {path} is not valid ({cause}): move it away, and peers get new addresses")]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        cause: String,
    },
    /// It is full.
    #[error("the address table holds {MAX_PEERS} peers, which is the limit")]
    Full,
}

/// A loopback address of its own for every peer, the same for ever.
#[derive(Debug)]
pub struct AddressTable {
    path: Option<PathBuf>,
    known: Mutex<HashMap<PeerIdentity, Ipv4Addr>>,
}

impl AddressTable {
    /// A table that is forgotten with the process.
    pub fn in_memory() -> Self {
        Self { path: None, known: Mutex::default() }
    }

    /// The table in a file, which is made at the first address if it is not there.
    pub fn open(path: &Path) -> Result<Self, TableError> {
        let io = |cause| TableError::Io { path: path.into(), cause };
        let corrupt = |cause: String| TableError::Corrupt { path: path.into(), cause };
        let known = match fs::metadata(path) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => HashMap::new(),
            Err(cause) => return Err(io(cause)),
            Ok(metadata) if metadata.len() > MAX_FILE => return Err(corrupt("it is too large".into())),
            Ok(_) => {
                let text = fs::read_to_string(path).map_err(io)?;
                let known: HashMap<PeerIdentity, Ipv4Addr> =
                    serde_json::from_str(&text).map_err(|error| corrupt(error.to_string()))?;
                let distinct: HashSet<_> = known.values().collect();
                if distinct.len() < known.len() {
                    return Err(corrupt("two peers have one address".into()));
                }
                known
            }
        };
        Ok(Self { path: Some(path.into()), known: Mutex::new(known) })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PeerIdentity, Ipv4Addr>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The peer's address; entered and written down if it is new.
    pub fn address(&self, peer: &PeerIdentity) -> Result<Ipv4Addr, TableError> {
        let mut known = self.lock();
        if let Some(address) = known.get(peer) {
            return Ok(*address);
        }
        if known.len() >= MAX_PEERS {
            return Err(TableError::Full);
        }
        let taken: HashSet<Ipv4Addr> = known.values().copied().collect();
        let IpAddr::V4(start) = synthetic_address(peer).ip() else { return Err(TableError::Full) };
        let address = probe(start, &taken).ok_or(TableError::Full)?;
        known.insert(peer.clone(), address);
        if let Some(path) = &self.path {
            write(path, &known).map_err(|cause| TableError::Io { path: path.clone(), cause })?;
        }
        Ok(address)
    }
}

/// The first free address from `start` on; network-like last bytes are left out.
fn probe(start: Ipv4Addr, taken: &HashSet<Ipv4Addr>) -> Option<Ipv4Addr> {
    let mut candidate = u32::from(start).clamp(FIRST, LAST);
    for _ in FIRST..=LAST {
        let address = Ipv4Addr::from(candidate);
        let plain = !matches!(address.octets()[3], 0 | 255);
        if plain && !taken.contains(&address) {
            return Some(address);
        }
        candidate = if candidate == LAST { FIRST } else { candidate + 1 };
    }
    None
}

/// Whole or not at all: written beside, synced and renamed.
fn write(path: &Path, known: &HashMap<PeerIdentity, Ipv4Addr>) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let temporary = path.with_extension("new");
    let mut file = fs::File::create(&temporary)?;
    file.write_all(&serde_json::to_vec_pretty(known)?)?;
    file.sync_all()?;
    fs::rename(&temporary, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(n: u8) -> PeerIdentity {
        PeerIdentity::from_bytes(&[0, 1, n]).unwrap()
    }

    #[test]
    fn addresses_are_distinct_and_survive_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/addresses.json");
        let table = AddressTable::open(&path).unwrap();
        let first: Vec<_> = (0..100).map(|n| table.address(&peer(n)).unwrap()).collect();
        assert_eq!(first.iter().collect::<HashSet<_>>().len(), 100);
        assert!(first.iter().all(|address| address.octets()[0] == 127 && (64..128).contains(&address.octets()[1])));
        let again = AddressTable::open(&path).unwrap();
        assert_eq!((0..100).map(|n| again.address(&peer(n)).unwrap()).collect::<Vec<_>>(), first);
    }

    #[test]
    fn a_collision_is_probed_past_and_the_range_wraps() {
        let start = Ipv4Addr::new(127, 127, 255, 254);
        let taken = HashSet::from([start]);
        assert_eq!(probe(start, &taken), Some(Ipv4Addr::new(127, 64, 0, 1)));
    }

    #[test]
    fn garbage_is_refused_with_the_cure_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("addresses.json");
        fs::write(&path, "garbage").unwrap();
        let error = AddressTable::open(&path).unwrap_err();
        assert!(error.to_string().contains("move it away"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "garbage");
    }
}
