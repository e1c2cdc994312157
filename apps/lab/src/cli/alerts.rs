//! Flags of the alerts scenario.

use std::path::PathBuf;

use clap::Args;

use super::CommonArgs;

#[derive(Debug, Args)]
pub(crate) struct AlertsArgs {
    #[command(flatten)]
    pub(crate) common: CommonArgs,
    /// The kaspad program.
    #[arg(long, value_name = "FILE", env = "KASPAD")]
    pub(crate) kaspad: PathBuf,
    /// The folder with rules and dashboards.
    #[arg(long, value_name = "DIR", default_value = "monitoring")]
    pub(crate) monitoring: PathBuf,
    /// The rules' times are divided by this.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=600))]
    pub(crate) factor: u32,
    /// Only alerts whose name contains this.
    #[arg(long, value_name = "TEXT")]
    pub(crate) only: Option<String>,
}
