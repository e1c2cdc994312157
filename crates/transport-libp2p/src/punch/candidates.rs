//! Where peers may try to reach us, and which of their offers we may dial.

use std::{collections::VecDeque, net::IpAddr};

use kaspath_domain::{Host, Transport, TransportAddress, TransportSet};
use libp2p::{Multiaddr, PeerId, multiaddr::Protocol};

use crate::convert;

/// Observations kept; more push the oldest out.
const MAX_OBSERVED: usize = 16;
/// Candidates of a peer that are dialled at once.
const MAX_DIALLED: usize = 8;

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

/// Of what a peer offers, what we may dial: literal, public unless `allow_local`,
/// of the right transports, and of that peer.
pub(crate) fn dialable(offered: &[Multiaddr], peer: &PeerId, transports: TransportSet, allow_local: bool) -> Vec<Multiaddr> {
    let mut accepted: Vec<Multiaddr> = Vec::new();
    for address in offered {
        let other_peer = address.iter().any(|part| matches!(part, Protocol::P2p(named) if named != *peer));
        if other_peer || convert::is_relayed(address) {
            continue;
        }
        let address = bare(address);
        let Some(TransportAddress { transport, host: Host::Ip(ip), port }) = convert::transport_address(&address) else {
            continue;
        };
        let allowed = transports.contains(transport) && port != 0 && (allow_local || is_public(ip)) && !ip.is_unspecified();
        if allowed && !ip.is_multicast() && !accepted.contains(&address) && accepted.len() < MAX_DIALLED {
            accepted.push(address);
        }
    }
    accepted
}

/// The address without a trailing peer id.
fn bare(address: &Multiaddr) -> Multiaddr {
    address.iter().take_while(|part| !matches!(part, Protocol::P2p(_))).collect()
}

fn is_public(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let shared = ip.octets()[0] == 100 && (64..128).contains(&ip.octets()[1]);
            !(ip.is_private() || ip.is_loopback() || ip.is_link_local() || ip.is_broadcast() || shared || ip.octets()[0] == 0)
        }
        IpAddr::V6(ip) => !(ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            "/dns/victim.example/tcp/80",
        ]
        .map(parse)
        .into_iter()
        .chain([parse(&format!("/ip4/198.51.100.1/tcp/1/p2p/{other}"))])
        .chain([parse(&format!("/ip4/198.51.100.1/tcp/1/p2p/{other}/p2p-circuit/p2p/{peer}"))])
        .collect();
        assert_eq!(dialable(&offered, &peer, TransportSet::ALL, false), Vec::<Multiaddr>::new());

        let good = parse(&format!("/ip4/198.51.100.1/tcp/1/p2p/{peer}"));
        assert_eq!(dialable(&[good.clone(), good], &peer, TransportSet::ALL, false), [parse("/ip4/198.51.100.1/tcp/1")]);
        let many: Vec<_> = (1..50).map(|port| parse(&format!("/ip4/198.51.100.1/tcp/{port}"))).collect();
        assert_eq!(dialable(&many, &peer, TransportSet::TCP, false).len(), MAX_DIALLED);
        assert!(dialable(&many, &peer, TransportSet::QUIC, false).is_empty());
    }
}
