//! Where peers may try to reach us, and which of their offers we may dial.

use std::{collections::VecDeque, net::IpAddr};

use kaspath_domain::{Host, PeerIdentity, TransportAddress, TransportSet, is_public, same_link};

/// Observations kept; more push the oldest out.
const MAX_OBSERVED: usize = 16;
/// Mapped addresses kept.
const MAX_MAPPED: usize = 8;
/// Candidates of a peer that are dialled at once, and the IP addresses among them:
/// an honest peer has one of IPv4 and one of IPv6.
const MAX_DIALLED: usize = 8;
const MAX_HOSTS: usize = 2;

/// Our own candidates: configured addresses, those that our router forwards to us, and
/// those that relays observed.
#[derive(Debug, Default)]
pub(super) struct Candidates {
    configured: Vec<TransportAddress>,
    /// As our router says, at most [`MAX_MAPPED`].
    mapped: Vec<TransportAddress>,
    /// The newest observation of each observer and transport.
    observed: VecDeque<(PeerIdentity, TransportAddress)>,
}

impl Candidates {
    pub(super) fn new(configured: Vec<TransportAddress>) -> Self {
        Self { configured, ..Self::default() }
    }

    /// Replaces what the router forwards; whether there was anything.
    pub(super) fn set_mapped(&mut self, mut mapped: Vec<TransportAddress>) -> bool {
        mapped.truncate(MAX_MAPPED);
        !std::mem::replace(&mut self.mapped, mapped).is_empty()
    }

    /// Records what `by` observed; whether it is new. An older observation of the
    /// same observer and transport is out of date and goes.
    pub(super) fn observe(&mut self, by: PeerIdentity, address: TransportAddress) -> bool {
        let entry = (by, address);
        if self.observed.contains(&entry) {
            return false;
        }
        self.observed.retain(|(observer, other)| (observer, other.transport) != (&entry.0, entry.1.transport));
        self.observed.push_back(entry);
        if self.observed.len() > MAX_OBSERVED {
            self.observed.pop_front();
        }
        true
    }

    /// What relays observed, over the transports that we offer.
    pub(super) fn observed(&self, transports: TransportSet) -> Vec<TransportAddress> {
        self.observed
            .iter()
            .map(|(_, address)| address)
            .filter(|address| transports.contains(address.transport))
            .cloned()
            .collect()
    }

    /// Forgets what `by` observed: it does not see us any more.
    pub(super) fn forget(&mut self, by: &PeerIdentity) {
        self.observed.retain(|(observer, _)| observer != by);
    }

    /// What to offer to a peer.
    pub(super) fn offer(&self, transports: TransportSet) -> Vec<TransportAddress> {
        let mut offer: Vec<TransportAddress> = Vec::new();
        let newest_first = self.observed.iter().rev().map(|(_, address)| address);
        for address in self.configured.iter().chain(&self.mapped).chain(newest_first) {
            if transports.contains(address.transport) && !offer.contains(address) {
                offer.push(address.clone());
            }
        }
        offer
    }
}

/// What we may dial of a peer's offers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Permitted<'a> {
    pub(super) transports: TransportSet,
    /// Also addresses that are not public, or lie on a link of ours.
    pub(super) local: bool,
    /// The addresses of our own interfaces. What shares a link with one is a
    /// neighbour's: a peer from elsewhere has no business there.
    pub(super) own: &'a [IpAddr],
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

