//! The strategies, each a value of the same port.

mod adaptive;
mod balanced;
mod config;
mod fixed;
pub(crate) mod routes;

use std::sync::Arc;

pub use adaptive::Adaptive;
pub use balanced::Balanced;
pub use config::{StrategyConfig, StrategyName, Timing};
use fixed::Fixed;
use kaspath_domain::{PeerLocator, TransportPolicy, diverse_first};

impl StrategyConfig {
    /// The strategy.
    pub fn build(self) -> Arc<dyn TransportPolicy> {
        match self.name {
            StrategyName::Balanced => Arc::new(Balanced::new(self)),
            StrategyName::Adaptive => Arc::new(Adaptive::new(self)),
            _ => Arc::new(Fixed(self)),
        }
    }
}

/// Relays in an order in which the first ones lie in as many prefixes (/16, /32)
/// as there are: who holds reservations only at one owner's relays is connected only
/// to whomever that owner likes.
pub fn diverse_relays(mut relays: Vec<PeerLocator>) -> Vec<PeerLocator> {
    diverse_first(&mut relays, |relay| relay.address.direct()?.provider_block());
    relays
}
