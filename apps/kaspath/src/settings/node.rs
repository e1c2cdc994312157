//! Settings of `kaspath server` and `kaspath client`, and what a gateway has of them.

use std::{net::SocketAddr, num::NonZeroUsize, time::Duration};

use anyhow::{Context, Result, bail};
use kaspath_domain::{MapMethod, PeerAddress, PeerIdentity, PeerLocator};
use kaspath_kaspa_adaptor::KaspaNetwork;
use kaspath_policy::{InboundLimits, PoolConfig, StrategyConfig, diverse_relays};
use kaspath_transport_libp2p::{NetworkConfig, SESSION_PROTOCOL};

use super::{
    DiscoverySettings, Target, checks, discovery,
    environment::Environment,
    file::ConfigFile,
    listening::{ANY_PORT, first, listening, relay_ids},
};
use crate::cli::{NodeArgs, PeerArgs};

/// What only nodes need, not relays.
#[derive(Clone, Debug)]
pub(crate) struct NodeSettings {
    pub(crate) network: KaspaNetwork,
    pub(crate) policy: StrategyConfig,
    pub(crate) inbound: InboundLimits,
    pub(crate) pool: PoolConfig,
    /// Where relays are listed, besides those of the settings: a file or a name.
    pub(crate) relay_list: Option<String>,
    pub(crate) remotes: Vec<PeerLocator>,
    /// Remotes that are named only by their ids.
    pub(crate) remote_ids: Vec<PeerIdentity>,
    pub(crate) discovery: DiscoverySettings,
    pub(crate) kaspa_listen: Option<SocketAddr>,
    /// How the router is asked to forward ports; not at all if there is none.
    pub(crate) port_mapping: Vec<MapMethod>,
    pub(crate) once: bool,
    pub(crate) test_traffic: Option<Duration>,
}

pub(super) fn resolve(
    config: &mut NetworkConfig,
    args: &NodeArgs,
    file: &ConfigFile,
    environment: &Environment,
) -> Result<NodeSettings> {
    listening(config, &args.common.listen, file, environment, ANY_PORT)?;
    config.session_protocol = Some(SESSION_PROTOCOL.to_owned());
    let node = peers(config, &args.peers, None, file, environment)?;
    Ok(NodeSettings {
        kaspa_listen: args.kaspa_listen.or(file.kaspa_listen),
        once: args.once,
        test_traffic: args.test_traffic.map(|millis| Duration::from_millis(millis.get())),
        ..node
    })
}

/// Which peers, and how they are reached; the rest is as for a gateway.
pub(super) fn peers(
    config: &mut NetworkConfig,
    args: &PeerArgs,
    max_inbound: Option<NonZeroUsize>,
    file: &ConfigFile,
    environment: &Environment,
) -> Result<NodeSettings> {
    config.relays = diverse_relays(first([&args.relay, &environment.relays, &file.relay]));
    checks::relays(&config.relays)?;
    let relay_list = relay_list(args, file)?;
    let mut pool = checks::pool(&file.relay_pool)?;
    pool.strangers &= !args.only_given_relays;
    config.wanted_reservations = pool.reservations;
    if relay_list.is_none() && relay_ids(config).next().is_none() {
        // Who names no relay does not ask to be found.
        pool.reservations = 0;
    }
    config.lan = !(args.no_lan || file.no_lan);
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
        pool,
        relay_list,
        remotes,
        remote_ids,
        discovery: discovery::resolve(args, file),
        kaspa_listen: None,
        port_mapping: if args.no_port_mapping || !file.port_mapping.enabled {
            Vec::new()
        } else {
            file.port_mapping.methods.clone()
        },
        once: false,
        test_traffic: None,
    })
}

/// Where relays are listed. What the text can be is checked; what is there is read later.
fn relay_list(args: &PeerArgs, file: &ConfigFile) -> Result<Option<String>> {
    let Some(text) = args.relay_list.as_ref().or(file.relay_list.as_ref()) else { return Ok(None) };
    let of = checks::origin(args.relay_list.is_some(), "relay-list");
    // `~/` is the home folder in the file, where no shell has replaced it.
    let text = match text.strip_prefix("~/").zip(std::env::var_os("HOME")) {
        Some((rest, home)) => std::path::Path::new(&home).join(rest).display().to_string(),
        None => text.clone(),
    };
    kaspath_relay_list::open(&text).with_context(|| of)?;
    Ok(Some(text))
}
