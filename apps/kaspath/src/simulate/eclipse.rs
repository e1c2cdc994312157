//! `kaspath simulate --eclipse`.

use std::{fs, time::Instant};

use anyhow::{Context, Result, bail};
use kaspath_simulator::{Attack, EclipseConfig, EclipseFigures, Given, Grouping, eclipse};

use crate::{cli::SimulateArgs, output};

/// How much more than the bound is allowed.
const MARGIN: f64 = 1.1;
/// Hours for which one node in twenty is watched.
const DAY: f64 = 24.0;

struct Row {
    what: String,
    figures: EclipseFigures,
    /// It is a control, which must be over the bound.
    is_control: bool,
}

pub(super) fn run(args: &SimulateArgs) -> Result<()> {
    let base = EclipseConfig { nodes: args.nodes.get(), seed: args.seed, ..EclipseConfig::default() };
    let mut plays: Vec<(String, EclipseConfig)> =
        Attack::ALL.map(|attack| (attack.describe().to_owned(), EclipseConfig { attack, ..base.clone() })).to_vec();
    let day = EclipseConfig { attack: Attack::All, hours: DAY, nodes: (base.nodes / 20).max(1), ..base.clone() };
    plays.push(("all of these, for a day".to_owned(), day));
    for count in [1, 4] {
        let what = format!("the same for a minute, given {count} of all relays, hostile or not");
        plays.push((what, EclipseConfig { attack: Attack::All, given: Given::Any(count), ..base.clone() }));
    }
    let control =
        EclipseConfig { attack: Attack::All, grouping: Grouping::Identities, nodes: (base.nodes / 100).max(1), ..base.clone() };
    plays.push(("control: without the group rule".to_owned(), control));

    let mut rows = Vec::new();
    for (what, config) in plays {
        let begin = Instant::now();
        let figures = eclipse(&config);
        output::remark(&format!("{what}: {} nodes in {:.1} s", config.nodes, begin.elapsed().as_secs_f64()));
        rows.push(Row { what, figures, is_control: config.grouping == Grouping::Identities });
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
    fn holds(&self) -> bool {
        let EclipseFigures { soon, soon_bound, later, later_bound, displaced, .. } = &self.figures;
        let within = *soon <= soon_bound * MARGIN && later.is_none_or(|later| later <= later_bound * MARGIN);
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
