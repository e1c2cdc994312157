use std::sync::{Arc, PoisonError, RwLock};

use kaspath_domain::{AdmissionPolicy, AdmissionRequest, PeerBook, PeerIdentity, RefuseReason, wall_clock};

/// Which peers the node admits: by a policy that can be replaced, and none that the book or
/// that policy has banned.
pub(crate) struct Admitting {
    policy: RwLock<Arc<dyn AdmissionPolicy>>,
    book: Arc<dyn PeerBook>,
}

impl Admitting {
    pub(crate) fn new(policy: Arc<dyn AdmissionPolicy>, book: Arc<dyn PeerBook>) -> Self {
        Self { policy: RwLock::new(policy), book }
    }

    /// Uses this policy from now on.
    pub(crate) fn set(&self, policy: Arc<dyn AdmissionPolicy>) {
        *self.policy.write().unwrap_or_else(PoisonError::into_inner) = policy;
    }

    fn policy(&self) -> Arc<dyn AdmissionPolicy> {
        self.policy.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl AdmissionPolicy for Admitting {
    fn admit(&self, request: &AdmissionRequest) -> Result<(), RefuseReason> {
        if request.peer.as_ref().is_some_and(|peer| self.is_banned(peer)) {
            return Err(RefuseReason::Banned);
        }
        self.policy().admit(request)
    }

    fn is_banned(&self, peer: &PeerIdentity) -> bool {
        self.book.is_banned(peer, wall_clock()) || self.policy().is_banned(peer)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use kaspath_domain::{
        BanSource, PeerChange, PeerClass,
        memory::{AdmitAll, MemoryPeerBook},
    };
    use kaspath_policy::InboundLimits;

    use super::*;

    #[test]
    fn a_peer_that_the_book_bans_is_refused_whatever_the_policy_says() {
        let book = Arc::new(MemoryPeerBook::new(10));
        let admitting = Admitting::new(Arc::new(AdmitAll), book.clone());
        let peer = |n: u8| PeerIdentity::from_bytes(&[0, 1, n]).expect("an identity");
        let ask = |n| {
            let class = PeerClass::Direct { from: [192, 0, 2, 1].into() };
            admitting.admit(&AdmissionRequest::beside(Some(peer(n)), class, &[]))
        };
        let until = wall_clock() + Duration::from_secs(3600);
        book.update(&peer(1), PeerChange::Ban { source: BanSource::Manual, until }, wall_clock()).expect("room");
        assert_eq!((ask(1), ask(2)), (Err(RefuseReason::Banned), Ok(())));
        assert!(admitting.is_banned(&peer(1)) && !admitting.is_banned(&peer(2)));
        admitting.set(Arc::new(InboundLimits { total: 0, ..InboundLimits::default() }));
        assert_eq!(ask(2), Err(RefuseReason::TooManyInbound { limit: 0 }));
    }
}
