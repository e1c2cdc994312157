//! The table of relays: what is known of each, and which may be forgotten. Pure.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use kaspath_domain::{DialError, Host, Moment, Transport, TransportAddress, TransportSet};
use libp2p::{Multiaddr, PeerId, multiaddr::Protocol, swarm::ConnectionId};
use tokio::sync::oneshot;

use crate::convert;

/// Relays known at once, beside the configured ones.
const MAX_RELAYS: usize = 64;
/// Addresses of one relay that are dialled, and those that are kept as given.
const MAX_ADDRESSES: usize = 8;
/// Dials that wait for one relay.
pub(super) const MAX_WAITERS: usize = 64;
/// A relay that is not configured is given back when it was not used for so long.
const IDLE_TIME: Duration = Duration::from_secs(300);

pub(super) enum Waiter {
    Dial(oneshot::Sender<Result<(), DialError>>),
    /// At most one a relay.
    Reservation,
}

/// An address as it was given, and what its host is or last resolved to.
struct Source {
    given: TransportAddress,
    resolved: Vec<Multiaddr>,
    configured: bool,
}

#[derive(Default)]
pub(super) struct Relay {
    sources: Vec<Source>,
    /// What the relay says of itself.
    learnt: Vec<Multiaddr>,
    pub(super) identified: HashSet<ConnectionId>,
    /// Dials of links under way.
    pub(super) linking: HashMap<ConnectionId, TransportSet>,
    /// Its names are being resolved.
    pub(super) resolving: bool,
    /// Transports whose dial failed since the relay was last met.
    pub(super) failed: Vec<Transport>,
    /// When waiting for the second link ends.
    pub(super) grace: Option<Moment>,
    pub(super) waiters: Vec<(TransportSet, Waiter)>,
    used: Moment,
}

impl Relay {
    fn is_configured(&self) -> bool {
        self.sources.iter().any(|source| source.configured)
    }

    fn is_busy(&self) -> bool {
        self.resolving || !self.waiters.is_empty() || !self.linking.is_empty()
    }

    fn add_source(&mut self, given: TransportAddress, configured: bool) {
        if self.sources.iter().any(|source| source.given == given) {
            return;
        }
        if self.sources.len() >= MAX_ADDRESSES {
            // The oldest that somebody gave with a peer's address makes room.
            let Some(oldest) = self.sources.iter().position(|source| !source.configured) else { return };
            self.sources.remove(oldest);
        }
        let resolved = match given.host {
            Host::Ip(ip) => vec![convert::multiaddr(ip, given.port, given.transport)],
            Host::Dns(_) => Vec::new(),
        };
        self.sources.push(Source { given, resolved, configured });
    }

    /// The addresses that need a resolver.
    pub(super) fn names(&self) -> Vec<TransportAddress> {
        let names = self.sources.iter().filter(|source| matches!(source.given.host, Host::Dns(_)));
        names.map(|source| source.given.clone()).collect()
    }

    /// Takes what a name resolved to now. What it resolved to before counts while
    /// it resolves to nothing.
    pub(super) fn resolved(&mut self, name: &TransportAddress, addresses: Vec<Multiaddr>) {
        if let Some(source) = self.sources.iter_mut().find(|source| source.given == *name) {
            source.resolved = addresses;
        }
    }

    /// Where to dial it: literals first, then names, then what it told us.
    pub(super) fn addresses(&self) -> Vec<Multiaddr> {
        let is_literal = |source: &&Source| matches!(source.given.host, Host::Ip(_));
        let (literals, names): (Vec<_>, Vec<_>) = self.sources.iter().partition(is_literal);
        let mut addresses: Vec<Multiaddr> = Vec::new();
        for address in literals.into_iter().chain(names).flat_map(|source| &source.resolved).chain(&self.learnt) {
            if !addresses.contains(address) && addresses.len() < MAX_ADDRESSES {
                addresses.push(address.clone());
            }
        }
        addresses
    }

    /// One of these addresses as the settings name its host, for others to dial: a name
    /// stays true when the relay moves. Names that came with a peer's address do not count.
    pub(super) fn by_name(&self, address: &Multiaddr) -> Option<TransportAddress> {
        let mut known = convert::transport_address(address)?;
        let ip = convert::ip(address);
        let leads_there = |source: &&Source| source.resolved.iter().any(|resolved| convert::ip(resolved) == ip);
        let mut named = self.sources.iter().filter(|source| source.configured && matches!(source.given.host, Host::Dns(_)));
        if let Some(source) = named.find(leads_there) {
            known.host = source.given.host.clone();
        }
        Some(known)
    }

