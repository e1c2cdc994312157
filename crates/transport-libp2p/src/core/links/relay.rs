//! What is known of one relay, and who waits for it. Decides; does not act.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use kaspath_domain::{Moment, PeerIdentity, Transport, TransportAddress, TransportSet};

use super::addresses::Addresses;
use crate::core::{
    connections::{ConnId, Connection},
    interfaces::Interfaces,
    io::{OperationId, WaiterId},
    shared::Shared,
};

/// Dials that wait for one relay.
pub(super) const MAX_WAITERS: usize = 64;
/// Dials of one relay at once.
const MAX_DIALS: usize = 4;
/// A dial without an answer for so long is tried again beside itself, if somebody asks.
const SLOW_DIAL: Duration = Duration::from_secs(2);

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Waiter {
    Caller(WaiterId),
    /// At most one a relay.
    Reservation,
}

/// An open link.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    pub(super) id: ConnId,
    pub(super) transport: Transport,
    pub(super) ip: IpAddr,
}

impl Link {
    /// Whether it is over the transport and the family of that address.
    pub(super) fn is_like(&self, address: &TransportAddress) -> bool {
        (self.transport, self.ip.is_ipv6()) == (address.transport, is_ipv6(address))
    }

    /// Whether it leads to that address, as far as its remote's port shows nothing.
    pub(super) fn is_at(&self, address: &TransportAddress) -> bool {
        self.transport == address.transport && address.canonical_ip() == Some(self.ip)
    }
}

pub(super) fn is_ipv6(address: &TransportAddress) -> bool {
    address.ip().is_some_and(|ip| ip.is_ipv6())
}

fn can_reach(host: &Interfaces, address: &TransportAddress) -> bool {
    address.ip().is_some_and(|ip| host.can_reach(ip))
}

#[derive(Debug, Default)]
pub(super) struct Relay {
    pub(super) addresses: Addresses,
    /// Links that count for the relay whatever becomes of its addresses: our dials led to
    /// them, or they identified where the relay was known to be.
    pub(super) links: BTreeSet<ConnId>,
    /// Links on which the relay has reported where it sees us.
    pub(super) identified: BTreeSet<ConnId>,
    /// Dials of links under way.
    pub(super) dials: BTreeMap<OperationId, Vec<TransportAddress>>,
    /// Its names are being looked up.
    pub(super) lookup: Option<OperationId>,
    /// Where dials failed since somebody last asked for the relay.
    pub(super) failed: Vec<TransportAddress>,
    /// When waiting for the second link ends.
    pub(super) grace: Option<Moment>,
    pub(super) waiters: Vec<(TransportSet, Waiter)>,
    /// A reservation is held there or asked for.
    pub(super) reserved: bool,
    /// Its links are kept though nothing uses them.
    pub(super) leased: bool,
    /// When a link was dialled last.
    pub(super) dialled: Option<Moment>,
    pub(super) used: Moment,
}

impl Relay {
    pub(super) fn is_configured(&self) -> bool {
        self.addresses.is_configured()
    }

    /// Whether a direct connection with the relay's identity is a link to the relay. One from an
    /// address that nobody knows it by proves who it is, but not that it is where it is said to be.
    pub(super) fn counts(&self, id: ConnId, connection: &Connection) -> bool {
        self.links.contains(&id) || connection.remote_ip().is_some_and(|ip| self.addresses.has(ip))
    }

    /// A link is being made, or somebody waits for one.
    pub(super) fn is_linking(&self) -> bool {
        self.lookup.is_some() || !self.dials.is_empty()
    }

    /// Whether a link may be dialled: none is being made, or those that are take so long
    /// that a packet of theirs was lost, or went out when there was no network.
    pub(super) fn may_dial(&self, now: Moment) -> bool {
        let is_slow = self.dialled.is_some_and(|at| now.since(at) >= SLOW_DIAL);
        !self.is_linking() || (self.lookup.is_none() && is_slow && self.dials.len() < MAX_DIALS)
    }

    /// Somebody besides circuits needs the link.
    pub(super) fn is_needed(&self) -> bool {
        self.reserved || !self.waiters.is_empty() || self.is_linking()
    }

    /// Adds a waiter; the reservation waits once. `false` is a caller too many.
    pub(super) fn wait(&mut self, transports: TransportSet, waiter: Waiter) -> bool {
        let callers = self.waiters.iter().filter(|(_, waiter)| *waiter != Waiter::Reservation).count();
        match waiter {
            Waiter::Reservation => self.stop_waiting(Waiter::Reservation),
            Waiter::Caller(_) if callers >= MAX_WAITERS => return false,
            Waiter::Caller(_) => {}
        }
        self.waiters.push((transports, waiter));
        true
    }

    pub(super) fn stop_waiting(&mut self, waiter: Waiter) {
        self.waiters.retain(|(_, other)| *other != waiter);
    }

    /// The address at which a link over the transport is of most use, as far as it can be reached.
    /// What a relay sees over IPv4 tells how a NAT maps us; over IPv6 we know our address.
    pub(super) fn preferred(&self, transport: Transport, host: &Interfaces) -> Option<TransportAddress> {
        let usable = |address: &TransportAddress| {
            address.transport == transport && can_reach(host, address) && !self.failed.contains(address)
        };
        self.addresses.all().into_iter().filter(usable).min_by_key(is_ipv6)
    }

    /// An address of IPv6 at which no link is tried yet, to know that the relay is there too.
    pub(super) fn other_family(&self, host: &Interfaces) -> Option<TransportAddress> {
        let usable = |address: &TransportAddress| is_ipv6(address) && can_reach(host, address);
        let found = self.addresses.all().into_iter().filter(usable).min_by_key(|address| address.transport)?;
        (!self.failed.contains(&found)).then_some(found)
    }

    /// A dial led to nothing.
    pub(super) fn fail(&mut self, dialled: Vec<TransportAddress>) {
        let known = self.addresses.all();
        self.failed.extend(dialled);
        // No more than are known, each once; names may have resolved to others since.
        self.failed = known.into_iter().filter(|address| self.failed.contains(address)).collect();
    }

    /// Takes those out whose wait is over, given the open links.
    pub(super) fn take_served(&mut self, links: &[Link], host: &Interfaces, now: Moment) -> Vec<Waiter> {
        if self.identified.is_empty() {
            return Vec::new();
        }
        let may_wait = self.grace.is_some_and(|grace| now < grace);
        let missing = |transport: Transport| {
            let linked = |at: &TransportAddress| links.iter().any(|link| self.identified.contains(&link.id) && link.is_like(at));
            self.preferred(transport, host).is_some_and(|preferred| !linked(&preferred))
        };
        let missing = [Transport::Tcp, Transport::Quic].map(|transport| (transport, missing(transport)));
        let served = |wanted: TransportSet| {
            let is_missing = missing.iter().any(|(transport, missing)| *missing && wanted.contains(*transport));
            !is_missing || !may_wait
        };
        let waiters = std::mem::take(&mut self.waiters);
        let (served, waiting): (Vec<_>, Vec<_>) = waiters.into_iter().partition(|(wanted, _)| served(*wanted));
        self.waiters = waiting;
        served.into_iter().map(|(_, waiter)| waiter).collect()
    }
}

/// The open links with the relay.
pub(super) fn links_with(shared: &Shared, relay: &PeerIdentity, known: &Relay) -> Vec<Link> {
    let counting = shared.connections.with_peer(relay).filter(|(id, connection)| known.counts(*id, connection));
    counting.filter_map(|(id, on)| Some(Link { id, transport: on.transport()?, ip: on.remote_ip()? })).collect()
}
