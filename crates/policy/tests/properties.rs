//! What holds for every sequence of events: no bound is passed, nothing leaks, and
//! nobody is dialled outside his cadence. No clock and no sleeping.

use std::{collections::HashMap, net::IpAddr, time::Duration};

use kaspath_domain::{
    AdmissionPolicy, AdmissionRequest, AttemptOutcome, ConnectorError, DialError, Moment, NatMapping, Path, PeerClass, PeerGroup,
    PeerIdentity, PeerTarget, PlanRequest, RelayReason, RetryCadence, Route, TokenBucket, Transport, TransportPolicy,
};
use kaspath_policy::{Adaptive, DialLimits, DialLimitsConfig, InboundLimits, StrategyConfig, StrategyName, diverse_relays};
use proptest::{collection::vec, prelude::*, sample::select};

fn at(millis: u64) -> Moment {
    Moment::after_start(Duration::from_millis(millis))
}

fn peer(n: u16) -> PeerIdentity {
    let [a, b] = n.to_be_bytes();
    PeerIdentity::from_bytes(&[0, 2, a, b]).unwrap()
}

/// A private peer, found through a relay; the number says which prefix it is from.
fn request(n: u16) -> PlanRequest {
    let [a, b] = n.to_be_bytes();
    let id = peer(n);
    let relay = peer(60_000 + n % 3);
    let addresses = [
        format!("/ip4/203.0.113.1/tcp/4001/p2p/{relay}/p2p-circuit/p2p/{id}"),
        format!("/ip4/{a}.{b}.0.1/udp/4001/quic-v1/p2p/{id}"),
        format!("/ip4/{a}.{b}.0.1/tcp/4001/p2p/{id}"),
    ];
    let mapping = NatMapping::Unknown;
    PlanRequest { peer: Some(id), addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(), mapping }
}

#[derive(Clone, Debug)]
enum Event {
    /// Time passes.
    Wait(u64),
    /// Somebody wants to reach the peer.
    Plan(u16),
    /// One of its last plan's attempts ends so.
    Outcome { peer: u16, attempt: usize, ends: Ends },
}

#[derive(Clone, Copy, Debug)]
enum Ends {
    Well,
    NoDirectPath,
    RelayGone,
    Otherwise,
}

fn events(peers: u16, count: usize) -> impl Strategy<Value = Vec<Event>> {
    let ends = select(vec![Ends::Well, Ends::NoDirectPath, Ends::RelayGone, Ends::Otherwise]);
    let event = prop_oneof![
        (0..4_000u64).prop_map(Event::Wait),
        (0..peers).prop_map(Event::Plan),
        (0..peers, 0..6usize, ends).prop_map(|(peer, attempt, ends)| Event::Outcome { peer, attempt, ends }),
    ];
    vec(event, 0..count)
}

fn outcome(route: Route, of: PeerIdentity, ends: Ends) -> AttemptOutcome {
    let relay = peer(60_000);
    let result = match (ends, &route) {
        (Ends::Well, Route::Relayed(relay)) => Ok(Path::Relayed { relay: relay.relay.clone(), reason: RelayReason::Policy }),
        (Ends::Well, _) => Ok(Path::Direct { transport: Transport::Quic }),
        (Ends::NoDirectPath, _) => {
            Err(DialError::NoDirectPath { peer: of.clone(), reason: RelayReason::PunchFailed { attempts: 1 } })
        }
        (Ends::RelayGone, _) => Err(DialError::RelayUnreachable { relay, cause: "gone".into() }),
        (Ends::Otherwise, _) => Err(DialError::ShuttingDown),
    };
    AttemptOutcome { peer: Some(of), route, result, elapsed: Duration::from_millis(700) }
}

fn is_punch(route: &Route) -> bool {
    matches!(route, Route::Punched { .. })
}

fn dial_limits() -> DialLimitsConfig {
    let back_off =
        RetryCadence { delays: vec![Duration::ZERO, Duration::from_secs(1)], then: Some(Duration::from_secs(3)), jitter: 0.0 };
    DialLimitsConfig {
        burst: 4,
        every: Duration::from_millis(500),
        peer_back_off: back_off.clone(),
        relay_back_off: back_off,
        remembered: 8,
    }
}

