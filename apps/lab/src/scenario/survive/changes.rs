//! One session whose path is changed very often, by faults in random order.

use std::{fmt::Write as _, time::Duration};

use anyhow::{Result, bail};
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::json;
use tokio::time::Instant;

use super::{
    READY,
    figures::{Direct, is_kept, longest_stall},
    play::{Outcome, connections, happen, repair},
    world::World,
};
use crate::{cli::Fault, stats::percentile};

/// What may happen to a direct path; those that are listed twice come twice as often.
/// Each but the cut costs a planned move at least, of which a peer gets one in 20 s.
const DIRECT: [Fault; 10] = [
    Fault::DirectCut,
    Fault::DirectCut,
    Fault::DirectCut,
    Fault::DirectCut,
    Fault::DirectCut,
    Fault::DirectCut,
    Fault::NatRebooted,
    Fault::WanChanged,
    Fault::InterfaceReplaced,
    Fault::UdpBlocked,
];
/// What may happen while the direct path is cut.
const RELAYED: [Fault; 4] = [Fault::RelayKilled, Fault::RelaySilent, Fault::RelaySilent, Fault::DirectBack];

/// Blocks must have flowed by the right path for so long before the next change.
const CALM: Duration = Duration::from_secs(1);

/// Chooses what happens next. No clock, no I/O.
struct Walk {
    random: StdRng,
    relayed: bool,
}

impl Walk {
    fn new(seed: u64) -> Self {
        Self { random: StdRng::seed_from_u64(seed), relayed: false }
    }

    fn next(&mut self) -> Fault {
        let faults: &[Fault] = if self.relayed { &RELAYED } else { &DIRECT };
        let fault = faults[self.random.gen_range(0..faults.len())];
        self.relayed = match fault {
            Fault::DirectCut => true,
            Fault::DirectBack => false,
            _ => self.relayed,
        };
        fault
    }
}

/// Changes the path `count` times. Blocks are mined all the while.
pub(super) async fn changes(world: &mut World, count: usize, seed: u64, within: Duration) -> Result<()> {
    let (cut, way) = Fault::None.start();
    if world.reach(cut, way, READY).await?.is_none() {
        bail!("the session does not begin");
    }
    let (begin, first) = (Instant::now(), connections(world.fresh().await?));
    let (mut walk, mut outcomes) = (Walk::new(seed), Vec::new());
    println!("change  after    fault               stall  direct again");
    for number in 1..=count {
        let fault = walk.next();
        let outcome = change(world, fault, within).await?;
        println!("{number:>6}  {:>5.0} s  {}", begin.elapsed().as_secs_f64(), row(fault, &outcome));
        let lost = !outcome.recovered || !is_kept(&first, &connections(world.fresh().await?));
        outcomes.push((fault, outcome));
        if lost {
            break;
        }
    }
    let seen = world.fresh().await?;
    let end = Instant::now();
    let longest = seen.each_ref().map(|seen| longest_stall(&seen.arrivals, begin, end));
    let same_blocks = world.same_blocks().await?;
    let kept = is_kept(&first, &connections(world.fresh().await?));
    let failures = failures(&outcomes, count, kept, same_blocks);
    let blocks = world.seen()?.map(|seen| seen.blocks);
    let report = distribution(&outcomes);
    print!("{report}");
    println!(
        "{} of {count} changes, seed {seed}, {} moves reported by both gateways; longest stall of the whole run {:.1} s; \
         blocks {} and {}; kaspad's connection: {}",
        outcomes.len(),
        world.moves(),
        longest[0].max(longest[1]).as_secs_f64(),
        blocks[0],
        blocks[1],
        if kept { "the same" } else { "lost" },
    );
    world.evidence().table("changes.txt", &report)?;
    let changes: Vec<_> = outcomes
        .iter()
        .map(|(fault, outcome)| json!({ "fault": fault.to_string(), "stalls": outcome.stalls.map(|stall| stall.as_secs_f64()) }))
        .collect();
    world.evidence().summary(&json!({ "seed": seed, "changes": changes, "blocks": blocks, "failures": failures }))?;
    if !failures.is_empty() {
        bail!("{}", failures.join("; "));
    }
    Ok(())
}

/// The session comes to where the fault can happen, then it happens.
async fn change(world: &mut World, fault: Fault, within: Duration) -> Result<Outcome> {
    let (cut, way) = fault.start();
    let Some(carrier) = world.stand(cut, way, within).await? else {
        bail!("{fault}: the session is not {way:?} within {within:?}, or a gateway has no reservation");
    };
    let outcome = happen(world, fault, carrier, within, CALM).await?;
    repair(world, fault, carrier).await?;
    Ok(outcome)
}

