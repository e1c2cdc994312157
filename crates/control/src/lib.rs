//! The control socket of a running node: a Unix domain socket that takes one JSON
//! request and gives one JSON answer per line. `docs/control.md` describes the
//! protocol.
//!
//! | file | what it does |
//! |---|---|
//! | `protocol` | requests and answers, and how a line becomes one: pure |
//! | `selector` | which peer a full or short peer id means: pure |
//! | `status` | what a node reports of itself |
//! | `socket` | the file: its permissions, a stale one, its removal |
//! | `server` | connections: how many, how long, how much |
//! | `client` | one program that asks |

#![warn(clippy::unwrap_used)]

mod client;
mod protocol;
mod selector;
mod server;
mod socket;
mod status;

pub use client::{AskError, Client};
pub use protocol::{Answer, MAX_ANSWER, MAX_REQUEST, ProtocolError, Request, VERSION, line, parse};
pub use selector::{PeerSelector, SelectorError};
pub use socket::{Socket, SocketError};
pub use status::{
    AddressStatus, CircuitStatus, DiscoveredStatus, Listed, MAX_RECENT, MAX_SHOWN, MappedStatus, MoveStatus, NatStatus,
    ObservedStatus, PeerStatus, PoolStatus, PunchStatus, RelayStatus, ReservationStatus, SearchStatus, Status, TrafficStatus,
};
