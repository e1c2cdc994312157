use std::time::Duration;

use kaspath_domain::{ConnectInfo, PeerAddress, Transport};

use crate::wire::Budget;

/// Bytes of headers: Kaspa's own take a few hundred.
pub(super) const MAX_HEADERS: u32 = 8 << 10;
/// Streams of a connection that a peer may open and reset, or break, at once. It
/// needs a single stream; who does more of this is cut off by h2.
pub(super) const MAX_RESETS: usize = 8;

/// What limits sessions.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    /// Messages that may wait to be sent to one peer.
    pub(crate) outgoing_queue: usize,
    /// Largest message after Ready, in decoded bytes.
    pub(crate) max_message: usize,
    /// The memory that all sessions share.
    pub(crate) budget: Budget,
}

/// HTTP/2's windows, frames and keepalive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct H2Settings {
    /// Flow-control window of one stream, in bytes.
    pub stream_window: u32,
    /// Flow-control window of the connection, in bytes.
    pub connection_window: u32,
    /// Largest frame that we accept, in bytes; `None` is HTTP/2's 16 KiB.
    pub max_frame: Option<u32>,
    /// Idle time before a ping.
    pub keepalive_interval: Duration,
    /// Time for the ping's answer.
    pub keepalive_timeout: Duration,
}

impl H2Settings {
    /// Straight over TCP, where kaspads meet. The windows bound what a peer's bytes
    /// may hold before anybody looks at them, and with 512 KiB a peer a tenth of a
    /// second away still sends 5 MB/s, several times what Kaspa's blocks take.
    pub fn tcp() -> Self {
        Self {
            stream_window: 512 << 10,
            connection_window: 512 << 10,
            max_frame: None,
            keepalive_interval: Duration::from_secs(30),
            keepalive_timeout: Duration::from_secs(10),
        }
    }

    /// Over a muxed stream (yamux, QUIC): larger frames, for each of them is a
    /// write and a wake-up of the layers beneath. A frame is held until it is
    /// whole, so it counts like the windows.
    pub fn muxed() -> Self {
        Self { max_frame: Some(64 << 10), ..Self::tcp() }
    }

    /// What fits a connection that we open: only plain TCP proves no identity. A
    /// server cannot choose per connection and uses the muxed ones, which plain
    /// TCP peers take as well.
    pub fn for_connection(info: &ConnectInfo) -> Self {
        let plain =
            info.peer.is_none() && matches!(&info.remote.address, PeerAddress::Direct(to) if to.transport == Transport::Tcp);
        if plain { Self::tcp() } else { Self::muxed() }
    }
}
