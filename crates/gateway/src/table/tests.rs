use std::{collections::HashSet, fs};

use super::*;

fn peer(n: u8) -> PeerIdentity {
    PeerIdentity::from_bytes(&[0, 1, n]).unwrap()
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_epoch(Duration::from_secs(seconds))
}

fn address(table: &Arc<PeerTable>, n: u8) -> Ipv4Addr {
    table.hold(&peer(n), at(0)).unwrap().address()
}

#[tokio::test]
async fn addresses_are_distinct_and_survive_a_restart_as_bans_do() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("deep/peers.json");
    let table = Arc::new(PeerTable::open(&path).unwrap());
    let first: Vec<_> = (0..100).map(|n| address(&table, n)).collect();
    assert_eq!(first.iter().collect::<HashSet<_>>().len(), 100);
    assert!(first.iter().all(|address| address.octets()[0] == 127 && (64..128).contains(&address.octets()[1])));
    assert_eq!(table.ban(first[7].into(), at(10)), Some(peer(7)));
    table.save().await.unwrap();

    let again = Arc::new(PeerTable::open(&path).unwrap());
    assert_eq!((0..100).map(|n| address(&again, n)).collect::<Vec<_>>(), first);
    assert!(again.is_banned(&peer(7), at(11)) && !again.is_banned(&peer(8), at(11)));
}

#[test]
fn a_ban_ends_after_a_day_or_when_it_is_lifted() {
    let table = Arc::new(PeerTable::in_memory());
    let ip = IpAddr::from(address(&table, 1));
    assert_eq!(table.ban(ip, at(0)), Some(peer(1)));
    assert_eq!(table.ban(ip, at(50_000)), None, "kaspad lists it still, which renews nothing");
    assert!(table.is_banned(&peer(1), at(86_399)) && !table.is_banned(&peer(1), at(86_400)));
    assert_eq!((table.unban(ip), table.unban(ip)), (Some(peer(1)), None));
    assert!(!table.is_banned(&peer(1), at(1)));
    assert_eq!(table.ban("127.99.99.99".parse().unwrap(), at(0)), None, "nobody has that address");
}

#[test]
fn a_full_table_forgets_the_stalest_but_none_in_use_and_none_banned() {
    let table = Arc::new(PeerTable { limit: 3, ..PeerTable::in_memory() });
    let _held = table.hold(&peer(1), at(1)).unwrap();
    let banned = table.hold(&peer(2), at(2)).unwrap().address();
    table.ban(banned.into(), at(2));
    drop(table.hold(&peer(3), at(9)).unwrap());
    drop(table.hold(&peer(4), at(10)).unwrap());
    assert_eq!([1, 2, 3, 4].map(|n| table.knows(&peer(n))), [true, true, false, true]);
    let _also = table.hold(&peer(4), at(11)).unwrap();
    assert!(matches!(table.hold(&peer(5), at(12)), Err(TableError::Full)));
}

#[test]
fn a_collision_is_probed_past_and_the_range_wraps() {
    let start = Ipv4Addr::new(127, 127, 255, 254);
    assert_eq!(probe(start, |address| address == start), Some(Ipv4Addr::new(127, 64, 0, 1)));
}

#[test]
fn what_is_no_table_is_told_apart_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("peers.json");
    for (text, part) in [
        ("garbage", "move the file away"),
        ("{\"version\": 1, \"peers\": {\"12D3", "move the file away"),
        ("{\"version\": 7}", "use the newer program"),
    ] {
        fs::write(&path, text).unwrap();
        let error = PeerTable::open(&path).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }
}

#[test]
fn the_first_version_is_still_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("peers.json");
    fs::write(&path, format!("{{\"{}\": \"127.80.1.2\"}}", peer(1))).unwrap();
    let table = Arc::new(PeerTable::open(&path).unwrap());
    assert_eq!(address(&table, 1), Ipv4Addr::new(127, 80, 1, 2));
}
