//! How peers are reached: strategies decide, the executor does.
//!
//! A strategy is a [`TransportPolicy`](kaspath_domain::TransportPolicy): pure,
//! with time as a parameter. The [`Executor`] is the thin async shell that runs
//! its plans over [`StreamDialer`](kaspath_domain::StreamDialer)s.
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

mod executor;
mod inbound;
mod mapping;
mod pace;
mod strategy;
mod switch;

pub use executor::{ExecuteError, Executor};
pub use inbound::InboundLimits;
pub use mapping::MappingObserver;
pub use pace::{Cooldowns, PaceConfig, Paced};
pub use strategy::{Adaptive, Balanced, Fixed, Only, StrategyConfig, StrategyName, Timing, diverse_relays};
pub use switch::Switch;
