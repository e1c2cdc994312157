//! What a node writes into its book, and the bans that it reads there.

use std::sync::{Arc, PoisonError, RwLock};

use kaspath_domain::{
    AddressSource, Admission, AdmissionPolicy, AdmissionRequest, AttemptOutcome, Direction, ObservedAddress, Observer, Path,
    PeerIdentity, PeerLocator, RefuseReason,
};
use kaspath_gateway::{GatewayEvent, KASPAD_BAN};
use kaspath_kaspa_adaptor::KaspaEvent;
use kaspath_peer_store::PeerStore;
use kaspath_policy::InboundLimits;
use kaspath_transport_libp2p::NetworkEvent;

use crate::node::now;

/// Whom the node lets in: by limits that can be changed, and never whom the book has
/// banned.
pub(crate) struct Admitting {
    limits: RwLock<InboundLimits>,
    store: Option<Arc<PeerStore>>,
}

impl Admitting {
    pub(crate) fn new(limits: InboundLimits, store: Option<Arc<PeerStore>>) -> Self {
        Self { limits: RwLock::new(limits), store }
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
        self.store.as_ref().is_some_and(|store| store.is_banned(peer, now()))
    }
}

/// Counts how attempts to reach peers end.
pub(crate) fn remember_attempts(store: Option<Arc<PeerStore>>) -> Arc<dyn Observer<AttemptOutcome>> {
    Arc::new(move |outcome: &AttemptOutcome| {
        if let (Some(store), Some(peer)) = (&store, &outcome.peer) {
            let at = now();
            // A full book forgets somebody else, or nobody: either is no reason to fail.
            let _ = store.update(peer, at, |record| record.count(outcome, at));
            if let Some(relay) = outcome.route.relay() {
                let _ = store.update(relay, at, |record| record.relayed.count(outcome));
            }
        }
    })
}

fn observe(store: &PeerStore, peer: &PeerIdentity, locator: PeerLocator, source: AddressSource) {
    let address = ObservedAddress { locator, source, last_seen: now() };
    let _ = store.update(peer, now(), |record| record.observe(address));
}

/// Enters what the user has told.
pub(crate) fn remember_remotes(store: Option<&Arc<PeerStore>>, remotes: &[PeerLocator]) {
    let Some(store) = store else { return };
    for remote in remotes {
        if let Some(peer) = &remote.peer {
            observe(store, peer, remote.clone(), AddressSource::Manual);
        }
    }
}

/// Enters where connections come from and go to.
pub(crate) fn remember_network(store: Option<Arc<PeerStore>>) -> Arc<dyn Observer<NetworkEvent>> {
    Arc::new(move |event: &NetworkEvent| {
        let Some(store) = &store else { return };
        match event {
            NetworkEvent::Connected { peer, direction, path, remote } => {
                let source = match (direction, path) {
                    (Direction::Inbound, _) => AddressSource::Inbound,
                    (Direction::Outbound, Path::Relayed { relay, .. }) => AddressSource::Identify { relay: Some(relay.clone()) },
                    (Direction::Outbound, Path::Direct { .. }) => AddressSource::Identify { relay: None },
                };
                observe(store, peer, remote.clone(), source);
            }
            NetworkEvent::PunchDialing { peer, rtt: Some(rtt), .. } => {
                let _ = store.update(peer, now(), |record| record.rtt = Some(*rtt));
            }
            _ => {}
        }
    })
}

/// Enters by which id Kaspa knows a peer.
pub(crate) fn remember_kaspa(store: Option<Arc<PeerStore>>) -> Arc<dyn Observer<KaspaEvent>> {
    Arc::new(move |event: &KaspaEvent| {
        if let (Some(store), KaspaEvent::PeerReady { peer: Some(peer), kaspa_id, .. }) = (&store, event) {
            let _ = store.update(peer, now(), |record| record.note_kaspa_id(kaspa_id, now()));
        }
    })
}

/// Enters what happens at a gateway: who has which address, and whom kaspad bans.
pub(crate) fn remember_gateway(store: Option<&Arc<PeerStore>>, event: &GatewayEvent) {
    let Some(store) = store else { return };
    let _ = match event {
        GatewayEvent::GatewayOpened { peer, address, .. } => {
            store.update(peer, now(), |record| record.synthetic = Some(*address))
        }
        GatewayEvent::PeerBanned { peer, .. } => {
            store.update(peer, now(), |record| record.banned_until = Some(now() + KASPAD_BAN))
        }
        GatewayEvent::PeerUnbanned { peer, .. } => store.update(peer, now(), |record| record.banned_until = None),
        _ => return,
    };
}
