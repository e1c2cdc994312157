//! The machine in virtual time.

use std::net::{Ipv4Addr, SocketAddr};

use kaspath_domain::{MapProtocol, MapPurpose};
use proptest::prelude::*;

use super::{answers::SHORTEST_LIFETIME, *};

const ROUTE: Route = Route { gateway: Ipv4Addr::new(192, 168, 1, 1), local: Ipv4Addr::new(192, 168, 1, 2) };
const HOUR: Duration = Duration::from_secs(3600);

fn request(protocol: MapProtocol) -> MapRequest {
    MapRequest { protocol, port: 4011, purpose: MapPurpose::Peers }
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn granted(external: &str, lifetime: Duration, epoch: Option<u32>) -> Answer {
    Answer::Mapped(Granted { external: external.parse().unwrap(), lifetime, epoch })
}

fn failed() -> Answer {
    Answer::Failed("refused".to_owned())
}

/// A machine, and what it has asked and said.
struct World {
    machine: Machine,
    now: Moment,
    asks: Vec<(AskId, Ask)>,
    events: Vec<MappingEvent>,
    stopped: bool,
}

impl World {
    fn new(protocols: &[MapProtocol]) -> Self {
        let requests = protocols.iter().copied().map(request).collect();
        let machine = Machine::new(requests, MapMethod::ALL.to_vec());
        Self { machine, now: Moment::default(), asks: Vec::new(), events: Vec::new(), stopped: false }
    }

    /// One that has just learnt its route.
    fn begun() -> Self {
        let mut world = Self::new(&[MapProtocol::Tcp]);
        world.put(Input::Route(Some(ROUTE)));
        world
    }

    /// One whose TCP port is mapped, by a router that started `epoch` seconds ago.
    fn mapped(lifetime: Duration, epoch: u32) -> Self {
        let mut world = Self::begun();
        world.answer(pcp, granted("192.0.1.11:4011", lifetime, Some(epoch)));
        assert_eq!(world.mapped_at(), ["192.0.1.11:4011"]);
        world.asks.clear();
        world.events.clear();
        world
    }

    fn put(&mut self, input: Input) {
        self.machine.handle(input, self.now);
        while let Some(output) = self.machine.poll() {
            match output {
                Output::Ask { id, ask, route } => {
                    assert_eq!(Some(route), self.machine.route);
                    self.asks.push((id, ask));
                }
                Output::Event(event) => self.events.push(event),
                Output::Stopped => self.stopped = true,
            }
        }
    }

    /// Answers the first open ask that fits.
    fn answer(&mut self, fits: fn(&Ask) -> bool, answer: Answer) {
        let at = self.asks.iter().position(|(_, ask)| fits(ask)).expect("an ask");
        let (ask, _) = self.asks.remove(at);
        self.put(Input::Answer { ask, answer });
    }

    /// Lets time pass, with every deadline on the way; asks are refused if `silent`.
    fn pass(&mut self, time: Duration, silent: bool) {
        let end = self.now + time;
        let mut steps = 0;
        loop {
            if silent {
                while let Some((ask, _)) = (!self.asks.is_empty()).then(|| self.asks.remove(0)) {
                    self.put(Input::Answer { ask, answer: failed() });
                }
            }
            match self.machine.deadline().filter(|deadline| *deadline <= end) {
                Some(deadline) => self.now = self.now.max(deadline),
                None => break,
            }
            self.put(Input::Elapsed);
            steps += 1;
            assert!(steps < 10_000, "it comes back all the time");
        }
        self.now = end;
        self.put(Input::Elapsed);
    }

    fn mapped_at(&self) -> Vec<String> {
        self.machine.held.values().map(|held| held.mapped.external.to_string()).collect()
    }

    fn asked(&self, fits: fn(&Ask) -> bool) -> usize {
        self.asks.iter().filter(|(_, ask)| fits(ask)).count()
    }

    fn unavailable(&self) -> Vec<&str> {
        let causes = self.events.iter().filter_map(|event| match event {
            MappingEvent::Unavailable { cause } => Some(cause.as_str()),
            _ => None,
        });
        causes.collect()
    }
}

fn pcp(ask: &Ask) -> bool {
    matches!(ask, Ask::Map { by: MapMethod::Pcp, .. })
}

fn natpmp(ask: &Ask) -> bool {
    matches!(ask, Ask::Map { by: MapMethod::NatPmp, .. } | Ask::Find(MapMethod::NatPmp))
}

fn igd(ask: &Ask) -> bool {
    matches!(ask, Ask::Map { by: MapMethod::Igd, .. } | Ask::Find(MapMethod::Igd))
}

fn removal(ask: &Ask) -> bool {
    matches!(ask, Ask::Remove { .. })
}

#[test]
fn all_methods_are_asked_at_once_and_pcp_wins_if_it_answers_in_time() {
    let mut world = World::begun();
    assert_eq!((world.asked(pcp), world.asked(natpmp), world.asked(igd)), (1, 1, 1));
    world.answer(natpmp, Answer::Found);
    world.answer(igd, Answer::Found);
    world.pass(ms(499), false);
    assert_eq!(world.events, []);
    world.answer(pcp, granted("192.0.1.11:4011", HOUR, Some(7)));
    let MappingEvent::Mapped(mapped) = &world.events[0] else { panic!("{:?}", world.events) };
    assert_eq!((mapped.by, mapped.external), (MapMethod::Pcp, SocketAddr::from(([192, 0, 1, 11], 4011))));
    assert_eq!(world.asks, [], "nothing is mapped by another method");
}

#[test]
fn a_late_answer_of_pcp_is_removed_and_nat_pmp_stays() {
    let mut world = World::begun();
    world.answer(natpmp, Answer::Found);
    world.pass(ms(501), false);
    world.answer(natpmp, granted("192.0.1.11:4011", HOUR, Some(7)));
    assert_eq!(world.mapped_at(), ["192.0.1.11:4011"]);
    world.answer(pcp, granted("192.0.1.11:5000", HOUR, Some(7)));
    assert_eq!((world.asked(removal), world.mapped_at().len(), world.events.len()), (1, 1, 1));
}

#[test]
fn a_method_that_refuses_is_not_waited_for() {
    let mut world = World::begun();
    world.answer(igd, Answer::Found);
    world.answer(natpmp, failed());
    assert_eq!(world.asked(igd), 0);
    world.answer(pcp, failed());
    world.answer(igd, granted("192.0.1.11:40000", HOUR, None));
    assert_eq!((world.now, world.mapped_at()), (Moment::default(), vec!["192.0.1.11:40000".to_owned()]));
}

#[test]
fn without_any_answer_it_says_so_once_and_asks_less_and_less() {
    let mut world = World::begun();
    world.pass(ms(1000), false);
    assert_eq!(world.unavailable(), ["PCP: no answer; NAT-PMP: no answer; UPnP IGD: no answer"]);
    world.asks.clear();
    let rounds = world.machine.rounds;
    world.pass(HOUR, true);
    assert_eq!(world.unavailable().len(), 1);
    assert!((7..12).contains(&(world.machine.rounds - rounds)), "{}", world.machine.rounds);
    world.put(Input::Suspect);
    world.put(Input::Suspect);
    assert_eq!(world.asked(pcp), 1, "one round for two suspicions");
}

#[test]
fn a_method_that_found_a_router_and_maps_nothing_gives_way_to_the_next() {
    let mut world = World::begun();
    world.answer(pcp, failed());
    world.answer(natpmp, Answer::Found);
    world.answer(igd, Answer::Found);
    world.answer(natpmp, failed());
    world.answer(igd, granted("192.0.1.11:4011", HOUR, None));
    assert_eq!(world.mapped_at(), ["192.0.1.11:4011"]);
}

#[test]
fn an_outside_address_that_is_not_public_is_of_no_use() {
    let mut world = World::begun();
    world.answer(natpmp, failed());
    world.answer(igd, failed());
    world.answer(pcp, granted("100.64.0.9:4011", HOUR, Some(7)));
    assert_eq!((world.asked(removal), world.mapped_at().len()), (1, 0));
    assert!(world.unavailable()[0].contains("100.64.0.9, which is not public"), "{:?}", world.events);
    // The provider gives a public one later.
    world.asks.clear();
    world.pass(ms(5100), false);
    world.answer(pcp, granted("192.0.1.11:4011", HOUR, Some(12)));
    assert_eq!(world.mapped_at(), ["192.0.1.11:4011"]);
}

#[test]
fn a_mapping_is_renewed_before_it_ends_and_lost_if_it_is_not() {
    let mut world = World::mapped(HOUR, 7);
    world.pass(Duration::from_secs(601), false);
    assert_eq!((world.asked(pcp), world.asks.len()), (1, 1), "by its own method alone");
    world.answer(pcp, granted("192.0.1.11:4011", HOUR, Some(608)));
    assert_eq!(world.events, [], "nothing has changed");
    world.pass(HOUR * 2, true);
    let lost = |event: &&MappingEvent| matches!(event, MappingEvent::Lost { .. });
    assert_eq!((world.events.iter().filter(lost).count(), world.unavailable().len()), (1, 1));
    assert!(world.mapped_at().is_empty());
}

#[test]
fn lifetimes_at_the_ends_of_the_range_are_bounded() {
    let mut world = World::begun();
    world.answer(natpmp, failed());
    world.answer(igd, failed());
    world.answer(pcp, granted("192.0.1.11:4011", Duration::from_secs(1), Some(7)));
    assert!(world.unavailable()[0].contains("1s only"), "{:?}", world.events);
    let mut world = World::mapped(Duration::from_secs(u64::from(u32::MAX)), 7);
    world.pass(Duration::from_secs(601), false);
    assert_eq!(world.asked(pcp), 1);
    let mut world = World::mapped(SHORTEST_LIFETIME, 7);
    world.pass(Duration::from_secs(300), true);
    assert!(world.machine.rounds < 100, "{}", world.machine.rounds);
}

#[test]
fn a_renewal_that_shows_a_restart_maps_everything_anew() {
    for (epoch, restarted) in [(608, 0), (3, 1), (90_000, 1)] {
        let mut world = World::mapped(HOUR, 7);
        world.pass(Duration::from_secs(601), false);
        world.answer(pcp, granted("192.0.1.11:4011", HOUR, Some(epoch)));
        assert_eq!(world.asked(natpmp), restarted, "{epoch}");
    }
}

#[test]
fn a_restart_is_told_for_each_port_though_nothing_else_has_changed() {
    let mut world = World::new(&[MapProtocol::Tcp, MapProtocol::Udp]);
    world.put(Input::Route(Some(ROUTE)));
    for epoch in [100, 100, 3, 3, 4, 4] {
        world.answer(pcp, granted("192.0.1.11:4011", HOUR, Some(epoch)));
        if world.asked(pcp) == 0 {
            world.asks.clear();
            world.pass(Duration::from_secs(1), false);
            world.put(Input::Hint { from: ROUTE.gateway });
        }
    }
    let mapped = world.events.iter().filter(|event| matches!(event, MappingEvent::Mapped(_)));
    assert_eq!((mapped.count(), world.events.len()), (4, 4), "two at the start, two after the restart");
}

#[test]
fn after_a_hint_the_router_is_asked_every_second_until_it_answers() {
    let mut world = World::mapped(HOUR, 7);
    world.pass(Duration::from_secs(100), false);
    world.put(Input::Hint { from: Ipv4Addr::new(192, 168, 1, 9) });
    assert_eq!(world.asks, [], "another host's word");
    world.put(Input::Hint { from: ROUTE.gateway });
    assert_eq!(world.asked(pcp), 1);
    world.pass(Duration::from_secs(20), true);
    assert!(world.machine.rounds >= 18, "{}", world.machine.rounds);
    world.pass(ms(1000), false);
    world.answer(pcp, granted("192.0.1.12:5000", HOUR, Some(2)));
    assert_eq!((world.mapped_at(), world.events.len()), (vec!["192.0.1.12:5000".to_owned()], 1));
}

#[test]
fn ten_thousand_hints_a_second_begin_one_round_a_second() {
    let mut world = World::mapped(HOUR, 7);
    let before = world.machine.rounds;
    for _ in 0..100_000 {
        world.now = world.now + Duration::from_micros(100);
        world.put(Input::Hint { from: ROUTE.gateway });
        world.put(Input::Elapsed);
        if let Some(at) = world.asks.iter().position(|(_, ask)| pcp(ask)) {
            let (ask, _) = world.asks.remove(at);
            world.put(Input::Answer { ask, answer: granted("192.0.1.11:4011", HOUR, Some(7)) });
        }
    }
    assert!((9..=11).contains(&(world.machine.rounds - before)), "{}", world.machine.rounds);
}

#[test]
fn without_a_gateway_it_says_so_once_and_begins_when_there_is_one() {
    let mut world = World::new(&[MapProtocol::Tcp]);
    world.put(Input::Route(None));
    world.put(Input::Route(None));
    world.pass(HOUR, false);
    assert_eq!((world.unavailable().len(), world.asks.len()), (1, 0));
    world.put(Input::Route(Some(ROUTE)));
    world.answer(pcp, granted("192.0.1.11:4011", HOUR, Some(7)));
    assert_eq!(world.mapped_at(), ["192.0.1.11:4011"]);
}

#[test]
fn another_network_loses_all_and_the_same_one_again_loses_nothing() {
    let mut world = World::mapped(HOUR, 7);
    world.put(Input::Route(None));
    world.pass(Duration::from_secs(900), false);
    assert_eq!((world.asks.len(), world.mapped_at().len()), (0, 1), "nothing is asked without a route");
    world.put(Input::Route(Some(ROUTE)));
    assert_eq!((world.asked(pcp), world.events.len()), (1, 0));
    let (ask, _) = world.asks[0];
    world.put(Input::Route(Some(Route { gateway: Ipv4Addr::new(10, 0, 0, 1), local: Ipv4Addr::new(10, 0, 0, 2) })));
    assert!(matches!(&world.events[..], [MappingEvent::Lost { .. }]), "{:?}", world.events);
    world.put(Input::Answer { ask, answer: granted("192.0.1.11:4011", HOUR, Some(900)) });
    assert!(world.mapped_at().is_empty(), "the old router's answer counts no more");
}

#[test]
fn an_igd_mapping_that_moves_to_another_port_is_removed_at_the_old_one() {
    let mut world = World::begun();
    world.answer(pcp, failed());
    world.answer(natpmp, failed());
    world.answer(igd, Answer::Found);
    world.answer(igd, granted("192.0.1.11:4011", HOUR, None));
    world.pass(Duration::from_secs(601), false);
    world.answer(igd, granted("192.0.1.11:40000", HOUR, None));
    let removed = Ask::Remove { by: MapMethod::Igd, request: request(MapProtocol::Tcp), external: 4011 };
    assert_eq!(world.asks.last().map(|(_, ask)| ask), Some(&removed));
}

#[test]
fn one_port_of_two_is_better_than_none() {
    let mut world = World::new(&[MapProtocol::Tcp, MapProtocol::Udp]);
    world.put(Input::Route(Some(ROUTE)));
    world.answer(pcp, granted("192.0.1.11:4011", HOUR, Some(7)));
    world.answer(pcp, failed());
    assert_eq!((world.mapped_at().len(), world.unavailable().len()), (1, 0));
    world.asks.clear();
    world.pass(Duration::from_secs(301), false);
    assert_eq!(world.asked(pcp), 2, "the other one is tried again");
}

/// What happens to a machine, in any order.
fn input() -> impl Strategy<Value = (u8, u64)> {
    (0..10_u8, 0..20_000_u64)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Whatever came before: when it stops, everything that the router maps is asked to go,
    /// and it ends when all is answered.
    #[test]
    fn what_was_mapped_is_removed_at_the_end(inputs in prop::collection::vec(input(), 0..60)) {
        let mut world = World::new(&[MapProtocol::Tcp, MapProtocol::Udp]);
        // What the router has, by method, request and, for IGD, port outside.
        let mut router: BTreeMap<(MapMethod, MapRequest), u16> = BTreeMap::new();
        let settle = |world: &mut World, router: &mut BTreeMap<(MapMethod, MapRequest), u16>, at: usize, grant: bool, number: u64| {
            let (ask, what) = world.asks.remove(at);
            let answer = match what {
                Ask::Find(_) if grant => Answer::Found,
                Ask::Map { by, request, port } if grant => {
                    router.insert((by, request), port);
                    let external = if number.is_multiple_of(7) { "10.0.0.1" } else { "192.0.1.11" };
                    granted(&format!("{external}:{port}"), Duration::from_secs(number % 7000), (by != MapMethod::Igd).then_some(number as u32))
                }
                Ask::Remove { by, request, .. } => {
                    router.remove(&(by, request));
                    Answer::Removed
                }
                _ => failed(),
            };
            world.put(Input::Answer { ask, answer });
        };
        world.put(Input::Route(Some(ROUTE)));
        for (what, number) in inputs {
            match what {
                0..=3 if !world.asks.is_empty() => {
                    let at = number as usize % world.asks.len();
                    settle(&mut world, &mut router, at, what > 0, number);
                }
                4 => world.put(Input::Suspect),
                5 => world.put(Input::Hint { from: ROUTE.gateway }),
                _ => {
                    world.now = world.now + ms(number);
                    world.put(Input::Elapsed);
                }
            }
        }
        world.put(Input::Stop);
        while !world.asks.is_empty() {
            let grant = world.asks.len().is_multiple_of(2);
            settle(&mut world, &mut router, 0, grant, 1001);
        }
        prop_assert!(world.stopped);
        prop_assert_eq!(router.keys().collect::<Vec<_>>(), Vec::<&(MapMethod, MapRequest)>::new());
        prop_assert!(world.machine.asks.is_empty());
    }
}
