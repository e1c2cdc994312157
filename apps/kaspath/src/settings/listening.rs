//! Where a program listens, and which addresses it has besides.

use anyhow::{Result, bail};
use kaspath_domain::{PeerAddress, PeerIdentity, PeerLocator, RelayAddress, TransportAddress};
use kaspath_transport_libp2p::NetworkConfig;

use super::{environment::Environment, file::ConfigFile};
use crate::cli::ListenArgs;

/// Where nodes listen by default, on every address: free ports. Of two nodes behind one NAT that
/// had the same, one would get mappings that differ by destination.
pub(super) const ANY_PORT: u16 = 0;
/// Where relays listen by default.
pub(super) const RELAY_PORT: u16 = 4001;

/// The first source that has any.
pub(super) fn first<T: Clone>(sources: [&[T]; 3]) -> Vec<T> {
    sources.into_iter().find(|source| !source.is_empty()).unwrap_or_default().to_vec()
}

pub(super) fn listening(
    config: &mut NetworkConfig,
    args: &ListenArgs,
    file: &ConfigFile,
    environment: &Environment,
    default_port: u16,
) -> Result<()> {
    config.listen = first([&args.listen, &environment.listen, &file.listen]);
    if !config.listen.iter().any(|locator| matches!(locator.address, PeerAddress::Direct(_))) {
        config.listen_everywhere = Some(default_port);
    }
    config.external = args.external_address.clone();
    for locator in file.external_address.iter().filter(|_| args.external_address.is_empty()) {
        let PeerAddress::Direct(address) = &locator.address else {
            bail!("external-address {locator} in the configuration file goes through a relay: give a direct address");
        };
        config.external.push(address.clone());
    }
    Ok(())
}

/// The relays that the settings name.
pub(crate) fn relay_ids(config: &NetworkConfig) -> impl Iterator<Item = PeerIdentity> {
    relay_addresses(config).map(|(relay, _)| relay)
}

/// The relays that the settings name, each with an address of it.
pub(crate) fn relay_addresses(config: &NetworkConfig) -> impl Iterator<Item = (PeerIdentity, PeerLocator)> {
    let circuits = config.listen.iter().filter(|locator| matches!(locator.address, PeerAddress::Relayed(_)));
    config.relays.iter().chain(circuits).filter_map(|locator| {
        let RelayAddress { relay, via } = locator.relay()?;
        Some((relay.clone(), PeerLocator { peer: Some(relay), address: PeerAddress::Direct(via) }))
    })
}

/// The address that is dialled on the way to a peer: its own, or the relay's.
pub(crate) fn first_hop(locator: &PeerLocator) -> &TransportAddress {
    match &locator.address {
        PeerAddress::Direct(address) => address,
        PeerAddress::Relayed(relay) => &relay.via,
    }
}
