//! What decides about peers: a machine without I/O.
//!
//! [`Core::handle`] takes what callers ask for and what happened, [`Core::poll`] gives
//! what is to be done, and [`Core::deadline`] when to come back. It knows no libp2p type,
//! no clock and no task; `swarm` translates. Every operation has an id that is
//! used once, so that a late answer cannot pass for that of another one.
//!
//! | module | what it decides |
//! |---|---|
//! | `links` | our connections to relays: dialled, identified, held for those who need them |
//! | `reservations` | which relays we hold reservations at |
//! | `controls` | whether relays grant reservations, and that they drain |
//! | `circuits` | circuits to peers, and who waits for them |
//! | `direct` | direct dials, and who waits for a direct connection |
//! | `probes` | whether links to relays work, when a path has gone silent |
//! | `reach` | at which of our addresses others can reach us |
//! | `punches` | when to punch, what is dialled, and why it failed |
//!
//! The machines do not know each other. They notify each other by `Signal`s, which the
//! core passes on.

mod circuits;
mod connections;
mod controls;
mod direct;
mod interfaces;
mod io;
mod links;
mod probes;
mod punches;
mod reach;
mod reservations;
mod shared;
#[cfg(test)]
mod tests;

use kaspath_domain::{DialError, Moment, PeerAddress, PeerIdentity, PeerLocator, RelayAddress, RetryCadence, TransportAddress};

use self::{
    circuits::Circuits,
    connections::RemoteInfo,
    controls::Controls,
    direct::Direct,
    links::Links,
    probes::Probes,
    punches::Punches,
    reach::Reach,
    reservations::Reservations,
    shared::{Shared, Signal},
};
pub(crate) use self::{
    connections::{ConnId, Connection},
    interfaces::{Interfaces, Network, is_elsewhere},
    io::{DialKind, Input, OperationId, Output, ReachInput, RelaySays, WaiterId},
    reach::{CheckAnswer, DialBackOutcome, DialBackWanted, FIRST_PORT},
};
use crate::{NetworkEvent, PunchConfig, ReachConfig};

/// What a core is to know from the start.
#[derive(Clone, Debug)]
pub(crate) struct CoreConfig {
    pub(crate) local: PeerIdentity,
    /// Those to reserve at, the preferred first; one relay may have several addresses.
    pub(crate) relays: Vec<RelayAddress>,
    pub(crate) wanted_reservations: usize,
    pub(crate) reservation_cadence: RetryCadence,
    pub(crate) punch: PunchConfig,
    /// Neighbours are dialled in our own networks.
    pub(crate) lan: bool,
    /// Candidates of ours beside those that relays observe.
    pub(crate) external: Vec<TransportAddress>,
    /// Places for the dials of punches.
    pub(crate) pending_punches: usize,
    pub(crate) reach: ReachConfig,
}

pub(crate) struct Core {
    shared: Shared,
    links: Links,
    reservations: Reservations,
    controls: Controls,
    circuits: Circuits,
    direct: Direct,
    punches: Punches,
    probes: Probes,
    reach: Reach,
}

impl Core {
    /// `chance` gives numbers in 0..1.
    pub(crate) fn new(config: CoreConfig, chance: impl FnMut() -> f64 + Send + 'static, now: Moment) -> Self {
        let shared = Shared::new(config.local, config.punch, chance, now);
        let mut reservations = Reservations::new(config.wanted_reservations, config.reservation_cadence);
        config.relays.iter().for_each(|at| reservations.add(&shared, at.relay.clone()));
        Self {
            reach: Reach::new(config.reach, &config.external, now),
            shared,
            links: Links::new(config.relays),
            reservations,
            controls: Controls::default(),
            circuits: Circuits::default(),
            direct: Direct::default(),
            punches: Punches::new(config.external, config.pending_punches, config.lan),
            probes: Probes::default(),
        }
    }

    /// An id for what begins outside: an exchange that a peer began.
    pub(crate) fn operation(&mut self) -> OperationId {
        self.shared.operation()
    }

    /// What is to be done next, until there is nothing.
    pub(crate) fn poll(&mut self) -> Option<Output> {
        let output = self.shared.next_output();
        if let Some(Output::Dial { addresses, .. }) = &output {
            self.reach.dialing(addresses, self.shared.now);
        }
        output
    }

    /// When to come with [`Input::Elapsed`], if nothing else comes before.
    pub(crate) fn deadline(&self) -> Option<Moment> {
        [self.links.deadline(), self.reservations.deadline(), self.punches.deadline(), self.reach.deadline(&self.shared)]
            .into_iter()
            .flatten()
            .min()
    }

