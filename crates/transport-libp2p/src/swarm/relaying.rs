//! Our connections to relays.
//!
//! A relay is met when identify has come through on a connection to it: only
//! then do we know our candidate there, and a reservation or a circuit may
//! follow. A punch over a transport needs an observation over that transport,
//! so a relay that speaks both is connected over both.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use kaspath_domain::{DialError, Path, Timestamp, Transport, TransportSet};
use libp2p::{
    Multiaddr, PeerId, identify,
    multiaddr::Protocol,
    swarm::{
        ConnectionId,
        dial_opts::{DialOpts, PeerCondition},
    },
};
use tokio::sync::oneshot;

use super::{actor::Actor, connecting::Purpose};
use crate::{NetworkEvent, convert};

/// After the first identify, so long is waited for the other transport's.
const SECOND_LINK_GRACE: Duration = Duration::from_millis(1500);
/// Relays known at once, beside the configured ones.
const MAX_RELAYS: usize = 64;
/// Addresses kept of one relay.
const MAX_ADDRESSES: usize = 8;

enum Waiter {
    Dial(oneshot::Sender<Result<(), DialError>>),
    Reservation,
}

#[derive(Default)]
struct Relay {
    addresses: Vec<Multiaddr>,
    identified: HashSet<ConnectionId>,
    /// Dials of links under way.
    linking: HashMap<ConnectionId, TransportSet>,
    /// Transports whose dial failed since the relay was last met.
    failed: Vec<Transport>,
    /// When waiting for the second link ends.
    grace: Option<Timestamp>,
    waiters: Vec<(TransportSet, Waiter)>,
}

pub(super) struct Relaying {
    relays: HashMap<PeerId, Relay>,
}

impl Relaying {
    pub(super) fn new(relays: Vec<(PeerId, Vec<Multiaddr>)>) -> Self {
        let relays = relays.into_iter().map(|(peer, addresses)| (peer, Relay { addresses, ..Relay::default() })).collect();
        Self { relays }
    }

    pub(super) fn deadline(&self) -> Option<Timestamp> {
        self.relays.values().filter(|relay| !relay.waiters.is_empty()).filter_map(|relay| relay.grace).min()
    }
}

impl Actor {
    pub(super) fn meet_relay(
        &mut self,
        relay: PeerId,
        addresses: Vec<Multiaddr>,
        transports: TransportSet,
        reply: oneshot::Sender<Result<(), DialError>>,
    ) {
        let relays = &mut self.relaying.relays;
        if !relays.contains_key(&relay) && relays.len() >= MAX_RELAYS {
            let unused =
                relays.iter().find(|(_, known)| known.waiters.is_empty() && known.identified.is_empty()).map(|(id, _)| *id);
            match unused {
                Some(unused) => drop(relays.remove(&unused)),
                None => return drop(reply.send(Err(DialError::LimitReached { what: "relays", limit: MAX_RELAYS }))),
            }
        }
        let known = relays.entry(relay).or_default();
        for address in addresses {
            if !known.addresses.contains(&address) && known.addresses.len() < MAX_ADDRESSES {
                known.addresses.push(address);
            }
        }
        self.wait_for_relay(relay, transports, Waiter::Dial(reply));
    }

    /// For a reservation: `on_relay_met` follows, or the machine's timeout.
    pub(super) fn meet_for_reservation(&mut self, relay: PeerId) {
        self.wait_for_relay(relay, self.config.punch.transports, Waiter::Reservation);
    }

    fn wait_for_relay(&mut self, relay: PeerId, transports: TransportSet, waiter: Waiter) {
        self.swarm.behaviour_mut().streams.hold(relay);
        let linked = self.relay_links(relay).next().is_some();
        let Some(known) = self.relaying.relays.get_mut(&relay) else { return };
        // A relay that is connected but never identifies must not collect them.
        known.waiters.retain(|(_, waiter)| !matches!(waiter, Waiter::Dial(reply) if reply.is_closed()));
        known.waiters.push((transports, waiter));
        known.failed.clear();
        if !linked && known.linking.is_empty() {
            let addresses = known.addresses.clone();
            self.link(relay, addresses);
        }
        self.link_missing_transports(relay);
        self.serve_relay_waiters(relay);
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
        if let Some(known) = self.relaying.relays.get_mut(&relay) {
            known.linking.insert(opts.connection_id(), transports);
        }
        self.dial(opts, Purpose::RelayLink);
    }

