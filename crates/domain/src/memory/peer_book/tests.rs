use std::{
    collections::HashSet,
    sync::{Arc, atomic::AtomicUsize, atomic::Ordering},
    time::Duration,
};

use super::*;
use crate::{AddressSource, AttemptOutcome, BanSource, DialError, Path, Route, Transport, TransportAddress};

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_epoch(Duration::from_secs(seconds))
}

fn peer(n: u16) -> PeerIdentity {
    let [a, b] = n.to_be_bytes();
    PeerIdentity::from_bytes(&[0, 2, a, b]).unwrap()
}

fn address(source: AddressSource, port: u16) -> PeerChange {
    PeerChange::Address { locator: format!("/ip4/192.0.2.1/tcp/{port}").parse().unwrap(), source }
}

fn dialed(n: u16, works: bool) -> PeerChange {
    let route = Route::Direct(TransportAddress::tcp("192.0.2.1:9".parse().unwrap()));
    let failed = || DialError::Unreachable { address: "192.0.2.1:9".into(), cause: "refused".into() };
    let result = if works { Ok(Path::Direct { transport: Transport::Tcp }) } else { Err(failed()) };
    PeerChange::Dialed(AttemptOutcome { peer: Some(peer(n)), route, result, elapsed: Duration::ZERO })
}

fn admit(book: &MemoryPeerBook, n: u16, now: u64) {
    book.update(&peer(n), PeerChange::Admitted, at(now)).unwrap();
}

fn known(book: &MemoryPeerBook, peers: &[u16]) -> Vec<bool> {
    peers.iter().map(|n| book.get(&peer(*n)).is_some()).collect()
}

#[test]
fn a_full_book_forgets_the_stalest_peer() {
    let book = MemoryPeerBook::new(2);
    for (n, now) in [(1, 10), (2, 5), (3, 20)] {
        admit(&book, n, now);
    }
    assert!(book.get(&peer(2)).is_none());
    assert_eq!(book.recent(9).iter().map(|record| record.peer.clone()).collect::<Vec<_>>(), [peer(3), peer(1)]);
    assert_eq!(book.recent(1).len(), 1);
    assert!(book.forget(&peer(1)) && !book.forget(&peer(1)));
}

#[test]
fn ten_thousand_identities_that_only_connect_or_cannot_be_reached_evict_nobody() {
    let book = MemoryPeerBook::new(2);
    admit(&book, 1, 1);
    admit(&book, 2, 2);
    for n in 3..10_003 {
        assert!(!book.update(&peer(n), address(AddressSource::Inbound, n), at(10)).unwrap());
        assert!(!book.update(&peer(n), PeerChange::RoundTrip(Duration::ZERO), at(10)).unwrap());
        assert!(!book.update(&peer(n), dialed(n, false), at(10)).unwrap());
    }
    assert_eq!(known(&book, &[1, 2]), [true, true]);
    assert_eq!(book.all().len(), 2);
    book.update(&peer(3), dialed(3, true), at(11)).unwrap();
    assert_eq!(known(&book, &[1, 3]), [false, true], "who was reached is remembered");
}

#[test]
fn pinned_and_banned_peers_stay_and_those_whose_ban_is_over_go() {
    let book = MemoryPeerBook::new(3);
    book.pin(&peer(1));
    admit(&book, 1, 1);
    for (n, until) in [(2, 50), (3, 1000)] {
        let ban = PeerChange::Ban { source: BanSource::Kaspad, until: at(until) };
        assert!(book.update(&peer(n), ban, at(2)).unwrap());
    }
    let full = book.update(&peer(4), PeerChange::Admitted, at(49)).unwrap_err();
    assert!(matches!(full, PeerBookError::Full { limit: 3 }), "{full}");
    admit(&book, 4, 50);
    assert_eq!(known(&book, &[1, 2, 3, 4]), [true, false, true, true]);
    book.unpin(&peer(1));
    admit(&book, 5, 51);
    assert_eq!(known(&book, &[1, 3, 4, 5]), [false, true, true, true]);
}

