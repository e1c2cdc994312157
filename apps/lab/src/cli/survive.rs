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
    /// How long a fault's end is waited for; then everything is started anew.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub(crate) recovery: u64,
}
