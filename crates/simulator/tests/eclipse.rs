//! An attacker with a share of relays and identities, against the group rule.

use kaspath_simulator::{Attack, EclipseConfig, EclipseFigures, Given, Grouping, eclipse};

/// Few enough for a build without optimisation; the standard error at the bound is 1.7 %.
const NODES: usize = 500;

fn play(config: EclipseConfig) -> EclipseFigures {
    eclipse(&EclipseConfig { nodes: NODES, seed: 5, ..config })
}

fn standard_error(share: f64) -> f64 {
    (share * (1.0 - share) / NODES as f64).sqrt()
}

#[test]
fn all_attacks_together_stay_within_the_bound_and_take_nothing_of_the_users() {
    let figures = play(EclipseConfig { attack: Attack::All, ..EclipseConfig::default() });
    assert!((figures.soon_bound - 0.176).abs() < 0.001);
    assert!(figures.soon <= figures.soon_bound * 1.1 + standard_error(figures.soon_bound), "{figures:?}");
    assert!(figures.soon > 0.05, "hostile peers are played: {figures:?}");
    assert!(figures.filled > 0.99 && figures.displaced == 0, "{figures:?}");
}

#[test]
fn without_the_group_rule_the_attacker_is_over_the_bound() {
    let config =
        EclipseConfig { attack: Attack::Relays, grouping: Grouping::Identities, more_relays: 100, ..EclipseConfig::default() };
    let figures = eclipse(&EclipseConfig { nodes: 40, seed: 5, ..config });
    assert!(figures.soon > 1.1 * figures.soon_bound, "{figures:?}");
}

#[test]
fn who_is_given_one_relay_of_a_random_kind_trusts_it() {
    let figures = play(EclipseConfig { given: Given::Any(1), ..EclipseConfig::default() });
    assert!((figures.soon_bound - 0.397).abs() < 0.001, "{figures:?}");
    assert!(figures.soon <= figures.soon_bound * 1.1 + standard_error(figures.soon_bound), "{figures:?}");
    assert!(figures.soon >= 0.25, "{figures:?}");
}

#[test]
fn with_a_fifth_of_the_honest_relays_down_the_bound_of_those_that_are_left_holds() {
    let figures = play(EclipseConfig { attack: Attack::All, down: 8, ..EclipseConfig::default() });
    assert!((figures.soon_bound - 0.202).abs() < 0.001, "{figures:?}");
    assert!(figures.soon <= figures.soon_bound * 1.1 + standard_error(figures.soon_bound), "{figures:?}");
    assert!(figures.filled > 0.99 && figures.displaced == 0, "{figures:?}");
}

#[test]
fn the_same_seed_gives_the_same_figures() {
    let config = EclipseConfig { nodes: 20, hours: 3.0, ..EclipseConfig::default() };
    assert_eq!(eclipse(&config), eclipse(&config));
}
