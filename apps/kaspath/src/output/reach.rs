//! Which of our addresses others can reach, as far as it shows from here.

use std::net::IpAddr;

use kaspath_domain::{Host, PeerAddress, PeerIdentity, PeerLocator, Transport, TransportAddress, is_public};
use kaspath_transport_libp2p::NetworkConfig;

use crate::settings::{first_hop, relay_ids};

/// The addresses that the settings name as reachable.
#[derive(Clone, Debug, Default)]
pub(super) struct Reach {
    configured: Vec<TransportAddress>,
    /// By id: an address that a name leads to is not the name.
    relays: Vec<PeerIdentity>,
    /// Bytes a second that a node gives others as a relay, if it may do that. `kaspath relay` is none: what it gives is
    /// its owner's choice.
    pub(super) given_by_node: Option<u64>,
}

impl Reach {
    pub(super) fn new(config: &NetworkConfig) -> Self {
        let is_node = config.session_protocol.is_some();
        let given_by_node = config.relay_server.as_ref().filter(|_| is_node).map(|server| server.bytes_per_second);
        Self { configured: config.external.clone(), relays: relay_ids(config).collect(), given_by_node }
    }

    /// Whether to give it to others: it is public, or the settings name it or the
    /// relay that it goes through.
    pub(super) fn is_reachable(&self, locator: &PeerLocator) -> bool {
        let address = first_hop(locator);
        let by_relay = matches!(&locator.address, PeerAddress::Relayed(relay) if self.relays.contains(&relay.relay));
        by_relay || self.configured.contains(address) || !is_local(address)
    }
}

fn is_local(address: &TransportAddress) -> bool {
    match address.host {
        Host::Ip(ip) => !is_public(ip),
        Host::Dns(_) => false,
    }
}

/// What to add if a transport that is listened on is not announced.
pub(super) fn unannounced(role: &str, listening: &[PeerLocator], announced: &[PeerLocator]) -> Option<String> {
    let over = |locators: &[PeerLocator], transport| {
        locators.iter().map(first_hop).find(|address| address.transport == transport).map(|address| address.port)
    };
    let flag = |transport: Transport| {
        let port = over(listening, transport).filter(|_| over(announced, transport).is_none())?;
        Some(match transport {
            Transport::Tcp => format!("--external-address /ip4/PUBLIC_IP/tcp/{port}"),
            Transport::Quic => format!("--external-address /ip4/PUBLIC_IP/udp/{port}/quic-v1"),
        })
    };
    let flags: Vec<String> = [Transport::Tcp, Transport::Quic].into_iter().filter_map(flag).collect();
    let lack = match announced.is_empty() {
        true => "has no public address, so it grants no reservation",
        false => "is not announced over all transports that it listens on",
    };
    let cure = "If this machine is reached at a public address (a forwarded port, a cloud's one-to-one NAT), add";
    (!flags.is_empty()).then(|| format!("this {role} {lack}. {cure} {}", flags.join(" and ")))
}

/// The order to print addresses in: public ones first, IPv4 before IPv6, TCP before
/// QUIC.
pub(super) fn rank(locator: &PeerLocator) -> (bool, bool, PeerLocator) {
    let address = first_hop(locator);
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
    fn a_relay_without_a_public_address_says_what_to_add() {
        let locators = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<PeerLocator>>();
        let listening = locators(&["/ip4/10.1.0.2/tcp/4001", "/ip4/10.1.0.2/udp/4001/quic-v1"]);
        let none = unannounced("relay", &listening, &[]).expect("a warning");
        assert!(
            none.contains("--external-address /ip4/PUBLIC_IP/tcp/4001 and --external-address /ip4/PUBLIC_IP/udp/4001/quic-v1")
        );
        let half = unannounced("relay", &listening, &locators(&["/ip4/203.0.113.1/tcp/4001"])).expect("QUIC is missing");
        assert!(half.contains("/udp/4001/quic-v1") && !half.contains("/tcp/4001"), "{half}");
        let both = locators(&["/ip4/203.0.113.1/tcp/4001", "/ip4/203.0.113.1/udp/4001/quic-v1"]);
        assert_eq!(unannounced("relay", &listening, &both), None);
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
