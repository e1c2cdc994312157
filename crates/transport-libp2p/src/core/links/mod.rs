//! Our connections to relays, and who needs them.
//!
//! A relay is connected when identify has come through on a link to it: only
//! then do we know our candidate there, and a reservation or a circuit may
//! follow. A punch over a transport needs an observation over that transport,
//! so a relay that speaks both is connected over both, and over IPv4 where both sides
//! have it. If both have IPv6 too, one link more shows that the relay is there.
//!
//! A connection with a relay's identity is a link only if it leads to, or comes from, an IP address
//! that the relay is known by. Whoever has many identities could else have one host answer for
//! relays that are said to be all over the Internet.
//!
//! A link is held while a reservation, a circuit or somebody who waits needs it, and for
//! five minutes after. Relays that are not configured are forgotten with their links.

mod addresses;
mod relay;
mod transports;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use kaspath_domain::{DialError, IpPrefix, Moment, PeerIdentity, RelayAddress, TransportAddress, TransportSet};

use self::relay::{MAX_WAITERS, Relay, Waiter, links_with};
use super::{
    connections::{ConnId, Connection, RemoteInfo},
    io::{DialKind, OperationId, Output, WaiterId},
    shared::{Shared, Signal},
};

/// Relays known at once beside the configured ones, and configured ones that are added
/// at run time.
const MAX_RELAYS: usize = 64;
/// A link that nobody needs is given up after this time.
const IDLE_TIME: Duration = Duration::from_secs(300);
/// After the first identify, so long is waited for the other transport's.
const SECOND_LINK_GRACE: Duration = Duration::from_millis(1500);

#[derive(Default)]
pub(super) struct Links {
    relays: BTreeMap<PeerIdentity, Relay>,
}

impl Links {
    /// With the configured relays, which are not forgotten.
    pub(super) fn new(relays: Vec<RelayAddress>) -> Self {
        let mut links = Self::default();
        for RelayAddress { relay, via } in relays {
            links.relays.entry(relay).or_default().addresses.add(via, true);
        }
        links
    }

    /// Adds a configured relay, or an address of one.
    pub(super) fn add(&mut self, relay: RelayAddress) -> Result<(), DialError> {
        let is_new = !self.relays.get(&relay.relay).is_some_and(Relay::is_configured);
        if is_new && self.relays.values().filter(|relay| relay.is_configured()).count() >= MAX_RELAYS {
            return Err(DialError::LimitReached { what: "configured relays", limit: MAX_RELAYS });
        }
        self.relays.entry(relay.relay).or_default().addresses.add(relay.via, true);
        Ok(())
    }

    /// The relay is not a configured one any more. Its links are closed at once, unless
    /// something else needs them.
    pub(super) fn remove(&mut self, shared: &mut Shared, relay: &PeerIdentity) {
        let carries = shared.connections.circuits().any(|(_, through)| through == relay);
        let Some(known) = self.relays.get_mut(relay) else { return };
        known.addresses.unconfigure();
        known.used = shared.now;
        if carries || known.is_needed() {
            return;
        }
        let links: Vec<ConnId> = shared.connections.direct(relay).map(|(id, _)| id).collect();
        self.give_up_link(shared, relay);
        links.into_iter().for_each(|id| shared.put(Output::CloseIfUnused(id)));
    }

    /// A caller waits for the relay.
    pub(super) fn connect(&mut self, shared: &mut Shared, waiter: WaiterId, relay: RelayAddress, transports: TransportSet) {
        let RelayAddress { relay, via } = relay;
        if let Err(error) = self.use_at(shared, &relay, via) {
            return shared.answer([waiter], &Err(error));
        }
        self.wait(shared, &relay, transports, Waiter::Caller(waiter));
    }

    /// A reservation needs the relay: [`Signal::RelayConnected`] follows, or it gives up.
    pub(super) fn reserve(&mut self, shared: &mut Shared, relay: &PeerIdentity) {
        if let Some(known) = self.relays.get_mut(relay) {
            known.reserved = true;
            self.wait(shared, relay, shared.punch.transports, Waiter::Reservation);
        }
    }

