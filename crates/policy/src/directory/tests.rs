use kaspath_domain::{IpPrefix, NatMapping, NodeRecord, RecordKind, RelayAddress, Timestamp, TransportAddress};

use super::*;
use crate::outbound::tests::{numbers, peer};

fn at(seconds: u64) -> Moment {
    Moment::after_start(Duration::from_secs(seconds))
}

fn group(n: u8) -> PeerGroup {
    PeerGroup::Prefix(IpPrefix::provider_block([10, n, 0, 1].into()))
}

fn told(n: u16, issued: u64, left: u64, relay: u8) -> Told {
    let record = NodeRecord {
        peer: peer(n),
        kind: RecordKind::Node,
        network: "simnet".to_owned(),
        gossip: n.is_multiple_of(2),
        mapping: NatMapping::Unknown,
        reachable: false,
        issued: Timestamp::from_epoch(Duration::from_secs(issued)),
        ttl: Duration::from_secs(600),
        relays: vec![RelayAddress { relay: peer(60_000), via: TransportAddress::tcp(([10, relay, 0, 1], 1).into()) }],
        candidates: Vec::new(),
        load: None,
        tag: None,
    };
    Told { record: SignedRecord::verified(record, &[]), left: Duration::from_secs(left) }
}

#[test]
fn the_latest_record_of_a_peer_counts_and_an_old_one_revives_nothing() {
    let mut directory = Directory::default();
    assert!(directory.insert(&told(1, 100, 60, 1), group(1), at(0)));
    assert!(!directory.insert(&told(1, 101, 30, 2), group(2), at(0)));
    assert!(!directory.insert(&told(1, 100, 600, 1), group(1), at(0)), "the earlier one is replayed");
    let via = |directory: &Directory, now| directory.target(&peer(1), now).map(|target| target.addresses[0].to_string());
    assert!(via(&directory, at(29)).unwrap().contains("10.2.0.1"));
    assert_eq!(via(&directory, at(30)), None);
    // The same record from another teller holds as long as that one says.
    directory.insert(&told(2, 1, 10, 1), group(1), at(0));
    directory.insert(&told(2, 1, 20, 1), group(2), at(0));
    assert!(directory.get(&peer(2), at(19)).is_some() && directory.get(&peer(2), at(20)).is_none());
}

#[test]
fn a_record_of_other_software_never_takes_the_place_of_the_peers_own_valid_one() {
    let foreign = |issued, relay| {
        let Told { record, left } = told(1, issued, 60, relay);
        Told { record: SignedRecord::foreign(record.record().clone(), &[]), left }
    };
    let mut directory = Directory::default();
    directory.insert(&foreign(900, 3), group(3), at(0));
    directory.insert(&told(1, 100, 60, 1), group(1), at(0));
    let via = |directory: &Directory, now| directory.target(&peer(1), now).map(|target| target.addresses[0].to_string());
    let own = via(&directory, at(1));
    assert!(own.as_ref().unwrap().contains("10.1.0.1"));
    for issued in [99, 100, 5_000] {
        assert!(!directory.insert(&foreign(issued, 2), group(2), at(1)));
        assert_eq!(via(&directory, at(1)), own);
    }
    assert_eq!(via(&directory, at(60)), None, "its time is its own");
    // Once that one is over; and of two of them the later one counts.
    directory.insert(&foreign(900, 2), group(2), at(60));
    directory.insert(&foreign(899, 3), group(3), at(61));
    assert!(via(&directory, at(61)).unwrap().contains("10.2.0.1"));
}

#[test]
fn it_is_bounded_by_group_and_in_all() {
    let mut directory = Directory::default();
    directory.insert(&told(60_001, 1, 600, 1), group(200), at(0));
    for n in 0..2_000 {
        directory.insert(&told(n, 1, 600, 1), group(1), at(0));
    }
    assert_eq!(directory.len(at(0)), 1 + MAX_OF_GROUP);
    for n in 0..2_000 {
        directory.insert(&told(n, 1, 600, 1), group((n % 100) as u8), at(0));
    }
    assert_eq!(directory.len(at(0)), MAX);
    assert!(directory.get(&peer(60_001), at(0)).is_some());
    directory.insert(&told(60_002, 1, 600, 1), group(1), at(600));
    assert_eq!(directory.known.len(), 1, "what is over makes room");
}

#[test]
fn only_what_its_owner_allows_and_what_lasts_is_passed_on_and_of_every_group_alike() {
    let (mut directory, mut random) = (Directory::default(), numbers(3));
    for n in 0..100 {
        directory.insert(&told(n, 1, 600, 1), group(if n < 90 { 1 } else { 2 }), at(0));
    }
    let passed_on = directory.sample(6, |_| true, at(0), &mut random);
    assert!(passed_on.iter().all(|record| record.record().gossip));
    let of_two = passed_on.iter().filter(|record| (90..100).any(|n| record.record().peer == peer(n))).count();
    assert_eq!((passed_on.len(), of_two), (6, 3));
    assert!(directory.sample(6, |_| true, at(541), &mut random).is_empty());
    assert!(directory.sample(6, |record| record.record().kind.is_relay(), at(0), &mut random).is_empty());
}

#[test]
fn a_node_is_listed_at_each_held_relay_again_at_half_time_and_when_its_record_changes() {
    let (relays, granted) = ([peer(1), peer(2)], Duration::from_secs(600));
    let mut listings = Listings::default();
    assert_eq!(listings.next(&relays, at(0)), relays);
    assert!(listings.next(&relays, at(1)).is_empty(), "it is being asked");
    for relay in &relays {
        assert_eq!(listings.ended(relay, Listing::For(granted), at(1), 0.5), Some(granted / 2));
    }
    assert_eq!(listings.listed(at(2)).count(), 2);
    listings.changed(at(2));
    assert!(listings.next(&relays, at(9)).is_empty(), "once in ten seconds");
    listings.changed(at(9));
    assert!(listings.next(&relays, at(10)).is_empty(), "more may follow");
    assert_eq!(listings.next(&relays, at(11)), relays);
    for relay in &relays {
        let _ = listings.ended(relay, Listing::For(granted), at(11), 0.5);
    }
    assert!(listings.next(&relays, at(310)).is_empty());
    assert_eq!(listings.next(&relays, at(311)), relays);
}

#[test]
fn a_relay_that_refuses_is_asked_later_and_one_that_is_gone_is_forgotten() {
    let (relays, mut listings, mut now) = ([peer(1)], Listings::default(), 0);
    for wait in [5, 30, 120, 600, 600] {
        assert_eq!(listings.next(&relays, at(now)), relays);
        assert_eq!(listings.ended(&relays[0], Listing::Failed, at(now), 0.5), Some(Duration::from_secs(wait)));
        assert!(listings.next(&relays, at(now + wait - 1)).is_empty());
        now += wait;
    }
    assert!(listings.next([], at(now)).is_empty() && listings.at.is_empty());
    assert_eq!(listings.ended(&relays[0], Listing::Failed, at(now), 0.5), None, "a late answer");
    assert_eq!(listings.next(&relays, at(now)), relays, "it is held again");
    listings.ended(&relays[0], Listing::Never, at(now), 0.5);
    assert!(listings.next(&relays, at(now + 3599)).is_empty());
}
