//! What a decision costs: `cargo bench -p kaspath-policy`. Each strategy's plan
//! beside a copy of the finished plan, which is the least that handing one over
//! can cost.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use kaspath_domain::{Moment, PlanRequest};
use kaspath_policy::{StrategyConfig, StrategyName};

const ROUNDS: usize = 21;
const CALLS: u32 = 20_000;
const PEER: &str = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";
const RELAY: &str = "12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp";

/// Median nanoseconds of a call.
fn measure(mut call: impl FnMut()) -> f64 {
    let mut rounds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let begin = Instant::now();
            for _ in 0..CALLS {
                call();
            }
            begin.elapsed().as_secs_f64() * 1e9 / f64::from(CALLS)
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    rounds[ROUNDS / 2]
}

fn main() {
    let addresses = [
        format!("/ip4/203.0.113.1/tcp/4001/p2p/{RELAY}/p2p-circuit/p2p/{PEER}"),
        format!("/ip4/198.51.100.7/udp/4001/quic-v1/p2p/{PEER}"),
        format!("/ip4/198.51.100.7/tcp/4001/p2p/{PEER}"),
    ];
    let addresses = addresses.iter().map(|text| text.parse().unwrap()).collect();
    let request = PlanRequest { peer: PEER.parse().ok(), addresses, ..PlanRequest::default() };
    let now = Moment::after_start(Duration::from_secs(1));
    println!("{:<14}{:>12}{:>18}{:>8}", "strategy", "ns a plan", "ns a copy of it", "ratio");
    let mut worst: f64 = 0.0;
    for (name, strategy) in StrategyName::ALL {
        let strategy = StrategyConfig::new(strategy).build();
        let plan = strategy.plan(&request, now).unwrap();
        let decision = measure(|| drop(black_box(strategy.plan(black_box(&request), now))));
        let copy = measure(|| drop(black_box(plan.clone())));
        println!("{name:<14}{decision:>12.0}{copy:>18.0}{:>8.2}", decision / copy);
        worst = worst.max(decision);
    }
    println!("the slowest takes {worst:.0} ns");
}
