//! The kind of loss of a reservation, for those that count them.

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
    // PERMISSION_DENIED, as libp2p's client repeats it.
    ("PERMISSION_DENIED", ReservationLoss::Refused),
    // What our own protocol with relays says (`relay_control::Refusal`).
    ("the relay wants a token", ReservationLoss::Refused),
    ("does not allow this node", ReservationLoss::Refused),
    ("the relay refuses this node", ReservationLoss::Refused),
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
    /// The kind of the loss; `None` unless it is lost.
    pub fn loss(&self) -> Option<ReservationLoss> {
        let ReservationState::Lost { cause, .. } = self else { return None };
        let found = PHRASES.iter().find(|(phrase, _)| cause.contains(phrase));
        Some(found.map_or(ReservationLoss::Other, |(_, loss)| *loss))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay_control::Refusal;

    #[test]
    fn whatever_the_relay_protocol_refuses_for_counts_as_refused() {
        for refusal in [Refusal::TokenMissing, Refusal::TokenWrong, Refusal::NotAllowed, Refusal::Other(77)] {
            let lost = ReservationState::Lost { cause: refusal.to_string(), retry_in: None };
            assert_eq!(lost.loss(), Some(ReservationLoss::Refused), "{refusal}");
        }
    }
}
