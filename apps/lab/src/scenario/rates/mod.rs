//! A relay keeps the rates that its owner set, with circuits that send as fast as they can.

mod nodes;

use std::{fmt::Write as _, time::Duration};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::{
    announced::public_addresses,
    cast::{ANY, SESSION, sites, started, strings},
};
use crate::{
    cli::RatesArgs,
    evidence::Evidence,
    net::{Lab, NatKind, RELAY_IP, WireSpec},
    process::{Program, kaspath},
};

pub(crate) use nodes::flows;

/// Bytes per second that one peer may have, and all together; both bursts are small beside
/// what is measured.
const PER_PEER: f64 = 10e6;
const OVERALL: f64 = 40e6;
/// How far from it what is measured may lie.
const TOLERANCE: f64 = 0.05;
/// The least share of the mean that a circuit among equals must have.
const FAIR: f64 = 0.5;
/// Rates are measured once the bursts are used up.
const WARM_UP: Duration = Duration::from_secs(3);

/// What a number of circuits moved.
struct Measured {
    /// Bytes per second of each.
    each: Vec<f64>,
}

impl Measured {
    fn total(&self) -> f64 {
        self.each.iter().sum()
    }

    fn most(&self) -> f64 {
        self.each.iter().copied().fold(0.0, f64::max)
    }

    fn least(&self) -> f64 {
        self.each.iter().copied().fold(f64::INFINITY, f64::min)
    }

    /// What is wrong with it; `expected` is the rate of all together.
    fn verdict(&self, expected: f64) -> Option<String> {
        let off = self.total() / expected - 1.0;
        let mean = self.total() / self.each.len() as f64;
        if off.abs() > TOLERANCE {
            Some(format!("all together are {:+.1} % off {} MB/s", off * 100.0, expected / 1e6))
        } else if self.most() > PER_PEER * (1.0 + TOLERANCE) {
            Some(format!("one has {:.2} MB/s, more than {} MB/s", self.most() / 1e6, PER_PEER / 1e6))
        } else if self.least() < mean * FAIR {
            Some(format!("one has {:.2} MB/s, less than half of the mean", self.least() / 1e6))
        } else {
            None
        }
    }
}

pub(crate) async fn rates(args: &RatesArgs) -> Result<()> {
    let kaspath = kaspath(args.common.kaspath.as_ref())?;
    let evidence = Evidence::create(&args.common.evidence, "rates")?;
    let lab = Lab::build(sites(NatKind::PortRestricted, NatKind::PortRestricted, WireSpec::from_args(&args.common)))?;
    let appdir = tempfile::tempdir()?;
    let config = appdir.path().join("relay.toml");
    // All are on two hosts here, which the limits by address must not stop.
    std::fs::write(
        &config,
        format!(
            "[relay-server]\nmax-reservations-per-ip = 64\nmax-reservations-per-prefix = 64\nmax-circuits-per-ip = 64\n\
             max-circuits-per-prefix = 64\nbytes-per-second-per-peer = \"{}B\"\nbytes-per-second = \"{}B\"\n\n\
             [connections]\ninbound-per-address = 128\nburst-per-address = 256\n",
            PER_PEER, OVERALL
        ),
    )?;
    let mut relay_args = strings(&["relay", "--log-format", "json", "--drain-timeout", "0", "--config"]);
    relay_args.extend([config.display().to_string(), "--appdir".to_owned(), appdir.path().display().to_string()]);
    relay_args.extend(strings(&ANY));
    let mut relay = Program::start("relay", &lab.relay, &kaspath, &relay_args)?;
    let peer = started(&mut relay).await?;
    let at_relay = format!("{}/p2p/{peer}", public_addresses(RELAY_IP)[0]);

    let mut report = String::new();
    writeln!(report, "{:<24}{:>12}{:>12}{:>12}{:>12}", "circuits of peers", "all, MB/s", "limit", "least", "most")?;
    let mut failures = Vec::new();
    let mut results = Vec::new();
    // Few peers meet the limit of each, many that of all.
    for (circuits, expected) in [(1, PER_PEER), (3, 3.0 * PER_PEER), (args.circuits, OVERALL)] {
        let measured = measure(&lab, &at_relay, circuits, Duration::from_secs(args.seconds)).await?;
        let [total, limit, least, most] = [measured.total(), expected, measured.least(), measured.most()].map(|rate| rate / 1e6);
        writeln!(report, "{circuits:<24}{total:>12.2}{limit:>12.2}{least:>12.2}{most:>12.2}")?;
        failures.extend(measured.verdict(expected).map(|wrong| format!("{circuits} circuits: {wrong}")));
        results.push(json!({ "circuits": circuits, "limit": expected, "bytes-per-second": measured.each }));
    }
    print!("{report}");
    evidence.table("report.txt", &report)?;
    evidence.events("relay", &relay.stop().await?)?;
    evidence.summary(&json!({ "scenario": "rates", "results": results, "failures": failures }))?;
    println!("evidence: {}", evidence.dir().display());
    if !failures.is_empty() {
        bail!("{}", failures.join("; "));
    }
    Ok(())
}

