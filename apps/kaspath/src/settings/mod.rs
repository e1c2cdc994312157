//! Settings from flags, the environment and the file, in that order of rank.

mod checks;
mod connections;
mod control;
mod environment;
mod file;
mod gateway;
mod paths;
mod relay_limits;
mod reload;
mod target;
mod units;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use clap::Parser;
use kaspath_domain::{Host, PeerAddress, PeerIdentity, PeerLocator};
use kaspath_kaspa_adaptor::KaspaNetwork;
use kaspath_policy::{InboundLimits, StrategyConfig, diverse_relays};
use kaspath_transport_libp2p::{ConnectionLimits, NetworkConfig, NodeKey};

use crate::{
    cli::{Cli, Command, FolderArgs, ListenArgs, LogFormat, NodeArgs, PeerArgs, RelayArgs},
    output::{OutputSettings, Printer},
};
pub(crate) use connections::AskedLimits;
pub(crate) use control::{ControlSettings, sockets as control_sockets};
use environment::Environment;
use file::ConfigFile;
pub(crate) use gateway::{GatewaySettings, is_usable};
pub(crate) use paths::IdentityFiles;
pub(crate) use relay_limits::RelayLimits;
pub(crate) use reload::Reload;
pub(crate) use target::Target;
pub(crate) use units::Span;

/// Where nodes listen if nothing else is said: a port of our own, never Kaspa's.
const ANY_PORT: [&str; 2] = ["/ip4/0.0.0.0/tcp/0", "/ip4/0.0.0.0/udp/0/quic-v1"];
/// Where relays listen if nothing else is said.
const RELAY_PORT: [&str; 2] = ["/ip4/0.0.0.0/tcp/4001", "/ip4/0.0.0.0/udp/4001/quic-v1"];

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

/// What only nodes need, not relays.
#[derive(Clone, Debug)]
pub(crate) struct NodeSettings {
    pub(crate) network: KaspaNetwork,
    pub(crate) policy: StrategyConfig,
    pub(crate) inbound: InboundLimits,
    pub(crate) remotes: Vec<PeerLocator>,
    /// Remotes that are named by their ids alone.
    pub(crate) remote_ids: Vec<PeerIdentity>,
    pub(crate) kaspa_listen: Option<SocketAddr>,
    pub(crate) once: bool,
    pub(crate) test_traffic: Option<Duration>,
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
        Command::Gateway(args) => gateway::resolve(&mut settings, args, &file, &environment()?)?,
        Command::Run(args) => {
            gateway::resolve(&mut settings, &args.gateway, &file, &environment()?)?;
            gateway::for_kaspad(&mut settings, args, &file, &lookup)?;
        }
        Command::Server(args) | Command::Client(args) => {
            let node = node(&mut settings.network_config, args, &file, &environment()?)?;
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

/// The first source that says anything.
fn first<T: Clone>(sources: [&[T]; 3]) -> Vec<T> {
    sources.into_iter().find(|source| !source.is_empty()).unwrap_or_default().to_vec()
}

fn listening(
    config: &mut NetworkConfig,
    args: &ListenArgs,
    file: &ConfigFile,
    environment: &Environment,
    default: [&str; 2],
) -> Result<()> {
    config.listen = first([&args.listen, &environment.listen, &file.listen]);
    if !config.listen.iter().any(|locator| matches!(locator.address, PeerAddress::Direct(_))) {
        for text in default {
            config.listen.push(text.parse()?);
        }
    }
    config.external = args.external_address.clone();
    for locator in &file.external_address {
        match (&locator.address, args.external_address.is_empty()) {
            (PeerAddress::Direct(address), true) => config.external.push(address.clone()),
            (PeerAddress::Direct(_), false) => {}
            (PeerAddress::Relayed(_), _) => {
                bail!("external-address {locator} in the configuration file goes through a relay: give a direct address")
            }
        }
    }
    Ok(())
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

fn node(config: &mut NetworkConfig, args: &NodeArgs, file: &ConfigFile, environment: &Environment) -> Result<NodeSettings> {
    listening(config, &args.listen, file, environment, ANY_PORT)?;
    let node = peers(config, &args.peers, None, file, environment)?;
    Ok(NodeSettings {
        kaspa_listen: args.kaspa_listen.or(file.kaspa_listen),
        once: args.once,
        test_traffic: args.test_traffic,
        ..node
    })
}

fn peers(
    config: &mut NetworkConfig,
    args: &PeerArgs,
    max_inbound: Option<usize>,
    file: &ConfigFile,
    environment: &Environment,
) -> Result<NodeSettings> {
    config.relays = diverse_relays(first([&args.relay, &environment.relays, &file.relay]));
    checks::relays(&config.relays)?;
    checks::times(&file.timing)?;
    let mut policy = StrategyConfig::new(args.policy.or(file.policy).unwrap_or_default());
    let inbound = checks::inbound(&InboundLimits::default(), &file.inbound, max_inbound)?;
    let (timing, given) = (&mut policy.timing, &file.timing);
    for (time, given) in [
        (&mut timing.direct, given.direct),
        (&mut timing.stagger, given.stagger),
        (&mut timing.punch, given.punch),
        (&mut timing.relayed, given.relayed),
        (&mut timing.relay_after, given.relay_after),
    ] {
        *time = given.map_or(*time, |span| span.0);
    }
    let expected: Option<&PeerIdentity> = args.remote_peer_id.as_ref().or(environment.remote_peer_id.as_ref());
    let (mut remotes, mut remote_ids) = (Vec::new(), Vec::new());
    for target in first([&args.remote, &environment.remotes, &file.remote]) {
        match target {
            Target::At(locator) => remotes.push(locator),
            Target::Known(peer) => remote_ids.push(peer),
        }
    }
    for remote in remotes.iter_mut().filter(|remote| remote.peer.is_none()) {
        remote.peer = expected.cloned();
        if remote.peer.is_none() && matches!(remote.address, PeerAddress::Relayed(_)) {
            bail!("{remote} does not say which peer: append /p2p/<peer id>, or give --remote-peer-id");
        }
    }
    Ok(NodeSettings {
        network: args.network.or(file.network).unwrap_or(KaspaNetwork::Mainnet),
        policy,
        inbound,
        remotes,
        remote_ids,
        kaspa_listen: None,
        once: false,
        test_traffic: None,
    })
}

#[cfg(test)]
pub(crate) mod tests;
