//! Settings from flags, the environment and the file, in that order of rank.

mod checks;
mod connections;
mod control;
mod environment;
mod file;
mod gateway;
mod listening;
mod node;
mod paths;
mod relay_limits;
mod reload;
mod target;
mod units;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Parser;
use kaspath_domain::{Host, PeerAddress, PeerLocator};
use kaspath_transport_libp2p::{ConnectionLimits, NetworkConfig, NodeKey};

use crate::{
    cli::{Cli, Command, FolderArgs, LogFormat, RelayArgs, RunArgs},
    output::{OutputSettings, Printer},
};
pub(crate) use connections::AskedLimits;
pub(crate) use control::{ControlSettings, sockets as control_sockets};
use environment::Environment;
use file::ConfigFile;
pub(crate) use gateway::GatewaySettings;
use listening::{RELAY_PORT, listening};
pub(crate) use node::NodeSettings;
pub(crate) use paths::IdentityFiles;
pub(crate) use relay_limits::RelayLimits;
pub(crate) use reload::Reload;
pub(crate) use target::Target;
pub(crate) use units::Span;

/// Everything a command needs.
pub(crate) struct Settings {
    pub(crate) output: OutputSettings,
    identity: PathBuf,
    pub(crate) control: ControlSettings,
    pub(crate) network_config: NetworkConfig,
    pub(crate) asked_limits: AskedLimits,
    pub(crate) node: Option<NodeSettings>,
    pub(crate) gateway: Option<GatewaySettings>,
}

impl Settings {
    /// The node's key, made at the first use.
    pub(crate) fn key(&self) -> Result<NodeKey> {
        Ok(NodeKey::load_or_create(&self.identity)?)
    }

    /// The file of the node's key.
    pub(crate) fn identity(&self) -> &Path {
        &self.identity
    }

    /// Where the book of peers is.
    pub(crate) fn peer_book(&self) -> PathBuf {
        self.identity.with_file_name("peers.redb")
    }
}

impl Settings {
    /// A node that neither reaches anybody nor is found through a relay is most
    /// likely a flag forgotten.
    pub(crate) fn warn_if_lonely(&self, printer: &Printer) {
        let circuits = |locator: &PeerLocator| matches!(locator.address, PeerAddress::Relayed(_));
        let found = !self.network_config.relays.is_empty() || self.network_config.listen.iter().any(circuits);
        let reaches = self
            .node
            .as_ref()
            .is_some_and(|node| !node.remotes.is_empty() || !node.remote_ids.is_empty() || node.kaspa_listen.is_some());
        if !found && !reaches {
            printer.warning("no --relay and no --remote: only peers that can reach the addresses above will find this node");
        }
    }

    /// The host names in the settings, to be hidden where that is asked for.
    pub(crate) fn host_names(&self) -> Vec<String> {
        let config = &self.network_config;
        let remotes = self.node.iter().flat_map(|node| &node.remotes);
        let locators = config.listen.iter().chain(&config.relays).chain(remotes).map(|locator| match &locator.address {
            PeerAddress::Direct(address) => address,
            PeerAddress::Relayed(relay) => &relay.via,
        });
        let names = locators.chain(&config.external).filter_map(|address| match &address.host {
            Host::Dns(name) => Some(name.clone()),
            Host::Ip(_) => None,
        });
        let rpc = self.gateway.iter().filter_map(|gateway| gateway.rpc.as_deref()?.strip_prefix("ws://"));
        names.chain(rpc.map(|rest| rest.split([':', '/']).next().unwrap_or_default().to_owned())).collect()
    }
}

/// Whether addresses are to be hidden, by flag or by file, also where the settings
/// cannot be used.
pub(crate) fn redacts(command: &Command) -> bool {
    command.redact() || command.folder().and_then(|folder| folder.config.as_deref()).is_some_and(file_redacts)
}

