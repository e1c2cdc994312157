//! Programs in the lab's hosts, and the events they print.

mod restartable;

use std::{
    collections::BTreeMap,
    fs::File,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    sync::mpsc,
    time::{Instant, timeout, timeout_at},
};

use crate::net::Host;
pub(crate) use restartable::Restartable;

/// Events kept for the evidence; more are counted only.
const MAX_KEPT: usize = 20_000;
/// Time for a program to end when it is told to, and a kaspad under it.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);

/// A running program that prints JSON lines.
pub(crate) struct Program {
    pub(crate) name: &'static str,
    child: Child,
    lines: mpsc::UnboundedReceiver<Value>,
    pub(crate) events: Vec<Value>,
    /// Transactions received, which are counted and not kept.
    pub(crate) transactions: u64,
    /// The same by the peer that sent them.
    gossip: BTreeMap<String, u64>,
}

impl Program {
    /// Starts `program args` in a host.
    pub(crate) fn start(name: &'static str, host: &Host, program: &Path, args: &[String]) -> Result<Self> {
        Self::spawn(name, in_host(host, program), program, args)
    }

    /// The same, with what it writes to standard error in a file.
    pub(crate) fn start_logged(name: &'static str, host: &Host, program: &Path, args: &[String], log: &Path) -> Result<Self> {
        let mut command = in_host(host, program);
        command.stderr(File::options().create(true).append(true).open(log)?);
        Self::spawn(name, command, program, args)
    }

    /// Starts `program args` by a command that runs it, such as one of [`in_host`].
    pub(crate) fn start_by(name: &'static str, command: Command, program: &Path, args: &[String]) -> Result<Self> {
        Self::spawn(name, command, program, args)
    }

    /// Starts `program args` beside the lab, with the sandbox's loopback.
    pub(crate) fn start_here(name: &'static str, program: &Path, args: &[String]) -> Result<Self> {
        Self::spawn(name, Command::new(program), program, args)
    }

    fn spawn(name: &'static str, mut command: Command, program: &Path, args: &[String]) -> Result<Self> {
        let mut child = command
            .args(args)
            .env("RUST_BACKTRACE", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let stdout = child.stdout.take().context("no standard output")?;
        let (sender, lines) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let mut reader = BufReader::new(stdout).lines();
            while let Ok(Some(line)) = reader.next_line().await {
                if let Ok(value) = serde_json::from_str(&line)
                    && sender.send(value).is_err()
                {
                    return;
                }
            }
        });
        Ok(Self { name, child, lines, events: Vec::new(), transactions: 0, gossip: BTreeMap::new() })
    }

    fn keep(&mut self, event: Value) {
        if event["event"] == "transaction-received" {
            self.transactions += 1;
            if let Some(peer) = event["peer"].as_str() {
                *self.gossip.entry(peer.to_owned()).or_default() += 1;
            }
        } else if self.events.len() < MAX_KEPT {
            self.events.push(event);
        }
    }

    /// The next event, or `None` if none comes in time.
    pub(crate) async fn next(&mut self, deadline: Instant) -> Result<Option<Value>> {
        match timeout_at(deadline, self.lines.recv()).await {
            Ok(Some(event)) => {
                self.keep(event.clone());
                Ok(Some(event))
            }
            Ok(None) => {
                let status = self.child.wait().await?;
                bail!("{} has ended ({status})", self.name)
            }
            Err(_) => Ok(None),
        }
    }

    /// Transactions received from a peer so far.
    pub(crate) fn gossip_from(&self, peer: &str) -> u64 {
        self.gossip.get(peer).copied().unwrap_or(0)
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> Result<u32> {
        self.child.id().with_context(|| format!("{} has ended", self.name))
    }

    /// Tells it to read its settings again.
    pub(crate) fn hang_up(&self) -> Result<()> {
        Ok(kill(Pid::from_raw(i32::try_from(self.pid()?)?), Signal::SIGHUP)?)
    }

    /// Tells it to end, and does not wait for it.
    pub(crate) fn terminate(&self) -> Result<()> {
        Ok(kill(Pid::from_raw(i32::try_from(self.pid()?)?), Signal::SIGTERM)?)
    }

    /// Takes what has come already.
    pub(crate) fn drain(&mut self) {
        while let Ok(event) = self.lines.try_recv() {
            self.keep(event);
        }
    }

    /// Waits for an event.
    pub(crate) async fn wait_for(&mut self, what: &str, within: Duration, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        let deadline = Instant::now() + within;
        loop {
            match self.next(deadline).await? {
                Some(event) if wanted(&event) => return Ok(event),
                Some(_) => {}
                None => {
                    let last: Vec<String> = self.events.iter().rev().take(6).rev().map(Value::to_string).collect();
                    bail!("{}: {what} did not come within {within:?}; the last events: {}", self.name, last.join("\n    "));
                }
            }
        }
    }

    /// Waits for an event by its name.
    pub(crate) async fn wait_event(&mut self, name: &str, within: Duration) -> Result<Value> {
        self.wait_for(name, within, |event| event["event"] == name).await
    }

    /// Whether an event of that name has come.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.events.iter().any(|event| event["event"] == name)
    }

    /// Ends it at once, by SIGKILL; its events.
    pub(crate) async fn kill(mut self) -> Result<Vec<Value>> {
        self.child.kill().await?;
        self.drain();
        Ok(self.events)
    }

    /// Tells it to end, in order, and insists on it.
    pub(crate) async fn stop(self) -> Result<Vec<Value>> {
        if self.child.id().is_some() {
            self.terminate()?;
        }
        self.ended().await
    }

    /// Waits until it has ended, in order; its events.
    pub(crate) async fn ended(mut self) -> Result<Vec<Value>> {
        let status = timeout(STOP_TIMEOUT, self.child.wait())
            .await
            .map_err(|_| anyhow::anyhow!("{} did not end within {STOP_TIMEOUT:?} of SIGTERM", self.name))??;
        self.drain();
        if !status.success() {
            bail!("{} ended with {status}", self.name);
        }
        Ok(self.events)
    }
}

/// The command that runs `program` in a host.
pub(crate) fn in_host(host: &Host, program: &Path) -> Command {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net=/run/netns/{}", host.namespace)).arg(program);
    command
}

/// The kaspath program: the one given, or the one beside this.
pub(crate) fn kaspath(given: Option<&PathBuf>) -> Result<PathBuf> {
    let path = match given {
        Some(path) => path.clone(),
        None => std::env::current_exe()?.with_file_name("kaspath"),
    };
    if !path.exists() {
        bail!("there is no kaspath at {}: build it (cargo build --release), or give --kaspath", path.display());
    }
    Ok(path.canonicalize()?)
}

/// Says how to get kaspad where it is not there.
pub(crate) fn need_kaspad(path: &Path) -> Result<()> {
    if !path.exists() {
        bail!("there is no kaspad at {}: run `.ci/install-kaspad`, or give --kaspad", path.display());
    }
    Ok(())
}
