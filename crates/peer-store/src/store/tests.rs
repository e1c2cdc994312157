use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::Duration,
};

use kaspath_domain::{AddressSource, BanSource};
use redb::{
    DatabaseError, ReadableDatabase, ReadableTable, ReadableTableMetadata, StorageBackend, TableDefinition, backends::FileBackend,
};

use super::*;

const PEERS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("peers");
const UNREADABLE: TableDefinition<&[u8], &[u8]> = TableDefinition::new("unreadable");
/// For what happens within seconds.
const DEADLINE: Duration = Duration::from_secs(20);

fn peer(n: u16) -> PeerIdentity {
    let [a, b] = n.to_be_bytes();
    PeerIdentity::from_bytes(&[0, 2, a, b]).unwrap()
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_epoch(Duration::from_secs(seconds))
}

fn open(path: &Path) -> PeerStore {
    let (store, aside) = PeerStore::open(path, 100).unwrap();
    assert_eq!(aside, None);
    store
}

fn note(store: &PeerStore, n: u16, now: u64) {
    store.update(&peer(n), PeerChange::Admitted, at(now)).unwrap();
    let locator = format!("/ip4/192.0.2.1/tcp/{n}").parse().unwrap();
    let source = AddressSource::Dialed { relay: Some(peer(999)) };
    store.update(&peer(n), PeerChange::Address { locator, source }, at(now)).unwrap();
}

fn ban(store: &PeerStore, n: u16, until: u64) {
    store.update(&peer(n), PeerChange::Ban { source: BanSource::Manual, until: at(until) }, at(1)).unwrap();
}

/// Changes the file as another program would.
fn alter(path: &Path, change: impl FnOnce(&mut redb::Table<&[u8], &[u8]>)) {
    let database = Database::create(path).unwrap();
    let transaction = database.begin_write().unwrap();
    change(&mut transaction.open_table(PEERS).unwrap());
    transaction.commit().unwrap();
}

#[test]
fn records_with_their_provenance_survive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("deep/peers.redb");
    let store = open(&path);
    for n in 1..=20 {
        note(&store, n, n.into());
    }
    ban(&store, 3, 100);
    store.update(&peer(4), PeerChange::KaspaId("uuid".into()), at(31)).unwrap();
    let loopback = store.loopback(&peer(6), at(6)).unwrap();
    assert!(store.forget(&peer(5)));
    let before = store.all();
    drop(store);
    let store = open(&path);
    assert_eq!(store.all(), before);
    assert_eq!(before[0].peer, peer(4), "the one seen last comes first");
    assert!(store.is_banned(&peer(3), at(99)) && !store.is_banned(&peer(3), at(100)));
    assert_eq!((store.get(&peer(5)), store.peer_at(loopback)), (None, Some(peer(6))));
}

#[test]
fn what_is_flushed_is_on_disk_though_the_store_is_not_closed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("peers.redb");
    let store = open(&path);
    note(&store, 1, 1);
    store.flush().unwrap();
    // As after a crash: another file with what the disk has now.
    let copy = dir.path().join("copy.redb");
    fs::copy(&path, &copy).unwrap();
    assert_eq!(open(&copy).all(), store.all());
}

#[test]
fn whom_a_full_book_forgets_is_gone_from_the_disk_as_well() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("peers.redb");
    let (store, _) = PeerStore::open(&path, 3).unwrap();
    for n in 1..=3 {
        note(&store, n, n.into());
    }
    ban(&store, 1, 1000);
    note(&store, 4, 9);
    drop(store);
    let peers: Vec<_> = open(&path).all().into_iter().map(|record| record.peer).collect();
    assert_eq!(peers, [peer(4), peer(3), peer(1)]);
}

#[test]
fn a_second_process_is_told_that_it_is_in_use() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("peers.redb");
    let _store = open(&path);
    let error = PeerStore::open(&path, 3).err().unwrap();
    assert!(matches!(error, StoreError::InUse(_)), "{error}");
}

