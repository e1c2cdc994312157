//! Flags and their help: of programs that run here, of tools in `tools`.

mod tools;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};
use kaspath_domain::{PeerLocator, TransportAddress};
use kaspath_kaspa_adaptor::KaspaNetwork;
use kaspath_policy::StrategyName;

use crate::settings::{RelayLimits, Target};
pub(crate) use tools::{ConfigArgs, ConfigCommand, ExecArgs, IdArgs, PeersArgs, PeersCommand, SimulateArgs, StatusArgs};

/// Two Kaspa nodes behind NATs, connected directly.
///
/// A relay on a public address lets two private nodes meet; they punch through
/// both NATs and run Kaspa's P2P protocol over the direct path, or stay on the
/// relay where no punch can work.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100, after_long_help = AFTER_HELP)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const AFTER_HELP: &str = "\
Examples:
  On a public machine:        kaspath relay --listen /ip4/0.0.0.0/tcp/4001 --listen /ip4/0.0.0.0/udp/4001/quic-v1
  On the first private one:   kaspath server --relay /ip4/203.0.113.1/tcp/4001/p2p/<relay id>
  With a kaspad:              kaspath run --relay /ip4/203.0.113.1/tcp/4001/p2p/<relay id> -- kaspad --utxoindex
  Beside one that runs:       kaspath gateway --relay /ip4/203.0.113.1/tcp/4001/p2p/<relay id>
  On the second private one:  kaspath client --remote /ip4/203.0.113.1/tcp/4001/p2p/<relay id>/p2p-circuit/p2p/<server id>

The environment is read where no flag is given, lists split at commas, semicolons or space:
  LIBP2P_LISTEN_MULTIADDRS, LIBP2P_RELAY_MULTIADDRS, LIBP2P_REMOTE_MULTIADDRS (each also without
  the last S), LIBP2P_REMOTE_PEER_ID
Flags come before the environment, the environment before the file.

Exit codes: 0 in order, 1 a failure, 2 a wrong flag, file or environment variable, 70 a bug of this
program, 130 ended at once by a second signal. A reader of standard output that goes away or does not
read stops nothing: lines are left out instead.";

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
    /// kaspad gets your flags, a JSON RPC on loopback if you give none, and, without
    /// --unsaferpc, an --addpeer for each --remote; what is added is printed. How it listens, which address it
    /// announces and its UPnP stay as they are. It is started again when it fails, and
    /// told to end when this program is, or when this program fails.
    Run(RunArgs),
    /// Print the peer id of this folder's relay or node.
    ///
    /// A relay and a node have different identities, in relay.key and node.key. Without a
    /// flag it is the one that exists, or both; if there is none, a node's is made, and
    /// this says so.
    Id(IdArgs),
    /// Look into the book of known peers, and ban or forget them; also while a node runs.
    ///
    /// A peer is named by its peer id, or by the end of it that logs print.
    Peers(PeersArgs),
    /// Show how the programs of this folder that run are doing: peers, their paths, relays, counters.
    Status(StatusArgs),
    /// Try policies on a made-up population of NATs, in virtual time; print a table.
    Simulate(SimulateArgs),
    /// Check a configuration file, or print one with every key and its default.
    Config(ConfigArgs),
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

    /// Where its files are; `None` for commands that have none.
    pub(crate) fn folder(&self) -> Option<&FolderArgs> {
        match self {
            Command::Id(args) => Some(&args.folder),
            Command::Peers(args) => Some(&args.folder),
            Command::Status(args) => Some(&args.folder),
            _ => self.common().map(|common| &common.folder),
        }
    }

    /// How it prints; `None` for commands without events.
    pub(crate) fn output(&self) -> Option<&OutputArgs> {
        self.common().map(|common| &common.output)
    }

    /// Where it answers or asks; `None` for commands that do neither.
    pub(crate) fn control(&self) -> Option<&ControlArgs> {
        match self {
            Command::Peers(args) => Some(&args.control),
            Command::Status(args) => Some(&args.control),
            _ => self.common().map(|common| &common.control),
        }
    }

    /// Whether the command line asks for addresses to be hidden.
    pub(crate) fn redact(&self) -> bool {
        match self {
            Command::Peers(args) => args.redact,
            Command::Status(args) => args.redact,
            Command::Config(args) => args.redact,
            _ => self.output().is_some_and(|output| output.redact),
        }
    }

    /// Which identity it has, unless a file is given.
    pub(crate) fn role(&self) -> Role {
        match self {
            Command::Relay(_) => Role::Relay,
            _ => Role::Node,
        }
    }
}

/// Whose identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// A relay's.
    Relay,
    /// A server's, client's or gateway's.
    Node,
}

/// Flags of every program that runs.
#[derive(Debug, Args)]
pub(crate) struct CommonArgs {
    #[command(flatten)]
    pub(crate) folder: FolderArgs,
    #[command(flatten)]
    pub(crate) control: ControlArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,

