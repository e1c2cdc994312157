//! Flags that several commands have.

use std::{fmt, net::SocketAddr, path::PathBuf};

use clap::{Args, ValueEnum};
use kaspath_domain::{AddressError, PeerAddress, PeerLocator, TransportAddress};

use crate::level::LevelSpec;

/// Whose identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// A relay's.
    Relay,
    /// A server's, client's or gateway's.
    Node,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Self::Relay { "relay" } else { "node" })
    }
}

/// Of which of a folder's programs.
#[derive(Debug, Args)]
pub(crate) struct RoleArgs {
    /// Only the relay.
    #[arg(long, conflicts_with = "node")]
    relay: bool,

    /// Only the node (server, client or gateway).
    #[arg(long)]
    node: bool,
}

impl RoleArgs {
    pub(crate) fn role(&self) -> Option<Role> {
        if self.relay { Some(Role::Relay) } else { self.node.then_some(Role::Node) }
    }
}

/// Flags of every program that runs.
#[derive(Debug, Args)]
pub(crate) struct CommonArgs {
    #[command(flatten)]
    pub(crate) folder: FolderArgs,
    #[command(flatten)]
    pub(crate) control: ControlArgs,
    #[command(flatten)]
    pub(crate) listen: ListenArgs,
    #[command(flatten)]
    pub(crate) web: WebArgs,

    /// A group, by name or number, whose members may ask at the control socket too; they must be able to
    /// enter its folder.
    #[arg(long, value_name = "GROUP")]
    pub(crate) control_group: Option<String>,

    /// Print events as text or as one JSON object a line.
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,

    /// Also print debug logs (to standard error); twice for traces.
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,

    /// What to print: LEVEL, or SUBSYSTEM=LEVEL, joined by commas. Levels: off, error, warn, info, debug,
    /// trace. Subsystems: transport, session, policy, gateway, kaspa, discovery, book, control, program,
    /// libraries.
    /// [default: info,libraries=warn; or KASPATH_LOG]
    #[arg(long, value_name = "LEVELS")]
    pub(crate) log_level: Option<LevelSpec>,
}

#[derive(Debug, Args)]
pub(crate) struct ListenArgs {
    /// Listen there; may be given several times. A circuit address is a relay to reserve at.
    /// [default: every address of IPv4 and IPv6, TCP and UDP, port 4001 for a relay, free ports else]
    #[arg(short, long, value_name = "MULTIADDR")]
    pub(crate) listen: Vec<PeerLocator>,

    /// An address at which this node is known to be reachable, such as a forwarded port. Give one for
    /// TCP and one for UDP (/udp/PORT/quic-v1), if both are.
    #[arg(long, value_name = "MULTIADDR", value_parser = transport_address)]
    pub(crate) external_address: Vec<TransportAddress>,

    /// Do not ask relays whether others can reach this program: they have other nodes dial it.
    #[arg(long)]
    pub(crate) no_autonat: bool,
}

#[derive(Debug, Args)]
pub(crate) struct WebArgs {
    /// Serve a status page, metrics and health over HTTP there, such as 127.0.0.1:4002; without it there is
    /// none. Anybody on this machine can read a loopback address; any other needs --web-token-file.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) web_listen: Option<SocketAddr>,

    /// A file with the token that readers of the status page must give; only its owner may read the file.
    #[arg(long, value_name = "FILE")]
    pub(crate) web_token_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct ControlArgs {
    /// The socket that `kaspath status` and `kaspath peers` connect to; "off" for none.
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

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    #[default]
    Text,
    Json,
}

fn transport_address(text: &str) -> Result<TransportAddress, String> {
    let locator: PeerLocator = text.parse().map_err(|error: AddressError| error.to_string())?;
    match locator.address {
        PeerAddress::Direct(address) => Ok(address),
        PeerAddress::Relayed(_) => Err(format!("{text:?} goes through a relay; give a direct address")),
    }
}
