//! Two kaspads behind gateways, two relays, and what is known of all of them.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use super::{
    super::{
        cast::{ANY, sites, started, strings},
        nodes::Kaspad,
    },
    carrier::{Carrier, Readings},
    faults::Way,
    figures::flows,
    relays::{IPS, Relay},
    side::{Seen, Side},
};
use crate::{
    cli::CommonArgs,
    evidence::Evidence,
    net::{Cut, Lab, NatKind, WireSpec},
    process::Program,
};

/// Time to come to the state that a fault needs, first as things are and then with
/// everything started anew.
pub(super) const READY: Duration = Duration::from_secs(60);
const COMMON: [&str; 4] = ["--network", "simnet", "--log-format", "json"];
const KASPADS: [&str; 2] = ["left-kaspad", "right-kaspad"];
/// Between two readings of the counters.
const TICK: Duration = Duration::from_millis(200);
/// Blocks that show that they flow, and the age of the last.
const FLOWING: usize = 10;
const FRESH: Duration = Duration::from_secs(1);
/// Time for two kaspads that stand still to have the same blocks.
const SAME: Duration = Duration::from_secs(10);
/// How long blocks are mined again before that is looked at once more.
const MINED: Duration = Duration::from_secs(3);
/// Time for kaspad to start, and to answer.
const ANSWER: Duration = Duration::from_secs(30);

pub(super) struct World {
    pub(super) lab: Lab,
    pub(super) relays: [Relay; 2],
    pub(super) kaspads: [Kaspad; 2],
    pub(super) sides: [Side; 2],
    pub(super) readings: Readings,
    gateways: Option<[Program; 2]>,
    /// The gateways' peer ids.
    ids: [String; 2],
    kaspath: PathBuf,
    dirs: TempDir,
    evidence: Evidence,
    /// Events of gateways that have ended.
    events: [Vec<Value>; 2],
}

impl World {
    pub(super) async fn build(args: &CommonArgs, kaspath: PathBuf, kaspad: &Path) -> Result<Self> {
        let nat = NatKind::PortRestricted;
        let mut lab = Lab::build(sites(nat, nat, WireSpec::from_args(args)))?;
        lab.meter(IPS)?;
        let dirs = tempfile::tempdir()?;
        let mut evidence = Evidence::create(&args.evidence, "survive")?;
        let relays = Relay::start_both(&mut lab, &kaspath, dirs.path()).await?;
        for (relay, name) in relays.iter().zip(["<relay 0>", "<relay 1>"]) {
            evidence.name(&relay.peer, name);
        }
        let start = |n: usize| Kaspad::start(KASPADS[n], kaspad, &lab.sites[n].host, dirs.path(), &[]);
        let kaspads = [start(0)?, start(1)?];
        let sides = [Side::watch(&lab.sites[0].host, 0), Side::watch(&lab.sites[1].host, 1)];
        let (readings, events, ids) = (Readings::default(), [Vec::new(), Vec::new()], [String::new(), String::new()]);
        let mut world = Self { lab, relays, kaspads, sides, readings, gateways: None, ids, kaspath, dirs, evidence, events };
        world.start_gateways().await?;
        for (id, name) in world.ids.iter().zip(["<left>", "<right>"]) {
            world.evidence.name(id, name);
        }
        Ok(world)
    }

    pub(super) fn evidence(&self) -> &Evidence {
        &self.evidence
    }

    /// The right one first: the left one is told where to find it.
    async fn start_gateways(&mut self) -> Result<()> {
        let (mut right, right_id) = self.start_gateway(1, None).await?;
        right.drain();
        let (left, left_id) = self.start_gateway(0, Some(&right_id)).await?;
        self.gateways = Some([left, right]);
        self.ids = [left_id, right_id];
        Ok(())
    }

    async fn start_gateway(&self, site: usize, remote: Option<&str>) -> Result<(Program, String)> {
        let (label, name) = if site == 0 { ("left", "left gateway") } else { ("right", "right gateway") };
        let appdir = self.dirs.path().join(label).display().to_string();
        let mut args = strings(&["gateway", "--appdir", &appdir]);
        args.extend(strings(&ANY));
        args.extend(strings(&COMMON));
        for relay in &self.relays {
            args.extend(strings(&["--relay", &relay.address]));
            if let Some(peer) = remote {
                args.extend(["--remote".to_owned(), format!("{}/p2p-circuit/p2p/{peer}", relay.address)]);
            }
        }
        let log = self.evidence.dir().join(format!("{label}-gateway.log"));
        let mut program = Program::start_logged(name, &self.lab.sites[site].host, &self.kaspath, &args, &log)?;
        let id = started(&mut program).await?;
        Ok((program, id))
    }

    async fn stop_gateways(&mut self) -> Result<()> {
        for (program, events) in self.gateways.take().into_iter().flatten().zip(&mut self.events) {
            events.extend(program.stop().await?);
        }
        Ok(())
    }

    /// Starts gateways and kaspads anew, on what they have on disk.
    pub(super) async fn start_again(&mut self) -> Result<()> {
        self.stop_gateways().await?;
        for (n, kaspad) in self.kaspads.iter_mut().enumerate() {
            kaspad.stop().await?;
            kaspad.start_again()?;
            self.sides[n] = Side::watch(&self.lab.sites[n].host, n as u64);
        }
        self.start_gateways().await
    }

