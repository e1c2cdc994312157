use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

use kaspath_domain::{PeerIdentity, PeerRecord};
use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, StorageError, TableDefinition, TableError};
use thiserror::Error;

use crate::path::{create_folder, holds_something_else, keep_private, move_aside};

const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
const PEERS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("peers");
/// Records that could not be read, as they were.
const UNREADABLE: TableDefinition<&[u8], &[u8]> = TableDefinition::new("unreadable");
const VERSION_KEY: &str = "schema-version";
/// Version 1 had one end for the user's and kaspad's bans together. Its records are
/// read as they are; the number keeps its programs from losing the bans of these.
const VERSION: u64 = 2;
const FIRST_VERSION: u64 = 1;

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
        /// The system's message.
        cause: String,
    },
}

/// What could not be read when a book was opened, and where it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetAside {
    /// The file is not a peer book.
    File {
        /// Where it is now.
        path: PathBuf,
        /// What was wrong with it.
        cause: String,
    },
    /// Some records; they stay in the file, apart from the others.
    Records {
        /// How many.
        count: usize,
        /// What was wrong with the first.
        cause: String,
    },
}

impl std::fmt::Display for SetAside {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File { path, cause } => {
                write!(f, "the peer book {cause}: it is kept as {}, and a new one begins", path.display())
            }
            Self::Records { count, cause } => {
                write!(
                    f,
                    "{count} records of the peer book cannot be read ({cause}): they are set aside in it, all others are used"
                )
            }
        }
    }
}

/// Opens or makes a database.
pub(crate) type Create = Box<dyn Fn(&Path) -> Result<Database, DatabaseError> + Send>;

/// The database.
pub(crate) struct File {
    path: PathBuf,
    create: Create,
    /// None after a write that failed: redb then refuses everything until it is opened
    /// again.
    database: Option<Database>,
}

enum Fault {
    Store(StoreError),
    /// It is not a peer book.
    Bad(String),
}

/// What a database holds.
#[derive(Default)]
struct Contents {
    /// It has no schema version, so it was just made.
    is_new: bool,
    records: Vec<PeerRecord>,
    unreadable: Vec<(Vec<u8>, Vec<u8>)>,
    cause: String,
}

impl File {
    /// Opens or makes it. What is not a peer book is moved aside first.
    pub(crate) fn open(path: &Path, create: Create) -> Result<(File, Vec<PeerRecord>, Option<SetAside>), StoreError> {
        create_folder(path).map_err(|error| failed(path, &error))?;
        let (database, contents, aside) = open_or_replace(path, &create)?;
        let mut file = File { path: path.into(), create, database: Some(database) };
        let Contents { records, unreadable, cause, .. } = contents;
        let unreadable_count = unreadable.len();
        if unreadable_count > 0 {
            let moved = file.write(|transaction| {
                let (mut peers, mut apart) = (transaction.open_table(PEERS)?, transaction.open_table(UNREADABLE)?);
                for (key, value) in &unreadable {
                    apart.insert(key.as_slice(), value.as_slice())?;
                    peers.remove(key.as_slice())?;
                }
                Ok(())
            });
            // On a full disk they stay where they are, and are found again.
            if let Err(error) = moved {
                tracing::warn!(%error, "records that cannot be read are not moved");
            }
        }
        let aside = aside.or((unreadable_count > 0).then_some(SetAside::Records { count: unreadable_count, cause }));
        Ok((file, records, aside))
    }

    /// Writes all changes in one transaction, which is on disk when this returns.
    /// `None` removes a peer. After a failure the database is opened again at the next
    /// call; if the file is gone or not a database any more, `all` is written to a new one.
    pub(crate) fn commit(
        &mut self,
        mut changes: Vec<(PeerIdentity, Option<PeerRecord>)>,
        all: impl Fn() -> Vec<PeerRecord>,
    ) -> Result<(), StoreError> {
        if self.database.is_none() {
            let (database, contents, aside) = open_or_replace(&self.path, &self.create)?;
            if contents.is_new {
                changes = all().into_iter().map(|record| (record.peer.clone(), Some(record))).collect();
            }
            if let Some(aside) = aside {
                tracing::warn!("{aside}, with all that this program knows");
            }
            self.database = Some(database);
        }
        self.write(|transaction| {
            let mut peers = transaction.open_table(PEERS)?;
            for (peer, record) in &changes {
                match record {
                    Some(record) => {
                        let value = serde_json::to_vec(record).map_err(io::Error::from)?;
                        peers.insert(peer.as_bytes(), value.as_slice())?;
                    }
                    None => {
                        peers.remove(peer.as_bytes())?;
                    }
                }
            }
            Ok(())
        })
    }

