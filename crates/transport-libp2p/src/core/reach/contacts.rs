//! Hosts that we have exchanged packets with.

use std::{collections::HashMap, net::IpAddr, time::Duration};

use kaspath_domain::{Counts, IpPrefix, Moment};

/// A NAT or a firewall may let a host in for so long after a packet to it (RFC 5382, REQ-5,
/// and some more).
const REMEMBERED: Duration = Duration::from_secs(130 * 60);
/// A full table is looked through so often, however many come.
const SWEEP_EVERY: Duration = Duration::from_secs(60);
/// Hosts remembered.
const MAX_HOSTS: usize = 16_384;
/// So many of a /48 of IPv6; beyond them all of it is remembered as one. One customer has 65,536
/// of what counts as a host, and could else fill the table.
const MAX_OF_NETWORK: usize = 64;

/// Whoever is not among these and reaches us was let in by nothing that we did.
#[derive(Default)]
pub(super) struct Contacts {
    /// With the network of each that is counted there.
    hosts: HashMap<IpPrefix, (Moment, Option<IpPrefix>)>,
    /// Hosts of a /48 of IPv6 that are remembered one by one.
    of_network: Counts<IpPrefix>,
    /// When one could last not be remembered.
    full: Option<Moment>,
    /// When those that are over were last removed to make room.
    swept: Option<Moment>,
}

impl Contacts {
    /// A packet goes to that host, or has come from it.
    pub(super) fn add(&mut self, ip: IpAddr, now: Moment) {
        let host = self.contact(ip);
        if !self.hosts.contains_key(&host) && self.hosts.len() >= MAX_HOSTS {
            if self.swept.is_none_or(|at| now.since(at) >= SWEEP_EVERY) {
                self.swept = Some(now);
                let over = self.hosts.extract_if(|_, (last, _)| now.since(*last) >= REMEMBERED);
                over.filter_map(|(_, (_, network))| network).for_each(|network| self.of_network.remove(&network));
            }
            if self.hosts.len() >= MAX_HOSTS {
                self.full = Some(now);
                return;
            }
        }
        let network = network_of(ip).filter(|network| *network != host);
        if self.hosts.insert(host, (now, network)).is_none() {
            network.into_iter().for_each(|network| self.of_network.add(network));
        }
    }

    /// What a host is remembered as: itself, or where there are many its network.
    fn contact(&self, ip: IpAddr) -> IpPrefix {
        let host = IpPrefix::host(ip);
        let is_crowded = |network: &IpPrefix| self.of_network.of(network) >= MAX_OF_NETWORK;
        network_of(ip).filter(|network| is_crowded(network) && !self.hosts.contains_key(&host)).unwrap_or(host)
    }

    /// Whether certainly no packet was exchanged with that host.
    pub(super) fn is_stranger(&self, ip: IpAddr, now: Moment) -> bool {
        let is_recent = |at: &Moment| now.since(*at) < REMEMBERED;
        let is_known = |contact: IpPrefix| self.hosts.get(&contact).is_some_and(|(last, _)| is_recent(last));
        !self.full.as_ref().is_some_and(is_recent) && !is_known(IpPrefix::host(ip)) && !network_of(ip).is_some_and(is_known)
    }
}

/// The /48 of an address of IPv6.
fn network_of(ip: IpAddr) -> Option<IpPrefix> {
    ip.to_canonical().is_ipv6().then(|| IpPrefix::network(ip))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::core::tests::at;

    fn ip(number: u32) -> IpAddr {
        Ipv4Addr::from(0x0100_0000 + number).into()
    }

    #[test]
    fn a_host_is_a_stranger_again_when_its_filter_has_certainly_gone() {
        let mut contacts = Contacts::default();
        assert!(contacts.is_stranger(ip(1), at(0)));
        contacts.add(ip(1), at(0));
        let later = Moment::default() + REMEMBERED;
        assert!(!contacts.is_stranger(ip(1), at(1)) && contacts.is_stranger(ip(2), at(1)));
        assert!(contacts.is_stranger(ip(1), later));
    }

    #[test]
    fn one_network_of_ipv6_does_not_fill_the_table() {
        let host = |network: u16, number: u16| IpAddr::from([0x2001, 0xdb8, network, number, 0, 0, 0, 1]);
        let mut contacts = Contacts::default();
        (0..20_000).for_each(|number| contacts.add(host(1, number), at(u64::from(number))));
        assert_eq!(contacts.hosts.len(), MAX_OF_NETWORK + 1);
        assert!(contacts.is_stranger(host(2, 0), at(30_000)) && contacts.is_stranger(ip(1), at(30_000)));
        assert!(!contacts.is_stranger(host(1, 5), at(30_000)) && !contacts.is_stranger(host(1, 60_000), at(30_000)));
        // When that is over its hosts are remembered one by one again.
        let later = at(30_000) + REMEMBERED;
        (0..MAX_HOSTS as u32).for_each(|number| contacts.add(ip(number), later));
        contacts.add(ip(1 << 20), later);
        assert_eq!(contacts.of_network.len(), 0);
    }

    #[test]
    fn while_not_all_hosts_can_be_remembered_nobody_is_a_stranger() {
        let mut contacts = Contacts::default();
        (0..=MAX_HOSTS as u32).for_each(|number| contacts.add(ip(number), at(0)));
        assert!(!contacts.is_stranger(ip(1 << 20), at(1)));
        assert_eq!(contacts.hosts.len(), MAX_HOSTS);
        let later = Moment::default() + REMEMBERED;
        contacts.add(ip(1 << 20), later);
        assert!(contacts.hosts.len() == 1 && contacts.is_stranger(ip(1), later));
    }
}
