use async_trait::async_trait;

use crate::{AttemptOutcome, ObservedAddress, PeerBookError, PeerIdentity, PeerRecord, Timestamp};

/// Remembers peers.
#[cfg_attr(feature = "mocks", mockall::automock)]
#[async_trait]
pub trait PeerBook: Send + Sync {
    /// What is known of a peer.
    async fn get(&self, peer: &PeerIdentity) -> Result<Option<PeerRecord>, PeerBookError>;

    /// Adds an address, or freshens it.
    async fn observe(&self, peer: &PeerIdentity, address: ObservedAddress) -> Result<(), PeerBookError>;

    /// Counts an attempt's end.
    async fn record_outcome(&self, outcome: &AttemptOutcome, now: Timestamp) -> Result<(), PeerBookError>;

    /// Up to `limit` peers, those seen last first.
    async fn recent(&self, limit: usize) -> Result<Vec<PeerRecord>, PeerBookError>;

    /// Forgets a peer; whether it was known.
    async fn forget(&self, peer: &PeerIdentity) -> Result<bool, PeerBookError>;
}