    /// Reserves at one more relay, or knows more addresses of it, or asks it again where the
    /// cadence has given up. An error is a relay too many.
    pub(crate) fn add_relay(&mut self, relay: &PeerIdentity, at: Vec<TransportAddress>, now: Moment) -> Result<(), DialError> {
        self.shared.now = now;
        for via in at {
            self.links.add(RelayAddress { relay: relay.clone(), via })?;
        }
        self.reservations.add(&self.shared, relay.clone());
        self.settle();
        Ok(())
    }

    /// Releases the reservation at a relay, and closes its links unless a circuit or
    /// somebody who waits needs them.
    pub(crate) fn remove_relay(&mut self, relay: &PeerIdentity, now: Moment) {
        self.shared.now = now;
        self.reservations.remove(&mut self.shared, relay);
        self.pass_on();
        self.links.remove(&mut self.shared, relay);
        self.settle();
    }

    /// Takes what callers ask for and what happened. `now` never goes back.
    pub(crate) fn handle(&mut self, input: Input, now: Moment) {
        let shared = &mut self.shared;
        shared.now = now;
        match input {
            Input::Connect { waiter, peer, addresses } => {
                let addresses = shared.host.reachable(addresses);
                self.direct.connect(shared, waiter, peer, addresses);
            }
            Input::ConnectRelay { waiter, relay, transports } => self.links.connect(shared, waiter, relay, transports),
            Input::OpenCircuit { waiter, relay, peer, punch } => {
                let via = self.links.via(shared, &relay);
                self.circuits.open(shared, waiter, (relay, via), peer, punch);
            }
            Input::AwaitDirect { waiter, peer, transports } => self.direct.wait(shared, waiter, peer, transports),
            Input::GaveUp { waiter } => {
                self.direct.give_up(waiter);
                self.links.give_up(waiter);
                self.circuits.give_up(waiter);
            }
            Input::SetPunch(punch) => self.set_punch(punch),
            Input::Mapped(addresses) => {
                self.reach.mapped(shared, &addresses);
                if self.punches.mapped(shared, addresses) {
                    let relays = self.links.leased();
                    self.probes.probe_relays(shared, &relays);
                }
            }
            Input::Interfaces(interfaces) => {
                self.reach.listening(shared, &interfaces.listening);
                shared.interfaces = interfaces.ips();
                shared.host = interfaces;
                self.punches.interfaces(shared);
            }
            Input::Connected { id, dial, connection } => self.connected(id, dial, connection),
            Input::Disconnected { id, cause } => self.disconnected(id, cause),
            Input::DialFailed { dial, error } => {
                self.direct.failed(shared, dial, &error);
                self.circuits.failed(shared, dial, &error);
                self.links.failed(shared, dial, &error);
                self.punches.failed(dial);
                self.reach.failed(shared, dial, &error);
            }
            Input::Suspect { id } => {
                let relays = self.links.leased();
                self.probes.suspect(shared, id, &relays);
            }
            Input::Recovered { id } => Probes::recovered(shared, id),
            Input::Dead { id } => {
                if shared.connections.get(id).is_some() {
                    shared.put(Output::Close(id));
                }
            }
            Input::Left { id } => self.circuits.left(shared, id),
            Input::Probed { probe, is_alive } => self.probes.probed(shared, probe, is_alive),
            Input::Identified { id, listens, observed } => self.links.identified(shared, id, RemoteInfo { listens, observed }),
            Input::Resolved { lookup, results } => self.links.resolved(shared, lookup, results),
            Input::ReservationGranted { request } => self.granted(request),
            Input::ReservationRenewed { relay } => self.reservations.renewed(shared, &relay),
            Input::ReservationEnded { request, cause } => self.reservations.ended(shared, request, &cause),
            Input::RelayHeard { control, says } => self.controls.heard(shared, control, says),
            Input::ControlEnded { control } => self.controls.ended(shared, control),
            Input::ExchangeRequested { exchange, id } => self.punches.requested(shared, exchange, id),
            Input::Offered { exchange, theirs, rtt } => self.punches.offered(shared, exchange, &theirs, rtt),
            Input::SyncSent { exchange } => self.punches.sync_sent(shared, exchange),
            Input::SyncReceived { exchange, theirs } => self.punches.sync_received(shared, exchange, &theirs),
            Input::ExchangeFailed { exchange, unsupported, cause } => {
                self.punches.exchange_failed(shared, exchange, unsupported, &cause);
            }
            Input::Reach(input) => self.reach.heard(shared, input),
            Input::Elapsed => {}
        }
        self.settle();
    }

