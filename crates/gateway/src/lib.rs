//! Streams between private peers and an unmodified kaspad.
//!
//! kaspad knows peers by IP address: bans, limits and duplicates all count by
//! it. So each remote peer has a loopback address of its own, always the same, which its
//! connections into kaspad come from. kaspad does not dial: a session that this node begins
//! joins two servers. Messages pass unread, with backpressure, and a close at one end
//! closes the other.
//!
//! | file | what it knows |
//! |---|---|
//! | `gateway`, `parts` | the gateway, and what it is made of |
//! | `shared` | what the parts share |
//! | `table` | which peer has which loopback address, and kaspad's bans: a view of the peer book |
//! | `sessions` | one session per peer, whoever began it |
//! | `rates` | how often a peer, a group and all together may begin a session, and peers never seen before |
//! | `refusals` | which refusals are reported |
//! | `activity` | what a session's own bytes show of it, for when a session must be evicted |
//! | `inbound` | a peer's stream into kaspad |
//! | `outbound` | sessions that this node begins |
//! | `bridge` | the peer's kaspad and ours, both of them servers, joined |
//! | `pump` | the bytes between a peer that calls and kaspad |
//! | `half_closed` | how long one end may outlast the other |
//! | `pipe` | one session, from its beginning to its end |
//! | `kaspad` | how kaspad is reached, and what is asked of its RPC, a port of this crate |

#![warn(clippy::unwrap_used)]

mod activity;
mod bridge;
mod events;
mod gateway;
mod half_closed;
mod inbound;
mod kaspad;
mod outbound;
mod parts;
mod pipe;
mod pump;
mod rates;
mod refusals;
mod sessions;
mod shared;
mod table;

pub use events::{CloseReason, GatewayEvent, RefusalReason};
pub use gateway::Gateway;
pub use kaspad::{Kaspad, KaspadError, KaspadPeer, KaspadSnapshot};
pub use outbound::KeptPeer;
pub use parts::GatewayParts;
pub use sessions::SessionInfo;
pub(crate) use table::Hold;
pub use table::{EarlierTable, TableError};

/// Parsers of files, for fuzzing.
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzz {
    pub use crate::table::fuzz_file as table;
}