#[test]
fn a_later_version_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("peers.redb");
    note(&open(&path), 1, 1);
    let (file, ..) = File::open(&path, Box::new(|path| Database::create(path))).unwrap();
    file.set_version(7);
    drop(file);
    let error = PeerStore::open(&path, 3).err().unwrap();
    assert!(matches!(error, StoreError::Newer { found: 7, known: 2, .. }), "{error}");
    assert!(error.to_string().contains("use the newer program"));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is set aside");
    // The newer program finds it as it was.
    let database = Database::create(&path).unwrap();
    let peers = database.begin_read().unwrap().open_table(PEERS).unwrap();
    assert_eq!(peers.len().unwrap(), 1);
}

/// The fixture was written by the last program of version 1.
#[test]
fn a_book_of_version_1_is_taken_over_and_its_programs_do_not_take_it_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("peers.redb");
    fs::copy(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/peers-v1.redb"), &path).unwrap();
    let store = open(&path);
    let get = |text: &str| store.get(&text.parse().unwrap()).unwrap();
    assert_eq!(store.all().len(), 3);
    let one = get("12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN");
    assert_eq!((one.manual_ban, one.kaspad_ban), (Some(at(1_790_007_300)), None));
    assert_eq!((one.successes, one.failures, one.rtt), (3, 1, Some(Duration::from_millis(50))));
    assert_eq!((one.addresses[0].source.clone(), one.kaspa_ids[0].id.as_str()), (AddressSource::Manual, "7b2f"));
    let two = get("12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp");
    assert_eq!((two.loopback, two.addresses.len()), (Some(Ipv4Addr::new(127, 80, 1, 2)), 2));
    assert_eq!(store.peer_at(Ipv4Addr::new(127, 80, 1, 2)), Some(two.peer));
    assert_eq!(get("12D3KooWF6Qbz3mKyvjN4znPuKuo2EtjcEmi4dAVqumTKBDrbYb9").relayed.carried, 4);
    store.update(&one.peer, PeerChange::Admitted, at(1_790_000_600)).unwrap();
    let before = store.all();
    drop(store);
    assert_eq!(open(&path).all(), before);
    let database = Database::create(&path).unwrap();
    let meta = database.begin_read().unwrap().open_table(TableDefinition::<&str, u64>::new("meta")).unwrap();
    assert_eq!(meta.get("schema-version").unwrap().unwrap().value(), 2);
}

#[test]
fn garbage_and_a_file_cut_short_are_set_aside_each_with_its_message() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("peers.redb");
    fs::write(&path, "this is no database").unwrap();
    let (store, aside) = PeerStore::open(&path, 10).unwrap();
    let Some(SetAside::File { path: aside, cause }) = aside else { panic!("{aside:?}") };
    assert_eq!((fs::read(&aside).unwrap(), cause.as_str()), (b"this is no database".to_vec(), "holds something else"));
    for n in 1..=5 {
        note(&store, n, 1);
    }
    drop(store);

    let whole = fs::read(&path).unwrap();
    for length in [10, 1000, whole.len() / 2, whole.len() - 1] {
        fs::write(&path, &whole[..length]).unwrap();
        let (store, aside) = PeerStore::open(&path, 10).unwrap();
        let Some(SetAside::File { path: aside, cause }) = aside else {
            panic!("{length} of {} bytes are taken for a whole book: {aside:?}", whole.len())
        };
        assert!(cause.contains("damaged"), "{cause}");
        assert_eq!(fs::read(&aside).unwrap(), &whole[..length], "it is kept as it was");
        assert!(store.all().is_empty());
    }
}

