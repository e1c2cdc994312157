use super::*;

fn at(seconds: u64) -> Moment {
    Moment::after_start(Duration::from_secs(seconds))
}

fn address(text: &str) -> TransportAddress {
    let locator: kaspath_domain::PeerLocator = text.parse().unwrap();
    let kaspath_domain::PeerAddress::Direct(address) = locator.address else { panic!("direct") };
    address
}

fn multiaddr(text: &str) -> Multiaddr {
    text.parse().unwrap()
}

fn via() -> TransportAddress {
    address("/ip4/198.51.100.1/tcp/4001")
}

fn nobody() -> HashSet<PeerId> {
    HashSet::new()
}

#[test]
fn a_configured_relay_is_never_forgotten() {
    let configured = PeerId::random();
    let mut relaying = Relaying::new(vec![(configured, vec![via()])]);
    for n in 0..1000 {
        relaying.use_at(PeerId::random(), via(), &nobody(), at(n)).unwrap();
        assert!(relaying.get(&configured).is_some());
    }
    assert_eq!(relaying.iter().count(), MAX_RELAYS + 1, "and takes no place of the others");
    assert_eq!(relaying.expire(&nobody(), at(1_000_000)).len(), MAX_RELAYS);
    assert!(relaying.get(&configured).is_some());
    assert_eq!(relaying.deadline(), None);
}

#[test]
fn the_relay_used_longest_ago_makes_room_but_none_that_is_in_use() {
    let mut relaying = Relaying::default();
    let relays: Vec<PeerId> = (0..MAX_RELAYS).map(|_| PeerId::random()).collect();
    for (n, relay) in relays.iter().enumerate() {
        relaying.use_at(*relay, via(), &nobody(), at(n as u64)).unwrap();
    }
    relaying.use_at(relays[0], via(), &nobody(), at(100)).unwrap();
    let circuits = HashSet::from([relays[1]]);
    let (reply, _waits) = oneshot::channel();
    relaying.get_mut(&relays[2]).unwrap().wait(TransportSet::NONE, Waiter::Dial(reply)).unwrap();
    assert_eq!(relaying.use_at(PeerId::random(), via(), &circuits, at(101)), Ok(Some(relays[3])));

    let all: HashSet<PeerId> = relaying.iter().map(|(id, _)| *id).collect();
    let full = relaying.use_at(PeerId::random(), via(), &all, at(102));
    assert_eq!(full, Err(DialError::LimitReached { what: "relays", limit: MAX_RELAYS }));
}

#[test]
fn a_relay_without_circuits_is_given_back_after_a_while() {
    let mut relaying = Relaying::default();
    let relay = PeerId::random();
    relaying.use_at(relay, via(), &nobody(), at(0)).unwrap();
    assert_eq!(relaying.deadline(), Some(at(300)));
    assert_eq!(relaying.expire(&HashSet::from([relay]), at(300)), []);
    assert_eq!(relaying.deadline(), Some(at(600)));
    assert_eq!(relaying.expire(&nobody(), at(599)), []);
    assert_eq!(relaying.expire(&nobody(), at(600)), [relay]);
    assert!(relaying.get(&relay).is_none());
}

#[test]
fn a_grace_that_is_over_wakes_nobody_while_no_identify_is_there() {
    let mut relaying = Relaying::new(vec![(PeerId::random(), vec![via()])]);
    let id = *relaying.iter().next().unwrap().0;
    let relay = relaying.get_mut(&id).unwrap();
    relay.grace = Some(at(1));
    relay.wait(TransportSet::ALL, Waiter::Reservation).unwrap();
    assert_eq!(relaying.deadline(), None);
    relaying.get_mut(&id).unwrap().identified.insert(ConnectionId::new_unchecked(1));
    assert_eq!(relaying.deadline(), Some(at(1)));
}

