//! Streams that know their connection.
//!
//! libp2p-stream opens on a random connection of a peer and does not say which.
//! Here each stream is opened on a named connection, and inbound streams carry
//! theirs, so that "direct" is a fact and not a hope. On the wire it is the
//! same: multistream-select on the protocol name, then raw bytes.

mod behaviour;
mod connection;
mod handler;
mod upgrade;

use std::sync::Arc;

use kaspath_domain::{ConnectInfo, Direction, DuplexStream, PathHealth, synthetic_address};
use libp2p::{Stream, StreamProtocol, swarm::ConnectionId};
use thiserror::Error;
use tokio::sync::oneshot;
use tokio_util::{
    compat::FuturesAsyncReadCompatExt,
    io::{InspectReader, InspectWriter},
};

pub(crate) use behaviour::{Behaviour, Event};
pub(crate) use connection::{ConnectionMeta, Traffic};

pub(crate) use self::upgrade::AnyOf;
use self::upgrade::Lazy;
use crate::{convert, discovery::GOSSIP};

/// A negotiated stream and its connection.
#[derive(Debug)]
pub(crate) struct OpenStream {
    pub(crate) stream: Stream,
    pub(crate) meta: Arc<ConnectionMeta>,
    /// A user of the connection as long as it lives: see [`Traffic`].
    pub(crate) user: Arc<()>,
    /// It is for the session protocol.
    pub(crate) for_session: bool,
}

/// What data streams speak.
#[derive(Clone, Debug, Default)]
pub(crate) struct DataProtocols {
    /// The preferred first.
    pub(crate) plain: Vec<StreamProtocol>,
    pub(crate) session: Option<StreamProtocol>,
}

impl OpenStream {
    /// The domain's stream. `direction` is who opened the stream, which need not
    /// be who dialled the connection. `health` makes what a session reports its path to.
    pub(crate) fn into_domain(
        self,
        direction: Direction,
        health: impl FnOnce(ConnectionId) -> Arc<dyn PathHealth>,
    ) -> DuplexStream {
        let peer = convert::identity(&self.meta.peer);
        let info =
            ConnectInfo { synthetic: synthetic_address(&peer), peer: Some(peer), direction, remote: self.meta.remote.clone() };
        let (read, written) = (self.meta.traffic.clone(), self.meta.traffic.clone());
        let stream = InspectReader::new(Lazy(self.stream.compat()), move |bytes: &[u8]| read.moved(bytes));
        let stream = InspectWriter::new(stream, move |bytes: &[u8]| written.moved(bytes));
        let stream = DuplexStream::new(stream, info, self.meta.path.clone()).holding(self.user);
        if self.for_session { stream.for_session(health(self.meta.id)) } else { stream }
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