/// As many peers of one site send to as many of the other, each over a circuit of its own.
async fn measure(lab: &Lab, relay: &str, circuits: usize, time: Duration) -> Result<Measured> {
    let this = std::env::current_exe()?;
    let count = circuits.to_string();
    let receiving = strings(&["flows", "--relay", relay, "--count", &count]);
    let mut receiver = Program::start("receivers", &lab.sites[1].host, &this, &receiving)?;
    let reserved = receiver.wait_event("reserved", SESSION).await?;
    let peers = reserved["peers"].as_array().context("no peers")?;
    let mut sending = strings(&["flows", "--relay", relay]);
    for peer in peers {
        sending.extend(["--remote".to_owned(), peer.as_str().context("no peer id")?.to_owned()]);
    }
    let _sender = Program::start("senders", &lab.sites[0].host, &this, &sending)?;
    let flowing =
        |event: &Value| bytes(event).is_some_and(|bytes| bytes.len() == circuits && bytes.iter().all(|bytes| *bytes > 0.0));
    let first = receiver.wait_for("bytes over every circuit", SESSION, flowing).await?;
    let at = |event: &Value| event["at"].as_f64().unwrap_or_default();
    let reading_after = |begin: f64, wait: Duration| move |event: &Value| at(event) >= begin + wait.as_secs_f64();
    let begin = receiver.wait_for("the end of the bursts", SESSION, reading_after(at(&first), WARM_UP)).await?;
    let end = receiver.wait_for("the last reading", SESSION + time, reading_after(at(&begin), time)).await?;
    let (from, to) = (bytes(&begin).context("no bytes")?, bytes(&end).context("no bytes")?);
    let seconds = at(&end) - at(&begin);
    Ok(Measured { each: from.iter().zip(&to).map(|(from, to)| (to - from) / seconds).collect() })
}

/// What each receiver has got by a reading.
fn bytes(event: &Value) -> Option<Vec<f64>> {
    event["bytes"].as_array()?.iter().map(Value::as_f64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(each: &[f64], expected: f64) -> Option<String> {
        Measured { each: each.iter().map(|rate| rate * 1e6).collect() }.verdict(expected * 1e6)
    }

    #[test]
    fn rates_must_be_kept_by_all_by_each_and_be_fair() {
        assert_eq!(verdict(&[9.6], 10.0), None);
        assert!(verdict(&[9.4], 10.0).unwrap().contains("-6.0 %"));
        assert!(verdict(&[10.6, 9.4], 20.0).unwrap().contains("10.60"));
        assert!(verdict(&[9.9, 9.9, 9.9, 9.9, 0.5], 40.0).unwrap().contains("half"));
    }
}
