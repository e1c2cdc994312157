//! Settings from flags, the environment and the file, in that order of rank.

mod access;
mod checks;
mod connections;
mod control;
mod discovery;
mod environment;
mod file;
mod gateway;
mod listening;
mod node;
mod paths;
mod reachability;
mod relay;
mod relay_limits;
mod reload;
mod target;
mod text_file;
mod tokens;
mod units;
mod web;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Parser;
use kaspath_domain::{Host, PeerLocator, RelayAddress};
use kaspath_transport_libp2p::{ConnectionLimits, NetworkConfig, NodeKey, RelayToken};

use crate::{
    cli::{Cli, Command, ConfigCommand, IdArgs, RelayArgs, Role, RunArgs},
    output::{OutputSettings, Printer, WarningCode},
};
pub(crate) use connections::AskedLimits;
pub(crate) use control::{ControlSettings, sockets as control_sockets};
pub(crate) use discovery::DiscoverySettings;
use environment::Environment;
use file::ConfigFile;
pub(crate) use gateway::GatewaySettings;
use listening::{RELAY_PORT, listening};
pub(crate) use listening::{first_hop, relay_addresses, relay_ids};
pub(crate) use node::NodeSettings;
pub(crate) use reachability::Serve;
pub(crate) use relay::RelaySettings;
pub(crate) use relay_limits::RelayLimits;
pub(crate) use reload::{Live, Reload};
pub(crate) use target::Target;
pub(crate) use units::{Size, Span};
pub(crate) use web::WebSettings;

/// Everything a command needs.
pub(crate) struct Settings {
    pub(crate) output: OutputSettings,
    identity: PathBuf,
    pub(crate) control: ControlSettings,
    pub(crate) web: Option<WebSettings>,
    pub(crate) network_config: NetworkConfig,
    pub(crate) asked_limits: AskedLimits,
    pub(crate) node: Option<NodeSettings>,
    pub(crate) gateway: Option<GatewaySettings>,
    pub(crate) relay: Option<RelaySettings>,
    /// The relays that tell of this one.
    pub(crate) listed_at: Vec<RelayAddress>,
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

    /// Whether it is given relays, or where they are listed.
    pub(crate) fn has_relays(&self) -> bool {
        let has_list = self.node.as_ref().is_some_and(|node| node.relay_list.is_some());
        has_list || relay_ids(&self.network_config).next().is_some()
    }

    /// A node that neither reaches anybody nor is found through a relay is most
    /// likely a flag forgotten.
    pub(crate) fn warn_if_lonely(&self, printer: &Printer) {
        let found = self.has_relays();
        let reaches = self
            .node
            .as_ref()
            .is_some_and(|node| !node.remotes.is_empty() || !node.remote_ids.is_empty() || node.kaspa_listen.is_some());
        if !found && !reaches {
            printer.warn(
                WarningCode::Lonely,
                "no --relay, --relay-list or --remote: this node looks for no peers, and only whoever is given its addresses finds it",
            );
        }
    }

    /// The host names in the settings, to be hidden where that is asked for.
    pub(crate) fn host_names(&self) -> Vec<String> {
        let config = &self.network_config;
        let remotes = self.node.iter().flat_map(|node| &node.remotes);
        let addresses = config.listen.iter().chain(&config.relays).chain(remotes).map(first_hop);
        let names = addresses.chain(&config.external).filter_map(|address| match &address.host {
            Host::Dns(name) => Some(name.clone()),
            Host::Ip(_) => None,
        });
        let list = self.node.iter().filter_map(|node| {
            let list = node.relay_list.as_deref()?;
            let name = list.strip_prefix("/dnsaddr/").map_or(list, |rest| rest.split('/').next().unwrap_or(rest));
            (!name.contains('/')).then(|| name.to_owned())
        });
        let names = names.chain(list);
        let rpc = self.gateway.iter().filter_map(|gateway| gateway.rpc.as_deref()?.strip_prefix("ws://"));
        names.chain(rpc.map(|rest| rest.split([':', '/']).next().unwrap_or_default().to_owned())).collect()
    }
}

/// Whether addresses are to be hidden, by flag or by file, also where the settings
/// cannot be used.
pub(crate) fn redacts(cli: &Cli) -> bool {
    let file = match &cli.command {
        Command::Config(ConfigCommand::Check { file }) => Some(file.as_path()),
        command => command.folder().and_then(|folder| folder.config.as_deref()),
    };
    cli.redact || file.is_some_and(ConfigFile::redacts)
}

/// The identities of a folder, for `kaspath id`, which needs no other settings.
pub(crate) fn identity_files(args: &IdArgs, lookup: impl Fn(&str) -> Option<String>) -> Result<Vec<(Option<Role>, PathBuf)>> {
    paths::identities(&args.folder, &ConfigFile::read_if_any(args.folder.config.as_deref())?, &lookup, args.of.role())
}

