//! The dashboards' queries, asked of a Prometheus that has real series.

use std::fs;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::{common::Common, prometheus::Prometheus};
use crate::evidence::Evidence;

/// Of so many panels of a hundred a query must give something.
const LEAST_WITH_DATA: usize = 70;

/// Asks every query of a dashboard; none may be an error, and most must give a series.
pub(super) async fn check(common: &Common, prometheus: &Prometheus, file: &str, evidence: &Evidence) -> Result<()> {
    let path = common.monitoring.join("grafana").join(file);
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let dashboard: Value = serde_json::from_str(&text)?;
    let (mut panels, mut filled, mut report) = (0, 0, String::new());
    for panel in dashboard["panels"].as_array().context("no panels")? {
        let targets = panel["targets"].as_array().map(Vec::as_slice).unwrap_or_default();
        let mut series = 0;
        for query in targets.iter().filter_map(|target| target["expr"].as_str()) {
            series += prometheus.query(&filled_in(query)).await.with_context(|| format!("{file}: {}", panel["title"]))?.len();
        }
        panels += usize::from(!targets.is_empty());
        filled += usize::from(series > 0);
        if !targets.is_empty() {
            report.push_str(&format!("{series:4} series  {}\n", panel["title"].as_str().unwrap_or_default()));
        }
    }
    evidence.table(&format!("{file}.txt"), &report)?;
    println!("{file}: no query of {panels} panels is an error, {filled} have series");
    if filled * 100 < panels * LEAST_WITH_DATA {
        bail!("{file}: only {filled} of {panels} panels have anything to show:\n{report}");
    }
    Ok(())
}

/// A query as Grafana asks it, with everything selected.
fn filled_in(query: &str) -> String {
    let windows = ["[$__rate_interval]", "[5m]", "[15m]", "[1h]"];
    let query = query.replace("$job", ".*").replace("$instance", ".*");
    // The lab has not been there for longer.
    windows.iter().fold(query, |query, window| query.replace(window, "[1m]"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_filled_in() {
        let query = "rate(a_total{job=~\"$job\", instance=~\"$instance\"}[$__rate_interval])";
        assert_eq!(filled_in(query), "rate(a_total{job=~\".*\", instance=~\".*\"}[1m])");
    }
}
