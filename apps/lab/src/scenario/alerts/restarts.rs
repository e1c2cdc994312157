//! A relay that is killed once, and then again and again.

use std::time::Instant;

use anyhow::Result;

use super::{
    common::Common,
    trial::{Row, Trial},
    unit::Unit,
};
use crate::evidence::Evidence;

const RELAY: &str = "relay-that-ends";
const PORT: u16 = 4021;
const WEB: u16 = 9_120;
const START_TIME: &str = "process_start_time_seconds";
const KILLS: usize = 3;

pub(super) async fn run(common: &Common, evidence: &Evidence, rows: &mut Vec<Row>) -> Result<()> {
    let mut relay = Unit::relay(&common.place, RELAY, PORT, WEB, &[]).await?;
    let prometheus = common.prometheus(&relay).await?;

    let down = Trial::begin(&prometheus, "KaspathDown", RELAY, "the relay is killed").await?;
    relay.kill().await?;
    let down = down.fired().await?;
    relay.start_again().await?;
    rows.push(down.cleared(Instant::now()).await?);

    let restarts = Trial::begin(&prometheus, "KaspathRestarts", RELAY, "the relay is killed and started three times").await?;
    for _ in 0..KILLS {
        let before = prometheus.value(START_TIME, RELAY).await?;
        relay.kill().await?;
        relay.start_again().await?;
        prometheus.until(&format!("{START_TIME}{{instance=\"{RELAY}\"}} != {before}")).await?;
    }
    let restarts = restarts.fired().await?;
    rows.push(restarts.cleared(Instant::now()).await?);

    prometheus.stop().await?;
    relay.finish(evidence).await
}
