//! The actor: one task that owns the swarm and the core. It translates between them, and
//! decides nothing about peers.
//!
//! | file | job |
//! |---|---|
//! | `behaviour`, `boxed`, `build` | what the swarm is made of |
//! | `actor` | the loop |
//! | `commands` | what handles ask of the actor |
//! | `events` | tells the core what the swarm reports |
//! | `outputs` | does what the core says |
//! | `exchanging` | carries exchanges of candidates on |
//! | `ids` | which id of the core's stands for which of libp2p's |
//! | `errors` | the telling part of dial errors |
//! | `addressing` | which of our addresses are announced |

mod actor;
mod addressing;
mod behaviour;
mod boxed;
mod build;
mod commands;
mod errors;
mod events;
mod exchanging;
mod ids;
mod outputs;

pub(crate) use actor::Actor;
pub(crate) use addressing::Announcing;
pub(crate) use build::build;
pub(crate) use commands::{Command, Handle};
