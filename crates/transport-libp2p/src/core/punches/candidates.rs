//! Where peers may try to reach us, and which of their offers we may dial.

use std::{collections::VecDeque, net::IpAddr};

use kaspath_domain::{Host, PeerIdentity, TransportAddress, TransportSet, is_public};

use crate::core::interfaces::{Interfaces, is_elsewhere};

/// Observations kept; more push the oldest out.
const MAX_OBSERVED: usize = 16;
/// Mapped addresses kept.
const MAX_MAPPED: usize = 8;
/// Candidates that are offered at once; a peer reads no more.
pub(super) const MAX_OFFERED: usize = 16;
/// Candidates of a peer that are dialled at once.
const MAX_DIALLED: usize = 8;

/// Our own candidates: configured addresses, those that our router forwards to us, public
/// ones of our interfaces, and those that relays observed.
#[derive(Debug, Default)]
pub(super) struct Candidates {
    configured: Vec<TransportAddress>,
    /// As our router says, at most [`MAX_MAPPED`].
    mapped: Vec<TransportAddress>,
    /// Public addresses of our interfaces. A firewall may keep others out, and is punched.
    interfaces: Vec<TransportAddress>,
    /// The newest observation of each observer, transport and family.
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

    /// Replaces the public addresses of our interfaces; whether they are others.
    pub(super) fn set_interfaces(&mut self, interfaces: Vec<TransportAddress>) -> bool {
        std::mem::replace(&mut self.interfaces, interfaces) != self.interfaces
    }

