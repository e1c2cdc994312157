use std::sync::{Arc, PoisonError, RwLock};

use kaspath_domain::{Admission, AdmissionPolicy, AdmissionRequest, PeerBook, PeerIdentity, RefuseReason};
use kaspath_policy::InboundLimits;

use crate::node::now;

/// Whom the node lets in: by limits that can be changed, and never whom the book has
/// banned.
pub(crate) struct Admitting {
    limits: RwLock<InboundLimits>,
    book: Arc<dyn PeerBook>,
}

impl Admitting {
    pub(crate) fn new(limits: InboundLimits, book: Arc<dyn PeerBook>) -> Self {
        Self { limits: RwLock::new(limits), book }
    }

    /// Goes by these limits from now on.
    pub(crate) fn set_limits(&self, limits: InboundLimits) {
        *self.limits.write().unwrap_or_else(PoisonError::into_inner) = limits;
    }
}

impl AdmissionPolicy for Admitting {
    fn admit(&self, request: &AdmissionRequest) -> Admission {
        if request.peer.as_ref().is_some_and(|peer| self.is_banned(peer)) {
            return Admission::Refuse(RefuseReason::Banned);
        }
        self.limits.read().unwrap_or_else(PoisonError::into_inner).admit(request)
    }

    fn is_banned(&self, peer: &PeerIdentity) -> bool {
        self.book.is_banned(peer, now())
    }
}
