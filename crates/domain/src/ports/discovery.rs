use std::time::Duration;

use async_trait::async_trait;
use thiserror::Error;

use crate::{DiscoveryAnswer, Namespace, PeerIdentity, RecordDraft, RelayAddress, SignedRecord, Teller};

/// Asks others whom they know, and lists this node with them. When to ask whom is not
/// its matter.
#[cfg_attr(feature = "mocks", mockall::automock)]
#[async_trait]
pub trait Discovery: Send + Sync {
    /// Whom this teller knows under a name: `limit` records at most, all verified, none of
    /// this node. A relay answers where it is known to be, and not on a connection from elsewhere.
    /// Dropping the future is safe.
    ///
    /// # Errors
    /// Why there is no answer.
    async fn ask(&self, teller: &Teller, namespace: &Namespace, limit: usize) -> Result<DiscoveryAnswer, DiscoveryError>;

    /// Lists this node at a relay that holds a reservation of it, or that can reach it.
    /// The answer is the time after which the entry ends, unless it is renewed.
    ///
    /// # Errors
    /// Why it is not listed.
    async fn list(
        &self,
        at: &RelayAddress,
        namespace: &Namespace,
        record: &SignedRecord,
        ttl: Duration,
    ) -> Result<Duration, DiscoveryError>;

    /// Takes this node off the list; what does not arrive ends by itself.
    async fn unlist(&self, at: &RelayAddress, namespace: &Namespace);

    /// Signs what this node says of itself, later than all that it signed before.
    fn sign(&self, draft: RecordDraft) -> SignedRecord;

    /// Who this node is.
    fn identity(&self) -> PeerIdentity;
}

/// Why a teller does not tell, or does not list.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DiscoveryError {
    /// It cannot be reached.
    #[error("it cannot be reached: {0}")]
    Unreachable(String),
    /// It is no rendezvous point, or does not gossip.
    #[error("it does not tell of others: it is an older relay, or one of another program")]
    NotSpoken,
    /// It refuses.
    #[error("it refuses: {0}")]
    Refused(String),
    /// It was asked too often.
    #[error("it was asked too often lately")]
    TooOften,
    /// It was not asked: this node asks too many at once.
    #[error("this node asks too many at once")]
    Busy,
    /// Its answer breaks the protocol.
    #[error("its answer is invalid: {0}")]
    Invalid(String),
    /// There was no answer in time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
}
