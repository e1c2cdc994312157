//! Which relays a node holds reservations at.
//!
//! [`RelayPool`] knows relays from several sources, scores them by how they have served, and
//! says at which to reserve and which to give back. It is pure: time and chance are
//! parameters. docs/decisions/0023-relay-pool.md has the rules and their reasons.
//!
//! | file | what it knows |
//! |---|---|
//! | `limits` | how many relays, how long, how often |
//! | `candidate` | a relay as a source tells of it |
//! | `relay` | what is known of one relay: its score, its state, its back-off |
//! | `table` | which relays are remembered, and which give way |
//! | `choice` | which relay takes a place |
//! | `relay_pool` | the pool: places, exchanges, what is to be done |
//! | `view` | the pool as people see it |

mod candidate;
mod choice;
mod limits;
mod relay;
mod relay_pool;
mod table;
#[cfg(test)]
mod tests;
mod view;

pub use candidate::{RelayCandidate, RelaySource};
pub use limits::PoolConfig;
pub use relay_pool::{PoolCause, PoolStep, RelayPool};
pub use view::{PoolState, PoolView, PooledRelay};
