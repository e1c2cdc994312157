use kaspath_domain::{IpPrefix, Transport};
use proptest::{collection::vec, prelude::*};

use super::*;

fn id(n: usize) -> ConnectionId {
    ConnectionId::new_unchecked(n)
}

fn at(millis: u64) -> Moment {
    Moment::after_start(Duration::from_millis(millis))
}

fn from(text: &str, transport: Transport) -> Origin {
    let address = text.parse().unwrap();
    Origin::Direct { transport, host: IpPrefix::host(address), network: IpPrefix::network(address) }
}

fn tcp(text: &str) -> Origin {
    from(text, Transport::Tcp)
}

fn through(relay: PeerId) -> Origin {
    Origin::Circuit { relay: Some(relay) }
}

fn room(result: Result<(), Refusal>) -> Room {
    match result.unwrap_err() {
        Refusal::Full { room, .. } => room,
        other => panic!("{other}"),
    }
}

/// Comes in and is through its handshake at once.
fn come(table: &mut Table, n: usize, origin: Origin, now: Moment) -> Result<(), Refusal> {
    table.pending_inbound(id(n), origin, now)?;
    table.established(id(n), PeerId::random(), origin, now)
}

/// A stream on the connection, for as long as it is kept.
fn stream_on(table: &Table, n: usize) -> Arc<()> {
    table.entries[&id(n)].traffic.user()
}

fn serve_peer_of(table: &mut Table, n: usize) {
    let Stage::Established(peer) = table.entries[&id(n)].stage else { panic!("established") };
    table.served.add(peer);
}

#[test]
fn four_hosts_in_four_prefixes_at_two_hundred_a_second_leave_most_pending_places_free() {
    for limits in [ConnectionLimits::default(), ConnectionLimits::of_relay()] {
        let mut table = Table::new(limits.clone());
        let hosts = ["198.18.0.1", "198.18.1.1", "198.18.2.1", "198.18.3.1"];
        // Each says nothing and is given up after 10 s.
        for n in 0..6_000 {
            let now = at(n as u64 * 5);
            if n >= 2_000 {
                table.remove(id(n - 2_000));
            }
            let _ = table.pending_inbound(id(n), tcp(hosts[n % 4]), now);
            assert!(table.counts.of(&Room::Pending(Transport::Tcp)) * 4 <= limits.pending_inbound as usize);
            if n % 100 == 0 {
                let honest = id(1_000_000 + n);
                for transport in [Transport::Tcp, Transport::Quic] {
                    table.pending_inbound(honest, from("203.0.113.7", transport), now).unwrap();
                    table.remove(honest);
                }
            }
        }
    }
}

#[test]
fn four_hosts_that_hold_a_stream_on_each_connection_leave_most_established_places_free() {
    for limits in [ConnectionLimits::default(), ConnectionLimits::of_relay()] {
        let mut table = Table::new(limits.clone());
        let hosts = ["198.18.0.1", "198.18.1.1", "198.18.2.1", "198.18.3.1"];
        let mut streams = Vec::new();
        for n in 0..10_000 {
            if come(&mut table, n, tcp(hosts[n % 4]), at(n as u64 * 5)).is_ok() {
                streams.push(stream_on(&table, n));
            }
            assert!(table.evicted.is_empty());
        }
        assert!(table.counts.of(&Room::Inbound) * 4 <= limits.inbound as usize);
        for n in 0..16 {
            come(&mut table, 200_000 + n, tcp("203.0.113.7"), at(60_000)).unwrap();
        }
    }
}

#[test]
fn an_address_of_ipv6_is_its_64_and_a_prefix_its_48() {
    let mut table = Table::new(ConnectionLimits::default());
    let host = |n: u32| tcp(&format!("2001:db8:1:1::{n:x}"));
    for n in 0..16 {
        table.pending_inbound(id(n), host(n as u32), at(0)).unwrap();
    }
    assert!(matches!(room(table.pending_inbound(id(16), host(16), at(0))), Room::PendingFromHost(..)));
    for n in 16..64 {
        let origin = tcp(&format!("2001:db8:1:{:x}::1", 2 + n / 10));
        table.pending_inbound(id(n), origin, at(0)).unwrap();
    }
    let another = tcp("2001:db8:1:ffff::1");
    let refusal = table.pending_inbound(id(64), another, at(0)).unwrap_err();
    assert_eq!(refusal.to_string(), "too many unfinished connections from 2001:db8:1::/48: 64 are allowed");
}

