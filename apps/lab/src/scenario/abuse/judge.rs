//! What must hold under attack, decided from what was measured.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::series::Scraped;

/// Time for one thing that an honest peer does.
pub(super) const LIMIT_SECONDS: f64 = 10.0;
/// Share of them that must be done in that time.
const SHARE: f64 = 0.95;
/// Resident memory of one program.
const MEMORY: u64 = 256 << 20;
/// Log lines a second of one program, on both outputs together.
const LINES: f64 = 200.0;
/// Seconds over which lines are averaged: a burst at a program's start is none.
const WINDOW: usize = 5;
/// An attack that did less than this share of what it was to do has proved nothing.
const ATTACKED: f64 = 0.8;
/// Fewer things done by honest peers prove nothing either.
const OPERATIONS: usize = 10;

/// Something that an honest peer did.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Operation {
    pub(super) what: String,
    pub(super) peer: String,
    /// When it began, in seconds of the wall clock.
    pub(super) begin: f64,
    pub(super) seconds: f64,
    pub(super) error: Option<String>,
}

impl Operation {
    fn is_good(&self) -> bool {
        self.error.is_none() && self.seconds <= LIMIT_SECONDS
    }
}

/// What one program did meanwhile.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Measured {
    pub(super) name: &'static str,
    pub(super) peak_bytes: u64,
    /// Lines in each second since its start.
    #[serde(skip)]
    pub(super) lines: Vec<u32>,
    /// Its metrics, if it serves them.
    pub(super) scraped: Option<Scraped>,
    /// How it ended, if it did before it was told to, or did not when it was.
    pub(super) ended: Option<String>,
}

/// One flood.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Round {
    pub(super) kind: String,
    pub(super) targets: String,
    /// Connections, or datagrams, that the attackers began, and were to begin.
    pub(super) begun: u64,
    pub(super) wanted: u64,
    pub(super) meanwhile: Vec<Operation>,
    pub(super) afterwards: Vec<Operation>,
    /// What a newcomer does afterwards.
    pub(super) expected_afterwards: usize,
    pub(super) programs: Vec<Measured>,
}

/// What comes of a flood.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Verdict {
    pub(super) share: f64,
    pub(super) slowest_seconds: f64,
    pub(super) peak_bytes: u64,
    pub(super) lines_per_second: f64,
    pub(super) slowest_scrape_seconds: f64,
    /// Why it failed; it passed if there is none.
    pub(super) faults: Vec<String>,
}

/// The most lines a second, over any [`WINDOW`] seconds.
fn worst_rate(lines: &[u32]) -> f64 {
    let sum = |window: &[u32]| f64::from(window.iter().sum::<u32>()) / WINDOW as f64;
    if lines.len() <= WINDOW { sum(lines) } else { lines.windows(WINDOW).map(sum).fold(0.0, f64::max) }
}

/// Judges a flood.
pub(super) fn judge(round: &Round) -> Verdict {
    let mut faults = Vec::new();
    let total = round.meanwhile.len();
    let good = round.meanwhile.iter().filter(|operation| operation.is_good()).count();
    let share = good as f64 / total.max(1) as f64;
    if total < OPERATIONS {
        let worst = first_error(&round.meanwhile);
        faults.push(format!("honest peers did {total} things only, {OPERATIONS} prove something; {worst}"));
    } else if share < SHARE {
        let worst = first_error(&round.meanwhile);
        faults.push(format!("{good} of {total} things that honest peers did were done in {LIMIT_SECONDS} s; {worst}"));
    }
    if (round.begun as f64) < round.wanted as f64 * ATTACKED {
        faults.push(format!("the attackers began {} of {} connections", round.begun, round.wanted));
    }
    for program in &round.programs {
        if program.peak_bytes > MEMORY {
            faults.push(format!("the {} took {} MiB", program.name, program.peak_bytes >> 20));
        }
        let rate = worst_rate(&program.lines);
        if rate > LINES {
            faults.push(format!("the {} printed {rate:.0} lines a second", program.name));
        }
        if let Some(scraped) = &program.scraped {
            faults.extend(scraped.faults(program.name));
        }
        if let Some(end) = &program.ended {
            faults.push(format!("the {} {end}", program.name));
        }
    }
    let done = round.afterwards.iter().filter(|operation| operation.is_good()).count();
    if done < round.expected_afterwards {
        let worst = first_error(&round.afterwards);
        faults.push(format!("afterwards a newcomer did {done} of {} things; {worst}", round.expected_afterwards));
    }
    Verdict {
        share,
        slowest_seconds: round.meanwhile.iter().map(|operation| operation.seconds).fold(0.0, f64::max),
        peak_bytes: round.programs.iter().map(|program| program.peak_bytes).max().unwrap_or_default(),
        lines_per_second: round.programs.iter().map(|program| worst_rate(&program.lines)).fold(0.0, f64::max),
        slowest_scrape_seconds: scrapes(round).map(|scraped| scraped.slowest_seconds).fold(0.0, f64::max),
        faults,
    }
}