#[test]
fn records_that_cannot_be_read_are_kept_apart_and_all_others_are_used() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("peers.redb");
    let store = open(&path);
    (1..=5).for_each(|n| note(&store, n, 1));
    drop(store);
    alter(&path, |peers| {
        peers.insert(peer(2).as_bytes(), &b"{\"peer\": \"12D3Koo"[..]).unwrap();
        let of_another = peers.get(peer(1).as_bytes()).unwrap().unwrap().value().to_vec();
        peers.insert(peer(3).as_bytes(), &of_another[..]).unwrap();
    });
    let (store, aside) = PeerStore::open(&path, 10).unwrap();
    let Some(SetAside::Records { count: 2, cause }) = aside else { panic!("{aside:?}") };
    assert!(cause.contains("EOF"), "{cause}");
    let mut known: Vec<_> = store.all().into_iter().map(|record| record.peer).collect();
    known.sort();
    assert_eq!(known, [peer(1), peer(4), peer(5)]);
    note(&store, 2, 9);
    drop(store);
    assert_eq!(open(&path).all().len(), 4, "it is reported once");
    let database = Database::create(&path).unwrap();
    let apart = database.begin_read().unwrap().open_table(UNREADABLE).unwrap();
    assert_eq!(apart.len().unwrap(), 2);
    assert_eq!(apart.get(peer(2).as_bytes()).unwrap().unwrap().value(), b"{\"peer\": \"12D3Koo");
}

#[test]
fn the_file_and_its_folder_are_their_owners_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("deep/peers.redb");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    note(&open(&path), 1, 1);
    assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
    // Earlier versions left it open to others.
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(open(&path).all().len(), 1);
    assert_eq!(mode(&path), 0o600);
}

/// A file on a disk that can be full.
#[derive(Debug)]
struct Disk {
    file: FileBackend,
    full: Arc<AtomicBool>,
}

impl Disk {
    fn room(&self) -> io::Result<()> {
        if self.full.load(Ordering::SeqCst) { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.room()?;
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.room()?;
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.room()?;
        self.file.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }
}

/// Opens databases on such a disk, and counts how often.
fn on_disk(full: &Arc<AtomicBool>, opened: &Arc<AtomicUsize>) -> Create {
    let (full, opened) = (full.clone(), opened.clone());
    Box::new(move |path| {
        opened.fetch_add(1, Ordering::SeqCst);
        let file = fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        let file = FileBackend::new(file.map_err(|error| DatabaseError::Storage(error.into()))?)?;
        Database::builder().create_with_backend(Disk { file, full: full.clone() })
    })
}

fn flushed(store: &PeerStore) {
    let end = Instant::now() + DEADLINE;
    while let Err(error) = store.flush() {
        assert!(Instant::now() < end, "{error}");
        thread::yield_now();
    }
}

#[test]
fn after_a_full_disk_the_database_is_opened_again_and_nothing_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("peers.redb");
    let (full, opened) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
    let (store, _) = PeerStore::open_with(&path, 100, on_disk(&full, &opened)).unwrap();
    note(&store, 1, 1);
    flushed(&store);
    full.store(true, Ordering::SeqCst);
    note(&store, 2, 2);
    let error = store.flush().unwrap_err().to_string();
    assert!(error.contains("peers.redb"), "{error}");
    note(&store, 3, 3);
    assert!(store.flush().is_err());
    assert_eq!(store.all().len(), 3, "what is known stays in memory");
    full.store(false, Ordering::SeqCst);
    flushed(&store);
    note(&store, 4, 4);
    flushed(&store);
    assert!(opened.load(Ordering::SeqCst) >= 2);
    let before = store.all();
    drop(store);
    assert_eq!(open(&path).all(), before);
}

#[test]
fn a_file_that_is_gone_after_a_failure_is_written_anew_with_all_that_is_known() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("peers.redb");
    let (full, opened) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
    let (store, _) = PeerStore::open_with(&path, 100, on_disk(&full, &opened)).unwrap();
    (1..=5).for_each(|n| note(&store, n, n.into()));
    flushed(&store);
    full.store(true, Ordering::SeqCst);
    note(&store, 6, 6);
    assert!(store.flush().is_err());
    fs::remove_file(&path).unwrap();
    full.store(false, Ordering::SeqCst);
    flushed(&store);
    let before = store.all();
    drop(store);
    assert_eq!((open(&path).all(), before.len()), (before, 6));
}
