//! `kaspath simulate`.

mod eclipse;

use std::{fs, path::Path, time::Instant};

use anyhow::{Context, Result};
use kaspath_policy::StrategyConfig;
use kaspath_simulator::{Figures, Population, SimulationConfig, plot, simulate, table};

use crate::{cli::SimulateArgs, output};

pub(crate) fn run(args: &SimulateArgs) -> Result<()> {
    if args.eclipse {
        return eclipse::run(args);
    }
    let population = Population { plain: args.plain_peers, ..Population::default() };
    let config = SimulationConfig { peers: args.peers.get(), per_node: args.per_node.get(), seed: args.seed, population };
    let mut all = Vec::new();
    for name in &args.policy {
        let begin = Instant::now();
        let figures = simulate(&config, &|| StrategyConfig::new(*name).build());
        output::remark(&format!("{name}: {} peers in {:.1} s", figures.peers, begin.elapsed().as_secs_f64()));
        all.push(figures);
    }
    let text = report(args, &config, &all);
    output::answer(&format!("{text}\n"), false)?;
    if let Some(dir) = &args.out {
        write(dir, "report.md", &text)?;
        write(dir, "usable.svg", &plot(&all))?;
    }
    Ok(())
}

fn report(args: &SimulateArgs, config: &SimulationConfig, all: &[Figures]) -> String {
    let shares = config.population.shares;
    let names: Vec<String> = args.policy.iter().map(ToString::to_string).collect();
    // Only what is written is named.
    let (out, plot) = match &args.out {
        Some(dir) => (format!(" --out {}", dir.display()), "\n![peers usable by the time since the dial](usable.svg)\n"),
        None => (String::new(), ""),
    };
    format!(
        "# Policies, simulated

Made by `kaspath simulate --peers {} --per-node {} --seed {} --policy {} --plain-peers {}{out}`: each node dials
{} private peers through relays, a minute apart, and its policy learns from them.

{}{plot}
*Reached* is any stream, *usable* the peer's first answer on it, *direct* a direct path within 30 minutes. A
session begins on the circuit: its first answer comes 3 round trips after the dial (CONNECT, Noise, the answer),
and the punch goes on behind it. {:.0} % of peers speak no sessions; these wait for the punch first, as the policy
says, and for one round trip more, in which the stream is negotiated. NATs: full-cone {:.0} %, address-restricted
{:.0} %, port-restricted {:.0} %, symmetric {:.0} %, by which {:.0} % of pairs can be punched (70 % +- 7.1 % were, in
Trautwein et al. 2025, arXiv:2510.27500); {:.1} % of these at the first attempt (the same study). No UDP in {:.0} %
of networks, no TCP punch in {:.0} %; a relay is down in {:.0} % and full in {:.0} % of dials. The round trip's median
is {} ms. A punch takes what `kaspath-lab bench` measures: 4.5 round trips over TCP, 3 over QUIC.
",
        config.peers,
        config.per_node,
        config.seed,
        names.join(","),
        config.population.plain,
        config.per_node,
        table(all),
        config.population.plain * 100.0,
        shares.full_cone * 100.0,
        shares.address_restricted * 100.0,
        shares.port_restricted * 100.0,
        shares.symmetric * 100.0,
        shares.punchable() * 100.0,
        config.population.first_attempt * 100.0,
        config.population.udp_blocked * 100.0,
        config.population.tcp_hostile * 100.0,
        config.population.relay_down * 100.0,
        config.population.relay_full * 100.0,
        config.population.round_trip.as_millis(),
    )
}

fn write(dir: &Path, name: &str, text: &str) -> Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    fs::write(dir.join(name), text).with_context(|| format!("cannot write {}", dir.join(name).display()))
}
