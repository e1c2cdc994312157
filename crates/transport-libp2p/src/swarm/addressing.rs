//! Addresses that listeners open and close: passed to the core, the swarm and observers.

use libp2p::{Multiaddr, core::transport::ListenerId};

use super::{actor::Actor, announcing::Change};
use crate::{NetworkEvent, NetworkFailure, convert, core::Input};

impl Actor {
    pub(super) fn on_listen_address(&mut self, listener: ListenerId, address: Multiaddr) {
        if let Some(request) = self.ids.request(listener) {
            return self.input(Input::ReservationGranted { request });
        }
        if convert::needs_scope(&address) {
            return;
        }
        if let Some(address) = convert::locator(&address, self.swarm.local_peer_id()) {
            self.report(NetworkEvent::Listening { address });
        }
        let change = self.announcing.appeared(listener, address);
        self.announce(change);
        self.tell_interfaces();
    }

    pub(super) fn on_listen_address_gone(&mut self, listener: ListenerId, address: Multiaddr) {
        let change = self.announcing.disappeared(listener, address);
        self.announce(change);
        self.tell_interfaces();
    }

    /// A listener has ended: a circuit's with its reservation, one of ours only when its
    /// socket fails.
    pub(super) fn on_listener_closed(&mut self, listener: ListenerId, addresses: &[Multiaddr], cause: String) {
        if self.announcing.is_listener(listener) {
            let address = addresses.first().map_or_else(|| "an address".to_owned(), ToString::to_string);
            self.end.get_or_insert(Err(NetworkFailure::Listener { address, cause }));
        } else if let Some(request) = self.ids.listener_closed(listener) {
            self.input(Input::ReservationEnded { request, cause });
        }
    }

    /// What is known of our interfaces, and where we listen on them.
    pub(super) fn tell_interfaces(&mut self) {
        let direct = self.swarm.listeners().filter(|address| !convert::is_relayed(address) && !convert::needs_scope(address));
        let listening = direct.filter_map(convert::transport_address).collect();
        let interfaces = self.interfaces.with(listening);
        self.own.send_replace(interfaces.ips());
        self.input(Input::Interfaces(interfaces));
    }

    pub(super) fn announce(&mut self, change: Change) {
        let local = *self.swarm.local_peer_id();
        for address in change.removed {
            self.swarm.remove_external_address(&address);
            if let Some(address) = convert::locator(&address, &local) {
                self.report(NetworkEvent::AnnouncementEnded { address });
            }
        }
        for address in change.added {
            self.swarm.add_external_address(address.clone());
            if let Some(address) = convert::locator(&address, &local) {
                self.report(NetworkEvent::Announced { address });
            }
        }
    }
}
