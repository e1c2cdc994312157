//! Connections, and who uses them.

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use kaspath_domain::{Direction, Path, PathWatch, PeerLocator};
use libp2p::{PeerId, swarm::ConnectionId};

/// What is known of a connection.
#[derive(Debug)]
pub(crate) struct ConnectionMeta {
    pub(crate) id: ConnectionId,
    pub(crate) peer: PeerId,
    /// Who dialled the connection.
    pub(crate) direction: Direction,
    pub(crate) remote: PeerLocator,
    pub(super) path: PathWatch,
    /// Data streams that live or are being opened.
    pub(super) users: AtomicUsize,
    /// What data streams moved, both ways.
    pub(super) bytes: AtomicU64,
}

impl ConnectionMeta {
    pub(crate) fn path(&self) -> Path {
        self.path.current()
    }

    /// Bytes that data streams moved, both ways.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Whether no data stream lives on it or is being opened.
    pub(crate) fn is_idle(&self) -> bool {
        self.users.load(Ordering::Acquire) == 0
    }
}

/// Counts one user of a connection for as long as it lives.
#[derive(Debug)]
pub(crate) struct ConnectionUse(Arc<ConnectionMeta>);

impl ConnectionUse {
    pub(crate) fn new(meta: &Arc<ConnectionMeta>) -> Self {
        meta.users.fetch_add(1, Ordering::AcqRel);
        Self(meta.clone())
    }

    /// It moved so many bytes.
    pub(super) fn moved(&self, bytes: usize) {
        self.0.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

impl Drop for ConnectionUse {
    fn drop(&mut self) {
        self.0.users.fetch_sub(1, Ordering::AcqRel);
    }
}
