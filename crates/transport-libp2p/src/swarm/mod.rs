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
//! | `announcing` | which of our addresses are announced |
//! | `addressing` | tells the core and the swarm of addresses that come and go |

mod actor;
mod addressing;
mod announcing;
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
pub(crate) use announcing::Announcing;
pub(crate) use build::build;
pub(crate) use commands::{Command, Handle, HealthReports};