    /// A group, by name or number, whose members may ask at the control socket too; they must be able to
    /// enter its folder.
    #[arg(long, value_name = "GROUP")]
    pub(crate) control_group: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ControlArgs {
    /// The socket at which a running program is asked by `kaspath status` and `kaspath peers`; "off" for none.
    /// [default: beside the identity, node.sock or relay.sock]
    #[arg(long, value_name = "PATH", global = true)]
    pub(crate) control_socket: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct FolderArgs {
    /// Read settings from this TOML file; `kaspath config example` prints one with every key.
    #[arg(short, long, value_name = "FILE", global = true)]
    pub(crate) config: Option<PathBuf>,

    /// Folder for all files: the identity (node.key, or relay.key of a relay) and its lock, and the
    /// book of peers (peers.redb).  [default: ~/.kaspath]
    #[arg(long, value_name = "DIR", global = true)]
    pub(crate) appdir: Option<PathBuf>,

    /// The identity file itself, made with mode 0600 if it is not there. The other files are beside it.
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) identity: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct OutputArgs {
    /// Print events as text or as one JSON object a line.
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,

    /// Hide IP addresses and host names in everything that is printed, kaspad's lines under `run` too.
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
    /// [default: TCP and UDP port 4001 for a relay, any free ports else; IPv4 alone, so for IPv6 give
    /// /ip6/::/tcp/4001 and /ip6/::/udp/4001/quic-v1 beside those of /ip4/0.0.0.0]
    #[arg(short, long, value_name = "MULTIADDR")]
    pub(crate) listen: Vec<PeerLocator>,

    /// An address at which this node is known to be reachable, such as a forwarded port. Give one for
    /// TCP and one for UDP (/udp/PORT/quic-v1), if both are.
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
    #[command(flatten)]
    pub(crate) limits: RelayLimits,
}

/// Whom to meet, where and how.
#[derive(Debug, Args)]
pub(crate) struct PeerArgs {
    /// A relay to be found through; may be given several times, also to name several addresses of one.
    #[arg(short, long, value_name = "MULTIADDR")]
    pub(crate) relay: Vec<PeerLocator>,

    /// A peer to reach: a multiaddr, a circuit through a relay, or host:port of a plain Kaspa node. The
    /// peer id alone is enough of one that this node has reached before.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) remote: Vec<Target>,

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

    fn parse(args: &[&str]) -> Result<Command, clap::Error> {
        Cli::try_parse_from([&["kaspath"], args].concat()).map(|cli| cli.command)
    }

    /// What every command that has files takes, before a subcommand of its own and after.
    #[test]
    fn common_flags_stand_anywhere_after_the_command() {
        let flags = ["--config", "c", "--appdir", "a", "--identity", "i"];
        let peer = "4kx6nXTN";
        for command in [
            &["relay"][..],
            &["server"],
            &["client"],
            &["gateway"],
            &["id"],
            &["status"],
            &["peers", "list"],
            &["peers", "show", peer],
            &["peers", "ban", peer],
            &["peers", "unban", peer],
            &["peers", "forget", peer],
            &["peers", "export"],
            &["peers", "import", "f"],
        ] {
            let others: &[&str] = match command[0] {
                "id" => &[],
                "peers" | "status" => &["--control-socket", "s", "--redact"],
                _ => &["--control-socket", "s", "--redact", "--log-format", "json", "-v"],
            };
            let flags = [&flags[..], others].concat();
            for at in 1..=command.len() {
                let args = [&command[..at], &flags, &command[at..]].concat();
                let parsed = parse(&args).unwrap_or_else(|error| panic!("{args:?}: {error}"));
                let folder = parsed.folder().unwrap();
                assert!(folder.config.is_some() && folder.appdir.is_some() && folder.identity.is_some(), "{args:?}");
                assert_eq!(
                    (parsed.redact(), parsed.control().is_some_and(|control| control.control_socket.is_some())),
                    (command[0] != "id", command[0] != "id"),
                    "{args:?}"
                );
            }
        }
    }

    #[test]
    fn commands_without_files_take_no_flag_for_them() {
        for command in [&["simulate"][..], &["config", "example"], &["config", "check", "f"]] {
            assert!(parse(command).unwrap().folder().is_none());
            for flag in [&["--appdir", "a"][..], &["--config", "c"], &["--identity", "i"], &["--control-socket", "s"], &["-v"]] {
                assert!(parse(&[command, flag].concat()).is_err(), "{command:?} {flag:?}");
                assert!(parse(&[&["exec"], flag, &["--", "kaspad"]].concat()).is_err(), "exec {flag:?}");
            }
        }
    }

    #[test]
    fn a_peer_is_named_in_full_or_by_its_end() {
        for name in ["4kx6nXTN", "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN"] {
            assert!(parse(&["peers", "ban", name]).is_ok(), "{name}");
        }
        let error = parse(&["peers", "ban", "nXTN"]).unwrap_err().to_string();
        assert!(error.contains("last 8 characters"), "{error}");
    }
}
