//! Why sessions do not begin, and why they end.

use std::time::Duration;

use kaspa_p2p_lib::KaspadMessagePayloadType as Kind;
use kaspath_domain::clean;
use serde::Serialize;
use thiserror::Error;

use crate::PeerKey;

/// The reject reason that means: we talk to you already.
pub(crate) const DUPLICATE_CONNECTION: &str = "DUPLICATE_CONNECTION";
/// The reject reason that means: you are talking to yourself.
pub(crate) const LOOPBACK_CONNECTION: &str = "LOOPBACK_CONNECTION";
/// The reject reason for a peer that is evicted for a newcomer.
pub(crate) const EVICTED: &str = "all inbound slots are taken, and another peer gets yours";
/// Bytes of a remote's text that errors and events keep.
pub(crate) const MAX_REASON: usize = 512;

/// Why a handshake failed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum HandshakeError {
    /// The peer did not say in time what was due.
    #[error("the peer sent no {what} within {after:?}")]
    Timeout {
        /// Version, Verack or Ready.
        what: &'static str,
        /// Upstream's timeout for it.
        after: Duration,
    },
    /// We talk to this peer already.
    #[error("peer {0} is connected already")]
    Duplicate(PeerKey),
    /// We reached ourselves.
    #[error("the peer is this node itself")]
    Loopback,
    /// Another network.
    #[error("the peer is on {theirs}, but this node is on {ours}")]
    WrongNetwork {
        /// Our network's wire name.
        ours: String,
        /// Its network's wire name.
        theirs: String,
    },
    /// Too old.
    #[error("the peer speaks protocol version {theirs}; {least} is the least accepted")]
    OldVersion {
        /// Its version.
        theirs: u32,
        /// The least.
        least: u32,
    },
    /// A field of its Version is not valid.
    #[error("the peer's Version is not valid: {0}")]
    BadVersion(&'static str),
    /// It is not let in.
    #[error("the peer is not let in: {0}")]
    NotAdmitted(String),
    /// It rejects us.
    #[error("the peer rejects us: {0}")]
    Rejected(String),
    /// The session ended first.
    #[error("the session ended during the handshake: {0}")]
    Ended(CloseReason),
}

impl HandshakeError {
    /// The reason for a Reject message, where one makes sense.
    pub(crate) fn reject_reason(&self) -> Option<String> {
        match self {
            Self::Duplicate(_) => Some(DUPLICATE_CONNECTION.to_owned()),
            Self::Loopback => Some(LOOPBACK_CONNECTION.to_owned()),
            Self::Rejected(_) | Self::Ended(_) => None,
            other => Some(other.to_string()),
        }
    }
}

/// Why a session ended.
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize)]
#[serde(tag = "reason", content = "detail", rename_all = "kebab-case")]
pub enum CloseReason {
    /// The peer ended it regularly.
    #[error("the peer closed the session")]
    PeerClosed,
    /// The peer sent Reject.
    #[error("the peer rejects us: {0}")]
    Rejected(String),
    /// The peer broke the protocol.
    #[error("the peer broke the protocol: {0}")]
    Protocol(String),
    /// The peer sent a message over the limit.
    #[error("the peer sent a message over {limit} bytes")]
    MessageTooLarge {
        /// The limit.
        limit: usize,
    },
    /// The messages of all peers hold as much memory as they may.
    #[error("the peer's message found no room: the messages of all peers together hold as much memory as they may")]
    NoRoom,
    /// The peer does not read what we send.
    #[error("the peer has not read for {0:?}")]
    SlowReader(Duration),
    /// The peer did not answer.
    #[error("the peer did not answer {what} within {after:?}")]
    Unanswered {
        /// What was asked.
        what: &'static str,
        /// How long was waited.
        after: Duration,
    },
    /// The transport failed.
    #[error("the connection failed: {0}")]
    Transport(String),
    /// The peer has restarted and has a new session.
    #[error("the peer has restarted, and its new session replaced it")]
    Superseded,
    /// All inbound slots were taken, and it was the least useful session.
    #[error("all inbound slots were taken, and it was the least useful session")]
    Evicted,
    /// We are going down, or our user wants it.
    #[error("this node closed the session")]
    Local,
}

impl CloseReason {
    pub(crate) fn rejected(reason: &str) -> Self {
        Self::Rejected(clean(reason, MAX_REASON))
    }

    pub(crate) fn unexpected(kind: Kind) -> Self {
        Self::Protocol(format!("{kind:?} out of turn"))
    }

    pub(crate) fn from_status(status: &tonic::Status) -> Self {
        Self::Transport(clean(status.message(), MAX_REASON))
    }
}

/// Why there is no session.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// The other end does not speak HTTP/2.
    #[error("the other end does not speak HTTP/2: {0}")]
    NotHttp2(String),
    /// It does, but not Kaspa's P2P.
    #[error("the other end does not speak Kaspa's P2P: {0}")]
    NotKaspa(String),
    /// It took too long.
    #[error("the other end did not answer within {0:?}")]
    Timeout(Duration),
    /// The handshake failed.
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
}
