//! Plays it for many nodes.

use std::thread;

use rand::{Rng, SeedableRng, rngs::StdRng};

use super::{
    bound::{Tellers, bound, longer},
    config::{EclipseConfig, Given},
    node::{self, Outcome},
    world::World,
};

/// Hours after which a session is exchanged, on the average.
const ROTATED: f64 = 2.0;

/// What came of it.
#[derive(Clone, Debug, PartialEq)]
pub struct EclipseFigures {
    /// The share of nodes all of whose discovered peers are hostile, after a minute.
    pub soon: f64,
    /// What the group rule allows on paper.
    pub soon_bound: f64,
    /// The same from the eighth hour on; `None` if nodes were not watched for so long.
    pub later: Option<f64>,
    /// What it allows with honest peers that leave and hostile ones that do not.
    pub later_bound: f64,
    /// The share of nodes that had all the peers they want after a minute.
    pub filled: f64,
    /// Steps that concerned peers of the settings, and proven peers that were left.
    pub displaced: usize,
}

/// Plays it, on every core; the result does not depend on how many there are.
pub fn eclipse(config: &EclipseConfig) -> EclipseFigures {
    let world = World::new(config, &mut StdRng::seed_from_u64(config.seed));
    let threads = thread::available_parallelism().map_or(1, usize::from).min(config.nodes.max(1));
    let outcomes: Vec<Outcome> = thread::scope(|scope| {
        let world = &world;
        let workers: Vec<_> = (0..threads)
            .map(|worker| {
                scope.spawn(move || {
                    let nodes = (worker..config.nodes).step_by(threads);
                    nodes.map(|node| node::run(world, config, &mut random_of(config.seed, node as u64))).collect::<Vec<_>>()
                })
            })
            .collect();
        let joined = workers.into_iter().map(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        joined.flatten().collect()
    });
    let share =
        |of: &dyn Fn(&Outcome) -> bool| outcomes.iter().filter(|outcome| of(outcome)).count() as f64 / config.nodes as f64;
    let later: Vec<bool> = outcomes.iter().flat_map(|outcome| outcome.later.iter().copied()).collect();
    let hostile = later.iter().filter(|hostile| **hostile).count() as f64;
    EclipseFigures {
        soon: share(&|outcome| outcome.soon),
        soon_bound: on_paper(config, 1.0),
        later: (!later.is_empty()).then(|| hostile / later.len() as f64),
        later_bound: on_paper(config, longer(ROTATED, config.stays)),
        filled: share(&|outcome| outcome.filled),
        displaced: outcomes.iter().map(|outcome| outcome.displaced).sum(),
    }
}

/// The bound; where all given relays are hostile, a node hears from nobody else. One that
/// is given alone and is honest has a slot for certain.
fn on_paper(config: &EclipseConfig, longer: f64) -> f64 {
    let EclipseConfig { hostile_relays: hostile, hostile_peers: peers, slots, .. } = *config;
    let shares = Tellers { relays: config.relays - config.down, hostile, peers };
    let by_slots = bound(shares, slots, longer);
    match config.given {
        Given::Honest => by_slots,
        Given::Any(1) => {
            let hostile = shares.hostile as f64 / shares.relays as f64;
            let rest = Tellers { relays: shares.relays - 1, ..shares };
            hostile + (1.0 - hostile) * peers * bound(rest, slots - 1, longer)
        }
        Given::Any(count) => {
            let all_hostile = bound(Tellers { peers: 0.0, ..shares }, count, 1.0);
            all_hostile + (1.0 - all_hostile) * by_slots
        }
    }
}

fn random_of(seed: u64, node: u64) -> StdRng {
    let mut seeds = StdRng::seed_from_u64(seed ^ node.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    StdRng::seed_from_u64(seeds.r#gen())
}
