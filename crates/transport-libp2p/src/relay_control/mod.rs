//! Our own protocol between a node and its relay: a token for a private relay, and notice
//! of a drain. docs/relay-protocol.md specifies it.
//!
//! The node opens one stream on each connection to a relay that it uses, says hello, and
//! keeps it open. A relay that does not speak the protocol is used without it.

mod exchange;
mod token;
mod wire;

use libp2p::StreamProtocol;

#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub use wire::fuzz;

pub(crate) use exchange::{hello, join, serve};
pub use token::{RelayToken, RelayTokenError};
pub(crate) use wire::{Frame, Refusal};

pub(crate) const PROTOCOL: StreamProtocol = StreamProtocol::new("/kaspath/relay/1.0.0");
