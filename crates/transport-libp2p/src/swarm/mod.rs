//! The actor: one task that owns the swarm and joins the other modules to it.
//!
//! | file | job |
//! |---|---|
//! | `behaviour`, `boxed`, `build` | what the swarm is made of |
//! | `actor` | the loop; which file gets which event |
//! | `addressing` | which of our addresses are announced |
//! | `commands` | what handles ask of the actor |
//! | `connecting` | direct dials and circuits, and who waits for them |
//! | `relaying` | our connections to relays: met, identified, on which transports |
//! | `reserving` | carries the reservation machine's actions out |
//! | `punching` | carries punches out and judges them by connections |

mod actor;
mod addressing;
mod behaviour;
mod boxed;
mod build;
mod commands;
mod connecting;
mod punching;
mod relaying;
mod reserving;

pub(crate) use actor::Actor;
pub(crate) use addressing::Announcing;
pub(crate) use build::build;
pub(crate) use commands::{Command, Handle};
