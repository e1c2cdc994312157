//! Flags of the survive scenario.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::CommonArgs;

/// What happens to the network of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Fault {
    None,
    NatRebooted,
    WanChanged,
    DirectCut,
    RelayKilled,
    RelaySilent,
    DirectBack,
    UdpBlocked,
    InterfaceReplaced,
    NetworkGone,
    RebootedInSync,
}

#[derive(Debug, Args)]
pub(crate) struct SurviveArgs {
    #[command(flatten)]
    pub(crate) common: CommonArgs,
    /// The kaspad program.
    #[arg(long, value_name = "FILE", env = "KASPAD", required_unless_present = "list")]
    pub(crate) kaspad: Option<PathBuf>,
    /// Only this fault, from the state that it needs; may be given several times.
    #[arg(long, value_enum, value_name = "FAULT")]
    pub(crate) only: Vec<Fault>,
    /// Print the faults and their limits, and end.
    #[arg(long)]
    pub(crate) list: bool,
    /// Change the path of one session so often, by faults in random order.
    #[arg(long, value_name = "N", default_value_t = 0, conflicts_with_all = ["only", "list"])]
    pub(crate) changes: usize,
    /// Of the order of those changes.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// How long a fault's end is waited for; then everything is started anew.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub(crate) recovery: u64,
}