proptest! {
    /// Whatever is asked when, the bucket gives no more than it holds and earns.
    #[test]
    fn the_rate_is_kept(waits in vec(0..3_000u64, 1..200), burst in 1..10u32, every in 1..2_000u64) {
        let mut rate = TokenBucket::new(burst, Duration::from_millis(every));
        let (mut now, mut given) = (0, 0u64);
        for wait in waits {
            now += wait;
            match rate.take(at(now)) {
                Ok(()) => given += 1,
                Err(again) => prop_assert!(again <= Duration::from_millis(every)),
            }
        }
        prop_assert!(given <= u64::from(burst) + now / every + 1);
    }

    /// Dials of one peer that come to nothing keep the cadence between them; all
    /// dials together keep the rate; what is remembered stays within its bound.
    #[test]
    fn no_peer_is_dialled_outside_its_cadence(events in events(12, 300)) {
        let config = dial_limits();
        let (strategy, mut limits) = (StrategyConfig::new(StrategyName::Balanced).build(), DialLimits::new(config.clone()));
        let (mut now, mut dials) = (0u64, 0u64);
        // Of each peer: its last dial's time and routes, and how many came to nothing in a row.
        let mut last: HashMap<u16, (u64, Vec<Route>, u32)> = HashMap::new();
        // Beyond eight peers the oldest is forgotten, which only one with fewer peers can be held to.
        let few = events.iter().all(|event| !matches!(event, Event::Plan(peer) if *peer >= 8));
        for event in events {
            match event {
                Event::Wait(millis) => now += millis,
                Event::Plan(n) => {
                    let PlanRequest { peer, addresses, mapping } = request(n);
                    match limits.begin(&PeerTarget { peer, addresses }, at(now)) {
                        Ok(PeerTarget { peer, addresses }) => {
                            dials += 1;
                            prop_assert!(addresses.len() >= 2, "direct addresses are never left out");
                            let fruitless = last.get(&n).map_or(0, |(_, _, fruitless)| *fruitless);
                            if let (true, Some((before, _, _))) = (few && fruitless > 0, last.get(&n)) {
                                let back_off = config.peer_back_off.delay(fruitless, 0.5).unwrap();
                                prop_assert!(at(now).since(at(*before)) >= back_off, "peer {n} again after {} ms", now - before);
                            }
                            let plan = strategy.plan(&PlanRequest { peer, addresses, mapping }, at(now)).unwrap();
                            let attempts = plan.stages.into_iter().flat_map(|stage| stage.attempts);
                            last.insert(n, (now, attempts.map(|attempt| attempt.request.route).collect(), fruitless + 1));
                        }
                        Err(ConnectorError::BackOff(left) | ConnectorError::RateLimited(left)) => {
                            prop_assert!(left <= Duration::from_secs(3));
                        }
                        Err(other) => prop_assert!(false, "{other}"),
                    }
                }
                Event::Outcome { peer: n, attempt, ends } => {
                    let Some((_, routes, fruitless)) = last.get_mut(&n) else { continue };
                    let Some(route) = routes.get(attempt).cloned() else { continue };
                    if matches!(ends, Ends::Well) {
                        *fruitless = 0;
                    }
                    limits.observe(&outcome(route, peer(n), ends), at(now));
                }
            }
            prop_assert!(limits.remembered().iter().all(|count| *count <= config.remembered));
        }
        prop_assert!(dials <= u64::from(config.burst) + now / 500 + 1);
    }

    /// However peers come and go, no limit is passed, and a place that is given
    /// back can be had again.
    #[test]
    fn admission_passes_no_limit_and_leaks_no_place(
        comings in vec((any::<bool>(), 0..6u8, 0..4u8, 0..3u16, 0..64usize), 0..300),
    ) {
        let limits = InboundLimits { total: 7, per_address: 2, per_prefix: 3, per_relay: 2 };
        let mut here: Vec<PeerClass> = Vec::new();
        for (leaves, prefix, host, relay, who) in comings {
            if leaves && !here.is_empty() {
                here.swap_remove(who % here.len());
                continue;
            }
            let class = if host == 0 {
                PeerClass::Relayed { relay: peer(relay) }
            } else {
                PeerClass::Direct { from: IpAddr::from([198, prefix, 0, host]) }
            };
            let asked = AdmissionRequest::beside(None, class.clone(), &here);
            if limits.admit(&asked) == Ok(()) {
                here.push(class);
            } else {
                let full = here.len() == limits.total
                    || asked.same_class >= 2
                    || asked.same_group >= limits.per_prefix;
                prop_assert!(full, "refused without need: {asked:?}");
            }
            prop_assert!(here.len() <= limits.total);
            for class in &here {
                let same = here.iter().filter(|other| *other == class).count();
                let group = here.iter().filter(|other| PeerGroup::of(other) == PeerGroup::of(class)).count();
                prop_assert!(same <= 2 && group <= limits.per_prefix);
            }
        }
    }

    /// Whatever it has seen, the adaptive strategy offers every way that there is,
    /// punches first, waits no longer than it is told, and remembers within bounds.
    #[test]
    fn what_is_learnt_takes_no_way_away(events in events(40, 300)) {
        let config = StrategyConfig::new(StrategyName::Adaptive);
        let longest = config.timing.relay_after;
        let strategy = Adaptive::new(config);
        let mut now = 0;
        for event in events {
            match event {
                Event::Wait(millis) => now += millis,
                Event::Plan(n) => {
                    let plan = strategy.plan(&request(n), at(now)).unwrap();
                    let meeting = &plan.stages[1].attempts;
                    prop_assert_eq!(plan.stages[0].attempts.len(), 2);
                    prop_assert!(is_punch(&meeting[0].request.route));
                    prop_assert!(matches!(meeting[1].request.route, Route::Relayed(_)));
                    prop_assert!(meeting[1].start_after <= longest);
                }
                Event::Outcome { peer: n, attempt, ends } => {
                    let plan = strategy.plan(&request(n), at(now)).unwrap();
                    let attempts: Vec<Route> =
                        plan.stages.into_iter().flat_map(|stage| stage.attempts).map(|attempt| attempt.request.route).collect();
                    strategy.observe(&request(n), &outcome(attempts[attempt % attempts.len()].clone(), peer(n), ends), at(now));
                }
            }
            prop_assert!(strategy.remembered() <= 1024);
        }
    }

    /// The first relays lie in as many prefixes as there are; none is lost or made up.
    #[test]
    fn relays_are_diverse_first(prefixes in vec(0..4u8, 1..12)) {
        let relays: Vec<kaspath_domain::PeerLocator> = prefixes
            .iter()
            .enumerate()
            .map(|(n, prefix)| format!("/ip4/198.{prefix}.0.{n}/tcp/4001/p2p/{}", peer(n as u16)).parse().unwrap())
            .collect();
        let ordered = diverse_relays(relays.clone());
        let prefix = |relay: &kaspath_domain::PeerLocator| relay.address.direct().unwrap().provider_block().unwrap();
        let all: std::collections::HashSet<_> = relays.iter().map(prefix).collect();
        let first: std::collections::HashSet<_> = ordered.iter().take(all.len()).map(prefix).collect();
        prop_assert_eq!(first, all);
        let sorted = |relays: &[kaspath_domain::PeerLocator]| {
            let mut texts: Vec<String> = relays.iter().map(ToString::to_string).collect();
            texts.sort();
            texts
        };
        prop_assert_eq!(sorted(&ordered), sorted(&relays));
    }
}