#[test]
fn who_begins_connections_too_fast_is_slowed_down_alone() {
    let mut table = Table::new(ConnectionLimits::default());
    let mut begun = 0;
    for n in 0..1000 {
        // Each fails at once, so that no place stays taken.
        begun += usize::from(table.pending_inbound(id(n), tcp("198.18.0.1"), at(0)).is_ok());
        table.remove(id(n));
    }
    assert_eq!(begun, 64);
    let refusal = table.pending_inbound(id(1), tcp("198.18.0.1"), at(0)).unwrap_err();
    assert_eq!(refusal.to_string(), "too many new connections from 198.18.0.1 in a short time");
    table.pending_inbound(id(1), tcp("198.18.0.2"), at(0)).unwrap();
    table.pending_inbound(id(2), tcp("198.18.0.1"), at(125)).unwrap();
}

#[test]
fn circuits_have_room_of_their_own_and_each_relay_its_share() {
    let limits =
        ConnectionLimits { inbound: 1, inbound_circuits: 8, inbound_circuits_per_relay: 4, ..ConnectionLimits::default() };
    let mut table = Table::new(limits);
    let (a, b) = (PeerId::random(), PeerId::random());
    come(&mut table, 0, tcp("198.18.0.1"), at(0)).unwrap();
    for n in 1..5 {
        come(&mut table, n, through(a), at(0)).unwrap();
    }
    assert_eq!(room(come(&mut table, 5, through(a), at(0))), Room::Through(Some(a)));
    table.remove(id(5));
    come(&mut table, 6, through(b), at(0)).unwrap();
}

#[test]
fn circuits_of_two_peers_that_call_each_other_over_three_relays_keep_no_direct_connection_out() {
    let (mut table, peer) = (Table::new(ConnectionLimits::default()), PeerId::random());
    for n in 0..3 {
        let relay = PeerId::random();
        table.pending_inbound(id(n), through(relay), at(0)).unwrap();
        table.established(id(n), peer, through(relay), at(0)).unwrap();
        table.pending_outbound(id(10 + n), Class::Circuit, at(0)).unwrap();
        table.established(id(10 + n), peer, through(relay), at(0)).unwrap();
    }
    table.pending_inbound(id(20), tcp("192.168.1.7"), at(0)).unwrap();
    table.established(id(20), peer, tcp("192.168.1.7"), at(0)).unwrap();
    table.pending_outbound(id(21), Class::Punch, at(0)).unwrap();
    table.established(id(21), peer, tcp("192.168.1.7"), at(0)).unwrap();
    // Neither are circuits without end.
    let more = (0..100).find_map(|n| {
        table.pending_inbound(id(100 + n), through(PeerId::random()), at(0)).unwrap();
        table.established(id(100 + n), peer, through(PeerId::random()), at(0)).err()
    });
    assert_eq!(room(Err(more.unwrap())), Room::CircuitsWithPeer(peer));
}

#[test]
fn silent_circuits_of_four_hosts_leave_room_for_another_through_the_same_relay() {
    let mut table = Table::new(ConnectionLimits::default());
    let relay = PeerId::random();
    // Our relay gives each host eight circuits to one destination.
    for n in 0..4 * 8 {
        table.pending_inbound(id(n), through(relay), at(0)).unwrap();
    }
    come(&mut table, 100, through(relay), at(0)).unwrap();
}

#[test]
fn each_class_of_dials_has_room_of_its_own() {
    let mut table = Table::new(ConnectionLimits::default());
    let mut next = 0;
    for class in [Class::Punch, Class::Peer, Class::Circuit, Class::Relay] {
        let full = std::iter::repeat_with(|| {
            next += 1;
            table.pending_outbound(id(next), class, at(0))
        });
        let full = full.take(1000).find_map(Result::err).unwrap();
        assert!(matches!(full, Refusal::Full { room: Room::Dialling(of), .. } if of == class));
    }
}

/// Comes in; who had to go for it.
fn evicted_by(table: &mut Table, n: usize, origin: Origin, now: Moment) -> Result<Vec<ConnectionId>, Refusal> {
    come(table, n, origin, now)?;
    Ok(table.evicted.drain(..).map(|(id, _)| id).collect())
}

