//! Flags and their help.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};
use kaspath_domain::{PeerIdentity, PeerLocator, TransportAddress};
use kaspath_kaspa_adaptor::KaspaNetwork;
use kaspath_policy::StrategyName;

use crate::settings::{Size, Span};

/// Two Kaspa nodes behind NATs, connected directly.
///
/// A relay on a public address lets two private nodes meet; they punch through
/// both NATs and run Kaspa's P2P protocol over the direct path, or stay on the
/// relay where no punch can work.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100, after_long_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLES: &str = "\
Examples:
  On a public machine:        kaspath relay --listen /ip4/0.0.0.0/tcp/4001 --listen /ip4/0.0.0.0/udp/4001/quic-v1
  On the first private one:   kaspath server --relay /ip4/203.0.113.1/tcp/4001/p2p/<relay id>
  With a kaspad:              kaspath run --relay /ip4/203.0.113.1/tcp/4001/p2p/<relay id> -- kaspad --utxoindex
  Beside one that runs:       kaspath gateway --relay /ip4/203.0.113.1/tcp/4001/p2p/<relay id>
  On the second private one:  kaspath client --remote /ip4/203.0.113.1/tcp/4001/p2p/<relay id>/p2p-circuit/p2p/<server id>

The environment is read where no flag is given, lists split at commas, semicolons or space:
  LIBP2P_LISTEN_MULTIADDRS, LIBP2P_RELAY_MULTIADDRS (or LIBP2P_RELAY_MULTIADDR),
  LIBP2P_REMOTE_MULTIADDRS (or LIBP2P_REMOTE_MULTIADDR), LIBP2P_REMOTE_PEER_ID
Flags come before the environment, the environment before the file.";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Let private nodes meet; needs a public address.
    Relay(RelayArgs),
    /// Be found through relays, and accept peers.
    Server(NodeArgs),
    /// Reach peers, and stay connected to them.
    Client(NodeArgs),
    /// Stand in front of an unmodified kaspad: private peers reach it, and it reaches them.
    Gateway(GatewayArgs),
    /// Start an unmodified kaspad behind a gateway, look after both, and stop both.
    ///
    /// kaspad gets your flags and what the gateway needs beside them; what is added
    /// is printed. It is started again when it fails, and told to end when this
    /// program is.
    Run(RunArgs),
    /// Print this node's peer id, making its identity file if there is none.
    Id(CommonArgs),
    /// Look into the book of known peers, and ban or forget them.
    Peers(PeersArgs),
    /// Try policies on a made-up population of NATs, in virtual time; print a table.
    Simulate(SimulateArgs),
    /// Check a configuration file, or print one with every key and its default.
    Config(ConfigArgs),
    /// Becomes kaspad, which then ends when the program that started this does.
    #[command(hide = true)]
    Exec(ExecArgs),
}

impl Command {
    pub(crate) fn common(&self) -> &CommonArgs {
        match self {
            Command::Relay(args) => &args.common,
            Command::Server(args) | Command::Client(args) => &args.common,
            Command::Gateway(args) => &args.common,
            Command::Run(args) => &args.gateway.common,
            Command::Id(args) => args,
            Command::Exec(args) => &args.common,
            Command::Config(args) => &args.common,
            Command::Simulate(args) => &args.common,
            Command::Peers(args) => &args.common,
        }
    }

    /// Whether it connects to others.
    pub(crate) fn has_network(&self) -> bool {
        matches!(self, Command::Relay(_) | Command::Server(_) | Command::Client(_) | Command::Gateway(_) | Command::Run(_))
    }

