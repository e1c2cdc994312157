//! A gateway whose kaspad ends.

use std::time::Instant;

use anyhow::{Context, Result};

use super::{
    common::Common,
    trial::{Row, Trial},
    unit::Unit,
};
use crate::{
    evidence::Evidence,
    net::Host,
    scenario::nodes::{Kaspad, Rpc},
};

const GATEWAY: &str = "gateway";
const WEB: u16 = 9_110;

pub(super) async fn run(common: &Common, host: &Host, evidence: &Evidence, rows: &mut Vec<Row>) -> Result<()> {
    let place = common.place.at(host);
    let mut kaspad = Kaspad::start("kaspad", &common.kaspad, host, &place.dirs, &[])?;
    Rpc::watch(host)?.blocks().await.context("kaspad does not start")?;
    let gateway = Unit::start(&place, GATEWAY, WEB, &["gateway", "--network", "simnet"]).await?;
    let prometheus = common.prometheus(&gateway).await?;

    let down = Trial::begin(&prometheus, "KaspathKaspadDown", GATEWAY, "kaspad ends").await?;
    kaspad.stop().await?;
    let down = down.fired().await?;
    kaspad.start_again()?;
    rows.push(down.cleared(Instant::now()).await?);

    prometheus.stop().await?;
    gateway.finish(evidence).await?;
    kaspad.stop().await?;
    kaspad.keep_log(evidence)
}
