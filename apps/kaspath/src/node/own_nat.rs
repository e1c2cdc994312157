//! What is known of our own NAT, for plans.

use std::sync::{Arc, Mutex, PoisonError};

use kaspath_domain::{PeerAddress, PlanRequest};
use kaspath_policy::MappingObserver;
use kaspath_transport_libp2p::NetworkEvent;
use tokio::sync::broadcast::{self, error::RecvError};

/// Cheap to clone; all clones know the same.
#[derive(Clone, Default)]
pub(crate) struct OwnNat(Arc<Mutex<MappingObserver>>);

impl OwnNat {
    /// Learns from what relays observe until the network ends.
    pub(crate) async fn follow(self, mut events: broadcast::Receiver<NetworkEvent>) {
        loop {
            match events.recv().await {
                Ok(NetworkEvent::CandidateObserved { address, by }) => {
                    if let PeerAddress::Direct(address) = &address.address {
                        let mut observer = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                        observer.observe(&by, address.transport, address.port);
                    }
                }
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            }
        }
    }

    /// The request with what is known now.
    pub(crate) fn fill(&self, request: &PlanRequest) -> PlanRequest {
        let mapping = self.0.lock().unwrap_or_else(PoisonError::into_inner).mapping();
        PlanRequest { mapping, ..request.clone() }
    }
}
