//! What every group of alerts needs.

use std::path::PathBuf;

use anyhow::Result;

use super::{
    prometheus::Prometheus,
    unit::{Place, Unit},
};

/// Programs, rules, and the factor by which their times are divided.
pub(super) struct Common {
    pub(super) place: Place,
    pub(super) kaspad: PathBuf,
    pub(super) monitoring: PathBuf,
    pub(super) factor: u32,
}

impl Common {
    /// Starts a Prometheus beside a program, and waits until it has scraped that.
    pub(super) async fn prometheus(&self, unit: &Unit) -> Result<Prometheus> {
        let dir = self.place.dir(&format!("prometheus-{}", unit.name));
        let prometheus =
            Prometheus::start(unit.host(), &self.monitoring.join("rules"), self.factor, &dir, &unit.target()).await?;
        prometheus.up(unit.name).await?;
        Ok(prometheus)
    }
}