    /// It does not need the relay any more.
    pub(super) fn unreserve(&mut self, shared: &Shared, relay: &PeerIdentity) {
        if let Some(known) = self.relays.get_mut(relay) {
            known.reserved = false;
            known.used = shared.now;
            known.stop_waiting(Waiter::Reservation);
        }
    }

    pub(super) fn give_up(&mut self, waiter: WaiterId) {
        self.relays.values_mut().for_each(|relay| relay.stop_waiting(Waiter::Caller(waiter)));
    }

    /// Somebody uses the relay at this address; it is known from now on.
    fn use_at(&mut self, shared: &mut Shared, relay: &PeerIdentity, via: TransportAddress) -> Result<(), DialError> {
        let others = self.relays.values().filter(|relay| !relay.is_configured()).count();
        if !self.relays.contains_key(relay) && others >= MAX_RELAYS {
            let in_use = shared.connections.relays_in_use();
            let unused =
                self.relays.iter().filter(|(id, known)| !known.is_configured() && !known.is_needed() && !in_use.contains(*id));
            let oldest = unused.min_by_key(|(_, known)| known.used).map(|(id, _)| id.clone());
            let oldest = oldest.ok_or(DialError::LimitReached { what: "relays", limit: MAX_RELAYS })?;
            self.give_up_link(shared, &oldest);
        }
        let known = self.relays.entry(relay.clone()).or_default();
        known.addresses.add(via, false);
        known.used = shared.now;
        Ok(())
    }

    /// The relay is held no longer, and forgotten unless it is configured.
    fn give_up_link(&mut self, shared: &mut Shared, relay: &PeerIdentity) {
        let Some(known) = self.relays.get_mut(relay) else { return };
        if std::mem::take(&mut known.leased) {
            shared.put(Output::Release(relay.clone()));
            shared.signal(Signal::RelayReleased(relay.clone()));
            (known.identified, known.grace) = (BTreeSet::new(), None);
        }
        if !known.is_configured() {
            self.relays.remove(relay);
        }
    }

    fn wait(&mut self, shared: &mut Shared, relay: &PeerIdentity, transports: TransportSet, waiter: Waiter) {
        let Some(known) = self.relays.get_mut(relay) else { return };
        if !known.wait(transports, waiter) {
            if let Waiter::Caller(waiter) = waiter {
                let full = DialError::LimitReached { what: "dials that wait for one relay", limit: MAX_WAITERS };
                shared.answer([waiter], &Err(full));
            }
            return;
        }
        known.failed.clear();
        let is_new = !std::mem::replace(&mut known.leased, true);
        if is_new {
            shared.put(Output::Lease(relay.clone()));
        }
        adopt(shared, relay, known, is_new);
        self.link(shared, relay);
        self.link_missing(shared, relay);
        self.serve(shared, relay);
    }

    /// Dials a relay that is not connected; its names are resolved anew before.
    fn link(&mut self, shared: &mut Shared, relay: &PeerIdentity) {
        let now = shared.now;
        let may_link = |known: &&mut Relay| links_with(shared, relay, known).is_empty() && known.may_dial(now);
        let Some(known) = self.relays.get_mut(relay).filter(may_link) else { return };
        let names = known.addresses.names();
        if names.is_empty() {
            dial(shared, relay, known, known.addresses.all());
        } else {
            let lookup = shared.operation();
            known.lookup = Some(lookup);
            shared.put(Output::Resolve { lookup, names });
        }
    }

    pub(super) fn resolved(
        &mut self,
        shared: &mut Shared,
        lookup: OperationId,
        results: Vec<(TransportAddress, Result<Vec<TransportAddress>, String>)>,
    ) {
        let Some((relay, known)) = self.relays.iter_mut().find(|(_, known)| known.lookup == Some(lookup)) else { return };
        known.lookup = None;
        let mut causes = Vec::new();
        for (name, result) in results {
            match result {
                Ok(addresses) => known.addresses.resolved(&name, addresses),
                Err(cause) => causes.push(cause),
            }
        }
        causes.dedup();
        if !links_with(shared, relay, known).is_empty() {
            // One may have come in before we knew that the relay is there.
            adopt(shared, relay, known, false);
            let relay = relay.clone();
            self.link_missing(shared, &relay);
            return self.serve(shared, &relay);
        }
        if !known.may_dial(shared.now) {
            return;
        }
        let addresses = known.addresses.all();
        if addresses.is_empty() {
            unreachable(shared, relay, known, &causes.join("; "));
        } else {
            dial(shared, relay, known, addresses);
        }
    }

