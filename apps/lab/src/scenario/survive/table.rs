//! The figures, for people and for programs.

use serde_json::{Value, json};

use super::figures::{Direct, Figures};
use crate::cli::Fault;

pub(super) const HEAD: &str = "        fault               limit  stall left  stall right  connection  blocks   direct again";

/// The faults and their limits.
pub(super) fn list() -> String {
    Fault::ALL.iter().map(|fault| format!("{fault:<19} {} s  {}\n", fault.limit().as_secs(), fault.about())).collect()
}

pub(super) fn row(fault: Fault, figures: Option<&Figures>) -> String {
    let limit = fault.limit();
    let Some(figures) = figures else {
        return format!("FAILED  {fault:<18} {:>4} s  its start state does not come", limit.as_secs());
    };
    let [left, right] = figures.stalls.map(|stall| stall.as_secs_f64());
    let connection = if figures.is_kept() { "same" } else { "lost" };
    let blocks = match (figures.recovered, figures.same_blocks) {
        (false, _) => "-",
        (true, true) => "all",
        (true, false) => "missing",
    };
    let direct = match figures.direct {
        None => "-".to_owned(),
        Some(Direct::Never) => "no".to_owned(),
        Some(Direct::After(time)) => format!("{:.1} s", time.as_secs_f64()),
    };
    let failures = figures.failures(limit);
    let (verdict, why) = if failures.is_empty() { ("ok", String::new()) } else { ("FAILED", failures.join(", ")) };
    let row = format!(
        "{verdict:<7} {fault:<18} {:>4} s {left:>9.1} s {right:>10.1} s  {connection:<10}  {blocks:<7}  {direct:<8}  {why}",
        limit.as_secs()
    );
    row.trim_end().to_owned()
}

pub(super) fn summary(rows: &[(Fault, Option<Figures>)]) -> Value {
    let row = |(fault, figures): &(Fault, Option<Figures>)| {
        let (name, limit) = (fault.to_string(), fault.limit().as_secs_f64());
        let Some(figures) = figures else { return json!({ "fault": name, "limit": limit, "failures": ["no start state"] }) };
        json!({
            "fault": name, "limit": limit, "stalls": figures.stalls.map(|stall| stall.as_secs_f64()),
            "connection-kept": figures.is_kept(), "same-blocks": figures.same_blocks,
            "direct-after": match figures.direct { Some(Direct::After(time)) => Some(time.as_secs_f64()), _ => None },
            "failures": figures.failures(fault.limit()),
        })
    };
    rows.iter().map(row).collect()
}
