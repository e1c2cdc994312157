//! Flags of the scenarios in which nodes find one another.

use clap::{Args, ValueEnum};

use super::CommonArgs;

/// What is asked of nodes that know one relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DiscoveryPart {
    /// Every node with IPv4 has three peers soon.
    Peers,
    /// So has the one with IPv6 alone.
    OnlyV6,
    /// Two nodes on one LAN are connected over it.
    Lan,
    /// Relays are killed one by one, and no session ends while one is left.
    RelaysKilled,
    /// A relay that comes is used soon.
    NewRelay,
    /// The first peer comes soon after the start.
    FirstPeer,
}

#[derive(Debug, Args)]
pub(crate) struct DiscoveryArgs {
    #[command(flatten)]
    pub(crate) common: CommonArgs,
    /// How often all nodes are started anew, to measure the time to the first peer.
    #[arg(long, default_value_t = 20)]
    pub(crate) rounds: usize,
    /// Only this part; may be given several times.
    #[arg(long, value_enum, value_name = "PART")]
    pub(crate) only: Vec<DiscoveryPart>,
}
