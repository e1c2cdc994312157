//! Streams between private peers and an unmodified kaspad.
//!
//! kaspad knows peers by IP address: bans, limits and duplicates all count by
//! it. So each remote peer has a loopback address of its own, always the same:
//! its connections into kaspad come from there, and kaspad reaches it by dialling
//! there. Bytes pass unread, with backpressure, and a close at one end closes the
//! other.
//!
//! | file | what it knows |
//! |---|---|
//! | `addresses` | which peer has which loopback address, on disk |
//! | `sessions` | one session per peer, whoever began it |
//! | `inbound` | a peer's stream into kaspad |
//! | `outbound` | kaspad's connection to a peer |

#![warn(clippy::unwrap_used)]

mod addresses;
mod events;
mod inbound;
mod outbound;
mod pipe;
mod sessions;

pub use addresses::{AddressTable, TableError};
pub use events::GatewayEvent;
pub use inbound::serve_inbound;
pub use outbound::{Reach, serve_outbound};
pub use sessions::Sessions;