    /// Takes from a relay's own addresses those on an IP that we know it by: so it
    /// can name its other transport, but cannot send us elsewhere.
    pub(super) fn learn(&mut self, told: &[Multiaddr]) {
        let hosts: Vec<_> = self.sources.iter().flat_map(|source| &source.resolved).filter_map(convert::ip).collect();
        // A name may have moved since.
        self.learnt.retain(|address| convert::ip(address).is_some_and(|ip| hosts.contains(&ip)));
        for address in told {
            let bare: Multiaddr = address.iter().take_while(|part| !matches!(part, Protocol::P2p(_))).collect();
            let same_host = convert::ip(&bare).is_some_and(|ip| hosts.contains(&ip));
            let usable = convert::transport_address(&bare).is_some() && !convert::is_relayed(address);
            if same_host && usable && !self.learnt.contains(&bare) && self.learnt.len() < MAX_ADDRESSES {
                self.learnt.push(bare);
            }
        }
    }

    /// Has one more wait for the relay; the reservation waits once. `Err` is a dial
    /// too many.
    pub(super) fn wait(
        &mut self,
        transports: TransportSet,
        waiter: Waiter,
    ) -> Result<(), oneshot::Sender<Result<(), DialError>>> {
        // A relay that is connected but never identifies must not collect them.
        self.waiters.retain(|(_, waiter)| !matches!(waiter, Waiter::Dial(reply) if reply.is_closed()));
        let dials = self.waiters.iter().filter(|(_, waiter)| matches!(waiter, Waiter::Dial(_))).count();
        match waiter {
            Waiter::Reservation => self.waiters.retain(|(_, waiter)| !matches!(waiter, Waiter::Reservation)),
            Waiter::Dial(reply) if dials >= MAX_WAITERS => return Err(reply),
            Waiter::Dial(_) => {}
        }
        self.waiters.push((transports, waiter));
        Ok(())
    }
}

#[derive(Default)]
pub(super) struct Relaying {
    relays: HashMap<PeerId, Relay>,
}

impl Relaying {
    /// Knows the configured relays, which are never forgotten.
    pub(super) fn new(relays: Vec<(PeerId, Vec<TransportAddress>)>) -> Self {
        let mut relaying = Self::default();
        for (peer, addresses) in relays {
            let relay = relaying.relays.entry(peer).or_default();
            addresses.into_iter().for_each(|address| relay.add_source(address, true));
        }
        relaying
    }

    pub(super) fn get(&self, relay: &PeerId) -> Option<&Relay> {
        self.relays.get(relay)
    }

    pub(super) fn get_mut(&mut self, relay: &PeerId) -> Option<&mut Relay> {
        self.relays.get_mut(relay)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&PeerId, &Relay)> {
        self.relays.iter()
    }

    /// When to look at the relays next.
    pub(super) fn deadline(&self) -> Option<Moment> {
        // Without identify nobody can be served, however late it is.
        let waits = |relay: &&Relay| !relay.waiters.is_empty() && !relay.identified.is_empty();
        let grace = self.relays.values().filter(waits).filter_map(|relay| relay.grace).min();
        let expiry = self.relays.values().filter(|relay| !relay.is_configured() && !relay.is_busy());
        grace.into_iter().chain(expiry.map(|relay| relay.used + IDLE_TIME)).min()
    }

    /// Somebody uses the relay by this address; it is known from now on. `in_use`
    /// are those that carry circuits. Gives the relay that was forgotten for it, or
    /// an error if none could be.
    pub(super) fn use_at(
        &mut self,
        relay: PeerId,
        via: TransportAddress,
        in_use: &HashSet<PeerId>,
        now: Moment,
    ) -> Result<Option<PeerId>, DialError> {
        let others = self.relays.values().filter(|relay| !relay.is_configured()).count();
        let mut forgotten = None;
        if !self.relays.contains_key(&relay) && others >= MAX_RELAYS {
            let unused =
                self.relays.iter().filter(|(id, known)| !known.is_configured() && !known.is_busy() && !in_use.contains(id));
            forgotten = unused.min_by_key(|(_, known)| known.used).map(|(id, _)| *id);
            let limit = DialError::LimitReached { what: "relays", limit: MAX_RELAYS };
            self.relays.remove(&forgotten.ok_or(limit)?);
        }
        let known = self.relays.entry(relay).or_default();
        known.add_source(via, false);
        known.used = now;
        Ok(forgotten)
    }

    /// Forgets relays that were not used for long, and gives them.
    pub(super) fn expire(&mut self, in_use: &HashSet<PeerId>, now: Moment) -> Vec<PeerId> {
        for relay in in_use {
            if let Some(known) = self.relays.get_mut(relay) {
                known.used = now;
            }
        }
        let idle = |known: &Relay| !known.is_configured() && !known.is_busy() && now.since(known.used) >= IDLE_TIME;
        let expired: Vec<PeerId> = self.relays.iter().filter(|(_, known)| idle(known)).map(|(id, _)| *id).collect();
        for relay in &expired {
            self.relays.remove(relay);
        }
        expired
    }

    /// The reservation does not wait for the relay any more.
    pub(super) fn abandon_reservation(&mut self, relay: PeerId) {
        if let Some(known) = self.relays.get_mut(&relay) {
            known.waiters.retain(|(_, waiter)| !matches!(waiter, Waiter::Reservation));
        }
    }
}

#[cfg(test)]
mod tests;
