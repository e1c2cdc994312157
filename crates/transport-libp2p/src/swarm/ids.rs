//! Which id of the core is which of libp2p's.

use std::collections::HashMap;

use libp2p::{core::transport::ListenerId, swarm::ConnectionId};

use crate::core::{ConnId, OperationId};

#[derive(Debug, Default)]
pub(super) struct Ids {
    last: u64,
    connections: HashMap<ConnectionId, ConnId>,
    libp2p: HashMap<ConnId, ConnectionId>,
    /// Dials under way, by the connection that may come of each.
    dials: HashMap<ConnectionId, OperationId>,
    /// Listeners on circuits, by the reservation that each asks for.
    listeners: HashMap<ListenerId, OperationId>,
}

impl Ids {
    pub(super) fn connected(&mut self, connection: ConnectionId) -> ConnId {
        self.last += 1;
        let id = ConnId(self.last);
        self.connections.insert(connection, id);
        self.libp2p.insert(id, connection);
        id
    }

    pub(super) fn disconnected(&mut self, connection: ConnectionId) -> Option<ConnId> {
        let id = self.connections.remove(&connection)?;
        self.libp2p.remove(&id);
        Some(id)
    }

    pub(super) fn connection(&self, connection: ConnectionId) -> Option<ConnId> {
        self.connections.get(&connection).copied()
    }

    pub(super) fn libp2p(&self, id: ConnId) -> Option<ConnectionId> {
        self.libp2p.get(&id).copied()
    }

    pub(super) fn dialling(&mut self, connection: ConnectionId, dial: OperationId) {
        self.dials.insert(connection, dial);
    }

    /// The dial that this was, which is over now.
    pub(super) fn dialled(&mut self, connection: ConnectionId) -> Option<OperationId> {
        self.dials.remove(&connection)
    }

    pub(super) fn listening(&mut self, listener: ListenerId, request: OperationId) {
        self.listeners.insert(listener, request);
    }

    pub(super) fn request(&self, listener: ListenerId) -> Option<OperationId> {
        self.listeners.get(&listener).copied()
    }

    /// The request that this listener was for, which is over now.
    pub(super) fn listener_closed(&mut self, listener: ListenerId) -> Option<OperationId> {
        self.listeners.remove(&listener)
    }

    pub(super) fn listener(&self, request: OperationId) -> Option<ListenerId> {
        self.listeners.iter().find(|(_, asked)| **asked == request).map(|(listener, _)| *listener)
    }
}
