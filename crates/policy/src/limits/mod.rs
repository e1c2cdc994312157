//! How often: what holds for every strategy.

mod back_off;
mod dial_limits;
mod rate_limited;

pub(crate) use back_off::BackOffs;
pub use dial_limits::{DialLimits, DialLimitsConfig};
pub use rate_limited::{RateLimited, SharedLimits};
