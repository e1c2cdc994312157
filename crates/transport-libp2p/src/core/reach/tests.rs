use std::collections::BTreeMap;

use kaspath_domain::PeerIdentity;

use super::*;
use crate::PunchConfig;
use crate::core::{
    DialKind,
    tests::{address, at, connection, identity, outputs},
};

const OURS: &str = "/ip4/192.0.2.1/tcp/4011";
const RELAY: u64 = 100;

/// One machine, and what it is told and puts out.
struct Machine {
    reach: Reach,
    shared: Shared,
    last: u64,
    served: Vec<bool>,
}

impl Machine {
    fn new(source: Source) -> Self {
        Self::with(source, ReachConfig::default())
    }

    fn with(source: Source, config: ReachConfig) -> Self {
        let mut seed = 1_u64;
        let chance = move || {
            seed = seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            (seed >> 40) as f64 / f64::from(1 << 24)
        };
        let configured = if source == Source::Configured { vec![address(OURS)] } else { Vec::new() };
        let mut machine = Self {
            reach: Reach::new(config, &configured, at(0)),
            shared: Shared::new(identity(0), PunchConfig::default(), chance, at(0)),
            last: 0,
            served: Vec::new(),
        };
        match source {
            Source::Interface => machine.reach.listening(&mut machine.shared, &[address(OURS)]),
            Source::Mapped => machine.reach.mapped(&mut machine.shared, &[address(OURS)]),
            Source::Configured => {}
        }
        machine
    }

    fn hear(&mut self, input: ReachInput) {
        self.reach.heard(&mut self.shared, input);
    }

    fn connect(&mut self, peer: u64, direction: Direction, from: &str, local: Option<&str>) -> ConnId {
        self.last += 1;
        let id = ConnId(self.last);
        let connection = Connection { local: local.map(address), ..connection(peer, direction, from) };
        self.shared.connections.insert(id, connection);
        self.reach.connected(&mut self.shared, id, None);
        id
    }

    /// Somebody comes in at our address.
    fn arrive(&mut self, from: &str) -> ConnId {
        self.connect(7, Direction::Inbound, from, Some(OURS))
    }

    /// A relay that we have dialled, and where we hold a reservation.
    fn relay(&mut self, number: u8) -> ConnId {
        let link = self.link(number, Direction::Outbound);
        self.shared.reserved.insert(identity(RELAY + u64::from(number)));
        link
    }

    /// A relay that is connected.
    fn link(&mut self, number: u8, direction: Direction) -> ConnId {
        let at = format!("/ip4/198.51.{number}.1/tcp/4001");
        self.reach.dialing(&[address(&at)], self.shared.now);
        let relay = RELAY + u64::from(number);
        let link = self.connect(relay, direction, &at, None);
        self.reach.linked(&self.shared, &identity(relay), link);
        link
    }

    fn state(&self) -> Option<Reachability> {
        self.reach.tracks.get(&address(OURS)).map(|track| track.state)
    }

    /// Time goes on, and what is due is asked.
    fn questions(&mut self, millis: u64) -> Vec<(OperationId, Option<ConnId>, u64)> {
        self.shared.now = at(millis);
        self.reach.step(&mut self.shared);
        let mut asked = Vec::new();
        for output in outputs(&mut self.shared) {
            match output {
                Output::AskReach { operation, on, nonce, .. } => asked.push((operation, on, nonce)),
                Output::Serve(serve) => self.served.push(serve),
                _ => {}
            }
        }
        asked
    }

    fn answer(&mut self, operation: OperationId, answer: CheckAnswer) {
        self.hear(ReachInput::Asked { operation, answer });
    }

    fn served(&mut self) -> Vec<bool> {
        let served = |output| if let Output::Serve(serve) = output { Some(serve) } else { None };
        self.served.extend(outputs(&mut self.shared).into_iter().filter_map(served));
        std::mem::take(&mut self.served)
    }
}

#[test]
fn a_stranger_at_our_own_address_is_all_the_proof_that_a_public_node_needs() {
    let mut machine = Machine::new(Source::Interface);
    machine.arrive("/ip4/203.0.113.5/tcp/50000");
    assert_eq!(machine.state(), Some(Reachability::Reachable));
    assert_eq!(machine.served(), [true]);
    // Its address goes, and with it the service.
    machine.reach.listening(&mut machine.shared, &[]);
    assert_eq!((machine.state(), machine.served()), (None, vec![false]));
}