fn scrapes(round: &Round) -> impl Iterator<Item = &Scraped> {
    round.programs.iter().filter_map(|program| program.scraped.as_ref())
}

fn first_error(operations: &[Operation]) -> String {
    let bad = operations.iter().find(|operation| !operation.is_good());
    bad.map_or_else(
        || "the others did not happen".to_owned(),
        |bad| format!("{} of {}: {}", bad.what, bad.peer, bad.error.as_deref().unwrap_or("too late")),
    )
}

/// The table's head.
pub(super) fn head() -> String {
    format!(
        "{:<18}{:<22}{:>8}{:>12}{:>9}{:>9}{:>9}{:>9}  verdict",
        "attack", "on", "begun", "honest ok", "slowest", "memory", "lines/s", "scrape"
    )
}

/// One line of the table, and one for each fault.
pub(super) fn row(round: &Round, verdict: &Verdict) -> String {
    let good = round.meanwhile.iter().filter(|operation| operation.is_good()).count();
    let mut text = format!(
        "{:<18}{:<22}{:>8}{:>12}{:>7.1} s{:>5} MiB{:>9.0}{:>6.0} ms  {}",
        round.kind,
        round.targets,
        round.begun,
        format!("{good}/{}", round.meanwhile.len()),
        verdict.slowest_seconds,
        verdict.peak_bytes >> 20,
        verdict.lines_per_second,
        verdict.slowest_scrape_seconds * 1_000.0,
        if verdict.faults.is_empty() { "ok" } else { "FAILED" }
    );
    for fault in &verdict.faults {
        // Writing to a string cannot fail.
        let _ = write!(text, "\n    {fault}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operation(seconds: f64, error: Option<&str>) -> Operation {
        Operation { what: "exchange".into(), peer: "a0".into(), begin: 0.0, seconds, error: error.map(str::to_owned) }
    }

    fn round() -> Round {
        Round {
            kind: "silent".into(),
            targets: "relay".into(),
            begun: 1000,
            wanted: 1000,
            meanwhile: vec![operation(0.5, None); 20],
            afterwards: vec![operation(0.5, None); 4],
            expected_afterwards: 4,
            programs: vec![Measured { name: "relay", peak_bytes: 30 << 20, lines: vec![1; 20], scraped: None, ended: None }],
        }
    }

    fn faults(change: impl FnOnce(&mut Round)) -> usize {
        let mut round = round();
        change(&mut round);
        judge(&round).faults.len()
    }

    #[test]
    fn a_flood_that_nobody_notices_passes() {
        assert_eq!(faults(|_| {}), 0);
        assert_eq!(judge(&round()).share, 1.0);
    }

    #[test]
    fn one_of_twenty_may_fail_and_no_more() {
        assert_eq!(faults(|round| round.meanwhile[0] = operation(1.0, Some("refused"))), 0);
        assert_eq!(faults(|round| round.meanwhile[..2].fill(operation(1.0, Some("refused")))), 1);
        assert_eq!(faults(|round| round.meanwhile[..2].fill(operation(10.5, None))), 1);
    }

    #[test]
    fn what_proves_nothing_fails() {
        assert_eq!(faults(|round| round.meanwhile.truncate(9)), 1);
        assert_eq!(faults(|round| round.begun = 700), 1);
        assert_eq!(faults(|round| round.afterwards.truncate(3)), 1);
    }

    #[test]
    fn memory_lines_and_ends_are_faults_of_their_own() {
        assert_eq!(faults(|round| round.programs[0].peak_bytes = 257 << 20), 1);
        assert_eq!(faults(|round| round.programs[0].lines = vec![201; 5]), 1);
        assert_eq!(faults(|round| round.programs[0].lines = vec![900, 0, 0, 0, 0, 0]), 0);
        assert_eq!(faults(|round| round.programs[0].ended = Some("ended: signal 6".into())), 1);
    }
}
