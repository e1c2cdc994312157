//! A punch's dials, within the budget.

use kaspath_domain::{Slot, Transport, TransportAddress};

use super::{
    Punches,
    budget::{Key, Kind},
};
use crate::core::{
    connections::ConnId,
    io::{DialKind, Output},
    shared::Shared,
};

impl Punches {
    /// TCP: simultaneous open from our listening port. QUIC: random packets from
    /// our listening socket, until the peer comes in through the hole they make.
    pub(super) fn dial_as_listener(&mut self, shared: &mut Shared, id: ConnId, over: Transport) {
        let Some(addresses) = self.their_addresses(id, over) else { return };
        let (kind, per_dial) = match over {
            // Simultaneous open: all at once, the first to come up wins.
            Transport::Tcp => (Kind::Handshake(over), vec![addresses]),
            // Random packets go to one address a dial.
            Transport::Quic => (Kind::Opening, addresses.into_iter().map(|address| vec![address]).collect()),
        };
        for addresses in per_dial {
            self.dial(shared, id, kind, addresses, DialKind::PunchAsListener(over));
        }
    }

    /// Dials as a dialer: what the responder does at SYNC, and the initiator
    /// when nothing came of it. The latter takes a new TCP port, for the old one
    /// is busy with the simultaneous open; QUIC's socket can do both.
    pub(super) fn dial_plainly(&mut self, shared: &mut Shared, id: ConnId, over: Transport, new_port: bool) {
        let Some(addresses) = self.their_addresses(id, over) else { return };
        let new_port = new_port && over == Transport::Tcp;
        self.dial(shared, id, Kind::Handshake(over), addresses, DialKind::PunchAsDialer { new_port });
    }

    fn their_addresses(&self, id: ConnId, over: Transport) -> Option<Vec<TransportAddress>> {
        let theirs = &self.punches.get(&id)?.theirs;
        let addresses: Vec<_> = theirs.iter().filter(|address| address.transport == over).cloned().collect();
        (!addresses.is_empty()).then_some(addresses)
    }

    fn dial(&mut self, shared: &mut Shared, id: ConnId, kind: Kind, addresses: Vec<TransportAddress>, how: DialKind) {
        let Some(punch) = self.punches.get_mut(&id) else { return };
        let asked = addresses.len();
        let afforded: Option<(Slot<Key>, Vec<_>)> =
            self.budget.dial(&punch.party, kind, addresses, TransportAddress::ip, shared.now);
        let allowed = afforded.as_ref().map_or(0, |(_, allowed)| allowed.len());
        punch.attempt.dial(allowed > 0, allowed == asked);
        if let Some((slot, addresses)) = afforded {
            let dial = shared.operation();
            self.dials.insert(dial, slot);
            shared.put(Output::Dial { dial, peer: punch.party.peer.clone(), addresses, kind: how });
        }
    }
}
