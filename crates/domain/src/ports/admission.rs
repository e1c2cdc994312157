use crate::{AdmissionRequest, PeerIdentity, RefuseReason};

/// Decides which peers a node has. No call waits for anything but memory.
#[cfg_attr(feature = "mocks", mockall::automock)]
pub trait AdmissionPolicy: Send + Sync {
    /// Whether an inbound peer may stay.
    ///
    /// # Errors
    /// Why it may not.
    fn admit(&self, request: &AdmissionRequest) -> Result<(), RefuseReason>;

    /// Whether a peer is banned now, so that it is not dialled either.
    fn is_banned(&self, _peer: &PeerIdentity) -> bool {
        false
    }
}
