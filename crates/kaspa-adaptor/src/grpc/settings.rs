use std::time::Duration;

use kaspath_domain::{ConnectInfo, PeerAddress, Transport};

use crate::wire::Budget;

/// Bytes of headers: Kaspa's own take a few hundred.
pub(super) const MAX_HEADERS: u32 = 8 << 10;
/// Streams of a connection that a peer may open and reset, or break, at once. It
/// needs a single stream; who does more of this is cut off by h2.
pub(super) const MAX_RESETS: usize = 8;

/// The flow-control windows of a connection and of its one stream, in bytes. They bound
/// what a peer's bytes may hold before anybody looks at them, and with 512 KiB a peer a
/// tenth of a second away still sends 5 MB/s, several times what Kaspa's blocks take.
pub(super) const WINDOW: u32 = 512 << 10;
/// The largest frame that we accept over a muxed stream (yamux, QUIC), in bytes: each
/// frame is a write and a wake-up of the layers beneath. A frame is held until it is
/// whole, so it counts like the windows.
pub(super) const MAX_FRAME: Option<u32> = Some(64 << 10);
/// Idle time before a ping.
pub(super) const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
/// Time for the ping's answer.
pub(super) const KEEPALIVE_TIMEOUT: Duration = crate::STANDSTILL;

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

/// The largest frame on a connection that we open. Only plain TCP proves no identity,
/// and there HTTP/2's own 16 KiB hold. A server cannot choose by connection and has
/// [`MAX_FRAME`] for all, which plain TCP peers accept as well.
pub(super) fn max_frame(info: &ConnectInfo) -> Option<u32> {
    let over_tcp = matches!(&info.remote.address, PeerAddress::Direct(to) if to.transport == Transport::Tcp);
    MAX_FRAME.filter(|_| info.peer.is_some() || !over_tcp)
}
