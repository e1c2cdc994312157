//! The status page in a browser: does it show what happens, and when.
//!
//! | file | what it does |
//! |---|---|
//! | `browse` | a part of the scenario, beside the node whose page it opens: prints what the page shows |
//! | `driver` | a browser, by WebDriver |

mod browse;
mod driver;

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use kaspath_domain::wall_clock;
use serde_json::{Value, json};
use tokio::{
    process::Command,
    time::{Instant, sleep},
};

use super::cast::{Cast, is_direct_session, ready_over_relay, sites, strings};
use crate::{
    cli::PageArgs,
    net::{NatKind, WireSpec},
    process::Program,
};
pub(crate) use browse::browse;

/// Where the client has its page, within its host.
const PAGE: &str = "127.0.0.1:4002";
/// Time for a browser to start, on a busy machine.
const BROWSER: Duration = Duration::from_secs(60);
/// Punches go on every few seconds.
const RETRIED: Duration = Duration::from_secs(60);
/// A move must be shown by then.
const SHOWN: f64 = 2.0;
/// The page must notice by then that the program is gone: it is sent something each second.
const LOST: Duration = Duration::from_secs(10);
/// How often `kaspath status` is asked.
const ASKED: Duration = Duration::from_millis(100);

pub(crate) async fn page(args: &PageArgs) -> Result<()> {
    let specs = sites(NatKind::Symmetric, NatKind::PortRestricted, WireSpec::from_args(&args.common));
    let mut cast = Cast::start(&args.common, "page", specs, "balanced").await?;
    cast.reserved().await?;
    let relay = cast.relay_address().to_owned();
    cast.start_client_with(&["--relay", &relay, "--web-listen", PAGE]).await?;
    ready_over_relay(cast.client()?).await?;

    let mut browser = start_browser(args, &cast)?;
    let is_shown = |path: &'static str| {
        move |event: &Value| {
            event["event"] == "page" && event["connection"] == "live" && texts(event, "peers").any(|text| text.contains(path))
        }
    };
    let shown = browser.wait_for("the peer on the page", BROWSER, is_shown("relayed through")).await?;
    println!("the page shows: {}", texts(&shown, "peers").next().unwrap_or_default());

    cast.lab.change_nat(1, NatKind::FullCone)?;
    println!("the server's NAT is a full cone from now on");
    let by_command = tokio::spawn(direct_by_command(status_command(args, &cast)?));
    let is_move = |event: &Value| event["event"] == "session-moved" && is_direct_session(event);
    let moved = time(&cast.client()?.wait_for("the move to a direct path", RETRIED, is_move).await?)?;
    let shown = browser.wait_for("the direct path on the page", BROWSER, is_shown("direct over")).await?;
    let by_page = time(&shown)? - moved;
    let by_command = by_command.await?? - moved;
    println!("the session moved; the page showed it {by_page:.2} s later, `kaspath status --json` {by_command:.2} s later");
    ensure!(by_page <= SHOWN && by_command <= SHOWN, "a move has to be shown within {SHOWN} s");
    let of_move = texts(&shown, "moves").next().context("the page lists no move")?;
    ensure!(of_move.contains("relayed through") && of_move.contains("direct over"), "the page shows of the move: {of_move}");

    let report = browser.wait_event("report", BROWSER).await?;
    ensure!(report["console"] == json!([]), "the browser's console: {}", report["console"]);
    ensure!(report["elsewhere"] == json!([]), "the page asked elsewhere: {}", report["elsewhere"]);
    ensure!(report["requests"].as_u64() >= Some(4), "requests of the page: {}", report["requests"]);
    let widths = report["widths"].as_array().context("no widths")?;
    ensure!(
        widths.len() == 2 && widths.iter().all(|width| width["window"].as_u64() >= width["page"].as_u64()),
        "the page is wider than its window: {widths:?}"
    );
    println!("no console messages, no requests elsewhere, nothing wider than a phone's 390 px");

    let begin = Instant::now();
    cast.stop_client().await?;
    browser
        .wait_for("the lost connection", LOST, |event| event["event"] == "page" && event["connection"] == "connection lost")
        .await?;
    let lost = begin.elapsed();
    println!("the program ended; the page said so {:.1} s later", lost.as_secs_f64());

    let summary = json!({
        "scenario": "the status page", "page-seconds": by_page, "command-seconds": by_command, "lost-seconds": lost.as_secs_f64(),
    });
    drop(browser);
    cast.finish(summary).await?;
    println!("passed");
    Ok(())
}

fn start_browser(args: &PageArgs, cast: &Cast) -> Result<Program> {
    let url = format!("http://{PAGE}/");
    let programs = [&args.chromedriver, &args.chromium].map(|path| path.display().to_string());
    let mut browse = strings(&["browse", "--url", &url, "--chromedriver", &programs[0], "--chromium", &programs[1]]);
    if let Some(dir) = &args.screenshots {
        browse.extend(strings(&["--screenshots", &dir.display().to_string()]));
    }
    Program::start("browser", &cast.lab.sites[0].host, &std::env::current_exe()?, &browse)
}

fn status_command(args: &PageArgs, cast: &Cast) -> Result<Command> {
    let mut command = Command::new(crate::process::kaspath(args.common.kaspath.as_ref())?);
    command.args(["status", "--node", "--json", "--appdir"]).arg(cast.client_dir()).kill_on_drop(true);
    Ok(command)
}

/// When `kaspath status --json` has shown a direct path, by the wall clock.
async fn direct_by_command(mut command: Command) -> Result<f64> {
    let deadline = Instant::now() + RETRIED + BROWSER;
    while Instant::now() < deadline {
        let output = command.output().await?;
        let status: Value = serde_json::from_slice(&output.stdout).context("`kaspath status --json`")?;
        if status["peers"]["shown"][0]["path"]["direct"].is_object() {
            ensure!(status["moves"][0]["to"]["direct"].is_object(), "the status has no move: {}", status["moves"]);
            return Ok(wall_clock().since_epoch().as_secs_f64());
        }
        sleep(ASKED).await;
    }
    bail!("`kaspath status` shows no direct path")
}

/// The rows of a table of the page.
fn texts<'a>(event: &'a Value, table: &str) -> impl Iterator<Item = &'a str> {
    event[table].as_array().into_iter().flatten().filter_map(Value::as_str)
}

fn time(event: &Value) -> Result<f64> {
    event["time"].as_f64().with_context(|| format!("no time in {event}"))
}
