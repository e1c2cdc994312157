//! How often: what holds for every strategy.

mod cooldown;
mod paced;

pub use cooldown::Cooldowns;
pub use paced::{PaceConfig, Paced};
