//! A punch's dials, within the budget.

use std::net::IpAddr;

use kaspath_domain::Transport;
use libp2p::{
    Multiaddr, PeerId,
    core::transport::PortUse,
    swarm::{
        ConnectionId,
        dial_opts::{DialOpts, PeerCondition},
    },
};

use super::{actor::Actor, connecting::Purpose};
use crate::{
    convert,
    punch::budget::{Kind, Lease},
};

impl Actor {
    /// The addresses of our interfaces, as far as we listen on them.
    pub(super) fn own_addresses(&self) -> Vec<IpAddr> {
        self.swarm.listeners().filter(|address| !convert::is_relayed(address)).filter_map(convert::ip).collect()
    }

    fn their_addresses(&self, connection: ConnectionId, over: Transport) -> Option<(PeerId, Vec<Multiaddr>)> {
        let punch = self.punching.punches.get(&connection)?;
        let addresses: Vec<_> =
            punch.theirs.iter().filter(|address| convert::transport(address) == Some(over)).cloned().collect();
        (!addresses.is_empty()).then_some((punch.party.peer, addresses))
    }

    /// TCP: simultaneous open from our listening port. QUIC: random packets from
    /// our listening socket, until the peer comes in through the hole they make.
    pub(super) fn dial_as_listener(&mut self, connection: ConnectionId, over: Transport) {
        let Some((peer, addresses)) = self.their_addresses(connection, over) else { return };
        let (kind, per_dial) = match over {
            // Simultaneous open: all at once, the first that stands wins.
            Transport::Tcp => (Kind::Handshake(over), vec![addresses]),
            // libp2p-quic waits per address, so each gets a dial.
            Transport::Quic => (Kind::Opening, addresses.into_iter().map(|address| vec![address]).collect()),
        };
        for addresses in per_dial {
            let Some((lease, addresses)) = self.afford(connection, kind, addresses) else { continue };
            let opts = DialOpts::peer_id(peer).condition(PeerCondition::Always).addresses(addresses).override_role();
            // On libp2p-quic "new port" in the listener's role means: send random packets from the listening socket.
            let opts = if over == Transport::Quic { opts.allocate_new_port() } else { opts };
            self.dial(opts.build(), Purpose::Punch { _lease: lease });
        }
    }

    /// Dials as a dialer: what the responder does at SYNC, and the initiator
    /// when nothing came of it. The latter takes a new TCP port, for the old one
    /// is busy with the simultaneous open; QUIC's socket can do both.
    pub(super) fn dial_plainly(&mut self, connection: ConnectionId, over: Transport, port: PortUse) {
        let Some((peer, addresses)) = self.their_addresses(connection, over) else { return };
        let Some((lease, addresses)) = self.afford(connection, Kind::Handshake(over), addresses) else { return };
        let opts = DialOpts::peer_id(peer).condition(PeerCondition::Always).addresses(addresses);
        let opts = if port == PortUse::New && over == Transport::Tcp { opts.allocate_new_port() } else { opts };
        self.dial(opts.build(), Purpose::Punch { _lease: lease });
    }

    /// A place for one dial of that punch, and those of the addresses that it may go to.
    fn afford(&mut self, connection: ConnectionId, kind: Kind, addresses: Vec<Multiaddr>) -> Option<(Lease, Vec<Multiaddr>)> {
        let now = self.now();
        let punch = self.punching.punches.get_mut(&connection)?;
        let asked = addresses.len();
        let afforded = self.punching.budget.dial(&punch.party, kind, addresses, convert::ip, now);
        punch.limited |= afforded.as_ref().is_none_or(|(_, allowed)| allowed.len() < asked);
        punch.dials += usize::from(afforded.is_some());
        afforded
    }
}
