//! Starts kaspad, passes signals on, starts it again when it fails.

use std::{
    os::fd::AsFd,
    process::{ExitStatus, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use kaspath_domain::RetryCadence;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    net::TcpStream,
    process::{Child, Command},
    time::{interval_at, sleep, timeout},
};

use super::KaspadPlan;
use crate::{
    cli::LogFormat,
    output::{Printer, ProgramEvent, WarningCode},
};

/// A first start that ends sooner has a wrong flag, or data that is in use.
const AT_ONCE: Duration = Duration::from_secs(5);
/// A kaspad that has run for so long starts the cadence anew.
const HEALTHY: Duration = Duration::from_secs(120);
/// kaspad writes its caches down when it ends, which takes a while on a slow disk.
const PATIENCE: Duration = Duration::from_secs(120);
/// Between two lines that say so.
const PROGRESS: Duration = Duration::from_secs(5);

/// A running kaspad. Dropping it, also by a panic, sends SIGTERM.
struct Kaspad(Child);

impl Kaspad {
    fn signal(&self, signal: Signal) {
        // Without an id it has been waited for already; with one it may have ended in
        // this very moment.
        if let Some(pid) = self.0.id().and_then(|pid| i32::try_from(pid).ok()) {
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }
}

impl Drop for Kaspad {
    fn drop(&mut self) {
        self.signal(Signal::SIGTERM);
    }
}

/// Looks after one kaspad.
pub(crate) struct Supervisor {
    plan: KaspadPlan,
    printer: Printer,
    format: LogFormat,
}

impl Supervisor {
    pub(crate) fn new(plan: KaspadPlan, printer: Printer, format: LogFormat) -> Self {
        Self { plan, printer, format }
    }

    /// Says what kaspad gets beside its owner's flags.
    fn explain(&self) {
        for change in &self.plan.changes {
            let (flag, reason) = change.split_once(": ").unwrap_or((change, ""));
            self.printer.own(&ProgramEvent::KaspadFlag { flag: flag.to_owned(), reason: reason.to_owned() });
        }
        self.printer.line(
            "kaspad's --listen, and your own --externalip and UPnP settings, stay as they are: who reached it before still does",
        );
        for warning in &self.plan.warnings {
            self.printer.warn(WarningCode::KaspadFlags, warning);
        }
    }

    /// Runs kaspad until it exits successfully, or until `stop` gives a signal to pass
    /// on. Dropping the future sends kaspad SIGTERM and does not wait for it: let it
    /// return.
    pub(crate) async fn run(&self, stop: impl Future<Output = Signal>) -> Result<()> {
        self.check_port_is_free().await?;
        self.explain();
        let cadence = RetryCadence::persistent();
        let mut failures = 0;
        let mut first = true;
        tokio::pin!(stop);
        loop {
            let begin = Instant::now();
            let mut child = self.spawn()?;
            let status = tokio::select! {
                status = child.0.wait() => status.context("cannot wait for kaspad")?,
                signal = &mut stop => return self.end(child, signal).await,
            };
            let ran = begin.elapsed();
            if status.success() {
                self.ended(status, ran, None);
                return Ok(());
            }
            // One that was killed has neither.
            if first && ran < AT_ONCE && status.code().is_some() {
                bail!("kaspad ended at once ({}): what it printed says why", status);
            }
            first = false;
            failures = if ran > HEALTHY { 1 } else { failures + 1 };
            let delay = cadence.delay(failures, rand::random()).unwrap_or(HEALTHY);
            self.ended(status, ran, Some(delay));
            tokio::select! {
                () = sleep(delay) => {}
                _ = &mut stop => return Ok(()),
            }
        }
    }

    /// With two kaspads on one port peers would reach the wrong one.
    async fn check_port_is_free(&self) -> Result<()> {
        let p2p = self.plan.p2p;
        if let Ok(Ok(_)) = timeout(Duration::from_secs(1), TcpStream::connect(p2p)).await {
            bail!("something listens at {p2p} already: stop that kaspad first, or put `kaspath gateway` beside it");
        }
        Ok(())
    }

    fn spawn(&self) -> Result<Kaspad> {
        let mut command = Command::new(std::env::current_exe().context("cannot find this program itself")?);
        command.args(["exec", "--"]).arg(&self.plan.program).args(&self.plan.args);
        // Its own group: Ctrl-C in a terminal reaches only this program, which passes it on.
        command.process_group(0).stdin(Stdio::null());
        if self.format == LogFormat::Json {
            // Standard output is for events.
            command.stdout(Stdio::from(std::io::stderr().as_fd().try_clone_to_owned()?));
        }
        self.printer.redirect_child(&mut command);
        let mut child = Kaspad(command.spawn().with_context(|| format!("cannot start {}", self.plan.program))?);
        self.printer.follow_child(&mut child.0);
        let (program, args) = (self.plan.program.clone(), self.plan.args.clone());
        self.printer.own(&ProgramEvent::KaspadStarted { pid: child.0.id(), program, args });
        Ok(child)
    }

    /// Says how it ended: after it ran so long, or after it was asked to end.
    fn ended(&self, status: ExitStatus, after: Duration, retry_in: Option<Duration>) {
        let code = status.code();
        self.printer.own(&ProgramEvent::KaspadEnded { status: status.to_string(), code, after, retry_in });
    }

    async fn end(&self, mut child: Kaspad, signal: Signal) -> Result<()> {
        self.printer.own(&ProgramEvent::KaspadStopping);
        let begin = Instant::now();
        child.signal(signal);
        let mut progress = interval_at(tokio::time::Instant::now() + PROGRESS, PROGRESS);
        loop {
            tokio::select! {
                status = child.0.wait() => {
                    let status = status.context("cannot wait for kaspad")?;
                    self.ended(status, begin.elapsed(), None);
                    return Ok(());
                }
                _ = progress.tick() => {
                    if begin.elapsed() > PATIENCE {
                        child.0.kill().await.context("cannot kill kaspad")?;
                        bail!("kaspad did not end within {PATIENCE:?} and was killed");
                    }
                    self.printer.line("kaspad is still writing its data down; a second signal ends this at once");
                }
            }
        }
    }
}
