//! Whether the relay serves: from its start on, or only while this node is reachable.

use std::time::Duration;

use libp2p::{PeerId, swarm::ConnectionId};

use super::{behaviour::Behaviour, drain::Drain, handler::FromBehaviour, load::RelayService, members::Members};
use crate::NetworkEvent;

/// Time that peers have for another path when the relay shuts.
const SHUTTING: Duration = Duration::from_secs(30);

impl Behaviour {
    /// Serves from now on, on the connections that are there too. A drain that the owner
    /// began is final.
    pub(crate) fn open(&mut self) {
        if self.drain.as_ref().is_some_and(|drain| !drain.shuts()) || self.service() == RelayService::Open {
            return;
        }
        self.drain = None;
        self.tell_handlers(true);
        self.report(NetworkEvent::Serving { state: RelayService::Open });
    }

    /// Takes nothing new from now on, and ends what is left after half a minute. It may
    /// open again, also before that.
    pub(crate) fn shut(&mut self) {
        if self.service() != RelayService::Open {
            return;
        }
        let now = self.refresh();
        self.drain = Some(Drain::to_shut(SHUTTING, now));
        self.members.drain(None, SHUTTING);
        self.report(NetworkEvent::Serving { state: RelayService::Draining });
    }

    pub(crate) fn service(&self) -> RelayService {
        match (self.is_open, &self.drain) {
            (false, _) => RelayService::Shut,
            (true, None) => RelayService::Open,
            (true, Some(_)) => RelayService::Draining,
        }
    }

    /// Goes on after a drain that is over; whether there was one.
    pub(super) fn finish_drain(&mut self) -> bool {
        let (now, (_, circuits)) = (self.clock.now(), self.table.counts());
        let is_over = self.drain.as_mut().is_some_and(|drain| drain.finish(circuits, now));
        if is_over && self.drain.as_ref().is_some_and(Drain::shuts) {
            self.drain = None;
            self.members = Members::default();
            let changes = self.table.revoke(|_, _| false, |_, _| false);
            self.apply(changes);
            self.tell_handlers(false);
            self.report(NetworkEvent::Serving { state: RelayService::Shut });
        }
        is_over
    }

    fn tell_handlers(&mut self, is_open: bool) {
        self.is_open = is_open;
        let connections: Vec<(ConnectionId, PeerId)> = self.table.connections().map(|(id, peer)| (id, *peer)).collect();
        for (connection, peer) in connections {
            self.notify(peer, connection, FromBehaviour::Serve(is_open));
        }
    }
}