    /// One transaction, with the schema's version.
    fn write(&mut self, change: impl FnOnce(&redb::WriteTransaction) -> Result<(), redb::Error>) -> Result<(), StoreError> {
        let Some(database) = &self.database else { return Err(failed(&self.path, &"it is closed")) };
        let write = || {
            let transaction = database.begin_write()?;
            transaction.open_table(META)?.insert(VERSION_KEY, VERSION)?;
            change(&transaction)?;
            Ok(transaction.commit()?)
        };
        write().map_err(|error: redb::Error| {
            self.database = None;
            failed(&self.path, &error)
        })
    }

    /// For tests of what other versions leave.
    #[cfg(test)]
    pub(crate) fn set_version(&self, version: u64) {
        let transaction = self.database.as_ref().expect("a database").begin_write().expect("a transaction");
        transaction.open_table(META).expect("a table").insert(VERSION_KEY, version).expect("an entry");
        transaction.commit().expect("a commit");
    }
}

fn failed(path: &Path, cause: &dyn std::fmt::Display) -> StoreError {
    StoreError::Io { path: path.into(), cause: cause.to_string() }
}

fn open_or_replace(path: &Path, create: &Create) -> Result<(Database, Contents, Option<SetAside>), StoreError> {
    let cause = match try_open(path, create) {
        Ok((database, contents)) => return Ok((database, contents, None)),
        Err(Fault::Store(error)) => return Err(error),
        Err(Fault::Bad(cause)) => cause,
    };
    let aside = move_aside(path).map_err(|error| failed(path, &error))?;
    match try_open(path, create) {
        Ok((database, contents)) => Ok((database, contents, Some(SetAside::File { path: aside, cause }))),
        Err(Fault::Store(error)) => Err(error),
        Err(Fault::Bad(cause)) => Err(failed(path, &cause)),
    }
}

fn try_open(path: &Path, create: &Create) -> Result<(Database, Contents), Fault> {
    let io = |error: io::Error| Fault::Store(failed(path, &error));
    if holds_something_else(path).map_err(io)? {
        return Err(Fault::Bad("holds something else".into()));
    }
    keep_private(path).map_err(io)?;
    // redb asserts on some files that were cut or altered.
    let opened = catch_unwind(AssertUnwindSafe(|| read(path, create)));
    opened.unwrap_or_else(|_| Err(Fault::Bad("is damaged".into())))
}

fn read(path: &Path, create: &Create) -> Result<(Database, Contents), Fault> {
    let bad = |error: &dyn std::fmt::Display| Fault::Bad(format!("is cut short or damaged ({error})"));
    let database = create(path).map_err(|error| match error {
        DatabaseError::DatabaseAlreadyOpen => Fault::Store(StoreError::InUse(path.into())),
        DatabaseError::Storage(StorageError::Io(cause))
            if !matches!(cause.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) =>
        {
            Fault::Store(failed(path, &cause))
        }
        other => bad(&other),
    })?;
    let mut contents = Contents::default();
    let transaction = database.begin_read().map_err(|error| bad(&error))?;
    match transaction.open_table(META) {
        Err(TableError::TableDoesNotExist(_)) => contents.is_new = true,
        Err(error) => return Err(bad(&error)),
        Ok(meta) => {
            let found = meta.get(VERSION_KEY).map_err(|error| bad(&error))?.map(|version| version.value());
            match found {
                Some(FIRST_VERSION..=VERSION) => {}
                Some(found) if found > VERSION => {
                    return Err(Fault::Store(StoreError::Newer { path: path.into(), found, known: VERSION }));
                }
                _ => return Err(Fault::Bad("has no schema version".into())),
            }
        }
    }
    match transaction.open_table(PEERS) {
        Err(TableError::TableDoesNotExist(_)) => {}
        Err(error) => return Err(bad(&error)),
        Ok(peers) => {
            for entry in peers.iter().map_err(|error| bad(&error))? {
                let (key, value) = entry.map_err(|error| bad(&error))?;
                match decode(key.value(), value.value()) {
                    Ok(record) => contents.records.push(record),
                    Err(cause) => {
                        contents.cause = if contents.unreadable.is_empty() { cause } else { contents.cause };
                        contents.unreadable.push((key.value().to_vec(), value.value().to_vec()));
                    }
                }
            }
        }
    }
    drop(transaction);
    Ok((database, contents))
}

fn decode(key: &[u8], value: &[u8]) -> Result<PeerRecord, String> {
    let record: PeerRecord = serde_json::from_slice(value).map_err(|error| error.to_string())?;
    if record.peer.as_bytes() == key { Ok(record) } else { Err("it is another peer's".into()) }
}
