//! Time to direct and to the first answer beside a stock swarm, and throughput, all in one
//! run.

use std::{fmt::Write as _, time::Duration};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{
    cast::{Cast, SESSION, sites, started, strings},
    pump::Pump,
    throughput,
};
use crate::{
    cli::{BenchArgs, BenchPart},
    evidence::Evidence,
    net::{Lab, NatKind, RELAY_IP, WireSpec},
    process::Program,
    stats::percentile,
};

/// A punch that has not succeeded by then counts as failed.
const GIVE_UP: Duration = Duration::from_secs(40);

pub(crate) async fn bench(args: &BenchArgs) -> Result<()> {
    let measures = |part| args.only.is_empty() || args.only.contains(&part);
    if measures(BenchPart::Throughput) {
        throughput::require_iperf().await?;
    }
    let wire = WireSpec::from_args(&args.common);
    // Host to host and back: four ways of one delay each.
    let rtt = wire.delay.as_secs_f64() * 4.0;
    let (mut report, mut summary) = (String::new(), json!({ "rtt-seconds": rtt }));
    if measures(BenchPart::TimeToDirect) {
        summary["time-to-direct"] = time_to_direct(args, wire, rtt, &mut report).await?;
    }
    if measures(BenchPart::FirstAnswer) {
        summary["first-answer"] = first_answers(args, wire, rtt, &mut report).await?;
    }
    let mut outcome = Ok(());
    if measures(BenchPart::Throughput) {
        match throughput::measure(args, &mut report).await {
            Ok(rates) => summary["throughput"] = rates,
            Err(error) => outcome = Err(error),
        }
    }
    print!("{report}");
    let evidence = Evidence::create(&args.common.evidence, "bench")?;
    evidence.table("report.txt", &report)?;
    evidence.summary(&summary)?;
    println!("evidence: {}", evidence.dir().display());
    outcome
}

async fn time_to_direct(args: &BenchArgs, wire: WireSpec, rtt: f64, report: &mut String) -> Result<Value> {
    writeln!(
        report,
        "Time to direct, {} x {}, {} ms between hosts and back, {} runs each",
        args.client_nat,
        args.server_nat,
        rtt * 1000.0,
        args.runs
    )?;
    writeln!(report, "{:<18}{:>8}{:>14}{:>14}{:>12}{:>12}", "", "direct", "median", "p95", "median", "p95")?;
    let mut medians = Vec::new();
    for (transport, policy) in [("tcp", "tcp-only"), ("quic", "quic-only")] {
        let mut ours = Vec::new();
        let mut stock = Vec::new();
        // Interleaved, so that whatever the machine does meanwhile hits both.
        for run in 1..=args.runs {
            eprint!("\r{transport}: run {run} of {}   ", args.runs);
            ours.extend(our_punch(args, wire, policy).await?);
            stock.extend(stock_punch(args, wire, transport).await?);
        }
        eprintln!();
        for (name, times) in [("ours", &ours), ("stock", &stock)] {
            write_times(report, &format!("{transport}, {name}"), times, args.runs, rtt)?;
            medians.push(
                json!({ "transport": transport, "swarm": name, "direct": times.len(), "runs": args.runs, "seconds": times }),
            );
        }
    }
    Ok(medians.into())
}

/// From the relayed connection's coming up to the direct one's, at the listener.
async fn our_punch(args: &BenchArgs, wire: WireSpec, policy: &'static str) -> Result<Option<f64>> {
    let specs = sites(args.client_nat, args.server_nat, wire);
    let mut cast = Cast::start(&args.common, "bench-punch", specs, policy).await?;
    cast.reserved().await?;
    cast.start_client().await?;
    let punched = cast.server.wait_event("punch-succeeded", GIVE_UP).await;
    let elapsed = punched.ok().and_then(|event| event["elapsed"].as_f64());
    let dir = cast.finish(json!({ "elapsed": elapsed })).await?;
    // Twenty folders a transport would bury the report.
    let _ = std::fs::remove_dir_all(dir);
    Ok(elapsed)
}

/// A stock relay and listener.
struct Stock<'a> {
    lab: &'a Lab,
    dialer: Vec<String>,
    listener: Program,
    _relay: Program,
}

