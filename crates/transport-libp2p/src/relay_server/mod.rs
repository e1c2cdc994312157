//! A circuit relay v2 server (libp2p specs/relay/circuit-v2.md), with what libp2p's
//! lacks: caps for each address, an end for idle circuits, counted bytes, rates and quotas,
//! access lists, tokens, and a drain.
//! docs/decisions/0013-own-relay-server.md says why.
//!
//! `table` decides who gets what, `budget` how much may be sent, `access` and `members` who
//! may come; `behaviour` carries out, with `serving` for requests, `control` for what the
//! owner changes, `checking` for nodes that want to know whether they can be reached, and `service`
//! for whether it serves at all; `rendezvous` lists peers for others; `exchange` and `copy` speak
//! with peers, as tasks beside the swarm.

mod access;
mod behaviour;
mod budget;
mod checking;
mod checks;
mod config;
mod control;
mod copy;
mod denial;
mod drain;
mod exchange;
mod flow;
mod handler;
mod load;
mod members;
mod messages;
mod meter;
mod origin;
mod rendezvous;
mod service;
mod serving;
mod table;
mod tasks;

pub use access::{RelayAccess, RelayPeers};
pub(crate) use behaviour::Behaviour;
pub use config::RelayServerConfig;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub use exchange::fuzz;
pub use load::{RelayLoad, RelayQuotaUse, RelayRefusals, RelayServerError, RelayService};