    /// The same for every relay that is met.
    pub(super) fn link_all_relays(&mut self) {
        let met: Vec<PeerId> =
            self.relaying.relays.iter().filter(|(_, relay)| !relay.identified.is_empty()).map(|(id, _)| *id).collect();
        for relay in met {
            self.link_missing_transports(relay);
        }
    }

    /// Connects over transports that can be punched and are not linked yet, once
    /// the relay has told its addresses.
    fn link_missing_transports(&mut self, relay: PeerId) {
        let links: Vec<_> = self.relay_links(relay).collect();
        let Some(known) = self.relaying.relays.get(&relay) else { return };
        if known.identified.is_empty() {
            return;
        }
        let missing: Vec<Multiaddr> = [Transport::Tcp, Transport::Quic]
            .into_iter()
            .filter(|transport| self.config.punch.transports.contains(*transport))
            .filter(|transport| !links.iter().any(|(_, linked)| linked == transport))
            .filter(|transport| !known.failed.contains(transport))
            .filter(|transport| !known.linking.values().any(|linking| linking.contains(*transport)))
            .filter_map(|transport| {
                known.addresses.iter().find(|address| convert::transport(address) == Some(transport)).cloned()
            })
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
        let Some(known) = self.relaying.relays.get_mut(&peer) else { return };
        let first = known.identified.is_empty();
        known.identified.insert(connection);
        if first {
            known.grace = Some(now + SECOND_LINK_GRACE);
        }
        learn_addresses(&mut known.addresses, &info.listen_addrs);
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
        let Some(known) = self.relaying.relays.get_mut(&relay) else { return };
        if let Some(transports) = known.linking.remove(&connection) {
            known
                .failed
                .extend([Transport::Tcp, Transport::Quic].into_iter().filter(|transport| transports.contains(*transport)));
        }
        if connected || !known.linking.is_empty() {
            return self.serve_relay_waiters(relay);
        }
        let mut reserving = false;
        for (_, waiter) in std::mem::take(&mut known.waiters) {
            match waiter {
                Waiter::Dial(reply) => {
                    let error = DialError::RelayUnreachable { relay: convert::identity(&relay), cause: cause.clone() };
                    let _ = reply.send(Err(error));
                }
                Waiter::Reservation => reserving = true,
            }
        }
        if reserving {
            self.on_reservation_lost(relay, cause);
        }
    }

    pub(super) fn on_relay_linked(&mut self, relay: PeerId, connection: ConnectionId) {
        if let Some(known) = self.relaying.relays.get_mut(&relay) {
            known.linking.remove(&connection);
        }
    }

    pub(super) fn on_relay_connection_closed(&mut self, peer: PeerId, connection: ConnectionId, cause: Option<String>) {
        self.forget_circuit(peer);
        let connected = self.relay_links(peer).next().is_some();
        let Some(known) = self.relaying.relays.get_mut(&peer) else { return };
        known.identified.remove(&connection);
        known.linking.remove(&connection);
        if !connected {
            known.grace = None;
            self.on_reservation_lost(peer, cause.unwrap_or_else(|| "the relay closed the connection".to_owned()));
        }
    }

    pub(super) fn step_relays(&mut self) {
        let now = self.now();
        let due: Vec<PeerId> = self
            .relaying
            .relays
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
        let Some(known) = self.relaying.relays.get_mut(&relay) else { return };
        if known.identified.is_empty() {
            return;
        }
        let patient = known.grace.is_some_and(|grace| now < grace);
        let linked = |transport: Transport| links.iter().any(|(id, over)| *over == transport && known.identified.contains(id));
        let hopeless = |transport: Transport| {
            known.failed.contains(&transport)
                || !known.addresses.iter().any(|address| convert::transport(address) == Some(transport))
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
        let known = self.relaying.relays.get(&relay)?;
        let linked = |address: &&Multiaddr| links.iter().any(|(_, over)| convert::transport(address) == Some(*over));
        known.addresses.iter().filter(linked).min_by_key(|address| convert::transport(address)).cloned()
    }
}

/// Takes from a relay's own addresses those on an IP that we know it by: so it
/// can name its other transport, but cannot send us elsewhere.
fn learn_addresses(known: &mut Vec<Multiaddr>, told: &[Multiaddr]) {
    for address in told {
        let bare: Multiaddr = address.iter().take_while(|part| !matches!(part, Protocol::P2p(_))).collect();
        let same_host = convert::ip(&bare).is_some() && known.iter().any(|other| convert::ip(other) == convert::ip(&bare));
        let usable = convert::transport_address(&bare).is_some() && !convert::is_relayed(address);
        if same_host && usable && !known.contains(&bare) && known.len() < MAX_ADDRESSES {
            known.push(bare);
        }
    }
}
