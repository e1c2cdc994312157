use std::time::Duration;

use kaspath_domain::{ConnectInfo, PeerAddress, Transport};

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
    /// Straight over TCP, where kaspads meet: roomy windows for far peers, and
    /// otherwise what every HTTP/2 expects.
    pub fn tcp() -> Self {
        Self {
            stream_window: 4 << 20,
            connection_window: 8 << 20,
            max_frame: None,
            keepalive_interval: Duration::from_secs(30),
            keepalive_timeout: Duration::from_secs(10),
        }
    }

    /// Over a muxed stream (yamux, QUIC), which has windows of its own beneath:
    /// larger frames, and windows that are never the narrower ones.
    pub fn muxed() -> Self {
        Self { stream_window: 8 << 20, connection_window: 16 << 20, max_frame: Some(1 << 20), ..Self::tcp() }
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
