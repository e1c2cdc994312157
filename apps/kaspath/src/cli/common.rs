//! Flags that several commands have.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

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