#[test]
fn whom_we_dialled_and_who_is_near_prove_nothing() {
    let mut machine = Machine::new(Source::Interface);
    machine.reach.dialing(&[address("/ip4/203.0.113.5/tcp/4001")], at(0));
    machine.arrive("/ip4/203.0.113.5/tcp/50000");
    machine.arrive("/ip4/192.0.2.200/tcp/50000");
    machine.arrive("/ip4/192.168.1.7/tcp/50000");
    // At another address of ours.
    machine.connect(8, Direction::Inbound, "/ip4/198.51.100.9/tcp/1", Some("/ip4/10.0.0.1/tcp/4011"));
    assert_eq!((machine.state(), machine.served()), (Some(Reachability::Unknown), vec![]));
    // Who came once is no stranger the second time.
    machine.arrive("/ip4/198.51.100.9/tcp/50001");
    assert_eq!(machine.state(), Some(Reachability::Unknown));
}

#[test]
fn a_check_counts_by_the_nonce_that_came_in_and_not_by_what_a_relay_says() {
    let mut machine = Machine::new(Source::Configured);
    let link = machine.relay(1);
    let [(operation, on, nonce)] = machine.questions(0)[..] else { panic!("one question") };
    assert_eq!(on, Some(link));
    machine.answer(operation, CheckAnswer::Reached);
    assert_eq!(machine.state(), Some(Reachability::Unknown), "it may have lied");
    let [(operation, _, second)] = machine.questions(6_000)[..] else { panic!("another question") };
    assert_ne!(nonce, second);
    let id = machine.connect(9, Direction::Inbound, "/ip4/203.0.113.5/tcp/50000", Some("/ip4/10.0.0.2/tcp/4011"));
    machine.hear(ReachInput::DialedBack { id, nonce });
    assert_eq!(machine.state(), Some(Reachability::Unknown), "the nonce of a question that is over");
    machine.hear(ReachInput::DialedBack { id, nonce: second });
    assert_eq!(machine.state(), Some(Reachability::Reachable));
    machine.answer(operation, CheckAnswer::NotReached);
    assert_eq!(machine.state(), Some(Reachability::Reachable), "who came in outweighs what is said");
    assert_eq!(machine.reach.held(), 0);
}

#[test]
fn a_nonce_that_comes_another_way_or_from_whom_we_know_makes_nothing_reachable() {
    let mut machine = Machine::new(Source::Configured);
    let link = machine.relay(1);
    let [(_, _, nonce)] = machine.questions(0)[..] else { panic!("one question") };
    let quic = machine.connect(9, Direction::Inbound, "/ip4/203.0.113.5/udp/5/quic-v1", Some("/ip4/10.0.0.2/udp/4011/quic-v1"));
    machine.hear(ReachInput::DialedBack { id: quic, nonce });
    // The relay itself dials back: an address-restricted NAT would let it in.
    let relay = machine.arrive("/ip4/198.51.1.1/tcp/50000");
    machine.hear(ReachInput::DialedBack { id: relay, nonce });
    // On a connection that we dialled.
    machine.hear(ReachInput::DialedBack { id: link, nonce });
    assert_eq!((machine.state(), machine.served()), (Some(Reachability::Unknown), vec![]));
}

#[test]
fn two_lying_networks_of_three_end_no_service_and_three_do() {
    let mut machine = Machine::new(Source::Interface);
    machine.arrive("/ip4/203.0.113.5/tcp/50000");
    for number in 1..=2 {
        machine.relay(number);
    }
    let honest = machine.relay(3);
    let mut asked = BTreeMap::new();
    let mut now = 600_000;
    for round in 0..100 {
        for (operation, on, nonce) in machine.questions(now) {
            *asked.entry(on).or_insert(0) += 1;
            if on == Some(honest) {
                let id = machine.arrive(&format!("/ip4/100.{round}.1.1/tcp/50000"));
                machine.hear(ReachInput::DialedBack { id, nonce });
                machine.answer(operation, CheckAnswer::Reached);
            } else {
                machine.answer(operation, CheckAnswer::NotReached);
            }
        }
        now += 10_000;
    }
    assert_eq!(machine.state(), Some(Reachability::Reachable));
    // They take turns.
    assert!(asked.values().all(|count| *count >= 3), "{asked:?}");
    assert_eq!(machine.served(), [true]);
    for _ in 0..20 {
        for (operation, ..) in machine.questions(now) {
            machine.answer(operation, CheckAnswer::NotReached);
        }
        now += 700_000;
    }
    assert_eq!(machine.state(), Some(Reachability::Unreachable));
}

#[test]
fn a_relay_that_we_were_told_of_or_that_called_us_is_not_asked_and_has_nothing_dialled() {
    let mut machine = Machine::new(Source::Interface);
    let told = machine.link(1, Direction::Outbound);
    let called = machine.link(2, Direction::Inbound);
    machine.shared.reserved.insert(identity(RELAY + 2));
    machine.shared.interfaces = vec!["192.168.1.2".parse().unwrap()];
    assert_eq!(machine.questions(0), []);
    for link in [told, called] {
        assert_eq!(help(&mut machine, 1, link, "/ip4/203.0.113.9/tcp/4001"), Some(DialBackOutcome::Refused));
    }
    machine.shared.reserved.insert(identity(RELAY + 1));
    assert!(matches!(machine.questions(0)[..], [(_, on, _)] if on == Some(told)));
    assert_eq!(help(&mut machine, 2, told, "/ip4/203.0.113.9/tcp/4001"), None);
}

