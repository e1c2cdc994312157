//! Messages on the wire: gRPC frames in, bounded before they are decoded, and out.
//!
//! tonic's own codec has one limit for a whole stream, inflates and decodes up to
//! it before anybody can look, and prost turns two bytes of an empty entry into
//! forty. Here a message passes these gates, each before the work of the next:
//! its length, its inflated length, its kind, the memory that its decoded form
//! takes, and room in what the peer and all peers together may hold.

mod budget;
mod error;
mod frames;
mod incoming;
mod outgoing;
mod scan;
mod shape;

pub(crate) use budget::Budget;
use budget::Charge;
use error::WireError;
pub use incoming::Received;
pub(crate) use incoming::{Arrival, Incoming};
pub(crate) use outgoing::{Ended, Outgoing, queue};
pub(crate) use scan::memory_of;

/// Largest message before Ready, in bytes: inflated, and once more decoded.
pub(crate) const MAX_HANDSHAKE_MESSAGE: usize = 64 << 10;

/// The gRPC messages in a stream that arrives in pieces of `step` bytes.
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub fn fuzz_frames(bytes: &[u8], step: usize) {
    let mut frames = frames::Frames::new(true, Budget::default().peer().charge());
    for chunk in bytes.chunks(step.max(1)) {
        frames.push(chunk.to_vec().into());
        loop {
            match frames.next(MAX_HANDSHAKE_MESSAGE) {
                Ok(Some((message, _charge))) => assert!(message.len() <= MAX_HANDSHAKE_MESSAGE),
                Ok(None) => break,
                Err(_) => return,
            }
        }
    }
}

/// The memory that an encoded message may take once decoded; `None` if it is refused,
/// or not decoded at all.
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub fn fuzz_scan(bytes: &[u8]) -> Option<usize> {
    scan::scan(bytes, crate::MAX_MESSAGE_SIZE).ok().and_then(|scanned| scanned.kind.map(|_| scanned.memory))
}
