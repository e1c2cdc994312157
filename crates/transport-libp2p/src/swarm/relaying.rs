//! Our connections to relays.
//!
//! A relay is met when identify has come through on a connection to it: only
//! then do we know our candidate there, and a reservation or a circuit may
//! follow. A punch over a transport needs an observation over that transport,
//! so a relay that speaks both is connected over both.

use std::{collections::HashSet, time::Duration};

use futures::future::join_all;
use kaspath_domain::{DialError, Path, Transport, TransportAddress, TransportSet};
use libp2p::{
    Multiaddr, PeerId, identify,
    swarm::{
        ConnectionId,
        dial_opts::{DialOpts, PeerCondition},
    },
};
use tokio::sync::oneshot;

use super::{actor::Actor, connecting::Purpose, exchanging::Progress, relays::Waiter};
use crate::{NetworkEvent, convert};

/// After the first identify, so long is waited for the other transport's.
const SECOND_LINK_GRACE: Duration = Duration::from_millis(1500);

impl Actor {
    pub(super) fn meet_relay(
        &mut self,
        relay: PeerId,
        via: TransportAddress,
        transports: TransportSet,
        reply: oneshot::Sender<Result<(), DialError>>,
    ) {
        let now = self.now();
        let in_use = self.relays_with_circuits();
        match self.relaying.use_at(relay, via, &in_use, now) {
            Ok(forgotten) => forgotten.into_iter().for_each(|relay| self.give_back(relay)),
            Err(error) => return drop(reply.send(Err(error))),
        }
        self.wait_for_relay(relay, transports, Waiter::Dial(reply));
    }

    /// For a reservation: `on_relay_met` follows, or the machine's timeout.
    pub(super) fn meet_for_reservation(&mut self, relay: PeerId) {
        self.wait_for_relay(relay, self.config.punch.transports, Waiter::Reservation);
    }

    fn wait_for_relay(&mut self, relay: PeerId, transports: TransportSet, waiter: Waiter) {
        self.swarm.behaviour_mut().streams.hold(relay);
        let Some(known) = self.relaying.get_mut(&relay) else { return };
        if let Err(reply) = known.wait(transports, waiter) {
            let limit = known.waiters.len();
            let _ = reply.send(Err(DialError::LimitReached { what: "dials that wait for one relay", limit }));
            return;
        }
        known.failed.clear();
        self.link_unless_linked(relay);
        self.link_missing_transports(relay);
        self.serve_relay_waiters(relay);
    }

    /// The relays that circuits go through.
    fn relays_with_circuits(&self) -> HashSet<PeerId> {
        let streams = &self.swarm.behaviour().streams;
        let relay_of = |connection| match streams.connection(connection)?.path() {
            Path::Relayed { relay, .. } => Some(convert::peer_id(&relay)),
            Path::Direct { .. } => None,
        };
        streams.all().filter_map(relay_of).collect()
    }

    /// What was held for a relay that is not known any more.
    fn give_back(&mut self, relay: PeerId) {
        tracing::debug!(%relay, "a relay that is not used is given back");
        self.swarm.behaviour_mut().streams.release(relay);
        self.punching.candidates.forget(&relay);
    }

    /// Dials a relay that is not connected, and resolves its names anew meanwhile.
    fn link_unless_linked(&mut self, relay: PeerId) {
        let is_linked = self.relay_links(relay).next().is_some();
        let Some(known) = self.relaying.get_mut(&relay) else { return };
        if is_linked || known.resolving || !known.linking.is_empty() {
            return;
        }
        let names = known.names();
        if names.is_empty() {
            let addresses = known.addresses();
            return self.link(relay, addresses);
        }
        known.resolving = true;
        let (resolver, progress) = (self.config.resolver.clone(), self.punching.progress.clone());
        self.tasks.spawn(async move {
            let lookups = names.into_iter().map(|name| async {
                let result = resolver.resolve(&name).await;
                (name, result)
            });
            let results = join_all(lookups).await;
            let _ = progress.send(Progress::Resolved { relay, results }).await;
        });
    }

