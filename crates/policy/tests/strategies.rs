//! What each strategy plans: pure, no clock, no network.

use std::time::Duration;

use kaspath_domain::{
    AttemptOutcome, DialError, DialPlan, Moment, Path, PeerIdentity, PlanRequest, PolicyError, RelayReason, Route, Transport,
    TransportSet,
};
use kaspath_policy::{StrategyConfig, StrategyName};

const PEER: &str = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";
const RELAY: &str = "12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp";

fn at(seconds: u64) -> Moment {
    Moment::after_start(Duration::from_secs(seconds))
}

fn private_peer() -> PlanRequest {
    let circuit = format!("/ip4/203.0.113.1/tcp/4001/p2p/{RELAY}/p2p-circuit/p2p/{PEER}");
    let addresses =
        [circuit, format!("/ip4/198.51.100.7/udp/4001/quic-v1/p2p/{PEER}"), format!("/ip4/198.51.100.7/tcp/4001/p2p/{PEER}")];
    PlanRequest {
        peer: PEER.parse().ok(),
        addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
        ..PlanRequest::default()
    }
}

fn kinds(plan: &DialPlan) -> Vec<Vec<String>> {
    let kind = |route: &Route| match route {
        Route::Direct(address) => format!("direct {}", address.transport),
        Route::Relayed(_) => "relay".to_owned(),
        Route::Punched { transports, .. } => {
            format!("punch{}{}", if transports.tcp { " tcp" } else { "" }, if transports.quic { " quic" } else { "" })
        }
    };
    plan.stages.iter().map(|stage| stage.attempts.iter().map(|attempt| kind(&attempt.request.route)).collect()).collect()
}

fn planned(name: StrategyName) -> Vec<Vec<String>> {
    kinds(&StrategyConfig::new(name).build().plan(&private_peer(), at(0)).unwrap())
}

#[test]
fn strategies_swap_and_each_keeps_its_word() {
    assert_eq!(planned(StrategyName::Balanced), [vec!["direct tcp", "direct quic"], vec!["punch tcp quic", "relay"]]);
    assert_eq!(planned(StrategyName::TcpOnly), [vec!["direct tcp"], vec!["punch tcp", "relay"]]);
    assert_eq!(planned(StrategyName::QuicOnly), [vec!["direct quic"], vec!["punch quic", "relay"]]);
    assert_eq!(planned(StrategyName::RelayOnly), [vec!["relay"]]);
    assert_eq!(planned(StrategyName::DirectOnly), [vec!["direct tcp", "direct quic"], vec!["punch tcp quic"]]);
}

#[test]
fn names_round_trip_and_an_unknown_one_lists_them_all() {
    for (name, strategy) in StrategyName::ALL {
        assert_eq!(name.parse(), Ok(strategy));
        assert_eq!(StrategyConfig::new(strategy).build().name(), name);
    }
    let error = "fastest".parse::<StrategyName>().unwrap_err();
    assert!(error.contains("fastest") && error.contains("balanced") && error.contains("direct-only"), "{error}");
}

#[test]
fn a_strategy_without_usable_address_says_so() {
    let request = PlanRequest { peer: None, addresses: vec!["/ip4/192.0.2.1/tcp/1".parse().unwrap()], ..PlanRequest::default() };
    let error = StrategyConfig::new(StrategyName::RelayOnly).build().plan(&request, at(0)).unwrap_err();
    assert_eq!(error, PolicyError::NoUsableAddress { policy: "relay-only".into(), known: 1 });
}

#[test]
fn direct_dials_are_staggered_and_bounded() {
    let addresses = (1..100).map(|port| format!("192.0.2.1:{port}").parse().unwrap()).collect();
    let plan = StrategyConfig::new(StrategyName::Balanced)
        .build()
        .plan(&PlanRequest { addresses, ..PlanRequest::default() }, at(0))
        .unwrap();
    let starts: Vec<_> = plan.stages[0].attempts.iter().map(|attempt| attempt.start_after.as_millis()).collect();
    assert_eq!(starts, [0, 250, 500, 750, 1000, 1250, 1500, 1750]);
}

#[test]
fn relay_only_never_lets_a_peer_punch() {
    assert!(StrategyConfig::new(StrategyName::RelayOnly).build().punching().transports.is_empty());
    assert_eq!(StrategyConfig::new(StrategyName::QuicOnly).build().punching().transports, TransportSet::QUIC);
}

#[test]
fn balanced_goes_to_the_relay_sooner_while_a_failed_punch_is_fresh() {
    let strategy = StrategyConfig::new(StrategyName::Balanced).build();
    let peer: PeerIdentity = PEER.parse().unwrap();
    let relay_start = |now| strategy.plan(&private_peer(), at(now)).unwrap().stages[1].attempts[1].start_after;
    let patient = relay_start(0);

    let route = strategy.plan(&private_peer(), at(0)).unwrap().stages[1].attempts[0].request.route.clone();
    let failed = DialError::NoDirectPath { peer: peer.clone(), reason: RelayReason::PunchFailed { attempts: 1 } };
    let mut outcome = AttemptOutcome { peer: Some(peer), route, result: Err(failed), elapsed: Duration::from_secs(1) };
    strategy.observe(&private_peer(), &outcome, at(10));
    assert!(relay_start(11) < patient);
    assert_eq!(relay_start(10 + 301), patient, "the cooldown ends");

    outcome.result = Ok(Path::Direct { transport: Transport::Tcp });
    strategy.observe(&private_peer(), &outcome, at(12));
    assert_eq!(relay_start(13), patient, "a success clears it");
}

