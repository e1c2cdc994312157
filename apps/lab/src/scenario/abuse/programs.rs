//! Programs under attack, and what is measured of them.

use std::{
    collections::VecDeque,
    fs,
    path::Path,
    process::Stdio,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    process::Child,
    sync::Notify,
    time::{Instant, interval, timeout, timeout_at},
};

use super::{judge::Measured, series::Scraper};
use crate::{evidence::Evidence, net::Host, process::in_host};

/// What any program starts with on most systems, and as much memory as does not
/// take the machine along: what needs more has failed long before.
const LIMITS: [&str; 2] = ["--nofile=1024:", "--data=1073741824"];
/// Lines and events that are kept; all are counted.
const KEPT: usize = 400;
/// Time between two looks at a program's memory.
const SAMPLE: Duration = Duration::from_millis(200);
/// Time to end when it is told to.
const STOP: Duration = Duration::from_secs(10);

/// What a program has printed.
#[derive(Default)]
struct Log {
    lines: Vec<u32>,
    tail: VecDeque<String>,
    events: Vec<Value>,
}

struct Shared {
    log: Mutex<Log>,
    changed: Notify,
    peak: AtomicU64,
    begin: Instant,
}

impl Shared {
    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, line: String) {
        let second = self.begin.elapsed().as_secs() as usize;
        let mut log = self.log();
        if log.lines.len() <= second {
            log.lines.resize(second + 1, 0);
        }
        log.lines[second] += 1;
        if log.events.len() < KEPT
            && let Ok(event) = serde_json::from_str(&line)
        {
            log.events.push(event);
        }
        if log.tail.len() == KEPT {
            log.tail.pop_front();
        }
        log.tail.push_back(line);
        drop(log);
        self.changed.notify_one();
    }
}

/// A running program.
pub(super) struct Watched {
    pub(super) name: &'static str,
    child: Child,
    shared: Arc<Shared>,
    scraper: Option<Scraper>,
}

impl Watched {
    /// Starts `program args` in a host, with the limits that programs usually have.
    pub(super) fn start(name: &'static str, host: &Host, program: &Path, args: &[&str]) -> Result<Self> {
        let mut child = in_host(host, Path::new("prlimit"))
            .args(LIMITS)
            .arg(program)
            .args(args)
            .env("RUST_BACKTRACE", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("cannot start prlimit: install the package util-linux")?;
        let shared =
            Arc::new(Shared { log: Mutex::default(), changed: Notify::new(), peak: AtomicU64::new(0), begin: Instant::now() });
        read(child.stdout.take().context("no standard output")?, shared.clone());
        read(child.stderr.take().context("no standard error")?, shared.clone());
        tokio::spawn(sample(child.id().context("no process")?, shared.clone()));
        Ok(Self { name, child, shared, scraper: None })
    }

    /// Has its metrics scraped from now on, at that port of its host's loopback.
    pub(super) async fn scrape(&mut self, host: &Host, port: u16) -> Result<()> {
        self.scraper = Some(Scraper::start(host, port).await.with_context(|| self.name.to_owned())?);
        Ok(())
    }

    /// Waits for an event among the first.
    pub(super) async fn wait_for(&mut self, what: &str, within: Duration, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        let deadline = Instant::now() + within;
        loop {
            let found = self.shared.log().events.iter().find(|event| wanted(event)).cloned();
            if let Some(event) = found {
                return Ok(event);
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("the {} ended ({status}): {}", self.name, self.last_lines());
            }
            if timeout_at(deadline, self.shared.changed.notified()).await.is_err() {
                bail!("the {}: {what} did not come within {within:?}: {}", self.name, self.last_lines());
            }
        }
    }

    fn last_lines(&self) -> String {
        let log = self.shared.log();
        log.tail.iter().rev().take(4).rev().cloned().collect::<Vec<_>>().join("\n    ")
    }

    /// Ends it in order; what was measured, with the last lines as evidence.
    pub(super) async fn stop(mut self, evidence: &Evidence, label: &str) -> Result<Measured> {
        let scraped = self.scraper.as_ref().map(Scraper::stop);
        let ended = match self.child.try_wait()? {
            Some(status) => Some(format!("ended ({status})")),
            None => self.end().await?,
        };
        let log = self.shared.log();
        let lines: Vec<&str> = log.tail.iter().map(String::as_str).collect();
        evidence.table(&format!("{label}-{}.log", self.name), &(lines.join("\n") + "\n"))?;
        let peak_bytes = self.shared.peak.load(Ordering::Relaxed);
        Ok(Measured { name: self.name, peak_bytes, lines: log.lines.clone(), scraped, ended })
    }

    async fn end(&mut self) -> Result<Option<String>> {
        let pid = self.child.id().context("no process")?;
        kill(Pid::from_raw(i32::try_from(pid)?), Signal::SIGTERM)?;
        Ok(match timeout(STOP, self.child.wait()).await {
            Ok(status) => Some(status?).filter(|status| !status.success()).map(|status| format!("failed at its end ({status})")),
            Err(_) => Some(format!("did not end within {STOP:?} of SIGTERM")),
        })
    }
}

fn read(output: impl AsyncRead + Unpin + Send + 'static, shared: Arc<Shared>) {
    tokio::spawn(async move {
        let mut lines = BufReader::new(output).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            shared.keep(line);
        }
        shared.changed.notify_one();
    });
}

/// The most memory that a process has had so far, until it is gone.
async fn sample(pid: u32, shared: Arc<Shared>) {
    let mut ticks = interval(SAMPLE);
    loop {
        ticks.tick().await;
        let Ok(status) = fs::read_to_string(format!("/proc/{pid}/status")) else { return };
        let Some(peak) = peak(&status) else { return };
        shared.peak.fetch_max(peak, Ordering::Relaxed);
    }
}

/// `VmHWM`, in bytes; a process that has ended and is not waited for has none.
fn peak(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_is_read_in_bytes() {
        assert_eq!(peak("Name:\tkaspath\nVmHWM:\t   18028 kB\nVmRSS:\t   17000 kB\n"), Some(18_028 * 1024));
        assert_eq!(peak("Name:\tkaspath\nState:\tZ (zombie)\n"), None);
    }
}
