//! Where peers may try to reach us, and which of their offers we may dial.

use std::{collections::VecDeque, net::IpAddr};

use kaspath_domain::{Host, Transport, TransportAddress, TransportSet, is_public, same_link};
use libp2p::{Multiaddr, PeerId, multiaddr::Protocol};

use crate::convert;

/// Observations kept; more push the oldest out.
const MAX_OBSERVED: usize = 16;
/// Candidates of a peer that are dialled at once, and the IP addresses among them:
/// an honest peer has one of IPv4 and one of IPv6.
const MAX_DIALLED: usize = 8;
const MAX_HOSTS: usize = 2;

/// Our own candidates: configured addresses, and those that relays observed.
#[derive(Debug, Default)]
pub(crate) struct Candidates {
    configured: Vec<Multiaddr>,
    /// The newest observation of each observer and transport.
    observed: VecDeque<(PeerId, Transport, Multiaddr)>,
}

impl Candidates {
    pub(crate) fn new(configured: Vec<Multiaddr>) -> Self {
        Self { configured, observed: VecDeque::new() }
    }

    /// Enters what `by` observed; whether it is news. An older observation of the
    /// same observer and transport is out of date and goes.
    pub(crate) fn observe(&mut self, by: PeerId, address: &Multiaddr) -> bool {
        if convert::is_relayed(address) || convert::transport_address(address).is_none() {
            return false;
        }
        let Some(transport) = convert::transport(address) else { return false };
        let entry = (by, transport, bare(address));
        if self.observed.contains(&entry) {
            return false;
        }
        self.observed.retain(|(observer, over, _)| (*observer, *over) != (by, transport));
        self.observed.push_back(entry);
        if self.observed.len() > MAX_OBSERVED {
            self.observed.pop_front();
        }
        true
    }

    /// What relays observed, over the transports that we offer.
    pub(crate) fn observed(&self, transports: TransportSet) -> Vec<Multiaddr> {
        let offered = self.observed.iter().filter(|(_, transport, _)| transports.contains(*transport));
        offered.map(|(_, _, address)| address.clone()).collect()
    }

    /// Forgets what `by` observed: it does not see us any more.
    pub(crate) fn forget(&mut self, by: &PeerId) {
        self.observed.retain(|(observer, _, _)| observer != by);
    }

    /// What to offer to a peer.
    pub(crate) fn offer(&self, transports: TransportSet) -> Vec<Multiaddr> {
        let mut offer: Vec<Multiaddr> = Vec::new();
        let newest_first = self.observed.iter().rev().map(|(_, _, address)| address);
        for address in self.configured.iter().chain(newest_first) {
            let allowed = convert::transport(address).is_some_and(|transport| transports.contains(transport));
            if allowed && !offer.contains(address) {
                offer.push(address.clone());
            }
        }
        offer
    }
}

/// What we may dial of a peer's offers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Permitted<'a> {
    pub(crate) transports: TransportSet,
    /// Also addresses that are not public, or lie on a link of ours.
    pub(crate) local: bool,
    /// The addresses of our own interfaces. What shares a link with one is a
    /// neighbour's: a peer from elsewhere has no business there.
    pub(crate) own: &'a [IpAddr],
}

impl Permitted<'_> {
    fn allows(self, address: &TransportAddress) -> bool {
        let Host::Ip(ip) = address.host else { return false };
        let elsewhere = is_public(ip) && !self.own.iter().any(|own| same_link(*own, ip));
        self.transports.contains(address.transport)
            && address.port != 0
            && !ip.is_unspecified()
            && !ip.is_multicast()
            && (self.local || elsewhere)
    }
}

/// Of what a peer offers, what we may dial: literals of that peer which are
/// `permitted`, at two IP addresses at most.
pub(crate) fn dialable(offered: &[Multiaddr], peer: &PeerId, permitted: Permitted<'_>) -> Vec<Multiaddr> {
    let mut hosts: Vec<Host> = Vec::with_capacity(MAX_HOSTS);
    let mut accepted: Vec<Multiaddr> = Vec::new();
    for address in offered {
        let other_peer = address.iter().any(|part| matches!(part, Protocol::P2p(named) if named != *peer));
        if other_peer || convert::is_relayed(address) {
            continue;
        }
        let address = bare(address);
        let Some(transport_address) = convert::transport_address(&address).filter(|address| permitted.allows(address)) else {
            continue;
        };
        let known_host = hosts.contains(&transport_address.host);
        let has_room = accepted.len() < MAX_DIALLED && (known_host || hosts.len() < MAX_HOSTS);
        if has_room && !accepted.contains(&address) {
            if !known_host {
                hosts.push(transport_address.host);
            }
            accepted.push(address);
        }
    }
    accepted
}

