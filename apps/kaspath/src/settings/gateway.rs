//! Settings of `kaspath gateway` and `kaspath run`.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::{Result, bail};
use kaspath_kaspa_adaptor::KaspaNetwork;
use kaspath_transport_libp2p::{LEGACY_STREAM_PROTOCOL, NetworkConfig, SESSION_PROTOCOL};

use super::{
    checks::origin,
    connections::{self, AskedLimits},
    environment::Environment,
    file::ConfigFile,
    listening::{ANY_PORT, listening},
    node::{NodeSettings, peers},
};
use crate::{
    cli::{GatewayArgs, RunArgs},
    run::{KaspadFlags, KaspadPlan, is_usable},
};

/// More than a home or a small provider brings in an hour, less than fills a table.
const NEWCOMERS: usize = 16;

/// What only the gateway needs.
#[derive(Clone, Debug)]
pub(crate) struct GatewaySettings {
    pub(crate) kaspad: SocketAddr,
    /// Where its RPC is; `None` does not use it.
    pub(crate) rpc: Option<String>,
    /// Where earlier versions kept loopback addresses and kaspad's bans.
    pub(crate) earlier_table: PathBuf,
    /// Peers never seen before that one prefix or relay may bring at once.
    pub(crate) newcomers: usize,
    /// What looks like a mistake and may be intended.
    pub(crate) warning: Option<String>,
    /// The kaspad to be run.
    pub(crate) run: Option<KaspadPlan>,
}

pub(super) fn resolve(
    config: &mut NetworkConfig,
    asked_limits: &mut AskedLimits,
    identity: &Path,
    args: &GatewayArgs,
    file: &ConfigFile,
    environment: &Environment,
) -> Result<(NodeSettings, GatewaySettings)> {
    listening(config, &args.common.listen, file, environment, ANY_PORT)?;
    let node = peers(config, &args.peers, args.max_inbound, file, environment)?;
    let named = args.max_inbound.or(file.inbound.total).is_some();
    connections::for_inbound_peers(&mut config.limits, asked_limits, &node, named);

    let network = node.network;
    let kaspad = args.kaspad.or(file.kaspad).unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], network.p2p_port())));
    if !is_usable(kaspad.ip()) {
        let named = origin(args.kaspad.is_some(), "kaspad");
        bail!("{named}: {kaspad} is not IPv4 loopback, but peers reach kaspad from 127.x addresses: use 127.0.0.1");
    }
    let rpc = match args.kaspad_rpc.as_ref().or(file.kaspad_rpc.as_ref()).map(String::as_str) {
        Some("off") => None,
        Some(url) if url.starts_with("ws://") => Some(url.to_owned()),
        Some(other) => {
            let named = origin(args.kaspad_rpc.is_some(), "kaspad-rpc");
            bail!("{named}: {other:?} is not a WebSocket URL: give one like ws://127.0.0.1:18110, or \"off\"");
        }
        None => Some(format!("ws://127.0.0.1:{}", network.json_rpc_port())),
    };
    let earlier_table = identity.with_file_name("gateway-addresses.json");
    let newcomers = file.inbound.newcomers.unwrap_or(NEWCOMERS);
    speak(config, network, args, file);
    let gateway = GatewaySettings {
        kaspad,
        rpc,
        earlier_table,
        newcomers,
        warning: usual_purpose(kaspad, args.kaspad.is_some(), network),
        run: None,
    };
    Ok((node, gateway))
}

/// Fits the gateway to the kaspad that it is to run.
pub(super) fn for_kaspad(
    config: &mut NetworkConfig,
    node: &mut NodeSettings,
    gateway: &mut GatewaySettings,
    args: &RunArgs,
    file: &ConfigFile,
    lookup: &impl Fn(&str) -> Option<String>,
) -> Result<()> {
    let flags = KaspadFlags::read(&args.kaspad_command, lookup)?;
    let network = flags.network()?;
    let named = args.gateway.peers.network.or(file.network);
    if let Some(other) = named.filter(|other| *other != network) {
        let by = origin(args.gateway.peers.network.is_some(), "network");
        bail!("kaspad's flags ask for {network}, {by} for {other}: leave that out, kaspad's flags decide");
    }
    if args.gateway.kaspad.is_some() || args.gateway.kaspad_rpc.is_some() {
        bail!("--kaspad and --kaspad-rpc are for `kaspath gateway`; here kaspad's own --listen and --rpclisten-json decide");
    }
    let plan = KaspadPlan::new(&flags, network)?;
    node.network = network;
    speak(config, network, &args.gateway, file);
    gateway.kaspad = plan.p2p;
    gateway.rpc = Some(plan.rpc_url.clone());
    gateway.warning = None;
    gateway.run = Some(plan);
    Ok(())
}

/// Peers of another network share no protocol with us: kaspad never sees them. One
/// protocol names no network; kaspad refuses such a peer at its first message.
fn speak(config: &mut NetworkConfig, network: KaspaNetwork, args: &GatewayArgs, file: &ConfigFile) {
    let network = network.wire_name();
    // The first is the one that is dialled.
    config.protocols = vec![format!("/kaspath/kaspad/{network}/1.0.0")];
    if args.accept_kaspad_transport || file.accept_kaspad_transport {
        config.protocols.push(LEGACY_STREAM_PROTOCOL.to_owned());
    }
    config.session_protocol = Some(format!("{SESSION_PROTOCOL}/{network}"));
}

/// Warns of a port that is usually used for something else.
fn usual_purpose(kaspad: SocketAddr, by_flag: bool, network: KaspaNetwork) -> Option<String> {
    let usual = KaspaNetwork::ALL.into_iter().find_map(|other| match kaspad.port() {
        port if port == other.grpc_port() => Some(format!("{other}'s gRPC")),
        port if port == other.json_rpc_port() => Some(format!("{other}'s JSON RPC")),
        port if port == other.p2p_port() && other != network => Some(format!("{other}'s P2P")),
        _ => None,
    })?;
    let (named, port) = (origin(by_flag, "kaspad"), network.p2p_port());
    Some(format!("{named}: {kaspad} is usually {usual} port; {network}'s P2P port is {port}"))
}