#[test]
fn three_liars_that_come_later_end_no_service_beside_five_honest_relays() {
    // Those whom the honest have come are strangers, or hosts that we have long known.
    for is_stranger in [true, false] {
        let mut machine = Machine::new(Source::Interface);
        machine.arrive("/ip4/203.0.113.5/tcp/50000");
        let honest: Vec<ConnId> = (1..=5).map(|number| machine.relay(number)).collect();
        let (mut now, mut asked) = (600_000, Vec::new());
        for round in 0..200 {
            if round == 10 {
                for number in 6..=8 {
                    machine.relay(number);
                }
                asked.clear();
            }
            for (operation, on, nonce) in machine.questions(now) {
                asked.push(on.unwrap());
                if honest.contains(&on.unwrap()) {
                    let from = if is_stranger { format!("/ip4/100.{round}.1.1/tcp/5") } else { "/ip4/203.0.113.5/tcp/5".into() };
                    let id = machine.arrive(&from);
                    machine.hear(ReachInput::DialedBack { id, nonce });
                }
                machine.answer(operation, CheckAnswer::NotReached);
                assert_eq!(machine.state(), Some(Reachability::Reachable));
            }
            now += 610_000;
        }
        assert!(asked.len() >= 8 && asked[..4].iter().all(|link| honest.contains(link)), "who is new comes last: {asked:?}");
        assert_eq!(machine.served(), [true]);
    }
}

#[test]
fn a_public_node_without_a_relay_asks_its_own_nodes_whether_it_still_can_be_reached() {
    let mut machine = Machine::new(Source::Interface);
    assert_eq!(machine.questions(0), [], "there is nobody to ask");
    assert_eq!(machine.reach.deadline(&machine.shared), None);
    machine.arrive("/ip4/203.0.113.5/tcp/50000");
    let mut now = 600_000;
    for _ in 0..5 {
        let [(operation, None, _)] = machine.questions(now)[..] else { panic!("a question to its own nodes") };
        now += 15_000;
        machine.shared.now = at(now);
        machine.answer(operation, CheckAnswer::NotReached);
        now += 5_000;
    }
    assert_eq!((machine.state(), machine.served()), (Some(Reachability::Unreachable), vec![true, false]));
}

#[test]
fn nothing_is_asked_that_was_turned_off_or_cannot_be_answered() {
    let mut machine = Machine::with(Source::Interface, ReachConfig { ask: false, ..ReachConfig::default() });
    machine.relay(1);
    assert_eq!(machine.questions(0), []);
    // A relay that is linked over IPv6 sees no address of IPv4.
    let mut machine = Machine::new(Source::Interface);
    let link = machine.connect(RELAY, Direction::Outbound, "/ip6/2001:db8::1/tcp/4001", None);
    machine.reach.linked(&machine.shared, &identity(RELAY), link);
    machine.shared.reserved.insert(identity(RELAY));
    assert_eq!(machine.questions(0), []);
    let link = machine.relay(1);
    assert_eq!(machine.questions(0).len(), 1);
    assert_eq!(machine.questions(700_000), [], "one question at a time");
    machine.reach.disconnected(link);
    assert_eq!(machine.reach.deadline(&machine.shared), None);
}

/// What we do for a relay that wants an address of `peer` checked.
fn help(machine: &mut Machine, exchange: u64, link: ConnId, at: &str) -> Option<DialBackOutcome> {
    let wanted = DialBackWanted { peer: identity(55), address: address(at), nonce: 9 };
    machine.hear(ReachInput::DialBackWanted { exchange: OperationId(exchange), id: link, wanted });
    let refused = |output| match output {
        Output::DialBackDone { outcome, .. } => Some(outcome),
        Output::Dial { kind: DialKind::DialBack, .. } => None,
        other => panic!("{other:?}"),
    };
    outputs(&mut machine.shared).into_iter().map(refused).next().expect("an output")
}

fn fail(machine: &mut Machine) -> Vec<Output> {
    let dials: Vec<OperationId> = (0..machine.shared.operation().0).map(OperationId).collect();
    let error = DialError::ShuttingDown;
    dials.iter().for_each(|dial| machine.reach.failed(&mut machine.shared, *dial, &error));
    outputs(&mut machine.shared)
}

