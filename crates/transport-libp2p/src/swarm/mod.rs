//! The actor: one task that owns the swarm and joins the other modules to it.
//!
//! | file | job |
//! |---|---|
//! | `behaviour`, `boxed`, `build` | what the swarm is made of |
//! | `actor` | the loop; which file gets which event |
//! | `addressing` | which of our addresses are announced |
//! | `commands` | what handles ask of the actor |
//! | `connecting` | direct dials and circuits, and who waits for them |
//! | `relays` | the table of relays, as a pure state machine |
//! | `relaying` | our connections to relays: met, identified, on which transports |
//! | `reserving` | carries the reservation machine's actions out |
//! | `punching` | which punches there are, judged by connections |
//! | `exchanging` | the exchanges of candidates, and what each step leads to |
//! | `punch_dials` | a punch's dials, within the budget |

mod actor;
mod addressing;
mod behaviour;
mod boxed;
mod build;
mod commands;
mod connecting;
mod exchanging;
mod punch_dials;
mod punching;
mod relaying;
mod relays;
mod reserving;

pub(crate) use actor::Actor;
pub(crate) use addressing::Announcing;
pub(crate) use build::build;
pub(crate) use commands::{Command, Handle};