fn failures(outcomes: &[(Fault, Outcome)], count: usize, kept: bool, same_blocks: bool) -> Vec<String> {
    let mut failures = Vec::new();
    for (number, (fault, outcome)) in outcomes.iter().enumerate() {
        let limit = fault.limit();
        if !outcome.recovered {
            failures.push(format!("change {}, {fault}: not recovered in time", number + 1));
        } else if outcome.stall() > limit {
            failures.push(format!("change {}, {fault}: stall over {} s", number + 1, limit.as_secs()));
        }
    }
    if outcomes.len() < count {
        failures.push(format!("{} of {count} changes", outcomes.len()));
    }
    if !kept {
        failures.push("connection lost".to_owned());
    }
    if !same_blocks {
        failures.push("blocks missing".to_owned());
    }
    failures
}

fn row(fault: Fault, outcome: &Outcome) -> String {
    let direct = match outcome.direct {
        Some(Direct::After(time)) => format!("{:.1} s", time.as_secs_f64()),
        Some(Direct::Never) => "no".to_owned(),
        None => "-".to_owned(),
    };
    format!("{fault:<18} {:>4.1} s  {direct}", outcome.stall().as_secs_f64())
}

/// The stalls of each fault, and of all.
fn distribution(outcomes: &[(Fault, Outcome)]) -> String {
    let mut report = format!("{:<18} {:>5} {:>8} {:>8} {:>8}\n", "stalls", "count", "median", "p95", "max");
    let mut add = |name: &str, wanted: &dyn Fn(Fault) -> bool| {
        let stalls: Vec<f64> =
            outcomes.iter().filter(|(fault, _)| wanted(*fault)).map(|(_, outcome)| outcome.stall().as_secs_f64()).collect();
        if !stalls.is_empty() {
            let [median, p95, max] = [0.5, 0.95, 1.0].map(|p| percentile(&stalls, p));
            let _ = writeln!(report, "{name:<18} {:>5} {median:>6.2} s {p95:>6.2} s {max:>6.2} s", stalls.len());
        }
    };
    for fault in Fault::ALL {
        add(&fault.to_string(), &|other| other == fault);
    }
    add("all", &|_| true);
    report
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(stall: u64) -> Outcome {
        Outcome { recovered: true, stalls: [Duration::from_millis(stall), Duration::ZERO], direct: None }
    }

    #[test]
    fn a_seed_gives_one_order_in_which_each_fault_finds_its_path() {
        let order = |seed| {
            let mut walk = Walk::new(seed);
            (0..200).map(|_| walk.next()).collect::<Vec<_>>()
        };
        assert_eq!(order(1), order(1));
        assert_ne!(order(1), order(2));
        for fault in DIRECT.iter().chain(&RELAYED) {
            assert!(order(1).contains(fault), "{fault}");
        }
        let mut relayed = false;
        for fault in order(1) {
            assert_eq!(RELAYED.contains(&fault), relayed, "{fault}");
            relayed = relayed && fault != Fault::DirectBack || fault == Fault::DirectCut;
        }
    }

    #[test]
    fn each_change_that_is_not_survived_is_named() {
        let good = vec![(Fault::DirectCut, outcome(3000)), (Fault::DirectBack, outcome(1000))];
        assert_eq!(failures(&good, 2, true, true), Vec::<String>::new());
        let late = vec![(Fault::DirectCut, outcome(3001)), (Fault::DirectBack, Outcome { recovered: false, ..outcome(0) })];
        assert_eq!(
            failures(&late, 3, false, false),
            [
                "change 1, direct-cut: stall over 3 s",
                "change 2, direct-back: not recovered in time",
                "2 of 3 changes",
                "connection lost",
                "blocks missing"
            ]
        );
    }

    #[test]
    fn stalls_are_listed_by_fault() {
        let report = distribution(&[(Fault::DirectCut, outcome(1000)), (Fault::DirectCut, outcome(2000))]);
        let lines: Vec<Vec<&str>> = report.lines().skip(1).map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(
            lines,
            [["direct-cut", "2", "1.00", "s", "2.00", "s", "2.00", "s"], ["all", "2", "1.00", "s", "2.00", "s", "2.00", "s"]]
        );
    }
}
