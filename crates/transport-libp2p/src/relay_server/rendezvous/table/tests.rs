use std::{collections::BTreeMap, net::IpAddr};

use kaspath_domain::{NatMapping, NodeRecord, PeerIdentity, RecordKind};
use proptest::{collection::vec, prelude::*};

use super::*;

const NOW: Moment = Moment::after_start(Duration::from_secs(1_000));
const TEN_MINUTES: Duration = Duration::from_secs(600);

fn name(text: &str) -> Namespace {
    text.parse().unwrap()
}

fn mainnet() -> Namespace {
    Namespace::of_network("mainnet").unwrap()
}

fn wanted(peer: u32, ip: [u8; 4], namespace: Namespace) -> Wanted<u32> {
    Wanted {
        peer,
        origin: Origin::of(IpAddr::from(ip)),
        namespace,
        listing: Listing { record: None, peer_record: Some(vec![]) },
        ttl: TEN_MINUTES,
        reserved: true,
    }
}

/// Numbers in 0..1 that visit all of it.
fn numbers() -> impl FnMut() -> f64 {
    let mut state = 7_u64;
    move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        f64::from(u32::try_from(state >> 33).unwrap()) / f64::from(1_u32 << 31)
    }
}

fn listed(table: &mut Table<u32>, namespace: &Namespace, now: Moment) -> usize {
    table.discover((&u32::MAX, namespace), 10_000, None, now, &mut numbers()).0.len()
}

/// A table whose places for Kaspa's peers are taken, each by one of another network, 32 of a
/// block.
fn full() -> Table<u32> {
    let mut table = Table::new(1);
    for n in 0..KASPA {
        let ip = [20 + (n / 32) as u8, 1, (n % 32) as u8, 1];
        table.register(wanted(n as u32, ip, mainnet()), NOW).unwrap();
    }
    table
}

#[test]
fn an_address_a_network_a_block_and_a_peer_have_their_shares() {
    let mut table = Table::new(1);
    let mut peers = 0..;
    let mut register = |ip: [u8; 4]| table.register(wanted(peers.next().unwrap(), ip, mainnet()), NOW);
    for _ in 0..OF_HOST {
        register([203, 0, 113, 1]).unwrap();
    }
    assert_eq!(register([203, 0, 113, 1]), Err(Refused::TooManyOfHost));
    for n in OF_HOST..OF_NETWORK {
        register([203, 0, 113, 10 + n as u8]).unwrap();
    }
    assert_eq!(register([203, 0, 113, 200]), Err(Refused::TooManyOfNetwork));
    for n in OF_NETWORK..OF_BLOCK {
        register([203, 0, 120 + n as u8, 1]).unwrap();
    }
    assert_eq!(register([203, 0, 250, 1]), Err(Refused::TooManyOfBlock));
    register([198, 51, 100, 1]).unwrap();
    for n in 0..OF_PEER {
        table.register(wanted(9_999, [192, 0, 2, 1], name(&format!("g{n}"))), NOW).unwrap();
    }
    assert_eq!(table.register(wanted(9_999, [192, 0, 2, 1], name("one-more")), NOW), Err(Refused::TooManyOfPeer));
}

#[test]
fn of_relays_two_of_a_block_are_listed() {
    let mut table = Table::new(1);
    let mut register = |peer, ip| table.register(wanted(peer, ip, Namespace::relays()), NOW).map(drop);
    assert_eq!((register(1, [203, 0, 113, 1]), register(2, [203, 0, 7, 1])), (Ok(()), Ok(())));
    assert_eq!(register(3, [203, 0, 8, 1]), Err(Refused::TooManyOfBlock));
    assert_eq!(register(1, [203, 0, 113, 1]), Ok(()), "one that is listed is so again");
    assert_eq!(register(3, [203, 1, 8, 1]), Ok(()));
}

