//! The actor: one task that owns the swarm and the core. It translates between them, and
//! decides nothing about peers.
//!
//! | file | job |
//! |---|---|
//! | `behaviour`, `boxed`, `build` | what the swarm is made of |
//! | `actor` | the loop |
//! | `commands` | what handles ask of the actor |
//! | `events` | tells the core what the swarm reports |
//! | `outputs` | does what the core puts out |
//! | `exchanging` | carries exchanges of candidates on |
//! | `ids` | which id of the core is which of libp2p's |
//! | `errors` | dial errors in the domain's terms |
//! | `announcing` | which of our addresses are announced |
//! | `round_trips` | round trips to the relays that we reserve at |
//! | `reaching` | carries checks of addresses on, ours and others' |
//! | `addressing` | tells the core and the swarm of addresses that are added and removed |

mod actor;
mod addressing;
mod announcing;
mod behaviour;
mod boxed;
mod build;
mod commands;
mod dial_backs;
mod errors;
mod events;
mod exchanging;
mod ids;
mod interfaces;
mod outputs;
mod reaching;
mod round_trips;

pub(crate) use actor::Actor;
pub(crate) use announcing::Announcing;
pub(crate) use build::build;
pub(crate) use commands::{Command, Handle, HealthReports, RelayServerCommand, With};
pub(crate) use round_trips::RoundTrips;
