//! How often: what holds for every strategy.

mod cooldown;
mod paced;
mod rate;

pub use cooldown::Cooldowns;
pub use paced::{PaceConfig, Paced};
pub use rate::AttemptRate;
