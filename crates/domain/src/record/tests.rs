use super::*;
use crate::{AttemptOutcome, DialError, Path, Route, Transport};

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_epoch(Duration::from_secs(seconds))
}

fn peer() -> PeerIdentity {
    "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN".parse().unwrap()
}

fn record() -> PeerRecord {
    PeerRecord::new(peer(), at(0))
}

fn locator(text: &str) -> PeerLocator {
    format!("{text}/p2p/{}", peer()).parse().unwrap()
}

fn direct(port: u16) -> PeerLocator {
    locator(&format!("/ip4/192.0.2.1/tcp/{port}"))
}

fn told(record: &mut PeerRecord, locator: &PeerLocator, source: AddressSource, now: u64) {
    record.apply(PeerChange::Address { locator: locator.clone(), source }, at(now));
}

/// A dial to an address ends.
fn dial(record: &mut PeerRecord, locator: &PeerLocator, works: bool, now: u64) {
    let route = match locator.address.clone() {
        crate::PeerAddress::Direct(address) => Route::Direct(address),
        crate::PeerAddress::Relayed(relay) => Route::Relayed(relay),
    };
    let failed = || DialError::Timeout { after: Duration::ZERO, doing: "dialling" };
    let result = if works { Ok(Path::Direct { transport: Transport::Tcp }) } else { Err(failed()) };
    record.apply(dialed(route, result), at(now));
}

fn dialed(route: Route, result: Result<Path, DialError>) -> PeerChange {
    PeerChange::Dialed(AttemptOutcome { peer: Some(peer()), route, result, elapsed: Duration::ZERO })
}

fn ban(source: BanSource, until: u64) -> PeerChange {
    PeerChange::Ban { source, until: at(until) }
}

#[test]
fn addresses_are_bounded_and_freshened_and_what_it_came_from_goes_first() {
    let mut record = record();
    for port in 1..=40 {
        told(&mut record, &direct(port), AddressSource::Manual, 1);
    }
    told(&mut record, &direct(40), AddressSource::Manual, 9);
    assert_eq!(record.addresses.len(), PeerRecord::MAX_ADDRESSES);
    assert_eq!(record.addresses.last().unwrap().last_seen, at(9));
    told(&mut record, &direct(99), AddressSource::Inbound, 10);
    told(&mut record, &direct(41), AddressSource::Manual, 11);
    assert!(record.addresses.iter().all(|address| address.source == AddressSource::Manual));
}

#[test]
fn a_peer_that_comes_from_ever_new_addresses_takes_up_little() {
    let mut record = record();
    for port in 1..=40 {
        told(&mut record, &direct(port), AddressSource::Inbound, port.into());
    }
    assert_eq!(record.addresses.len(), PeerRecord::MAX_INBOUND_ADDRESSES);
    assert_eq!(record.addresses[0].locator, direct(37));
}

#[test]
fn what_the_user_told_stays_the_users() {
    let mut record = record();
    told(&mut record, &direct(1), AddressSource::Manual, 1);
    told(&mut record, &direct(1), AddressSource::Inbound, 2);
    dial(&mut record, &direct(1), true, 3);
    let [address] = &record.addresses[..] else { panic!("one address") };
    assert_eq!((&address.source, address.last_seen, address.last_worked), (&AddressSource::Manual, at(3), Some(at(3))));
}

#[test]
fn the_address_that_worked_last_is_dialled_first() {
    let mut record = record();
    let relayed = locator("/ip4/198.51.100.1/tcp/4001/p2p/12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp/p2p-circuit");
    told(&mut record, &direct(1), AddressSource::Manual, 1);
    told(&mut record, &direct(2), AddressSource::Inbound, 2);
    assert_eq!(addresses_for(&record, at(3)), [direct(1)], "that it came from somewhere is no reason to dial there");
    dial(&mut record, &relayed, true, 4);
    assert_eq!(addresses_for(&record, at(5)), [relayed.clone(), direct(1)]);
    dial(&mut record, &direct(1), true, 6);
    assert_eq!(addresses_for(&record, at(7)), [direct(1), relayed.clone()]);
    for now in 8..11 {
        dial(&mut record, &direct(1), false, now);
    }
    assert_eq!(addresses_for(&record, at(11)), std::slice::from_ref(&relayed), "it has failed three times since");
    for now in 11..14 {
        dial(&mut record, &relayed, false, now);
    }
    let all = addresses_for(&record, at(14));
    assert_eq!(all, [direct(1), relayed.clone(), direct(2)], "none is good, so all are tried");
    assert_eq!(addresses_for(&record, at(14) + Duration::from_secs(8 * 86_400)), [direct(1), relayed.clone()]);
    dial(&mut record, &relayed, true, 15);
    assert_eq!(addresses_for(&record, at(16)), [relayed]);
}

