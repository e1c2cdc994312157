//! Checks whether a node can be reached, on the wire: AutoNAT v2 (libp2p
//! specs/autonat/autonat-v2.md), and our own protocol by which a relay has another node
//! dial. What decides is `core::reach`; docs/decisions/0021-own-autonat.md says why it is
//! our own.

mod autonat;
mod helper;

use libp2p::StreamProtocol;

pub(crate) use autonat::{Request, Response, ask, receive_request, respond, show_nonce, take_nonce};
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub use helper::fuzz;
pub(crate) use helper::{have_dialled, receive_wanted, send_done};

/// A node asks a relay to check an address.
pub(crate) const DIAL_REQUEST: StreamProtocol = StreamProtocol::new("/libp2p/autonat/2/dial-request");
/// Whoever has dialled that address shows the nonce there.
pub(crate) const DIAL_BACK: StreamProtocol = StreamProtocol::new("/libp2p/autonat/2/dial-back");
/// A relay asks one of its nodes to dial.
pub(crate) const HELP: StreamProtocol = StreamProtocol::new("/kaspath/dial-back/1.0.0");
