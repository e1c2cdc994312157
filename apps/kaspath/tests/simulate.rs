//! The simulator with the policies that nodes run.

use std::sync::Arc;

use kaspath_domain::TransportPolicy;
use kaspath_policy::{StrategyConfig, StrategyName};
use kaspath_simulator::{Figures, Population, Shares, SimulationConfig, plot, simulate, table};

fn policy(name: StrategyName) -> impl Fn() -> Arc<dyn TransportPolicy> + Sync {
    move || StrategyConfig::new(name).build()
}

fn run(name: StrategyName, population: Population) -> Figures {
    simulate(&SimulationConfig { peers: 20_000, per_node: 50, seed: 7, population }, &policy(name))
}

fn only(shares: Shares) -> Population {
    Population { shares, udp_blocked: 0.0, tcp_hostile: 0.0, relay_down: 0.0, relay_full: 0.0, ..Population::default() }
}

const NOBODY: Shares = Shares { full_cone: 0.0, address_restricted: 0.0, port_restricted: 0.0, symmetric: 0.0 };

#[test]
fn the_same_seed_gives_the_same_figures() {
    let figures = run(StrategyName::Adaptive, Population::default());
    assert_eq!(figures, run(StrategyName::Adaptive, Population::default()));
    assert_eq!(figures.peers, 20_000);
}

#[test]
fn what_can_be_punched_is_direct_and_what_cannot_stays_on_the_relay() {
    let easy = run(StrategyName::Balanced, only(Shares { full_cone: 1.0, ..NOBODY }));
    assert!(easy.direct > 0.999 && easy.relay_seconds < 1.0, "{easy:?}");
    let hopeless = run(StrategyName::Balanced, only(Shares { symmetric: 1.0, ..NOBODY }));
    assert_eq!(hopeless.direct, 0.0);
    assert!(hopeless.usable > 0.999 && (hopeless.relay_seconds - 1800.0).abs() < 1.0, "{hopeless:?}");
    let never = run(StrategyName::RelayOnly, only(Shares { full_cone: 1.0, ..NOBODY }));
    assert_eq!(never.direct, 0.0);
}

#[test]
fn a_session_is_usable_as_soon_as_on_a_relay_and_direct_as_soon_as_without_sessions() {
    let relay = run(StrategyName::RelayOnly, Population::default()).time_to_usable;
    for name in [StrategyName::Balanced, StrategyName::Adaptive] {
        let session = run(name, Population::default());
        let plain = run(name, Population { plain: 1.0, ..Population::default() });
        assert!(session.time_to_usable.p90 <= relay.p90, "{session:?} {relay:?}");
        assert!(plain.time_to_usable.p90 > 2.0 * relay.p90, "a plain stream waits for the punch: {plain:?}");
        assert!((session.direct - plain.direct).abs() < 0.01, "{session:?} {plain:?}");
        let (now, before) = (session.time_to_direct, plain.time_to_direct);
        assert!((now.p50 / before.p50 - 1.0).abs() < 0.02 && now.p90 <= before.p90 * 1.02, "{now:?} {before:?}");
    }
}

#[test]
fn adaptive_stops_waiting_for_punches_that_never_work_and_loses_none_that_do() {
    let hopeless = Population { plain: 1.0, ..only(Shares { symmetric: 1.0, ..NOBODY }) };
    let [balanced, adaptive] = [StrategyName::Balanced, StrategyName::Adaptive].map(|name| run(name, hopeless.clone()));
    assert!(adaptive.time_to_usable.p50 < balanced.time_to_usable.p50 / 2.0, "{adaptive:?} {balanced:?}");
    let plain = Population { plain: 1.0, ..Population::default() };
    let [balanced, adaptive] = [StrategyName::Balanced, StrategyName::Adaptive].map(|name| run(name, plain.clone()));
    assert!((adaptive.direct - balanced.direct).abs() < 0.01, "{adaptive:?} {balanced:?}");
}

#[test]
fn a_report_has_a_row_and_a_line_for_each_policy() {
    let all = [run(StrategyName::Balanced, Population::default()), run(StrategyName::RelayOnly, Population::default())];
    assert_eq!(table(&all).lines().count(), 4);
    assert_eq!(plot(&all).matches("<polyline").count(), 2);
}
