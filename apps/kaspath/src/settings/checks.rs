//! Values that can be read and could not work.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Result, bail};
use kaspath_domain::{PeerAddress, PeerLocator};
use kaspath_policy::InboundLimits;
use kaspath_transport_libp2p::RelayServerConfig;

use super::file::{ConfigFile, Inbound, Times};

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
pub(super) fn inbound(defaults: &InboundLimits, file: &Inbound, max_inbound: Option<usize>) -> Result<InboundLimits> {
    let total = max_inbound.or(file.total).unwrap_or(defaults.total);
    if total == 0 {
        bail!("{} is 0, which lets nobody in: give 1 or more", origin(max_inbound.is_some(), total_name(max_inbound)));
    }
    let share = |name: &str, given: Option<usize>, default: usize| match given {
        Some(0) => bail!("inbound.{name} in the configuration file is 0, which lets nobody in: give 1 or more"),
        Some(given) if given > file.total.unwrap_or(total.max(defaults.total)) => {
            bail!("inbound.{name} in the configuration file is {given}, more than the total of {}", file.total.unwrap_or(total))
        }
        // A total given by flag shrinks its shares with it.
        given => Ok(given.unwrap_or(default).min(total)),
    };
    Ok(InboundLimits {
        total,
        per_address: share("per-address", file.per_address, defaults.per_address)?,
        per_prefix: share("per-prefix", file.per_prefix, defaults.per_prefix)?,
        per_relay: share("per-relay", file.per_relay, defaults.per_relay)?,
    })
}

fn total_name(max_inbound: Option<usize>) -> &'static str {
    if max_inbound.is_some() { "max-inbound" } else { "inbound.total" }
}

/// No way to a peer works in no time. To begin at once is another matter.
pub(super) fn times(file: &Times) -> Result<()> {
    for (name, span) in [("direct", file.direct), ("punch", file.punch), ("relayed", file.relayed)] {
        if span.is_some_and(|span| span.0.is_zero()) {
            bail!("timing.{name} in the configuration file is 0, in which no peer is reached: give a time like 15s");
        }
    }
    Ok(())
}

/// The relay's limits.
pub(super) fn relay_server(server: &RelayServerConfig) -> Result<()> {
    for (name, value) in [
        ("max-reservations", server.max_reservations),
        ("max-circuits", server.max_circuits),
        ("max-reservations-per-ip", server.max_reservations_per_ip),
        ("max-reservations-per-prefix", server.max_reservations_per_prefix),
        ("max-circuits-per-peer", server.max_circuits_per_peer),
        ("max-circuits-per-ip", server.max_circuits_per_ip),
        ("max-circuits-per-prefix", server.max_circuits_per_prefix),
        ("max-circuits-per-destination", server.max_circuits_per_destination),
        ("max-circuits-per-ip-to-destination", server.max_circuits_per_ip_to_destination),
    ] {
        if value == 0 {
            bail!("{name} 0 makes a relay that serves nobody: give 1 or more");
        }
    }
    if server.max_circuits_per_peer > server.max_circuits {
        bail!("max-circuits-per-peer {} is more than max-circuits {}", server.max_circuits_per_peer, server.max_circuits);
    }
    if server.max_circuit_duration.is_zero() {
        bail!("max-circuit-duration 0 would end every circuit at once; give a number of seconds");
    }
    // The protocol tells it to peers as 32 bits of seconds.
    if server.max_circuit_duration > Duration::from_secs(u32::MAX.into()) {
        bail!("max-circuit-duration is longer than 136 years, which the relay protocol cannot say; 365days is long enough");
    }
    Ok(())
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