    /// The remote of a direct connection reported where it listens and where it sees us.
    pub(super) fn identified(&mut self, shared: &mut Shared, id: ConnId, info: RemoteInfo) {
        let Some(relay) = shared.connections.identified(id, info.clone()).cloned() else { return };
        let connection = shared.connections.get(id);
        let is_link = |known: &&mut Relay| known.leased && connection.is_some_and(|connection| known.counts(id, connection));
        let Some(known) = self.relays.get_mut(&relay).filter(is_link) else { return };
        learn(shared, &relay, known, id, info);
        self.link_missing(shared, &relay);
        self.serve(shared, &relay);
    }

    /// A dial came to a connection, perhaps one of these.
    pub(super) fn connected(&mut self, id: ConnId, dial: OperationId) {
        for relay in self.relays.values_mut() {
            if relay.dials.remove(&dial).is_some() {
                relay.links.insert(id);
            }
        }
    }

    pub(super) fn failed(&mut self, shared: &mut Shared, dial: OperationId, error: &DialError) {
        let Some((relay, known)) = self.relays.iter_mut().find(|(_, known)| known.dials.contains_key(&dial)) else { return };
        let dialled = known.dials.remove(&dial).unwrap_or_default();
        known.fail(dialled);
        let is_linked = !links_with(shared, relay, known).is_empty();
        if is_linked || known.is_linking() {
            let relay = relay.clone();
            self.serve(shared, &relay);
        } else {
            let cause = match error {
                DialError::Unreachable { cause, .. } => cause.clone(),
                other => other.to_string(),
            };
            unreachable(shared, relay, known, &cause);
        }
    }

    /// A direct connection, with a relay perhaps, is gone.
    pub(super) fn disconnected(&mut self, shared: &mut Shared, id: ConnId, connection: &Connection, cause: Option<String>) {
        let relay = &connection.peer;
        let Some(known) = self.relays.get_mut(relay).filter(|known| known.counts(id, connection)) else { return };
        known.links.remove(&id);
        known.identified.remove(&id);
        if !links_with(shared, relay, known).is_empty() {
            return;
        }
        known.grace = None;
        let cause = cause.unwrap_or_else(|| "the relay closed the connection".to_owned());
        if known.is_linking() {
            shared.signal(Signal::RelayLost { relay: relay.clone(), cause });
        } else {
            unreachable(shared, relay, known, &cause);
        }
    }

    /// The relays whose links are in use.
    pub(super) fn leased(&self) -> Vec<PeerIdentity> {
        self.relays.iter().filter(|(_, known)| known.leased).map(|(relay, _)| relay.clone()).collect()
    }

    /// A link to the relay gave no answer, and is being closed: it serves nobody any more.
    pub(super) fn silent(&mut self, relay: &PeerIdentity, link: ConnId) {
        if let Some(known) = self.relays.get_mut(relay) {
            known.identified.remove(&link);
        }
    }

    /// When to call [`Links::step`] next.
    pub(super) fn deadline(&self) -> Option<Moment> {
        // Without identify nobody can be served, however late it is.
        let waits = |relay: &&Relay| !relay.waiters.is_empty() && !relay.identified.is_empty();
        let grace = self.relays.values().filter(waits).filter_map(|relay| relay.grace).min();
        let expiry = self.relays.values().filter(|relay| can_expire(relay)).map(|relay| relay.used + IDLE_TIME).min();
        grace.into_iter().chain(expiry).min()
    }

    pub(super) fn step(&mut self, shared: &mut Shared) {
        let now = shared.now;
        let is_idle = |known: &Relay| can_expire(known) && now.since(known.used) >= IDLE_TIME;
        if self.relays.values().any(is_idle) {
            let in_use: BTreeSet<PeerIdentity> = shared.connections.relays_in_use();
            self.relays.iter_mut().filter(|(id, _)| in_use.contains(*id)).for_each(|(_, known)| known.used = now);
        }
        let idle: Vec<PeerIdentity> = self.relays.iter().filter(|(_, known)| is_idle(known)).map(|(id, _)| id.clone()).collect();
        idle.iter().for_each(|relay| self.give_up_link(shared, relay));
        let due =
            self.relays.iter().filter(|(_, known)| !known.waiters.is_empty() && known.grace.is_some_and(|grace| grace <= now));
        let due: Vec<PeerIdentity> = due.map(|(relay, _)| relay.clone()).collect();
        due.iter().for_each(|relay| self.serve(shared, relay));
    }

