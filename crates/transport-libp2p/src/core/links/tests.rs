use kaspath_domain::Direction;

use super::{addresses::MAX_ADDRESSES, *};
use crate::core::tests::{address, at, connection, identity, outputs, shared};

const TCP: &str = "/ip4/198.51.100.1/tcp/4001";
const QUIC: &str = "/ip4/198.51.100.1/udp/4001/quic-v1";

fn relay(number: u64, via: &str) -> RelayAddress {
    RelayAddress { relay: identity(number), via: address(via) }
}

fn configured(number: u64) -> Links {
    Links::new(vec![RelayAddress { relay: identity(number), via: address(TCP) }])
}

/// Somebody asks for the relay and goes again.
fn use_once(links: &mut Links, shared: &mut Shared, number: u64) {
    links.connect(shared, WaiterId(number), relay(number, TCP), TransportSet::NONE);
    links.give_up(WaiterId(number));
    let dials: Vec<OperationId> =
        links.relays.get(&identity(number)).map_or_else(Vec::new, |known| known.dials.keys().copied().collect());
    for dial in dials {
        links.failed(shared, dial, &DialError::Unreachable { address: TCP.to_owned(), cause: "refused".to_owned() });
    }
}

fn connected(shared: &mut Shared, id: u64, peer: u64, path: &str) {
    shared.connections.insert(ConnId(id), connection(peer, Direction::Outbound, path));
}

fn told(listens: &[&str]) -> RemoteInfo {
    RemoteInfo { listens: listens.iter().map(|text| address(text)).collect(), observed: Some(address("/ip4/192.0.2.1/tcp/1")) }
}

fn answers(shared: &mut Shared) -> Vec<(WaiterId, bool)> {
    let answers = outputs(shared).into_iter().filter_map(|output| match output {
        Output::Answer { waiter, result } => Some((waiter, result.is_ok())),
        _ => None,
    });
    answers.collect()
}

#[test]
fn a_configured_relay_is_never_forgotten_and_takes_no_place_of_the_others() {
    let (mut links, mut shared) = (configured(0), shared());
    for n in 1..1000 {
        shared.now = at(n * 1000);
        use_once(&mut links, &mut shared, n);
        assert!(links.relays.contains_key(&identity(0)));
    }
    assert_eq!(links.relays.len(), MAX_RELAYS + 1);
    shared.now = at(1_000_000_000);
    links.step(&mut shared);
    assert_eq!(links.relays.keys().collect::<Vec<_>>(), [&identity(0)]);
    assert_eq!(links.deadline(), None);
}

#[test]
fn the_relay_used_longest_ago_makes_room_but_none_that_is_needed() {
    let (mut links, mut shared) = (Links::default(), shared());
    for n in 0..MAX_RELAYS as u64 {
        shared.now = at(n * 1000);
        use_once(&mut links, &mut shared, n);
    }
    shared.now = at(100_000);
    use_once(&mut links, &mut shared, 0);
    // A circuit goes through one, and somebody waits for the next.
    connected(&mut shared, 1, 500, &format!("{TCP}/p2p/{}/p2p-circuit", identity(1)));
    links.connect(&mut shared, WaiterId(9), relay(2, TCP), TransportSet::NONE);
    use_once(&mut links, &mut shared, 1000);
    let is_known = |n: u64| links.relays.contains_key(&identity(n));
    assert_eq!([0, 1, 2, 3, 1000].map(is_known), [true, true, true, false, true]);

    for n in 0..=MAX_RELAYS as u64 {
        connected(&mut shared, n + 2, 500, &format!("{TCP}/p2p/{}/p2p-circuit", identity(n)));
    }
    connected(&mut shared, 1000, 500, &format!("{TCP}/p2p/{}/p2p-circuit", identity(1000)));
    outputs(&mut shared);
    links.connect(&mut shared, WaiterId(10), relay(2000, TCP), TransportSet::NONE);
    assert_eq!(answers(&mut shared), [(WaiterId(10), false)]);
}

#[test]
fn a_relay_without_circuits_is_given_back_after_a_while() {
    let (mut links, mut shared) = (Links::default(), shared());
    use_once(&mut links, &mut shared, 1);
    assert_eq!(links.deadline(), Some(at(300_000)));
    connected(&mut shared, 1, 500, &format!("{TCP}/p2p/{}/p2p-circuit", identity(1)));
    shared.now = at(300_000);
    links.step(&mut shared);
    assert_eq!(links.deadline(), Some(at(600_000)));
    shared.connections.remove(ConnId(1));
    outputs(&mut shared);
    shared.now = at(600_000);
    links.step(&mut shared);
    assert!(matches!(&outputs(&mut shared)[..], [Output::Release(peer)] if *peer == identity(1)));
    assert!(links.relays.is_empty());
}

