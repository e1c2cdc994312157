//! Connections, and who uses them.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use kaspath_domain::{Direction, Path, PathWatch, PeerLocator, TransportAddress};
use libp2p::{PeerId, swarm::ConnectionId};

/// What is known of a connection.
#[derive(Debug)]
pub(crate) struct ConnectionMeta {
    pub(crate) id: ConnectionId,
    pub(crate) peer: PeerId,
    /// Who dialled the connection.
    pub(crate) direction: Direction,
    pub(crate) remote: PeerLocator,
    /// The address of ours at which the remote came in, on a direct connection.
    pub(crate) local: Option<TransportAddress>,
    pub(super) path: PathWatch,
    pub(crate) traffic: Arc<Traffic>,
}

impl ConnectionMeta {
    pub(crate) fn path(&self) -> Path {
        self.path.current()
    }
}

/// How a connection is used.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    /// Each data stream that lives or is being opened has a clone.
    users: Arc<()>,
    bytes: AtomicU64,
}

impl Traffic {
    /// One more user, until it is dropped.
    pub(crate) fn user(&self) -> Arc<()> {
        self.users.clone()
    }

    /// Whether no data stream lives or is being opened.
    pub(crate) fn is_idle(&self) -> bool {
        Arc::strong_count(&self.users) == 1
    }

    /// A data stream moved these.
    pub(crate) fn moved(&self, bytes: &[u8]) {
        self.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
    }

    /// Bytes that data streams moved, both ways.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}
