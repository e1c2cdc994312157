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
pub use fixed::{Fixed, Only};
use kaspath_domain::{IpPrefix, PeerAddress, PeerLocator, TransportPolicy};

impl StrategyConfig {
    /// The strategy.
    pub fn build(self) -> Arc<dyn TransportPolicy> {
        let only = match self.name {
            StrategyName::Balanced => return Arc::new(Balanced::new(self)),
            StrategyName::TcpOnly => Only::Tcp,
            StrategyName::QuicOnly => Only::Quic,
            StrategyName::RelayOnly => Only::Relay,
            StrategyName::DirectOnly => Only::Direct,
            StrategyName::DirectFirst => Only::DirectFirst,
            StrategyName::QuicFirst => Only::QuicFirst,
            StrategyName::Adaptive => return Arc::new(Adaptive::new(self)),
        };
        Arc::new(Fixed::new(only, self))
    }
}

/// Relays in an order in which the first ones lie in as many prefixes (/16, /48)
/// as there are: who holds reservations at one owner's relays alone meets whom
/// that owner lets it meet.
pub fn diverse_relays(mut relays: Vec<PeerLocator>) -> Vec<PeerLocator> {
    routes::diverse_first(&mut relays, |relay| match &relay.address {
        PeerAddress::Direct(address) => address.socket_addr().map(|socket| IpPrefix::of(socket.ip())),
        PeerAddress::Relayed(_) => None,
    });
    relays
}