#[test]
fn callers_that_wait_for_a_relay_are_bounded_and_those_that_go_make_room() {
    let (mut links, mut shared) = (Links::default(), shared());
    for n in 0..200 {
        links.connect(&mut shared, WaiterId(n), relay(1, TCP), TransportSet::NONE);
    }
    assert_eq!(answers(&mut shared).len(), 200 - MAX_WAITERS);
    links.give_up(WaiterId(0));
    links.connect(&mut shared, WaiterId(200), relay(1, TCP), TransportSet::NONE);
    assert_eq!(answers(&mut shared), []);
    // A reservation waits once, whoever else waits.
    (0..100).for_each(|_| links.reserve(&mut shared, &identity(1)));
    assert_eq!(links.held(), MAX_WAITERS + 1 + 1 + 1, "callers, the reservation and its lease, the dial");
}

#[test]
fn a_waiter_is_served_when_the_relay_sees_us_over_both_transports_or_after_a_moment() {
    for second_comes in [true, false] {
        let (mut links, mut shared) = (configured(1), shared());
        links.connect(&mut shared, WaiterId(1), relay(1, TCP), TransportSet::ALL);
        connected(&mut shared, 1, 1, TCP);
        assert_eq!(links.deadline(), None, "without identify nobody is served");
        links.identified(&mut shared, ConnId(1), told(&[TCP, QUIC]));
        assert!(outputs(&mut shared).iter().any(
            |output| matches!(output, Output::Dial { addresses, kind: DialKind::Relay, .. } if *addresses == [address(QUIC)])
        ));
        if second_comes {
            connected(&mut shared, 2, 1, QUIC);
            links.identified(&mut shared, ConnId(2), told(&[]));
        } else {
            assert_eq!(links.deadline(), Some(at(1500)));
            shared.now = at(1500);
            links.step(&mut shared);
        }
        assert_eq!(answers(&mut shared), [(WaiterId(1), true)]);
    }
}

#[test]
fn a_link_that_identified_before_anybody_needed_its_relay_serves_at_once() {
    let (mut links, mut shared) = (Links::default(), shared());
    connected(&mut shared, 1, 1, TCP);
    links.identified(&mut shared, ConnId(1), told(&[TCP]));
    assert!(shared.next_signal().is_none(), "what peers say that are no relays of ours is no candidate");
    for waiter in [1, 2] {
        links.connect(&mut shared, WaiterId(waiter), relay(1, TCP), TransportSet::NONE);
        assert_eq!(answers(&mut shared), [(WaiterId(waiter), true)]);
        assert!(matches!(shared.next_signal(), Some(Signal::RelayLinked { link: ConnId(1), .. })));
        assert!(matches!(shared.next_signal(), Some(Signal::Observed { .. })));
        // Nobody needs it for long, yet the connection stays, for a stream perhaps.
        shared.now = shared.now + IDLE_TIME;
        links.step(&mut shared);
        assert!(links.relays.is_empty());
        assert!(matches!(shared.next_signal(), Some(Signal::RelayReleased(_))));
    }
}

/// What comes in with the relay's identity, from somewhere.
fn came_in(links: &mut Links, shared: &mut Shared, id: u64, from: &str) {
    shared.connections.insert(ConnId(id), connection(1, Direction::Inbound, from));
    links.identified(shared, ConnId(id), told(&[TCP]));
}

