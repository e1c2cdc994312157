//! Hosts that we have exchanged packets with.

use std::{collections::HashMap, net::IpAddr, time::Duration};

use kaspath_domain::{IpPrefix, Moment};

/// A NAT or a firewall may let a host in for so long after a packet to it (RFC 5382, REQ-5,
/// and some more).
const REMEMBERED: Duration = Duration::from_secs(130 * 60);
/// A full table is looked through so often, however many come.
const SWEEP_EVERY: Duration = Duration::from_secs(60);
/// Hosts remembered.
const MAX_HOSTS: usize = 16_384;

/// Whoever is not among these and reaches us was let in by nothing that we did.
#[derive(Default)]
pub(super) struct Contacts {
    hosts: HashMap<IpPrefix, Moment>,
    /// When one could last not be remembered.
    full: Option<Moment>,
    /// When those that are over were last removed to make room.
    swept: Option<Moment>,
}

impl Contacts {
    /// A packet goes to that host, or has come from it.
    pub(super) fn add(&mut self, ip: IpAddr, now: Moment) {
        let host = IpPrefix::host(ip);
        if !self.hosts.contains_key(&host) && self.hosts.len() >= MAX_HOSTS {
            if self.swept.is_none_or(|at| now.since(at) >= SWEEP_EVERY) {
                self.swept = Some(now);
                self.hosts.retain(|_, last| now.since(*last) < REMEMBERED);
            }
            if self.hosts.len() >= MAX_HOSTS {
                self.full = Some(now);
                return;
            }
        }
        self.hosts.insert(host, now);
    }

    /// Whether certainly no packet was exchanged with that host.
    pub(super) fn is_stranger(&self, ip: IpAddr, now: Moment) -> bool {
        let is_recent = |at: &Moment| now.since(*at) < REMEMBERED;
        !self.full.as_ref().is_some_and(is_recent) && !self.hosts.get(&IpPrefix::host(ip)).is_some_and(is_recent)
    }
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
