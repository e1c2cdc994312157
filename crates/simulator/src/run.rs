use std::{sync::Arc, thread, time::Duration};

use kaspath_domain::{
    AttemptOutcome, ConnectorError, Moment, Path, PeerAddress, PeerIdentity, PeerLocator, PeerTarget, PlanRequest, Punching,
    RelayAddress, TransportAddress, TransportPolicy,
};
use kaspath_policy::{DialLimits, DialLimitsConfig};
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde::Serialize;

use crate::{population::Population, race, world::Pair};

/// How long each session is watched for its path; the mean Kaspa session is longer.
const WATCHED: Duration = Duration::from_secs(1800);
/// Between two dials of one node.
const BETWEEN: Duration = Duration::from_secs(60);

/// A simulation.
#[derive(Clone, Debug)]
pub struct SimulationConfig {
    /// Peers that are dialled, in all.
    pub peers: usize,
    /// Peers that one node dials, one after the other; its policy learns from them.
    pub per_node: usize,
    /// The same seed gives the same run.
    pub seed: u64,
    /// Who is out there.
    pub population: Population,
}

impl Default for SimulationConfig {
    fn default() -> Self {
        Self { peers: 1_000_000, per_node: 100, seed: 1, population: Population::default() }
    }
}

/// Percentiles, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Percentiles {
    /// The median.
    pub p50: f32,
    /// Nine in ten are faster.
    pub p90: f32,
    /// 99 in 100 are faster.
    pub p99: f32,
}

/// What came of one policy.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Figures {
    /// Its name.
    pub policy: String,
    /// Peers dialled.
    pub peers: usize,
    /// Share of them that were reached, directly or not.
    pub usable: f64,
    /// Share of them with a direct path within the watched half hour.
    pub direct: f64,
    /// From the dial to the peer's first answer.
    pub time_to_usable: Percentiles,
    /// From the dial to the direct path, of those that have one.
    pub time_to_direct: Percentiles,
    /// Seconds of the watched half hour that a session spends on a relay, on the average.
    pub relay_seconds: f64,
    /// Dials by plan in a row, until one was reached or given up.
    pub plans: f64,
    /// Times to the first answer in even steps of their rank, for a plot.
    pub usable_curve: Vec<f32>,
}

#[derive(Default)]
struct Tally {
    usable: Vec<f32>,
    direct: Vec<f32>,
    relay_seconds: f64,
    plans: u64,
    peers: usize,
}

/// Runs one policy over the population; `policy` makes one for each node. Uses
/// every core; the result does not depend on how many there are.
pub fn simulate(config: &SimulationConfig, policy: &(dyn Fn() -> Arc<dyn TransportPolicy> + Sync)) -> Figures {
    let per_node = config.per_node.max(1);
    let nodes = config.peers.div_ceil(per_node);
    let threads = thread::available_parallelism().map_or(1, usize::from).min(nodes.max(1));
    let tallies: Vec<Tally> = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|worker| {
                scope.spawn(move || {
                    let mut tally = Tally::default();
                    for node in (worker..nodes).step_by(threads) {
                        let count = per_node.min(config.peers - node * per_node);
                        run_node(config, node as u64, count, policy().as_ref(), &mut tally);
                    }
                    tally
                })
            })
            .collect();
        workers.into_iter().map(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    });
    sum(policy().name(), tallies)
}

fn sum(policy: &str, tallies: Vec<Tally>) -> Figures {
    let mut all = Tally::default();
    for tally in tallies {
        all.usable.extend(tally.usable);
        all.direct.extend(tally.direct);
        all.relay_seconds += tally.relay_seconds;
        all.plans += tally.plans;
        all.peers += tally.peers;
    }
    all.usable.sort_by(f32::total_cmp);
    all.direct.sort_by(f32::total_cmp);
    let peers = all.peers.max(1) as f64;
    let curve = (0..=200).filter_map(|step| all.usable.get((all.usable.len().saturating_sub(1)) * step / 200).copied());
    Figures {
        policy: policy.to_owned(),
        peers: all.peers,
        usable: all.usable.len() as f64 / peers,
        direct: all.direct.len() as f64 / peers,
        time_to_usable: percentiles(&all.usable),
        time_to_direct: percentiles(&all.direct),
        relay_seconds: all.relay_seconds / peers,
        plans: all.plans as f64 / peers,
        usable_curve: curve.collect(),
    }
}

fn percentiles(sorted: &[f32]) -> Percentiles {
    let at = |share: f64| sorted.get(((sorted.len() as f64 * share) as usize).min(sorted.len().saturating_sub(1)));
    let [p50, p90, p99] = [0.5, 0.9, 0.99].map(|share| at(share).copied().unwrap_or(f32::NAN));
    Percentiles { p50, p90, p99 }
}

fn identity(number: u64) -> PeerIdentity {
    let bytes: Vec<u8> = [0, 8].into_iter().chain(number.to_be_bytes()).collect();
    PeerIdentity::from_bytes(&bytes).unwrap_or_else(|error| unreachable!("an inlined key of eight bytes: {error}"))
}

