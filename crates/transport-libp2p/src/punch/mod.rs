//! Hole punching by DCUtR: the exchange of candidates on the wire.
//!
//! This is an own implementation of libp2p's DCUtR (specs/relay/DCUtR.md),
//! compatible with others. Where it differs from the stock behaviour, and why:
//!
//! - candidates are read when a punch starts, not when the relayed connection
//!   came up, so that late observations count;
//! - for QUIC the initiator opens its NAT with random packets *before* it sends
//!   SYNC, so that the responder's first Initial already passes; the stock
//!   behaviour has both sides dial as clients and loses the first one;
//! - if no direct connection has come up soon after that, the initiator also
//!   dials plainly from a new port: behind a symmetric NAT its simultaneous-open
//!   packets arrive at the responder's listening socket, where both ends would wait as
//!   listeners for ever;
//! - a punch is judged by connections, and repeated by a cadence;
//! - what unanswered addresses are sent is bounded.
//!
//! What decides all this is `core::punches`.

pub(crate) mod exchange;
mod wire;

use libp2p::StreamProtocol;

/// DCUtR's protocol name.
pub(crate) const PROTOCOL: StreamProtocol = StreamProtocol::new("/libp2p/dcutr");

/// A peer's message of an exchange and the candidates in it, for fuzzing.
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub fn fuzz_exchange(bytes: &[u8]) {
    use futures::{FutureExt, io::Cursor};
    // A cursor never waits.
    let received = wire::receive(&mut Cursor::new(bytes)).now_or_never();
    if let Some(Ok(message)) = received {
        let offered = message.observed.iter().filter_map(|bytes| libp2p::Multiaddr::try_from(bytes.clone()).ok());
        for address in offered {
            let _ = crate::convert::transport_address(&address);
            let _ = crate::convert::is_relayed(&address);
        }
    }
}
