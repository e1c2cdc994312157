//! Over which transports and families a relay is linked.

use kaspath_domain::{Direction, PeerIdentity, Transport, TransportAddress};

use super::{
    Links, dial,
    relay::{is_ipv6, links_with},
};
use crate::core::shared::Shared;

impl Links {
    /// The transports that may be punched have changed: connects over them.
    pub(in crate::core) fn link_all(&mut self, shared: &mut Shared) {
        let connected: Vec<PeerIdentity> =
            self.relays.iter().filter(|(_, relay)| !relay.identified.is_empty()).map(|(id, _)| id.clone()).collect();
        connected.iter().for_each(|relay| self.link_missing(shared, relay));
    }

    /// Connects over transports that can be punched and are not linked yet, once
    /// the relay has reported its addresses.
    pub(super) fn link_missing(&mut self, shared: &mut Shared, relay: &PeerIdentity) {
        let Some(known) = self.relays.get_mut(relay).filter(|known| !known.identified.is_empty()) else { return };
        let links = links_with(shared, relay, known);
        let punched = [Transport::Tcp, Transport::Quic].into_iter().filter(|over| shared.punch.transports.contains(*over));
        let mut missing: Vec<TransportAddress> = punched.filter_map(|over| known.preferred(over, &shared.host)).collect();
        missing.retain(|address| !links.iter().any(|link| link.is_like(address)));
        let other = known.other_family(&shared.host).filter(|_| !links.iter().any(|link| link.ip.is_ipv6()));
        missing.extend(other.filter(|other| !missing.contains(other)));
        for address in missing {
            let is_like = |other: &TransportAddress| (other.transport, is_ipv6(other)) == (address.transport, is_ipv6(&address));
            if !known.dials.values().flatten().any(is_like) {
                dial(shared, relay, known, vec![address]);
            }
        }
    }

    /// An address of the relay at which we are connected, TCP before QUIC.
    pub(in crate::core) fn via(&self, shared: &Shared, relay: &PeerIdentity) -> Option<TransportAddress> {
        self.linked(shared, relay).into_iter().next()
    }

    /// The same, and one of the other family if we are connected there too, by the names that
    /// the settings give the relay, for others to dial.
    pub(in crate::core) fn vias_by_name(&self, shared: &Shared, relay: &PeerIdentity) -> Vec<TransportAddress> {
        let linked = self.linked(shared, relay);
        let Some((known, via)) = self.relays.get(relay).zip(linked.first()) else { return Vec::new() };
        let other = linked.iter().find(|address| is_ipv6(address) != is_ipv6(via));
        let mut vias: Vec<_> = [Some(via), other].into_iter().flatten().map(|via| known.addresses.by_name(via.clone())).collect();
        vias.dedup();
        vias
    }

    /// The addresses of the relay at which we are connected, TCP before QUIC.
    fn linked(&self, shared: &Shared, relay: &PeerIdentity) -> Vec<TransportAddress> {
        let Some(known) = self.relays.get(relay) else { return Vec::new() };
        let links = links_with(shared, relay, known);
        let mut linked = known.addresses.all();
        linked.retain(|address| links.iter().any(|link| link.is_at(address)));
        if linked.is_empty() {
            // It is known by other addresses now than the one that we dialled.
            let links = links.iter().filter_map(|link| shared.connections.get(link.id));
            let ours = links.filter(|link| link.direction == Direction::Outbound);
            linked = ours.filter_map(|link| link.remote.address.direct().cloned()).collect();
        }
        linked.sort_by_key(|address| address.transport);
        linked
    }
}
