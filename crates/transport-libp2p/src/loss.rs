//! Of which kind the loss of a reservation is, for those that count it.

use serde::Serialize;

use crate::ReservationState;

/// Why a reservation, or a request for one, came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
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

/// What the causes say, in the order in which they are looked for: the relay's answer before
/// what a connection says.
const PHRASES: &[(&str, ReservationLoss)] = &[
    ("the relay was removed", ReservationLoss::Removed),
    ("Reservation refused", ReservationLoss::Refused),
    ("resource limit exceeded", ReservationLoss::Limit),
    ("does not support", ReservationLoss::Unsupported),
    ("did not resolve", ReservationLoss::Unresolved),
    ("the other side ended it", ReservationLoss::Ended),
    ("no answer within", ReservationLoss::Timeout),
    ("timed out", ReservationLoss::Timeout),
    ("timeout", ReservationLoss::Timeout),
    ("the connection to it was lost", ReservationLoss::ConnectionLost),
    ("closed", ReservationLoss::ConnectionLost),
    ("reset", ReservationLoss::ConnectionLost),
    ("Broken pipe", ReservationLoss::ConnectionLost),
    ("refused", ReservationLoss::Unreachable),
    ("unreachable", ReservationLoss::Unreachable),
    ("No route to host", ReservationLoss::Unreachable),
    ("cannot be reached", ReservationLoss::Unreachable),
];

impl ReservationState {
    /// Of which kind the loss is; `None` unless it is lost. Whatever a relay words, it is
    /// one of these.
    pub fn loss(&self) -> Option<ReservationLoss> {
        let ReservationState::Lost { cause, .. } = self else { return None };
        let found = PHRASES.iter().find(|(phrase, _)| cause.contains(phrase));
        Some(found.map_or(ReservationLoss::Other, |(_, loss)| *loss))
    }
}