/// Joins all sources. `lookup` reads an environment variable.
pub(crate) fn resolve(cli: &Cli, lookup: impl Fn(&str) -> Option<String>) -> Result<Settings> {
    let command = &cli.command;
    let folder = command.folder().context("this command has no settings")?;
    let file = ConfigFile::read_if_any(folder.config.as_deref())?;
    let redact = cli.redact || file.redact;
    let output = match command.common() {
        Some(common) => OutputSettings { format: common.log_format, redact, filter: environment::filter(common, &lookup)? },
        None => OutputSettings { redact, ..OutputSettings::default() },
    };
    let role = if matches!(command, Command::Relay(_)) { Role::Relay } else { Role::Node };
    let (_, identity) = paths::identities(folder, &file, &lookup, Some(role))?.remove(0);
    let mut settings = Settings {
        output,
        control: control::resolve(command, &file, &identity, &lookup)?,
        web: web::resolve(command, &file, &lookup)?,
        identity,
        network_config: NetworkConfig::default(),
        asked_limits: AskedLimits::default(),
        node: None,
        gateway: None,
        relay: None,
        listed_at: Vec::new(),
    };
    // A command reads only the variables that it uses: others may be meant for another.
    let environment = || Environment::read(&lookup);
    match command {
        Command::Relay(args) => {
            let environment = Environment::listening(&lookup)?;
            settings.relay = Some(relay(&mut settings.network_config, args, &file, &environment, &lookup)?);
            settings.listed_at = relays(if args.relay.is_empty() { &file.relay } else { &args.relay })?;
            reachability::checks(&mut settings.network_config, &file.reachability, !args.common.listen.no_autonat)?;
        }
        Command::Gateway(args) | Command::Run(RunArgs { gateway: args, .. }) => {
            let Settings { network_config: config, asked_limits: asked, identity, .. } = &mut settings;
            let (mut node, mut gateway) = gateway::resolve(config, asked, identity, args, &file, &environment()?)?;
            if let Command::Run(args) = command {
                gateway::for_kaspad(config, &mut node, &mut gateway, args, &file, &lookup)?;
            }
            (settings.node, settings.gateway) = (Some(node), Some(gateway));
            let asks = !args.common.listen.no_autonat;
            let config = &mut settings.network_config;
            reachability::apply(config, args.peers.serve, &file.reachability, Serve::WhenReachable, asks)?;
        }
        Command::Server(args) | Command::Client(args) => {
            let node = node::resolve(&mut settings.network_config, args, &file, &environment()?)?;
            let is_client = matches!(command, Command::Client(_));
            let serve = if is_client { Serve::Never } else { Serve::WhenReachable };
            let asks = !args.common.listen.no_autonat;
            reachability::apply(&mut settings.network_config, args.peers.serve, &file.reachability, serve, asks)?;
            if is_client && node.remotes.is_empty() && node.remote_ids.is_empty() {
                bail!("nothing to reach: give --remote with a peer's address or known id, or set LIBP2P_REMOTE_MULTIADDRS");
            }
            settings.node = Some(node);
        }
        _ => {}
    }
    if let Some(path) = command.peers().and_then(|peers| peers.relay_token_file.as_ref().or(file.relay_token_file.as_ref())) {
        let relays = relay_ids(&settings.network_config).collect();
        settings.network_config.relay_tokens = tokens::of_node(&paths::expand(path, &lookup)?, &relays)?;
    }
    let group = command.peers().and_then(|peers| peers.group.as_ref().or(file.discovery.group.as_ref()));
    if let Some((path, node)) = group.zip(settings.node.as_mut()) {
        node.discovery.group = Some(discovery::group(&paths::expand(path, &lookup)?)?);
    }
    connections::apply(&mut settings.network_config.limits, &mut settings.asked_limits, &file);
    Ok(settings)
}

/// Reads a file as every kind of program would.
pub(crate) fn check(file: &Path, lookup: impl Fn(&str) -> Option<String> + Copy) -> Result<()> {
    let file = file.to_str().context("the file's name is not UTF-8")?;
    for role in ["relay", "server", "gateway"] {
        let cli = Cli::try_parse_from(["kaspath", role, "--config", file]).context("cannot make up a command line")?;
        resolve(&cli, lookup)?;
    }
    checks::ports(&ConfigFile::read_if_any(Some(Path::new(file)))?)
}

fn relay(
    config: &mut NetworkConfig,
    args: &RelayArgs,
    file: &ConfigFile,
    environment: &Environment,
    lookup: &impl Fn(&str) -> Option<String>,
) -> Result<RelaySettings> {
    listening(config, &args.common.listen, file, environment, RELAY_PORT)?;
    let (server, settings) = relay::resolve(&args.limits.over(&file.relay_server), lookup)?;
    config.relay_server = Some(server);
    // A relay is reached by everybody, and does not punch.
    config.limits = ConnectionLimits::of_relay();
    // Streams are not used here, so none are accepted.
    config.protocols = Vec::new();
    Ok(settings)
}

/// Other relays, by direct addresses.
fn relays(locators: &[PeerLocator]) -> Result<Vec<RelayAddress>> {
    checks::relays(locators)?;
    Ok(locators.iter().filter(|locator| locator.address.direct().is_some()).filter_map(PeerLocator::relay).collect())
}

/// The token in a file of a single one, for `kaspath probe`.
pub(crate) fn single_token(path: &Path) -> Result<RelayToken> {
    tokens::single(path)
}

#[cfg(test)]
pub(crate) mod tests;