impl<'a> Stock<'a> {
    async fn start(lab: &'a Lab, transport: &str) -> Result<Stock<'a>> {
        let this = std::env::current_exe()?;
        let (relay_listen, host_listen) = match transport {
            "quic" => (format!("/ip4/{RELAY_IP}/udp/4002/quic-v1"), "/ip4/0.0.0.0/udp/0/quic-v1"),
            _ => (format!("/ip4/{RELAY_IP}/tcp/4002"), "/ip4/0.0.0.0/tcp/0"),
        };
        let relay_args = strings(&["stock", "relay", "--listen", &relay_listen]);
        let mut relay = Program::start("stock relay", &lab.relay, &this, &relay_args)?;
        let at_relay = format!("{relay_listen}/p2p/{}", started(&mut relay).await?);
        let listener_args = strings(&["stock", "listener", "--listen", host_listen, "--relay", &at_relay]);
        let mut listener = Program::start("stock listener", &lab.sites[1].host, &this, &listener_args)?;
        let listener_id = started(&mut listener).await?;
        listener.wait_event("reserved", SESSION).await?;
        let remote = format!("{at_relay}/p2p-circuit/p2p/{listener_id}");
        let dialer = strings(&["stock", "dialer", "--listen", host_listen, "--relay", &at_relay, "--remote", &remote]);
        Ok(Stock { lab, dialer, listener, _relay: relay })
    }

    fn dial(&self) -> Result<Program> {
        Program::start("stock dialer", &self.lab.sites[0].host, &std::env::current_exe()?, &self.dialer)
    }
}

async fn stock_punch(args: &BenchArgs, wire: WireSpec, transport: &str) -> Result<Option<f64>> {
    let lab = Lab::build(sites(args.client_nat, args.server_nat, wire))?;
    let mut stock = Stock::start(&lab, transport).await?;
    let _dialer = stock.dial()?;
    stock.listener.wait_event("relayed", SESSION).await?;
    let direct = stock.listener.wait_event("direct", GIVE_UP).await;
    Ok(direct.ok().and_then(|event| event["elapsed"].as_f64()))
}

/// From the dial of a peer, by one that is connected to the relay, to the first answer: of
/// our sessions, and of the stock swarm's ping, which needs nothing but the circuit.
async fn first_answers(args: &BenchArgs, wire: WireSpec, rtt: f64, report: &mut String) -> Result<Value> {
    writeln!(report, "\nFirst answer after the dial, symmetric x symmetric, {} runs each", args.runs)?;
    let mut results = Vec::new();
    for transport in ["tcp", "quic"] {
        // Nobody can punch here, so each answer comes through the circuit.
        let lab = Lab::build(sites(NatKind::Symmetric, NatKind::Symmetric, wire))?;
        let mut pump = Pump::start(&lab, transport, true).await?;
        let stock = Stock::start(&lab, transport).await?;
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for run in 1..=args.runs {
            eprint!("\r{transport}, first answer: run {run} of {}   ", args.runs);
            ours.push(pump.first_answer().await?);
            let answered = stock.dial()?.wait_event("answered", SESSION).await?;
            theirs.push(answered["elapsed"].as_f64().context("no time")?);
        }
        eprintln!();
        for (name, times) in [("ours", &ours), ("stock", &theirs)] {
            write_times(report, &format!("{transport}, {name}"), times, args.runs, rtt)?;
            results.push(json!({ "transport": transport, "swarm": name, "seconds": times }));
        }
    }
    Ok(results.into())
}

fn write_times(report: &mut String, name: &str, times: &[f64], runs: usize, rtt: f64) -> Result<()> {
    let (median, p95) = (percentile(times, 0.5), percentile(times, 0.95));
    let direct = format!("{}/{runs}", times.len());
    let (in_median, in_p95) = (median / rtt, p95 / rtt);
    let (median, p95) = (median * 1000.0, p95 * 1000.0);
    writeln!(report, "{name:<18}{direct:>8}{median:>11.1} ms{p95:>11.1} ms{in_median:>8.2} RTT{in_p95:>8.2} RTT")?;
    Ok(())
}