#[test]
fn full_buckets_are_forgotten_and_it_goes_on() {
    let strategy = Adaptive::new(StrategyConfig::new(StrategyName::Adaptive));
    let route = strategy.plan(&request(1), at(0)).unwrap().stages[1].attempts[0].request.route.clone();
    for n in 0..20_000 {
        strategy.observe(&request(n), &outcome(route.clone(), peer(n), Ends::NoDirectPath), at(n.into()));
    }
    assert!(strategy.remembered() <= 1024, "{}", strategy.remembered());
}

#[test]
fn a_plan_is_the_same_however_often_it_is_asked_for() {
    for (_, name) in StrategyName::ALL {
        let strategy = StrategyConfig::new(name).build();
        let first = strategy.plan(&request(1), at(0)).unwrap();
        for _ in 0..100 {
            assert_eq!(strategy.plan(&request(1), at(0)).unwrap(), first, "{name}");
        }
    }
}

#[test]
fn what_is_known_of_a_bucket_is_ignored_now_and_then() {
    let config = StrategyConfig::new(StrategyName::Adaptive);
    let longest = config.timing.relay_after;
    let strategy = Adaptive::new(config);
    let route = strategy.plan(&request(1), at(0)).unwrap().stages[1].attempts[0].request.route.clone();
    let explored = (0..100).filter(|_| {
        let wait = strategy.plan(&request(1), at(0)).unwrap().stages[1].attempts[1].start_after;
        strategy.observe(&request(1), &outcome(route.clone(), peer(1), Ends::NoDirectPath), at(1));
        wait == longest
    });
    assert_eq!(explored.count(), 5);
}

#[test]
fn adaptive_learns_that_a_bucket_is_hopeless_and_that_it_is_not_any_more() {
    let strategy = Adaptive::new(StrategyConfig::new(StrategyName::Adaptive));
    let wait = |now| strategy.plan(&request(1), at(now)).unwrap().stages[1].attempts[1].start_after;
    let route = strategy.plan(&request(1), at(0)).unwrap().stages[1].attempts[0].request.route.clone();
    let learn = |ends, times: usize| {
        for _ in 0..times {
            strategy.observe(&request(1), &outcome(route.clone(), peer(1), ends), at(1));
        }
    };
    let patient = wait(1);
    learn(Ends::RelayGone, 20);
    assert_eq!(wait(2), patient, "a relay that is gone says nothing about the bucket");
    learn(Ends::NoDirectPath, 20);
    assert!(wait(3) < Duration::from_millis(300));
    learn(Ends::Well, 20);
    assert!(wait(4) >= Duration::from_secs(1));
}

#[test]
fn direct_first_and_quic_first_keep_their_order() {
    let plan = |name| StrategyConfig::new(name).build().plan(&request(1), at(0)).unwrap();
    let direct = plan(StrategyName::DirectFirst);
    assert!(matches!(direct.stages.last().unwrap().attempts[..], [ref only] if matches!(only.request.route, Route::Relayed(_))));
    let quic = plan(StrategyName::QuicFirst);
    let Route::Direct(first) = &quic.stages[0].attempts[0].request.route else { panic!("no direct dial") };
    assert_eq!(first.transport, Transport::Quic);
}
