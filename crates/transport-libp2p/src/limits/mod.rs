//! Limits before work: which connections may be, by address, prefix, relay and kind.
//!
//! libp2p's own limits do not look at addresses, so one host could take all slots. Here each
//! connection takes room of its own kind, and of its address and prefix, from the
//! moment that it is accepted or dialled: [`Table`] decides without a clock and
//! without I/O, [`Behaviour`] asks it and closes what it evicts.
//!
//! | file | job |
//! |---|---|
//! | `config` | how much room there is, and how many file descriptors that takes |
//! | `origin` | the address, prefix or relay that a connection comes from |
//! | `entry` | what is known of a connection, and the room that it takes |
//! | `table` | which connections take which room, and who gives way |
//! | `refusal` | kinds of room, and why a connection is refused |
//! | `behaviour` | joins the table to libp2p |
//!
//! libp2p cannot end an inbound connection that is not through its handshake, it can
//! only refuse it when it is accepted. So a pending connection is never evicted, and
//! what one address or prefix may have pending is a small part of the whole.

mod behaviour;
mod config;
mod entry;
mod origin;
mod refusal;
mod table;

pub(crate) use behaviour::Behaviour;
pub use config::{ConnectionLimits, LimitFloor};
pub use refusal::RefusedConnections;
#[cfg(test)]
pub(crate) use refusal::Room;
pub(crate) use refusal::{Class, Refusal};
