//! Time to direct and to the first answer beside a stock swarm, and the throughput of plain
//! streams and sessions beside iperf3, all in one run.

use std::{fmt::Write as _, path::Path, time::Duration};

use anyhow::{Context, Result};
use serde_json::json;
use tokio::time::timeout;

use super::{
    cast::{Cast, SESSION, START, sites, started, strings},
    pump::Pump,
};
use crate::{
    cli::BenchArgs,
    evidence::Evidence,
    net::{Host, Lab, NatKind, RELAY_IP, WireSpec},
    process::{Program, in_host},
    stats::percentile,
};

/// A punch that has not succeeded by then counts as failed.
const GIVE_UP: Duration = Duration::from_secs(40);

pub(crate) async fn bench(args: &BenchArgs) -> Result<()> {
    if args.seconds > 0 {
        require_iperf().await?;
    }
    let wire = WireSpec::from_args(&args.common);
    // Host to host and back: four ways of one delay each.
    let rtt = wire.delay.as_secs_f64() * 4.0;
    let mut report = String::new();
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
            write_times(&mut report, &format!("{transport}, {name}"), times, args.runs, rtt)?;
            medians.push(
                json!({ "transport": transport, "swarm": name, "direct": times.len(), "runs": args.runs, "seconds": times }),
            );
        }
    }
    let answers = first_answers(args, wire, rtt, &mut report).await?;
    let throughput = match args.seconds {
        0 => Ok(Vec::new()),
        _ => measure_throughput(args, &mut report).await,
    };
    print!("{report}");
    let evidence = Evidence::create(&args.common.evidence, "bench")?;
    evidence.table("report.txt", &report)?;
    evidence.summary(&json!({ "rtt-seconds": rtt, "time-to-direct": medians, "first-answer": answers, "throughput": throughput.as_ref().ok() }))?;
    println!("evidence: {}", evidence.dir().display());
    throughput.map(drop)
}

/// Fails at once, and not after all punches.
async fn require_iperf() -> Result<()> {
    let found = tokio::process::Command::new("iperf3").arg("--version").output().await;
    found.map(drop).context("iperf3 is missing: install the package iperf3, or leave throughput out with --seconds 0")
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
async fn first_answers(args: &BenchArgs, wire: WireSpec, rtt: f64, report: &mut String) -> Result<Vec<serde_json::Value>> {
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
    Ok(results)
}

fn write_times(report: &mut String, name: &str, times: &[f64], runs: usize, rtt: f64) -> Result<()> {
    let (median, p95) = (percentile(times, 0.5), percentile(times, 0.95));
    let direct = format!("{}/{runs}", times.len());
    let (in_median, in_p95) = (median / rtt, p95 / rtt);
    let (median, p95) = (median * 1000.0, p95 * 1000.0);
    writeln!(report, "{name:<18}{direct:>8}{median:>11.1} ms{p95:>11.1} ms{in_median:>8.2} RTT{in_p95:>8.2} RTT")?;
    Ok(())
}

async fn measure_throughput(args: &BenchArgs, report: &mut String) -> Result<Vec<serde_json::Value>> {
    // Without delay, so that the code is measured and not the wire's windows;
    // full cones, so that iperf3 gets through as well.
    let nat = NatKind::FullCone;
    let lab = Lab::build(sites(nat, nat, WireSpec::default()))?;
    let reference = iperf(&lab, args.seconds).await?;
    writeln!(report, "\nOne stream between the same two hosts, punched and direct, no added delay, {} s each", args.seconds)?;
    writeln!(report, "{:<18}{:>9.0} MB/s", "iperf3 (TCP)", reference / 1e6)?;
    let mut results = vec![json!({ "name": "iperf3", "bytes-per-second": reference })];
    for transport in ["tcp", "quic"] {
        let mut plain_rate = 0.0;
        for session in [false, true] {
            let name = if session { format!("{transport}, session") } else { transport.to_owned() };
            let measured = async { Pump::start(&lab, transport, session).await?.rate(args.seconds).await };
            let rate = measured.await.with_context(|| format!("throughput over {name}"))?;
            write!(report, "{name:<18}{:>9.0} MB/s{:>8.2} of iperf3", rate / 1e6, rate / reference)?;
            if session {
                write!(report, "{:>8.2} of the plain stream", rate / plain_rate)?;
            }
            writeln!(report)?;
            plain_rate = rate;
            results.push(json!({ "name": name, "bytes-per-second": rate, "of-iperf3": rate / reference }));
        }
    }
    Ok(results)
}

async fn iperf(lab: &Lab, seconds: u64) -> Result<f64> {
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
        .args(["-c", &server_ip, "-t", &seconds.to_string(), "-J"])
        .output()
        .await
        .context("cannot start iperf3: install the package iperf3")?;
    let result: serde_json::Value = serde_json::from_slice(&output.stdout).context("iperf3's output")?;
    let bits = result["end"]["sum_received"]["bits_per_second"].as_f64();
    Ok(bits.with_context(|| format!("iperf3 measured nothing: {}", result["error"]))? / 8.0)
}