    /// The name of the identity file, unless another is given.
    pub(crate) fn role(&self) -> &'static str {
        match self {
            Command::Relay(_) => "relay",
            Command::Server(_)
            | Command::Client(_)
            | Command::Gateway(_)
            | Command::Run(_)
            | Command::Id(_)
            | Command::Exec(_)
            | Command::Config(_)
            | Command::Simulate(_)
            | Command::Peers(_) => "node",
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct CommonArgs {
    /// Read settings from this TOML file; docs/kaspath.example.toml has every key.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Folder for the identity file.  [default: ~/.kaspath]
    #[arg(long, value_name = "DIR")]
    pub(crate) appdir: Option<PathBuf>,

    /// The identity file itself, made with mode 0600 if it is not there.
    #[arg(long, value_name = "FILE")]
    pub(crate) identity: Option<PathBuf>,

    /// Print events as text or as one JSON object a line.
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,

    /// Hide IP addresses and host names in everything that is printed.
    #[arg(long)]
    pub(crate) redact: bool,

    /// Also print debug logs (to standard error); twice for traces.
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    #[default]
    Text,
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct ListenArgs {
    /// Listen there; may be given several times. A circuit address is a relay to reserve at.
    /// [default: any free TCP and UDP port]
    #[arg(short, long, value_name = "MULTIADDR")]
    pub(crate) listen: Vec<PeerLocator>,

    /// An address at which this node is known to be reachable, such as a forwarded port.
    #[arg(long, value_name = "MULTIADDR", value_parser = transport_address)]
    pub(crate) external_address: Vec<TransportAddress>,

    /// Has no effect: AutoNAT is not used any more. Accepted for existing set-ups.
    #[arg(long, hide = true)]
    pub(crate) no_autonat: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RelayArgs {
    #[command(flatten)]
    pub(crate) common: CommonArgs,
    #[command(flatten)]
    pub(crate) listen: ListenArgs,

    /// Reservations in all.
    #[arg(long, value_name = "N")]
    pub(crate) max_reservations: Option<usize>,

    /// Circuits in all.
    #[arg(long, value_name = "N")]
    pub(crate) max_circuits: Option<usize>,

    /// Circuits of one peer.
    #[arg(long, value_name = "N")]
    pub(crate) max_circuits_per_peer: Option<usize>,

    /// Lifetime of a circuit, like 24h; a bare number is seconds.
    #[arg(long, value_name = "TIME")]
    pub(crate) max_circuit_duration: Option<Span>,

    /// Bytes of a circuit, both ways together, like 10GiB; 0 is unlimited.
    #[arg(long, value_name = "BYTES")]
    pub(crate) max_circuit_bytes: Option<Size>,
}

/// Whom to meet, where and how.
#[derive(Debug, Args)]
pub(crate) struct PeerArgs {
    /// A relay to be found through; may be given several times, also to name several addresses of one.
    #[arg(short, long, value_name = "MULTIADDR")]
    pub(crate) relay: Vec<PeerLocator>,

    /// A peer to reach: a multiaddr, a circuit through a relay, or host:port of a plain Kaspa node.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) remote: Vec<PeerLocator>,

    /// The peer id expected at remotes whose address names none.
    #[arg(long, value_name = "PEER_ID")]
    pub(crate) remote_peer_id: Option<kaspath_domain::PeerIdentity>,

    /// Kaspa network: mainnet, testnet-10, simnet or devnet.  [default: mainnet]
    #[arg(short, long)]
    pub(crate) network: Option<KaspaNetwork>,

    /// How peers are reached: balanced, direct-first, quic-first, adaptive, tcp-only, quic-only, relay-only
    /// or direct-only.  [default: balanced]
    #[arg(long)]
    pub(crate) policy: Option<StrategyName>,
}

#[derive(Debug, Args)]
pub(crate) struct GatewayArgs {
    #[command(flatten)]
    pub(crate) common: CommonArgs,
    #[command(flatten)]
    pub(crate) listen: ListenArgs,
    #[command(flatten)]
    pub(crate) peers: PeerArgs,

    /// Where kaspad listens for peers; must be IPv4 loopback.  [default: 127.0.0.1 and the network's port]
    #[arg(long, value_name = "IP:PORT")]
    pub(crate) kaspad: Option<SocketAddr>,

    /// kaspad's JSON RPC, by which its bans are followed and peers are added; "off" leaves it alone.
    /// [default: ws://127.0.0.1 and the network's port]
    #[arg(long, value_name = "URL")]
    pub(crate) kaspad_rpc: Option<String>,

    /// Inbound peers in all; per address, prefix and relay see the configuration file.  [default: 8]
    #[arg(long, value_name = "N")]
    pub(crate) max_inbound: Option<usize>,
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) gateway: GatewayArgs,

    /// kaspad and its flags, after `--`.
    #[arg(last = true, required = true, value_name = "KASPAD FLAGS")]
    pub(crate) kaspad_command: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct PeersArgs {
    #[command(flatten)]
    pub(crate) common: CommonArgs,
    #[command(subcommand)]
    pub(crate) what: PeersCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PeersCommand {
    /// All of them, those seen last first.
    List,
    /// Everything that is known of one, as JSON.
    Show {
        /// Who.
        peer: PeerIdentity,
    },
    /// Neither dial a peer nor let it in.
    Ban {
        /// Who.
        peer: PeerIdentity,
        /// For how long, like 12h.  [default: 24h]
        #[arg(long = "for", value_name = "TIME")]
        time: Option<Span>,
    },
    /// Lift a ban.
    Unban {
        /// Who.
        peer: PeerIdentity,
    },
    /// Remove a peer from the book.
    Forget {
        /// Who.
        peer: PeerIdentity,
    },
    /// Print the whole book as JSON.
    Export,
    /// Take over an exported book; what is known already is joined with it.
    Import {
        /// The file.
        file: PathBuf,
    },
}

#[derive(Debug, Args)]
pub(crate) struct SimulateArgs {
    #[command(flatten)]
    pub(crate) common: CommonArgs,
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
    #[command(flatten)]
    pub(crate) common: CommonArgs,
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
    #[command(flatten)]
    pub(crate) common: CommonArgs,
    #[arg(last = true, required = true)]
    pub(crate) command: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct NodeArgs {
    #[command(flatten)]
    pub(crate) common: CommonArgs,
    #[command(flatten)]
    pub(crate) listen: ListenArgs,

    #[command(flatten)]
    pub(crate) peers: PeerArgs,

    /// Also serve plain Kaspa peers over TCP there.
    #[arg(long, value_name = "IP:PORT")]
    pub(crate) kaspa_listen: Option<SocketAddr>,

    /// Try each remote once; exit with an error if one cannot be reached, and when the sessions end.
    #[arg(long)]
    pub(crate) once: bool,

    /// Announce a made-up transaction at this interval, to see gossip flow; never sent to a kaspad.
    #[arg(long, value_name = "MILLISECONDS", value_parser = milliseconds)]
    pub(crate) test_traffic: Option<Duration>,
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.replace('_', "").parse() {
        Ok(0) | Err(_) => Err(format!("{text:?} is no number, 1 or more")),
        Ok(number) => Ok(number),
    }
}

fn milliseconds(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err(format!("{text:?} is no number of milliseconds, 1 or more")),
        Ok(millis) => Ok(Duration::from_millis(millis)),
    }
}

fn transport_address(text: &str) -> Result<TransportAddress, String> {
    let locator: PeerLocator = text.parse().map_err(|error: kaspath_domain::AddressError| error.to_string())?;
    match locator.address {
        kaspath_domain::PeerAddress::Direct(address) => Ok(address),
        kaspath_domain::PeerAddress::Relayed(_) => Err(format!("{text:?} goes through a relay; give a direct address")),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_flags_are_consistent() {
        Cli::command().debug_assert();
    }
}
