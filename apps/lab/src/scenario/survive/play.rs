//! A fault happens to the world, and what comes of it.

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::{Instant, sleep};

use super::{
    carrier::Carrier,
    faults::Way,
    figures::{Connection, Direct, Figures, longest_stall},
    side::Seen,
    world::World,
};
use crate::{
    cli::Fault,
    net::{Cut, Lab},
};

/// How long the network is gone.
const GONE: Duration = Duration::from_secs(30);
/// Blocks must have flowed by the right path for so long.
const CALM: Duration = Duration::from_secs(2);

/// Has a fault happen and waits, as long as `within`, until all is well again.
pub(super) async fn play(world: &mut World, fault: Fault, before: Carrier, within: Duration) -> Result<Figures> {
    let connections = connections(world.fresh().await?);
    let outcome = happen(world, fault, before, within, CALM).await?;
    let same_blocks = outcome.recovered && world.same_blocks_within(within).await?;
    let after = self::connections(world.fresh().await?);
    repair(world, fault, before).await?;
    let Outcome { stalls, recovered, direct, .. } = outcome;
    Ok(Figures { stalls, recovered, before: connections, after, same_blocks, direct })
}

/// What came of a fault's change of path.
pub(super) struct Outcome {
    /// Blocks arrive at both sides, by the path that the network allows.
    pub(super) recovered: bool,
    /// The longest stall at each side.
    pub(super) stalls: [Duration; 2],
    /// When the session was direct after the network allowed it; `None` where it does not.
    pub(super) direct: Option<Direct>,
}

impl Outcome {
    pub(super) fn stall(&self) -> Duration {
        self.stalls[0].max(self.stalls[1])
    }
}

/// Has a fault happen and waits until blocks have flowed by the right path for so long as
/// `calm`. What was done to a relay is left as it is.
pub(super) async fn happen(
    world: &mut World,
    fault: Fault,
    before: Carrier,
    within: Duration,
    calm: Duration,
) -> Result<Outcome> {
    let way = fault.end(before);
    let from = inject(world, fault, before).await?;
    world.readings.clear();
    let recovery = recover(world, way, from, within, calm).await?;
    let seen = world.fresh().await?;
    let stalls = [0, 1].map(|side| longest_stall(&seen[side].arrivals, from, recovery.until));
    let direct = way.is_direct().then(|| recovery.there.map_or(Direct::Never, |at| Direct::After(at - from)));
    Ok(Outcome { recovered: recovery.recovered, stalls, direct })
}

pub(super) fn connections(seen: [Seen; 2]) -> [Vec<Connection>; 2] {
    seen.map(|seen| seen.connections)
}

/// The moment from which stalls count.
async fn inject(world: &mut World, fault: Fault, carrier: Carrier) -> Result<Instant> {
    let relay = || match carrier {
        Carrier::Relay(relay) => Ok(relay),
        other => Err(anyhow::anyhow!("the session is on no relay but on {other:?}")),
    };
    let from = Instant::now();
    let lab: &mut Lab = &mut world.lab;
    match fault {
        Fault::None => {}
        Fault::NatRebooted | Fault::RebootedInSync => lab.reboot_nat(0)?,
        Fault::WanChanged => lab.change_wan(0)?,
        Fault::DirectCut => lab.cut(Cut::Direct)?,
        Fault::RelayKilled => world.relays[relay()?].kill().await?,
        Fault::RelayDrained => world.relays[relay()?].drain()?,
        Fault::RelaySilent => lab.silence(&world.relays[relay()?].host, true)?,
        Fault::DirectBack => lab.cut(Cut::Nothing)?,
        Fault::UdpBlocked => lab.cut(Cut::Udp)?,
        Fault::InterfaceReplaced => lab.replace_interface(0)?,
        Fault::NetworkGone => {
            lab.cut(Cut::Everything)?;
            sleep(GONE).await;
            lab.cut(Cut::Nothing)?;
            return Ok(Instant::now());
        }
    }
    Ok(from)
}

/// Undoes what was done to a relay; the cuts follow the next fault's needs.
pub(super) async fn repair(world: &mut World, fault: Fault, carrier: Carrier) -> Result<()> {
    let Carrier::Relay(relay) = carrier else { return Ok(()) };
    match fault {
        Fault::RelayKilled => world.relays[relay].start_again().await.context("the relay does not start again"),
        Fault::RelayDrained => {
            world.relays[relay].drained().await.context("the relay does not end in order")?;
            world.relays[relay].start_again().await.context("the relay does not start again")
        }
        Fault::RelaySilent => world.lab.silence(&world.relays[relay].host, false),
        _ => Ok(()),
    }
}

struct Recovery {
    recovered: bool,
    /// When the session was first where it must be.
    there: Option<Instant>,
    until: Instant,
}

/// Waits until blocks flow by that way, and have for a moment.
async fn recover(world: &mut World, way: Way, from: Instant, within: Duration, calm: Duration) -> Result<Recovery> {
    let deadline = from + within;
    let mut there = None;
    let mut since: Option<Instant> = None;
    loop {
        let is_there = world.tick().await?.is_some_and(|carrier| way.is(carrier)) && world.flows(from)?;
        let now = Instant::now();
        if is_there {
            there = there.or(Some(now));
            let since = *since.get_or_insert(now);
            if now - since >= calm {
                return Ok(Recovery { recovered: true, there, until: now });
            }
        } else {
            since = None;
        }
        if now > deadline {
            return Ok(Recovery { recovered: false, there, until: now });
        }
    }
}