#[test]
fn an_address_that_has_its_share_loses_what_is_silent_or_unused_and_nothing_else() {
    let limits = ConnectionLimits { inbound_per_address: 2, ..ConnectionLimits::default() };
    let host = tcp("198.18.0.1");
    let after = |time: Duration| Moment::after_start(time);
    let full = || {
        let mut table = Table::new(limits.clone());
        come(&mut table, 0, host, at(0)).unwrap();
        come(&mut table, 1, host, at(0)).unwrap();
        table
    };
    // A moment after they came nobody is either.
    let soon = after(UNUSED_AFTER - Duration::from_millis(1));
    assert!(matches!(room(come(&mut full(), 2, host, soon)), Room::FromHost(_)));
    let (later, much_later) = (after(UNUSED_AFTER), after(SILENT_AFTER));
    let mut table = full();
    let _streams = [stream_on(&table, 0), stream_on(&table, 1)];
    assert!(matches!(room(come(&mut table, 2, host, later)), Room::FromHost(_)));
    table.entries[&id(0)].traffic.moved(b"x");
    assert_eq!(evicted_by(&mut table, 2, host, much_later), Ok(vec![id(1)]), "the silent one");
    let mut table = full();
    serve_peer_of(&mut table, 0);
    assert_eq!(evicted_by(&mut table, 2, host, much_later), Ok(vec![id(1)]), "the one that is not served");
    let mut table = full();
    let _stream = stream_on(&table, 0);
    assert_eq!(evicted_by(&mut table, 2, host, later), Ok(vec![id(1)]), "the unused one");
    // Until the one that goes is really closed its socket counts.
    assert_eq!(table.counts.of(&Room::Closing), 1);
    table.remove(id(1));
    assert_eq!(table.counts.of(&Room::Closing), 0);
}

#[test]
fn forged_datagrams_slow_nobodys_tcp_down() {
    let mut table = Table::new(ConnectionLimits::default());
    for n in 0..1000 {
        let _ = table.pending_inbound(id(n), from("203.0.113.7", Transport::Quic), at(0));
    }
    table.pending_inbound(id(1000), tcp("203.0.113.7"), at(0)).unwrap();
}

#[test]
fn of_a_crowded_prefix_those_go_first_on_which_nothing_depends() {
    let limits = ConnectionLimits { inbound: 4, ..ConnectionLimits::default() };
    let mut table = Table::new(limits);
    for (n, ip) in ["198.18.1.1", "198.18.0.1", "198.18.0.2", "198.18.0.3"].into_iter().enumerate() {
        come(&mut table, n, tcp(ip), at(n as u64)).unwrap();
    }
    let _stream = stream_on(&table, 3);
    serve_peer_of(&mut table, 2);
    assert_eq!(evicted_by(&mut table, 4, tcp("203.0.113.7"), at(10)), Ok(vec![id(1)]));
}

#[test]
fn remotes_that_do_not_let_themselves_be_closed_cannot_pile_up() {
    let limits = ConnectionLimits { inbound: 16, inbound_per_prefix: 16, ..ConnectionLimits::default() };
    let closing = limits.closing();
    let mut table = Table::new(limits);
    let mut let_in = 0;
    for n in 0..200 {
        let ip = format!("198.18.{n}.1");
        let_in += u32::from(come(&mut table, n, tcp(&ip), at(n as u64 * 1000)).is_ok());
        table.remove(id(1000 + n));
    }
    assert_eq!(let_in, 16 + closing);
}