    /// Passes on the machines' signals, and does what is due.
    fn settle(&mut self) {
        self.pass_on();
        if self.deadline().is_some_and(|deadline| deadline <= self.shared.now) {
            self.links.step(&mut self.shared);
            self.reservations.step(&mut self.shared);
            self.punches.step(&mut self.shared);
            self.reach.step(&mut self.shared);
            self.pass_on();
        }
    }

    fn pass_on(&mut self) {
        while let Some(signal) = self.shared.next_signal() {
            let shared = &mut self.shared;
            match signal {
                Signal::RelayNeeded(relay) => self.links.reserve(shared, &relay),
                Signal::RelayNotNeeded(relay) => {
                    self.controls.not_needed(&relay);
                    self.links.unreserve(shared, &relay);
                }
                Signal::RelayLinked { relay, link } => {
                    self.reach.linked(shared, &relay, link);
                    self.controls.linked(shared, &relay, link);
                }
                Signal::RelayConnected(relay) => self.controls.ask(shared, &relay),
                Signal::RelayRefused { relay, cause } => self.reservations.lost(shared, &relay, &cause),
                Signal::RelayDraining { relay, until } => self.reservations.draining(&relay, until),
                Signal::RelayReady(relay) => {
                    let via = self.links.via(shared, &relay);
                    self.reservations.connected(shared, &relay, via);
                }
                Signal::RelayLost { relay, cause } => self.reservations.lost(shared, &relay, &cause),
                Signal::Neighbour { relay, peer } => self.punches.neighbour(relay, peer),
                Signal::RelaySilent { relay, link } => {
                    self.links.silent(&relay, link);
                    self.reservations.silent(shared, &relay);
                }
                Signal::RelayReleased(relay) => self.punches.unobserved(&relay),
                Signal::Observed { by, from, address } => self.punches.observed(shared, by, from, address),
                Signal::PunchWanted(circuit) => self.punches.punch_now(shared, circuit),
                Signal::Punched(circuit) => self.circuits.punched(shared, circuit),
            }
        }
    }

    fn connected(&mut self, id: ConnId, dial: Option<OperationId>, connection: Connection) {
        let shared = &mut self.shared;
        let Connection { peer, direction, path, remote, .. } = connection.clone();
        shared.report(NetworkEvent::Connected { peer, direction, path, remote });
        shared.connections.insert(id, connection);
        if let Some(dial) = dial {
            self.links.connected(id, dial);
        }
        self.circuits.connected(shared, id, dial);
        self.direct.connected(shared, id, dial);
        self.punches.connected(shared, id, dial);
        self.reach.connected(shared, id, dial);
    }

    fn disconnected(&mut self, id: ConnId, cause: Option<String>) {
        let shared = &mut self.shared;
        let Some(connection) = shared.connections.remove(id) else { return };
        let Connection { peer, path, .. } = &connection;
        self.probes.disconnected(id);
        self.reach.disconnected(id);
        self.controls.disconnected(shared, id);
        let is_direct = !path.is_relayed();
        shared.report(NetworkEvent::Disconnected { peer: peer.clone(), path: path.clone(), cause: cause.clone() });
        if is_direct {
            self.punches.direct_closed(shared, peer);
            self.links.disconnected(shared, id, &connection, cause);
        } else {
            self.punches.circuit_closed(id);
            self.circuits.disconnected(shared, peer);
        }
    }

    /// We can be reached through the relay at the addresses, one a family, at which we reached it
    /// ourselves, by the name that the settings give it. What the relay reports as its own
    /// addresses may be of no use: behind a one-to-one NAT it only sees private ones.
    fn granted(&mut self, request: OperationId) {
        let shared = &mut self.shared;
        let Some(relay) = self.reservations.granted(shared, request) else { return };
        for via in self.links.vias_by_name(shared, &relay) {
            let address = PeerAddress::Relayed(RelayAddress { relay: relay.clone(), via });
            let address = PeerLocator { peer: Some(shared.local.clone()), address };
            shared.report(NetworkEvent::Listening { address });
        }
    }

    fn set_punch(&mut self, punch: PunchConfig) {
        let shared = &mut self.shared;
        let before = std::mem::replace(&mut shared.punch, punch);
        if before.transports != shared.punch.transports {
            self.circuits.close_all(shared);
            self.links.link_all(shared);
        }
    }

    /// What is held, for tests: waiters, attempts, leases.
    #[cfg(test)]
    fn held(&self) -> usize {
        self.links.held()
            + self.circuits.held()
            + self.direct.held()
            + self.punches.held()
            + self.probes.held()
            + self.controls.held()
            + self.reach.held()
            + self.shared.punchable.len()
    }
}
