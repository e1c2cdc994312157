//! Carries the reservation machine's actions out.

use libp2p::{PeerId, core::transport::ListenerId};
use rand::random;

use super::actor::Actor;
use crate::{NetworkEvent, ReservationState, convert, reservations::Action};

impl Actor {
    pub(super) fn step_reservations(&mut self) {
        let now = self.now();
        for action in self.reservations.step(now, random) {
            match action {
                Action::Meet(relay) => self.meet_for_reservation(relay),
                Action::Abandon { relay, cause, retry_in } => {
                    self.relaying.abandon_reservation(relay);
                    self.remove_circuit_listeners(relay);
                    self.report_reservation(relay, ReservationState::Lost { cause, retry_in });
                }
            }
        }
    }

    /// The relay is connected and identified: ask it.
    pub(super) fn on_relay_met(&mut self, relay: PeerId) {
        let now = self.now();
        if !self.reservations.met(relay, now) {
            return;
        }
        let Some(via) = self.relay_link_address(relay) else {
            return self.on_reservation_lost(relay, "the connection to it was lost".to_owned());
        };
        let circuit = convert::circuit(via, relay);
        match self.swarm.listen_on(circuit) {
            Ok(listener) => {
                self.circuit_listeners.insert(listener, relay);
                self.report_reservation(relay, ReservationState::Requested);
            }
            Err(error) => self.on_reservation_lost(relay, convert::error_chain(&error)),
        }
    }

    pub(super) fn on_reservation_accepted(&mut self, relay: PeerId, renewal: bool) {
        self.reservations.confirmed(relay);
        let state = if renewal { ReservationState::Renewed } else { ReservationState::Confirmed };
        self.report_reservation(relay, state);
    }

    pub(super) fn on_circuit_listener_closed(&mut self, listener: ListenerId, cause: String) {
        self.reachable_through.remove(&listener);
        if let Some(relay) = self.circuit_listeners.remove(&listener) {
            self.on_reservation_lost(relay, cause);
        }
    }

    /// Several events can tell of one loss; only the first counts.
    pub(super) fn on_reservation_lost(&mut self, relay: PeerId, cause: String) {
        let now = self.now();
        if let Some(retry_in) = self.reservations.lost(relay, now, random()) {
            self.remove_circuit_listeners(relay);
            self.report_reservation(relay, ReservationState::Lost { cause, retry_in });
        }
    }

    fn remove_circuit_listeners(&mut self, relay: PeerId) {
        let of_relay: Vec<_> =
            self.circuit_listeners.iter().filter(|(_, of)| **of == relay).map(|(listener, _)| *listener).collect();
        for listener in of_relay {
            self.circuit_listeners.remove(&listener);
            self.reachable_through.remove(&listener);
            self.swarm.remove_listener(listener);
        }
    }

    fn report_reservation(&self, relay: PeerId, state: ReservationState) {
        self.report(NetworkEvent::Reservation { relay: convert::identity(&relay), state });
    }
}