#[test]
fn a_punch_that_the_relay_overtook_has_failed_if_it_had_its_time() {
    let strategy = StrategyConfig::new(StrategyName::Balanced).build();
    let relay_start = |now| strategy.plan(&private_peer(), at(now)).unwrap().stages[1].attempts[1].start_after;
    let patient = relay_start(0);
    let route = strategy.plan(&private_peer(), at(0)).unwrap().stages[1].attempts[0].request.route.clone();
    let overtaken = |after| AttemptOutcome {
        peer: PEER.parse().ok(),
        route: route.clone(),
        result: Err(DialError::Overtaken),
        elapsed: Duration::from_secs(after),
    };
    strategy.observe(&private_peer(), &overtaken(1), at(10));
    assert_eq!(relay_start(11), patient);
    strategy.observe(&private_peer(), &overtaken(7), at(10));
    assert!(relay_start(11) < patient);
}

#[test]
fn a_circuit_that_carries_a_session_says_nothing_about_the_punch() {
    for name in [StrategyName::Balanced, StrategyName::Adaptive] {
        let strategy = StrategyConfig::new(name).build();
        let relay_start = || strategy.plan(&private_peer(), at(10)).unwrap().stages[1].attempts[1].start_after;
        let route = strategy.plan(&private_peer(), at(0)).unwrap().stages[1].attempts[0].request.route.clone();
        let peer: PeerIdentity = PEER.parse().unwrap();
        let failed = DialError::NoDirectPath { peer: peer.clone(), reason: RelayReason::PunchFailed { attempts: 1 } };
        let mut outcome = AttemptOutcome { peer: Some(peer), route, result: Err(failed), elapsed: Duration::from_secs(1) };
        (0..10).for_each(|_| strategy.observe(&private_peer(), &outcome, at(10)));
        let hopeless = relay_start();
        assert!(hopeless < Duration::from_secs(1), "{name} {hopeless:?}");
        outcome.result = Ok(Path::Relayed { relay: RELAY.parse().unwrap(), reason: RelayReason::PunchPending });
        (0..8).for_each(|_| strategy.observe(&private_peer(), &outcome, at(10)));
        assert_eq!(relay_start(), hopeless, "{name}");
    }
}

/// Times after which a punch's dial that ended so leaves the relay waiting.
fn relay_start_after(error: DialError) -> (Duration, Duration) {
    let strategy = StrategyConfig::new(StrategyName::Balanced).build();
    let relay_start = |now| strategy.plan(&private_peer(), at(now)).unwrap().stages[1].attempts[1].start_after;
    let patient = relay_start(0);
    let route = strategy.plan(&private_peer(), at(0)).unwrap().stages[1].attempts[0].request.route.clone();
    let outcome = AttemptOutcome { peer: PEER.parse().ok(), route, result: Err(error), elapsed: Duration::from_secs(15) };
    strategy.observe(&private_peer(), &outcome, at(10));
    (patient, relay_start(11))
}

#[test]
fn what_is_not_the_nats_doing_is_no_failed_punch() {
    let relay: PeerIdentity = RELAY.parse().unwrap();
    let peer: PeerIdentity = PEER.parse().unwrap();
    let no_path = |reason| DialError::NoDirectPath { peer: peer.clone(), reason };
    for error in [
        DialError::RelayUnreachable { relay: relay.clone(), cause: "connection refused".into() },
        DialError::RelayRefused { relay, cause: "no reservation".into() },
        DialError::Resolve { host: "relay.example".into(), cause: "no such name".into() },
        DialError::Timeout { after: Duration::from_secs(15), doing: "connecting to the relay" },
        DialError::ShuttingDown,
        no_path(RelayReason::PunchPending),
        no_path(RelayReason::NoOwnCandidate),
        no_path(RelayReason::ExchangeFailed { attempts: 1, cause: "the stream was reset".into() }),
    ] {
        let (patient, after) = relay_start_after(error.clone());
        assert_eq!(after, patient, "{error}");
    }
    for reason in [
        RelayReason::PunchFailed { attempts: 1 },
        RelayReason::SharedNat { attempts: 1 },
        RelayReason::SymmetricNat { attempts: 1, ours: true, theirs: false },
    ] {
        let (patient, after) = relay_start_after(no_path(reason.clone()));
        assert!(after < patient, "{reason}");
    }
}

#[test]
fn adaptive_never_waits_longer_for_a_punch_than_is_configured() {
    for millis in [0, 100, 500, 999, 6_000] {
        let mut config = StrategyConfig::new(StrategyName::Adaptive);
        config.timing.relay_after = Duration::from_millis(millis);
        let strategy = config.build();
        for now in 0..40 {
            let wait = strategy.plan(&private_peer(), at(now)).unwrap().stages[1].attempts[1].start_after;
            assert!(wait <= Duration::from_millis(millis), "{wait:?} for {millis} ms");
        }
    }
}
