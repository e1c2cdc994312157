//! Flags of commands that answer and end.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use kaspath_control::PeerName;
use kaspath_policy::StrategyName;

use super::common::{ControlArgs, FolderArgs, Role};
use crate::settings::Span;

#[derive(Debug, Args)]
pub(crate) struct IdArgs {
    #[command(flatten)]
    pub(crate) folder: FolderArgs,

    /// Print the relay's id; create its identity if there is none.
    #[arg(long, conflicts_with = "node")]
    pub(crate) relay: bool,

    /// Print the node's id (server, client, gateway); create its identity if there is none.
    #[arg(long)]
    pub(crate) node: bool,
}

impl IdArgs {
    /// Whose identity is asked for.
    pub(crate) fn role(&self) -> Option<Role> {
        match (self.relay, self.node) {
            (true, _) => Some(Role::Relay),
            (_, true) => Some(Role::Node),
            _ => None,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    pub(crate) folder: FolderArgs,
    #[command(flatten)]
    pub(crate) control: ControlArgs,

    /// Only the relay.
    #[arg(long, conflicts_with = "node")]
    pub(crate) relay: bool,

    /// Only the node (server, client or gateway).
    #[arg(long)]
    pub(crate) node: bool,

    /// Print the answer as one JSON object a line: docs/control.md.
    #[arg(long)]
    pub(crate) json: bool,

    /// Ask and print again at this interval.
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "2", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) watch: Option<u64>,

    /// Hide IP addresses and host names.
    #[arg(long)]
    pub(crate) redact: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PeersArgs {
    #[command(flatten)]
    pub(crate) folder: FolderArgs,
    #[command(flatten)]
    pub(crate) control: ControlArgs,

    /// Hide IP addresses and host names.
    #[arg(long, global = true)]
    pub(crate) redact: bool,

    #[command(subcommand)]
    pub(crate) what: PeersCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PeersCommand {
    /// List all peers, those seen last first.
    List,
    /// Print everything that is known of a peer, as JSON.
    Show {
        /// Who: a peer id, or its last 8 characters or more.
        peer: PeerName,
    },
    /// Ban a peer: end its session, and neither dial nor accept it.
    Ban {
        /// Who: a peer id, or its last 8 characters or more.
        peer: PeerName,
        /// For how long, like 12h.  [default: 24h]
        #[arg(long = "for", value_name = "TIME")]
        time: Option<Span>,
    },
    /// Lift a ban.
    Unban {
        /// Who: a peer id, or its last 8 characters or more.
        peer: PeerName,
    },
    /// Remove a peer from the book.
    Forget {
        /// Who: a peer id, or its last 8 characters or more.
        peer: PeerName,
    },
    /// Print the whole book as JSON.
    Export,
    /// Import an exported book; records are merged with existing ones.
    Import {
        /// The file.
        file: PathBuf,
    },
}

#[derive(Debug, Args)]
pub(crate) struct SimulateArgs {
    /// Peers that are dialled, in all.
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = at_least_one)]
    pub(crate) peers: usize,
    /// Peers that one node dials, one after the other.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = at_least_one)]
    pub(crate) per_node: usize,
    /// The same seed gives the same run.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// The policies, a row each.
    #[arg(long, value_delimiter = ',', default_value = "balanced,adaptive,direct-first,relay-only")]
    pub(crate) policy: Vec<StrategyName>,
    /// Also write the report and its plot there, as report.md and usable.svg.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct ConfigArgs {
    /// Hide IP addresses and host names.
    #[arg(long, global = true)]
    pub(crate) redact: bool,

    #[command(subcommand)]
    pub(crate) what: ConfigCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Read a file as relay, server and gateway would; say what is wrong with it.
    Check {
        /// The file.
        file: PathBuf,
    },
    /// Print a file with every key, explained.
    Example,
}

#[derive(Debug, Args)]
pub(crate) struct ExecArgs {
    #[arg(last = true, required = true)]
    pub(crate) command: Vec<String>,
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.replace('_', "").parse() {
        Ok(0) | Err(_) => Err(format!("{text:?} is no number, 1 or more")),
        Ok(number) => Ok(number),
    }
}
