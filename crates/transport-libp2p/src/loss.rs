//! The kind of a loss by its cause, which libp2p gives as text.

use std::time::Duration;

use kaspath_domain::ReservationLoss;

use crate::ReservationState;

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
    /// A loss of the kind that its cause shows.
    pub fn lost(cause: &str, retry_in: Option<Duration>) -> Self {
        let found = PHRASES.iter().find(|(phrase, _)| cause.contains(phrase));
        let kind = found.map_or(ReservationLoss::Other, |(_, loss)| *loss);
        Self::Lost { cause: cause.to_owned(), kind, retry_in }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay_control::Refusal;

    #[test]
    fn whatever_the_relay_protocol_refuses_for_counts_as_refused() {
        for refusal in [Refusal::TokenMissing, Refusal::TokenWrong, Refusal::NotAllowed, Refusal::Other(77)] {
            let lost = ReservationState::lost(&refusal.to_string(), None);
            assert!(matches!(lost, ReservationState::Lost { kind: ReservationLoss::Refused, .. }), "{refusal}");
        }
    }
}
