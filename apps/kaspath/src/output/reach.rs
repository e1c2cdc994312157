//! Which of our addresses others can reach, as far as it shows from here.

use std::net::IpAddr;

use kaspath_domain::{Host, PeerAddress, PeerIdentity, PeerLocator, Transport, TransportAddress, is_public};
use kaspath_transport_libp2p::NetworkConfig;

/// The addresses that the settings vouch for.
#[derive(Clone, Debug, Default)]
pub(super) struct Reach {
    configured: Vec<TransportAddress>,
    /// By id: an address that a name leads to is not the name.
    relays: Vec<PeerIdentity>,
}

impl Reach {
    pub(super) fn new(config: &NetworkConfig) -> Self {
        let relays = config.relays.iter().chain(&config.listen).filter_map(|locator| match &locator.address {
            PeerAddress::Relayed(relay) => Some(relay.relay.clone()),
            PeerAddress::Direct(_) => config.relays.contains(locator).then(|| locator.peer.clone()).flatten(),
        });
        Self { configured: config.external.clone(), relays: relays.collect() }
    }

    /// Whether to tell others of it: it is public, or the settings name it or the
    /// relay that it goes through.
    pub(super) fn is_reachable(&self, locator: &PeerLocator) -> bool {
        let address = entry(locator);
        let by_relay = matches!(&locator.address, PeerAddress::Relayed(relay) if self.relays.contains(&relay.relay));
        by_relay || self.configured.contains(address) || !is_local(address)
    }
}

/// Where the way to a peer begins.
fn entry(locator: &PeerLocator) -> &TransportAddress {
    match &locator.address {
        PeerAddress::Direct(address) => address,
        PeerAddress::Relayed(relay) => &relay.via,
    }
}

fn is_local(address: &TransportAddress) -> bool {
    match address.host {
        Host::Ip(ip) => !is_public(ip),
        Host::Dns(_) => false,
    }
}

/// A transport that is listened on and that none of the configured addresses is for,
/// where there are some.
pub(super) fn missing_transport(listening: &[PeerLocator], external: &[TransportAddress]) -> Option<Transport> {
    let covered = |transport: Transport| external.iter().any(|address| address.transport == transport);
    let missing = listening.iter().map(|locator| entry(locator).transport).find(|transport| !covered(*transport));
    missing.filter(|_| !external.is_empty())
}

/// The order to print addresses in: public ones first, IPv4 before IPv6, TCP before
/// QUIC.
pub(super) fn rank(locator: &PeerLocator) -> (bool, bool, PeerLocator) {
    let address = entry(locator);
    (is_local(address), matches!(address.host, Host::Ip(IpAddr::V6(_))), locator.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    const RELAY: &str = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";

    #[test]
    fn public_addresses_come_first_whatever_the_order_of_the_system() {
        let sorted =
            ["/ip4/127.0.0.1/tcp/1", "/ip4/203.0.113.7/udp/1/quic-v1", "/ip6/2001:db8::1/tcp/1", "/ip4/203.0.113.7/tcp/1"];
        let mut locators: Vec<PeerLocator> = sorted.iter().map(|text| text.parse().unwrap()).collect();
        let expected =
            ["/ip4/203.0.113.7/tcp/1", "/ip4/203.0.113.7/udp/1/quic-v1", "/ip6/2001:db8::1/tcp/1", "/ip4/127.0.0.1/tcp/1"];
        for _ in 0..locators.len() {
            locators.rotate_left(1);
            locators.sort_by_key(rank);
            assert_eq!(locators.iter().map(ToString::to_string).collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn a_configured_address_for_one_transport_leaves_the_other_out() {
        let listening: Vec<PeerLocator> =
            ["/ip4/10.0.0.2/tcp/1", "/ip4/10.0.0.2/udp/1/quic-v1"].iter().map(|text| text.parse().unwrap()).collect();
        let [tcp, quic] = ["tcp", "quic"].map(|transport| {
            let address = "203.0.113.7:1".parse().unwrap();
            if transport == "tcp" { TransportAddress::tcp(address) } else { TransportAddress::quic(address) }
        });
        assert_eq!(missing_transport(&listening, std::slice::from_ref(&tcp)), Some(Transport::Quic));
        assert_eq!(missing_transport(&listening, &[tcp, quic]), None);
        assert_eq!(missing_transport(&listening, &[]), None);
    }

    #[test]
    fn a_private_address_is_reachable_only_if_the_settings_name_it() {
        let relay = |ip: &str| format!("/ip4/{ip}/tcp/4001/p2p/{RELAY}").parse::<PeerLocator>().unwrap();
        let circuit = |ip: &str| format!("/ip4/{ip}/tcp/4001/p2p/{RELAY}/p2p-circuit/p2p/{RELAY}").parse().unwrap();
        let config = NetworkConfig { relays: vec![relay("192.168.1.2")], ..NetworkConfig::default() };
        let (named, other) = (Reach::new(&config), Reach::default());
        for address in ["203.0.113.7", "192.168.1.2", "10.1.0.2"] {
            assert!(named.is_reachable(&circuit(address)), "{address}");
        }
        assert!(other.is_reachable(&circuit("203.0.113.7")) && !other.is_reachable(&circuit("10.1.0.2")));
        let reach = named;
        assert!(!reach.is_reachable(&"/ip4/10.1.0.2/udp/4001/quic-v1".parse().unwrap()));
    }
}
