//! A session between two kaspads through everything that may happen to its path:
//! kaspad must not notice.

mod carrier;
mod changes;
mod faults;
mod figures;
mod play;
mod relays;
mod side;
mod sync;
mod table;
mod world;

use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::time::Instant;

use self::{figures::Figures, world::World};
use crate::{
    cli::{Fault, SurviveArgs},
    process::{kaspath, need_kaspad},
};

/// Time to come to the state that a fault needs, first as things are and then with
/// everything started anew.
const READY: Duration = Duration::from_secs(60);

pub(crate) async fn survive(args: &SurviveArgs) -> Result<()> {
    if args.list {
        print!("{}", table::list());
        return Ok(());
    }
    let kaspad = args.kaspad.as_ref().context("give --kaspad")?;
    need_kaspad(kaspad)?;
    let begin = Instant::now();
    let mut world = World::build(&args.common, kaspath(args.common.kaspath.as_ref())?, kaspad).await?;
    let within = Duration::from_secs(args.recovery);
    if args.changes > 0 {
        let verdict = changes::changes(&mut world, args.changes, args.seed, within).await;
        println!("evidence: {}", world.finish().await?.display());
        println!("{:.0} s", begin.elapsed().as_secs_f64());
        return verdict;
    }
    let faults: Vec<Fault> = Fault::ALL.into_iter().filter(|fault| args.only.is_empty() || args.only.contains(fault)).collect();
    println!("{}", table::HEAD);
    let (mut rows, mut failed) = (Vec::new(), 0);
    for fault in faults {
        let outcome = try_fault(&mut world, fault, within).await.with_context(|| format!("{fault}"))?;
        println!("{}", table::row(fault, outcome.as_ref()));
        failed += usize::from(outcome.as_ref().is_none_or(|figures| !figures.failures(fault.limit()).is_empty()));
        rows.push((fault, outcome));
    }
    world.evidence().summary(&table::summary(&rows))?;
    println!("evidence: {}", world.finish().await?.display());
    println!("{} passed, {failed} failed, {:.0} s", rows.len() - failed, begin.elapsed().as_secs_f64());
    if failed > 0 {
        bail!("{failed} of {} faults are not survived as they must be", rows.len());
    }
    Ok(())
}

/// `None` if the state that the fault needs does not come.
async fn try_fault(world: &mut World, fault: Fault, within: Duration) -> Result<Option<Figures>> {
    let (cut, way) = fault.start();
    let mut carrier = world.reach(cut, way, READY).await?;
    if carrier.is_none() {
        world.start_again().await?;
        carrier = world.reach(cut, way, READY).await?;
    }
    let Some(carrier) = carrier else { return Ok(None) };
    let figures = match fault {
        Fault::RebootedInSync => sync::reboot_in_sync(world, within).await?,
        _ => Some(play::play(world, fault, carrier, within).await?),
    };
    // The next fault's start state would not come by itself for minutes.
    if fault != Fault::RebootedInSync && figures.as_ref().is_some_and(|figures| !figures.recovered) {
        world.start_again().await?;
    }
    Ok(figures)
}
