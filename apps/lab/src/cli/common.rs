//! Flags of every scenario.

use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct CommonArgs {
    /// The kaspath program.  [default: beside this one]
    #[arg(long, value_name = "FILE")]
    pub(crate) kaspath: Option<PathBuf>,
    /// Folder for the evidence.
    #[arg(long, value_name = "DIR", default_value = "evidence")]
    pub(crate) evidence: PathBuf,
    /// One-way delay between each private host's router and the lab's internet, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 50)]
    pub(crate) delay: u64,
    /// Random part of that delay, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 0)]
    pub(crate) jitter: u64,
    /// Frames lost on each of these ways, in percent.
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0)]
    pub(crate) loss: f64,
}
