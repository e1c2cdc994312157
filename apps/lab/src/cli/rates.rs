//! Flags of the rates scenario.

use clap::Args;

use super::CommonArgs;

#[derive(Debug, Args)]
pub(crate) struct RatesArgs {
    #[command(flatten)]
    pub(crate) common: CommonArgs,
    /// Circuits that send at once, for the limit of all together.
    #[arg(long, default_value_t = 20)]
    pub(crate) circuits: usize,
    /// Seconds per measurement.
    #[arg(long, default_value_t = 8)]
    pub(crate) seconds: u64,
}

#[derive(Debug, Args)]
pub(crate) struct FlowsArgs {
    /// The relay's address, with its peer id.
    #[arg(long)]
    pub(crate) relay: String,
    /// Nodes that receive.
    #[arg(long, default_value_t = 1)]
    pub(crate) count: usize,
    /// A peer to send to, from a node of its own; may be given several times.
    #[arg(long, value_name = "PEER_ID")]
    pub(crate) remote: Vec<String>,
}
