//! Real kaspads on simnet in the lab's hosts, and what they say.

use std::{
    collections::BTreeSet,
    fs,
    net::IpAddr,
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
use tokio::{process::Child, time::timeout};

use super::cast::{START, strings};
use crate::{
    evidence::Evidence,
    net::Host,
    process::{Program, in_host},
};

/// simnet's P2P port.
pub(super) const P2P: u16 = 16511;
const RPC: &str = "127.0.0.1:18510";
/// Time for kaspad to end when it is told to.
const STOP: Duration = Duration::from_secs(30);

/// What every kaspad of the lab gets.
const FLAGS: [&str; 6] = ["--simnet", "--nodnsseed", "--yes", "--nologfiles", "--nogrpc", "--enable-unsynced-mining"];
/// What lets scenarios ban peers; no gateway needs it.
const UNSAFE_RPC: &str = "--unsaferpc";

/// Its RPC's flag.
fn rpc_flag() -> String {
    format!("--rpclisten-json={RPC}")
}

/// Where its RPC is, within its host.
pub(super) fn rpc_url() -> String {
    format!("ws://{RPC}")
}

/// A kaspad that can be ended and started again on the same data.
pub(super) struct Kaspad {
    pub(super) name: &'static str,
    program: PathBuf,
    host: Host,
    dir: PathBuf,
    flags: Vec<String>,
    starts: usize,
    child: Option<Child>,
}

impl Kaspad {
    /// Starts one; `dirs` is where its data and its log go.
    pub(super) fn start(name: &'static str, program: &Path, host: &Host, dirs: &Path, flags: &[&str]) -> Result<Self> {
        let flags = strings(flags);
        let mut kaspad =
            Self { name, program: program.into(), host: host.clone(), dir: dirs.join(name), flags, starts: 0, child: None };
        fs::create_dir_all(&kaspad.dir)?;
        kaspad.start_again()?;
        Ok(kaspad)
    }

    /// Starts it again on the same data.
    pub(super) fn start_again(&mut self) -> Result<()> {
        self.starts += 1;
        let log = fs::File::create(self.dir.join(format!("log-{}", self.starts)))?;
        let mut command = in_host(&self.host, &self.program);
        command
            .args(FLAGS)
            .args([
                rpc_flag(),
                UNSAFE_RPC.to_owned(),
                "--disable-upnp".to_owned(),
                format!("--appdir={}", self.dir.join("data").display()),
            ])
            .args(&self.flags)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(Stdio::null())
            .kill_on_drop(true);
        self.child = Some(command.spawn().context("cannot start kaspad")?);
        Ok(())
    }

    /// Ends it in order.
    pub(super) async fn stop(&mut self) -> Result<()> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        if let Some(pid) = child.id() {
            kill(Pid::from_raw(i32::try_from(pid)?), Signal::SIGTERM)?;
        }
        timeout(STOP, child.wait()).await.map_err(|_| anyhow::anyhow!("{} does not end at SIGTERM", self.name))??;
        Ok(())
    }

    /// Starts it without any data, once it has ended.
    pub(super) fn start_empty(&mut self) -> Result<()> {
        fs::remove_dir_all(self.dir.join("data"))?;
        self.start_again()
    }

    /// What it printed, over all its starts.
    pub(super) fn log(&self) -> Result<String> {
        let logs = (1..=self.starts).map(|n| fs::read_to_string(self.dir.join(format!("log-{n}"))));
        Ok(logs.collect::<Result<Vec<_>, _>>()?.concat())
    }

    /// Puts its log with the evidence.
    pub(super) fn keep_log(&self, evidence: &Evidence) -> Result<()> {
        evidence.table(&format!("{}.log", self.name), &self.log()?)
    }
}