/// Whether a file asks for addresses to be hidden, even one that is wrong.
pub(crate) fn file_redacts(file: &Path) -> bool {
    ConfigFile::redacts(file)
}

/// The identities of a folder, for `kaspath id`: no other settings matter to it.
pub(crate) fn identity_files(args: &FolderArgs, lookup: impl Fn(&str) -> Option<String>) -> Result<IdentityFiles> {
    IdentityFiles::find(args, &ConfigFile::read_if_any(args.config.as_deref())?, &lookup)
}

/// Joins all sources. `lookup` reads an environment variable.
pub(crate) fn resolve(command: &Command, lookup: impl Fn(&str) -> Option<String>) -> Result<Settings> {
    let folder = command.folder().context("this command has no settings")?;
    let file = ConfigFile::read_if_any(folder.config.as_deref())?;
    let (format, verbose) = command.output().map_or((LogFormat::Text, 0), |output| (output.log_format, output.verbose));
    let identity = IdentityFiles::find(folder, &file, &lookup)?.of(command.role());
    let mut settings = Settings {
        output: OutputSettings { format, redact: command.redact() || file.redact, verbose },
        control: control::resolve(command, &file, &identity, &lookup)?,
        identity,
        network_config: NetworkConfig::default(),
        asked_limits: AskedLimits::default(),
        node: None,
        gateway: None,
    };
    // What a command does not use is not read: it may be meant for another.
    let environment = || Environment::read(&lookup);
    match command {
        Command::Id(_)
        | Command::Exec(_)
        | Command::Config(_)
        | Command::Simulate(_)
        | Command::Peers(_)
        | Command::Status(_) => {}
        Command::Relay(args) => relay(&mut settings.network_config, args, &file, &Environment::listening(&lookup)?)?,
        Command::Gateway(args) | Command::Run(RunArgs { gateway: args, .. }) => {
            let Settings { network_config: config, asked_limits: asked, identity, .. } = &mut settings;
            let (mut node, mut gateway) = gateway::resolve(config, asked, identity, args, &file, &environment()?)?;
            if let Command::Run(args) = command {
                gateway::for_kaspad(config, &mut node, &mut gateway, args, &file, &lookup)?;
            }
            (settings.node, settings.gateway) = (Some(node), Some(gateway));
        }
        Command::Server(args) | Command::Client(args) => {
            let node = node::resolve(&mut settings.network_config, args, &file, &environment()?)?;
            let is_client = matches!(command, Command::Client(_));
            if is_client && node.remotes.is_empty() && node.remote_ids.is_empty() {
                bail!("nothing to reach: give --remote with a peer's address or known id, or set LIBP2P_REMOTE_MULTIADDRS");
            }
            settings.node = Some(node);
        }
    }
    connections::apply(&mut settings.network_config.limits, &mut settings.asked_limits, &file)?;
    Ok(settings)
}

/// Reads a file as every kind of program would.
pub(crate) fn check(file: &Path, lookup: impl Fn(&str) -> Option<String> + Copy) -> Result<()> {
    let file = file.to_str().context("the file's name is not UTF-8")?;
    for role in ["relay", "server", "gateway"] {
        let cli = Cli::try_parse_from(["kaspath", role, "--config", file]).context("cannot make up a command line")?;
        resolve(&cli.command, lookup)?;
    }
    checks::ports(&ConfigFile::read_if_any(Some(Path::new(file)))?)
}

fn relay(config: &mut NetworkConfig, args: &RelayArgs, file: &ConfigFile, environment: &Environment) -> Result<()> {
    listening(config, &args.listen, file, environment, RELAY_PORT)?;
    let server = args.limits.over(&file.relay_server)?;
    checks::relay_server(&server)?;
    config.relay_server = Some(server);
    // A relay is reached by everybody, and punches with nobody.
    config.limits = ConnectionLimits::of_relay();
    // Nobody takes streams here, so none are accepted.
    config.protocols = Vec::new();
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests;