#[test]
fn who_comes_in_with_a_relays_identity_from_elsewhere_does_not_answer_for_where_the_relay_is_said_to_be() {
    for comes_first in [true, false] {
        let (mut links, mut shared) = (Links::default(), shared());
        if comes_first {
            came_in(&mut links, &mut shared, 1, "/ip4/203.0.113.9/tcp/50000");
        }
        links.connect(&mut shared, WaiterId(1), relay(1, TCP), TransportSet::NONE);
        let dial = outputs(&mut shared).into_iter().find_map(|output| match output {
            Output::Dial { dial, addresses, .. } => Some((dial, addresses)),
            _ => None,
        });
        let (dial, addresses) = dial.expect("a dial to where it is said to be");
        assert_eq!(addresses, [address(TCP)]);
        if !comes_first {
            came_in(&mut links, &mut shared, 1, "/ip4/203.0.113.9/tcp/50000");
        }
        assert_eq!((answers(&mut shared), links.via(&shared, &identity(1))), (vec![], None));
        assert!(shared.next_signal().is_none(), "it is no link, and observes nothing");
        // That one goes, and the dial goes on.
        let gone = shared.connections.remove(ConnId(1)).unwrap();
        links.disconnected(&mut shared, ConnId(1), &gone, None);
        assert!(shared.next_signal().is_none());
        came_in(&mut links, &mut shared, 2, "/ip4/203.0.113.9/tcp/50001");
        links.failed(&mut shared, dial, &DialError::Unreachable { address: TCP.to_owned(), cause: "refused".to_owned() });
        assert_eq!(answers(&mut shared), [(WaiterId(1), false)]);
    }
}

#[test]
fn who_comes_in_from_where_the_relay_is_said_to_be_is_the_relay_also_if_its_name_resolves_later() {
    let name = "/dns/relay.example/tcp/4001";
    let (mut links, mut shared) = (Links::default(), shared());
    came_in(&mut links, &mut shared, 1, "/ip4/198.51.100.1/tcp/50000");
    came_in(&mut links, &mut shared, 2, "/ip4/203.0.113.9/tcp/50000");
    links.connect(&mut shared, WaiterId(1), relay(1, name), TransportSet::NONE);
    assert_eq!(links.via(&shared, &identity(1)), None);
    let lookup = outputs(&mut shared).into_iter().find_map(|output| match output {
        Output::Resolve { lookup, .. } => Some(lookup),
        _ => None,
    });
    links.resolved(&mut shared, lookup.unwrap(), vec![(address(name), Ok(vec![address(TCP)]))]);
    let answers = outputs(&mut shared).into_iter().filter_map(|output| match output {
        Output::Answer { waiter, result } => Some((waiter, result)),
        _ => None,
    });
    assert_eq!(answers.collect::<Vec<_>>(), [(WaiterId(1), Ok(ConnId(1)))]);
    assert_eq!(links.via(&shared, &identity(1)), Some(address(TCP)));
}

#[test]
fn a_relay_sees_us_only_over_the_transport_and_the_family_of_its_link() {
    for (seen, counts) in
        [("/ip4/192.0.2.1/tcp/1", true), ("/ip4/192.0.2.1/udp/1/quic-v1", false), ("/ip6/2001:db8:1::1/tcp/1", false)]
    {
        let (mut links, mut shared) = (configured(1), shared());
        links.connect(&mut shared, WaiterId(1), relay(1, TCP), TransportSet::NONE);
        connected(&mut shared, 1, 1, TCP);
        links.identified(&mut shared, ConnId(1), RemoteInfo { observed: Some(address(seen)), ..told(&[TCP]) });
        let signals = std::iter::from_fn(|| shared.next_signal());
        assert_eq!(signals.filter(|signal| matches!(signal, Signal::Observed { .. })).count(), usize::from(counts), "{seen}");
    }
}

#[test]
fn a_lookup_that_ends_late_does_not_count_for_the_next_one() {
    let name = "/dns/relay.example/tcp/4001";
    let (mut links, mut shared) = (Links::default(), shared());
    let lookup = |shared: &mut Shared| {
        outputs(shared).into_iter().find_map(|output| match output {
            Output::Resolve { lookup, .. } => Some(lookup),
            _ => None,
        })
    };
    links.connect(&mut shared, WaiterId(1), relay(1, name), TransportSet::NONE);
    let first = lookup(&mut shared).unwrap();
    links.resolved(&mut shared, first, vec![(address(name), Err("no such name".to_owned()))]);
    assert_eq!(answers(&mut shared), [(WaiterId(1), false)]);
    links.connect(&mut shared, WaiterId(2), relay(1, name), TransportSet::NONE);
    assert!(lookup(&mut shared).is_some());
    links.resolved(&mut shared, first, vec![(address(name), Err("no such name".to_owned()))]);
    assert_eq!(answers(&mut shared), []);
}

