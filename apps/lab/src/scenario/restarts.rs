//! A pair whose parts are restarted one after the other and which must find
//! itself again each time.

use std::{
    collections::BTreeSet,
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::Instant;

use super::{
    cast::{RelayAddresses, SESSION, START, reserved, sites, start_relay, started, strings},
    nodes::{Kaspad, Rpc, start_run},
};
use crate::{
    cli::KaspadsArgs,
    evidence::Evidence,
    net::{Lab, NatKind, WireSpec},
    process::{Program, kaspath, need_kaspad},
};

/// Time for a pair to find itself again.
const AGAIN: Duration = Duration::from_secs(90);
const COMMON: [&str; 6] = ["--network", "simnet", "--policy", "tcp-only", "--log-format", "json"];

/// The left side is a `kaspath run`, the right side a kaspad with a gateway beside it.
struct Pair {
    lab: Lab,
    kaspath: PathBuf,
    kaspad: PathBuf,
    dirs: TempDir,
    relay_address: String,
    right_id: String,
    /// Where the left side finds the right one.
    remote: String,
    left: Option<Program>,
    right: Option<Program>,
    right_kaspad: Kaspad,
    events: Vec<(&'static str, Vec<Value>)>,
}

pub(crate) async fn restarts(args: &KaspadsArgs) -> Result<()> {
    need_kaspad(&args.kaspad)?;
    let program = kaspath(args.common.kaspath.as_ref())?;
    let nat = NatKind::PortRestricted;
    let lab = Lab::build(sites(nat, nat, WireSpec::from_args(&args.common)))?;
    let dirs = tempfile::tempdir()?;
    let mut evidence = Evidence::create(&args.common.evidence, "restarts")?;
    let relay_dir = dirs.path().join("relay").display().to_string();
    let (mut relay, RelayAddresses { peer, tcp, .. }) = start_relay(&lab, &program, &relay_dir).await?;
    evidence.name(&peer, "<relay>");
    let mut pair = Pair::start(lab, &program, &args.kaspad, dirs, tcp).await?;
    evidence.name(&pair.right_id, "<right>");

    let (left, right) = pair.met().await?;
    println!("the pair has met: the left kaspad has {left:?}, the right one {right:?}");
    let mut rows = Vec::new();
    for what in ["right kaspad", "left kaspad", "right gateway", "left gateway and kaspad", "relay", "left, after the relay"] {
        match what {
            "right kaspad" => {
                pair.right_kaspad.stop().await?;
                pair.right_kaspad.start_again()?;
            }
            "left kaspad" => pair.kill_left_kaspad().await?,
            "right gateway" => pair.restart_right().await?,
            "relay" => {
                pair.right()?.drain();
                pair.events.push(("relay", relay.stop().await?));
                relay = start_relay(&pair.lab, &program, &relay_dir).await?.0;
                reserved(pair.right()?).await.context("the reservation does not come back")?;
            }
            _ => pair.restart_left().await?,
        }
        let begin = Instant::now();
        let again = pair.met().await.with_context(|| format!("after a restart: {what}"))?;
        if again != (left.clone(), right.clone()) {
            bail!("{what}: the addresses have changed to {again:?}");
        }
        let seconds = begin.elapsed().as_secs_f64();
        println!("restarted: {what}; blocks pass both ways again {seconds:.1} s later, the addresses are the same");
        rows.push(json!({ "restarted": what, "seconds": seconds }));
    }
    pair.events.push(("relay-2", relay.stop().await?));
    pair.finish(&evidence).await?;
    evidence.summary(&json!({ "left-has": left, "right-has": right, "restarts": rows }))?;
    println!("evidence: {}", evidence.dir().display());
    println!("{} passed, 0 failed", rows.len());
    Ok(())
}

impl Pair {
    async fn start(lab: Lab, kaspath: &Path, kaspad: &Path, dirs: TempDir, relay_address: String) -> Result<Self> {
        let right_kaspad = Kaspad::start("right-kaspad", kaspad, &lab.sites[1].host, dirs.path(), &[])?;
        let mut right = start_right(&lab, kaspath, dirs.path(), &relay_address)?;
        let right_id = started(&mut right).await?;
        reserved(&mut right).await?;
        let remote = format!("{relay_address}/p2p-circuit/p2p/{right_id}");
        let left = Some(start_run("left", "left", &lab.sites[0].host, [kaspath, kaspad, dirs.path()], &remote)?);
        let (kaspath, kaspad, right, events) = (kaspath.into(), kaspad.into(), Some(right), Vec::new());
        Ok(Self { lab, kaspath, kaspad, dirs, relay_address, right_id, remote, left, right, right_kaspad, events })
    }

    /// Waits until each kaspad has the other and a new block passes each way; the
    /// address by which each has the other.
    async fn met(&mut self) -> Result<(BTreeSet<IpAddr>, BTreeSet<IpAddr>)> {
        let [left, right] = [&self.lab.sites[0].host, &self.lab.sites[1].host];
        let count = Rpc::mine(right, 1).await?.blocks().await?;
        let (mut left_rpc, mut right_rpc) = (Rpc::watch(left)?, Rpc::watch(right)?);
        left_rpc.await_blocks(count, AGAIN).await.context("the right kaspad's block does not reach the left one")?;
        let count = Rpc::mine(left, 1).await?.blocks().await?;
        right_rpc.await_blocks(count, AGAIN).await.context("the left kaspad's block does not reach the right one")?;
        let one = |peers: &BTreeSet<IpAddr>| peers.len() == 1;
        Ok((left_rpc.await_peers("one peer", SESSION, one).await?, right_rpc.await_peers("one peer", SESSION, one).await?))
    }

    fn right(&mut self) -> Result<&mut Program> {
        self.right.as_mut().context("the right gateway is not there")
    }

    /// The hard way; `kaspath run` starts it again.
    async fn kill_left_kaspad(&mut self) -> Result<()> {
        let left = self.left.as_mut().context("the left side is not there")?;
        left.drain();
        let started = left.events.iter().rev().find(|event| event["event"] == "kaspad-started");
        let pid = started.and_then(|event| event["pid"].as_i64()).context("no pid of kaspad")?;
        kill(Pid::from_raw(i32::try_from(pid)?), Signal::SIGKILL)?;
        left.wait_event("kaspad-started", START).await.map(drop)
    }

    async fn restart_right(&mut self) -> Result<()> {
        let old = self.right.take().context("the right gateway is not there")?;
        self.events.push(("right-gateway", old.stop().await?));
        let mut new = start_right(&self.lab, &self.kaspath, self.dirs.path(), &self.relay_address)?;
        started(&mut new).await?;
        reserved(&mut new).await?;
        self.right = Some(new);
        Ok(())
    }

    async fn restart_left(&mut self) -> Result<()> {
        let old = self.left.take().context("the left side is not there")?;
        self.events.push(("left", old.stop().await?));
        let paths = [&self.kaspath, &self.kaspad, self.dirs.path()];
        self.left = Some(start_run("left", "left", &self.lab.sites[0].host, paths, &self.remote)?);
        Ok(())
    }

    async fn finish(&mut self, evidence: &Evidence) -> Result<()> {
        if let (Some(left), Some(right)) = (self.left.take(), self.right.take()) {
            self.events.push(("left", left.stop().await?));
            self.events.push(("right-gateway", right.stop().await?));
        }
        for (n, (name, events)) in self.events.iter().enumerate() {
            evidence.events(&format!("{n}-{name}"), events)?;
        }
        self.right_kaspad.stop().await?;
        evidence.table("left-kaspad.log", &fs::read_to_string(self.dirs.path().join("left.log"))?)?;
        self.right_kaspad.keep_log(evidence)
    }
}

fn start_right(lab: &Lab, kaspath: &Path, dirs: &Path, relay: &str) -> Result<Program> {
    let appdir = dirs.join("right").display().to_string();
    let args = [&["gateway", "--appdir", &appdir, "--relay", relay][..], &COMMON].concat();
    Program::start("right gateway", &lab.sites[1].host, kaspath, &strings(&args))
}