fn run_node(config: &SimulationConfig, node: u64, count: usize, policy: &dyn TransportPolicy, tally: &mut Tally) {
    // Of its own for each node, so that threads change nothing.
    let mut peers = StdRng::seed_from_u64(config.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ node);
    // What a policy does changes nothing about whom it meets: each has the same peers.
    let mut random = StdRng::seed_from_u64(peers.r#gen());
    let world = &config.population;
    let ours = world.host(&mut peers);
    let limits = DialLimits::new(DialLimitsConfig::default());
    let mut dialling = Dialling { policy, limits, world, tally };
    let mut now = Moment::after_start(Duration::from_secs(1));
    for n in 0..count {
        let relay = peers.gen_range(0..world.relays.max(1));
        let pair = Pair {
            ours,
            theirs: world.host(&mut peers),
            round_trip: world.round_trip(&mut peers),
            relay_down: peers.gen_range(0.0..1.0) < world.relay_down,
            relay_full: peers.gen_range(0.0..1.0) < world.relay_full,
            plain: peers.gen_range(0.0..1.0) < world.plain,
            peer: identity((node << 20) + n as u64 + 1_000_000),
        };
        let target = target(&pair, relay);
        dialling.dial(pair, &target, now, &mut random);
        now = now + BETWEEN;
    }
}

/// A private peer, as one is known: by its circuit.
fn target(pair: &Pair, relay: u16) -> PeerTarget {
    let [a, b] = relay.to_be_bytes();
    let via = TransportAddress::tcp(([198, 51, a, b], 4001).into());
    let address = PeerAddress::Relayed(RelayAddress { relay: identity(relay.into()), via });
    PeerTarget::at(PeerLocator { peer: Some(pair.peer.clone()), address })
}

/// One node's dials.
struct Dialling<'a> {
    policy: &'a dyn TransportPolicy,
    limits: DialLimits,
    world: &'a Population,
    tally: &'a mut Tally,
}

impl Dialling<'_> {
    /// Dials until the peer is reached, ten times at most; then follows the session's path.
    fn dial(&mut self, mut pair: Pair, target: &PeerTarget, begin: Moment, random: &mut StdRng) {
        self.tally.peers += 1;
        let mut elapsed = Duration::ZERO;
        for _ in 0..10 {
            let PeerTarget { peer, addresses } = match self.limits.begin(target, begin + elapsed) {
                Ok(narrowed) => narrowed,
                Err(ConnectorError::BackOff(left) | ConnectorError::RateLimited(left)) => {
                    elapsed += left.max(Duration::from_millis(1));
                    continue;
                }
                Err(_) => return,
            };
            let request = PlanRequest { peer, addresses, mapping: pair.ours.nat.mapping() };
            let Ok(plan) = self.policy.plan(&request, begin + elapsed) else { return };
            self.tally.plans += 1;
            let observe = |outcome: &AttemptOutcome, now| {
                self.policy.observe(&request, outcome, now);
                self.limits.observe(outcome, now);
            };
            let (took, path) = race::run(plan, observe, &pair, self.world, begin + elapsed, random);
            elapsed += took;
            if let Some(path) = path {
                return self.reached(&pair, &path, elapsed, random);
            }
            // A relay that was down or full may have recovered by the next time.
            elapsed += Duration::from_secs(5);
            pair.relay_down = random.gen_range(0.0..1.0) < self.world.relay_down;
            pair.relay_full = random.gen_range(0.0..1.0) < self.world.relay_full;
        }
    }

    fn reached(&mut self, pair: &Pair, path: &Path, elapsed: Duration, random: &mut StdRng) {
        self.tally.usable.push((elapsed + pair.answer()).as_secs_f32());
        let direct = if path.is_relayed() { upgrade(pair, self.policy, self.world, random) } else { Some(Duration::ZERO) };
        let on_relay = direct.unwrap_or(WATCHED);
        self.tally.relay_seconds += on_relay.as_secs_f64();
        if direct.is_some() {
            self.tally.direct.push((elapsed + on_relay).as_secs_f32());
        }
    }
}

/// Punches that go on while the session is on the relay, by the policy's cadence;
/// how long it stayed there, if it moved at all.
fn upgrade(pair: &Pair, policy: &dyn TransportPolicy, world: &Population, random: &mut StdRng) -> Option<Duration> {
    let Punching { transports, cadence } = policy.punching();
    if pair.punchable(transports).is_empty() {
        return None;
    }
    let mut on_relay = Duration::ZERO;
    for failures in 0.. {
        if failures > 0 {
            on_relay += cadence.delay(failures, random.gen_range(0.0..1.0))?;
        }
        if on_relay > WATCHED {
            return None;
        }
        if let Some((time, _)) = pair.punch(transports, world, random) {
            let at = on_relay + time;
            return (at <= WATCHED).then_some(at);
        }
    }
    None
}
