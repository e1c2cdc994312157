//! The open connections.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use kaspath_domain::{Direction, Path, PeerIdentity, PeerLocator, Transport, TransportAddress, TransportSet};

/// Addresses kept of those that a remote says it listens on.
const MAX_LISTENS: usize = 8;

/// The id of an open connection. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ConnId(pub(crate) u64);

/// What the core knows of a connection.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    pub(crate) peer: PeerIdentity,
    /// Who dialled it.
    pub(crate) direction: Direction,
    /// How it travelled when it came up.
    pub(crate) path: Path,
    pub(crate) remote: PeerLocator,
    /// The address of ours at which the remote came in.
    pub(crate) local: Option<TransportAddress>,
}

impl Connection {
    pub(super) fn relay(&self) -> Option<&PeerIdentity> {
        match &self.path {
            Path::Relayed { relay, .. } => Some(relay),
            Path::Direct { .. } => None,
        }
    }

    /// Where a direct connection comes from or leads to; an address of IPv4 as such.
    pub(super) fn remote_ip(&self) -> Option<IpAddr> {
        self.remote.address.direct_ip()
    }

    pub(super) fn transport(&self) -> Option<Transport> {
        match self.path {
            Path::Direct { transport } => Some(transport),
            Path::Relayed { .. } => None,
        }
    }

    pub(super) fn is_our_circuit(&self) -> bool {
        self.direction == Direction::Outbound && self.path.is_relayed()
    }
}

/// What the remote of a direct connection reported by identify.
#[derive(Clone, Debug)]
pub(super) struct RemoteInfo {
    /// Where it listens.
    pub(super) listens: Vec<TransportAddress>,
    /// Where it sees us.
    pub(super) observed: Option<TransportAddress>,
}

#[derive(Debug, Default)]
pub(super) struct Connections {
    open: BTreeMap<ConnId, Connection>,
    /// Kept for each direct connection, for its remote may become a relay of ours later.
    info: BTreeMap<ConnId, RemoteInfo>,
    /// Those on which an answer is late. Nothing new is begun on them.
    suspects: BTreeSet<ConnId>,
}

impl Connections {
    /// Keeps what the remote reported if the connection is a direct one; returns its peer.
    pub(super) fn identified(&mut self, id: ConnId, mut info: RemoteInfo) -> Option<&PeerIdentity> {
        let connection = self.open.get(&id).filter(|connection| connection.relay().is_none())?;
        info.listens.truncate(MAX_LISTENS);
        self.info.insert(id, info);
        Some(&connection.peer)
    }

    /// What the remote reported on a direct connection.
    pub(super) fn info(&self, id: ConnId) -> Option<RemoteInfo> {
        self.info.get(&id).cloned()
    }

    pub(super) fn insert(&mut self, id: ConnId, connection: Connection) {
        self.open.insert(id, connection);
    }

    pub(super) fn remove(&mut self, id: ConnId) -> Option<Connection> {
        self.info.remove(&id);
        self.suspects.remove(&id);
        self.open.remove(&id)
    }

    /// Whether a connection is there, and its suspicion has changed.
    pub(super) fn set_suspect(&mut self, id: ConnId, is_suspect: bool) -> bool {
        self.open.contains_key(&id) && if is_suspect { self.suspects.insert(id) } else { self.suspects.remove(&id) }
    }

    pub(super) fn is_suspect(&self, id: ConnId) -> bool {
        self.suspects.contains(&id)
    }

    pub(super) fn get(&self, id: ConnId) -> Option<&Connection> {
        self.open.get(&id)
    }

    pub(super) fn with_peer<'a>(&'a self, peer: &'a PeerIdentity) -> impl Iterator<Item = (ConnId, &'a Connection)> {
        self.open.iter().filter(move |(_, connection)| connection.peer == *peer).map(|(id, connection)| (*id, connection))
    }

    /// The direct connections with a peer.
    pub(super) fn direct<'a>(&'a self, peer: &'a PeerIdentity) -> impl Iterator<Item = (ConnId, Transport)> + 'a {
        self.with_peer(peer).filter_map(|(id, connection)| Some((id, connection.transport()?)))
    }

    /// The best direct connection over one of `transports`: TCP before QUIC, then the oldest.
    pub(super) fn best_direct(&self, peer: &PeerIdentity, transports: TransportSet) -> Option<ConnId> {
        let usable = self.direct(peer).filter(|(id, transport)| transports.contains(*transport) && !self.is_suspect(*id));
        usable.min_by_key(|(id, transport)| (*transport, *id)).map(|(id, _)| id)
    }

    /// The circuits, and the relay of each.
    pub(super) fn circuits(&self) -> impl Iterator<Item = (ConnId, &PeerIdentity)> {
        self.open.iter().filter_map(|(id, connection)| Some((*id, connection.relay()?)))
    }

    /// The relays that circuits go through.
    pub(super) fn relays_in_use(&self) -> BTreeSet<PeerIdentity> {
        self.circuits().map(|(_, relay)| relay.clone()).collect()
    }
}
