//! What is known of one relay, and who waits for it. Decides; does not act.

use std::collections::{BTreeMap, BTreeSet};

use kaspath_domain::{Moment, Transport, TransportSet};

use super::addresses::Addresses;
use crate::core::{
    connections::ConnId,
    io::{OperationId, WaiterId},
};

/// Dials that wait for one relay.
pub(super) const MAX_WAITERS: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Waiter {
    Caller(WaiterId),
    /// At most one a relay.
    Reservation,
}

#[derive(Debug, Default)]
pub(super) struct Relay {
    pub(super) addresses: Addresses,
    /// Links on which the relay has reported where it sees us.
    pub(super) identified: BTreeSet<ConnId>,
    /// Dials of links under way.
    pub(super) dials: BTreeMap<OperationId, TransportSet>,
    /// Its names are being looked up.
    pub(super) lookup: Option<OperationId>,
    /// Transports whose dial failed since somebody last asked for the relay.
    pub(super) failed: Vec<Transport>,
    /// When waiting for the second link ends.
    pub(super) grace: Option<Moment>,
    pub(super) waiters: Vec<(TransportSet, Waiter)>,
    /// A reservation is held there or asked for.
    pub(super) reserved: bool,
    /// Its links are kept though nothing uses them.
    pub(super) leased: bool,
    pub(super) used: Moment,
}

impl Relay {
    pub(super) fn is_configured(&self) -> bool {
        self.addresses.is_configured()
    }

    /// A link is being made, or somebody waits for one.
    pub(super) fn is_linking(&self) -> bool {
        self.lookup.is_some() || !self.dials.is_empty()
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

    /// Takes those out whose wait is over, given the open links.
    pub(super) fn take_served(&mut self, links: &[(ConnId, Transport)], now: Moment) -> Vec<Waiter> {
        if self.identified.is_empty() {
            return Vec::new();
        }
        let addresses = self.addresses.all();
        let may_wait = self.grace.is_some_and(|grace| now < grace);
        let linked = |transport| links.iter().any(|(id, over)| *over == transport && self.identified.contains(id));
        let hopeless = |transport: Transport| {
            self.failed.contains(&transport) || !addresses.iter().any(|address| address.transport == transport)
        };
        let served = |wanted: TransportSet| {
            let missing = [Transport::Tcp, Transport::Quic]
                .into_iter()
                .any(|transport| wanted.contains(transport) && !linked(transport) && !hopeless(transport));
            !missing || !may_wait
        };
        let waiters = std::mem::take(&mut self.waiters);
        let (served, waiting): (Vec<_>, Vec<_>) = waiters.into_iter().partition(|(wanted, _)| served(*wanted));
        self.waiters = waiting;
        served.into_iter().map(|(_, waiter)| waiter).collect()
    }
}
