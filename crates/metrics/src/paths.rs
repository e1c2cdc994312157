//! Labels of paths and of why one is on a relay.

use kaspath_domain::{Path, RelayReason, Transport};

use crate::families::{Label, label};

label!(
    /// How something travels.
    PathLabel = "path" { DirectTcp = "direct-tcp", DirectQuic = "direct-quic", Relay = "relay" }
);

/// The same, of where something moved.
#[derive(Clone, Copy)]
pub(crate) struct ToLabel(pub(crate) PathLabel);

impl Label for ToLabel {
    const KEY: &'static str = "to";
    const VALUES: &'static [&'static str] = PathLabel::VALUES;

    fn index(self) -> usize {
        self.0.index()
    }
}

label!(
    /// Why a path is on a relay.
    ReasonLabel = "reason" {
        PunchPending = "punch-pending",
        Policy = "policy",
        RelayDraining = "relay-draining",
        NoOwnCandidate = "no-own-candidate",
        NoPeerCandidate = "no-peer-candidate",
        NoCommonFamily = "no-common-family",
        PeerCannotPunch = "peer-cannot-punch",
        PunchLimited = "punch-limited",
        ExchangeFailed = "exchange-failed",
        PunchFailed = "punch-failed",
        SymmetricNat = "symmetric-nat",
        SharedNat = "shared-nat",
        SharedLan = "shared-lan",
    }
);

label!(
    /// A transport, by our own name for it.
    TransportLabel = "transport" { Tcp = "tcp", Quic = "quic" }
);

impl PathLabel {
    pub(crate) fn of(path: &Path) -> Self {
        match path {
            Path::Direct { transport: Transport::Tcp } => Self::DirectTcp,
            Path::Direct { transport: Transport::Quic } => Self::DirectQuic,
            Path::Relayed { .. } => Self::Relay,
        }
    }
}

impl ReasonLabel {
    pub(crate) fn of(reason: &RelayReason) -> Self {
        match reason {
            RelayReason::PunchPending => Self::PunchPending,
            RelayReason::Policy => Self::Policy,
            RelayReason::RelayDraining => Self::RelayDraining,
            RelayReason::NoOwnCandidate => Self::NoOwnCandidate,
            RelayReason::NoPeerCandidate => Self::NoPeerCandidate,
            RelayReason::NoCommonFamily => Self::NoCommonFamily,
            RelayReason::PeerCannotPunch => Self::PeerCannotPunch,
            RelayReason::PunchLimited => Self::PunchLimited,
            RelayReason::ExchangeFailed { .. } => Self::ExchangeFailed,
            RelayReason::PunchFailed { .. } => Self::PunchFailed,
            RelayReason::SymmetricNat { .. } => Self::SymmetricNat,
            RelayReason::SharedNat { .. } => Self::SharedNat,
            RelayReason::SharedLan { .. } => Self::SharedLan,
        }
    }
}

impl From<Transport> for TransportLabel {
    fn from(transport: Transport) -> Self {
        match transport {
            Transport::Tcp => Self::Tcp,
            Transport::Quic => Self::Quic,
        }
    }
}
