use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kaspath_domain::{NatMapping, Observer, PeerAddress};
use kaspath_policy::MappingObserver;
use kaspath_transport_libp2p::NetworkEvent;

/// How our own NAT maps. Cheap to clone; all clones know the same.
#[derive(Clone, Default)]
pub(crate) struct OwnNat(Arc<Mutex<MappingObserver>>);

impl OwnNat {
    fn lock(&self) -> MutexGuard<'_, MappingObserver> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn mapping(&self) -> NatMapping {
        self.lock().mapping()
    }
}

impl Observer<NetworkEvent> for OwnNat {
    fn observe(&self, event: &NetworkEvent) {
        if let NetworkEvent::CandidateObserved { address, by } = event
            && let PeerAddress::Direct(address) = &address.address
        {
            self.lock().observe(by, address.transport, address.port);
        }
    }
}
