//! Sessions: one peer's router and handshake, and the hub of all.

mod handshake;
mod hub;
mod key;
mod peer;
mod pending;
mod router;

pub(crate) use handshake::{Handshake, Terms};
pub use hub::Hub;
pub(crate) use hub::{Admit, HubSlot};
pub use key::PeerKey;
pub use peer::Peer;
pub(crate) use pending::{Pending, PendingSlot};
pub use router::{Route, Router};
