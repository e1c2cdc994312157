use std::fs;

use kaspath_domain::AddressSource;

use super::*;

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
    let address = ObservedAddress {
        locator: format!("/ip4/192.0.2.1/tcp/{n}").parse().unwrap(),
        source: AddressSource::Identify { relay: Some(peer(999)) },
        last_seen: at(now),
    };
    store.update(&peer(n), at(now), |record| record.observe(address)).unwrap();
}

#[test]
fn records_with_their_provenance_survive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("deep/peers.redb");
    let store = open(&path);
    for n in 1..=20 {
        note(&store, n, n.into());
    }
    store.update(&peer(3), at(30), |record| record.banned_until = Some(at(100))).unwrap();
    store.update(&peer(4), at(31), |record| record.note_kaspa_id("uuid", at(31))).unwrap();
    assert!(store.remove(&peer(5)));
    let before = store.all();
    drop(store);
    let store = open(&path);
    assert_eq!(store.all(), before);
    assert_eq!(before[0].peer, peer(4), "the one seen last comes first");
    assert!(store.is_banned(&peer(3), at(99)) && !store.is_banned(&peer(3), at(100)));
    assert_eq!(store.find(&peer(5)), None);
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
fn a_full_book_forgets_the_stalest_that_is_not_banned() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("peers.redb");
    let (store, _) = PeerStore::open(&path, 3).unwrap();
    for n in 1..=3 {
        note(&store, n, n.into());
    }
    store.update(&peer(1), at(1), |record| record.banned_until = Some(at(1000))).unwrap();
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
    {
        let store = open(&path);
        note(&store, 1, 1);
    }
    File::open(&path).unwrap().0.set_version(7);
    let error = PeerStore::open(&path, 3).err().unwrap();
    assert!(matches!(error, StoreError::Newer { found: 7, known: 1, .. }), "{error}");
    assert!(error.to_string().contains("use the newer program"));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is set aside");
    // The newer program finds it as it was.
    let database = redb::Database::create(&path).unwrap();
    let transaction = redb::ReadableDatabase::begin_read(&database).unwrap();
    let peers = transaction.open_table(redb::TableDefinition::<&[u8], &[u8]>::new("peers")).unwrap();
    assert_eq!(redb::ReadableTableMetadata::len(&peers).unwrap(), 1);
}

#[test]
fn garbage_and_a_file_cut_short_are_set_aside_each_with_its_message() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("peers.redb");
    fs::write(&path, "this is no database").unwrap();
    let (store, aside) = PeerStore::open(&path, 10).unwrap();
    let garbage = aside.unwrap();
    assert!(garbage.to_string().contains("holds something else"), "{garbage}");
    assert_eq!(fs::read(&garbage.path).unwrap(), b"this is no database");
    for n in 1..=5 {
        note(&store, n, 1);
    }
    drop(store);

    let whole = fs::read(&path).unwrap();
    for length in [10, 1000, whole.len() / 2, whole.len() - 1] {
        fs::write(&path, &whole[..length]).unwrap();
        let (store, aside) = PeerStore::open(&path, 10).unwrap();
        let cut = aside.unwrap_or_else(|| panic!("{length} of {} bytes are taken for a whole book", whole.len()));
        assert!(cut.cause.contains("damaged"), "{cut}");
        assert_eq!(fs::read(&cut.path).unwrap(), &whole[..length], "it is kept as it was");
        assert!(store.all().is_empty());
    }
}
