//! Values that can be read and could not work.

use std::{net::SocketAddr, num::NonZeroUsize};

use anyhow::{Result, bail};
use kaspath_domain::{PeerAddress, PeerLocator};
use kaspath_policy::{InboundLimits, PoolConfig};

use super::file::{ConfigFile, Inbound, RelayPool, Times};

/// Where a value comes from, for messages.
pub(super) fn origin(flag_given: bool, name: &str) -> String {
    if flag_given { format!("--{name}") } else { format!("{name} in the configuration file") }
}

/// A relay is a peer, and a peer has an id.
pub(super) fn relays(relays: &[PeerLocator]) -> Result<()> {
    match relays.iter().find(|relay| relay.peer.is_none() && matches!(relay.address, PeerAddress::Direct(_))) {
        Some(relay) => bail!("relay {relay} lacks its peer id: append /p2p/<relay peer id>, as the relay prints it"),
        None => Ok(()),
    }
}

/// Joins the limits of the file with the total of a flag.
pub(super) fn inbound(defaults: &InboundLimits, file: &Inbound, max_inbound: Option<NonZeroUsize>) -> Result<InboundLimits> {
    let in_file = file.total.map_or(defaults.total, NonZeroUsize::get);
    let total = max_inbound.map_or(in_file, NonZeroUsize::get);
    let most = if file.total.is_some() { in_file } else { total.max(in_file) };
    let share = |name: &str, given: Option<NonZeroUsize>, default: usize| match given.map_or(default, NonZeroUsize::get) {
        share if given.is_some() && share > most => {
            bail!("inbound.{name} in the configuration file is {share}, more than the total of {most}")
        }
        // A total given by flag shrinks its shares with it.
        share => Ok(share.min(total)),
    };
    Ok(InboundLimits {
        total,
        per_address: share("per-address", file.per_address, defaults.per_address)?,
        per_prefix: share("per-prefix", file.per_prefix, defaults.per_prefix)?,
        per_relay: share("per-relay", file.per_relay, defaults.per_relay)?,
    })
}

/// No way to a peer works in no time. Only delays may be 0.
pub(super) fn times(file: &Times) -> Result<()> {
    for (name, span) in [("direct", file.direct), ("punch", file.punch), ("relayed", file.relayed)] {
        if span.is_some_and(|span| span.0.is_zero()) {
            bail!("timing.{name} in the configuration file is 0, in which no peer is reached: give a time like 15s");
        }
    }
    Ok(())
}

/// Each reservation is a place that a relay keeps for this node.
pub(super) fn pool(file: &RelayPool) -> Result<PoolConfig> {
    const MAX: usize = 8;
    let default = PoolConfig::default();
    let reservations = file.reservations.map_or(default.reservations, NonZeroUsize::get);
    if reservations > MAX {
        bail!("relay-pool.reservations in the configuration file is {reservations}, more than {MAX}: 3 are usual");
    }
    let minimum_hold = file.minimum_hold.map_or(default.minimum_hold, |span| span.0);
    Ok(PoolConfig { reservations, minimum_hold, strangers: file.strangers.unwrap_or(default.strangers) })
}

/// Two programs cannot have one port, whichever of them starts first.
pub(super) fn ports(file: &ConfigFile) -> Result<()> {
    let (Some(ours), Some(kaspad)) = (file.kaspa_listen, file.kaspad) else { return Ok(()) };
    let overlap = |one: SocketAddr, other: SocketAddr| one.ip() == other.ip() || one.ip().is_unspecified();
    if ours.port() == kaspad.port() && (overlap(ours, kaspad) || overlap(kaspad, ours)) {
        bail!("kaspa-listen {ours} is where kaspad listens ({kaspad}) by the configuration file: give it another port");
    }
    Ok(())
}