    /// Records what `by` observed; whether it is new. An older observation of the
    /// same observer, transport and family is out of date and goes.
    pub(super) fn observe(&mut self, by: PeerIdentity, address: TransportAddress) -> bool {
        let entry = (by, address);
        if self.observed.contains(&entry) {
            return false;
        }
        let kind = |address: &TransportAddress| (address.transport, is_ipv4(&address.host));
        self.observed.retain(|(observer, other)| (observer, kind(other)) != (&entry.0, kind(&entry.1)));
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

    /// What to offer to a peer: the best first, and the families by turns, for it dials few hosts.
    pub(super) fn offer(&self, transports: TransportSet) -> Vec<TransportAddress> {
        let mut offer: Vec<TransportAddress> = Vec::new();
        let newest_first = self.observed.iter().rev().map(|(_, address)| address);
        for address in self.configured.iter().chain(&self.mapped).chain(&self.interfaces).chain(newest_first) {
            if transports.contains(address.transport) && !offer.contains(address) {
                offer.push(address.clone());
            }
        }
        let mut hosts: Vec<&Host> = Vec::new();
        offer.iter().for_each(|address| {
            if !hosts.contains(&&address.host) {
                hosts.push(&address.host)
            }
        });
        let of_family =
            |host: &Host| hosts.iter().filter(|other| is_ipv4(other) == is_ipv4(host)).position(|other| *other == host);
        let ranks: Vec<_> = offer.iter().map(|address| of_family(&address.host)).collect();
        let mut ranked: Vec<_> = ranks.into_iter().zip(offer.iter().cloned()).collect();
        ranked.sort_by_key(|(rank, _)| *rank);
        ranked.into_iter().map(|(_, address)| address).take(MAX_OFFERED).collect()
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
    /// What this host can reach.
    pub(super) host: &'a Interfaces,
}

impl Permitted<'_> {
    fn allows(self, address: &TransportAddress) -> bool {
        let Host::Ip(ip) = address.host else { return false };
        self.transports.contains(address.transport)
            && address.port != 0
            && !ip.is_unspecified()
            && !ip.is_multicast()
            && (self.local || is_elsewhere(ip, self.own))
            && self.host.can_reach(ip)
    }
}

/// Whether what a peer offers is public, but of a family that this host lacks.
pub(super) fn is_foreign(offered: &[TransportAddress], host: &Interfaces) -> bool {
    let mut public = offered.iter().filter_map(TransportAddress::ip).filter(|ip| is_public(*ip));
    public.next().is_some_and(|first| !host.can_reach(first)) && public.all(|ip| !host.can_reach(ip))
}

fn is_ipv4(host: &Host) -> bool {
    matches!(host, Host::Ip(ip) if ip.is_ipv4())
}

/// Of what a peer offers, what we may dial: literals that are `permitted`, at two IP
/// addresses at most, one of each family if there are such. Those of IPv6 come first.
pub(super) fn dialable(offered: &[TransportAddress], permitted: Permitted<'_>) -> Vec<TransportAddress> {
    let allowed: Vec<&TransportAddress> = offered.iter().filter(|address| permitted.allows(address)).collect();
    let Some(first) = allowed.first().map(|address| &address.host) else { return Vec::new() };
    let others = || allowed.iter().map(|address| &address.host).filter(|host| *host != first);
    let second = others().find(|host| is_ipv4(host) != is_ipv4(first)).or_else(|| others().next());
    let hosts = [Some(first), second];
    let mut accepted: Vec<TransportAddress> = Vec::new();
    for address in allowed.into_iter().filter(|address| hosts.contains(&Some(&address.host))) {
        if accepted.len() < MAX_DIALLED && !accepted.contains(address) {
            accepted.push(address.clone());
        }
    }
    accepted.sort_by_key(|address| is_ipv4(&address.host));
    accepted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{
        interfaces::Network,
        tests::{address as parse, identity},
    };

    static ANYWHERE: Interfaces =
        Interfaces { networks: Vec::new(), listening: Vec::new(), sources: Vec::new(), gateways: Vec::new() };
    const PUBLIC: Permitted<'static> = Permitted { transports: TransportSet::ALL, local: false, own: &[], host: &ANYWHERE };

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
        assert!(candidates.observe(a.clone(), parse("/ip6/2001:db8::1/udp/4000/quic-v1")));
        let tcp = candidates.offer(TransportSet::TCP);
        assert_eq!(tcp, [parse("/ip4/198.51.100.1/tcp/3000"), parse("/ip4/198.51.100.1/tcp/2000")]);
        assert_eq!(candidates.offer(TransportSet::QUIC).len(), 2, "one of each family");
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
    fn one_host_of_each_family_is_dialled_if_the_peer_has_both_and_we_can_reach_them() {
        let offered =
            ["/ip4/198.51.100.1/tcp/1", "/ip4/198.51.100.2/tcp/1", "/ip6/2001:db8::1/tcp/1", "/ip6/2001:db8:1::1/tcp/1"]
                .map(parse);
        assert_eq!(dialable(&offered, PUBLIC), [offered[2].clone(), offered[0].clone()]);
        let v4 = Network { ip: "192.168.1.2".parse().unwrap(), length: 24 };
        let host = Interfaces { networks: vec![v4], ..Interfaces::default() };
        assert_eq!(dialable(&offered, Permitted { host: &host, ..PUBLIC }), offered[..2]);
    }

    #[test]
    fn public_addresses_of_interfaces_are_offered_and_the_families_take_turns() {
        let mut candidates = Candidates::default();
        let ours = ["/ip6/2001:db8::1/tcp/7", "/ip6/2001:db8::1/udp/7/quic-v1", "/ip6/2001:db8:1::1/tcp/7"].map(parse);
        assert!(candidates.set_interfaces(ours.to_vec()) && !candidates.set_interfaces(ours.to_vec()));
        candidates.observe(identity(1), parse("/ip4/198.51.100.1/tcp/3"));
        // The source address of our link over IPv6, seen by a relay: nothing new.
        candidates.observe(identity(2), ours[0].clone());
        let turns = [ours[0].clone(), ours[1].clone(), parse("/ip4/198.51.100.1/tcp/3"), ours[2].clone()];
        assert_eq!(candidates.offer(TransportSet::ALL), turns);
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