/// Of what a peer offers, what we may dial: literals that are `permitted`, at two IP
/// addresses at most.
pub(super) fn dialable(offered: &[TransportAddress], permitted: Permitted<'_>) -> Vec<TransportAddress> {
    let mut hosts: Vec<&Host> = Vec::with_capacity(MAX_HOSTS);
    let mut accepted: Vec<TransportAddress> = Vec::new();
    for address in offered.iter().filter(|address| permitted.allows(address)) {
        let known_host = hosts.contains(&&address.host);
        let has_room = accepted.len() < MAX_DIALLED && (known_host || hosts.len() < MAX_HOSTS);
        if has_room && !accepted.contains(address) {
            if !known_host {
                hosts.push(&address.host);
            }
            accepted.push(address.clone());
        }
    }
    accepted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::tests::{address as parse, identity};

    const PUBLIC: Permitted<'static> = Permitted { transports: TransportSet::ALL, local: false, own: &[] };

    fn over(transports: TransportSet) -> Permitted<'static> {
        Permitted { transports, ..PUBLIC }
    }

    #[test]
    fn a_new_observation_replaces_the_observers_old_one() {
        let mut candidates = Candidates::default();
        let (a, b) = (identity(1), identity(2));
        assert!(candidates.observe(a.clone(), parse("/ip4/198.51.100.1/tcp/1000")));
        assert!(!candidates.observe(a.clone(), parse("/ip4/198.51.100.1/tcp/1000")));
        assert!(candidates.observe(b.clone(), parse("/ip4/198.51.100.1/tcp/2000")));
        assert!(candidates.observe(a.clone(), parse("/ip4/198.51.100.1/tcp/3000")));
        assert!(candidates.observe(a.clone(), parse("/ip4/198.51.100.1/udp/3000/quic-v1")));
        let tcp = candidates.offer(TransportSet::TCP);
        assert_eq!(tcp, [parse("/ip4/198.51.100.1/tcp/3000"), parse("/ip4/198.51.100.1/tcp/2000")]);
        assert_eq!(candidates.offer(TransportSet::QUIC).len(), 1);
    }

    #[test]
    fn what_the_router_forwards_is_offered_before_what_relays_see_and_is_replaced() {
        let mut candidates = Candidates::new(vec![parse("/ip4/198.51.100.1/tcp/1")]);
        candidates.observe(identity(1), parse("/ip4/198.51.100.1/tcp/3"));
        candidates.set_mapped((2..20).map(|_| parse("/ip4/198.51.100.1/tcp/2")).collect());
        let offer = candidates.offer(TransportSet::TCP);
        assert_eq!(offer, [1, 2, 3].map(|port| parse(&format!("/ip4/198.51.100.1/tcp/{port}"))));
        candidates.set_mapped(Vec::new());
        assert_eq!(candidates.offer(TransportSet::TCP).len(), 2);
    }

    #[test]
    fn observations_are_bounded() {
        let mut candidates = Candidates::default();
        for port in 1..100 {
            candidates.observe(identity(port), parse(&format!("/ip4/198.51.100.1/tcp/{port}")));
        }
        assert_eq!(candidates.offer(TransportSet::ALL).len(), MAX_OBSERVED);
    }

    #[test]
    fn hostile_offers_are_not_dialled() {
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
        .to_vec();
        assert_eq!(dialable(&offered, PUBLIC), []);

        let good = parse("/ip4/198.51.100.1/tcp/1");
        assert_eq!(dialable(&[good.clone(), good], PUBLIC), [parse("/ip4/198.51.100.1/tcp/1")]);
        let many: Vec<_> = (1..50).map(|port| parse(&format!("/ip4/198.51.100.1/tcp/{port}"))).collect();
        assert_eq!(dialable(&many, over(TransportSet::TCP)).len(), MAX_DIALLED);
        assert!(dialable(&many, over(TransportSet::QUIC)).is_empty());
    }

    #[test]
    fn a_peer_has_us_dial_two_ip_addresses_at_most() {
        let offered: Vec<_> = (0..40).map(|n| parse(&format!("/ip4/198.51.100.{}/tcp/{}", n % 20, 1 + n))).collect();
        let dialled = dialable(&offered, PUBLIC);
        assert_eq!(
            dialled,
            ["/ip4/198.51.100.0/tcp/1", "/ip4/198.51.100.1/tcp/2", "/ip4/198.51.100.0/tcp/21", "/ip4/198.51.100.1/tcp/22"]
                .map(parse)
        );
    }

    #[test]
    fn a_neighbour_of_ours_is_not_dialled_at_a_peers_word() {
        let own = ["2001:db8:1:2::1".parse().unwrap(), "198.51.100.9".parse().unwrap()];
        let permitted = Permitted { own: &own, ..PUBLIC };
        let offered = ["/ip6/2001:db8:1:2::22/tcp/80", "/ip4/198.51.100.9/tcp/80", "/ip6/2001:db8:1:3::22/tcp/80"].map(parse);
        assert_eq!(dialable(&offered, permitted), [parse("/ip6/2001:db8:1:3::22/tcp/80")]);
        assert_eq!(dialable(&offered, Permitted { local: true, ..permitted }).len(), 2, "two hosts, local ones too");
    }
}
