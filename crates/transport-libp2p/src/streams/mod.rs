//! Streams that know their connection.
//!
//! libp2p-stream opens on a random connection of a peer and does not say which.
//! Here each stream is opened on a named connection, and inbound streams carry
//! theirs, so that "direct" is a fact and not a hope. On the wire it is the
//! same: multistream-select on the protocol name, then raw bytes.

mod behaviour;
mod handler;
mod upgrade;

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use kaspath_domain::{ConnectInfo, Direction, DuplexStream, Path, PathWatch, PeerLocator, synthetic_address};
use libp2p::{PeerId, Stream, StreamProtocol, swarm::ConnectionId};
use thiserror::Error;
use tokio::sync::oneshot;
use tokio_util::compat::FuturesAsyncReadCompatExt;

pub(crate) use behaviour::{Behaviour, Event};

use crate::convert;

/// What is known of a connection.
#[derive(Debug)]
pub(crate) struct ConnectionMeta {
    pub(crate) id: ConnectionId,
    pub(crate) peer: PeerId,
    /// Who dialled the connection.
    pub(crate) direction: Direction,
    pub(crate) remote: PeerLocator,
    path: PathWatch,
    /// Data streams that live or are being opened.
    users: AtomicUsize,
    /// What data streams moved, both ways.
    bytes: AtomicU64,
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
    fn moved(&self, bytes: usize) {
        self.0.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

impl Drop for ConnectionUse {
    fn drop(&mut self) {
        self.0.users.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A negotiated stream and its connection.
#[derive(Debug)]
pub(crate) struct OpenStream {
    pub(crate) stream: Stream,
    pub(crate) meta: Arc<ConnectionMeta>,
    pub(crate) connection_use: ConnectionUse,
}

impl OpenStream {
    /// The domain's stream. `direction` is who opened the stream, which need not
    /// be who dialled the connection.
    pub(crate) fn into_domain(self, direction: Direction) -> DuplexStream {
        let peer = convert::identity(&self.meta.peer);
        let info =
            ConnectInfo { synthetic: synthetic_address(&peer), peer: Some(peer), direction, remote: self.meta.remote.clone() };
        let path = self.meta.path.clone();
        DuplexStream::new(upgrade::UsedStream::new(self.stream.compat(), self.connection_use), info, path)
    }
}

/// Why a stream did not open.
#[derive(Debug, Error)]
pub(crate) enum OpenError {
    #[error("the connection is gone")]
    ConnectionGone,
    #[error("the peer speaks none of the offered protocols")]
    Unsupported,
    #[error("the peer did not answer the protocol negotiation in time")]
    Timeout,
    #[error("{0}")]
    Io(std::io::Error),
}

/// A protocol that nobody speaks; see [`Behaviour::open_data`].
const NONE_OF_THEM: StreamProtocol = StreamProtocol::new("/kaspath/none-of-them");

pub(crate) type OpenReply = oneshot::Sender<Result<OpenStream, OpenError>>;

/// What to open.
#[derive(Debug)]
pub(crate) struct OpenRequest {
    pub(crate) protocols: Vec<StreamProtocol>,
    pub(crate) reply: OpenReply,
}
