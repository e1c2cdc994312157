use std::sync::Arc;

use kaspath_domain::PeerIdentity;

use super::{PeerKey, Router};
use crate::USER_AGENT_PREFIX;

/// A peer whose handshake has succeeded.
#[derive(Debug)]
pub struct Peer {
    pub(crate) key: PeerKey,
    pub(crate) user_agent: String,
    pub(crate) protocol_version: u32,
    pub(crate) router: Arc<Router>,
}

impl Peer {
    /// Its key.
    pub fn key(&self) -> PeerKey {
        self.key
    }

    /// Its identity, where the transport proves one.
    pub fn identity(&self) -> Option<&PeerIdentity> {
        self.router.info().peer.as_ref()
    }

    /// What it says it is; at most 256 bytes, control characters removed.
    pub fn user_agent(&self) -> &str {
        &self.user_agent
    }

    /// The protocol version that it advertises.
    pub fn protocol_version(&self) -> u32 {
        self.protocol_version
    }

    /// The session.
    pub fn router(&self) -> &Arc<Router> {
        &self.router
    }

    /// Whether it is of our kind, so that light gossip makes sense.
    pub fn gossips(&self) -> bool {
        self.user_agent.starts_with(USER_AGENT_PREFIX)
    }
}
