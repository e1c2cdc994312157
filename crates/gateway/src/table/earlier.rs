//! The file in which earlier versions kept peers' loopback addresses and kaspad's bans.

use std::{
    collections::{HashMap, HashSet},
    fs, io,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    time::Duration,
};

use kaspath_domain::{BanSource, PeerBook, PeerBookError, PeerChange, PeerIdentity, Timestamp};
use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;

use super::KASPAD_BAN;

/// Larger than any such file.
const MAX_FILE: u64 = 32 << 20;
/// The last version. Version 0, without a number, held only addresses.
const VERSION: u64 = 1;
/// The book wrote down kaspad's ban as well, a moment later than this file and without
/// saying whose it was: a ban that ends within this time of kaspad's is kaspad's.
const SAME_BAN: Duration = Duration::from_secs(60);

/// Why the file could not be taken over. It is never changed by that.
#[derive(Debug, Error)]
pub enum TableError {
    /// It could not be read or renamed.
    #[error("the gateway's peers {path}: {cause}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's message.
        cause: io::Error,
    },
    /// It holds something else.
    #[error(
        "the gateway's peers {path} are not valid ({cause}): move the file away, and peers get new addresses and lose kaspad's bans"
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
}

/// What is known of one peer.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Entry {
    address: Ipv4Addr,
    #[serde(default)]
    last_used: Timestamp,
    #[serde(default)]
    banned_since: Option<Timestamp>,
}

/// The file of an earlier version. Reading it, recording it in the book, writing the
/// book to disk and setting the file aside are steps of their own, so that a crash
/// between any two of them loses nothing: recording it twice changes nothing.
#[derive(Debug)]
pub struct EarlierTable {
    path: PathBuf,
    peers: HashMap<PeerIdentity, Entry>,
}

impl EarlierTable {
    /// Reads the file; `None` if there is none. Blocks on the disk.
    pub fn read(path: &Path) -> Result<Option<Self>, TableError> {
        let io = |cause| TableError::Io { path: path.into(), cause };
        match fs::metadata(path) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(cause) => return Err(io(cause)),
            Ok(metadata) if metadata.len() > MAX_FILE => {
                return Err(TableError::Corrupt { path: path.into(), cause: "it is too large".into() });
            }
            Ok(_) => {}
        }
        parse(path, &fs::read(path).map_err(io)?).map(Some)
    }

    /// Gives the peers in the book their addresses and kaspad's bans; how many they are.
    pub fn enter(&self, book: &dyn PeerBook) -> Result<usize, PeerBookError> {
        for (peer, entry) in &self.peers {
            let now = entry.last_used;
            let Some(since) = entry.banned_since else {
                book.set_loopback(peer, entry.address, now)?;
                continue;
            };
            let until = since + KASPAD_BAN;
            let is_kaspads = |end: Timestamp| end.since(until).max(until.since(end)) <= SAME_BAN;
            if book.get(peer).and_then(|record| record.manual_ban).is_some_and(is_kaspads) {
                book.update(peer, PeerChange::Unban { source: BanSource::Manual }, now)?;
            }
            book.update(peer, PeerChange::Ban { source: BanSource::Kaspad, until }, now)?;
            book.set_loopback(peer, entry.address, now)?;
        }
        Ok(self.peers.len())
    }

    /// Renames the file, so that it is not recorded again; its new name. Call it once
    /// the book is on disk.
    pub fn set_aside(self) -> Result<PathBuf, TableError> {
        let aside = self.path.with_extension("json.taken-over");
        fs::rename(&self.path, &aside).map_err(|cause| TableError::Io { path: self.path, cause })?;
        Ok(aside)
    }
}

/// What the file at `path` holds.
pub(super) fn parse(path: &Path, text: &[u8]) -> Result<EarlierTable, TableError> {
    let corrupt = |cause: String| TableError::Corrupt { path: path.into(), cause };
    let mut value: Value = serde_json::from_slice(text).map_err(|error| corrupt(error.to_string()))?;
    let version = value.get("version").map_or(0, |version| version.as_u64().unwrap_or(u64::MAX));
    let peers: HashMap<PeerIdentity, Entry> = match version {
        0 => {
            let addresses: HashMap<PeerIdentity, Ipv4Addr> =
                serde_json::from_value(value).map_err(|error| corrupt(error.to_string()))?;
            let entry = |address| Entry { address, last_used: Timestamp::default(), banned_since: None };
            addresses.into_iter().map(|(peer, address)| (peer, entry(address))).collect()
        }
        VERSION => serde_json::from_value(value.get_mut("peers").map(Value::take).unwrap_or_default())
            .map_err(|error| corrupt(error.to_string()))?,
        found => return Err(TableError::Newer { path: path.into(), found, known: VERSION }),
    };
    let distinct: HashSet<Ipv4Addr> = peers.values().map(|entry| entry.address).collect();
    if distinct.len() < peers.len() {
        return Err(corrupt("two peers have one address".into()));
    }
    Ok(EarlierTable { path: path.into(), peers })
}

