//! What every group of alerts needs.

use std::path::PathBuf;

use anyhow::Result;

use super::{
    prometheus::{Prometheus, Target},
    unit::Place,
};
use crate::net::Host;

/// Programs, rules, and the factor by which their times are divided.
pub(super) struct Common {
    pub(super) place: Place,
    pub(super) kaspad: PathBuf,
    pub(super) monitoring: PathBuf,
    pub(super) factor: u32,
}

impl Common {
    /// Starts a Prometheus on a host, for programs there.
    pub(super) async fn prometheus(&self, host: &Host, name: &str, targets: &[Target]) -> Result<Prometheus> {
        let dir = self.place.dir(&format!("prometheus-{name}"));
        Prometheus::start(host, &self.monitoring.join("rules"), self.factor, &dir, targets).await
    }
}
