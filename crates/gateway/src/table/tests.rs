use kaspath_domain::memory::MemoryPeerBook;

use super::*;

fn peer(n: u8) -> PeerIdentity {
    PeerIdentity::from_bytes(&[0, 1, n]).unwrap()
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_epoch(Duration::from_secs(seconds))
}

fn table(limit: usize) -> (PeerTable, Arc<MemoryPeerBook>) {
    let book = Arc::new(MemoryPeerBook::new(limit));
    (PeerTable::new(book.clone()), book)
}

#[test]
fn a_ban_ends_after_a_day_or_when_it_is_lifted() {
    let (table, _) = table(10);
    let ip = IpAddr::from(table.hold(&peer(1), at(0)).unwrap().address());
    assert_eq!(table.ban(ip, at(0)), Some(peer(1)));
    assert_eq!(table.ban(ip, at(50_000)), None, "kaspad lists it still, which renews nothing");
    assert!(table.is_banned(&peer(1), at(86_399)) && !table.is_banned(&peer(1), at(86_400)));
    assert_eq!((table.unban(ip, at(1)), table.unban(ip, at(1))), (Some(peer(1)), None));
    assert!(!table.is_banned(&peer(1), at(1)));
    assert_eq!(table.ban("127.99.99.99".parse().unwrap(), at(0)), None, "nobody has that address");
}

#[test]
fn a_ban_that_ended_counts_again_only_after_kaspad_has_ceased_to_list_the_first() {
    let (table, _) = table(10);
    let ip = IpAddr::from(table.hold(&peer(1), at(0)).unwrap().address());
    table.ban(ip, at(0));
    table.lists(&[ip], at(90_000));
    assert_eq!(table.ban(ip, at(90_000)), None, "it is the same one");
    table.lists(&[], at(90_001));
    assert_eq!(table.ban(ip, at(90_002)), Some(peer(1)));
    table.lists(&[], at(90_003));
    assert!(table.is_banned(&peer(1), at(90_004)), "kaspad's data may be new: what holds is not lifted");
}

#[test]
fn the_users_ban_outlasts_what_kaspad_bans_and_lifts_and_the_users_word_ends_both() {
    let (table, book) = table(10);
    let ip = IpAddr::from(table.hold(&peer(1), at(0)).unwrap().address());
    let user = |change| book.update(&peer(1), change, at(0)).unwrap();
    assert!(user(PeerChange::Ban { source: BanSource::Manual, until: at(200_000) }));
    assert_eq!(table.ban(ip, at(0)), Some(peer(1)));
    assert!(table.is_banned(&peer(1), at(199_999)), "kaspad's 24 hours do not shorten it");
    assert_eq!(table.unban(ip, at(10)), Some(peer(1)));
    assert!(table.is_banned(&peer(1), at(199_999)), "kaspad's unban does not lift it");
    table.ban(ip, at(20));
    assert!(user(PeerChange::Unban { source: BanSource::Manual }));
    assert!(!table.is_banned(&peer(1), at(21)));
    assert_eq!(table.ban(ip, at(22)), None, "kaspad lists its own still");
    assert!(!table.is_banned(&peer(1), at(23)));
}

#[test]
fn a_full_book_forgets_the_stalest_but_none_in_use_and_none_whose_ban_holds() {
    let (table, _) = table(3);
    let _held = table.hold(&peer(1), at(1)).unwrap();
    let banned = table.hold(&peer(2), at(2)).unwrap().address();
    table.ban(banned.into(), at(2));
    drop(table.hold(&peer(3), at(9)).unwrap());
    drop(table.hold(&peer(4), at(10)).unwrap());
    assert_eq!([1, 2, 3, 4].map(|n| table.knows(&peer(n))), [true, true, false, true]);
    let also = table.hold(&peer(4), at(11)).unwrap();
    assert!(matches!(table.hold(&peer(5), at(12)), Err(PeerBookError::Full { .. })));
    let after_the_ban = at(2) + KASPAD_BAN;
    assert!(table.hold(&peer(5), after_the_ban).is_ok());
    assert!(!table.knows(&peer(2)), "a ban that is over keeps nobody in the book");
    drop(also);
    assert_eq!(table.peer_at(banned.into()), None);
}
