//! Events of the relay pool as sentences.

use kaspath_node::{PoolChange, PoolEvent};
use kaspath_policy::PoolCause;

use super::safe::cause as tidy;
use crate::level::Level;

/// A list that cannot be read is its owner's matter.
pub(super) fn level(event: &PoolEvent) -> Level {
    match event {
        PoolEvent::RelayListFailed { .. } => Level::Warn,
        PoolEvent::RelayPool { .. } | PoolEvent::RelayListRead { .. } => Level::Info,
    }
}

/// What happens to a relay of the settings is told by its reservation.
pub(super) fn describe(event: &PoolEvent) -> Option<String> {
    Some(match event {
        PoolEvent::RelayPool { change: PoolChange::Used, cause: PoolCause::Free, .. } => return None,
        PoolEvent::RelayPool { relay, change: PoolChange::Used, cause } => {
            format!("relay {} is asked instead of another one: {}", relay.short(), why(*cause))
        }
        PoolEvent::RelayPool { relay, change: PoolChange::Released, cause } => {
            format!("relay {} is not used any more: {}", relay.short(), why(*cause))
        }
        PoolEvent::RelayListRead { source, relays } => format!("relay list {source}: {relays} relays"),
        PoolEvent::RelayListFailed { source, cause, retry_in } => {
            let retry_in = retry_in.as_secs_f64();
            format!("relay list {source} cannot be read ({}); read again in {retry_in:.1} s", tidy(cause))
        }
    })
}

fn why(cause: PoolCause) -> &'static str {
    match cause {
        PoolCause::Free => "a place was free",
        PoolCause::Lost => "its reservation was lost, and others have its place",
        PoolCause::Draining => "it said that it drains, and did not end",
        PoolCause::Withdrawn => "nobody names it any more",
        PoolCause::Failing => "most of what went by way of it failed",
        PoolCause::Configured => "a relay of the settings is back",
        PoolCause::Better => "another one is twice as good",
        PoolCause::Rotation => "it was held for long enough",
    }
}