    pub(super) fn on_relay_resolved(
        &mut self,
        relay: PeerId,
        results: Vec<(TransportAddress, Result<Vec<Multiaddr>, DialError>)>,
    ) {
        let is_linked = self.relay_links(relay).next().is_some();
        let Some(known) = self.relaying.get_mut(&relay) else { return };
        known.resolving = false;
        let mut causes = Vec::new();
        for (name, result) in results {
            match result {
                Ok(addresses) => known.resolved(&name, addresses),
                Err(error) => causes.push(error.to_string()),
            }
        }
        causes.dedup();
        if is_linked || !known.linking.is_empty() {
            return;
        }
        let addresses = known.addresses();
        if addresses.is_empty() {
            self.on_relay_unreachable(relay, &causes.join("; "));
        } else {
            self.link(relay, addresses);
        }
    }

    fn relay_links(&self, relay: PeerId) -> impl Iterator<Item = (ConnectionId, Transport)> + '_ {
        self.swarm.behaviour().streams.with_peer(relay).filter_map(|meta| match meta.path() {
            Path::Direct { transport } => Some((meta.id, transport)),
            Path::Relayed { .. } => None,
        })
    }

    fn link(&mut self, relay: PeerId, addresses: Vec<Multiaddr>) {
        let transports: TransportSet = addresses.iter().filter_map(convert::transport).collect();
        let opts = DialOpts::peer_id(relay).condition(PeerCondition::Always).addresses(addresses).build();
        if let Some(known) = self.relaying.get_mut(&relay) {
            known.linking.insert(opts.connection_id(), transports);
        }
        self.dial(opts, Purpose::RelayLink);
    }

    /// The same for every relay that is met.
    pub(super) fn link_all_relays(&mut self) {
        let met: Vec<PeerId> =
            self.relaying.iter().filter(|(_, relay)| !relay.identified.is_empty()).map(|(id, _)| *id).collect();
        for relay in met {
            self.link_missing_transports(relay);
        }
    }

    /// Connects over transports that can be punched and are not linked yet, once
    /// the relay has told its addresses.
    fn link_missing_transports(&mut self, relay: PeerId) {
        let links: Vec<_> = self.relay_links(relay).collect();
        let Some(known) = self.relaying.get(&relay) else { return };
        if known.identified.is_empty() {
            return;
        }
        let addresses = known.addresses();
        let missing: Vec<Multiaddr> = [Transport::Tcp, Transport::Quic]
            .into_iter()
            .filter(|transport| self.config.punch.transports.contains(*transport))
            .filter(|transport| !links.iter().any(|(_, linked)| linked == transport))
            .filter(|transport| !known.failed.contains(transport))
            .filter(|transport| !known.linking.values().any(|linking| linking.contains(*transport)))
            .filter_map(|transport| addresses.iter().find(|address| convert::transport(address) == Some(transport)).cloned())
            .collect();
        for address in missing {
            self.link(relay, vec![address]);
        }
    }

    pub(super) fn on_identified(&mut self, connection: ConnectionId, peer: PeerId, info: &identify::Info) {
        if !self.relay_links(peer).any(|(link, _)| link == connection) {
            return;
        }
        let now = self.now();
        let Some(known) = self.relaying.get_mut(&peer) else { return };
        let first = known.identified.is_empty();
        known.identified.insert(connection);
        if first {
            known.grace = Some(now + SECOND_LINK_GRACE);
        }
        known.learn(&info.listen_addrs);
        if self.punching.candidates.observe(peer, &info.observed_addr) {
            let local = *self.swarm.local_peer_id();
            if let Some(address) = convert::locator(&info.observed_addr, &local) {
                self.report(NetworkEvent::CandidateObserved { address, by: convert::identity(&peer) });
            }
            self.on_new_candidate();
        }
        self.link_missing_transports(peer);
        self.serve_relay_waiters(peer);
    }

    pub(super) fn on_relay_link_failed(&mut self, relay: PeerId, connection: ConnectionId, cause: String) {
        let connected = self.relay_links(relay).next().is_some();
        let Some(known) = self.relaying.get_mut(&relay) else { return };
        if let Some(transports) = known.linking.remove(&connection) {
            known
                .failed
                .extend([Transport::Tcp, Transport::Quic].into_iter().filter(|transport| transports.contains(*transport)));
        }
        if connected || known.resolving || !known.linking.is_empty() {
            return self.serve_relay_waiters(relay);
        }
        self.on_relay_unreachable(relay, &cause);
    }

    /// There is no connection with the relay and none under way: all who wait are told.
    fn on_relay_unreachable(&mut self, relay: PeerId, cause: &str) {
        let Some(known) = self.relaying.get_mut(&relay) else { return };
        for (_, waiter) in std::mem::take(&mut known.waiters) {
            if let Waiter::Dial(reply) = waiter {
                let error = DialError::RelayUnreachable { relay: convert::identity(&relay), cause: cause.to_owned() };
                let _ = reply.send(Err(error));
            }
        }
        self.on_reservation_lost(relay, cause.to_owned());
    }

    pub(super) fn on_relay_linked(&mut self, relay: PeerId, connection: ConnectionId) {
        if let Some(known) = self.relaying.get_mut(&relay) {
            known.linking.remove(&connection);
        }
    }

    pub(super) fn on_relay_connection_closed(&mut self, peer: PeerId, connection: ConnectionId, cause: Option<String>) {
        self.forget_circuit(peer);
        let connected = self.relay_links(peer).next().is_some();
        let Some(known) = self.relaying.get_mut(&peer) else { return };
        known.identified.remove(&connection);
        known.linking.remove(&connection);
        if connected {
            return;
        }
        known.grace = None;
        let cause = cause.unwrap_or_else(|| "the relay closed the connection".to_owned());
        if known.resolving || !known.linking.is_empty() {
            self.on_reservation_lost(peer, cause);
        } else {
            self.on_relay_unreachable(peer, &cause);
        }
    }

    pub(super) fn step_relays(&mut self) {
        let now = self.now();
        if self.relaying.deadline().is_none_or(|deadline| now < deadline) {
            return;
        }
        let in_use = self.relays_with_circuits();
        for relay in self.relaying.expire(&in_use, now) {
            self.give_back(relay);
        }
        let due: Vec<PeerId> = self
            .relaying
            .iter()
            .filter(|(_, known)| !known.waiters.is_empty() && known.grace.is_some_and(|grace| grace <= now))
            .map(|(relay, _)| *relay)
            .collect();
        for relay in due {
            self.serve_relay_waiters(relay);
        }
    }

    fn serve_relay_waiters(&mut self, relay: PeerId) {
        let now = self.now();
        let links: Vec<_> = self.relay_links(relay).collect();
        let Some(known) = self.relaying.get_mut(&relay) else { return };
        if known.identified.is_empty() {
            return;
        }
        let addresses = known.addresses();
        let patient = known.grace.is_some_and(|grace| now < grace);
        let linked = |transport: Transport| links.iter().any(|(id, over)| *over == transport && known.identified.contains(id));
        let hopeless = |transport: Transport| {
            known.failed.contains(&transport) || !addresses.iter().any(|address| convert::transport(address) == Some(transport))
        };
        let met = |transports: TransportSet| {
            let missing = [Transport::Tcp, Transport::Quic]
                .into_iter()
                .any(|transport| transports.contains(transport) && !linked(transport) && !hopeless(transport));
            !missing || !patient
        };
        let (served, waiting): (Vec<_>, Vec<_>) = std::mem::take(&mut known.waiters).into_iter().partition(|(set, _)| met(*set));
        known.waiters = waiting;
        let mut reserve = false;
        for (_, waiter) in served {
            match waiter {
                Waiter::Dial(reply) => drop(reply.send(Ok(()))),
                Waiter::Reservation => reserve = true,
            }
        }
        if reserve {
            self.on_relay_met(relay);
        }
    }

    /// An address of the relay over which we are connected, TCP before QUIC.
    pub(super) fn relay_link_address(&self, relay: PeerId) -> Option<Multiaddr> {
        let links: Vec<_> = self.relay_links(relay).collect();
        let known = self.relaying.get(&relay)?;
        let linked = |address: &Multiaddr| links.iter().any(|(_, over)| convert::transport(address) == Some(*over));
        known.addresses().into_iter().filter(linked).min_by_key(convert::transport)
    }
}
