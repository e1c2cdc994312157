//! What is asked and answered where an address is checked.

use kaspath_domain::{PeerIdentity, TransportAddress};

/// Ports below belong to services that take a stranger's connection for an attack. The relay
/// that asks and the node that dials agree on it.
pub(crate) const FIRST_PORT: u16 = 1024;

/// What a relay says of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CheckAnswer {
    /// Somebody reached it.
    Reached,
    /// Nobody could.
    NotReached,
    /// It was not tried.
    Nothing,
}

/// A relay wants to know whether that peer can be reached there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DialBackWanted {
    pub(crate) peer: PeerIdentity,
    pub(crate) address: TransportAddress,
    /// What the peer is to be shown.
    pub(crate) nonce: u64,
}

/// What became of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DialBackOutcome {
    /// The peer was reached, and took the nonce.
    Reached,
    /// No connection came up.
    NotReached,
    /// One came up, but the peer did not take the nonce.
    NoStream,
    /// We do not dial there, or not now.
    Refused,
}