#[test]
fn configured_peers_outlast_any_number_of_admitted_ones() {
    let book = MemoryPeerBook::new(300);
    for n in 0..10 {
        book.pin(&peer(n));
        book.update(&peer(n), address(AddressSource::Manual, n), at(0)).unwrap();
    }
    for n in 10..2_010 {
        admit(&book, n, n.into());
    }
    assert!((0..10).all(|n| book.get(&peer(n)).is_some()));
    assert!(book.all().len() <= 300);
}

#[test]
fn loopback_addresses_are_distinct_stable_and_free_again_when_their_peer_is_gone() {
    let book = MemoryPeerBook::new(100);
    let first: Vec<Ipv4Addr> = (0..100).map(|n| book.loopback(&peer(n), at(n.into())).unwrap()).collect();
    assert_eq!(first.iter().collect::<HashSet<_>>().len(), 100);
    assert!(first.iter().all(|address| is_peer_loopback(*address)));
    assert_eq!((0..100).map(|n| book.loopback(&peer(n), at(200)).unwrap()).collect::<Vec<_>>(), first);
    assert_eq!(book.peer_at(first[7]), Some(peer(7)));
    book.forget(&peer(7));
    assert_eq!(book.peer_at(first[7]), None);
    assert_eq!(book.loopback(&peer(7), at(201)).unwrap(), first[7], "the same again");
    book.forget(&peer(7));
    book.set_loopback(&peer(8), first[7], at(202)).unwrap();
    assert_eq!(book.peer_at(first[8]), None, "a peer has one address");
    assert_ne!(book.loopback(&peer(7), at(203)).unwrap(), first[7], "a collision is passed by");
}

#[test]
fn an_address_passes_to_another_peer_only_from_one_that_does_not_use_it() {
    let book = MemoryPeerBook::new(10);
    let address = book.loopback(&peer(1), at(1)).unwrap();
    book.pin(&peer(1));
    assert!(matches!(book.set_loopback(&peer(2), address, at(2)), Err(PeerBookError::Loopback { .. })));
    assert!(book.forget(&peer(1)));
    assert_eq!(book.peer_at(address), Some(peer(1)), "a forgotten peer keeps what is in use");
    book.unpin(&peer(1));
    book.set_loopback(&peer(2), address, at(3)).unwrap();
    assert_eq!((book.peer_at(address), book.get(&peer(1)).unwrap().loopback), (Some(peer(2)), None));
    let elsewhere = book.set_loopback(&peer(2), Ipv4Addr::new(127, 0, 0, 1), at(4));
    assert!(matches!(elsewhere, Err(PeerBookError::Loopback { .. })), "kaspad's own address is no peer's");
}

#[test]
fn records_with_one_address_are_told_apart_at_the_start_and_when_joined() {
    let address = Ipv4Addr::new(127, 64, 0, 9);
    let record = |n: u16| PeerRecord { loopback: Some(address), ..PeerRecord::new(peer(n), at(n.into())) };
    let changes = Arc::new(AtomicUsize::new(0));
    let counted = changes.clone();
    let book = MemoryPeerBook::with(10, vec![record(1), record(2)], move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
    });
    assert_eq!([1, 2].map(|n| book.get(&peer(n)).unwrap().loopback), [None, Some(address)]);
    assert_eq!(changes.load(Ordering::Relaxed), 1);
    book.update(&peer(3), PeerChange::Join(Box::new(record(3))), at(9)).unwrap();
    assert_eq!((book.get(&peer(3)).unwrap().loopback, book.peer_at(address)), (None, Some(peer(2))));
}

#[test]
fn many_threads_never_exceed_the_limit_nor_share_an_address() {
    let book = MemoryPeerBook::new(50);
    std::thread::scope(|scope| {
        for thread in 0..4_u16 {
            let book = &book;
            scope.spawn(move || {
                for n in 0..500 {
                    let n = thread * 250 + n;
                    book.loopback(&peer(n), at(n.into())).unwrap();
                    book.update(&peer(n), address(AddressSource::Inbound, n), at(n.into())).unwrap();
                    book.forget(&peer(n / 2));
                    assert!(book.all().len() <= 50);
                }
            });
        }
    });
    let all = book.all();
    let addresses: HashSet<Ipv4Addr> = all.iter().filter_map(|record| record.loopback).collect();
    assert_eq!(addresses.len(), all.len());
    assert!(all.iter().all(|record| book.peer_at(record.loopback.unwrap()) == Some(record.peer.clone())));
}
