//! What an owner changes while the relay runs, and what there is.

use std::hash::Hash;

use kaspath_domain::Moment;

use super::{Changes, Origin, Table, host_rates, peer_rates};
use crate::{CircuitEnd, RelayServerConfig};

impl<P: Clone + Eq + Hash, C: Copy + Eq + Hash> Table<P, C> {
    /// Other limits from now on. What is there stays, also over the new caps; circuits that
    /// have lasted for longer than the new durations end with the next [`Table::expire`].
    pub(in super::super) fn set(&mut self, config: RelayServerConfig, now: Moment) {
        let paces = |config: &RelayServerConfig| {
            let bursts = [
                config.reservations_per_peer_burst,
                config.reservations_per_ip_burst,
                config.circuits_per_peer_burst,
                config.circuits_per_ip_burst,
            ];
            (bursts, config.refill, config.reservation_duration)
        };
        if paces(&config) != paces(&self.config) {
            [self.reserving_peers, self.connecting_peers, self.known_peers] = peer_rates(&config);
            [self.reserving_hosts, self.connecting_hosts] = host_rates(&config);
        }
        self.config = config;
        self.ends_at(now);
    }

    /// Takes reservations and circuits from those who may not have them any more.
    pub(in super::super) fn revoke(
        &mut self,
        may_reserve: impl Fn(&P, &Origin) -> bool,
        may_connect: impl Fn(&P, &Origin) -> bool,
    ) -> Changes<P, C> {
        let (mut reservations, mut released) = (Vec::new(), Vec::new());
        self.reservations.retain(|peer, links| {
            let revoked = links.extract_if(.., |link| !may_reserve(peer, &link.origin));
            released.extend(revoked.map(|link| (peer.clone(), link.connection)));
            if links.is_empty() {
                reservations.push(peer.clone());
            }
            !links.is_empty()
        });
        let circuits = self.end_circuits(|circuit| {
            let may =
                may_connect(&circuit.source, &circuit.origin) && may_reserve(&circuit.destination, &circuit.destination_origin);
            (!may).then_some(CircuitEnd::NotAllowed)
        });
        Changes { reservations, released, circuits }
    }

    /// Whether the peer has a reservation.
    pub(in super::super) fn has_reservation(&self, peer: &P, now: Moment) -> bool {
        self.links(peer, now).next().is_some()
    }

    pub(in super::super) fn is_connected(&self, connection: C) -> bool {
        self.connections.contains_key(&connection)
    }

    /// Peers with a reservation, and circuits, those included that are being made.
    pub(in super::super) fn counts(&self) -> (usize, usize) {
        (self.reservations.len(), self.circuits.len())
    }
}
