//! Flags of commands that answer and end.

use std::{num::NonZeroUsize, path::PathBuf};

use clap::{Args, Subcommand};
use kaspath_control::PeerSelector;
use kaspath_domain::PeerLocator;
use kaspath_policy::StrategyName;

use super::common::{ControlArgs, FolderArgs, RoleArgs};
use crate::settings::Span;

#[derive(Debug, Args)]
pub(crate) struct IdArgs {
    #[command(flatten)]
    pub(crate) folder: FolderArgs,
    #[command(flatten)]
    pub(crate) of: RoleArgs,
}

#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    pub(crate) folder: FolderArgs,
    #[command(flatten)]
    pub(crate) control: ControlArgs,
    #[command(flatten)]
    pub(crate) of: RoleArgs,

    /// Print the answer as one JSON object a line: docs/control.md.
    #[arg(long)]
    pub(crate) json: bool,

    /// Ask and print again at this interval.
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "2", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) watch: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct PeersArgs {
    #[command(flatten)]
    pub(crate) folder: FolderArgs,
    #[command(flatten)]
    pub(crate) control: ControlArgs,

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
        peer: PeerSelector,
    },
    /// Ban a peer: end its session, and neither dial nor accept it.
    Ban {
        /// Who: a peer id, or its last 8 characters or more.
        peer: PeerSelector,
        /// For how long, like 12h.  [default: 24h]
        #[arg(long = "for", value_name = "TIME")]
        time: Option<Span>,
    },
    /// Lift a ban.
    Unban {
        /// Who: a peer id, or its last 8 characters or more.
        peer: PeerSelector,
    },
    /// Remove a peer from the book.
    Forget {
        /// Who: a peer id, or its last 8 characters or more.
        peer: PeerSelector,
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
pub(crate) struct ProbeArgs {
    /// The relay's address with its peer id, as it prints it; up to four of one relay.
    #[arg(required = true, value_name = "RELAY")]
    pub(crate) relay: Vec<PeerLocator>,

    /// Also over the other transport, TCP or QUIC, at the same host and port.
    #[arg(long)]
    pub(crate) all: bool,

    /// Time for all steps together, like 15s; each may take a third of it.
    #[arg(long, value_name = "TIME", default_value = "15s")]
    pub(crate) timeout: Span,

    /// Probe as the peer of this identity file, for a relay that serves certain peers only; the first one
    /// reserves, a second one calls it. Its program must not run.  [default: two new identities]
    #[arg(long, value_name = "FILE")]
    pub(crate) identity: Vec<PathBuf>,

    /// The token of a private relay. Other users of this machine can see it: better give --token-file.
    #[arg(long, value_name = "TOKEN", conflicts_with = "token_file")]
    pub(crate) token: Option<String>,

    /// A file with the token, which only its owner may be able to read.
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,

    /// Print one JSON object, at the end.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct SimulateArgs {
    /// Instead of policies: nodes that look for peers among hostile relays and peers, an attack a row. Ends
    /// with an error if more nodes see hostile peers alone than the group rule allows.
    #[arg(long)]
    pub(crate) eclipse: bool,
    /// With --eclipse: nodes, each of which looks by itself; one in twenty is watched for a day.
    #[arg(long, value_name = "N", default_value = "10000", requires = "eclipse")]
    pub(crate) nodes: NonZeroUsize,
    /// Peers that are dialled, in all.
    #[arg(long, value_name = "N", default_value = "1000000")]
    pub(crate) peers: NonZeroUsize,
    /// Peers that one node dials, one after the other.
    #[arg(long, value_name = "N", default_value = "100")]
    pub(crate) per_node: NonZeroUsize,
    /// The same seed gives the same run.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// The policies, a row each.
    #[arg(long, value_delimiter = ',', conflicts_with = "eclipse", default_value = "balanced,adaptive,direct-first,relay-only")]
    pub(crate) policy: Vec<StrategyName>,
    /// The share of peers that speak no sessions, from 0 to 1.
    #[arg(long, value_name = "SHARE", default_value = "0", value_parser = share)]
    pub(crate) plain_peers: f64,
    /// Also write the report and its plot there, as report.md and usable.svg; with --eclipse as eclipse.md.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
}

fn share(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|share| (0.0..=1.0).contains(share)).ok_or_else(|| format!("{text:?} is no share from 0 to 1"))
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