#[test]
fn a_name_that_resolves_anew_replaces_what_it_was_and_keeps_it_while_it_does_not() {
    let name = address("/dns/relay.example/tcp/4001");
    let mut relay = Relay::default();
    [name.clone(), address(TCP)].into_iter().for_each(|given| relay.addresses.add(given, true));
    assert_eq!((relay.addresses.names(), relay.addresses.all()), (vec![name.clone()], vec![address(TCP)]));
    relay.addresses.resolved(&name, vec![address("/ip4/203.0.113.1/tcp/4001")]);
    let told = ["/ip4/203.0.113.1/udp/4001/quic-v1", "/ip4/203.0.113.99/tcp/1", "/ip4/127.0.0.1/tcp/1"];
    relay.addresses.learn(told.map(address).to_vec());
    let known = [TCP, "/ip4/203.0.113.1/tcp/4001", "/ip4/203.0.113.1/udp/4001/quic-v1"];
    assert_eq!(relay.addresses.all(), known.map(address), "no address of another host is learnt");
    relay.addresses.resolved(&name, vec![address("/ip4/203.0.113.2/tcp/4001")]);
    relay.addresses.learn(vec![]);
    assert_eq!(relay.addresses.all(), [TCP, "/ip4/203.0.113.2/tcp/4001"].map(address));
}

#[test]
fn an_address_is_told_by_the_configured_name_that_leads_to_it() {
    let (name, of_a_peer) = (address("/dns/relay.example/tcp/4001"), address("/dns/elsewhere.example/tcp/4001"));
    let mut relay = Relay::default();
    [address(TCP), name.clone()].into_iter().for_each(|given| relay.addresses.add(given, true));
    relay.addresses.add(of_a_peer.clone(), false);
    relay.addresses.resolved(&name, vec![address("/ip4/203.0.113.1/tcp/4001")]);
    relay.addresses.resolved(&of_a_peer, vec![address("/ip4/203.0.113.2/tcp/4001")]);
    for (linked, told) in [
        ("/ip4/203.0.113.1/tcp/4001", "/dns/relay.example/tcp/4001"),
        // Learnt from the relay: another transport of the same host.
        ("/ip4/203.0.113.1/udp/4001/quic-v1", "/dns/relay.example/udp/4001/quic-v1"),
        (TCP, TCP),
        ("/ip4/203.0.113.2/tcp/4001", "/ip4/203.0.113.2/tcp/4001"),
    ] {
        assert_eq!(relay.addresses.by_name(address(linked)), address(told));
    }
}

#[test]
fn addresses_given_with_peers_are_bounded_and_never_push_out_configured_ones() {
    let mut relay = Relay::default();
    relay.addresses.add(address(TCP), true);
    for n in 0..100 {
        relay.addresses.add(address(&format!("/ip4/203.0.113.{n}/tcp/4001")), false);
    }
    let addresses = relay.addresses.all();
    assert_eq!(addresses.len(), MAX_ADDRESSES);
    assert_eq!((&addresses[0], &addresses[MAX_ADDRESSES - 1]), (&address(TCP), &address("/ip4/203.0.113.99/tcp/4001")));
}

#[test]
fn a_relay_known_by_name_is_dialled_again_beside_a_dial_that_is_slow() {
    let (mut links, mut shared) = (Links::default(), shared());
    let name = "/dns4/relay.example/tcp/4001";
    let mut dials = 0;
    // Each second somebody asks; no dial has an answer.
    for n in 0..20 {
        shared.now = at(n * 1000);
        links.connect(&mut shared, WaiterId(n), relay(1, name), TransportSet::NONE);
        for output in outputs(&mut shared) {
            match output {
                Output::Resolve { lookup, .. } => {
                    links.resolved(&mut shared, lookup, vec![(address(name), Ok(vec![address(TCP)]))]);
                }
                Output::Dial { .. } => dials += 1,
                _ => {}
            }
        }
        dials += outputs(&mut shared).iter().filter(|output| matches!(output, Output::Dial { .. })).count();
    }
    assert_eq!(dials, 4);
}

const TCP6: &str = "/ip6/2001:db8::1/tcp/4001";
const QUIC6: &str = "/ip6/2001:db8::1/udp/4001/quic-v1";

/// This host has these addresses.
fn here(shared: &mut Shared, ips: &[&str]) {
    let network = |ip: &&str| crate::core::Network { ip: ip.parse().unwrap(), length: 24 };
    shared.host.networks = ips.iter().map(network).collect();
}