#[test]
fn a_reservation_waits_once_and_dials_are_bounded() {
    let mut relay = Relay::default();
    for _ in 0..100 {
        assert!(relay.wait(TransportSet::ALL, Waiter::Reservation).is_ok());
    }
    assert_eq!(relay.waiters.len(), 1);
    let (replies, answers): (Vec<_>, Vec<_>) = (0..200).map(|_| oneshot::channel()).unzip();
    let refused = replies.into_iter().filter_map(|reply| relay.wait(TransportSet::NONE, Waiter::Dial(reply)).err()).count();
    assert_eq!((relay.waiters.len(), refused), (MAX_WAITERS + 1, 200 - MAX_WAITERS));
    drop(answers);
    assert!(relay.wait(TransportSet::ALL, Waiter::Reservation).is_ok(), "those that are gone make room");
    assert_eq!(relay.waiters.len(), 1);
}

#[test]
fn a_name_that_resolves_anew_replaces_what_it_was_and_keeps_it_while_it_does_not() {
    let name = address("/dns/relay.example/tcp/4001");
    let mut relaying = Relaying::new(vec![(PeerId::random(), vec![name.clone(), via()])]);
    let id = *relaying.iter().next().unwrap().0;
    let relay = relaying.get_mut(&id).unwrap();
    assert_eq!((relay.names(), relay.addresses()), (vec![name.clone()], vec![multiaddr("/ip4/198.51.100.1/tcp/4001")]));
    relay.resolved(&name, vec![multiaddr("/ip4/203.0.113.1/tcp/4001")]);
    relay.learn(&["/ip4/203.0.113.1/udp/4001/quic-v1", "/ip4/203.0.113.99/tcp/1", "/ip4/127.0.0.1/tcp/1"].map(multiaddr));
    let known = ["/ip4/198.51.100.1/tcp/4001", "/ip4/203.0.113.1/tcp/4001", "/ip4/203.0.113.1/udp/4001/quic-v1"];
    assert_eq!(relay.addresses(), known.map(multiaddr), "no address of another host is learnt");
    relay.resolved(&name, vec![multiaddr("/ip4/203.0.113.2/tcp/4001")]);
    relay.learn(&[]);
    assert_eq!(relay.addresses(), ["/ip4/198.51.100.1/tcp/4001", "/ip4/203.0.113.2/tcp/4001"].map(multiaddr));
}

#[test]
fn an_address_is_told_by_the_configured_name_that_leads_to_it() {
    let (name, of_a_peer) = (address("/dns/relay.example/tcp/4001"), address("/dns/elsewhere.example/tcp/4001"));
    let id = PeerId::random();
    let mut relaying = Relaying::new(vec![(id, vec![via(), name.clone()])]);
    relaying.use_at(id, of_a_peer.clone(), &nobody(), at(0)).unwrap();
    let relay = relaying.get_mut(&id).unwrap();
    relay.resolved(&name, vec![multiaddr("/ip4/203.0.113.1/tcp/4001")]);
    relay.resolved(&of_a_peer, vec![multiaddr("/ip4/203.0.113.2/tcp/4001")]);
    for (linked, told) in [
        ("/ip4/203.0.113.1/tcp/4001", "/dns/relay.example/tcp/4001"),
        // Learnt from the relay: another transport of the same host.
        ("/ip4/203.0.113.1/udp/4001/quic-v1", "/dns/relay.example/udp/4001/quic-v1"),
        ("/ip4/198.51.100.1/tcp/4001", "/ip4/198.51.100.1/tcp/4001"),
        ("/ip4/203.0.113.2/tcp/4001", "/ip4/203.0.113.2/tcp/4001"),
    ] {
        assert_eq!(relay.by_name(&multiaddr(linked)), Some(address(told)));
    }
}

#[test]
fn addresses_given_with_peers_are_bounded_and_never_push_out_configured_ones() {
    let id = PeerId::random();
    let mut relaying = Relaying::new(vec![(id, vec![via()])]);
    for n in 0..100 {
        let other = address(&format!("/ip4/203.0.113.{n}/tcp/4001"));
        relaying.use_at(id, other, &nobody(), at(n)).unwrap();
    }
    let addresses = relaying.get(&id).unwrap().addresses();
    assert_eq!(addresses.len(), MAX_ADDRESSES);
    assert_eq!(addresses[0], multiaddr("/ip4/198.51.100.1/tcp/4001"));
    assert_eq!(addresses[MAX_ADDRESSES - 1], multiaddr("/ip4/203.0.113.99/tcp/4001"));
}
