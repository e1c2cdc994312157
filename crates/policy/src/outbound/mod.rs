//! Which of the peers that others tell of are reached, and for how long.
//!
//! Whoever runs a relay can tell of any number of peers, all its own. So a discovered peer
//! counts for whoever told of it and whatever carries it (its [`Groups`]), and there is one
//! peer of a group at most, until others are used up. docs/simulation/eclipse.md derives
//! what that is worth.
//!
//! | file | what it has |
//! |---|---|
//! | `candidates` | who could be reached |
//! | `rule` | whom of them to reach, and whom to leave |
//! | `slots` | who is reached, and for which groups |
//! | `questions` | which relay is asked next |

mod candidates;
mod questions;
mod random;
mod rule;
mod slots;
#[cfg(test)]
pub(crate) mod tests;

pub use candidates::Discovered;
pub use questions::{Answer, Askable, Questions};
pub use rule::{Outbound, Step};
pub use slots::{Slot, SlotKind, SlotState};