/// Starts a `kaspath run` that reaches `remote`, with a kaspad of its own. What it
/// keeps lies under `dirs`, and what kaspad prints in `LABEL.log` there. kaspad itself
/// listens on loopback alone, so that kaspads only meet through the gateways.
pub(super) fn start_run(
    name: &'static str,
    label: &str,
    host: &Host,
    [kaspath, kaspad, dirs]: [&Path; 3],
    remote: &str,
) -> Result<Program> {
    let dir = |what: &str| dirs.join(format!("{label}{what}")).display().to_string();
    let ours = ["run", "--appdir", &dir(""), "--remote", remote, "--policy", "tcp-only", "--log-format", "json"];
    let args = [strings(&ours), under_run(kaspad, &dir("-kaspad"))].concat();
    Program::start_logged(name, host, kaspath, &args, &dirs.join(format!("{label}.log")))
}

/// The kaspad of a `kaspath run`, with its data there.
pub(super) fn under_run(kaspad: &Path, data: &str) -> Vec<String> {
    let (kaspad, data, rpc, listen) =
        (kaspad.display().to_string(), format!("--appdir={data}"), rpc_flag(), format!("--listen=127.0.0.1:{P2P}"));
    strings(&[&["--", &kaspad][..], &FLAGS, &[&data, &rpc, &listen, "--disable-upnp"]].concat())
}

/// One kaspad's RPC.
pub(super) struct Rpc(Program);

impl Rpc {
    /// Reads its state, every 200 ms.
    pub(super) fn watch(host: &Host) -> Result<Self> {
        Self::with(host, &[])
    }

    /// Reads its state at this interval, in milliseconds.
    pub(super) fn watch_every(host: &Host, milliseconds: u64) -> Result<Self> {
        Self::with(host, &["--every", &milliseconds.to_string()])
    }

    /// Mines first; returns when it has.
    pub(super) async fn mine(host: &Host, blocks: u64) -> Result<Self> {
        let mut rpc = Self::with(host, &["--mine", &blocks.to_string()])?;
        let within = Duration::from_secs(60) + Duration::from_millis(100) * u32::try_from(blocks)?;
        rpc.0.wait_event("mined", within).await?;
        Ok(rpc)
    }

    /// Bans an address first.
    pub(super) async fn ban(host: &Host, ip: IpAddr) -> Result<()> {
        let mut rpc = Self::with(host, &["--ban", &ip.to_string()])?;
        rpc.0.wait_event("banned", START).await.map(drop)
    }

    fn with(host: &Host, more: &[&str]) -> Result<Self> {
        let url = rpc_url();
        let args = [&["rpc", "--url", &url], more].concat();
        Ok(Self(Program::start("rpc", host, &std::env::current_exe()?, &strings(&args))?))
    }

    /// Its state now: one that was asked for after this call.
    pub(super) async fn state(&mut self) -> Result<Value> {
        self.0.drain();
        let is_state = |event: &Value| event["event"] == "state";
        self.0.wait_for("kaspad's state", START, is_state).await?;
        self.0.wait_for("kaspad's state", START, is_state).await
    }

    /// The blocks it has.
    pub(super) async fn blocks(&mut self) -> Result<u64> {
        self.state().await?["blocks"].as_u64().context("no block count")
    }

    /// Waits until it has so many blocks.
    pub(super) async fn await_blocks(&mut self, goal: u64, within: Duration) -> Result<()> {
        let has = |event: &Value| event["blocks"].as_u64().is_some_and(|blocks| event["event"] == "state" && blocks >= goal);
        self.0.wait_for(&format!("{goal} blocks"), within, has).await.map(drop)
    }

    /// Waits until its peers are as wanted; their addresses.
    pub(super) async fn await_peers(
        &mut self,
        what: &str,
        within: Duration,
        wanted: impl Fn(&BTreeSet<IpAddr>) -> bool,
    ) -> Result<BTreeSet<IpAddr>> {
        let event = self.0.wait_for(what, within, |event| event["event"] == "state" && wanted(&addresses(event))).await?;
        if peers(&event).len() != addresses(&event).len() {
            bail!("kaspad has a peer twice: {}", event["peers"]);
        }
        Ok(addresses(&event))
    }
}

fn peers(state: &Value) -> &[Value] {
    state["peers"].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// The addresses of the peers in a state.
pub(super) fn addresses(state: &Value) -> BTreeSet<IpAddr> {
    peers(state).iter().filter_map(|peer| peer["ip"].as_str()?.parse().ok()).collect()
}
