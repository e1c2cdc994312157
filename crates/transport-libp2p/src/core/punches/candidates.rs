//! Where peers may try to reach us, and which of their offers we may dial.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, HashMap, VecDeque},
    net::IpAddr,
};

use kaspath_domain::{Host, IpPrefix, PeerIdentity, TransportAddress, TransportSet, is_public};

use crate::core::interfaces::{Interfaces, is_elsewhere};

/// Observations kept, one of an observer, transport and family; more push the worst out.
const MAX_OBSERVED: usize = 64;
/// Mapped addresses kept.
const MAX_MAPPED: usize = 8;
/// Candidates that are offered at once; a peer reads no more.
pub(super) const MAX_OFFERED: usize = 16;
/// Candidates of a peer that are dialled at once.
const MAX_DIALLED: usize = 8;

/// Networks of those that observed the same: of relays that granted us a reservation, and of all.
#[derive(Default)]
struct Networks {
    reserved: BTreeSet<IpPrefix>,
    all: BTreeSet<IpPrefix>,
}

impl Networks {
    fn add(&mut self, network: IpPrefix, is_reserved: bool) {
        if is_reserved {
            self.reserved.insert(network);
        }
        self.all.insert(network);
    }

    fn rank(&self) -> (usize, usize) {
        (self.reserved.len(), self.all.len())
    }
}

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
    observed: VecDeque<Observation>,
}

/// A relay sees us there.
#[derive(Debug, PartialEq)]
struct Observation {
    by: PeerIdentity,
    /// The network that it is in.
    from: IpPrefix,
    address: TransportAddress,
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

    /// Records what `by` observed from that network; whether it is new. An older observation of the
    /// same observer, transport and family is out of date and goes.
    pub(super) fn observe(
        &mut self,
        by: PeerIdentity,
        from: IpPrefix,
        address: TransportAddress,
        reserved: &BTreeSet<PeerIdentity>,
    ) -> bool {
        let new = Observation { by, from, address };
        if self.observed.contains(&new) {
            return false;
        }
        let kind = |seen: &Observation| (seen.by.clone(), seen.address.transport, is_ipv4(&seen.address.host));
        self.observed.retain(|other| kind(other) != kind(&new));
        self.observed.push_back(new);
        if self.observed.len() > MAX_OBSERVED
            && let Some(worst) = self.ranked(reserved).last().copied()
        {
            self.observed.remove(worst);
        }
        true
    }

    /// The observations by their indices, the best first: those at the IP address that relays of most
    /// networks see, then the address, then the newest. A relay that granted us a reservation
    /// counts before all that did not: whoever is told of can have itself linked.
    fn ranked(&self, reserved: &BTreeSet<PeerIdentity>) -> Vec<usize> {
        let mut of_host: HashMap<&Host, Networks> = HashMap::new();
        let mut of_address: HashMap<&TransportAddress, Networks> = HashMap::new();
        for Observation { by, from, address } in &self.observed {
            let is_reserved = reserved.contains(by);
            of_host.entry(&address.host).or_default().add(*from, is_reserved);
            of_address.entry(address).or_default().add(*from, is_reserved);
        }
        let mut ranked: Vec<usize> = (0..self.observed.len()).rev().collect();
        ranked.sort_by_cached_key(|index| {
            let address = &self.observed[*index].address;
            Reverse((of_host.get(&address.host).map(Networks::rank), of_address.get(address).map(Networks::rank)))
        });
        ranked
    }

    /// What relays observed, over the transports that we offer.
    pub(super) fn observed(&self, transports: TransportSet) -> Vec<TransportAddress> {
        self.observed.iter().map(|seen| &seen.address).filter(|address| transports.contains(address.transport)).cloned().collect()
    }

    /// Forgets what `by` observed: it does not see us any more.
    pub(super) fn forget(&mut self, by: &PeerIdentity) {
        self.observed.retain(|seen| seen.by != *by);
    }

