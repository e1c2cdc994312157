//! Why a request is refused: for the peer a status, for the relay's owner the cause.

use thiserror::Error;

use super::messages::Status;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(super) enum Denial {
    #[error("there are max-reservations already")]
    TooManyReservations,
    #[error("its IP address has max-reservations-per-ip already")]
    TooManyReservationsOfAddress,
    #[error("its /24 or /48 has max-reservations-per-prefix already")]
    TooManyReservationsOfPrefix,
    #[error("it or its IP address asks for reservations too often")]
    ReservingTooFast,
    #[error("this relay has no address to give: set external-address")]
    NoAddress,
    #[error("there are max-circuits already")]
    TooManyCircuits,
    #[error("the source has max-circuits-per-peer already")]
    TooManyCircuitsOfPeer,
    #[error("the source's IP address has max-circuits-per-ip already")]
    TooManyCircuitsOfAddress,
    #[error("the source's /24 or /48 has max-circuits-per-prefix already")]
    TooManyCircuitsOfPrefix,
    #[error("there are max-circuits-per-destination to it already")]
    TooManyCircuitsToDestination,
    #[error("the source's IP address has max-circuits-per-ip-to-destination to it already")]
    TooManyCircuitsOfAddressToDestination,
    #[error("the source or its IP address asks for circuits too often")]
    ConnectingTooFast,
    #[error("the destination has no reservation here")]
    NoReservation,
    #[error("a circuit cannot lead to its own source")]
    ToItself,
    #[error("requests over a circuit are not served")]
    Relayed,
    #[error("the destination could not be asked, or did not answer in time")]
    DestinationFailed,
    #[error("its connection closed while it waited")]
    SourceGone,
    #[error("the destination refused it")]
    DestinationRefused(Status),
}

impl Denial {
    pub(super) fn status(self) -> Status {
        match self {
            Self::NoAddress => Status::ReservationRefused,
            Self::NoReservation => Status::NoReservation,
            Self::ToItself | Self::Relayed => Status::PermissionDenied,
            Self::DestinationFailed | Self::SourceGone => Status::ConnectionFailed,
            Self::DestinationRefused(status) => status,
            Self::TooManyReservations
            | Self::TooManyReservationsOfAddress
            | Self::TooManyReservationsOfPrefix
            | Self::ReservingTooFast
            | Self::TooManyCircuits
            | Self::TooManyCircuitsOfPeer
            | Self::TooManyCircuitsOfAddress
            | Self::TooManyCircuitsOfPrefix
            | Self::TooManyCircuitsToDestination
            | Self::TooManyCircuitsOfAddressToDestination
            | Self::ConnectingTooFast => Status::ResourceLimitExceeded,
        }
    }
}
