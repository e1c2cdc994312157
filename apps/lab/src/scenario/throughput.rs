//! The throughput of a session beside that of a plain stream, in pairs, and of iperf3.

use std::{fmt::Write as _, path::Path};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{
    cast::{START, sites},
    pump::Pump,
};
use crate::{
    cli::BenchArgs,
    net::{Host, Lab, NatKind, WireSpec},
    process::in_host,
    stats::percentile,
};

/// The least part of a plain stream's throughput that a session should have, with the
/// processors as the limit and with the wire as the limit.
const LEAST_BY_PROCESSOR: f64 = 0.93;
const LEAST_BY_WIRE: f64 = 0.97;
/// Time before the clock starts, and round trips in it: windows grow by round trips.
const WARM_UP: f64 = 1.0;
const WARM_UP_ROUND_TRIPS: f64 = 25.0;

/// Fails at once, and not after all punches.
pub(super) async fn require_iperf() -> Result<()> {
    let found = tokio::process::Command::new("iperf3").arg("--version").output().await;
    found.map(drop).context("iperf3 is missing: install the package iperf3, or leave throughput out with --only")
}

pub(super) async fn measure(args: &BenchArgs, report: &mut String) -> Result<Value> {
    // Without delay, so that the code is measured and not the wire's windows, unless a rate
    // is given; full cones, so that iperf3 gets through as well.
    let rate = args.rate.map(|megabits| megabits * 1_000_000);
    let wire = rate.map_or(WireSpec::default(), |_| WireSpec { rate, ..WireSpec::from_args(&args.common) });
    let rtt = wire.delay * 4;
    let warm_up = (WARM_UP + WARM_UP_ROUND_TRIPS * rtt.as_secs_f64()).min(60.0) as u8;
    let (as_fast, least) = match args.rate {
        Some(rate) => (format!("{rate} Mbit/s, {} ms between the hosts and back", rtt.as_millis()), LEAST_BY_WIRE),
        None => ("no added delay".to_owned(), LEAST_BY_PROCESSOR),
    };
    let lab = Lab::build(sites(NatKind::FullCone, NatKind::FullCone, wire))?;
    let reference = iperf(&lab, warm_up, args.seconds).await?;
    writeln!(report, "\nOne stream between the same two hosts, punched and direct, {as_fast}:")?;
    writeln!(report, "{} x {} s each after {warm_up} s, plain and session in turn", args.pairs, args.seconds)?;
    writeln!(report, "{:<18}{:>9.1} MB/s", "iperf3 (TCP)", reference / 1e6)?;
    let mut results = vec![json!({ "name": "iperf3", "bytes-per-second": reference })];
    for transport in ["tcp", "quic"] {
        let mut rates = [Vec::new(), Vec::new()];
        for pair in 1..=args.pairs {
            for (rates, session) in rates.iter_mut().zip([false, true]) {
                let what = if session { "session" } else { "plain stream" };
                eprint!("\r{transport}, throughput: pair {pair} of {}, {what}   ", args.pairs);
                let measured = async { Pump::start(&lab, transport, session).await?.rate(warm_up, args.seconds).await };
                rates.push(measured.await.with_context(|| format!("throughput of a {what} over {transport}"))?);
            }
        }
        eprintln!();
        for (name, rates) in [transport.to_owned(), format!("{transport}, session")].iter().zip(&rates) {
            let median = percentile(rates, 0.5);
            writeln!(report, "{name:<18}{:>9.1} MB/s{:>8.2} of iperf3", median / 1e6, median / reference)?;
        }
        let ratios = ratios(&rates);
        writeln!(report, "{}", verdict(transport, &ratios, least))?;
        let [plain, session] = rates;
        results.push(json!({
            "name": transport, "bytes-per-second": plain, "bytes-per-second-session": session, "ratios": ratios, "least": least,
        }));
    }
    Ok(results.into())
}

/// What each session moved of what the plain stream just before it did.
fn ratios([plain, session]: &[Vec<f64>; 2]) -> Vec<f64> {
    plain.iter().zip(session).map(|(plain, session)| session / plain).collect()
}

fn verdict(transport: &str, ratios: &[f64], least: f64) -> String {
    let [low, median, high] = [0.0, 0.5, 1.0].map(|p| percentile(ratios, p));
    let verdict = if median >= least { "ok" } else { "TOO LITTLE" };
    format!(
        "{transport}: a session moves {median:.3} ({low:.3} to {high:.3}) of a plain stream, at least {least:.2} wanted: {verdict}"
    )
}

async fn iperf(lab: &Lab, warm_up: u8, seconds: u8) -> Result<f64> {
    let server_ip = lab.sites[1].wan_ip.to_string();
    let enter = |host: &Host| {
        let mut command = in_host(host, Path::new("iperf3"));
        command.kill_on_drop(true);
        command
    };
    let mut server = enter(&lab.sites[1].host)
        .args(["-s", "-1", "--forceflush"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .context("cannot start iperf3: install the package iperf3")?;
    // It says so when it listens.
    let stdout = server.stdout.take().context("no output")?;
    let mut lines = tokio::io::AsyncBufReadExt::lines(tokio::io::BufReader::new(stdout));
    timeout(START, async {
        while let Some(line) = lines.next_line().await? {
            if line.contains("listening") {
                return anyhow::Ok(());
            }
        }
        anyhow::bail!("iperf3 ended")
    })
    .await
    .context("iperf3 does not listen")??;
    let output = enter(&lab.sites[0].host)
        .args(["-c", &server_ip, "-O", &warm_up.to_string(), "-t", &seconds.to_string(), "-J"])
        .output()
        .await
        .context("cannot start iperf3: install the package iperf3")?;
    let result: Value = serde_json::from_slice(&output.stdout).context("iperf3's output")?;
    let bits = result["end"]["sum_received"]["bits_per_second"].as_f64();
    Ok(bits.with_context(|| format!("iperf3 measured nothing: {}", result["error"]))? / 8.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_session_is_compared_with_the_plain_stream_before_it() {
        let ratios = ratios(&[vec![100.0, 200.0, 50.0], vec![95.0, 180.0, 50.0]]);
        assert_eq!(ratios, [0.95, 0.9, 1.0]);
        assert_eq!(
            verdict("tcp", &ratios, 0.95),
            "tcp: a session moves 0.950 (0.900 to 1.000) of a plain stream, at least 0.95 wanted: ok"
        );
        assert!(verdict("quic", &ratios, 0.96).ends_with("TOO LITTLE"));
    }
}