fn dialled(shared: &mut Shared) -> Vec<Vec<TransportAddress>> {
    let dials = outputs(shared).into_iter().filter_map(|output| match output {
        Output::Dial { addresses, .. } => Some(addresses),
        _ => None,
    });
    dials.collect()
}

#[test]
fn a_relay_of_both_families_is_linked_over_ipv4_for_what_it_sees_and_once_over_ipv6() {
    let (mut links, mut shared) = (configured(1), shared());
    here(&mut shared, &["192.168.1.2", "2001:db8:9::1"]);
    links.connect(&mut shared, WaiterId(1), relay(1, TCP), TransportSet::ALL);
    assert_eq!(dialled(&mut shared), [[address(TCP)]]);
    connected(&mut shared, 1, 1, TCP);
    links.identified(&mut shared, ConnId(1), told(&[TCP, QUIC, TCP6, QUIC6]));
    links.connected(ConnId(1), OperationId(1));
    assert_eq!(dialled(&mut shared), [[address(QUIC)], [address(TCP6)]]);
    connected(&mut shared, 2, 1, TCP6);
    connected(&mut shared, 3, 1, QUIC);
    links.identified(&mut shared, ConnId(2), told(&[TCP, QUIC, TCP6, QUIC6]));
    assert_eq!(answers(&mut shared), [], "QUIC over IPv4 is awaited");
    links.identified(&mut shared, ConnId(3), told(&[TCP, QUIC, TCP6, QUIC6]));
    assert_eq!(answers(&mut shared), [(WaiterId(1), true)]);
}

#[test]
fn a_name_that_led_to_ipv6_first_is_linked_over_ipv4_as_well() {
    let (mut links, mut shared) = (configured(1), shared());
    here(&mut shared, &["192.168.1.2", "2001:db8:9::1"]);
    links.connect(&mut shared, WaiterId(1), relay(1, TCP6), TransportSet::TCP);
    outputs(&mut shared);
    connected(&mut shared, 1, 1, TCP6);
    links.connected(ConnId(1), OperationId(1));
    links.identified(&mut shared, ConnId(1), told(&[]));
    assert_eq!(answers(&mut shared), [], "an observation over IPv4 is awaited");
}

#[test]
fn a_host_of_one_family_dials_relays_over_that_one_alone() {
    for (ip, expected) in [("192.168.1.2", TCP), ("2001:db8:9::1", TCP6)] {
        let (mut links, mut shared) = (Links::default(), shared());
        here(&mut shared, &[ip, "127.0.0.1", "fe80::1"]);
        let name = "/dns/relay.example/tcp/4001";
        links.connect(&mut shared, WaiterId(1), relay(1, name), TransportSet::TCP);
        let lookup = outputs(&mut shared).into_iter().find_map(|output| match output {
            Output::Resolve { lookup, .. } => Some(lookup),
            _ => None,
        });
        links.resolved(&mut shared, lookup.unwrap(), vec![(address(name), Ok([TCP, TCP6].map(address).to_vec()))]);
        assert_eq!(dialled(&mut shared), [[address(expected)]]);
        connected(&mut shared, 1, 1, expected);
        links.identified(&mut shared, ConnId(1), told(&[TCP, TCP6]));
        assert_eq!(links.via(&shared, &identity(1)), Some(address(expected)));
    }
}

#[test]
fn a_relay_names_one_public_ip_of_the_other_family_and_no_more() {
    let mut relay = Relay::default();
    relay.addresses.add(address(TCP), true);
    let many: Vec<_> = (2..10).map(|n| address(&format!("/ip6/2001:db8::{n}/tcp/4001"))).collect();
    relay.addresses.learn([&[address("/ip6/fd00::1/tcp/1"), address("/ip6/::1/tcp/1")][..], &many].concat());
    assert_eq!(relay.addresses.all(), [address(TCP), many[0].clone()]);
    // It keeps that one while the relay names it, in whatever order.
    relay.addresses.learn(many.iter().rev().cloned().collect());
    assert_eq!(relay.addresses.all(), [address(TCP), many[0].clone()]);
    relay.addresses.learn(many[3..].to_vec());
    assert_eq!(relay.addresses.all(), [address(TCP), many[3].clone()]);
    // The settings know better.
    relay.addresses.add(address(TCP6), true);
    relay.addresses.learn(many[3..].to_vec());
    assert_eq!(relay.addresses.all(), [TCP, TCP6].map(address));
}