#[test]
fn ten_thousand_identities_of_one_network_evict_nobody_of_another() {
    let mut table = full();
    let honest = |table: &mut Table<u32>| listed(table, &mainnet(), NOW);
    assert_eq!(honest(&mut table), KASPA);
    for n in 0..10_000_u32 {
        let _ = table.register(wanted(1_000_000 + n, [66, 66, 66, (n % 256) as u8], mainnet()), NOW);
    }
    assert_eq!(honest(&mut table), KASPA);
    // It gets no more than its block's equal part of the places, and then nobody gives way.
    let attackers = table.entries.keys().filter(|(peer, _)| *peer >= 1_000_000).count();
    assert!(attackers <= 32, "{attackers}");
    let mut left: BTreeMap<u32, usize> = BTreeMap::new();
    table.entries.keys().filter(|(peer, _)| *peer < 1_000_000).for_each(|(peer, _)| *left.entry(peer / 32).or_default() += 1);
    assert!(left.values().all(|left| *left >= 29), "each block has lost what it had too much: {left:?}");
}

#[test]
fn a_lone_block_finds_a_place_in_a_full_table_and_a_crowd_gets_none() {
    let mut table = full();
    table.register(wanted(900_000, [99, 1, 1, 1], mainnet()), NOW).unwrap();
    assert_eq!(table.len(), KASPA);
    assert_eq!(table.register(wanted(900_001, [20, 1, 200, 1], mainnet()), NOW), Err(Refused::Full));
}

#[test]
fn other_names_do_not_take_the_places_of_kaspas_networks() {
    let mut table = full();
    for n in 0..10_000_u32 {
        let ip = [100 + (n % 100) as u8, (n / 100) as u8, 1, 1];
        let _ = table.register(wanted(1_000_000 + n, ip, name(&format!("g{}", n % 256))), NOW);
    }
    assert_eq!(table.len(), KASPA + OTHERS);
    assert_eq!(listed(&mut table, &mainnet(), NOW), KASPA);
    let mut table = Table::new(1);
    for n in 0..200_u32 {
        let _ = table.register(wanted(n, [100 + n as u8 % 100, n as u8, 1, 1], name("one")), NOW);
    }
    assert_eq!(table.len(), OF_OTHER_NAME);
}

#[test]
fn to_refresh_without_end_takes_no_more_memory() {
    let mut table = full();
    for n in 0..3_000_u64 {
        let now = NOW + Duration::from_millis(n);
        table.register(wanted(3, [20, 1, 3, 1], mainnet()), now).unwrap();
    }
    assert_eq!(table.len(), KASPA);
    assert!(table.entries.capacity() < 4 * KASPA);
}

#[test]
fn an_entry_ends_with_its_time_and_soon_after_its_reservation() {
    let mut table = Table::new(1);
    for peer in 1..=3 {
        let reserved = peer != 3;
        assert_eq!(table.register(Wanted { reserved, ..wanted(peer, [203, 0, 113, 1], mainnet()) }, NOW), Ok(TEN_MINUTES));
    }
    table.gone(&1, NOW);
    table.gone(&2, NOW);
    table.gone(&3, NOW);
    table.back(&2);
    assert_eq!(listed(&mut table, &mainnet(), NOW + GRACE - Duration::from_millis(1)), 3);
    assert_eq!(listed(&mut table, &mainnet(), NOW + GRACE), 2);
    assert_eq!(listed(&mut table, &mainnet(), NOW + TEN_MINUTES - Duration::from_millis(1)), 2);
    assert_eq!(listed(&mut table, &mainnet(), NOW + TEN_MINUTES), 0);
    let short = Wanted { ttl: Duration::ZERO, ..wanted(1, [203, 0, 113, 1], mainnet()) };
    let long = Wanted { ttl: Duration::MAX, ..wanted(1, [203, 0, 113, 1], mainnet()) };
    assert_eq!([table.register(short, NOW), table.register(long, NOW)], [Ok(TTL.0), Ok(TTL.1)]);
    table.unregister(&1, &mainnet());
    assert_eq!(table.len(), 0);
}

