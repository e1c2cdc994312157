//! Where one relay is: as it was given, resolved, and reported by itself.

use std::net::IpAddr;

use kaspath_domain::{Host, TransportAddress, is_public};

/// Addresses of one relay that are dialled, and those that are kept as given.
pub(super) const MAX_ADDRESSES: usize = 8;

/// An address as it was given, and what its host is or last resolved to.
#[derive(Debug)]
struct Source {
    given: TransportAddress,
    resolved: Vec<TransportAddress>,
    configured: bool,
}

impl Source {
    fn is_name(&self) -> bool {
        matches!(self.given.host, Host::Dns(_))
    }
}

#[derive(Debug, Default)]
pub(super) struct Addresses {
    sources: Vec<Source>,
    /// What the relay reports of itself.
    learnt: Vec<TransportAddress>,
}

impl Addresses {
    pub(super) fn is_configured(&self) -> bool {
        self.sources.iter().any(|source| source.configured)
    }

    /// No address is a configured one any more.
    pub(super) fn unconfigure(&mut self) {
        self.sources.iter_mut().for_each(|source| source.configured = false);
    }

    pub(super) fn add(&mut self, given: TransportAddress, configured: bool) {
        if let Some(source) = self.sources.iter_mut().find(|source| source.given == given) {
            source.configured |= configured;
            return;
        }
        if self.sources.len() >= MAX_ADDRESSES {
            // The oldest that somebody gave with a peer's address makes room.
            let Some(oldest) = self.sources.iter().position(|source| !source.configured) else { return };
            self.sources.remove(oldest);
        }
        let resolved = if given.socket_addr().is_some() { vec![given.clone()] } else { Vec::new() };
        self.sources.push(Source { given, resolved, configured });
    }

    /// The addresses that need a resolver.
    pub(super) fn names(&self) -> Vec<TransportAddress> {
        self.sources.iter().filter(|source| source.is_name()).map(|source| source.given.clone()).collect()
    }

    /// Takes what a name resolved to now. What it resolved to before counts while
    /// it resolves to nothing.
    pub(super) fn resolved(&mut self, name: &TransportAddress, addresses: Vec<TransportAddress>) {
        if let Some(source) = self.sources.iter_mut().find(|source| source.given == *name) {
            source.resolved = addresses;
        }
    }

    /// Whether it is known to be at that IP address: told so, resolved or learnt.
    pub(super) fn has(&self, ip: IpAddr) -> bool {
        let mut known = self.sources.iter().flat_map(|source| &source.resolved).chain(&self.learnt);
        known.any(|address| address.canonical_ip() == Some(ip))
    }

    /// Where to dial it: literals first, then names, then what it reported.
    pub(super) fn all(&self) -> Vec<TransportAddress> {
        let (names, literals): (Vec<_>, Vec<_>) = self.sources.iter().partition(|source| source.is_name());
        let mut addresses: Vec<TransportAddress> = Vec::new();
        for address in literals.into_iter().chain(names).flat_map(|source| &source.resolved).chain(&self.learnt) {
            if !addresses.contains(address) && addresses.len() < MAX_ADDRESSES {
                addresses.push(address.clone());
            }
        }
        addresses
    }

    /// One of these addresses as the settings name its host, for others to dial: a name
    /// stays true when the relay moves. Names that came with a peer's address do not count.
    pub(super) fn by_name(&self, mut address: TransportAddress) -> TransportAddress {
        let leads_there = |source: &&Source| source.resolved.iter().any(|resolved| resolved.host == address.host);
        let mut named = self.sources.iter().filter(|source| source.configured && source.is_name());
        if let Some(source) = named.find(leads_there) {
            address.host = source.given.host.clone();
        }
        address
    }

    /// Takes from a relay's own addresses those on an IP that we know it by: so it
    /// can name its other transport, but cannot send us elsewhere. If we know it in one family
    /// alone, one public IP of the other is taken too; whoever answers there must prove to be it.
    pub(super) fn learn(&mut self, reported: Vec<TransportAddress>) {
        let hosts: Vec<IpAddr> =
            self.sources.iter().flat_map(|source| &source.resolved).filter_map(TransportAddress::ip).collect();
        let is_other = |other: &IpAddr| is_public(*other) && hosts.iter().all(|host| host.is_ipv4() != other.is_ipv4());
        // The one that it named before, if it names it still.
        let named = || reported.iter().filter_map(TransportAddress::ip).filter(is_other);
        let before = self.learnt.iter().filter_map(TransportAddress::ip).find(is_other);
        let other = named().find(|ip| Some(*ip) == before).or_else(|| named().next()).filter(|_| !hosts.is_empty());
        let other = other.or_else(|| before.filter(|_| reported.is_empty()));
        let is_there = |address: &TransportAddress| address.ip().is_some_and(|ip| hosts.contains(&ip) || other == Some(ip));
        // A name may have moved since.
        self.learnt.retain(is_there);
        for address in reported {
            if is_there(&address) && !self.learnt.contains(&address) && self.learnt.len() < MAX_ADDRESSES {
                self.learnt.push(address);
            }
        }
    }
}
