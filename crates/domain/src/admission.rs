//! Whom to let in.

use std::{fmt, net::IpAddr};

use serde::{Deserialize, Serialize};

use crate::PeerIdentity;

/// What kind of inbound peer it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PeerClass {
    /// It came straight, from this address.
    Direct {
        /// Its real address.
        from: IpAddr,
    },
    /// It came through a relay.
    Relayed {
        /// That relay.
        relay: PeerIdentity,
    },
}

/// An inbound peer that asks to stay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdmissionRequest {
    /// Its proven identity, if the transport proves one.
    pub peer: Option<PeerIdentity>,
    /// What kind of peer.
    pub class: PeerClass,
    /// Inbound peers here now, without this one.
    pub inbound: usize,
    /// Of these, those of the same class (same address, or same relay).
    pub same_class: usize,
}

/// Why a peer is not let in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RefuseReason {
    /// Too many inbound peers in all.
    TooManyInbound {
        /// The limit.
        limit: usize,
    },
    /// Too many from one address or one relay.
    TooManyOfOneKind {
        /// The limit.
        limit: usize,
    },
    /// The peer is banned.
    Banned,
}

impl fmt::Display for RefuseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RefuseReason::TooManyInbound { limit } => write!(f, "there are {limit} inbound peers already"),
            RefuseReason::TooManyOfOneKind { limit } => write!(f, "there are {limit} inbound peers from there already"),
            RefuseReason::Banned => f.write_str("the peer is banned"),
        }
    }
}

/// Whether a peer is let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It is.
    Accept,
    /// It is not.
    Refuse(RefuseReason),
}
