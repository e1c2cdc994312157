//! Why a request is refused: for the peer a status, for the relay's owner the cause.

use thiserror::Error;

use super::{budget::Exceeded, messages::Status};

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
    #[error("its quota-per-peer is used up")]
    QuotaOfPeer,
    #[error("the quota-per-prefix of its /24 or /48 is used up")]
    QuotaOfPrefix,
    #[error("the relay's quota is used up")]
    Quota,
    #[error("access does not allow it")]
    NotAllowed,
    #[error("it has not given a token of this relay")]
    Token,
    #[error("this relay is draining, and takes nothing new")]
    Draining,
    #[error("this relay is short of memory")]
    Pressure,
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
            Self::ToItself | Self::Relayed | Self::NotAllowed | Self::Token => Status::PermissionDenied,
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
            | Self::ConnectingTooFast
            | Self::QuotaOfPeer
            | Self::QuotaOfPrefix
            | Self::Quota
            | Self::Draining
            | Self::Pressure => Status::ResourceLimitExceeded,
        }
    }

    /// A short name for counters.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::TooManyReservations => "max-reservations",
            Self::TooManyReservationsOfAddress => "max-reservations-per-ip",
            Self::TooManyReservationsOfPrefix => "max-reservations-per-prefix",
            Self::ReservingTooFast | Self::ConnectingTooFast => "too-often",
            Self::NoAddress => "no-address",
            Self::TooManyCircuits => "max-circuits",
            Self::TooManyCircuitsOfPeer => "max-circuits-per-peer",
            Self::TooManyCircuitsOfAddress => "max-circuits-per-ip",
            Self::TooManyCircuitsOfPrefix => "max-circuits-per-prefix",
            Self::TooManyCircuitsToDestination => "max-circuits-per-destination",
            Self::TooManyCircuitsOfAddressToDestination => "max-circuits-per-ip-to-destination",
            Self::QuotaOfPeer => "quota-per-peer",
            Self::QuotaOfPrefix => "quota-per-prefix",
            Self::Quota => "quota",
            Self::NotAllowed => "access",
            Self::Token => "token",
            Self::Draining => "draining",
            Self::Pressure => "pressure",
            Self::NoReservation => "no-reservation",
            Self::ToItself => "to-itself",
            Self::Relayed => "relayed",
            Self::DestinationFailed => "destination-failed",
            Self::SourceGone => "source-gone",
            Self::DestinationRefused(_) => "destination-refused",
        }
    }
}

impl From<Exceeded> for Denial {
    fn from(exceeded: Exceeded) -> Self {
        match exceeded {
            Exceeded::Peer => Self::QuotaOfPeer,
            Exceeded::Prefix => Self::QuotaOfPrefix,
            Exceeded::All => Self::Quota,
        }
    }
}
