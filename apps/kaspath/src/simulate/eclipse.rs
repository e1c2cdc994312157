//! `kaspath simulate --eclipse`.

use std::{fs, time::Instant};

use anyhow::{Context, Result, bail};
use kaspath_simulator::{Attack, EclipseConfig, EclipseFigures, Given, Grouping, eclipse};

use crate::{cli::SimulateArgs, output};

/// How much more than the bound is allowed; with fewer nodes than these, one standard error more.
const MARGIN: f64 = 1.1;
const ENOUGH: usize = 10_000;
/// Hours for which one node in twenty is watched.
const DAY: f64 = 24.0;
/// Honest relays that are down in one of the plays: a fifth of them.
const DOWN: usize = 8;
/// Hostile relays more in the control, where each of them is known and asked: with so many the
/// attacker has three quarters of all, which is enough to show.
const CONTROL_RELAYS: usize = 100;

struct Row {
    what: String,
    figures: EclipseFigures,
    /// It has fewer nodes than it takes for an exact figure, and is no control.
    has_slack: bool,
    nodes: usize,
    /// It is a control, which must be over the bound.
    is_control: bool,
}

pub(super) fn run(args: &SimulateArgs) -> Result<()> {
    let base = EclipseConfig { nodes: args.nodes.get(), seed: args.seed, ..EclipseConfig::default() };
    let mut plays: Vec<(String, EclipseConfig)> =
        Attack::ALL.map(|attack| (attack.describe().to_owned(), EclipseConfig { attack, ..base.clone() })).to_vec();
    let down = EclipseConfig { attack: Attack::All, down: DOWN, ..base.clone() };
    plays.push((format!("all of these, and {DOWN} of the {} honest relays are down", base.relays - base.hostile_relays), down));
    let day = EclipseConfig { attack: Attack::All, hours: DAY, nodes: (base.nodes / 20).max(1), ..base.clone() };
    plays.push(("all of these, for a day".to_owned(), day));
    for count in [1, 4] {
        let what = format!("all of these for a minute, given {count} of all relays, hostile or not");
        plays.push((what, EclipseConfig { attack: Attack::All, given: Given::Any(count), ..base.clone() }));
    }
    let control = EclipseConfig {
        attack: Attack::Relays,
        more_relays: CONTROL_RELAYS,
        grouping: Grouping::Identities,
        nodes: (base.nodes / 100).max(10),
        ..base.clone()
    };
    plays.push(("control: without the group rule".to_owned(), control));

    let mut rows = Vec::new();
    for (what, config) in plays {
        let begin = Instant::now();
        let figures = eclipse(&config);
        output::remark(&format!("{what}: {} nodes in {:.1} s", config.nodes, begin.elapsed().as_secs_f64()));
        let is_control = config.grouping == Grouping::Identities;
        rows.push(Row { what, figures, has_slack: base.nodes < ENOUGH && !is_control, nodes: config.nodes, is_control });
    }
    let text = table(args, &base, &rows);
    output::answer(&text, false)?;
    if let Some(dir) = &args.out {
        fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        fs::write(dir.join("eclipse.md"), &text).with_context(|| format!("cannot write to {}", dir.display()))?;
    }
    let failed: Vec<&str> = rows.iter().filter(|row| !row.holds()).map(|row| row.what.as_str()).collect();
    if failed.is_empty() { Ok(()) } else { bail!("not as the group rule promises: {}", failed.join("; ")) }
}

impl Row {
    fn limit(&self, bound: f64) -> f64 {
        let standard_error = (bound * (1.0 - bound) / self.nodes as f64).sqrt();
        bound * MARGIN + if self.has_slack { standard_error } else { 0.0 }
    }

    fn holds(&self) -> bool {
        let EclipseFigures { soon, soon_bound, later, later_bound, displaced, .. } = &self.figures;
        let within = *soon <= self.limit(*soon_bound) && later.is_none_or(|later| later <= self.limit(*later_bound));
        within != self.is_control && *displaced == 0
    }
}

fn table(args: &SimulateArgs, base: &EclipseConfig, rows: &[Row]) -> String {
    let mut text = format!(
        "Made by `kaspath simulate --eclipse --nodes {} --seed {}`: {} relays, {:.0} % of them hostile, {:.0} % of the prefixes that \
         honest relays list, {} peers wanted.\n\n\
         | attack | all peers hostile after a minute | bound | in a day | bound | peers of the user displaced |\n|---|---|---|---|---|---|\n",
        args.nodes,
        args.seed,
        base.relays,
        base.hostile_relays as f64 / base.relays as f64 * 100.0,
        base.hostile_peers * 100.0,
        base.slots
    );
    for Row { what, figures, .. } in rows {
        let EclipseFigures { soon, soon_bound, later, later_bound, displaced, .. } = figures;
        let day = later.map_or("| | ".to_owned(), |later| format!("| {later:.3} | {later_bound:.3} "));
        text.push_str(&format!("| {what} | {soon:.3} | {soon_bound:.3} {day}| {displaced} |\n"));
    }
    text
}
