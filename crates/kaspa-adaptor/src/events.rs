//! What happens in sessions, for logs, metrics and labs.

use std::{net::SocketAddr, time::Duration};

use kaspath_domain::{Direction, Path, PeerIdentity};
use serde::Serialize;

use crate::{CloseReason, HandshakeError};

/// How far a handshake is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum HandshakeStep {
    /// The peer's Version is here.
    Version,
    /// The peer acknowledged ours.
    Verack,
    /// The peer is ready, and so are we.
    Ready,
}

/// Why a handshake failed, without what the peer worded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum HandshakeOutcome {
    /// The peer did not say in time what was due.
    Timeout,
    /// We talk to this peer already.
    Duplicate,
    /// We reached ourselves.
    Loopback,
    /// The peer is on another network.
    WrongNetwork,
    /// Its protocol version is too old.
    OldVersion,
    /// A field of its Version is not valid.
    BadVersion,
    /// It is not let in.
    NotAdmitted,
    /// It rejects us.
    Rejected,
    /// The session ended first.
    Ended,
}

impl From<&HandshakeError> for HandshakeOutcome {
    fn from(error: &HandshakeError) -> Self {
        match error {
            HandshakeError::Timeout { .. } => Self::Timeout,
            HandshakeError::Duplicate(_) => Self::Duplicate,
            HandshakeError::Loopback => Self::Loopback,
            HandshakeError::WrongNetwork { .. } => Self::WrongNetwork,
            HandshakeError::OldVersion { .. } => Self::OldVersion,
            HandshakeError::BadVersion(_) => Self::BadVersion,
            HandshakeError::NotAdmitted(_) => Self::NotAdmitted,
            HandshakeError::Rejected(_) => Self::Rejected,
            HandshakeError::Ended(_) => Self::Ended,
        }
    }
}

/// Something that happened. The serialized form is stable.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum KaspaEvent {
    /// A handshake moved on.
    Handshake {
        /// The peer's identity, where the transport proves one.
        peer: Option<PeerIdentity>,
        /// Its stable socket address.
        address: SocketAddr,
        /// How far it is.
        step: HandshakeStep,
        /// Since the session began.
        #[serde(serialize_with = "kaspath_domain::time::seconds")]
        elapsed: Duration,
    },
    /// A handshake failed.
    HandshakeFailed {
        /// The peer's identity, where the transport proves one.
        peer: Option<PeerIdentity>,
        /// Its stable socket address.
        address: SocketAddr,
        /// Which step it did not get through.
        outcome: HandshakeOutcome,
        /// Why.
        cause: String,
    },
    /// A session is established.
    PeerReady {
        /// The peer's identity, where the transport proves one.
        peer: Option<PeerIdentity>,
        /// Its stable socket address.
        address: SocketAddr,
        /// Who opened the session.
        direction: Direction,
        /// How it travels.
        path: Path,
        /// The peer's user agent.
        user_agent: String,
        /// The id in its Version message, new at each start of its node.
        kaspa_id: String,
        /// The protocol version it advertises.
        protocol_version: u32,
    },
    /// How a session travels has changed, or the reason for it.
    PathChanged {
        /// The peer's identity.
        peer: Option<PeerIdentity>,
        /// The path now.
        path: Path,
    },
    /// A session ended.
    PeerLeft {
        /// The peer's identity, where the transport proves one.
        peer: Option<PeerIdentity>,
        /// Its stable socket address.
        address: SocketAddr,
        /// Why.
        #[serde(flatten)]
        reason: CloseReason,
        /// How long it lasted.
        #[serde(serialize_with = "kaspath_domain::time::seconds")]
        after: Duration,
        /// Bytes received.
        received: u64,
        /// Bytes sent.
        sent: u64,
    },
    /// A ping of ours was answered.
    PingAnswered {
        /// The peer's identity, where the transport proves one.
        peer: Option<PeerIdentity>,
        /// Its stable socket address.
        address: SocketAddr,
        /// The round trip.
        #[serde(serialize_with = "kaspath_domain::time::seconds")]
        rtt: Duration,
    },
    /// A ping of the peer was answered.
    PongSent {
        /// The peer's identity, where the transport proves one.
        peer: Option<PeerIdentity>,
        /// Its stable socket address.
        address: SocketAddr,
    },
    /// A transaction's body arrived.
    TransactionReceived {
        /// Its id.
        id: String,
        /// Who sent it.
        peer: Option<PeerIdentity>,
    },
    /// A block's body arrived.
    BlockReceived {
        /// Its hash.
        hash: String,
        /// Who sent it.
        peer: Option<PeerIdentity>,
    },
    /// Addresses arrived.
    AddressesReceived {
        /// How many.
        count: usize,
        /// Who sent them.
        peer: Option<PeerIdentity>,
    },
}
