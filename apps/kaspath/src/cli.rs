//! Commands, flags and their help.
//!
//! | file | flags |
//! |---|---|
//! | `common` | of several commands |
//! | `programs` | of relay, server, client, gateway and run |
//! | `tools` | of commands that answer and end |

mod common;
mod programs;
mod tools;

use clap::{Parser, Subcommand};

pub(crate) use common::{CommonArgs, ControlArgs, FolderArgs, ListenArgs, LogFormat, Role};
pub(crate) use programs::{GatewayArgs, NodeArgs, PeerArgs, RelayArgs, RunArgs};
pub(crate) use tools::{ConfigCommand, ExecArgs, IdArgs, PeersArgs, PeersCommand, ProbeArgs, SimulateArgs, StatusArgs};

/// Two Kaspa nodes behind NATs, connected directly.
///
/// Two private nodes connect through a relay on a public address; they punch through
/// both NATs and run Kaspa's P2P protocol over the direct path, or stay on the
/// relay where no punch can work.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100, after_long_help = AFTER_HELP)]
pub(crate) struct Cli {
    /// Hide IP addresses and host names in everything that is printed, kaspad's lines under `run` too.
    #[arg(long, global = true)]
    pub(crate) redact: bool,

    #[command(subcommand)]
    pub(crate) command: Command,
}

const AFTER_HELP: &str = "\
Examples:
  On a public machine:        kaspath relay
  On the first private one:   kaspath server --relay /ip4/203.0.113.1/tcp/4001/p2p/<relay id>
  With a kaspad:              kaspath run --relay /ip4/203.0.113.1/tcp/4001/p2p/<relay id> -- kaspad --utxoindex
  Beside one that runs:       kaspath gateway --relay /ip4/203.0.113.1/tcp/4001/p2p/<relay id>
  On the second private one:  kaspath client --remote /ip4/203.0.113.1/tcp/4001/p2p/<relay id>/p2p-circuit/p2p/<server id>

The environment is read where no flag is given, lists split at commas, semicolons or space:
  LIBP2P_LISTEN_MULTIADDRS; of nodes alone LIBP2P_RELAY_MULTIADDRS, LIBP2P_REMOTE_MULTIADDRS (each
  also without the last S), LIBP2P_REMOTE_PEER_ID
Flags come before the environment, the environment before the file.

Exit codes: 0 success, 1 a failure, 2 a wrong flag, file or environment variable, 70 a bug of this
program, 130 ended at once by a second signal. A reader of standard output that goes away or does not
read stops nothing: lines are left out instead.";

const PROBE_HELP: &str = "\
Exit codes, which stay as they are:
   0  healthy: it gave a reservation and a circuit, and passed bytes on both ways
  10  full: it has no room for a reservation or a circuit, or not for this address
  11  draining: it is going down, and takes nothing new
  12  refused: it does not serve these peers, or wants a token, and none or a wrong one was given
  13  dead: it cannot be connected, or another peer answers there
  14  faulty: it answers, and does not do a relay's work
   1  the probe itself failed; 2 a wrong flag";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Connect private nodes with each other; needs a public address.
    Relay(Box<RelayArgs>),
    /// Be found through relays, and accept peers.
    Server(NodeArgs),
    /// Reach peers, and stay connected to them.
    Client(NodeArgs),
    /// Stand in front of an unmodified kaspad: private peers reach it, and it reaches them.
    Gateway(GatewayArgs),
    /// Start an unmodified kaspad behind a gateway, look after both, and stop both.
    ///
    /// kaspad gets your flags and, if you give none, a JSON RPC on loopback, which is printed. How
    /// it listens, which address it announces and its UPnP stay as they are, unless this program
    /// has the router forward kaspad's port itself (--no-port-mapping). It is started again when
    /// it fails, and stopped when this program is stopped or fails.
    Run(RunArgs),
    /// Print the peer id of this folder's relay or node.
    ///
    /// A relay and a node have different identities, in relay.key and node.key. Without a
    /// flag it is the one that exists, or both; if there is none, a node's is made, and
    /// this says so.
    Id(IdArgs),
    /// Inspect the peer book, and ban or forget peers; also while a node runs.
    ///
    /// A peer is named by its peer id, or by the end of it that logs print.
    Peers(PeersArgs),
    /// Show the status of the programs that run on this folder: peers, their paths, relays, counters.
    Status(StatusArgs),
    /// Check from outside whether a relay works, as its users see it.
    ///
    /// Two peers of its own connect to the relay; one reserves, the other one calls it on a circuit, and
    /// 4 KiB go over it and come back. The relay is left as it was.
    #[command(after_long_help = PROBE_HELP)]
    Probe(ProbeArgs),
    /// Try policies on a made-up population of NATs, in virtual time; print a table.
    Simulate(SimulateArgs),
    /// Check a configuration file, or print one with every key and its default.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Becomes kaspad, which then ends when the program that started this does.
    #[command(hide = true)]
    Exec(ExecArgs),
}

impl Command {
    /// What programs that run have in common; `None` for other commands.
    pub(crate) fn common(&self) -> Option<&CommonArgs> {
        match self {
            Command::Relay(args) => Some(&args.common),
            Command::Server(args) | Command::Client(args) => Some(&args.common),
            Command::Gateway(args) => Some(&args.common),
            Command::Run(args) => Some(&args.gateway.common),
            _ => None,
        }
    }

    /// Which peers a node reaches, and how; `None` for commands that are no node.
    pub(crate) fn peers(&self) -> Option<&PeerArgs> {
        match self {
            Command::Server(args) | Command::Client(args) => Some(&args.peers),
            Command::Gateway(args) | Command::Run(RunArgs { gateway: args, .. }) => Some(&args.peers),
            _ => None,
        }
    }

    /// Where its files are; `None` for commands that have none.
    pub(crate) fn folder(&self) -> Option<&FolderArgs> {
        match self {
            Command::Id(args) => Some(&args.folder),
            Command::Peers(args) => Some(&args.folder),
            Command::Status(args) => Some(&args.folder),
            _ => self.common().map(|common| &common.folder),
        }
    }

    /// Where it answers or asks; `None` for commands that do neither.
    pub(crate) fn control(&self) -> Option<&ControlArgs> {
        match self {
            Command::Peers(args) => Some(&args.control),
            Command::Status(args) => Some(&args.control),
            _ => self.common().map(|common| &common.control),
        }
    }
}

#[cfg(test)]
mod tests;