#[derive(Clone, Debug)]
enum Step {
    Comes { n: usize, network: u8, host: u8, quic: bool },
    ComesThrough { n: usize, relay: u8 },
    Arrives { n: usize, peer: u8 },
    Dials { n: usize, class: u8 },
    Reaches { n: usize, peer: u8, network: u8 },
    Goes { n: usize },
    Waits { millis: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    let n = || 0..60usize;
    prop_oneof![
        3 => (n(), 0..4u8, 1..4u8, any::<bool>()).prop_map(|(n, network, host, quic)| Step::Comes { n, network, host, quic }),
        1 => (n(), 0..3u8).prop_map(|(n, relay)| Step::ComesThrough { n, relay }),
        4 => (n(), 0..20u8).prop_map(|(n, peer)| Step::Arrives { n, peer }),
        1 => (n(), 0..4u8).prop_map(|(n, class)| Step::Dials { n, class }),
        1 => (n(), 0..20u8, 0..4u8).prop_map(|(n, peer, network)| Step::Reaches { n, peer, network }),
        2 => n().prop_map(|n| Step::Goes { n }),
        1 => (0..100_000u64).prop_map(|millis| Step::Waits { millis }),
    ]
}

fn tight() -> ConnectionLimits {
    ConnectionLimits {
        inbound: 6,
        inbound_per_address: 2,
        inbound_per_prefix: 3,
        pending_inbound: 5,
        pending_inbound_per_address: 2,
        pending_inbound_per_prefix: 3,
        inbound_circuits: 4,
        inbound_circuits_per_relay: 2,
        outbound: 3,
        pending_outbound: 2,
        relays: 2,
        pending_relays: 2,
        outbound_circuits: 2,
        pending_outbound_circuits: 2,
        punched: 2,
        pending_punches: 2,
        per_peer: 2,
        circuits_per_peer: 2,
        ..ConnectionLimits::default()
    }
}

fn identity(n: u8) -> PeerId {
    PeerId::from_bytes(&[0, 1, n]).unwrap()
}

proptest! {
    #[test]
    fn no_room_is_ever_overfull_and_nothing_leaks(steps in vec(step(), 0..300)) {
        let (mut table, mut now) = (Table::new(tight()), at(0));
        let classes = [Class::Peer, Class::Relay, Class::Circuit, Class::Punch];
        let mut streams: HashMap<usize, Arc<()>> = HashMap::new();
        (0..5).for_each(|peer| table.served.add(identity(peer)));
        let mut origins: HashMap<usize, Origin> = HashMap::new();
        for step in steps {
            match step {
                Step::Comes { n, network, host, quic } if !table.entries.contains_key(&id(n)) => {
                    let transport = if quic { Transport::Quic } else { Transport::Tcp };
                    let origin = from(&format!("198.18.{network}.{host}"), transport);
                    origins.insert(n, origin);
                    let _ = table.pending_inbound(id(n), origin, now);
                }
                Step::ComesThrough { n, relay } if !table.entries.contains_key(&id(n)) => {
                    origins.insert(n, through(identity(relay)));
                    let _ = table.pending_inbound(id(n), through(identity(relay)), now);
                }
                Step::Dials { n, class } if !table.entries.contains_key(&id(n)) => {
                    let _ = table.pending_outbound(id(n), classes[usize::from(class)], now);
                }
                Step::Arrives { n, peer } => {
                    let waits = table.entries.get(&id(n)).is_some_and(|entry| entry.way == Way::In && entry.stage == Stage::Pending);
                    if waits && table.established(id(n), identity(peer), origins[&n], now).is_err() {
                        table.remove(id(n));
                    } else if waits && n < 10 {
                        streams.insert(n, stream_on(&table, n));
                    }
                }
                Step::Reaches { n, peer, network } => {
                    let origin = tcp(&format!("198.18.{network}.9"));
                    let waits = table.entries.get(&id(n)).is_some_and(|entry| entry.way != Way::In && entry.stage == Stage::Pending);
                    if waits && table.established(id(n), identity(peer), origin, now).is_err() {
                        table.remove(id(n));
                    }
                }
                Step::Goes { n } => drop(table.remove(id(n))),
                Step::Waits { millis } => now = now + Duration::from_millis(millis),
                Step::Comes { .. } | Step::ComesThrough { .. } | Step::Dials { .. } => {}
            }
            for (evicted, _) in std::mem::take(&mut table.evicted) {
                prop_assert_eq!(table.entries[&evicted].stage, Stage::Closing);
                prop_assert!(table.entries[&evicted].way != Way::Out(Class::Relay));
            }
            let mut counted: HashMap<Room, usize> = HashMap::new();
            for room in table.entries.values().flat_map(Entry::rooms) {
                *counted.entry(room).or_default() += 1;
            }
            for (room, count) in &counted {
                prop_assert!(*count <= limit(&table.limits, *room) as usize, "{}: {}", room, count);
                prop_assert_eq!(*count, table.counts.of(room));
            }
            prop_assert_eq!(counted.len(), table.counts.len());
        }
        for n in 0..60 {
            table.remove(id(n));
        }
        prop_assert!(table.entries.is_empty() && table.counts.is_empty());
    }
}
