//! Policies over a population of NATs, in virtual time.
//!
//! The policy is the very one that a node runs: it is asked for plans and notified of
//! outcomes through its port, and its plans are run by the executor's race and dial
//! limits. Only what the network does is made up, from shares
//! and times that were measured; [`Population`] names them. No clock, no I/O, and
//! the same seed gives the same run.
//!
//! | file | what it knows |
//! |---|---|
//! | `population` | who is behind which NAT, how far apart |
//! | `world` | how one attempt between two such peers ends, and when |
//! | `race` | a plan run in virtual time |
//! | `run` | nodes that dial peers, one after the other |
//! | `report` | the figures as a table and as a plot |
//! | `eclipse` | an attacker among relays and peers, against how a node chooses them |

#![warn(clippy::unwrap_used)]

mod eclipse;
mod population;
mod race;
mod report;
mod run;
mod world;

pub use eclipse::{Attack, EclipseConfig, EclipseFigures, Given, Grouping, Tellers, bound, eclipse, longer};
pub use population::{Nat, Population, Shares};
pub use report::{plot, table};
pub use run::{Figures, Percentiles, SimulationConfig, simulate};