#[test]
fn a_cookie_brings_what_is_new_first_and_another_tables_brings_all() {
    let mut table = Table::new(1);
    for peer in 0..8 {
        table.register(wanted(peer, [20 + peer as u8, 0, 0, 1], mainnet()), NOW).unwrap();
    }
    let (first, cookie) = table.discover((&0, &mainnet()), 100, None, NOW, &mut numbers());
    assert_eq!(first.len(), 7, "the asker is not told of itself");
    // A refresh is no news, what is said anew is.
    table.register(wanted(1, [21, 0, 0, 1], mainnet()), NOW).unwrap();
    let news = Listing { record: None, peer_record: Some(vec![7]) };
    table.register(Wanted { listing: news.clone(), ..wanted(2, [22, 0, 0, 1], mainnet()) }, NOW).unwrap();
    let (drawn, _) = table.discover((&0, &mainnet()), 1, Some(cookie), NOW, &mut numbers());
    assert_eq!(drawn[0].listing, news);
    let (drawn, _) = table.discover((&0, &mainnet()), 100, Some(Cookie { epoch: 2, ..cookie }), NOW, &mut numbers());
    assert_eq!(drawn.len(), 7);
}

#[test]
fn an_older_record_replaces_no_newer_one() {
    let record = |issued| NodeRecord {
        peer: PeerIdentity::from_bytes(&[0, 1, 9]).unwrap(),
        kind: RecordKind::Node,
        network: "mainnet".to_owned(),
        gossip: true,
        mapping: NatMapping::Unknown,
        reachable: false,
        issued: Timestamp::from_epoch(Duration::from_secs(issued)),
        ttl: TEN_MINUTES,
        relays: Vec::new(),
        candidates: Vec::new(),
        load: None,
        tag: None,
    };
    let listing = |issued| Listing { record: Some(SignedRecord::verified(record(issued), &[])), peer_record: None };
    let mut table = Table::new(1);
    let mut register =
        |issued| table.register(Wanted { listing: listing(issued), ..wanted(1, [203, 0, 113, 1], mainnet()) }, NOW).map(drop);
    assert_eq!([register(7), register(6), register(7), register(8)], [Ok(()), Err(Refused::Older), Ok(()), Ok(())]);
}

#[test]
fn an_answer_is_spread_over_blocks() {
    let mut table = Table::new(1);
    for peer in 0..100 {
        table.register(wanted(peer, [66, 66, peer as u8, 1], mainnet()), NOW).unwrap();
    }
    for peer in 100..108 {
        table.register(wanted(peer, [peer as u8, 0, 0, 1], mainnet()), NOW).unwrap();
    }
    let (drawn, _) = table.discover((&u32::MAX, &mainnet()), 9, None, NOW, &mut numbers());
    let crowd = drawn.iter().filter(|entry| entry.block == IpPrefix::provider_block([66, 66, 0, 1].into())).count();
    assert_eq!((drawn.len(), crowd), (9, 1));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn whatever_is_asked_no_share_is_exceeded(asked in vec((0..200_u32, 0..4_u8, 0..4_u8, 0..6_u8, 0..4_usize, 0..900_u64), 0..250)) {
        let names = [mainnet(), Namespace::relays(), name("a"), name("b")];
        let mut table = Table::new(1);
        let mut now = NOW;
        for (peer, a, b, c, at, seconds) in asked {
            now = now + Duration::from_millis(seconds);
            let _ = table.register(wanted(peer, [20 + a, b, c, 1], names[at].clone()), now);
            let count = |is_counted: &dyn Fn(&(u32, Namespace), &Entry) -> bool| {
                table.entries.iter().filter(|(key, entry)| is_counted(key, entry)).count()
            };
            let origin = Origin::of([20 + a, b, c, 1].into());
            let block = IpPrefix::provider_block(origin.ip);
            prop_assert!(count(&|_, entry| entry.origin.host == origin.host) <= OF_HOST);
            prop_assert!(count(&|_, entry| entry.origin.prefix == origin.prefix) <= OF_NETWORK);
            prop_assert!(count(&|_, entry| entry.block == block) <= OF_BLOCK);
            prop_assert!(count(&|key, _| key.0 == peer) <= OF_PEER);
            prop_assert!(count(&|key, entry| key.1 == names[1] && entry.block == block) <= RELAYS_OF_BLOCK);
        }
    }
}