    /// What to offer to a peer: the best first, and the families by turns, for it dials few hosts.
    pub(super) fn offer(&self, transports: TransportSet, reserved: &BTreeSet<PeerIdentity>) -> Vec<TransportAddress> {
        let mut offer: Vec<TransportAddress> = Vec::new();
        let observed = self.ranked(reserved).into_iter().map(|index| &self.observed[index].address);
        for address in self.configured.iter().chain(&self.mapped).chain(&self.interfaces).chain(observed) {
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

    impl Candidates {
        /// A relay of a network of its own, which granted nothing, sees us there.
        fn seen(&mut self, by: u64, at: &str) -> bool {
            self.observe(identity(by), network(by), parse(at), &BTreeSet::new())
        }

        fn offers(&self, transports: TransportSet) -> Vec<TransportAddress> {
            self.offer(transports, &BTreeSet::new())
        }
    }

    fn network(number: u64) -> IpPrefix {
        IpPrefix::network([203, 0, number as u8, 1].into())
    }

    #[test]
    fn a_later_liar_changes_nothing_of_what_two_relays_see_and_four_do_not_push_it_out() {
        let x = "/ip4/198.51.100.1/tcp/1000";
        let mut candidates = Candidates::default();
        for honest in 1..=2 {
            candidates.seen(honest, x);
        }
        candidates.seen(3, "/ip4/203.0.113.66/tcp/1");
        candidates.seen(3, "/ip4/203.0.113.67/udp/1/quic-v1");
        assert_eq!(candidates.offers(TransportSet::ALL)[0], parse(x));
        for round in 0..100 {
            for liar in 4..8 {
                for kind in ["tcp/1", "udp/1/quic-v1"] {
                    candidates.seen(liar, &format!("/ip4/66.{liar}.{round}.1/{kind}"));
                    candidates.seen(liar, &format!("/ip6/2001:db8:{liar}:{round}::1/{kind}"));
                }
            }
        }
        assert_eq!(candidates.offers(TransportSet::ALL).iter().position(|offered| *offered == parse(x)), Some(0));
        // Identities of one network are one witness.
        for liar in 10..50 {
            candidates.observe(identity(liar), network(9), parse("/ip4/66.0.0.1/tcp/1"), &BTreeSet::new());
        }
        assert_eq!(candidates.offers(TransportSet::TCP)[0], parse(x));
    }

    #[test]
    fn what_a_relay_sees_that_granted_us_a_reservation_comes_first_and_stays() {
        let (x, reserved) = ("/ip4/198.51.100.1/tcp/1000", [identity(1)].into());
        let mut candidates = Candidates::default();
        candidates.seen(1, x);
        for liar in 2..200 {
            candidates.observe(identity(liar), network(liar), parse("/ip4/66.0.0.1/tcp/1"), &reserved);
        }
        assert_eq!(candidates.offer(TransportSet::ALL, &reserved), [parse(x), parse("/ip4/66.0.0.1/tcp/1")]);
        assert_eq!(candidates.observed.len(), MAX_OBSERVED);
    }

    #[test]
    fn a_new_observation_replaces_the_observers_old_one() {
        let mut candidates = Candidates::default();
        let (a, b) = (1, 2);
        assert!(candidates.seen(a, "/ip4/198.51.100.1/tcp/1000"));
        assert!(!candidates.seen(a, "/ip4/198.51.100.1/tcp/1000"));
        assert!(candidates.seen(b, "/ip4/198.51.100.1/tcp/2000"));
        assert!(candidates.seen(a, "/ip4/198.51.100.1/tcp/3000"));
        assert!(candidates.seen(a, "/ip4/198.51.100.1/udp/3000/quic-v1"));
        assert!(candidates.seen(a, "/ip6/2001:db8::1/udp/4000/quic-v1"));
        let tcp = candidates.offers(TransportSet::TCP);
        assert_eq!(tcp, [parse("/ip4/198.51.100.1/tcp/3000"), parse("/ip4/198.51.100.1/tcp/2000")]);
        assert_eq!(candidates.offers(TransportSet::QUIC).len(), 2, "one of each family");
    }

    #[test]
    fn what_the_router_forwards_is_offered_before_what_relays_see_and_is_replaced() {
        let mut candidates = Candidates::new(vec![parse("/ip4/198.51.100.1/tcp/1")]);
        candidates.seen(1, "/ip4/198.51.100.1/tcp/3");
        candidates.set_mapped((2..20).map(|_| parse("/ip4/198.51.100.1/tcp/2")).collect());
        let offer = candidates.offers(TransportSet::TCP);
        assert_eq!(offer, [1, 2, 3].map(|port| parse(&format!("/ip4/198.51.100.1/tcp/{port}"))));
        candidates.set_mapped(Vec::new());
        assert_eq!(candidates.offers(TransportSet::TCP).len(), 2);
    }

    #[test]
    fn observations_are_bounded() {
        let mut candidates = Candidates::default();
        for port in 1..100 {
            candidates.seen(port, &format!("/ip4/198.51.100.1/tcp/{port}"));
        }
        assert_eq!((candidates.observed.len(), candidates.offers(TransportSet::ALL).len()), (MAX_OBSERVED, MAX_OFFERED));
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
        candidates.seen(1, "/ip4/198.51.100.1/tcp/3");
        // The source address of our link over IPv6, seen by a relay: nothing new.
        candidates.seen(2, "/ip6/2001:db8::1/tcp/7");
        let turns = [ours[0].clone(), ours[1].clone(), parse("/ip4/198.51.100.1/tcp/3"), ours[2].clone()];
        assert_eq!(candidates.offers(TransportSet::ALL), turns);
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