    fn serve(&mut self, shared: &mut Shared, relay: &PeerIdentity) {
        let Some(known) = self.relays.get_mut(relay) else { return };
        let links = links_with(shared, relay, known);
        let served = known.take_served(&links, &shared.host, shared.now);
        // Those that are served have a link that identified.
        let Some(link) = known.identified.first().copied() else { return };
        for waiter in served {
            match waiter {
                Waiter::Caller(waiter) => shared.answer([waiter], &Ok(link)),
                Waiter::Reservation => shared.signal(Signal::RelayConnected(relay.clone())),
            }
        }
    }

    /// What is held, for tests: lookups, dials, waiters, reservations' leases.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        let of = |relay: &Relay| {
            relay.dials.len() + relay.waiters.len() + usize::from(relay.lookup.is_some()) + usize::from(relay.reserved)
        };
        self.relays.values().map(of).sum()
    }
}

/// Whether its link, or what is known of it, goes when nobody uses it for long.
fn can_expire(relay: &Relay) -> bool {
    (relay.leased || !relay.is_configured()) && !relay.is_needed()
}

fn dial(shared: &mut Shared, relay: &PeerIdentity, known: &mut Relay, addresses: Vec<TransportAddress>) {
    let addresses = shared.host.reachable(addresses);
    let dial = shared.operation();
    known.dialled = Some(shared.now);
    known.dials.insert(dial, addresses.clone());
    shared.put(Output::Dial { dial, peer: relay.clone(), addresses, kind: DialKind::Relay });
}

/// Takes what a relay reported on its links before they counted, or if its lease is new, before
/// anybody needed them.
fn adopt(shared: &mut Shared, relay: &PeerIdentity, known: &mut Relay, is_new: bool) {
    let ids: Vec<ConnId> = shared.connections.with_peer(relay).map(|(id, _)| id).collect();
    for id in ids {
        // What one link tells can make another one count.
        let is_link = shared.connections.get(id).is_some_and(|on| known.counts(id, on));
        let is_due = is_link && (is_new || !known.links.contains(&id));
        if let Some(info) = shared.connections.info(id).filter(|_| is_due) {
            learn(shared, relay, known, id, info);
        }
    }
}

/// Takes what a leased relay reported on a link.
fn learn(shared: &mut Shared, relay: &PeerIdentity, known: &mut Relay, id: ConnId, info: RemoteInfo) {
    if known.identified.is_empty() {
        known.grace = Some(shared.now + SECOND_LINK_GRACE);
    }
    known.identified.insert(id);
    known.links.insert(id);
    shared.signal(Signal::RelayLinked { relay: relay.clone(), link: id });
    known.addresses.learn(info.listens);
    let link = shared.connections.get(id).and_then(|link| Some((link.transport()?, link.remote_ip()?)));
    let Some(((over, ip), address)) = link.zip(info.observed) else { return };
    // It sees us on this link alone: what it says of another transport or family is invented.
    if address.transport == over && address.canonical_ip().is_some_and(|seen| seen.is_ipv4() == ip.is_ipv4()) {
        shared.signal(Signal::Observed { by: relay.clone(), from: IpPrefix::network(ip), address });
    }
}

/// There is no connection with the relay and none under way: all waiters get that answer.
fn unreachable(shared: &mut Shared, relay: &PeerIdentity, known: &mut Relay, cause: &str) {
    let error = Err(DialError::RelayUnreachable { relay: relay.clone(), cause: cause.to_owned() });
    for (_, waiter) in std::mem::take(&mut known.waiters) {
        if let Waiter::Caller(waiter) = waiter {
            shared.answer([waiter], &error);
        }
    }
    shared.signal(Signal::RelayLost { relay: relay.clone(), cause: cause.to_owned() });
}

#[cfg(test)]
mod tests;
