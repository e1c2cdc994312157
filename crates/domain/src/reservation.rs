//! How reservations at relays end.

use serde::{Deserialize, Serialize};

/// Why a reservation, or a request for one, came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReservationLoss {
    /// No answer came in time.
    Timeout,
    /// The connection to the relay was lost.
    ConnectionLost,
    /// The relay could not be reached.
    Unreachable,
    /// The relay's name could not be resolved.
    Unresolved,
    /// The relay refused it.
    Refused,
    /// The relay has no room for it.
    Limit,
    /// The relay does not speak the protocol.
    Unsupported,
    /// The relay ended it.
    Ended,
    /// The relay was removed from those to reserve at.
    Removed,
    /// None of these.
    Other,
}
