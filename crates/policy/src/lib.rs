//! How peers are reached: strategies decide, the executor does.
//!
//! A strategy is a [`TransportPolicy`](kaspath_domain::TransportPolicy): pure,
//! with time as a parameter. A [`Race`] is a plan being run, pure too. The [`Executor`]
//! is the async shell that runs races over
//! [`StreamDialer`](kaspath_domain::StreamDialer)s: a
//! [`PeerConnector`](kaspath_domain::PeerConnector), which [`RateLimited`] keeps from
//! dialling too often. A [`Keeper`] keeps a session with a peer.
//!
//! ```
//! use kaspath_domain::{PlanRequest, Moment, TransportPolicy};
//! use kaspath_policy::{StrategyConfig, StrategyName};
//!
//! let strategy = StrategyConfig::new(StrategyName::Balanced).build();
//! let request = PlanRequest { addresses: vec!["203.0.113.7:16111".parse().unwrap()], ..PlanRequest::default() };
//! let plan = strategy.plan(&request, Moment::default()).unwrap();
//! assert_eq!(plan.stages[0].attempts.len(), 1);
//! ```

#![warn(clippy::unwrap_used)]

mod directory;
mod executor;
mod inbound;
mod keeper;
mod limits;
mod mapping;
mod outbound;
mod pool;
mod race;
mod session_executor;
mod strategy;

pub use directory::{Directory, Listing, Listings};
pub use executor::Executor;
pub use inbound::InboundLimits;
pub use keeper::{Keeper, KeeperEvent};
pub use limits::{DialLimits, DialLimitsConfig, RateLimited, SharedLimits};
pub use mapping::MappingObserver;
pub use outbound::{Answer, Askable, Discovered, Outbound, Questions, Slot, SlotKind, SlotState, Step as OutboundStep};
pub use pool::{PoolCause, PoolConfig, PoolState, PoolStep, PoolView, PooledRelay, RelayCandidate, RelayPool, RelaySource};
pub use race::{AttemptId, Race, Step};
pub use session_executor::SessionExecutor;
pub use strategy::{Adaptive, Balanced, StrategyConfig, StrategyName, Timing, diverse_relays};
