//! Sessions: byte streams between two peers that continue when their path changes.
//!
//! [`Sessions`] is a [`PeerConnector`](kaspath_domain::PeerConnector) whose streams are
//! sessions, and makes a [`StreamListener`](kaspath_domain::StreamListener) of them. A
//! session numbers its bytes, keeps them until the peer has them, and goes on with them on
//! whatever path is up. `docs/session-protocol.md` says what is on the wire.
//!
//! What is decided is in `machine`, which does no I/O and reads no clock; `driver` polls
//! the streams of one session and dials for it.

mod budget;
mod cell;
mod driver;
mod events;
#[cfg(feature = "fuzzing")]
pub mod fuzz;
mod io;
mod machine;
mod paths;
mod plain;
mod refuse;
mod sessions;
mod table;
mod timer;
mod wire;

pub use events::{MoveKind, SessionEvent};
pub use machine::{SessionEnd, SessionStats, Violation};
pub use paths::SessionPaths;
pub use sessions::{SessionLimits, Sessions};
