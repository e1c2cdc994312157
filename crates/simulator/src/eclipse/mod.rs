//! An attacker with a share of the relays and of the identities, against the code by which a
//! node chooses relays and peers.
//!
//! | file | what it has |
//! |---|---|
//! | `config` | what is played |
//! | `world` | relays and peers, and what each relay names |
//! | `node` | one node: the pool, the questions and the group rule that nodes run |
//! | `bound` | what the group rule gives on paper |
//! | `play` | many nodes, and what came of them |

mod bound;
mod config;
mod node;
mod play;
mod world;

pub use bound::{Tellers, bound, longer};
pub use config::{Attack, EclipseConfig, Given, Grouping};
pub use play::{EclipseFigures, eclipse};