#[test]
fn a_check_for_a_relay_is_a_dial_and_its_answer() {
    let mut machine = Machine::new(Source::Interface);
    machine.shared.interfaces = vec!["192.168.1.2".parse().unwrap()];
    let link = machine.relay(1);
    assert_eq!(help(&mut machine, 1000, link, "/ip4/203.0.113.9/tcp/4001"), None);
    let dial = OperationId(machine.shared.operation().0 - 1);
    machine.shared.connections.insert(ConnId(77), connection(55, Direction::Outbound, "/ip4/203.0.113.9/tcp/4001"));
    machine.reach.connected(&mut machine.shared, ConnId(77), Some(dial));
    let [Output::DialBack { operation, id: ConnId(77), nonce: 9 }] = outputs(&mut machine.shared)[..] else { panic!("shown") };
    machine.hear(ReachInput::DialBackShown { operation, outcome: DialBackOutcome::Reached });
    let outputs = outputs(&mut machine.shared);
    assert!(
        matches!(
            outputs[..],
            [
                Output::DialBackDone { exchange: OperationId(1000), outcome: DialBackOutcome::Reached },
                Output::CloseIfUnused(ConnId(77))
            ]
        ),
        "{outputs:?}"
    );
    // And one that nobody answers.
    assert_eq!(help(&mut machine, 1001, link, "/ip4/203.0.113.9/tcp/4001"), None);
    let failed = fail(&mut machine);
    assert!(matches!(failed[..], [Output::DialBackDone { outcome: DialBackOutcome::NotReached, .. }]), "{failed:?}");
    assert_eq!(machine.reach.held(), 0);
}

#[test]
fn what_a_hostile_relay_may_not_have_dialled() {
    let mut machine = Machine::new(Source::Interface);
    machine.shared.interfaces = vec!["192.168.1.2".parse().unwrap(), "2001:db8:7::1".parse().unwrap()];
    let (link, refused) = (machine.relay(1), Some(DialBackOutcome::Refused));
    for at in [
        "/ip4/192.168.1.1/tcp/4001",
        "/ip4/127.0.0.1/tcp/16111",
        "/ip6/2001:db8:7::99/tcp/4001",
        "/ip6/fd00::1/tcp/4001",
        "/dns/example.com/tcp/4001",
        "/ip4/203.0.113.9/tcp/22",
        "/ip4/203.0.113.9/tcp/0",
    ] {
        assert_eq!(help(&mut machine, 1, link, at), refused, "{at}");
    }
    // Whoever is no relay of ours.
    let stranger = machine.arrive("/ip4/203.0.113.5/tcp/50000");
    outputs(&mut machine.shared);
    assert_eq!(help(&mut machine, 2, stranger, "/ip4/203.0.113.9/tcp/4001"), refused);
    // Without an address of IPv6 nobody there can be called unreachable.
    machine.shared.interfaces.pop();
    assert_eq!(help(&mut machine, 3, link, "/ip6/2001:db8:9::1/tcp/4001"), refused);
}

#[test]
fn however_many_relays_name_a_victim_it_is_dialled_seldom() {
    let mut machine = Machine::new(Source::Interface);
    machine.shared.interfaces = vec!["192.168.1.2".parse().unwrap()];
    let links: Vec<ConnId> = (1..=100).map(|number| machine.relay(number)).collect();
    let mut dialled = 0;
    for (second, link) in (0..3600).zip(links.iter().cycle()) {
        machine.shared.now = at(second * 1000);
        dialled += usize::from(help(&mut machine, second, *link, "/ip4/203.0.113.9/tcp/4001").is_none());
        fail(&mut machine);
    }
    assert!((6..=66).contains(&dialled), "{dialled} dials in an hour");
    // And a hostile relay alone gets few dials, whomever it names.
    let mut machine = Machine::new(Source::Interface);
    machine.shared.interfaces = vec!["192.168.1.2".parse().unwrap()];
    let (link, mut dialled) = (machine.relay(1), 0);
    for second in 0..3600 {
        machine.shared.now = at(second * 1000);
        let at = format!("/ip4/100.{}.{}.9/tcp/4001", second % 60, second % 251);
        dialled += usize::from(help(&mut machine, second, link, &at).is_none());
        fail(&mut machine);
    }
    assert!((30..=60).contains(&dialled), "{dialled} dials in an hour");
}

#[test]
fn identities_cannot_be_named_who_are_ourselves() {
    let mut machine = Machine::new(Source::Interface);
    machine.shared.interfaces = vec!["192.168.1.2".parse().unwrap()];
    let link = machine.relay(1);
    let peer: PeerIdentity = machine.shared.local.clone();
    let wanted = DialBackWanted { peer, address: address("/ip4/203.0.113.9/tcp/4001"), nonce: 9 };
    machine.hear(ReachInput::DialBackWanted { exchange: OperationId(1), id: link, wanted });
    assert!(matches!(outputs(&mut machine.shared)[..], [Output::DialBackDone { outcome: DialBackOutcome::Refused, .. }]));
}