#[test]
fn bans_have_a_source_and_neither_shortens_nor_erases_the_others() {
    let mut record = record();
    assert!(record.apply(ban(BanSource::Manual, 1000), at(0)));
    assert!(record.apply(ban(BanSource::Kaspad, 100), at(0)));
    assert_eq!(record.ban(at(50)), Some((BanSource::Manual, at(1000))));
    assert!(record.apply(PeerChange::Unban { source: BanSource::Kaspad }, at(60)));
    assert_eq!(record.ban(at(60)), Some((BanSource::Manual, at(1000))), "kaspad lifts its own");
    record.apply(ban(BanSource::Manual, 70), at(60));
    assert!(record.is_banned(at(69)) && !record.is_banned(at(70)), "the user may shorten the user's");
    assert!(!record.apply(PeerChange::Unban { source: BanSource::Kaspad }, at(60)));
}

#[test]
fn the_user_lifts_every_ban_and_kaspads_is_not_renewed_by_being_listed_still() {
    let mut record = record();
    record.apply(ban(BanSource::Manual, 1000), at(0));
    record.apply(ban(BanSource::Kaspad, 100), at(0));
    assert!(record.apply(PeerChange::Unban { source: BanSource::Manual }, at(10)));
    assert!(!record.is_banned(at(10)));
    assert!(!record.apply(ban(BanSource::Kaspad, 200), at(11)), "kaspad lists it still");
    assert!(!record.is_banned(at(11)));
    record.apply(PeerChange::Unban { source: BanSource::Kaspad }, at(12));
    assert!(record.apply(ban(BanSource::Kaspad, 300), at(13)), "a new one");
    assert!(record.is_banned(at(299)) && !record.is_banned(at(300)));
}

#[test]
fn what_ended_a_dial_here_is_not_counted_against_the_peer() {
    let mut record = record();
    told(&mut record, &direct(1), AddressSource::Manual, 1);
    let crate::PeerAddress::Direct(address) = direct(1).address else { panic!("direct") };
    let ours = [DialError::Overtaken, DialError::LimitReached { what: "dials", limit: 1 }, DialError::MemoryShort];
    for error in ours {
        assert!(!record.apply(dialed(Route::Direct(address.clone()), Err(error)), at(2)));
    }
    assert_eq!((record.failures, record.addresses[0].failures), (0, 0));
}

#[test]
fn failed_dials_and_bans_do_not_make_a_peer_look_heard_of() {
    let mut record = record();
    told(&mut record, &direct(1), AddressSource::Manual, 1);
    dial(&mut record, &direct(1), false, 50);
    record.apply(ban(BanSource::Manual, 1000), at(60));
    assert_eq!((record.last_seen, record.failures, record.addresses[0].failures), (at(1), 1, 1));
    record.apply(PeerChange::KaspaId("uuid".into()), at(70));
    assert_eq!(record.last_seen, at(70));
}

#[test]
fn records_of_earlier_versions_are_read_with_their_ban_and_address() {
    let earlier = r#"{
        "peer": "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN",
        "addresses": [{"locator": "/ip4/203.0.113.7/tcp/16111", "source": "manual", "last_seen": {"secs": 5, "nanos": 0}}],
        "first_seen": {"secs": 1, "nanos": 0}, "last_seen": {"secs": 5, "nanos": 0}, "successes": 3, "failures": 4,
        "rtt": null, "kaspa_ids": [], "banned_until": {"secs": 9, "nanos": 0}, "synthetic": "127.64.0.1",
        "relayed": {"carried": 1, "failed": 2}
    }"#;
    let record: PeerRecord = serde_json::from_str(earlier).unwrap();
    assert_eq!(record.ban(at(8)), Some((BanSource::Manual, at(9))));
    assert_eq!(record.loopback, Some(Ipv4Addr::new(127, 64, 0, 1)));
    assert_eq!((record.addresses[0].last_worked, record.relayed.failed), (None, 2));
}

#[test]
fn a_kaspa_id_of_any_length_takes_up_little() {
    let mut record = record();
    record.apply(PeerChange::KaspaId("x".repeat(PeerRecord::MAX_KASPA_ID + 1)), at(1));
    record.apply(PeerChange::KaspaId("x".repeat(PeerRecord::MAX_KASPA_ID)), at(1));
    assert_eq!(record.kaspa_ids.len(), 1);
}
