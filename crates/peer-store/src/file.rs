use std::{
    fs, io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

use kaspath_domain::{PeerIdentity, PeerRecord};
use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, StorageError, TableDefinition, TableError};
use thiserror::Error;

const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
const PEERS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("peers");
const VERSION_KEY: &str = "schema-version";
/// Version 1 is the first.
const VERSION: u64 = 1;
/// What every redb file begins with.
const MAGIC: &[u8] = b"redb";

/// Why a store does not open, or a write fails. No file is changed by it.
#[derive(Debug, Error)]
pub enum StoreError {
    /// Another process has it.
    #[error("the peer book {0} is in use: stop the kaspath that runs on it")]
    InUse(PathBuf),
    /// A later version wrote it.
    #[error("the peer book {path} is of version {found}, this program knows version {known}: use the newer program")]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u64,
        /// The latest known here.
        known: u64,
    },
    /// The system failed.
    #[error("the peer book {path}: {cause}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Its word.
        cause: String,
    },
}

/// A file that was no peer book, and where it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetAside {
    /// Where it is now.
    pub path: PathBuf,
    /// What was wrong with it.
    pub cause: String,
}

impl std::fmt::Display for SetAside {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the peer book {}: it is kept as {}, and a new one begins", self.cause, self.path.display())
    }
}

/// The database.
pub(crate) struct File {
    path: PathBuf,
    database: Database,
}

enum Fault {
    Store(StoreError),
    /// It is no peer book.
    Bad(String),
}

impl File {
    /// Opens or makes it. What is no peer book is moved aside first.
    pub(crate) fn open(path: &Path) -> Result<(File, Vec<PeerRecord>, Option<SetAside>), StoreError> {
        let io = |cause: io::Error| StoreError::Io { path: path.into(), cause: cause.to_string() };
        if let Some(parent) = path.parent() {
            private(&mut fs::DirBuilder::new()).create(parent).map_err(io)?;
        }
        let cause = match Self::try_open(path) {
            Ok((file, records)) => return Ok((file, records, None)),
            Err(Fault::Store(error)) => return Err(error),
            Err(Fault::Bad(cause)) => cause,
        };
        let aside = free_name(path);
        fs::rename(path, &aside).map_err(io)?;
        match Self::try_open(path) {
            Ok((file, records)) => Ok((file, records, Some(SetAside { path: aside, cause }))),
            Err(Fault::Store(error)) => Err(error),
            Err(Fault::Bad(cause)) => Err(StoreError::Io { path: path.into(), cause }),
        }
    }

    fn try_open(path: &Path) -> Result<(File, Vec<PeerRecord>), Fault> {
        let io = |cause: String| Fault::Store(StoreError::Io { path: path.into(), cause });
        if let Ok(metadata) = fs::metadata(path)
            && metadata.len() > 0
        {
            let mut head = [0; 4];
            let read = fs::File::open(path)
                .and_then(|mut file| io::Read::read(&mut file, &mut head))
                .map_err(|error| io(error.to_string()))?;
            if &head[..read] != MAGIC {
                return Err(Fault::Bad("holds something else".into()));
            }
        }
        keep_private(path).map_err(|error| io(error.to_string()))?;
        // redb asserts on some files that were cut or altered.
        let opened = catch_unwind(AssertUnwindSafe(|| Self::read(path)));
        opened.unwrap_or_else(|_| Err(Fault::Bad("is damaged".into())))
    }

