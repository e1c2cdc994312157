//! What is known of a connection when its stream is handed over.

use std::{fmt, net::SocketAddr};

use serde::{Deserialize, Serialize};

use crate::{PeerIdentity, PeerLocator};

/// Who opened the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// The peer.
    Inbound,
    /// We.
    Outbound,
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Direction::Inbound => "inbound",
            Direction::Outbound => "outbound",
        })
    }
}

/// What is known of a connection. Its path, which can change, is watched on
/// the stream itself ([`crate::DuplexStream::path`]).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConnectInfo {
    /// The proven identity; `None` on plain TCP, which proves none.
    pub peer: Option<PeerIdentity>,
    /// Who opened the stream.
    pub direction: Direction,
    /// Where the peer was when the stream opened.
    pub remote: PeerLocator,
    /// A socket address that stands for the peer wherever code wants one. It
    /// depends only on the identity, never on the path, so that a peer cannot
    /// hold two slots by coming over two paths. On plain TCP it is the real one.
    pub synthetic: SocketAddr,
}

impl fmt::Display for ConnectInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.peer {
            Some(peer) => write!(f, "{} peer {}", self.direction, peer.short()),
            None => write!(f, "{} peer {}", self.direction, self.synthetic),
        }
    }
}