/// The address without a trailing peer id.
fn bare(address: &Multiaddr) -> Multiaddr {
    address.iter().take_while(|part| !matches!(part, Protocol::P2p(_))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PUBLIC: Permitted<'static> = Permitted { transports: TransportSet::ALL, local: false, own: &[] };

    fn over(transports: TransportSet) -> Permitted<'static> {
        Permitted { transports, ..PUBLIC }
    }

    fn parse(text: &str) -> Multiaddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_new_observation_replaces_the_observers_old_one() {
        let mut candidates = Candidates::default();
        let (a, b) = (PeerId::random(), PeerId::random());
        assert!(candidates.observe(a, &parse("/ip4/198.51.100.1/tcp/1000")));
        assert!(!candidates.observe(a, &parse("/ip4/198.51.100.1/tcp/1000")));
        assert!(candidates.observe(b, &parse("/ip4/198.51.100.1/tcp/2000")));
        assert!(candidates.observe(a, &parse("/ip4/198.51.100.1/tcp/3000")));
        assert!(candidates.observe(a, &parse("/ip4/198.51.100.1/udp/3000/quic-v1")));
        let tcp = candidates.offer(TransportSet::TCP);
        assert_eq!(tcp, [parse("/ip4/198.51.100.1/tcp/3000"), parse("/ip4/198.51.100.1/tcp/2000")]);
        assert_eq!(candidates.offer(TransportSet::QUIC).len(), 1);
    }

    #[test]
    fn a_circuit_and_a_bare_peer_are_no_observations() {
        let mut candidates = Candidates::default();
        let peer = PeerId::random();
        assert!(!candidates.observe(peer, &parse(&format!("/p2p/{peer}"))));
        assert!(!candidates.observe(peer, &parse(&format!("/ip4/198.51.100.1/tcp/1/p2p/{peer}/p2p-circuit"))));
    }

    #[test]
    fn observations_are_bounded() {
        let mut candidates = Candidates::default();
        for port in 1..100 {
            candidates.observe(PeerId::random(), &parse(&format!("/ip4/198.51.100.1/tcp/{port}")));
        }
        assert_eq!(candidates.offer(TransportSet::ALL).len(), MAX_OBSERVED);
    }

    #[test]
    fn hostile_offers_are_not_dialled() {
        let peer = PeerId::random();
        let other = PeerId::random();
        let offered: Vec<_> = [
            "/ip4/127.0.0.1/tcp/22",
            "/ip4/192.168.1.1/tcp/80",
            "/ip4/100.64.0.1/tcp/80",
            "/ip6/::1/tcp/80",
            "/ip6/fd00::1/tcp/80",
            "/ip4/0.0.0.0/tcp/80",
            "/ip4/224.0.0.1/udp/80/quic-v1",
            "/ip4/198.51.100.1/tcp/0",
            "/ip6/64:ff9b::7f00:1/tcp/80",
            "/ip6/2002:7f00:1::1/tcp/80",
            "/ip6/::ffff:127.0.0.1/tcp/80",
            "/ip4/240.0.0.1/tcp/80",
            "/dns/victim.example/tcp/80",
        ]
        .map(parse)
        .into_iter()
        .chain([parse(&format!("/ip4/198.51.100.1/tcp/1/p2p/{other}"))])
        .chain([parse(&format!("/ip4/198.51.100.1/tcp/1/p2p/{other}/p2p-circuit/p2p/{peer}"))])
        .collect();
        assert_eq!(dialable(&offered, &peer, PUBLIC), Vec::<Multiaddr>::new());

        let good = parse(&format!("/ip4/198.51.100.1/tcp/1/p2p/{peer}"));
        assert_eq!(dialable(&[good.clone(), good], &peer, PUBLIC), [parse("/ip4/198.51.100.1/tcp/1")]);
        let many: Vec<_> = (1..50).map(|port| parse(&format!("/ip4/198.51.100.1/tcp/{port}"))).collect();
        assert_eq!(dialable(&many, &peer, over(TransportSet::TCP)).len(), MAX_DIALLED);
        assert!(dialable(&many, &peer, over(TransportSet::QUIC)).is_empty());
    }

    #[test]
    fn a_peer_has_us_dial_two_ip_addresses_at_most() {
        let peer = PeerId::random();
        let offered: Vec<_> = (0..40).map(|n| parse(&format!("/ip4/198.51.100.{}/tcp/{}", n % 20, 1 + n))).collect();
        let dialled = dialable(&offered, &peer, PUBLIC);
        assert_eq!(
            dialled,
            ["/ip4/198.51.100.0/tcp/1", "/ip4/198.51.100.1/tcp/2", "/ip4/198.51.100.0/tcp/21", "/ip4/198.51.100.1/tcp/22"]
                .map(parse)
        );
    }

    #[test]
    fn a_neighbour_of_ours_is_not_dialled_at_a_peers_word() {
        let peer = PeerId::random();
        let own = ["2001:db8:1:2::1".parse().unwrap(), "198.51.100.9".parse().unwrap()];
        let permitted = Permitted { own: &own, ..PUBLIC };
        let offered = ["/ip6/2001:db8:1:2::22/tcp/80", "/ip4/198.51.100.9/tcp/80", "/ip6/2001:db8:1:3::22/tcp/80"].map(parse);
        assert_eq!(dialable(&offered, &peer, permitted), [parse("/ip6/2001:db8:1:3::22/tcp/80")]);
        assert_eq!(dialable(&offered, &peer, Permitted { local: true, ..permitted }).len(), 2, "two hosts, local ones too");
    }
}