    fn read(path: &Path) -> Result<(File, Vec<PeerRecord>), Fault> {
        let io = |cause: String| Fault::Store(StoreError::Io { path: path.into(), cause });
        let bad = |error: &dyn std::fmt::Display| Fault::Bad(format!("is cut short or damaged ({error})"));
        let database = Database::create(path).map_err(|error| match error {
            DatabaseError::DatabaseAlreadyOpen => Fault::Store(StoreError::InUse(path.into())),
            DatabaseError::Storage(StorageError::Io(cause))
                if !matches!(cause.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) =>
            {
                io(cause.to_string())
            }
            other => bad(&other),
        })?;
        let mut records = Vec::new();
        let transaction = database.begin_read().map_err(|error| bad(&error))?;
        match transaction.open_table(META) {
            Err(TableError::TableDoesNotExist(_)) => {}
            Err(error) => return Err(bad(&error)),
            Ok(meta) => {
                let found = meta.get(VERSION_KEY).map_err(|error| bad(&error))?.map(|version| version.value());
                match found {
                    Some(VERSION) => {}
                    Some(found) if found > VERSION => {
                        return Err(Fault::Store(StoreError::Newer { path: path.into(), found, known: VERSION }));
                    }
                    _ => return Err(Fault::Bad("has no schema version".into())),
                }
                let peers = transaction.open_table(PEERS).map_err(|error| bad(&error))?;
                for entry in peers.iter().map_err(|error| bad(&error))? {
                    let (_, value) = entry.map_err(|error| bad(&error))?;
                    records.push(serde_json::from_slice(value.value()).map_err(|error| bad(&error))?);
                }
            }
        }
        drop(transaction);
        Ok((File { path: path.into(), database }, records))
    }

    /// Writes all changes in one transaction, which is on disk when this returns.
    /// `None` removes a peer.
    pub(crate) fn commit(&self, changes: &[(PeerIdentity, Option<PeerRecord>)]) -> Result<(), StoreError> {
        let failed = |error: &dyn std::fmt::Display| StoreError::Io { path: self.path.clone(), cause: error.to_string() };
        let transaction = self.database.begin_write().map_err(|error| failed(&error))?;
        {
            let mut meta = transaction.open_table(META).map_err(|error| failed(&error))?;
            meta.insert(VERSION_KEY, VERSION).map_err(|error| failed(&error))?;
            let mut peers = transaction.open_table(PEERS).map_err(|error| failed(&error))?;
            for (peer, record) in changes {
                match record {
                    Some(record) => {
                        let value = serde_json::to_vec(record).map_err(|error| failed(&error))?;
                        peers.insert(peer.as_bytes(), value.as_slice()).map_err(|error| failed(&error))?;
                    }
                    None => {
                        peers.remove(peer.as_bytes()).map_err(|error| failed(&error))?;
                    }
                }
            }
        }
        transaction.commit().map_err(|error| failed(&error))
    }

    /// For tests of what a later version would leave.
    #[cfg(test)]
    pub(crate) fn set_version(&self, version: u64) {
        let transaction = self.database.begin_write().expect("a transaction");
        transaction.open_table(META).expect("a table").insert(VERSION_KEY, version).expect("an entry");
        transaction.commit().expect("a commit");
    }
}

/// Folders made on the way are their owner's alone, as the file is.
fn private(builder: &mut fs::DirBuilder) -> &fs::DirBuilder {
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(builder, 0o700);
    builder
}

/// Makes the file if it is not there, and takes it from the eyes of others if an
/// earlier version left it open to them: it says who this node knows.
fn keep_private(path: &Path) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        if file.metadata()?.permissions().mode() & 0o077 != 0 {
            // Somebody else's file is for its owner to close.
            let _ = file.set_permissions(fs::Permissions::from_mode(0o600));
        }
    }
    drop(file);
    Ok(())
}

/// A name beside the file that nobody has.
fn free_name(path: &Path) -> PathBuf {
    let name = |n: u32| path.with_extension(format!("set-aside-{n}"));
    (1..).map(name).find(|name| !name.exists()).unwrap_or_else(|| name(0))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn the_file_and_its_folder_are_their_owners_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/peers.redb");
        drop(File::open(&path).ok().unwrap());
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
    }

    #[test]
    fn a_file_that_others_could_read_is_closed_to_them_and_keeps_its_content() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("peers.redb");
        let (file, ..) = File::open(&path).ok().unwrap();
        file.commit(&[]).unwrap();
        drop(file);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let (_, _, aside) = File::open(&path).ok().unwrap();
        assert_eq!((mode(&path), aside), (0o600, None));
    }
}
