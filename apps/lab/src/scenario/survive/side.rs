//! One side's kaspad: mined at, and watched.

use std::time::Duration;

use anyhow::{Context, Result};
use kaspath_kaspad_rpc::{KaspadRpc, RpcError};
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval},
};

use super::{
    super::{nodes::rpc_url, rpc},
    figures::Connection,
};
use crate::net::{Host, in_namespace};

/// Between two looks.
const LOOK: Duration = Duration::from_millis(50);
/// A side mines at each fourth look, the two in turn: a block every 100 ms in all.
const TURN: u64 = 4;
/// Blocks that a side mines without hearing of the other's, on one connection: 40 s.
/// Kaspa merges two branches only if neither is too long. Two kaspads that connect
/// again tell each other nothing before the next block.
const AHEAD: u64 = 200;
/// Blocks of a burst between two looks.
const AT_ONCE: u64 = 10;

/// What a side's kaspad has.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    pub(super) blocks: u64,
    pub(super) sink: String,
    pub(super) connections: Vec<Connection>,
    /// When blocks and headers came that were not mined here.
    pub(super) arrivals: Vec<Instant>,
    /// Looks so far.
    looks: u64,
    foreign: u64,
    /// Blocks mined since the last arrival.
    ahead: u64,
    /// Why there are no looks any more.
    failed: Option<String>,
}

/// What a side is to do.
#[derive(Clone, Copy, Debug, Default)]
struct Orders {
    mining: bool,
    /// Blocks to mine at once.
    burst: u64,
}

/// A thread in the host follows its kaspad until this is dropped.
pub(super) struct Side {
    orders: watch::Sender<Orders>,
    seen: watch::Receiver<Seen>,
}

impl Side {
    /// Begins to watch a host's kaspad, which may be starting. `turn` is 0 or 1.
    pub(super) fn watch(host: &Host, turn: u64) -> Self {
        let (orders, told) = watch::channel(Orders::default());
        let (seen, reader) = watch::channel(Seen::default());
        // It ends when the orders do; nobody waits for that.
        drop(in_namespace(&host.namespace, move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            if let Err(error) = runtime.block_on(follow(told, &seen, turn)) {
                seen.send_modify(|seen| seen.failed = Some(format!("{error:#}")));
            }
            Ok(())
        }));
        Self { orders, seen: reader }
    }

    pub(super) fn mining(&self, mining: bool) {
        self.orders.send_modify(|orders| orders.mining = mining);
    }

    /// What it has, or why that is not known.
    pub(super) fn seen(&self) -> Result<Seen> {
        let seen = self.seen.borrow().clone();
        match &seen.failed {
            Some(cause) => Err(anyhow::anyhow!("kaspad is not followed any more: {cause}")),
            None => Ok(seen),
        }
    }

    /// Waits until it has what is wanted; `None` if not in time.
    pub(super) async fn wait(&mut self, within: Duration, wanted: impl Fn(&Seen) -> bool) -> Result<Option<Seen>> {
        let waited = self.seen.wait_for(|seen| seen.failed.is_some() || wanted(seen));
        match tokio::time::timeout(within, waited).await {
            Ok(seen) => drop(seen.context("kaspad is not followed any more")?),
            Err(_) => return Ok(None),
        }
        self.seen().map(Some)
    }

    /// Mines so many at once, and returns when they are there.
    pub(super) async fn burst(&mut self, blocks: u64, within: Duration) -> Result<()> {
        let goal = self.seen()?.blocks + blocks;
        self.orders.send_modify(|orders| orders.burst += blocks);
        self.wait(within, |seen| seen.blocks >= goal).await?.context("the blocks are not mined in time").map(drop)
    }

    /// Waits for a look that began after this call.
    pub(super) async fn fresh(&mut self, within: Duration) -> Result<Seen> {
        let looks = self.seen()?.looks;
        self.wait(within, |seen| seen.looks >= looks + 2).await?.context("kaspad does not answer")
    }
}

async fn follow(mut orders: watch::Receiver<Orders>, seen: &watch::Sender<Seen>, turn: u64) -> Result<()> {
    let mut kaspad = rpc::connect(&rpc_url()).await?;
    let mut ticks = interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut own, mut bursted) = (0, 0);
    for tick in 0_u64.. {
        ticks.tick().await;
        if orders.has_changed().is_err() {
            break;
        }
        let Orders { mining, burst } = *orders.borrow_and_update();
        let turns = (tick % TURN == turn * (TURN / 2)) && mining && seen.borrow().ahead < AHEAD;
        if turns && mined(&mut kaspad).await? {
            own += 1;
            seen.send_modify(|seen| seen.ahead += 1);
        }
        for _ in 0..(burst - bursted).min(AT_ONCE) {
            if mined(&mut kaspad).await? {
                (own, bursted) = (own + 1, bursted + 1);
            }
        }
        look(&mut kaspad, seen, own).await?;
    }
    Ok(())
}

/// Whether kaspad took a block; it may be busy with a sync.
async fn mined(kaspad: &mut KaspadRpc) -> Result<bool> {
    match rpc::mine(kaspad).await {
        Err(error) if matches!(error.downcast_ref(), Some(RpcError::Refused { .. })) => Ok(false),
        result => result,
    }
}

async fn look(kaspad: &mut KaspadRpc, seen: &watch::Sender<Seen>, own: u64) -> Result<()> {
    let dag = kaspad.block_dag().await?;
    let now = Instant::now();
    let peers = kaspad.connected_peers().await?;
    let connections: Vec<Connection> = peers
        .into_iter()
        .map(|peer| Connection {
            id: peer.id,
            address: peer.address,
            since: now.checked_sub(Duration::from_millis(peer.time_connected)).unwrap_or(now),
        })
        .collect();
    seen.send_modify(|seen| {
        if connections.len() > seen.connections.len() {
            seen.ahead = 0;
        }
        // Each block is a header as well; a sync has the headers first.
        let foreign = (dag.block_count + dag.header_count).saturating_sub(2 * own);
        if foreign > seen.foreign {
            if seen.looks > 0 {
                seen.arrivals.push(now);
            }
            (seen.foreign, seen.ahead) = (foreign, 0);
        }
        (seen.blocks, seen.sink) = (dag.block_count, dag.sink);
        seen.looks += 1;
        seen.connections = connections;
    });
    Ok(())
}
