//! A circuit relay v2 server (libp2p specs/relay/circuit-v2.md), with what libp2p's
//! lacks: caps for each address, an end for idle circuits, counted bytes.
//! docs/decisions/0013-own-relay-server.md says why.
//!
//! `table` decides, `behaviour` carries out; `exchange` and `copy` speak with peers, as
//! tasks beside the swarm.

mod behaviour;
mod copy;
mod denial;
mod exchange;
mod handler;
mod messages;
mod meter;
mod origin;
mod table;
mod tasks;

pub(crate) use behaviour::Behaviour;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub use exchange::fuzz;