    /// Starts a side's kaspad, which has ended, without any data.
    pub(super) fn start_empty(&mut self, site: usize) -> Result<()> {
        self.kaspads[site].start_empty()?;
        self.sides[site] = Side::watch(&self.lab.sites[site].host, site as u64);
        Ok(())
    }

    pub(super) fn mining(&self, mining: bool) {
        self.sides.iter().for_each(|side| side.mining(mining));
    }

    pub(super) fn seen(&self) -> Result<[Seen; 2]> {
        Ok([self.sides[0].seen()?, self.sides[1].seen()?])
    }

    /// What each sees now.
    pub(super) async fn fresh(&mut self) -> Result<[Seen; 2]> {
        let [left, right] = &mut self.sides;
        let (left, right) = tokio::try_join!(left.fresh(ANSWER), right.fresh(ANSWER))?;
        Ok([left, right])
    }

    /// Waits for the next reading of the counters; what carries the session.
    pub(super) async fn tick(&mut self) -> Result<Option<Carrier>> {
        sleep(TICK).await;
        if let Some(gateways) = &mut self.gateways {
            gateways.iter_mut().for_each(Program::drain);
        }
        Ok(self.readings.add(Instant::now(), self.lab.received()?))
    }

    /// Whether blocks mined since then arrive at both sides.
    pub(super) fn flows(&self, since: Instant) -> Result<bool> {
        let now = Instant::now();
        Ok(self.seen()?.iter().all(|seen| flows(&seen.arrivals, since, FLOWING, now, FRESH)))
    }

    /// Whether both gateways can be reached through both relays.
    fn is_reserved(&mut self) -> bool {
        self.relays.iter_mut().all(|relay| relay.has_reserved(&self.ids))
    }

    /// Lets the world come to a state in which a fault may happen: each kaspad has one
    /// connection, blocks flow by that way, and both gateways have both relays. What
    /// carries the session then, or `None` if that does not come in time.
    pub(super) async fn reach(&mut self, cut: Cut, way: Way, within: Duration) -> Result<Option<Carrier>> {
        self.lab.cut(cut)?;
        let deadline = Instant::now() + within;
        let mut begin = Instant::now();
        while Instant::now() < deadline {
            let carrier = self.tick().await?.filter(|carrier| way.is(*carrier));
            let connected = self.seen()?.iter().all(|seen| seen.connections.len() == 1);
            // Two that are not connected would mine branches of their own.
            self.mining(connected);
            if !connected {
                begin = Instant::now();
            }
            if let Some(carrier) = carrier
                && self.flows(begin)?
                && self.is_reserved()
                && self.same_blocks().await?
                && self.goes_on().await?
            {
                return Ok(Some(carrier));
            }
        }
        Ok(None)
    }

    /// The same while blocks go on: waits until the session is on that way, and both
    /// gateways have both relays.
    pub(super) async fn stand(&mut self, cut: Cut, way: Way, within: Duration) -> Result<Option<Carrier>> {
        self.lab.cut(cut)?;
        let deadline = Instant::now() + within;
        while Instant::now() < deadline {
            let carrier = self.tick().await?.filter(|carrier| way.is(*carrier));
            if carrier.is_some() && self.is_reserved() {
                return Ok(carrier);
            }
        }
        Ok(None)
    }

    /// Changes of path that the gateways have reported of their sessions.
    pub(super) fn moves(&self) -> usize {
        let events = self.gateways.iter().flatten().flat_map(|gateway| &gateway.events);
        events.filter(|event| event["event"] == "session-moved").count()
    }

    /// Stops the mining, and whether both then have the same blocks and sink; mining goes on.
    pub(super) async fn same_blocks(&mut self) -> Result<bool> {
        self.mining(false);
        let deadline = Instant::now() + SAME;
        let same = loop {
            let [left, right] = self.fresh().await?;
            let same = (left.blocks, &left.sink) == (right.blocks, &right.sink);
            if same || Instant::now() > deadline {
                break same;
            }
        };
        self.mining(true);
        Ok(same)
    }

    /// The same, tried again while time is left: two kaspads that have each mined for long alone ask
    /// each other for what is missing only as new blocks come.
    pub(super) async fn same_blocks_within(&mut self, within: Duration) -> Result<bool> {
        let deadline = Instant::now() + within;
        while !self.same_blocks().await? {
            if Instant::now() > deadline {
                return Ok(false);
            }
            let mined = Instant::now() + MINED;
            while Instant::now() < mined {
                self.tick().await?;
            }
        }
        Ok(true)
    }

    /// Whether blocks arrive at both sides again after the mining stopped.
    async fn goes_on(&mut self) -> Result<bool> {
        let mut goes_on = true;
        for side in &mut self.sides {
            let before = side.seen()?.arrivals.len();
            goes_on &= side.wait(FRESH, |seen| seen.arrivals.len() > before).await?.is_some();
        }
        Ok(goes_on)
    }

    /// Ends everything in order and keeps what was printed.
    pub(super) async fn finish(mut self) -> Result<PathBuf> {
        self.stop_gateways().await?;
        for (events, name) in self.events.iter().zip(["left-gateway", "right-gateway"]) {
            self.evidence.events(name, events)?;
        }
        for (relay, name) in self.relays.iter_mut().zip(["relay-0", "relay-1"]) {
            self.evidence.events(name, relay.stop().await?).context("cannot keep a relay's events")?;
        }
        for kaspad in &mut self.kaspads {
            kaspad.stop().await?;
            kaspad.keep_log(&self.evidence)?;
        }
        Ok(self.evidence.dir().to_path_buf())
    }
}
