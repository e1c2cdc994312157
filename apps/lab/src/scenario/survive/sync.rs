//! A NAT is rebooted in the middle of a sync of many blocks.

use std::time::Duration;

use anyhow::{Result, bail};
use tokio::time::Instant;

use super::{
    figures::{Figures, longest_stall},
    play::connections,
    world::World,
};

/// Blocks to sync.
const BLOCKS: u64 = 3_000;
/// The NAT is rebooted once so many are there.
const BEFORE: u64 = BLOCKS / 5;
/// Time to mine them.
const MINED: Duration = Duration::from_secs(120);
/// Time for the empty kaspad to be connected and to have the first ones.
const BEGUN: Duration = Duration::from_secs(60);
/// Time to sync them without a fault, many times over.
const SYNCED: Duration = Duration::from_secs(60);

/// Empties the left kaspad, and reboots its NAT while it syncs. `None` if the sync
/// does not begin.
pub(super) async fn reboot_in_sync(world: &mut World, within: Duration) -> Result<Option<Figures>> {
    world.mining(false);
    world.kaspads[0].stop().await?;
    let there = world.sides[1].seen()?.blocks;
    world.sides[1].burst(BLOCKS.saturating_sub(there), MINED).await?;
    let goal = world.sides[1].seen()?.blocks;
    world.start_empty(0)?;

    if world.sides[0].wait(BEGUN, |seen| seen.blocks >= BEFORE).await?.is_none() {
        return Ok(None);
    }
    let before = connections(world.fresh().await?);
    let from = Instant::now();
    world.lab.reboot_nat(0)?;
    if world.sides[0].seen()?.blocks >= goal {
        bail!("the sync was over before the NAT was rebooted");
    }
    let synced = world.sides[0].wait(SYNCED.max(within), |seen| seen.blocks >= goal).await?;
    let until = Instant::now();
    let stall = longest_stall(&world.sides[0].seen()?.arrivals, from, until);
    let after = connections(world.fresh().await?);
    let same_blocks = synced.is_some() && world.same_blocks().await?;
    let (stalls, recovered) = ([stall, Duration::ZERO], synced.is_some());
    Ok(Some(Figures { stalls, recovered, before, after, same_blocks, direct: None }))
}
