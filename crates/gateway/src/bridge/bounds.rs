//! What an end of a bridge may take.

use std::time::Duration;

/// Bounds of one HTTP/2 connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Bytes of its body that the other end may send before we have passed them on.
    pub(super) window: u32,
    /// What small frames may cost beside their bytes before they have been passed on; one
    /// of less than 256 bytes counts as 256.
    pub(super) small_frames: usize,
}

/// To a peer, which may be 200 ms away: 5 MB/s then.
pub(super) const NETWORK: Bounds = Bounds { window: 1 << 20, small_frames: 512 << 10 };
/// To our own kaspad. It may have much to say to a peer that is without a path for 90 s.
pub(super) const LOCAL: Bounds = Bounds { window: 256 << 10, small_frames: 2 << 20 };

/// The longest frame that the other end may send.
pub(super) const FRAME: u32 = 64 << 10;
/// Bytes of all header fields of an answer, and of its trailers.
pub(super) const HEADERS: u32 = 8 << 10;
/// Bytes that wait to be sent on a connection.
pub(super) const SEND_BUFFER: usize = 64 << 10;
/// Bytes that are read from a connection at a time, and at most before the answer.
pub(super) const READ: usize = 64 << 10;
/// Errors in streams that are answered with a reset before the connection ends.
pub(super) const RESETS: usize = 8;

/// Time for the headers of the answer. kaspad's own client waits as long.
pub(super) const ANSWER: Duration = Duration::from_secs(10);