/// The file, for fuzzing.
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub fn fuzz_file(bytes: &[u8]) {
    let _ = parse(Path::new("fuzz"), bytes);
}

#[cfg(test)]
mod tests {
    use kaspath_domain::{AddressSource, memory::MemoryPeerBook};

    use super::*;

    const TODAY: &str = include_str!("fixtures/gateway-addresses-1.json");
    const BANNED: &str = "12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp";
    const OTHER: &str = "12D3KooWB4BkqVSso9hWyJowML8LtARFdorcywYYk7Hh5crARjCE";

    fn peer(text: &str) -> PeerIdentity {
        text.parse().unwrap()
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_epoch(Duration::from_secs(seconds))
    }

    fn entered(text: &str, book: &MemoryPeerBook) -> usize {
        parse(Path::new("fixture"), text.as_bytes()).unwrap().enter(book).unwrap()
    }

    #[test]
    fn addresses_and_bans_of_the_last_version_are_taken_over_also_twice() {
        let book = MemoryPeerBook::new(10);
        for _ in 0..2 {
            assert_eq!(entered(TODAY, &book), 2);
            assert_eq!(book.peer_at(Ipv4Addr::new(127, 113, 60, 148)), Some(peer(OTHER)));
            assert_eq!(book.peer_at(Ipv4Addr::new(127, 80, 1, 2)), Some(peer(BANNED)));
            let record = book.get(&peer(BANNED)).unwrap();
            assert_eq!((record.kaspad_ban, record.manual_ban), (Some(at(1_790_000_400) + KASPAD_BAN), None));
            assert_eq!(record.last_seen, at(1_790_000_500));
        }
    }

    #[test]
    fn what_the_book_holds_for_the_users_ban_and_is_kaspads_becomes_kaspads() {
        let book = MemoryPeerBook::new(10);
        let ban = |until| PeerChange::Ban { source: BanSource::Manual, until };
        let of_kaspad = at(1_790_000_400) + KASPAD_BAN + Duration::from_nanos(300);
        book.update(&peer(BANNED), ban(of_kaspad), at(0)).unwrap();
        book.update(&peer(OTHER), ban(of_kaspad), at(0)).unwrap();
        entered(TODAY, &book);
        assert_eq!(book.get(&peer(BANNED)).unwrap().manual_ban, None);
        assert_eq!(book.get(&peer(OTHER)).unwrap().manual_ban, Some(of_kaspad), "kaspad has not banned this one");
        let longer = of_kaspad + Duration::from_secs(3600);
        book.update(&peer(BANNED), ban(longer), at(0)).unwrap();
        entered(TODAY, &book);
        assert_eq!(book.get(&peer(BANNED)).unwrap().manual_ban, Some(longer), "another end is another ban");
    }

    #[test]
    fn an_address_that_the_book_held_for_another_peer_goes_to_the_files() {
        let book = MemoryPeerBook::new(10);
        let stale: PeerIdentity = peer("12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN");
        let told = PeerChange::Address { locator: "/ip4/192.0.2.1/tcp/1".parse().unwrap(), source: AddressSource::Manual };
        book.update(&stale, told, at(1)).unwrap();
        book.set_loopback(&stale, Ipv4Addr::new(127, 80, 1, 2), at(1)).unwrap();
        entered(TODAY, &book);
        assert_eq!(book.peer_at(Ipv4Addr::new(127, 80, 1, 2)), Some(peer(BANNED)));
        assert_eq!(book.get(&stale).unwrap().loopback, None);
    }

    #[test]
    fn the_first_version_is_still_read() {
        let book = MemoryPeerBook::new(10);
        assert_eq!(entered(&format!("{{\"{OTHER}\": \"127.80.1.2\"}}"), &book), 1);
        assert_eq!(book.peer_at(Ipv4Addr::new(127, 80, 1, 2)), Some(peer(OTHER)));
    }

    #[test]
    fn the_file_is_kept_aside_and_not_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("gateway-addresses.json");
        assert!(EarlierTable::read(&path).unwrap().is_none());
        fs::write(&path, TODAY).unwrap();
        let aside = EarlierTable::read(&path).unwrap().unwrap().set_aside().unwrap();
        assert_eq!(fs::read_to_string(aside).unwrap(), TODAY);
        assert!(EarlierTable::read(&path).unwrap().is_none());
    }

    #[test]
    fn what_is_no_table_is_told_apart_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("peers.json");
        let twice = format!("{{\"{BANNED}\": \"127.80.1.2\", \"{OTHER}\": \"127.80.1.2\"}}");
        for (text, part) in [
            ("garbage", "move the file away"),
            ("{\"version\": 1, \"peers\": {\"12D3", "move the file away"),
            ("{\"version\": 7}", "use the newer program"),
            (&twice, "two peers have one address"),
        ] {
            fs::write(&path, text).unwrap();
            let error = EarlierTable::read(&path).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
    }
}
